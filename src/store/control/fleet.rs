//! What policies are told of the fleet, and the line in which agents started agents.

use crate::domain::agent::Condition;
use crate::domain::control::ControlKind;
use crate::domain::control::RUNNING_MAX;
use crate::domain::control::command::{Command, CommandStatus};
use crate::domain::control::fleet::{AgentCondition, Fleet, SPAWNS_MAX, SPAWNS_MS};
use crate::domain::id::AgentId;
use crate::domain::time::Timestamp;
use crate::store::engine::stored;
use crate::store::tx::{Snapshot, Tx};
use crate::store::{Store, StoreError};

/// An agent that an agent started.
struct Descent {
    agent_id: AgentId,
    started_by: AgentId,
    /// How many agents stand between it and a person.
    depth: i64,
    at: Timestamp,
}

stored! { stored Descent in descents { agent_id, started_by, depth, at } }

struct Troubled {
    id: AgentId,
    condition: Option<Condition>,
}

stored! { read Troubled in agents { id, condition as json_or_null } }

impl Store {
    /// What policies are told of the fleet when this caller asks for something; `agent` is the one that it is bound
    /// to.
    pub async fn fleet(&self, caller: String, agent: Option<AgentId>) -> Result<Fleet, StoreError> {
        let since = self.now() - SPAWNS_MS;
        self.read(move |snapshot| {
            let most = i64::try_from(RUNNING_MAX).unwrap_or(i64::MAX);
            let troubled: Vec<Troubled> =
                snapshot.rows("WHERE condition_kind IS NOT NULL ORDER BY id LIMIT $1", &[&most])?;
            let conditions = troubled.into_iter().filter_map(|Troubled { id, condition }| {
                let Condition { kind, since, until, .. } = condition?;
                Some(AgentCondition { agent_id: id, kind, since, until })
            });
            let most = i64::try_from(SPAWNS_MAX).unwrap_or(i64::MAX);
            let spawns = snapshot.values(
                "SELECT created_at FROM commands WHERE kind = 'spawn' AND requested_by = $1 AND created_at > $2
                 AND status <> 'denied' ORDER BY created_at DESC LIMIT $3",
                &[&caller, &since, &most],
            )?;
            let depth = match &agent {
                Some(agent) => depth_of(snapshot, agent)? + 1,
                None => 0,
            };
            Ok(Fleet { conditions: conditions.collect(), spawns, depth: u32::try_from(depth).unwrap_or(u32::MAX) })
        })
        .await
    }
}

fn depth_of(snapshot: &Snapshot<'_>, agent: &AgentId) -> Result<i64, StoreError> {
    Ok(snapshot.value("SELECT depth FROM descents WHERE agent_id = $1", &[agent])?.unwrap_or(0))
}

/// Keeps who started the agent that this command starts, where that was an agent. It is kept for as long as there is
/// such an agent, whatever becomes of the command.
pub(in crate::store) fn keep_descent(
    tx: &Tx<'_>,
    command: &Command,
    caller: Option<&AgentId>,
) -> Result<(), StoreError> {
    let Some(caller) = caller else { return Ok(()) };
    if command.kind != ControlKind::Spawn || command.status == CommandStatus::Denied {
        return Ok(());
    }
    // Without an orchestrator the command is for the agent itself.
    let agent_id = command.starts().unwrap_or_else(|| command.target.clone());
    let depth = depth_of(tx, caller)?.saturating_add(1);
    tx.upsert(&Descent { agent_id, started_by: caller.clone(), depth, at: tx.now })
}

/// Forgets who started an agent that is gone.
pub(in crate::store) fn forget_descent(tx: &Tx<'_>, agent: &AgentId) -> Result<(), StoreError> {
    tx.execute("DELETE FROM descents WHERE agent_id = $1", &[agent]).map(drop)
}
