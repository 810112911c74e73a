//! The reaper: leases end, agents and orchestrators fall silent, commands are taken up by nobody.
//!
//! All of that is dated by the wall clock, and none of it may come about because that was set, or because nobody
//! was here: [`follow`] moves the records along before anybody compares them with the time.

use super::control::{commands, orchestrators};
use super::engine::Connection;
use super::messages::{bounces, claims, deliveries};
use super::tx::{Snapshot, Tx, json};
use super::{Store, StoreError, agents, pairs, tasks, tokens};
use crate::domain::agent::Agent;
use crate::domain::audit;
use crate::domain::id::{AgentId, MessageId, OrchestratorId};
use crate::domain::message::BounceReason;
use crate::domain::retention::Reaped;
use crate::domain::time::{Clock, Mark, Moment, Timestamp};

/// Rows of a kind changed in one transaction: others wait for the writer meanwhile.
pub(super) const STEP_ROWS: i64 = 500;

impl Store {
    /// Writes down who was heard from, and lets everything expire that should. `alive` are agents
    /// with an open stream. A run that somebody asked for is `audited`.
    pub async fn reap(
        &self,
        alive: Vec<AgentId>,
        offline_after_ms: i64,
        prune_after_ms: i64,
        audited: bool,
    ) -> Result<Reaped, StoreError> {
        let mut signs: Vec<(AgentId, i64)> = self.take_signs_of_life().into_iter().collect();
        let clock = self.inner.clock.clone();
        let now = clock.elapsed_ms();
        signs.extend(alive.into_iter().map(|agent| (agent, now)));
        let limits = Limits { offline_after_ms, prune_after_ms };
        let (mut reaped, mut more) = self
            .write(move |tx| {
                for (agent, at) in signs {
                    hear(tx, &agent, clock.wall_at(at).min(tx.now))?;
                }
                keep_mark(tx, &clock)?;
                step(tx, limits, &clock)
            })
            .await?;
        // As many transactions as it takes: others write between them.
        while more {
            let clock = self.inner.clock.clone();
            let step = self.write(move |tx| step(tx, limits, &clock)).await?;
            reaped.extend(step.0);
            more = step.1;
        }
        self.settle_tasks().await?;
        if audited {
            let entry = audit::reaper_ran(&reaped, self.now());
            self.add_activity(entry, None).await?;
        }
        Ok(reaped)
    }

    /// Writes down what time it is, so that the next start knows how long nobody was here. Before that the records
    /// follow whatever happened to the clock.
    pub async fn keep_time(&self) -> Result<(), StoreError> {
        let clock = self.inner.clock.clone();
        self.write(move |tx| keep_mark(tx, &clock)).await
    }
}

/// How long who is silent is there, and how long who is not there is kept.
#[derive(Clone, Copy)]
struct Limits {
    offline_after_ms: i64,
    prune_after_ms: i64,
}

/// At most [`STEP_ROWS`] of each kind. Nobody is silent before the relay has been here for as long as that takes:
/// after a pause, and after a start, everybody can come back first. The second is whether there may be more.
fn step(tx: &mut Tx<'_>, limits: Limits, clock: &Clock) -> Result<(Reaped, bool), StoreError> {
    let Limits { offline_after_ms, prune_after_ms } = limits;
    let was_heard = clock.present_ms() >= offline_after_ms;
    let silent_since = if was_heard { tx.now - offline_after_ms } else { Timestamp::MIN };
    let gone_since = tx.proven - prune_after_ms;
    tokens::expire(tx, tx.now, STEP_ROWS)?;
    // The message of a task is free with it.
    let (released_task_ids, mut released_message_ids) = tasks::claims::release_expired(tx, STEP_ROWS)?;
    released_message_ids.extend(claims::release_expired(tx, STEP_ROWS)?);
    let reaped = Reaped {
        reaped_agent_ids: silence_agents(tx, silent_since)?,
        reaped_orchestrator_ids: silence_orchestrators(tx, silent_since)?,
        released_message_ids,
        released_task_ids,
        expired_command_ids: commands::expire(tx, STEP_ROWS)?,
        recovered_agent_ids: agents::end_conditions(tx, STEP_ROWS)?,
        expired_pair_ids: pairs::expire(tx, STEP_ROWS)?,
        pruned_agent_ids: prune_agents(tx, gone_since)?,
    };
    let unread =
        deliveries::park(tx, STEP_ROWS)? | bounces::tell_expired(tx, STEP_ROWS)? | bounces::tell_due(tx, STEP_ROWS)?;
    let more = unread || is_full(&reaped);
    Ok((reaped, more))
}

