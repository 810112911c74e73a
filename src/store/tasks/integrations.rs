//! Events of integrations: what one asks for is done once, together with the note that it came.

mod kept;
mod tally;

use self::kept::Kept;
use self::tally::tally;
use super::{create, load, resolve};
use crate::domain::id::{DeliveryId, TaskId};
use crate::domain::integration::{
    Delivery, DeliveryFilter, IntegrationName, Integrations, KeptDelivery, Meaning, REPLAYS_COUNT, REPLAYS_MS, Source,
};
use crate::domain::page::{Filling, Page};
use crate::domain::refusal::Refusal;
use crate::domain::task::{NewTask, Task};
use crate::domain::time::Timestamp;
use crate::store::engine::stored;
use crate::store::tx::{Snapshot, Tx};
use crate::store::{Json, Store, StoreError};

/// What became of an event.
#[derive(Clone, Debug)]
pub enum Taken {
    /// This task was made.
    Created(Json<Task>),
    /// This task was there, and was asked for once more.
    Raised(Json<Task>),
    /// This task has ended.
    Resolved(Json<Task>),
    /// It had come before under its id. The task that it was about, if it was about one that is still there.
    Replayed(Option<Json<Task>>),
    /// Nothing, for this reason.
    Ignored(String),
    /// It could not be read, for this reason, and is kept under this id.
    Unreadable(DeliveryId, String),
}

impl Store {
    /// Does what an event says, unless its id came before.
    pub async fn take_event(
        &self,
        delivery: Delivery,
        meaning: Meaning,
        configured: Integrations,
    ) -> Result<Taken, StoreError> {
        self.write(move |tx| {
            if let Some(taken) = before(tx, &delivery)? {
                tally(tx, &delivery.integration, &configured, &taken, None)?;
                return Ok(taken);
            }
            let (taken, task) = match meaning {
                Meaning::Unreadable(words) => (kept::keep(tx, &delivery, words)?, None),
                meaning => act(tx, &delivery, meaning)?,
            };
            tally(tx, &delivery.integration, &configured, &taken, task)?;
            Ok(taken)
        })
        .await
    }

    /// Does what a kept delivery says by now. Unless it still cannot be read, it is kept no more.
    pub async fn retry_delivery(
        &self,
        id: DeliveryId,
        integration: IntegrationName,
        meaning: Meaning,
        configured: Integrations,
    ) -> Result<Taken, StoreError> {
        self.write(move |tx| {
            let kept = kept::load(tx, &integration, id)?;
            let delivery = kept.delivery();
            let (taken, task) = match (before(tx, &delivery)?, meaning) {
                (Some(taken), _) => (taken, None),
                (None, Meaning::Unreadable(words)) => (kept::fail_again(tx, id, words)?, None),
                (None, meaning) => act(tx, &delivery, meaning)?,
            };
            if !matches!(taken, Taken::Unreadable(..)) {
                tx.execute("DELETE FROM kept_deliveries WHERE id = $1", &[&id])?;
            }
            tally(tx, &integration, &configured, &taken, task)?;
            Ok(taken)
        })
        .await
    }

    /// A kept delivery as it came, to be read again.
    pub async fn kept_delivery(&self, id: DeliveryId, integration: IntegrationName) -> Result<Delivery, StoreError> {
        self.read(move |snapshot| {
            let kept = kept::load(snapshot, &integration, id)?;
            if kept.is_cut() {
                return Err(Refusal::CutDelivery(id).into());
            }
            Ok(kept.delivery())
        })
        .await
    }

    /// Deliveries of an integration that could not be read, newest first.
    pub async fn kept_deliveries(&self, filter: DeliveryFilter) -> Result<Page<KeptDelivery, DeliveryId>, StoreError> {
        self.read_page(move |snapshot| {
            let before = filter.before.unwrap_or(DeliveryId::new(i64::MAX));
            let mut page = Filling::new(filter.limit);
            snapshot.each(
                "WHERE integration = $1 AND id < $2 ORDER BY id DESC LIMIT $3",
                &[&filter.integration, &before, &filter.limit],
                |kept: Kept| page.take(kept.told()),
            )?;
            Ok(page.finish(|last| last.id))
        })
        .await
    }

    /// Every integration that was heard from, by name: there are never many.
    pub async fn integrations(&self) -> Result<Vec<Source>, StoreError> {
        self.read(tally::all).await
    }
}

/// A delivery that was done with.
struct Done {
    id: i64,
    integration: IntegrationName,
    delivery_id: String,
    task_id: Option<TaskId>,
    at: Timestamp,
}

stored! { stored Done in done_deliveries { id, integration, delivery_id, task_id, at } }

/// What became of a delivery whose id came before.
fn before(snapshot: &Snapshot<'_>, delivery: &Delivery) -> Result<Option<Taken>, StoreError> {
    let Some(id) = &delivery.id else { return Ok(None) };
    let done: Option<Done> =
        snapshot.row("WHERE integration = $1 AND delivery_id = $2", &[&delivery.integration, id])?;
    let Some(done) = done else { return Ok(None) };
    let task = done.task_id.map(|id| load(snapshot, id));
    // Tasks that ended long ago are gone.
    Ok(Some(Taken::Replayed(task.and_then(Result::ok).as_ref().map(Json::of))))
}

/// Does what a delivery says, and remembers its id. Answers which task it is about as well.
fn act(tx: &mut Tx<'_>, delivery: &Delivery, meaning: Meaning) -> Result<(Taken, Option<TaskId>), StoreError> {
    let source = delivery.integration.as_str();
    let (taken, task_id) = match meaning {
        Meaning::Task(new) => {
            let new = NewTask { source: source.to_owned(), sender: delivery.sender.clone(), ..*new };
            let (task, was_there) = create(tx, new)?;
            let json = Json::of(&task);
            (if was_there { Taken::Raised(json) } else { Taken::Created(json) }, Some(task.id))
        }
        Meaning::Resolved { dedupe_key, note } => match resolve(tx, source, &dedupe_key, note)? {
            Some(task) => (Taken::Resolved(Json::of(&task)), Some(task.id)),
            None => (Taken::Ignored("no task of this key is unfinished".to_owned()), None),
        },
        Meaning::Ignored(reason) | Meaning::Unreadable(reason) => (Taken::Ignored(reason), None),
    };
    if let Some(id) = &delivery.id {
        tx.insert_numbered(&Done {
            id: 0,
            integration: delivery.integration.clone(),
            delivery_id: id.clone(),
            task_id,
            at: tx.now,
        })?;
    }
    Ok((taken, task_id))
}

/// Forgets ids that are old or too many, and kept deliveries from before this moment: at most so many rows of each.
/// Answers how many.
pub(in crate::store) fn retain(tx: &Tx<'_>, before: Timestamp, limit: i64) -> Result<usize, StoreError> {
    let newest: Option<i64> = tx.value("SELECT id FROM done_deliveries ORDER BY id DESC LIMIT 1", &[])?;
    let surplus = newest.unwrap_or(0) - REPLAYS_COUNT;
    let mut rows = tx.execute(
        "DELETE FROM done_deliveries WHERE (at < $1 OR id <= $2)
             AND id IN (SELECT id FROM done_deliveries ORDER BY id LIMIT $3)",
        &[&(tx.proven - REPLAYS_MS), &surplus, &limit],
    )?;
    rows = rows.max(tx.execute(
        "DELETE FROM kept_deliveries WHERE at < $1
             AND id IN (SELECT id FROM kept_deliveries ORDER BY id LIMIT $2)",
        &[&before, &limit],
    )?);
    Ok(rows)
}
