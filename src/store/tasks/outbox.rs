//! The outbox: what is to be sent to others, written in the transaction that caused it.
//!
//! What has the same line is sent one after the other: of the pending rows of a line the first alone has a time at
//! which it is tried, and the next one gets its own once that one is delivered or dead. So what waits behind others
//! is never looked at, and neither is what waits at a receiver with whom nothing more can be begun.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use url::Url;

use crate::domain::attention::{Cause, of_callback};
use crate::domain::audit;
use crate::domain::event::{Audience, EventName};
use crate::domain::id::{CallbackId, TaskId};
use crate::domain::page::Page;
use crate::domain::refusal::Refusal;
use crate::domain::task::callback::{
    Attempt, Callback, CallbackFilter, CallbackStatus, Next, Outgoing, OutgoingKind, address, payload,
};
use crate::domain::task::{EVENTS_KEPT, Task, TaskEvent};
use crate::domain::time::Timestamp;
use crate::store::engine::{AsJson, stored};
use crate::store::tx::search::NewestFirst;
use crate::store::tx::{Snapshot, Tx};
use crate::store::{Store, StoreError, activity, attention};

stored! {
    stored Callback in outbox {
        id, task_id, event_id, event, url, webhook_id, status, attempts as json, next_attempt_at = "next_at", created_at,
        updated_at, tries,
    }
}

/// A callback with how it is sent.
struct Row {
    callback: Callback,
    kind: OutgoingKind,
    line: String,
    receiver: String,
    body: Option<String>,
}

stored! { stored Row in outbox { callback as part Callback, kind, line, receiver, body } }
stored! {
    read Outgoing in outbox { id, line, receiver, url, webhook_id, body, tries } beside { is_failing: false }
}

/// What is due, and when something else is.
#[derive(Debug, Default)]
pub struct Due {
    /// What is to be sent now.
    pub outgoing: Vec<Outgoing>,
    /// How long until the next becomes due that is not yet, in milliseconds.
    pub wait_ms: Option<i64>,
}

impl Store {
    /// Callbacks, newest first.
    pub async fn callbacks(&self, filter: CallbackFilter) -> Result<Page<Callback, CallbackId>, StoreError> {
        self.read_page(move |snapshot| {
            let lists = [
                ("task_id", filter.task.as_ref().map(|task| task as _)),
                ("status", filter.status.as_ref().map(|status| status as _)),
            ];
            let rows = NewestFirst { table: "outbox", lists: &lists, any: &[], since: 0 };
            rows.page(snapshot, filter.before, filter.limit, |callback: &Callback| callback.id)
        })
        .await
    }

    /// Has a callback tried at once, and from the beginning where it was dead. Those of its task that come after it
    /// wait for it again.
    pub async fn retry_callback(&self, id: CallbackId, by: String) -> Result<Callback, StoreError> {
        self.write(move |tx| {
            let Some(Row { mut callback, line, .. }) = load(tx, id)? else {
                return Err(Refusal::NotFound("callback").into());
            };
            callback.retry(tx.now)?;
            save(tx, &callback)?;
            hurry(tx, &line)?;
            retried(tx, &callback, &by)?;
            // With the time that it was given, if it comes first.
            let callback = tx.row("WHERE id = $1", &[&id])?.unwrap_or(callback);
            tell(tx, &callback)?;
            Ok(callback)
        })
        .await
    }

    /// What is due at the receivers at which something is due longest: at most so many of those that are good, and of
    /// those that are failing. `room` says of each, and of whether it is failing, how many rows to look at; what is on
    /// its way is among them.
    pub async fn due_outgoing(
        &self,
        good: i64,
        failing: i64,
        mut room: impl FnMut(&str, bool) -> usize + Send + 'static,
    ) -> Result<Due, StoreError> {
        if !self.inner.writer.has_followed(self.inner.clock.look()) {
            // The clock was set, or nobody was here: a commit moves along what is dated.
            self.write(|_| Ok(())).await?;
        }
        let now = self.now();
        self.read(move |snapshot| {
            let mut due = Due::default();
            let mut next = None;
            for (is_failing, limit) in [(false, good), (true, failing)] {
                let receivers: Vec<String> = snapshot.values(
                    "SELECT receiver FROM outbox_receivers WHERE failing = $1 AND next_at <= $2
                     ORDER BY next_at LIMIT $3",
                    &[&is_failing, &now, &limit],
                )?;
                let others: Option<Timestamp> = snapshot.value(
                    "SELECT next_at FROM outbox_receivers WHERE failing = $1 AND next_at > $2 ORDER BY next_at LIMIT 1",
                    &[&is_failing, &now],
                )?;
                next = next.into_iter().chain(others).min();
                for receiver in &receivers {
                    let later: Option<Timestamp> = snapshot.value(
                        "SELECT next_at FROM outbox WHERE receiver = $1 AND next_at > $2 ORDER BY next_at LIMIT 1",
                        &[receiver, &now],
                    )?;
                    next = next.into_iter().chain(later).min();
                    let rows = i64::try_from(room(receiver, is_failing)).unwrap_or(i64::MAX);
                    if rows > 0 {
                        due.outgoing.extend(due_at(snapshot, receiver, is_failing, now, rows)?);
                    }
                }
            }
            due.wait_ms = next.map(|next| next - now);
            Ok(due)
        })
        .await
    }

