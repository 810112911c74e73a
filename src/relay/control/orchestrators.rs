//! Orchestrators: the daemons that start agents on other hosts.

use serde_json::Value;

use crate::domain::agent::SessionGuard;
use crate::domain::caller::Caller;
use crate::domain::control::orchestrator::{
    MANAGED_MAX, ManagedAgent, Orchestrator, OrchestratorRegistration, OrchestratorStatus, require_providers,
};
use crate::domain::id::OrchestratorId;
use crate::domain::page::{Limit, Page};
use crate::domain::refusal::Refusal;
use crate::relay::{Error, Relay, scopes};
use crate::store::{Created, Idempotency};

impl Relay {
    /// Registers an orchestrator, or again. Every provider it offers must be loaded here.
    pub async fn register_orchestrator(
        &self,
        caller: &Caller,
        registration: OrchestratorRegistration,
        key: Option<Idempotency>,
    ) -> Result<Created<Orchestrator>, Error> {
        caller.require(scopes::BE_ORCHESTRATOR)?;
        let orchestrator = registration.parse(&self.plugins.current().provider_ids())?;
        caller.require_identity(&orchestrator.id.agent_id())?;
        Ok(self.store.register_orchestrator(orchestrator, key).await?)
    }

    /// A page of orchestrators, by id: those with a greater one than `after`.
    pub async fn list_orchestrators(
        &self,
        caller: &Caller,
        after: Option<OrchestratorId>,
        limit: Limit,
    ) -> Result<Page<Orchestrator, OrchestratorId>, Error> {
        caller.require(scopes::READ_ORCHESTRATORS)?;
        Ok(self.store.orchestrators_after(after, limit).await?)
    }

    /// One orchestrator.
    pub async fn get_orchestrator(&self, caller: &Caller, id: OrchestratorId) -> Result<Orchestrator, Error> {
        caller.require(scopes::READ_ORCHESTRATORS)?;
        Ok(self.store.orchestrator(id).await?)
    }

    /// Hears from an orchestrator: that it is there, or that its daemon ends.
    pub async fn heartbeat_orchestrator(
        &self,
        caller: &Caller,
        id: OrchestratorId,
        status: OrchestratorStatus,
        guard: SessionGuard,
    ) -> Result<(), Error> {
        speak_for(caller, &id)?;
        match status {
            OrchestratorStatus::Online => self.store.heartbeat_orchestrator(id, guard).await?,
            OrchestratorStatus::Offline => self.store.dismiss_orchestrator(id, guard).await?,
        }
        Ok(())
    }

    /// Replaces the list of agents that an orchestrator runs, at most [`MANAGED_MAX`]: `{agents: [...]}`, and the
    /// session guard where the daemon gives one.
    pub async fn set_managed_agents(
        &self,
        caller: &Caller,
        id: OrchestratorId,
        body: Value,
    ) -> Result<Orchestrator, Error> {
        speak_for(caller, &id)?;
        self.store.orchestrator(id.clone()).await?;
        let Value::Object(fields) = body else { return Err(Refusal::invalid("body required").into()) };
        let Some(Value::Array(list)) = fields.get("agents") else {
            return Err(Refusal::invalid("agents must be an array").into());
        };
        if list.len() > MANAGED_MAX {
            return Err(Refusal::invalid(format!("agents must have at most {MANAGED_MAX} entries")).into());
        }
        let instance_id = match fields.get("instanceId") {
            None | Some(Value::Null) => None,
            Some(Value::String(instance)) => Some(instance.clone()),
            Some(_) => return Err(Refusal::invalid("instanceId must be a string").into()),
        };
        let guard = SessionGuard::parse(instance_id, fields.get("epoch").and_then(Value::as_i64))?;
        let now = self.store.now();
        let agents: Vec<ManagedAgent> =
            list.iter().map(|agent| ManagedAgent::parse(agent, now)).collect::<Result<_, _>>()?;
        let loaded = self.plugins.current().provider_ids();
        require_providers(agents.iter().map(|agent| &agent.provider), &loaded)?;
        Ok(self.store.set_managed_agents(id, agents, guard).await?)
    }

    /// Removes an orchestrator: its agent goes offline and its open commands fail.
    pub async fn remove_orchestrator(&self, caller: &Caller, id: OrchestratorId) -> Result<(), Error> {
        speak_for(caller, &id)?;
        Ok(self.store.remove_orchestrator(id).await?)
    }
}

/// A bound credential speaks for its own orchestrator only.
fn speak_for(caller: &Caller, id: &OrchestratorId) -> Result<(), Refusal> {
    caller.require(scopes::BE_ORCHESTRATOR)?;
    caller.require_identity(&id.agent_id())
}
