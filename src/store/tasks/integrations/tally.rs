//! How integrations are doing: a row for each, changed with every event.

use super::Taken;
use crate::domain::id::TaskId;
use crate::domain::integration::{Counts, IntegrationName, Integrations, LastError, LastEvent, SEEN_MAX, Source};
use crate::domain::time::Timestamp;
use crate::store::StoreError;
use crate::store::engine::stored;
use crate::store::tx::{Snapshot, Tx};

struct Tally {
    name: IntegrationName,
    events: i64,
    created: i64,
    raised: i64,
    resolved: i64,
    ignored: i64,
    replayed: i64,
    unreadable: i64,
    last_at: Timestamp,
    last_task_id: Option<TaskId>,
    error_at: Option<Timestamp>,
    error: Option<String>,
}

stored! {
    stored Tally in integrations {
        name, events, created, raised, resolved, ignored, replayed, unreadable, last_at, last_task_id, error_at, error,
    }
}

impl Tally {
    fn new(name: IntegrationName, now: Timestamp) -> Self {
        Self {
            name,
            events: 0,
            created: 0,
            raised: 0,
            resolved: 0,
            ignored: 0,
            replayed: 0,
            unreadable: 0,
            last_at: now,
            last_task_id: None,
            error_at: None,
            error: None,
        }
    }

    fn told(self) -> Source {
        let silent = Source::silent(&self.name);
        let Self { events, created, raised, resolved, ignored, replayed, unreadable, .. } = self;
        let last_error = self.error_at.zip(self.error);
        Source {
            counts: Counts { events, created, raised, resolved, ignored, replayed, unreadable },
            last_event: Some(LastEvent { at: self.last_at, task_id: self.last_task_id }),
            last_error: last_error.map(|(at, reason)| LastError { at, reason }),
            ..silent
        }
    }
}

/// All that were heard from, by name.
pub(super) fn all(snapshot: &Snapshot<'_>) -> Result<Vec<Source>, StoreError> {
    let tallies: Vec<Tally> = snapshot.rows("ORDER BY name", &[])?;
    Ok(tallies.into_iter().map(Tally::told).collect())
}

/// Counts an event, and notes which task it was about.
pub(super) fn tally(
    tx: &Tx<'_>,
    name: &IntegrationName,
    configured: &Integrations,
    taken: &Taken,
    task: Option<TaskId>,
) -> Result<(), StoreError> {
    let mut tally: Tally = match tx.row("WHERE name = $1", &[name])? {
        Some(tally) => tally,
        None => {
            if configured.find(name.as_str()).is_none() {
                make_room(tx, configured)?;
            }
            Tally::new(name.clone(), tx.now)
        }
    };
    tally.events += 1;
    tally.last_at = tx.now;
    tally.last_task_id = task.or(tally.last_task_id);
    match taken {
        Taken::Created(_) => tally.created += 1,
        Taken::Raised(_) => tally.raised += 1,
        Taken::Resolved(_) => tally.resolved += 1,
        Taken::Replayed(_) => tally.replayed += 1,
        Taken::Ignored(_) => tally.ignored += 1,
        Taken::Unreadable(_, reason) => {
            tally.unreadable += 1;
            (tally.error_at, tally.error) = (Some(tx.now), Some(reason.clone()));
        }
    }
    tx.upsert(&tally)
}

/// Forgets the one that was silent longest of those that nobody configured, where there is no room for another, with
/// what was kept of it.
fn make_room(tx: &Tx<'_>, configured: &Integrations) -> Result<(), StoreError> {
    let mut seen: Vec<Tally> = tx.rows("ORDER BY name", &[])?;
    seen.retain(|tally| configured.find(tally.name.as_str()).is_none());
    if seen.len() < SEEN_MAX {
        return Ok(());
    }
    if let Some(silent) = seen.into_iter().min_by_key(|tally| tally.last_at) {
        tx.execute("DELETE FROM kept_deliveries WHERE integration = $1", &[&silent.name])?;
        tx.execute("DELETE FROM integrations WHERE name = $1", &[&silent.name])?;
    }
    Ok(())
}
