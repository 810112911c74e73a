//! Orchestrators: the daemons that start agents on other hosts.

use serde_json::{Value, json};

use super::{Error, Relay, scopes};
use crate::domain::activity::{ActivityKind, NewActivity};
use crate::domain::caller::Caller;
use crate::domain::orchestrator::{MANAGED_MAX, ManagedAgent, Orchestrator, OrchestratorRegistration};
use crate::domain::refusal::Refusal;
use crate::store::{Answer, Idempotency, now_ms};

const ICON: &str = "ti-server-2";
const VIEW: &str = "orchestrators";

impl Relay {
    /// Registers an orchestrator, or again. Every provider it offers must be loaded here.
    pub async fn register_orchestrator(
        &self,
        caller: &Caller,
        registration: OrchestratorRegistration,
        key: Option<Idempotency>,
    ) -> Result<Answer, Error> {
        caller.require(scopes::BE_ORCHESTRATOR)?;
        let orchestrator = registration.checked(&self.plugins.current().provider_ids(), now_ms())?;
        caller.require_identity(&orchestrator.agent_id)?;
        let entry = NewActivity {
            body: Some(orchestrator.hostname.clone()),
            meta: Some(orchestrator.id.clone()),
            icon: Some(ICON.to_owned()),
            view: Some(VIEW.to_owned()),
            metadata: json!({"orchestratorId": orchestrator.id, "providers": orchestrator.providers})
                .as_object()
                .cloned(),
            ..NewActivity::new(
                ActivityKind::State,
                format!("server-orchestrator-register-{}-{}", orchestrator.id, now_ms()),
                "Orchestrator registered",
            )
        };
        Ok(self.store.register_orchestrator(orchestrator, entry, key).await?)
    }

    /// All orchestrators, by id.
    pub async fn list_orchestrators(&self, caller: &Caller) -> Result<Vec<Orchestrator>, Error> {
        caller.require(scopes::READ_ORCHESTRATORS)?;
        Ok(self.store.orchestrators().await?)
    }

    /// One orchestrator.
    pub async fn get_orchestrator(&self, caller: &Caller, id: String) -> Result<Orchestrator, Error> {
        caller.require(scopes::READ_ORCHESTRATORS)?;
        Ok(self.store.orchestrator(id).await?)
    }

    /// Hears from an orchestrator.
    pub async fn heartbeat_orchestrator(&self, caller: &Caller, id: String) -> Result<(), Error> {
        speak_for(caller, &id)?;
        Ok(self.store.heartbeat_orchestrator(id).await?)
    }

    /// Replaces the list of agents that an orchestrator runs, at most [`MANAGED_MAX`]: `{agents: [...]}`.
    pub async fn set_managed_agents(&self, caller: &Caller, id: String, body: Value) -> Result<Orchestrator, Error> {
        speak_for(caller, &id)?;
        self.store.orchestrator(id.clone()).await?;
        let Value::Object(fields) = body else { return Err(Refusal::invalid("body required").into()) };
        let Some(Value::Array(list)) = fields.get("agents") else {
            return Err(Refusal::invalid("agents must be an array").into());
        };
        if list.len() > MANAGED_MAX {
            return Err(Refusal::invalid(format!("agents must have at most {MANAGED_MAX} entries")).into());
        }
        let now = now_ms();
        let agents: Vec<ManagedAgent> =
            list.iter().map(|agent| ManagedAgent::parse(agent, now)).collect::<Result<_, _>>()?;
        Ok(self.store.set_managed_agents(id, agents).await?)
    }

    /// Removes an orchestrator: its agent goes offline and its open commands fail.
    pub async fn remove_orchestrator(&self, caller: &Caller, id: String) -> Result<(), Error> {
        speak_for(caller, &id)?;
        let entry = NewActivity {
            meta: Some(id.clone()),
            icon: Some(ICON.to_owned()),
            view: Some(VIEW.to_owned()),
            ..NewActivity::new(
                ActivityKind::State,
                format!("server-orchestrator-removed-{}-{}", id.chars().take(120).collect::<String>(), now_ms()),
                "Orchestrator removed",
            )
        };
        Ok(self.store.remove_orchestrator(id, entry).await?)
    }
}

/// A bound credential speaks for its own orchestrator only.
fn speak_for(caller: &Caller, id: &str) -> Result<(), Refusal> {
    caller.require(scopes::BE_ORCHESTRATOR)?;
    caller.require_identity(&format!("orchestrator-{id}"))
}
