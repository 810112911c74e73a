//! Retention: what is too old or too much is deleted, in small steps.

use std::ops::ControlFlow;

use super::engine::stored;
use super::reaper::STEP_ROWS;
use super::tx::Tx;
use super::{Store, StoreError, events};
use crate::domain::id::{EventSeq, MessageId};
use crate::domain::retention::Retention;
use crate::domain::time::Timestamp;

/// How long the first answer under an idempotency key is kept.
const IDEMPOTENCY_MS: i64 = 24 * 60 * 60 * 1000;

impl Store {
    /// The id up to which messages are more than `count`; 0 when there are not so many.
    pub async fn surplus_messages(&self, count: i64) -> Result<MessageId, StoreError> {
        self.read(move |snapshot| {
            // There are no more of them than numbers between the first and the last, which is quickly found.
            let span = snapshot.count(
                "SELECT coalesce((SELECT max(id) FROM messages) - (SELECT min(id) FROM messages) + 1, 0)",
                &[],
            )?;
            if span <= count {
                return Ok(MessageId::default());
            }
            let surplus = snapshot.count("SELECT count(*) FROM messages", &[])? - count.max(1);
            if surplus <= 0 {
                return Ok(MessageId::default());
            }
            let last = snapshot.value("SELECT id FROM messages ORDER BY id LIMIT 1 OFFSET $1", &[&(surplus - 1)])?;
            Ok(last.unwrap_or_default())
        })
        .await
    }

    /// Deletes one small step of what is too old or too much, and answers how many rows that were.
    /// Zero means there is nothing left to do. `surplus` is what [`Self::surplus_messages`] answered.
    pub async fn retain_step(&self, retention: Retention, surplus: MessageId) -> Result<usize, StoreError> {
        self.write(move |tx| {
            let mut rows = retain_events(tx, retention, surplus)?;
            let old = tx.proven - retention.records_ms;
            // Numbers grow with time, so the oldest rows come first: none of this walks a whole table.
            for (sql, before) in [
                ("DELETE FROM activity WHERE created_at < $1
                      AND id IN (SELECT id FROM activity ORDER BY id LIMIT $2)", old),
                ("DELETE FROM commands WHERE id IN (SELECT id FROM commands
                      WHERE updated_at < $1
                      AND status NOT IN ('pending', 'accepted', 'running') ORDER BY id LIMIT $2)", old),
                ("DELETE FROM sessions WHERE agent_id IN (SELECT agent_id FROM sessions WHERE ended_at < $1 LIMIT $2)", old),
                ("DELETE FROM idempotency WHERE (scope, key) IN (SELECT scope, key FROM idempotency
                      WHERE created_at < $1 LIMIT $2)", tx.proven - IDEMPOTENCY_MS),
            ] {
                rows += tx.execute(sql, &[&before, &STEP_ROWS])?;
            }
            let expired = tx.execute(
                "DELETE FROM tokens WHERE id IN (SELECT id FROM tokens WHERE expires_at < $1 LIMIT $2)",
                &[&tx.proven, &STEP_ROWS],
            )?;
            if expired > 0 {
                tx.tokens_changed();
            }
            Ok(rows + expired)
        })
        .await
    }
}

/// The age of an event.
struct Aged {
    seq: EventSeq,
    at: Timestamp,
}

stored! { read Aged in events { seq, at } }

/// By [`Tx::proven`]: a clock that was set ahead deletes nothing. Messages that are too old or too many go for good, and with them their events; other events only
/// fall below the floor. Everything below the floor is gone for streams, so that no gap goes unseen.
fn retain_events(tx: &Tx<'_>, retention: Retention, surplus: MessageId) -> Result<usize, StoreError> {
    let range = events::range(tx)?;
    let mut last_doomed = None;
    let old = tx.proven - retention.messages_ms;
    // A row from the future was dated by a clock that was wrong: it is as old as those around it.
    tx.each_of(
        "SELECT id, created_at FROM messages WHERE created_at <= $1 OR id <= $2 ORDER BY id LIMIT $3",
        &[&tx.now, &surplus, &STEP_ROWS],
        |Aged { seq, at }| {
            if at >= old && seq > EventSeq::from(surplus) {
                return ControlFlow::Break(());
            }
            last_doomed = Some(seq);
            ControlFlow::Continue(())
        },
    )?;
    let mut rows = 0;
    let mut floor = range.floor;
    if let Some(last) = last_doomed {
        rows += tx.execute("DELETE FROM messages WHERE id <= $1", &[&last])?;
        floor = floor.max(last);
    }
    let begin = floor;
    tx.each_of(
        "SELECT seq, at FROM events WHERE seq > $1
         UNION ALL SELECT id, created_at FROM messages WHERE id > $1 ORDER BY 1 LIMIT $2",
        &[&begin, &STEP_ROWS],
        |Aged { seq, at }| {
            let few_enough = seq.get() > range.latest.get() - retention.events_count.max(1);
            if at >= tx.proven - retention.events_ms && few_enough {
                // One from the future is as old as those around it.
                return if at > tx.now { ControlFlow::Continue(()) } else { ControlFlow::Break(()) };
            }
            floor = seq;
            rows += 1;
            ControlFlow::Continue(())
        },
    )?;
    if floor > range.floor {
        events::raise_floor(tx, floor)?;
    }
    Ok(rows)
}
