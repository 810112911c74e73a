//! Counts, for people and dashboards.

use serde::Serialize;
use utoipa::ToSchema;

use super::{Store, StoreError, events};
use crate::domain::id::MessageId;

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
    #[schema(value_type = i64)]
    pub latest_message_id: MessageId,
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
        self.read(|snapshot| {
            let count = |sql: &str| snapshot.count(sql, &[]);
            let floor = events::range(snapshot)?.floor;
            let latest = snapshot.value("SELECT coalesce(max(id), 0) FROM messages", &[])?;
            Ok(Stats {
                agents: count("SELECT count(*) FROM agents")?,
                agents_online: count("SELECT count(*) FROM agents WHERE status <> 'offline'")?,
                orchestrators: count("SELECT count(*) FROM orchestrators")?,
                orchestrators_online: count("SELECT count(*) FROM orchestrators WHERE status = 'online'")?,
                messages: count("SELECT count(*) FROM messages")?,
                latest_message_id: latest.unwrap_or_default(),
                claims: count("SELECT count(*) FROM messages WHERE claim_expires_at IS NOT NULL")?,
                commands_open: count(
                    "SELECT count(*) FROM commands WHERE status IN ('pending', 'accepted', 'running')",
                )?,
                sessions: count("SELECT count(*) FROM sessions WHERE ended_at IS NULL")?,
                events: count("SELECT count(*) FROM events")?
                    + snapshot.count("SELECT count(*) FROM messages WHERE id > $1", &[&floor])?,
                database_bytes: snapshot.size_bytes()?,
            })
        })
        .await
    }
}
