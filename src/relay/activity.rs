//! The activity log, and the entries that the relay itself writes into it.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
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

/// Refused credentials of an address are written down at most once in this time, and no more entries than
/// [`REFUSED_MAX`] in all: a guessing client must not fill the disk.
const REFUSED_EVERY: Duration = Duration::from_secs(60);
/// Addresses that are told apart; those that come beyond it are written down together.
const REFUSED_MAX: usize = 64;

/// From where credentials were refused within the last minute: since when, and how many are not written down.
#[derive(Default)]
pub(super) struct RefusedCredentials(Mutex<HashMap<Option<IpAddr>, (Instant, u64)>>);

impl RefusedCredentials {
    /// Counts one, and answers under which address it is to be written down now, if it is the first.
    fn count(&self, peer: Option<IpAddr>, now: Instant) -> Option<Option<IpAddr>> {
        let mut refused = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_known = refused.contains_key(&peer);
        let place = if is_known || refused.len() < REFUSED_MAX { peer } else { None };
        match refused.entry(place) {
            Entry::Occupied(mut known) => {
                known.get_mut().1 += 1;
                None
            }
            Entry::Vacant(new) => {
                new.insert((now, 0));
                Some(place)
            }
        }
    }

    /// What is to be written down now that a minute is over, with how many came meanwhile. Who sent none in it is
    /// forgotten.
    fn due(&self, now: Instant) -> Vec<(Option<IpAddr>, u64)> {
        let mut refused = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_over = |since: Instant| now.duration_since(since) >= REFUSED_EVERY;
        refused.retain(|_, (since, count)| *count > 0 || !is_over(*since));
        let due = refused.iter_mut().filter(|(_, (since, _))| is_over(*since));
        due.map(|(peer, (since, count))| {
            *since = now;
            (*peer, std::mem::take(count))
        })
        .collect()
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

    /// Whether the caller is an orchestrator that runs this agent, or was told to start it, so that it may tell of it.
    pub(super) async fn is_run_by(&self, caller: &Caller, agent: &AgentId) -> Result<bool, Error> {
        let bound = caller.agent_id.as_ref().filter(|_| caller.scopes.contains(&Scope::Orchestrator));
        let Some((id, bound)) = bound.and_then(|bound| Some((OrchestratorId::of_agent(bound)?, bound))) else {
            return Ok(false);
        };
        if self.store.told_to_start(agent.clone()).await?.as_ref() == Some(bound) {
            return Ok(true);
        }
        match self.store.orchestrator(id).await {
            Ok(orchestrator) => Ok(orchestrator.managed_agents.iter().any(|managed| managed.agent_id == *agent)),
            Err(StoreError::Refused(Refusal::NotFound(_))) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Writes a refused credential down, unless one from there was within the last minute: then it is counted.
    pub async fn note_refused_credential(&self, peer: Option<IpAddr>) {
        if let Some(place) = self.refused_credentials.count(peer, Instant::now()) {
            self.write_refused(place, 1).await;
        }
    }

    /// Writes down what was counted and not told yet, of those whose minute is over.
    pub async fn tell_refused_credentials(&self) {
        for (place, count) in self.refused_credentials.due(Instant::now()) {
            self.write_refused(place, count).await;
        }
    }

    async fn write_refused(&self, place: Option<IpAddr>, count: u64) {
        let address = place.map_or_else(|| "other addresses".to_owned(), |address| address.to_string());
        let entry = audit::credentials_refused(count, &address, self.store.now());
        if let Err(error) = self.store.add_activity(entry, None).await {
            tracing::warn!(%error, "cannot record a refused credential");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn address(last: usize) -> Option<IpAddr> {
        Some(Ipv4Addr::from_bits(u32::try_from(last).unwrap()).into())
    }

    #[test]
    fn an_address_has_one_entry_a_minute_with_a_count_and_none_is_lost() {
        let (refused, start) = (RefusedCredentials::default(), Instant::now());
        assert_eq!(refused.count(address(1), start), Some(address(1)));
        for _ in 0..5 {
            assert_eq!(refused.count(address(1), start), None);
        }
        assert_eq!(refused.count(address(2), start), Some(address(2)), "each has its own");
        assert_eq!(refused.due(start + REFUSED_EVERY / 2), []);
        let over = start + REFUSED_EVERY;
        assert_eq!(refused.due(over), [(address(1), 5)], "who sent no more is forgotten");
        assert_eq!(refused.count(address(1), over), None, "within the minute of the second entry");
        assert_eq!(refused.due(over + REFUSED_EVERY), [(address(1), 1)]);
        assert_eq!(refused.due(over + 2 * REFUSED_EVERY), []);
        assert!(refused.0.lock().unwrap().is_empty());
    }

    #[test]
    fn many_addresses_make_no_more_entries_than_a_few() {
        let (refused, start) = (RefusedCredentials::default(), Instant::now());
        let told = (0..10_000).filter(|last| refused.count(address(*last), start).is_some()).count();
        assert_eq!(told, REFUSED_MAX + 1);
        assert_eq!(refused.0.lock().unwrap().len(), REFUSED_MAX + 1);
        let counted: u64 = refused.due(start + REFUSED_EVERY).into_iter().map(|(_, count)| count).sum();
        assert_eq!(counted, 10_000 - u64::try_from(told).unwrap());
    }
}
