//! Restarting and shutting down: an agent, or those of an orchestrator.

use super::super::{Error, Relay, scopes};
use super::facts::{as_control, site_of};
use super::{Begun, Reply, reply};
use crate::domain::caller::Caller;
use crate::domain::control::command::CommandStatus;
use crate::domain::control::orchestrator::{Orchestrator, OrchestratorStatus};
use crate::domain::control::order::{ControlOrder, OrchestratorRef, agent_request, managed_request};
use crate::domain::control::{ControlKind, ControlTarget};
use crate::domain::id::{AgentId, OrchestratorId};
use crate::domain::refusal::Refusal;
use crate::store::{Idempotency, Recorded};

/// Which agents of an orchestrator an action is for.
#[derive(Clone, Debug)]
pub enum ManagedTarget {
    /// This one.
    One(AgentId),
    /// All of them, said in so many words.
    All,
}

/// A restart or shutdown of agents of an orchestrator, read from a request. What is wrong with it is told only
/// after the orchestrator was looked at, in the order that clients of this protocol know.
#[derive(Debug)]
pub struct ManagedAction {
    /// Restart or shutdown; refused first.
    pub kind: Result<ControlKind, Refusal>,
    /// Which agents; refused after an orchestrator that is offline.
    pub target: Result<ManagedTarget, Refusal>,
}

impl Relay {
    /// Asks an agent to restart or shut down. One that runs on this host is seen to by the relay, whether or
    /// not the caller waits for it.
    pub async fn control_agent(
        &self,
        caller: &Caller,
        id: AgentId,
        kind: ControlKind,
        key: Option<Idempotency>,
    ) -> Result<Reply, Error> {
        caller.require(scopes::CONTROL)?;
        let (relay, caller) = (self.clone(), caller.clone());
        self.to_its_end(async move { relay.act_on_agent(&caller, id, kind, key).await }).await
    }

    async fn act_on_agent(
        &self,
        caller: &Caller,
        id: AgentId,
        kind: ControlKind,
        key: Option<Idempotency>,
    ) -> Result<Reply, Error> {
        let agent = self.store.agent(id).await?;
        // What an agent writes on its card does not take a session that runs here out of reach.
        if !agent.is_controllable() && self.own_session(&agent.id).await?.is_none() {
            return Err(Refusal::NotControllable.into());
        }
        let request = match self.begin(caller, self.plugins.current(), key).await? {
            Begun::New(request) => request,
            Begun::Answered(reply) => return Ok(reply),
        };
        self.require_place(kind, &agent.id).await?;
        let control = as_control(kind, ControlTarget::Agent(self.agent_facts(&agent).await?));
        let permit = self.decide(&request, control, &agent.id, agent_request(kind, &agent.id)).await?;
        let order = ControlOrder::Agent { kind, agent_id: agent.id };
        let recorded = self.record(&request, permit, order, CommandStatus::Pending).await?;
        if let Recorded::First { command, .. } = &recorded {
            self.see_to_session((**command).clone(), request.plugins.clone()).await?;
        }
        Ok(reply(recorded))
    }

    /// Has the orchestrator of this id restart or shut down one of its agents, or all. It must be online.
    pub async fn control_orchestrator(
        &self,
        caller: &Caller,
        id: OrchestratorId,
        action: ManagedAction,
        key: Option<Idempotency>,
    ) -> Result<Reply, Error> {
        caller.require(scopes::CONTROL)?;
        let orchestrator = self.store.orchestrator(id).await?;
        let kind = action.kind?;
        require_online(&orchestrator)?;
        let agent_id = match action.target? {
            ManagedTarget::One(id) if !orchestrator.managed_agents.iter().any(|agent| agent.agent_id == *id) => {
                return Err(Refusal::NotFound("managed agent").into());
            }
            ManagedTarget::One(id) => Some(id),
            ManagedTarget::All => None,
        };
        let request = match self.begin(caller, self.plugins.current(), key).await? {
            Begun::New(request) => request,
            Begun::Answered(reply) => return Ok(reply),
        };
        let facts = match &agent_id {
            None => ControlTarget::EveryAgentOf(site_of(&orchestrator)),
            Some(id) => ControlTarget::Agent(self.managed_facts(&orchestrator, id).await?),
        };
        let wanted = managed_request(kind, agent_id.as_deref());
        let permit = self.decide(&request, as_control(kind, facts), &orchestrator.agent_id, wanted).await?;
        let orchestrator = OrchestratorRef { id: orchestrator.id, agent_id: orchestrator.agent_id };
        let order = ControlOrder::Managed { kind, orchestrator, agent_id };
        Ok(reply(self.record(&request, permit, order, CommandStatus::Pending).await?))
    }
}

/// Refuses an orchestrator that has not been heard from.
pub(super) fn require_online(orchestrator: &Orchestrator) -> Result<(), Refusal> {
    if orchestrator.status == OrchestratorStatus::Online { Ok(()) } else { Err(Refusal::OrchestratorOffline) }
}