    /// Waits until something may have become due that was not.
    pub async fn outgoing_changed(&self) {
        self.inner.outgoing_changed.notified().await;
    }

    /// Writes down an attempt and what follows from it. Nothing follows for what is gone meanwhile.
    pub async fn note_attempt(&self, id: CallbackId, attempt: Attempt, next: Next) -> Result<(), StoreError> {
        self.write(move |tx| {
            let Some(Row { mut callback, line, receiver, .. }) = load(tx, id)? else { return Ok(()) };
            if callback.status != CallbackStatus::Pending {
                return Ok(());
            }
            callback.attempted(attempt, next, tx.now);
            save(tx, &callback)?;
            match callback.status {
                CallbackStatus::Pending => {}
                CallbackStatus::Delivered => {
                    tx.execute("UPDATE outbox SET body = NULL WHERE id = $1", &[&id])?;
                    begin_next(tx, &line)?;
                }
                CallbackStatus::Dead => {
                    became_dead(tx, &callback)?;
                    begin_next(tx, &line)?;
                }
            }
            keep_receiver(tx, &receiver)?;
            let is_failing = next != Next::Delivered;
            tx.execute("UPDATE outbox_receivers SET failing = $1 WHERE receiver = $2", &[&is_failing, &receiver])?;
            tell(tx, &callback)
        })
        .await
    }
}

/// Has a step of a task told to the address that the task names, if it names one.
pub(super) fn send(tx: &mut Tx<'_>, task: &Task, event: &TaskEvent) -> Result<(), StoreError> {
    let Some(url) = &task.callback_url else { return Ok(()) };
    // It was one when the task was asked for.
    let receiver = Url::parse(url).map(|url| address::receiver(&url)).unwrap_or_default();
    let line = format!("task:{}", task.id);
    let is_first = first_of(tx, &line)?.is_none();
    let callback = Callback {
        id: CallbackId::default(),
        task_id: task.id,
        event_id: event.id,
        event: event.kind,
        url: url.clone(),
        webhook_id: random_id()?,
        status: CallbackStatus::Pending,
        attempts: Vec::new(),
        next_attempt_at: is_first.then_some(tx.now),
        created_at: tx.now,
        updated_at: tx.now,
        tries: 0,
    };
    let body = Some(payload(task, event));
    let mut row = Row { callback, kind: OutgoingKind::Callback, line, receiver, body };
    row.callback.id = tx.insert_numbered(&row)?.into();
    if is_first {
        keep_receiver_by(tx, &row.receiver, tx.now)?;
    }
    if task.event_count > EVENTS_KEPT {
        drop_oldest(tx, task.id)?;
    }
    tell(tx, &row.callback)
}

/// Deletes the oldest callback of a task that has more of them than are kept.
fn drop_oldest(tx: &mut Tx<'_>, task: TaskId) -> Result<(), StoreError> {
    let oldest: Option<Callback> = tx.row("WHERE task_id = $1 ORDER BY id LIMIT 1", &[&task])?;
    let Some(oldest) = oldest else { return Ok(()) };
    if oldest.status == CallbackStatus::Pending {
        activity::insert(tx, audit::callbacks_dropped(&oldest))?;
    }
    delete(tx, oldest.id)
}

/// Deletes callbacks of a task, at most so many. Answers how many.
pub(super) fn forget(tx: &mut Tx<'_>, task: TaskId, limit: i64) -> Result<usize, StoreError> {
    let ids: Vec<CallbackId> =
        tx.values("SELECT id FROM outbox WHERE task_id = $1 ORDER BY id LIMIT $2", &[&task, &limit])?;
    for id in &ids {
        delete(tx, *id)?;
    }
    Ok(ids.len())
}

fn delete(tx: &mut Tx<'_>, id: CallbackId) -> Result<(), StoreError> {
    let Some(Row { callback, line, receiver, .. }) = load(tx, id)? else { return Ok(()) };
    tx.execute("DELETE FROM outbox WHERE id = $1", &[&id])?;
    if callback.status == CallbackStatus::Pending {
        begin_next(tx, &line)?;
        keep_receiver(tx, &receiver)?;
    }
    attention::end(tx, &Cause::Callback(id))
}

/// A callback is given up. What a person is told of it is told here.
fn became_dead(tx: &mut Tx<'_>, callback: &Callback) -> Result<(), StoreError> {
    activity::insert(tx, audit::callback_dead(callback))?;
    attention::set(tx, of_callback(callback))
}

/// Somebody has a callback tried again: where it was given up, nobody has to see to it any more.
fn retried(tx: &mut Tx<'_>, callback: &Callback, by: &str) -> Result<(), StoreError> {
    activity::insert(tx, audit::callback_retried(callback, by))?;
    attention::end(tx, &Cause::Callback(callback.id))
}

