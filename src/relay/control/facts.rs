//! What policies are told: about the caller, about what runs, and about what is to be controlled.

use super::super::{Error, Relay};
use crate::domain::agent::Agent;
use crate::domain::caller::Caller;
use crate::domain::control::orchestrator::Orchestrator;
use crate::domain::control::spawn::SpawnAsk;
use crate::domain::control::{
    AgentFacts, Context, Control, ControlKind, ControlTarget, RUNNING_MAX, RunningAgent, Site,
};
use crate::domain::id::{AgentId, OrchestratorId};
use crate::domain::refusal::Refusal;
use crate::domain::text::path::PathFacts;
use crate::store::StoreError;

/// A control that is asked about, and not for: nothing comes of it.
#[derive(Clone, Debug)]
pub enum ControlAsk {
    /// A spawn: on the relay's own host, or at the orchestrator of this id.
    Spawn(SpawnAsk, Option<OrchestratorId>),
    /// A restart or shutdown of an agent.
    Agent(ControlKind, AgentId),
    /// A restart or shutdown of one agent of an orchestrator, or of all.
    Managed(ControlKind, OrchestratorId, Option<AgentId>),
}

impl Relay {
    /// The control that is asked about, with its facts.
    pub(in crate::relay) async fn facts_of(&self, ask: ControlAsk) -> Result<Control, Error> {
        Ok(match ask {
            ControlAsk::Spawn(ask, None) => Control::Spawn(self.launcher.locate(&ask).await),
            ControlAsk::Spawn(ask, Some(orchestrator)) => {
                let orchestrator = self.store.orchestrator(orchestrator).await?;
                Control::Spawn(ask.elsewhere(site_of(&orchestrator)))
            }
            ControlAsk::Agent(kind, agent) => {
                let agent = self.store.agent(agent).await?;
                as_control(kind, ControlTarget::Agent(self.agent_facts(&agent).await?))
            }
            ControlAsk::Managed(kind, orchestrator, agent) => {
                let orchestrator = self.store.orchestrator(orchestrator).await?;
                let target = match agent {
                    Some(agent) => ControlTarget::Agent(self.managed_facts(&orchestrator, &agent).await?),
                    None => ControlTarget::EveryAgentOf(site_of(&orchestrator)),
                };
                as_control(kind, target)
            }
        })
    }

    pub(in crate::relay) async fn context(&self, caller: &Caller) -> Result<Context, Error> {
        let mut running: Vec<RunningAgent> = Vec::new();
        for session in self.store.open_sessions().await? {
            running.push(RunningAgent {
                agent_id: session.start.spec.agent_id.into_string(),
                provider: session.start.spec.provider,
                cwd: session.start.spec.cwd,
                label: session.start.spec.label,
                approval_mode: session.start.spec.approval_mode,
                orchestrator: None,
                started_at: session.started_at.as_ms(),
            });
        }
        for orchestrator in self.store.orchestrators().await? {
            running.extend(orchestrator.managed_agents.into_iter().map(|agent| RunningAgent {
                agent_id: agent.agent_id.into_string(),
                provider: agent.provider,
                cwd: agent.cwd,
                label: agent.label,
                approval_mode: agent.approval_mode,
                orchestrator: Some(orchestrator.id.to_string()),
                started_at: agent.started_at.as_ms(),
            }));
        }
        running.sort_by_key(|agent| std::cmp::Reverse(agent.started_at));
        running.truncate(RUNNING_MAX);
        let agent = caller.agent_id.clone().filter(|_| !caller.is_administrator());
        let fleet = self.store.fleet(caller.principal().to_owned(), agent).await?;
        let extensions = fleet.extensions(&running);
        Ok(Context { caller: caller.facts(), now: self.store.now().as_ms(), running, extensions })
    }

    pub(super) async fn agent_facts(&self, agent: &Agent) -> Result<AgentFacts, Error> {
        let here = self.store.session(agent.id.clone()).await?.is_some_and(|session| session.ended_at.is_none());
        let site = if here {
            Some(self.launcher.site())
        } else {
            let orchestrators = self.store.orchestrators().await?;
            let runs_it = |orchestrator: &&Orchestrator| {
                orchestrator.managed_agents.iter().any(|managed| managed.agent_id == agent.id)
            };
            orchestrators.iter().find(runs_it).map(site_of)
        };
        Ok(AgentFacts {
            id: agent.id.to_string(),
            name: agent.name.clone(),
            label: agent.label.clone(),
            tags: agent.tags.clone(),
            capabilities: agent.capabilities.clone(),
            machine: agent.machine.clone(),
            status: agent.status.as_str().to_owned(),
            site,
        })
    }

    /// The facts of a managed agent, which need not have registered.
    pub(super) async fn managed_facts(&self, orchestrator: &Orchestrator, id: &AgentId) -> Result<AgentFacts, Error> {
        match self.store.agent(id.clone()).await {
            Ok(agent) => Ok(AgentFacts { site: Some(site_of(orchestrator)), ..self.agent_facts(&agent).await? }),
            Err(StoreError::Refused(Refusal::NotFound(_))) => {
                let managed = orchestrator.managed_agents.iter().find(|agent| agent.agent_id == *id);
                Ok(AgentFacts {
                    id: id.to_string(),
                    name: id.to_string(),
                    label: managed.and_then(|agent| agent.label.clone()),
                    tags: Vec::new(),
                    capabilities: Vec::new(),
                    machine: Some(orchestrator.hostname.clone()),
                    status: "offline".to_owned(),
                    site: Some(site_of(orchestrator)),
                })
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// The control that acts on a target.
pub(super) fn as_control(kind: ControlKind, target: ControlTarget) -> Control {
    match kind {
        ControlKind::Restart => Control::Restart(target),
        ControlKind::Shutdown | ControlKind::Spawn => Control::Shutdown(target),
    }
}

/// Where an orchestrator starts agents.
pub(super) fn site_of(orchestrator: &Orchestrator) -> Site {
    Site {
        orchestrator: Some(orchestrator.id.to_string()),
        hostname: orchestrator.hostname.clone(),
        base_dir: PathFacts::elsewhere(&orchestrator.base_dir, std::path::Path::new("/")),
    }
}
