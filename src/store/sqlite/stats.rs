//! Counts, for people and dashboards.

use serde::Serialize;
use utoipa::ToSchema;

use super::super::StoreError;
use super::{Store, events};

/// How much there is of everything.
#[derive(Clone, Debug, Default, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Stats {
    /// Registered agents, the reserved ones included.
    pub agents: i64,
    /// Those that are not offline.
    pub agents_online: i64,
    /// Orchestrators.
    pub orchestrators: i64,
    /// Those that are online.
    pub orchestrators_online: i64,
    /// Messages kept.
    pub messages: i64,
    /// The greatest message id ever given.
    pub latest_message_id: i64,
    /// Claims held now.
    pub claims: i64,
    /// Commands that are not finished.
    pub commands_open: i64,
    /// Agents that the relay itself runs.
    pub sessions: i64,
    /// Events kept.
    pub events: i64,
    /// The size of the database, in bytes.
    pub database_bytes: i64,
}

impl Store {
    /// Counts everything.
    pub async fn stats(&self) -> Result<Stats, StoreError> {
        self.read(|connection| {
            let snapshot = connection.unchecked_transaction()?;
            let one = |sql: &str| snapshot.prepare_cached(sql)?.query_row([], |row| row.get::<_, i64>(0));
            Ok(Stats {
                agents: one("SELECT count(*) FROM agents")?,
                agents_online: one("SELECT count(*) FROM agents WHERE status <> 'offline'")?,
                orchestrators: one("SELECT count(*) FROM orchestrators")?,
                orchestrators_online: one("SELECT count(*) FROM orchestrators WHERE status = 'online'")?,
                messages: one("SELECT count(*) FROM messages")?,
                latest_message_id: one("SELECT coalesce(max(id), 0) FROM messages")?,
                claims: one("SELECT count(*) FROM messages WHERE claim_expires_at IS NOT NULL")?,
                commands_open: one("SELECT count(*) FROM commands WHERE status IN ('pending', 'accepted', 'running')")?,
                sessions: one("SELECT count(*) FROM sessions WHERE ended_at IS NULL")?,
                events: one("SELECT count(*) FROM events")?
                    + snapshot
                        .prepare_cached("SELECT count(*) FROM messages WHERE id > ?1")?
                        .query_row([events::range(&snapshot)?.floor], |row| row.get::<_, i64>(0))?,
                database_bytes: one("SELECT page_count * page_size FROM pragma_page_count, pragma_page_size")?,
            })
        })
        .await
    }
}
