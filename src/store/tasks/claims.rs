//! Claims of tasks. A task and the message that brings it have one claim, which is kept with the task: by whichever it
//! is taken, renewed, given back or completed, both have it.

use crate::domain::agent::SessionGuard;
use crate::domain::id::{AgentId, MessageId, TaskId};
use crate::domain::message::{ClaimChange, LEASE_MS_DEFAULT, Message, lease_ms};
use crate::domain::task::{Change, Task, TaskEventKind};
use crate::domain::text::json;
use crate::store::messages::routes_of_session;
use crate::store::tx::{Snapshot, Tx};
use crate::store::{Store, StoreError};

use super::{load, record, require_target};

impl Store {
    /// Takes a task's claim. Taking what one already holds answers the same claim again.
    pub async fn claim_task(
        &self,
        id: TaskId,
        agent: AgentId,
        guard: SessionGuard,
        lease: Option<i64>,
    ) -> Result<Task, StoreError> {
        let change = ClaimChange::Take { lease_ms: lease_ms(lease, LEASE_MS_DEFAULT)? };
        self.change_claim_of_task(id, agent, guard, change).await
    }

    /// Prolongs a held claim, by its own length unless another is given.
    pub async fn renew_task(
        &self,
        id: TaskId,
        agent: AgentId,
        guard: SessionGuard,
        generation: i64,
        lease: Option<i64>,
    ) -> Result<Task, StoreError> {
        self.change_claim_of_task(id, agent, guard, ClaimChange::Renew { generation, lease_ms: lease }).await
    }

    /// Gives a held claim back.
    pub async fn release_task(
        &self,
        id: TaskId,
        agent: AgentId,
        guard: SessionGuard,
        generation: i64,
    ) -> Result<Task, StoreError> {
        self.change_claim_of_task(id, agent, guard, ClaimChange::Release { generation }).await
    }

    async fn change_claim_of_task(
        &self,
        id: TaskId,
        agent: AgentId,
        guard: SessionGuard,
        change: ClaimChange,
    ) -> Result<Task, StoreError> {
        self.write(move |tx| {
            let task = load(tx, id)?;
            let routes = routes_of_session(tx, &agent, &guard)?;
            if let ClaimChange::Take { .. } = change {
                require_target(&task, &routes)?;
            }
            self::change(tx, task, &agent, change)
        })
        .await
    }
}

/// Changes the claim of a task and of its message. Who may has been asked.
pub(in crate::store) fn change(
    tx: &mut Tx<'_>,
    mut task: Task,
    agent: &AgentId,
    change: ClaimChange,
) -> Result<Task, StoreError> {
    if let ClaimChange::Take { .. } = change {
        notice_end(tx, &mut task)?;
    }
    if let Some(kind) = task.change_claim(change, agent, tx.now)? {
        record(tx, &mut task, Change::new(kind).by(agent.clone()))?;
    }
    Ok(task)
}

/// Frees a task whose lease has ended, if it has. Answers whether it had.
pub(in crate::store) fn notice_end(tx: &mut Tx<'_>, task: &mut Task) -> Result<bool, StoreError> {
    let Some(holder) = task.expire(tx.now) else { return Ok(false) };
    record(tx, task, Change::new(TaskEventKind::Expired).by(holder.clone()).from_holder(Some(holder)))?;
    Ok(true)
}

/// The task that a message brings, if it brings one.
pub(in crate::store) fn of_message(snapshot: &Snapshot<'_>, message: &Message) -> Result<Option<Task>, StoreError> {
    let Some(task) = brought_by(&message.meta) else { return Ok(None) };
    snapshot.row("WHERE id = $1 AND message_id = $2", &[&task, &message.id])
}

/// Whether the task that a message with this `meta` brings was ever claimed.
pub(in crate::store) fn was_claimed(
    snapshot: &Snapshot<'_>,
    message: MessageId,
    meta: &json::Object,
) -> Result<bool, StoreError> {
    let Some(task) = brought_by(meta) else { return Ok(false) };
    let sql = "SELECT claim_generation FROM tasks WHERE id = $1 AND message_id = $2";
    let generation: Option<i64> = snapshot.value(sql, &[&task, &message])?;
    Ok(generation.is_some_and(|generation| generation > 0))
}

/// The task that a message with this `meta` may bring: every one that brings a task says so, and who says so without
/// being its message is not believed.
fn brought_by(meta: &json::Object) -> Option<TaskId> {
    meta.get("taskId").and_then(|id| id.as_i64()).map(TaskId::new)
}

/// Frees tasks whose lease has ended, at most `limit`, and answers them and their messages.
pub(in crate::store) fn release_expired(
    tx: &mut Tx<'_>,
    limit: i64,
) -> Result<(Vec<TaskId>, Vec<MessageId>), StoreError> {
    let ids: Vec<TaskId> = tx.values(
        "SELECT id FROM tasks WHERE claim_expires_at IS NOT NULL AND claim_expires_at <= $1
         ORDER BY claim_expires_at LIMIT $2",
        &[&tx.now, &limit],
    )?;
    let mut messages = Vec::new();
    for id in &ids {
        let mut task = load(tx, *id)?;
        if notice_end(tx, &mut task)? {
            messages.extend(task.message_id);
        }
    }
    Ok((ids, messages))
}