/// Whether a step found as much of a kind as it takes, so that there may be more.
fn is_full(step: &Reaped) -> bool {
    let most = [
        step.reaped_agent_ids.len(),
        step.reaped_orchestrator_ids.len(),
        step.released_message_ids.len(),
        step.released_task_ids.len(),
        step.expired_command_ids.len(),
        step.expired_pair_ids.len(),
        step.recovered_agent_ids.len(),
        step.pruned_agent_ids.len(),
    ];
    most.into_iter().any(|count| count >= STEP_ROWS as usize)
}

/// What `meta` has the clock's mark under.
const MARK: &str = "clock";

/// Has the clock go on where an earlier run left off, and the records follow it. Answers that moment.
pub(super) fn resume(connection: &Connection, clock: &Clock) -> Result<Moment, StoreError> {
    let snapshot = Snapshot::new(connection);
    let kept: Option<String> = snapshot.value("SELECT value FROM meta WHERE key = $1", &[&MARK])?;
    let mark = kept.and_then(|json| serde_json::from_str::<Mark>(&json).ok());
    let newest = if mark.is_none() { newest(&snapshot)? } else { None };
    let moment = clock.resume(mark.as_ref(), newest);
    connection.begin_write()?;
    let followed = follow(connection, Moment::default(), moment);
    if followed.is_err() {
        connection.roll_back()?;
    }
    followed?;
    connection.commit()?;
    Ok(moment)
}

/// The time of the newest message, which has to do where no mark was kept.
fn newest(snapshot: &Snapshot<'_>) -> Result<Option<Timestamp>, StoreError> {
    snapshot.value("SELECT created_at FROM messages ORDER BY id DESC LIMIT 1", &[])
}

/// Moves along what is dated by the wall clock, from where it lay at one moment to where it lies at a later one: what
/// ends by itself with every step of the clock and every pause, and when somebody was heard with the steps. Runs in a
/// transaction that is open.
pub(super) fn follow(connection: &Connection, from: Moment, to: Moment) -> Result<(), StoreError> {
    let step = to.stepped_ms - from.stepped_ms;
    let shift = step + to.paused_ms - from.paused_ms;
    if shift != 0 {
        // No lease becomes longer than one that is taken now: how long nobody was here is known only roughly.
        for table in ["messages", "tasks"] {
            let update = format!(
                "UPDATE {table} SET claim_expires_at = CASE
                     WHEN claim_expires_at + $1 > $2 + claim_lease_ms THEN $2 + claim_lease_ms
                     ELSE claim_expires_at + $1 END
                 WHERE claim_expires_at IS NOT NULL"
            );
            connection.execute(&update, &[&shift, &to.now])?;
        }
        // The status is said twice, so that the index of open commands is used.
        let pending = "WHERE status IN ('pending', 'accepted', 'running') AND status = 'pending'";
        let mut messages: Vec<Option<MessageId>> = Vec::new();
        connection.each_value(&format!("SELECT message_id FROM commands {pending}"), &[], |id| messages.push(id))?;
        connection.execute(&format!("UPDATE commands SET expires_at = expires_at + $1 {pending}"), &[&shift])?;
        connection.execute("UPDATE pairs SET expires_at = expires_at + $1 WHERE expires_at IS NOT NULL", &[&shift])?;
        // What was tried waits as long as it would have, so that not everything is sent at once; what was not, is due.
        connection.execute(
            "UPDATE outbox SET next_at = next_at + CASE WHEN tries > 0 THEN $1 ELSE $2 END WHERE next_at IS NOT NULL",
            &[&shift, &step],
        )?;
        let deliveries = "UPDATE deliveries SET next_at = next_at + CASE WHEN attempts > 0 THEN $1 ELSE $2 END
                          WHERE next_at IS NOT NULL";
        connection.execute(deliveries, &[&shift, &step])?;
        connection.execute("UPDATE hosted SET greets_at = greets_at + $1 WHERE greets > 0", &[&step])?;
        connection.execute(
            "UPDATE outbox_receivers SET next_at = COALESCE((SELECT min(next_at) FROM outbox
                 WHERE outbox.receiver = outbox_receivers.receiver AND outbox.next_at IS NOT NULL), $1)",
            &[&to.now],
        )?;
        for message in messages.into_iter().flatten() {
            connection
                .execute("UPDATE messages SET expires_at = expires_at + $1 WHERE id = $2", &[&shift, &message])?;
        }
    }
    for table in ["agents", "orchestrators"] {
        if step != 0 {
            // What was heard in this run was heard by the clock that was set; what is older may be by another.
            let update = format!("UPDATE {table} SET last_seen = last_seen + $1 WHERE last_seen >= $2");
            connection.execute(&update, &[&step, &(to.began - step)])?;
        }
        connection.execute(&format!("UPDATE {table} SET last_seen = $1 WHERE last_seen > $1"), &[&to.now])?;
    }
    Ok(())
}

