//! The activity log, and the entries that the relay itself writes into it.

use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::{Error, Relay, scopes};
use crate::domain::activity::{Activity, ActivityFilter, ActivityKind, NewActivity};
use crate::domain::audit;
use crate::domain::caller::{Caller, Scope};
use crate::domain::id::{ActivityId, AgentId, OrchestratorId};
use crate::domain::page::Page;
use crate::domain::refusal::Refusal;
use crate::store::{Created, Idempotency, StoreError};

/// Refused credentials are written down at most once in this time: a guessing client must not fill the
/// disk.
const REFUSED_EVERY: Duration = Duration::from_secs(10);

/// When a refused credential was last written down, and how many were not since.
#[derive(Default)]
pub(super) struct RefusedCredentials(Mutex<(Option<Instant>, u64)>);

impl RefusedCredentials {
    /// Counts one, and answers how many there are to write down now, if it is time to.
    fn count(&self) -> Option<u64> {
        let mut refused = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        refused.1 += 1;
        if refused.0.is_some_and(|at| at.elapsed() < REFUSED_EVERY) {
            return None;
        }
        refused.0 = Some(Instant::now());
        Some(std::mem::take(&mut refused.1))
    }
}

impl Relay {
    /// A page of entries, newest first.
    pub async fn list_activity(
        &self,
        caller: &Caller,
        filter: ActivityFilter,
    ) -> Result<Page<Activity, ActivityId>, Error> {
        caller.require(scopes::READ_ACTIVITY)?;
        Ok(self.store.activity(filter).await?)
    }

    /// Writes an entry; a `clientId` that is there already changes nothing. The relay's own ids are not to be
    /// taken, and what tells of controls, plugins and credentials is its own or an administrator's. An agent writes
    /// about itself.
    pub async fn create_activity(
        &self,
        caller: &Caller,
        entry: NewActivity,
        key: Option<Idempotency>,
    ) -> Result<Created<Activity>, Error> {
        caller.require(scopes::WRITE_ACTIVITY)?;
        if entry.client_id.as_deref().is_some_and(|id| id.trim_start().starts_with("server-")) {
            let text = "clientId must not begin with \"server-\", which marks the relay's own entries";
            return Err(Refusal::invalid(text).into());
        }
        let entry = entry.parse()?;
        let is_the_relays =
            matches!(entry.kind(), ActivityKind::Control | ActivityKind::Plugin | ActivityKind::Security);
        if is_the_relays && !caller.is_administrator() {
            let text = format!("entries of kind {} are the relay's own and an administrator's", entry.kind().as_str());
            return Err(Refusal::NotAllowed(text).into());
        }
        if let Some(agent) = entry.concerns()
            && !self.is_run_by(caller, agent).await?
        {
            caller.require_identity(agent)?;
        }
        Ok(self.store.add_activity(entry, key).await?)
    }

    /// Whether the caller is an orchestrator that runs this agent, so that it may tell of it.
    pub(super) async fn is_run_by(&self, caller: &Caller, agent: &AgentId) -> Result<bool, Error> {
        let bound = caller.agent_id.as_ref().filter(|_| caller.scopes.contains(&Scope::Orchestrator));
        let Some(id) = bound.and_then(OrchestratorId::of_agent) else { return Ok(false) };
        match self.store.orchestrator(id).await {
            Ok(orchestrator) => Ok(orchestrator.managed_agents.iter().any(|managed| managed.agent_id == *agent)),
            Err(StoreError::Refused(Refusal::NotFound(_))) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Writes a refused credential down, with those that came since the last time.
    pub async fn note_refused_credential(&self, peer: Option<IpAddr>, loopback: bool) {
        let Some(count) = self.refused_credentials.count() else { return };
        let address = peer.map_or_else(|| "unknown".to_owned(), |address| address.to_string());
        let entry = audit::credentials_refused(count, &address, loopback, self.store.now());
        if let Err(error) = self.store.add_activity(entry, None).await {
            tracing::warn!(%error, "cannot record a refused credential");
        }
    }
}
