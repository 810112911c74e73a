//! The activity log.

use super::engine::stored;
use super::tx::Tx;
use super::tx::search::NewestFirst;
use super::{Created, Idempotency, Json, Store, StoreError};
use crate::domain::activity::{Activity, ActivityFilter, Entry};
use crate::domain::event::{Audience, EventName};
use crate::domain::id::ActivityId;
use crate::domain::page::Page;

stored! {
    stored Activity in activity {
        id, client_id, kind, title, body, meta, icon, view, message_id, agent_id, task_id, metadata as json_or_null,
        created_at,
    }
}

impl Store {
    /// Writes an entry. A `clientId` that is there already changes nothing and answers the entry.
    pub async fn add_activity(
        &self,
        entry: Entry,
        idempotency: Option<Idempotency>,
    ) -> Result<Created<Activity>, StoreError> {
        self.write(move |tx| {
            tx.once(idempotency.as_ref(), |tx| {
                let (entry, created) = insert(tx, entry)?;
                Ok(Created { json: Json::of(&entry), replayed: false, created })
            })
        })
        .await
    }

    /// Entries, newest first.
    pub async fn activity(&self, filter: ActivityFilter) -> Result<Page<Activity, ActivityId>, StoreError> {
        self.read_page(move |snapshot| {
            let lists = [
                ("agent_id", filter.agent.as_ref().map(|agent| agent as _)),
                ("kind", filter.kind.as_ref().map(|kind| kind as _)),
            ];
            let rows = NewestFirst { table: "activity", lists: &lists, any: &[], since: filter.since.get() };
            rows.page(snapshot, filter.before, filter.limit, |entry: &Activity| entry.id)
        })
        .await
    }
}

/// Writes an entry and its event; false when its `clientId` was there already.
pub(super) fn insert(tx: &mut Tx<'_>, entry: Entry) -> Result<(Activity, bool), StoreError> {
    if let Some(earlier) = tx.row("WHERE client_id = $1", &[&entry.client_id()])? {
        return Ok((earlier, false));
    }
    let mut entry = entry.stored(ActivityId::default(), tx.now);
    entry.id = tx.insert_numbered(&entry)?.into();
    let audience = entry.agent_id.as_deref().map_or_else(Audience::nobody, Audience::only);
    tx.emit(EventName::ActivityNew, audience, &entry)?;
    Ok((entry, true))
}
