//! Restarting and shutting down: an agent, or those of an orchestrator.

use super::super::{Error, Relay, scopes};
use super::facts::{as_control, site_of};
use super::{Begun, Reply};
use crate::domain::caller::Caller;
use crate::domain::command::CommandStatus;
use crate::domain::control::{ControlKind, ControlTarget};
use crate::domain::orchestrator::{Orchestrator, OrchestratorStatus};
use crate::domain::order::{ControlOrder, OrchestratorRef, agent_request, managed_request};
use crate::domain::refusal::Refusal;
use crate::store::{Idempotency, Recorded};

/// Which agents of an orchestrator an action is for.
#[derive(Clone, Debug)]
pub enum ManagedTarget {
    /// This one.
    One(String),
    /// All of them, said in so many words.
    All,
}

impl Relay {
    /// Asks an agent to restart or shut down. One that runs on this host is seen to by the relay, whether or
    /// not the caller waits for it.
    pub async fn control_agent(
        &self,
        caller: &Caller,
        id: String,
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
        id: String,
        kind: ControlKind,
        key: Option<Idempotency>,
    ) -> Result<Reply, Error> {
        let agent = self.store.agent(id).await?;
        if !agent.is_controllable() {
            return Err(Refusal::NotControllable.into());
        }
        let request = match self.begin(caller, key).await? {
            Begun::New(request) => request,
            Begun::Answered(reply) => return Ok(reply),
        };
        let control = as_control(kind, ControlTarget::Agent(self.agent_facts(&agent).await?));
        let permit = self.decide(&request, control, &agent.id, agent_request(kind, &agent.id)).await?;
        let order = ControlOrder::Agent { kind, agent_id: agent.id };
        let recorded = self.record(&request, permit, order, CommandStatus::Pending).await?;
        if let Recorded::First { command, .. } = &recorded {
            self.see_to_session(command.clone(), request.plugins.clone()).await?;
        }
        Ok(recorded.into())
    }

    /// Has an orchestrator restart or shut down one of its agents, or all. The orchestrator must be online.
    pub async fn control_orchestrator(
        &self,
        caller: &Caller,
        orchestrator: Orchestrator,
        kind: ControlKind,
        target: ManagedTarget,
        key: Option<Idempotency>,
    ) -> Result<Reply, Error> {
        caller.require(scopes::CONTROL)?;
        let agent_id = match target {
            ManagedTarget::One(id) if !orchestrator.managed_agents.iter().any(|agent| agent.agent_id == *id) => {
                return Err(Refusal::NotFound("managed agent").into());
            }
            ManagedTarget::One(id) => Some(id),
            ManagedTarget::All => None,
        };
        let request = match self.begin(caller, key).await? {
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
        Ok(self.record(&request, permit, order, CommandStatus::Pending).await?.into())
    }

    /// The orchestrator of a control request, which needs it to be there.
    pub async fn orchestrator_to_control(&self, caller: &Caller, id: String) -> Result<Orchestrator, Error> {
        caller.require(scopes::CONTROL)?;
        Ok(self.store.orchestrator(id).await?)
    }
}

/// Refuses an orchestrator that has not been heard from.
pub fn require_online(orchestrator: &Orchestrator) -> Result<(), Refusal> {
    if orchestrator.status == OrchestratorStatus::Online { Ok(()) } else { Err(Refusal::OrchestratorOffline) }
}
