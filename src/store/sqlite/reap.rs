//! What time does: leases end, agents fall silent, records grow old.

use rusqlite::params;
use serde::Serialize;
use utoipa::ToSchema;

use super::super::StoreError;
use super::tx::Tx;
use super::{Store, activity, agents, claims, commands, events, orchestrators};
use crate::domain::activity::NewActivity;
use crate::domain::agent::AgentStatus;
use crate::domain::orchestrator::OrchestratorStatus;

/// What one run of the reaper found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Reaped {
    /// Agents that fell silent.
    pub reaped_agent_ids: Vec<String>,
    /// Orchestrators that fell silent.
    pub reaped_orchestrator_ids: Vec<String>,
    /// Messages whose claim is free again.
    pub released_message_ids: Vec<i64>,
    /// Tasks whose claim is free again.
    pub released_task_ids: Vec<i64>,
    /// Commands that nobody took up.
    #[serde(skip)]
    pub expired_command_ids: Vec<i64>,
    /// Agents that were offline for so long that they were removed.
    #[serde(skip)]
    pub pruned_agent_ids: Vec<String>,
}

/// How long records are kept.
#[derive(Clone, Copy, Debug)]
pub struct Retention {
    /// Events at most.
    pub events_count: i64,
    /// The age of an event at most, in milliseconds.
    pub events_ms: i64,
    /// Messages at most.
    pub messages_count: i64,
    /// The age of a message at most, in milliseconds.
    pub messages_ms: i64,
    /// The age of a finished command, a finished session and an activity entry at most.
    pub records_ms: i64,
}

/// How long the first answer under an idempotency key is kept.
const IDEMPOTENCY_MS: i64 = 24 * 60 * 60 * 1000;
/// Rows changed in one transaction: others wait for the writer meanwhile.
const STEP_ROWS: usize = 500;

impl Store {
    /// Writes down who was heard from, and lets everything expire that should. `alive` are agents
    /// with an open stream. `entry` makes the audit entry of a run that somebody asked for.
    pub async fn reap(
        &self,
        alive: Vec<String>,
        offline_after_ms: i64,
        prune_after_ms: i64,
        entry: Option<fn(&Reaped, i64) -> NewActivity>,
    ) -> Result<Reaped, StoreError> {
        let mut signs: Vec<(String, i64)> = self.take_signs_of_life().into_iter().collect();
        let now = super::super::now_ms();
        signs.extend(alive.into_iter().map(|agent| (agent, now)));
        self.write(move |tx| {
            write_signs(tx, &signs)?;
            let reaped = Reaped {
                reaped_agent_ids: silence_agents(tx, offline_after_ms)?,
                reaped_orchestrator_ids: silence_orchestrators(tx, offline_after_ms)?,
                released_message_ids: claims::release_expired(tx, STEP_ROWS)?,
                released_task_ids: Vec::new(),
                expired_command_ids: commands::expire(tx, STEP_ROWS)?,
                pruned_agent_ids: prune_agents(tx, prune_after_ms)?,
            };
            if let Some(entry) = entry {
                let entry = entry(&reaped, tx.now);
                activity::insert(tx, entry)?;
            }
            Ok(reaped)
        })
        .await
    }

    /// The id up to which messages are more than `count`; 0 when there are not so many.
    pub async fn surplus_messages(&self, count: i64) -> Result<i64, StoreError> {
        self.read(move |connection| {
            let one = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, i64>(0));
            // There are no more of them than numbers between the first and the last, which is quickly found.
            let span = one("SELECT coalesce((SELECT max(id) FROM messages) - (SELECT min(id) FROM messages) + 1, 0)")?;
            if span <= count {
                return Ok(0);
            }
            let surplus = one("SELECT count(*) FROM messages")? - count.max(1);
            if surplus <= 0 {
                return Ok(0);
            }
            Ok(connection
                .query_row("SELECT id FROM messages ORDER BY id LIMIT 1 OFFSET ?1", [surplus - 1], |row| row.get(0))?)
        })
        .await
    }

    /// Deletes one small step of what is too old or too much, and answers how many rows that were.
    /// Zero means there is nothing left to do. `surplus` is what [`Self::surplus_messages`] answered.
    pub async fn retain_step(&self, retention: Retention, surplus: i64) -> Result<usize, StoreError> {
        self.write(move |tx| {
            let step = STEP_ROWS as i64;
            let old = tx.now - retention.records_ms;
            let mut rows = retain_events(tx, retention, surplus)?;
            // Numbers grow with time, so the oldest rows come first: none of this walks a whole table.
            for (sql, before) in [
                ("DELETE FROM activity WHERE id IN (SELECT id FROM (SELECT id, created_at FROM activity ORDER BY id LIMIT ?2)
                      WHERE created_at < ?1)", old),
                ("DELETE FROM commands WHERE id IN (SELECT id FROM commands WHERE updated_at < ?1
                      AND status NOT IN ('pending', 'accepted', 'running') ORDER BY id LIMIT ?2)", old),
                ("DELETE FROM sessions WHERE agent_id IN (SELECT agent_id FROM sessions WHERE ended_at < ?1 LIMIT ?2)", old),
                ("DELETE FROM tokens WHERE id IN (SELECT id FROM tokens WHERE expires_at < ?1 LIMIT ?2)", tx.now),
                ("DELETE FROM idempotency WHERE (scope, key) IN (SELECT scope, key FROM idempotency
                      WHERE created_at < ?1 LIMIT ?2)", tx.now - IDEMPOTENCY_MS),
            ] {
                rows += tx.sql(sql)?.execute(params![before, step])?;
            }
            Ok(rows)
        })
        .await
    }
}