/// Tells whoever listens to everything how a callback is.
fn tell(tx: &mut Tx<'_>, callback: &Callback) -> Result<(), StoreError> {
    tx.emit(EventName::CallbackUpdated, Audience::nobody(), callback)
}

/// What is due at one receiver, at most so many rows.
fn due_at(
    snapshot: &Snapshot<'_>,
    receiver: &str,
    is_failing: bool,
    now: Timestamp,
    rows: i64,
) -> Result<Vec<Outgoing>, StoreError> {
    let tail = "WHERE receiver = $1 AND next_at <= $2 ORDER BY next_at, id LIMIT $3";
    let mut due: Vec<Outgoing> = snapshot.rows(tail, &[&receiver, &now, &rows])?;
    due.iter_mut().for_each(|outgoing| outgoing.is_failing = is_failing);
    Ok(due)
}

fn load(snapshot: &Snapshot<'_>, id: CallbackId) -> Result<Option<Row>, StoreError> {
    snapshot.row("WHERE id = $1", &[&id])
}

/// Writes down what is different.
fn save(tx: &Tx<'_>, callback: &Callback) -> Result<(), StoreError> {
    tx.execute(
        "UPDATE outbox SET status = $1, attempts = $2, tries = $3, next_at = $4, updated_at = $5 WHERE id = $6",
        &[
            &callback.status,
            &AsJson(&callback.attempts),
            &callback.tries,
            &callback.next_attempt_at,
            &callback.updated_at,
            &callback.id,
        ],
    )?;
    Ok(())
}

/// The pending row of a line that comes first.
fn first_of(snapshot: &Snapshot<'_>, line: &str) -> Result<Option<CallbackId>, StoreError> {
    snapshot.value("SELECT id FROM outbox WHERE line = $1 AND status = 'pending' ORDER BY id LIMIT 1", &[&line])
}

/// Gives the first of a line its turn, if it has none.
fn begin_next(tx: &mut Tx<'_>, line: &str) -> Result<(), StoreError> {
    let Some(first) = first_of(tx, line)? else { return Ok(()) };
    if tx.execute("UPDATE outbox SET next_at = $1 WHERE id = $2 AND next_at IS NULL", &[&tx.now, &first])? > 0 {
        let receiver: Option<String> = tx.value("SELECT receiver FROM outbox WHERE id = $1", &[&first])?;
        keep_receiver(tx, &receiver.unwrap_or_default())?;
    }
    Ok(())
}

/// Has the first of a line tried now, and the others wait for it.
fn hurry(tx: &mut Tx<'_>, line: &str) -> Result<(), StoreError> {
    let Some(first) = first_of(tx, line)? else { return Ok(()) };
    let timed: Vec<CallbackId> =
        tx.values("SELECT id FROM outbox WHERE line = $1 AND status = 'pending' AND next_at IS NOT NULL", &[&line])?;
    let mut receivers = Vec::new();
    for id in timed.into_iter().chain([first]) {
        let next_at = (id == first).then_some(tx.now);
        tx.execute("UPDATE outbox SET next_at = $1 WHERE id = $2", &[&next_at, &id])?;
        receivers.extend(tx.value::<String>("SELECT receiver FROM outbox WHERE id = $1", &[&id])?);
    }
    receivers.into_iter().try_for_each(|receiver| keep_receiver(tx, &receiver))
}

/// Notes that something is due at a receiver by then, if nothing is earlier.
fn keep_receiver_by(tx: &mut Tx<'_>, receiver: &str, at: Timestamp) -> Result<(), StoreError> {
    tx.execute(
        "INSERT INTO outbox_receivers (receiver, next_at) VALUES ($1, $2)
         ON CONFLICT (receiver) DO UPDATE SET next_at = excluded.next_at
         WHERE excluded.next_at < outbox_receivers.next_at",
        &[&receiver, &at],
    )?;
    tx.outgoing_changed();
    Ok(())
}

/// Notes when the first is due at a receiver, after that may have changed.
fn keep_receiver(tx: &mut Tx<'_>, receiver: &str) -> Result<(), StoreError> {
    let next: Option<Timestamp> = tx.value(
        "SELECT next_at FROM outbox WHERE receiver = $1 AND next_at IS NOT NULL ORDER BY next_at LIMIT 1",
        &[&receiver],
    )?;
    match next {
        Some(next) => tx.execute(
            "INSERT INTO outbox_receivers (receiver, next_at) VALUES ($1, $2)
             ON CONFLICT (receiver) DO UPDATE SET next_at = excluded.next_at",
            &[&receiver, &next],
        )?,
        None => tx.execute("DELETE FROM outbox_receivers WHERE receiver = $1", &[&receiver])?,
    };
    tx.outgoing_changed();
    Ok(())
}

/// What tells two callbacks apart, whoever made them. It has no dot, which would end it in what is signed.
fn random_id() -> Result<String, StoreError> {
    let mut bytes = [0_u8; 18];
    getrandom::fill(&mut bytes).map_err(|error| StoreError::Unusable(format!("no randomness: {error}")))?;
    Ok(format!("msg_{}", URL_SAFE_NO_PAD.encode(bytes)))
}
