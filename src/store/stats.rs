//! Counts, for people and dashboards.

use serde::Serialize;
use utoipa::ToSchema;

use super::{Store, StoreError, messages};
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
    /// What waits for a person.
    pub attention: i64,
    /// Agents that the relay itself runs.
    pub sessions: i64,
    /// Events kept.
    pub events: i64,
    /// The size of the database, in bytes.
    pub database_bytes: i64,
}

impl Store {
    /// How much there is of everything. What there may be very many of is not counted for it.
    pub async fn stats(&self) -> Result<Stats, StoreError> {
        let store = self.clone();
        self.read_page(move |snapshot| {
            let count = |sql: &str| snapshot.count(sql, &[]);
            let counts = store.inner.writer.counts();
            Ok(Stats {
                agents: count("SELECT count(*) FROM agents")?,
                agents_online: count("SELECT count(*) FROM agents WHERE status <> 'offline'")?,
                orchestrators: count("SELECT count(*) FROM orchestrators")?,
                orchestrators_online: count("SELECT count(*) FROM orchestrators WHERE status = 'online'")?,
                messages: counts.messages,
                latest_message_id: messages::latest(snapshot)?,
                claims: count("SELECT count(*) FROM messages WHERE claim_expires_at IS NOT NULL")?
                    + count("SELECT count(*) FROM tasks WHERE claim_expires_at IS NOT NULL")?,
                commands_open: count(
                    "SELECT count(*) FROM commands WHERE status IN ('pending', 'accepted', 'running')",
                )?,
                attention: count("SELECT count(*) FROM attention WHERE dismissed_at IS NULL")?,
                sessions: count("SELECT count(*) FROM sessions WHERE ended_at IS NULL")?,
                events: counts.events + counts.told,
                database_bytes: snapshot.size_bytes()?,
            })
        })
        .await
    }
}
