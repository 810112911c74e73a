//! The activity log.

use rusqlite::{OptionalExtension, Row, params};

use super::super::{Answer, Idempotency, StoreError};
use super::Store;
use super::tx::{self, Tx, from_json};
use crate::domain::activity::{Activity, ActivityKind, NewActivity};
use crate::domain::event::{Audience, EventName};

/// Which entries to list.
#[derive(Clone, Debug, Default)]
pub struct ActivityFilter {
    /// Only those with a greater id.
    pub since: i64,
    /// Only those with a smaller id: the next page.
    pub before: Option<i64>,
    /// Only those of this kind.
    pub kind: Option<ActivityKind>,
    /// Only those about this agent.
    pub agent: Option<String>,
    /// At most this many, newest first.
    pub limit: usize,
}

const COLUMNS: &str =
    "id, client_id, kind, title, body, meta, icon, view, message_id, agent_id, task_id, metadata, created_at";

impl Store {
    /// Writes an entry. A `clientId` that is there already changes nothing and answers the entry.
    pub async fn add_activity(
        &self,
        entry: NewActivity,
        idempotency: Option<Idempotency>,
    ) -> Result<Answer, StoreError> {
        self.write(move |tx| {
            tx.once(idempotency.as_ref(), |tx| {
                let (entry, created) = insert(tx, entry)?;
                Ok(Answer { json: tx::json(&entry), replayed: false, created })
            })
        })
        .await
    }

    /// Entries, newest first.
    pub async fn activity(&self, filter: ActivityFilter) -> Result<Vec<Activity>, StoreError> {
        self.read(move |connection| {
            let mut statement = connection.prepare_cached(&format!(
                "SELECT {COLUMNS} FROM activity
                 WHERE id > ?1 AND (?2 IS NULL OR id < ?2) AND (?3 IS NULL OR kind = ?3)
                   AND (?4 IS NULL OR agent_id = ?4)
                 ORDER BY id DESC LIMIT ?5"
            ))?;
            let kind = filter.kind.map(ActivityKind::as_str);
            let rows = statement
                .query_map(params![filter.since, filter.before, kind, filter.agent, filter.limit as i64], from_row)?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
        .await
    }
}

/// Writes an entry and its event; false when its `clientId` was there already.
pub(super) fn insert(tx: &mut Tx<'_>, entry: NewActivity) -> Result<(Activity, bool), StoreError> {
    let mut entry = entry.checked()?;
    let earlier = tx
        .sql(&format!("SELECT {COLUMNS} FROM activity WHERE client_id = ?1"))?
        .query_row([&entry.client_id], from_row)
        .optional()?;
    if let Some(earlier) = earlier {
        return Ok((earlier, false));
    }
    entry.created_at = tx.now;
    tx.sql(
        "INSERT INTO activity (client_id, kind, title, body, meta, icon, view, message_id, agent_id, task_id,
                               metadata, created_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
    )?
    .execute(params![
        entry.client_id,
        entry.kind.as_str(),
        entry.title,
        entry.body,
        entry.meta,
        entry.icon,
        entry.view,
        entry.message_id,
        entry.agent_id,
        entry.task_id,
        entry.metadata.as_ref().map(tx::json_of_map),
        entry.created_at
    ])?;
    entry.id = tx.connection.last_insert_rowid();
    let audience = entry.agent_id.as_deref().map_or_else(Audience::nobody, Audience::only);
    tx.emit(EventName::ActivityNew, audience, &entry)?;
    Ok((entry, true))
}

/// The start of an id, so that what is built from it stays within its own bound.
pub(super) fn short(id: &str) -> &str {
    id.char_indices().nth(100).map_or(id, |(end, _)| &id[..end])
}

fn from_row(row: &Row<'_>) -> Result<Activity, rusqlite::Error> {
    let kind: String = row.get(2)?;
    let metadata: Option<String> = row.get(11)?;
    Ok(Activity {
        id: row.get(0)?,
        client_id: row.get(1)?,
        kind: ActivityKind::parse(&kind).unwrap_or(ActivityKind::State),
        title: row.get(3)?,
        body: row.get(4)?,
        meta: row.get(5)?,
        icon: row.get(6)?,
        view: row.get(7)?,
        message_id: row.get(8)?,
        agent_id: row.get(9)?,
        task_id: row.get(10)?,
        metadata: metadata.as_deref().map(from_json).transpose()?,
        created_at: row.get(12)?,
    })
}
