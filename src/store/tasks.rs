//! Tasks: asking, finding, finishing. Every change of a task goes through [`record`](record::record).

pub(super) mod claims;
mod dependents;
pub(super) mod integrations;
mod outbox;
mod record;

use super::engine::stored;
use super::tx::search::{AnyOf, NewestFirst};
use super::tx::{Snapshot, Tx};
use super::{Created, Idempotency, Json, Store, StoreError, agents, messages};
use crate::domain::agent::{Routes, SessionGuard};
use crate::domain::id::{TaskEventId, TaskId};
use crate::domain::page::{Filling, Limit, Page};
use crate::domain::refusal::Refusal;
use crate::domain::task::{Answer, Change, NewTask, Report, Task, TaskEvent, TaskEventKind, TaskFilter, TaskStatus};
use crate::domain::time::Timestamp;

use self::dependents::{SETTLED_AT_ONCE, settle};
pub use self::outbox::Due;
pub(super) use self::record::record;

stored! {
    stored Task in tasks {
        id, source, kind, title, body, severity, status, target, from = "asker", asked_by, dedupe_key, occurrences, claimed_by,
        claimed_at, claim_expires_at, claim_generation, callback_url, options as json, result as json_or_null,
        metadata as json, depends_on as json, blocked_by as json, message_id, created_at, updated_at, finished_at,
        lease_ms = "claim_lease_ms", event_count,
    }
}

impl Store {
    /// Asks for a task. One with the same key that is not finished is asked for once more, and answered.
    pub async fn create_task(&self, new: NewTask, key: Option<Idempotency>) -> Result<Created<Task>, StoreError> {
        self.write(move |tx| {
            tx.once(key.as_ref(), |tx| {
                let (task, raised) = create(tx, new)?;
                Ok(Created { json: Json::of(&task), replayed: false, created: !raised })
            })
        })
        .await
    }

    /// One task.
    pub async fn task(&self, id: TaskId) -> Result<Task, StoreError> {
        self.read(move |snapshot| load(snapshot, id)).await
    }

    /// What happened to a task before this event: the newest of it, oldest first. The next page is what happened
    /// before that.
    pub async fn task_events(
        &self,
        id: TaskId,
        before: Option<TaskEventId>,
        limit: Limit,
    ) -> Result<Page<TaskEvent, TaskEventId>, StoreError> {
        self.read_page(move |snapshot| {
            let before = before.unwrap_or(TaskEventId::new(i64::MAX));
            let mut page = Filling::new(limit);
            snapshot.each(
                "WHERE task_id = $1 AND id < $2 ORDER BY id DESC LIMIT $3",
                &[&id, &before, &limit],
                |event: TaskEvent| page.take(event),
            )?;
            let mut page = page.finish(|oldest| oldest.id);
            page.entries.reverse();
            Ok(page)
        })
        .await
    }

    /// Tasks, newest first.
    pub async fn tasks(&self, filter: TaskFilter) -> Result<Page<Task, TaskId>, StoreError> {
        self.read_page(move |snapshot| {
            let routes = filter.agent.as_ref().map(|agent| agents::routes(snapshot, agent)).transpose()?;
            let mut any = Vec::new();
            if let Some(routes) = &routes {
                any.extend([AnyOf::With("asker", &routes.agent), AnyOf::With("claimed_by", &routes.agent)]);
                any.push(AnyOf::With("target", &routes.agent));
                any.extend(routes.groups.iter().map(|group| AnyOf::With("target", group)));
                any.extend(filter.or_for_anybody.then_some(AnyOf::Without("target")));
            }
            let lists = [
                ("target", filter.target.as_ref().map(|target| target as _)),
                ("status", filter.status.as_ref().map(|status| status as _)),
                ("source", filter.source.as_ref().map(|source| source as _)),
                ("severity", filter.severity.as_ref().map(|severity| severity as _)),
            ];
            let rows = NewestFirst { table: "tasks", lists: &lists, any: &any, since: 0 };
            rows.page(snapshot, filter.before, filter.limit, |task: &Task| task.id)
        })
        .await
    }