/// Writes down where the clock is.
pub(super) fn keep_mark(tx: &Tx<'_>, clock: &Clock) -> Result<(), StoreError> {
    tx.execute(
        "INSERT INTO meta (key, value) VALUES ($1, $2) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
        &[&MARK, &json(&clock.mark())],
    )?;
    Ok(())
}

/// Writes down that an agent was heard from.
fn hear(tx: &mut Tx<'_>, id: &AgentId, at: Timestamp) -> Result<(), StoreError> {
    if let Some(before) = agents::load(tx, id)? {
        let mut agent = before.clone();
        if agent.hear(at) {
            agents::save(tx, Some(&before), &agent)?;
        } else {
            tx.execute("UPDATE agents SET last_seen = $1 WHERE id = $2", &[&agent.last_seen, id])?;
        }
    }
    if let Some(orchestrator) = OrchestratorId::of_agent(id) {
        let update = "UPDATE orchestrators SET last_seen = $1 WHERE id = $2 AND last_seen < $1";
        tx.execute(update, &[&at, &orchestrator])?;
    }
    Ok(())
}

fn silence_agents(tx: &mut Tx<'_>, since: Timestamp) -> Result<Vec<AgentId>, StoreError> {
    let silent: Vec<Agent> = tx.rows(
        "WHERE status <> 'offline' AND last_seen < $1 AND id NOT IN ('user', 'system') LIMIT $2",
        &[&since, &STEP_ROWS],
    )?;
    let mut ids = Vec::with_capacity(silent.len());
    for before in silent {
        let mut agent = before.clone();
        agent.go_offline();
        agents::save(tx, Some(&before), &agent)?;
        ids.push(agent.id);
    }
    Ok(ids)
}

fn silence_orchestrators(tx: &mut Tx<'_>, since: Timestamp) -> Result<Vec<OrchestratorId>, StoreError> {
    let ids: Vec<OrchestratorId> = tx.values(
        "SELECT id FROM orchestrators WHERE status <> 'offline' AND last_seen < $1 LIMIT $2",
        &[&since, &STEP_ROWS],
    )?;
    for id in &ids {
        if let Some(orchestrator) = orchestrators::load(tx, id)? {
            orchestrators::go_offline(tx, orchestrator)?;
        }
    }
    Ok(ids)
}

fn prune_agents(tx: &mut Tx<'_>, since: Timestamp) -> Result<Vec<AgentId>, StoreError> {
    let ids: Vec<AgentId> = tx.values(
        "SELECT id FROM agents WHERE status = 'offline' AND last_seen < $1 AND id NOT IN ('user', 'system')
             AND id NOT IN (SELECT 'orchestrator-' || id FROM orchestrators) LIMIT $2",
        &[&since, &STEP_ROWS],
    )?;
    for id in &ids {
        agents::remove(tx, id.clone(), BounceReason::Pruned)?;
    }
    Ok(ids)
}