/// Messages that are too old or too many go for good, and with them their events; other events only
/// fall below the floor. Everything below the floor is gone for streams, so that no gap goes unseen.
fn retain_events(tx: &Tx<'_>, retention: Retention, surplus: i64) -> Result<usize, StoreError> {
    let range = events::range(tx.connection)?;
    let last_doomed: Option<i64> = tx
        .sql(
            "SELECT max(id) FROM (SELECT id, created_at FROM messages ORDER BY id LIMIT ?3)
             WHERE created_at < ?1 OR id <= ?2",
        )?
        .query_row(params![tx.now - retention.messages_ms, surplus, STEP_ROWS as i64], |row| row.get(0))?;
    let mut rows = 0;
    let mut floor = range.floor;
    if let Some(last) = last_doomed {
        rows += tx.sql("DELETE FROM messages WHERE id <= ?1")?.execute([last])?;
        floor = floor.max(last);
    }
    let mut statement = tx.sql(
        "SELECT seq, at FROM events WHERE seq > ?1
         UNION ALL SELECT id, created_at FROM messages WHERE id > ?1 ORDER BY 1 LIMIT ?2",
    )?;
    let mut oldest = statement.query(params![floor, STEP_ROWS as i64])?;
    while let Some(row) = oldest.next()? {
        let (seq, at): (i64, i64) = (row.get(0)?, row.get(1)?);
        if at >= tx.now - retention.events_ms && seq > range.latest - retention.events_count.max(1) {
            break;
        }
        floor = seq;
        rows += 1;
    }
    drop(oldest);
    if floor > range.floor {
        events::raise_floor(tx, floor)?;
    }
    Ok(rows)
}

fn write_signs(tx: &mut Tx<'_>, signs: &[(String, i64)]) -> Result<(), StoreError> {
    for (id, at) in signs {
        let before = agents::load(tx.connection, id)?;
        tx.sql("UPDATE agents SET last_seen = max(last_seen, ?2) WHERE id = ?1")?.execute(params![id, at])?;
        // What was heard before it went offline does not bring it back.
        if let Some(mut agent) = before
            && agent.status == AgentStatus::Offline
            && *at > agent.last_seen
        {
            agent.last_seen = *at;
            agent.status = AgentStatus::Online;
            agents::save(tx, &agent)?;
        }
        if let Some(orchestrator) = id.strip_prefix("orchestrator-") {
            tx.sql("UPDATE orchestrators SET last_seen = max(last_seen, ?2) WHERE id = ?1")?
                .execute(params![orchestrator, at])?;
        }
    }
    Ok(())
}

fn silence_agents(tx: &mut Tx<'_>, offline_after_ms: i64) -> Result<Vec<String>, StoreError> {
    let ids = ids(
        tx,
        "SELECT id FROM agents WHERE status <> 'offline' AND last_seen < ?1 AND id NOT IN ('user', 'system') LIMIT ?2",
        offline_after_ms,
    )?;
    for id in &ids {
        if let Some(mut agent) = agents::load(tx.connection, id)? {
            agent.status = AgentStatus::Offline;
            agents::save(tx, &agent)?;
        }
    }
    Ok(ids)
}

fn silence_orchestrators(tx: &mut Tx<'_>, offline_after_ms: i64) -> Result<Vec<String>, StoreError> {
    let ids = ids(
        tx,
        "SELECT id FROM orchestrators WHERE status <> 'offline' AND last_seen < ?1 LIMIT ?2",
        offline_after_ms,
    )?;
    for id in &ids {
        if let Some(mut orchestrator) = orchestrators::load(tx.connection, id)? {
            orchestrator.status = OrchestratorStatus::Offline;
            orchestrators::save(tx, &orchestrator)?;
        }
    }
    Ok(ids)
}

fn prune_agents(tx: &mut Tx<'_>, prune_after_ms: i64) -> Result<Vec<String>, StoreError> {
    let ids = ids(
        tx,
        "SELECT id FROM agents WHERE status = 'offline' AND last_seen < ?1 AND id NOT IN ('user', 'system')
             AND id NOT IN (SELECT 'orchestrator-' || id FROM orchestrators) LIMIT ?2",
        prune_after_ms,
    )?;
    for id in &ids {
        agents::remove(tx, id)?;
    }
    Ok(ids)
}

fn ids(tx: &Tx<'_>, sql: &str, older_than_ms: i64) -> Result<Vec<String>, StoreError> {
    let mut statement = tx.sql(sql)?;
    let rows = statement.query_map(params![tx.now - older_than_ms, STEP_ROWS as i64], |row| row.get(0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}