    /// Takes a report on a task.
    pub async fn report_task(&self, id: TaskId, report: Report, guard: SessionGuard) -> Result<Task, StoreError> {
        self.write_settling(move |tx| {
            let mut task = load(tx, id)?;
            let agent = report.agent.clone();
            if report.status == TaskStatus::Claimed || !guard.is_open() {
                let routes = messages::routes_of_session(tx, &agent, &guard)?;
                if report.status == TaskStatus::Claimed {
                    require_target(&task, &routes)?;
                    claims::notice_end(tx, &mut task)?;
                }
            }
            let former = task.claimed_by.clone();
            let kind = task.report(&report, tx.now)?;
            record(tx, &mut task, Change::new(kind).by(agent).saying(report.note).from_holder(former))?;
            Ok(task)
        })
        .await
    }

    /// Takes the answer to a question, which goes to who asked as a message as well.
    pub async fn answer_task(&self, id: TaskId, answer: Answer) -> Result<Task, StoreError> {
        self.write_settling(move |tx| {
            let mut task = load(tx, id)?;
            if !answer.is_administrator {
                require_target(&task, &agents::routes(tx, &answer.agent)?)?;
            }
            task.take_answer(&answer, tx.now)?;
            let change = Change::new(TaskEventKind::Answered).by(answer.agent.clone());
            record(tx, &mut task, change.saying(answer.answer.clone()))?;
            let thread = task.message_id.filter(|id| messages::load_as_stored(tx, *id).is_ok());
            if let Some(message) = task.answer_message(&answer, thread) {
                messages::insert(tx, message)?;
            }
            Ok(task)
        })
        .await
    }

    /// Goes on telling those that wait for tasks which have ended, until all of them know.
    pub async fn settle_tasks(&self) -> Result<(), StoreError> {
        while self.write(|tx| settle(tx, SETTLED_AT_ONCE)).await? {}
        Ok(())
    }

    /// Runs one transaction in which a task may end, and tells those that wait for it: as many as one transaction
    /// may in that one, the others before this answers.
    pub(super) async fn write_settling<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Tx<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (answer, more) = self
            .write(move |tx| {
                let answer = work(tx)?;
                Ok((answer, settle(tx, SETTLED_AT_ONCE)?))
            })
            .await?;
        if more {
            // What was asked is done, whatever becomes of this: the reaper goes on with it.
            self.settle_tasks().await.ok();
        }
        Ok(answer)
    }
}

/// Asks for a task, and answers it and whether it was there: one with the same key from the same source that is not
/// finished.
pub(super) fn create(tx: &mut Tx<'_>, new: NewTask) -> Result<(Task, bool), StoreError> {
    if let Some(key) = &new.dedupe_key
        && let Some(mut task) = unfinished(tx, &new.source, key)?
    {
        task.occurrences += 1;
        record(tx, &mut task, Change::new(TaskEventKind::Occurred).by(new.from))?;
        return Ok((task, true));
    }
    let (mut waits_for, mut broken) = (Vec::new(), None);
    for id in &new.depends_on {
        let status = tx.value("SELECT status FROM tasks WHERE id = $1", &[id])?;
        match status.ok_or(Refusal::NotFound("task that this one depends on"))? {
            TaskStatus::Done => {}
            end @ (TaskStatus::Failed | TaskStatus::Canceled) => broken = broken.or(Some((*id, end))),
            _ => waits_for.push(*id),
        }
    }
    let mut task = new.stored(waits_for, broken.is_some(), tx.now);
    task.id = next_id(tx)?;
    if task.status == TaskStatus::Open {
        bring(tx, &mut task)?;
    }
    let created = Change::new(TaskEventKind::Created).by(task.from.clone());
    record(tx, &mut task, created)?;
    for id in &task.blocked_by {
        tx.execute("INSERT INTO task_waits (depends_on, task_id) VALUES ($1, $2)", &[id, &task.id])?;
    }
    if let Some((id, end)) = broken {
        record(tx, &mut task, dependents::broken(id, end))?;
    }
    Ok((task, false))
}

