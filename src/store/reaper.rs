//! The reaper: leases end, agents and orchestrators fall silent, commands are taken up by nobody.

use super::tx::Tx;
use super::{Store, StoreError, agents, claims, commands, orchestrators};
use crate::domain::agent::Agent;
use crate::domain::audit;
use crate::domain::id::{AgentId, OrchestratorId};
use crate::domain::orchestrator::OrchestratorStatus;
use crate::domain::retention::Reaped;
use crate::domain::time::Timestamp;

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
        let mut signs: Vec<(AgentId, Timestamp)> = self.take_signs_of_life().into_iter().collect();
        let now = Timestamp::now();
        signs.extend(alive.into_iter().map(|agent| (agent, now)));
        let first = self.write(move |tx| {
            for (agent, at) in signs {
                hear(tx, &agent, at)?;
            }
            step(tx, offline_after_ms, prune_after_ms)
        });
        let mut reaped = first.await?;
        let mut is_full = is_full(&reaped);
        // As many transactions as it takes: others write between them.
        while is_full {
            let more = self.write(move |tx| step(tx, offline_after_ms, prune_after_ms)).await?;
            is_full = self::is_full(&more);
            reaped.extend(more);
        }
        if audited {
            let entry = audit::reaper_ran(&reaped, Timestamp::now());
            self.add_activity(entry, None).await?;
        }
        Ok(reaped)
    }
}

/// At most [`STEP_ROWS`] of each kind.
fn step(tx: &mut Tx<'_>, offline_after_ms: i64, prune_after_ms: i64) -> Result<Reaped, StoreError> {
    let (silent_since, gone_since) = (tx.now - offline_after_ms, tx.now - prune_after_ms);
    Ok(Reaped {
        reaped_agent_ids: silence_agents(tx, silent_since)?,
        reaped_orchestrator_ids: silence_orchestrators(tx, silent_since)?,
        released_message_ids: claims::release_expired(tx, STEP_ROWS)?,
        released_task_ids: Vec::new(),
        expired_command_ids: commands::expire(tx, STEP_ROWS)?,
        pruned_agent_ids: prune_agents(tx, gone_since)?,
    })
}

/// Whether a step found as much of a kind as it takes, so that there may be more.
fn is_full(step: &Reaped) -> bool {
    let most = [
        step.reaped_agent_ids.len(),
        step.reaped_orchestrator_ids.len(),
        step.released_message_ids.len(),
        step.expired_command_ids.len(),
        step.pruned_agent_ids.len(),
    ];
    most.into_iter().any(|count| count >= STEP_ROWS as usize)
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
        if let Some(mut orchestrator) = orchestrators::load(tx, id)? {
            orchestrator.status = OrchestratorStatus::Offline;
            orchestrators::save(tx, &orchestrator)?;
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
        agents::remove(tx, id.clone())?;
    }
    Ok(ids)
}
