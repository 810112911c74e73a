//! Records of what happens to tasks: each step in one place, with everything that follows from it.

use serde_json::json;

use crate::domain::attention::{Cause, of_task};
use crate::domain::audit;
use crate::domain::event::{Audience, EventName};
use crate::domain::id::{AgentId, TaskEventId};
use crate::domain::message::delivery::DropReason;
use crate::domain::task::{Change, EVENTS_KEPT, Task, TaskEvent, TaskEventKind, TaskKind, TaskStatus};
use crate::store::engine::{AsJson, ToSql, stored};
use crate::store::messages::deliveries;
use crate::store::tx::Tx;
use crate::store::{StoreError, activity, attention};

use super::outbox;

stored! {
    stored TaskEvent in task_events {
        id, task_id, kind = "type", agent_id, body, metadata as json_or_null, created_at,
    }
}

/// Records a step of a task: the task as it is now, the event in its history, the claim of its message, what
/// streams are told, and what is sent to the address that it names. Every change of a task is made by the state machine and then comes through here.
pub(in crate::store) fn record(tx: &mut Tx<'_>, task: &mut Task, change: Change) -> Result<(), StoreError> {
    task.updated_at = tx.now;
    let is_new = change.kind == TaskEventKind::Created;
    let is_kept = change.kind != TaskEventKind::Renewed;
    task.event_count += i64::from(is_kept);
    if is_new {
        tx.insert(task)?;
    } else {
        save(tx, task)?;
    }
    let event = if is_kept { Some(keep(tx, task, &change)?) } else { None };
    follow_with_message(tx, task, &change)?;
    tell(tx, task, &change)?;
    if let Some(event) = event {
        outbox::send(tx, task, &event)?;
    }
    if task.kind != TaskKind::Work {
        match of_task(task) {
            Some(new) => attention::set(tx, new)?,
            None => attention::end(tx, &Cause::Task(task.id))?,
        }
    }
    // People read of what is asked of somebody and of what ended otherwise than by being done. Most of it is neither: that
    // is found in the list of tasks.
    let is_asked = is_new && task.kind != TaskKind::Work;
    let is_news = is_asked || (task.status.is_final() && change.kind != TaskEventKind::Done);
    if is_news {
        activity::insert(tx, audit::task_changed(task, &change))?;
    }
    Ok(())
}

/// Writes down what is different.
pub(super) fn save(tx: &mut Tx<'_>, task: &Task) -> Result<(), StoreError> {
    let result = task.result.as_ref().map(AsJson);
    let blocked_by = AsJson(&task.blocked_by);
    let mut values: Vec<&dyn ToSql> = vec![
        &task.status,
        &task.claimed_by,
        &task.claimed_at,
        &task.claim_expires_at,
        &task.lease_ms,
        &task.claim_generation,
        &task.occurrences,
        &result,
        &blocked_by,
        &task.updated_at,
        &task.event_count,
    ];
    // Only what changes again and again: naming a column means writing its index anew.
    if !task.status.is_final() {
        values.push(&task.id);
        tx.execute(
            "UPDATE tasks SET status = $1, claimed_by = $2, claimed_at = $3, claim_expires_at = $4,
                 claim_lease_ms = $5, claim_generation = $6, occurrences = $7, result = $8, blocked_by = $9,
                 updated_at = $10, event_count = $11 WHERE id = $12",
            &values,
        )?;
        return Ok(());
    }
    let waiting: Option<i64> = tx.value("SELECT 1 FROM task_waits WHERE depends_on = $1 LIMIT 1", &[&task.id])?;
    let settling = waiting.unwrap_or(0);
    if settling > 0 {
        tx.remembered().some_wait_to_hear();
    }
    values.extend([&task.finished_at as &dyn ToSql, &settling, &task.id]);
    tx.execute(
        "UPDATE tasks SET status = $1, claimed_by = $2, claimed_at = $3, claim_expires_at = $4, claim_lease_ms = $5,
             claim_generation = $6, occurrences = $7, result = $8, blocked_by = $9, updated_at = $10,
             event_count = $11, finished_at = $12,
             settling = $13 WHERE id = $14",
        &values,
    )?;
    if !task.depends_on.is_empty() {
        tx.execute("DELETE FROM task_waits WHERE task_id = $1", &[&task.id])?;
    }
    Ok(())
}

/// Writes an event into the history of its task, in place of the oldest where there are enough.
fn keep(tx: &Tx<'_>, task: &Task, change: &Change) -> Result<TaskEvent, StoreError> {
    let event = TaskEvent {
        // The number of the event by which it is told: no other has it, and what happens later has a greater one.
        id: TaskEventId::new(tx.last_seq().get() + 1),
        task_id: task.id,
        kind: change.kind,
        agent_id: change.agent.clone(),
        body: change.body.clone(),
        metadata: change.metadata.clone(),
        created_at: tx.now,
    };
    tx.insert(&event)?;
    if task.event_count > EVENTS_KEPT {
        let oldest = "DELETE FROM task_events WHERE task_id = $1 AND id = (SELECT id FROM task_events
                          WHERE task_id = $1 ORDER BY id LIMIT 1)";
        tx.execute(oldest, &[&task.id])?;
    }
    Ok(event)
}

/// Has the message of a task end with it, and those whom the message concerns hear of its claim, which is the task's.
fn follow_with_message(tx: &mut Tx<'_>, task: &Task, change: &Change) -> Result<(), StoreError> {
    let (Some(message), Some(event)) = (task.message_id, change.kind.of_message()) else { return Ok(()) };
    let (is_there, agent) = if task.status == TaskStatus::Canceled {
        let ended = "UPDATE messages SET expires_at = $1 WHERE id = $2 AND (expires_at IS NULL OR expires_at > $1)";
        (tx.execute(ended, &[&tx.now, &message])? > 0, change.former_holder.as_ref())
    } else {
        let is_there: Option<i64> = tx.value("SELECT 1 FROM messages WHERE id = $1", &[&message])?;
        (is_there.is_some(), change.agent.as_ref().or(task.claimed_by.as_ref()))
    };
    let (Some(agent), true) = (agent, is_there) else {
        return if is_there && task.status.is_final() {
            deliveries::over(tx, message, DropReason::Answered)
        } else {
            Ok(())
        };
    };
    let sender = task.from.clone().unwrap_or_else(AgentId::system);
    let audience =
        Audience { to: task.target.as_deref().map(Into::into), also: Some((&sender).into()), ..Audience::nobody() };
    let data = json!({"id": message, "agentId": agent, "claimGeneration": task.claim_generation});
    tx.emit(event, audience, &data)?;
    match event {
        _ if task.status.is_final() => deliveries::over(tx, message, DropReason::Answered),
        EventName::MessageClaimed => deliveries::claimed(tx, message, agent),
        EventName::MessageClaimReleased => deliveries::freed(tx, message),
        _ => Ok(()),
    }
}

/// Tells those whom a task concerns how it is.
pub(super) fn tell(tx: &mut Tx<'_>, task: &Task, change: &Change) -> Result<(), StoreError> {
    let event = if change.kind == TaskEventKind::Created { EventName::TaskCreated } else { EventName::TaskUpdated };
    tx.emit(event, task.audience(change), task)
}