/// Ends a task that is found by its key, because its source says that there is nothing to do any more.
pub(super) fn resolve(
    tx: &mut Tx<'_>,
    source: &str,
    key: &str,
    note: Option<String>,
) -> Result<Option<Task>, StoreError> {
    let Some(mut task) = unfinished(tx, source, key)? else { return Ok(None) };
    let former = task.claimed_by.clone();
    if let Some(kind) = task.resolve(tx.now) {
        record(tx, &mut task, Change::new(kind).saying(note).from_holder(former))?;
        settle(tx, SETTLED_AT_ONCE)?;
    }
    Ok(Some(task))
}

/// Sends the message that brings a task to those it is for, and notes which one it is.
fn bring(tx: &mut Tx<'_>, task: &mut Task) -> Result<(), StoreError> {
    if let Some(message) = task.message() {
        let (message, _) = messages::insert(tx, message)?;
        task.message_id = Some(message.id);
    }
    Ok(())
}

/// The number of the next task. The newest one is never deleted, so none is given twice.
fn next_id(snapshot: &Snapshot<'_>) -> Result<TaskId, StoreError> {
    let newest: Option<TaskId> = snapshot.value("SELECT id FROM tasks ORDER BY id DESC LIMIT 1", &[])?;
    Ok(TaskId::new(newest.map_or(0, TaskId::get) + 1))
}

/// The task with this key that is not finished.
fn unfinished(snapshot: &Snapshot<'_>, source: &str, key: &str) -> Result<Option<Task>, StoreError> {
    snapshot.row("WHERE source = $1 AND dedupe_key = $2 AND finished_at IS NULL", &[&source, &key])
}

/// One task or a refusal.
pub(super) fn load(snapshot: &Snapshot<'_>, id: TaskId) -> Result<Task, StoreError> {
    Ok(snapshot.row("WHERE id = $1", &[&id])?.ok_or(Refusal::NotFound("task"))?)
}

/// Refuses unless the task is for an agent with these routes.
fn require_target(task: &Task, routes: &Routes) -> Result<(), Refusal> {
    if task.is_for(routes) {
        Ok(())
    } else {
        Err(Refusal::NotAddressed { work: task.id.into(), agent: routes.agent.clone() })
    }
}

/// Deletes what ended before this moment, with its history and its callbacks: at most so many rows. Answers how many.
pub(super) fn retain(tx: &mut Tx<'_>, before: Timestamp, limit: i64) -> Result<usize, StoreError> {
    let old: Vec<TaskId> = tx.values(
        "SELECT id FROM tasks WHERE finished_at < $1 AND settling = 0
             AND id < (SELECT id FROM tasks ORDER BY id DESC LIMIT 1) ORDER BY finished_at LIMIT $2",
        &[&before, &limit],
    )?;
    let most = usize::try_from(limit).unwrap_or(usize::MAX);
    let mut rows = 0;
    for id in old {
        let left = i64::try_from(most - rows).unwrap_or(i64::MAX);
        rows += tx.execute(
            "DELETE FROM task_events WHERE task_id = $1
                 AND id IN (SELECT id FROM task_events WHERE task_id = $1 ORDER BY id LIMIT $2)",
            &[&id, &left],
        )?;
        if rows >= most {
            break;
        }
        rows += outbox::forget(tx, id, i64::try_from(most - rows).unwrap_or(i64::MAX))?;
        if rows >= most {
            break;
        }
        let task = load(tx, id)?;
        if let Some(message) = task.message_id {
            // It goes on as a message that was claimed and completed.
            messages::claims::save(tx, message, &task.claim_of_message())?;
        }
        rows += tx.execute("DELETE FROM tasks WHERE id = $1", &[&id])?;
        if rows >= most {
            break;
        }
    }
    Ok(rows)
}
