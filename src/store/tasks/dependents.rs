//! What becomes of the tasks that wait for one which has ended: some at a time, however many there are, and then
//! those that wait for them.

use crate::domain::id::TaskId;
use crate::domain::task::{Change, Task, TaskEventKind, TaskStatus};
use crate::domain::text::json;
use crate::store::StoreError;
use crate::store::engine::stored;
use crate::store::tx::{Snapshot, Tx};

use super::bring;
use super::record::{record, save, tell};

/// So many that wait are told in one transaction: each may send a message, and others wait for the writer meanwhile.
pub(in crate::store) const SETTLED_AT_ONCE: usize = 32;

/// A task that has ended.
struct Ended {
    id: TaskId,
    status: TaskStatus,
}

stored! { read Ended in tasks { id, status } }

/// Tells at most so many tasks that one which they wait for has ended. Answers whether there may be more to tell.
pub(in crate::store) fn settle(tx: &mut Tx<'_>, rows: usize) -> Result<bool, StoreError> {
    // After nearly every transaction there is nobody, and nobody has to look.
    if tx.remembered().nobody_waits_to_hear() {
        return Ok(false);
    }
    let mut left = rows;
    while left > 0 {
        let Some(ended) = first_ended(tx)? else {
            tx.remembered().all_have_heard();
            return Ok(false);
        };
        let waiting: Vec<TaskId> = tx.values(
            "SELECT task_id FROM task_waits WHERE depends_on = $1 ORDER BY task_id LIMIT $2",
            &[&ended.id, &i64::try_from(left).unwrap_or(i64::MAX)],
        )?;
        for id in &waiting {
            tx.execute("DELETE FROM task_waits WHERE depends_on = $1 AND task_id = $2", &[&ended.id, id])?;
            if let Some(task) = tx.row::<Task>("WHERE id = $1", &[id])? {
                hear_of(tx, task, &ended)?;
            }
        }
        if waiting.len() < left {
            tx.execute("UPDATE tasks SET settling = 0 WHERE id = $1", &[&ended.id])?;
        }
        left -= waiting.len().max(1);
    }
    Ok(first_ended(tx)?.is_some())
}

fn first_ended(snapshot: &Snapshot<'_>) -> Result<Option<Ended>, StoreError> {
    snapshot.row("WHERE settling = 1 ORDER BY id LIMIT 1", &[])
}

fn hear_of(tx: &mut Tx<'_>, mut task: Task, ended: &Ended) -> Result<(), StoreError> {
    match task.dependency_ended(ended.id, ended.status, tx.now) {
        Some(TaskEventKind::Canceled) => record(tx, &mut task, broken(ended.id, ended.status)),
        Some(kind) => {
            bring(tx, &mut task)?;
            tx.execute("UPDATE tasks SET message_id = $1 WHERE id = $2", &[&task.message_id, &task.id])?;
            record(tx, &mut task, Change::new(kind))
        }
        None if task.is_waiting() => {
            task.updated_at = tx.now;
            save(tx, &task)?;
            tell(tx, &task, &Change::new(TaskEventKind::Blocked))
        }
        None => Ok(()),
    }
}

/// The end of a task that waited for this one.
pub(super) fn broken(id: TaskId, end: TaskStatus) -> Change {
    let reason = match end {
        TaskStatus::Failed => format!("task {id}, on which it depends, failed"),
        _ => format!("task {id}, on which it depends, was canceled"),
    };
    let mut metadata = json::Object::default();
    metadata.insert("dependsOn", id);
    Change { metadata: Some(metadata), ..Change::new(TaskEventKind::Canceled).saying(reason) }
}
