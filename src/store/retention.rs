//! Retention: what is too old or too much is deleted, in small steps.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use super::engine::stored;
use super::messages::{channels, deliveries};
use super::tx::Tx;
use super::{Store, StoreError, attention, events, tasks};
use crate::domain::id::{EventSeq, MessageId};
use crate::domain::retention::Retention;
use crate::domain::time::Timestamp;

/// One step of work that is done bit by bit, so that nobody waits long for the writer.
#[derive(Clone, Copy, Debug, Default)]
pub struct Step {
    /// How many rows or pages that were.
    pub done: usize,
    /// Whether there is probably more to do.
    pub more: bool,
    /// How long it held the writer, but for the commit.
    pub took: Duration,
    /// How many are left, as far as that is known.
    pub surplus: i64,
    /// The number of the latest event.
    pub latest: EventSeq,
}

/// A sixteenth of the pages stays free: a mebibyte at least, and 32 at most, since every page that is given back
/// is looked for in the list of those that are free.
const FREE_SHARE: i64 = 16;
const FREE_MIN: i64 = 256;
const FREE_MAX: i64 = 8_192;

/// How long the first answer under an idempotency key is kept.
const IDEMPOTENCY_MS: i64 = 24 * 60 * 60 * 1000;

impl Store {
    /// Deletes one small step of what is too old or too much, at most about so many rows of a kind.
    pub async fn retain_step(&self, retention: Retention, rows: usize) -> Result<Step, StoreError> {
        let limit = i64::try_from(rows).unwrap_or(i64::MAX).max(1);
        self.write(move |tx| {
            let begun = Instant::now();
            let (mut done, mut more) = retain_messages(tx, retention, limit)?;
            let mut add = |count: usize| {
                done += count;
                more |= count >= rows;
            };
            add(retain_events(tx, retention, limit)?);
            let old = tx.proven - retention.records_ms;
            attention::forget_commands(tx, old, limit)?;
            // Numbers grow with time, so the oldest rows come first: none of this walks a whole table.
            for (sql, before) in [
                ("DELETE FROM activity WHERE created_at < $1
                      AND id IN (SELECT id FROM activity ORDER BY id LIMIT $2)", old),
                ("DELETE FROM commands WHERE id IN (SELECT id FROM commands
                      WHERE updated_at < $1
                      AND status NOT IN ('pending', 'accepted', 'running') ORDER BY updated_at LIMIT $2)", old),
                ("DELETE FROM sessions WHERE agent_id IN (SELECT agent_id FROM sessions WHERE ended_at < $1 LIMIT $2)", old),
                ("DELETE FROM descents WHERE agent_id IN (SELECT agent_id FROM descents WHERE at < $1
                      AND NOT EXISTS (SELECT 1 FROM agents WHERE agents.id = descents.agent_id) ORDER BY at LIMIT $2)", old),
                ("DELETE FROM pairs WHERE id IN (SELECT id FROM pairs
                      WHERE ended_at < $1 ORDER BY ended_at LIMIT $2)", old),
                ("DELETE FROM idempotency WHERE (scope, key) IN (SELECT scope, key FROM idempotency
                      WHERE created_at < $1 LIMIT $2)", tx.proven - IDEMPOTENCY_MS),
            ] {
                add(tx.execute(sql, &[&before, &limit])?);
            }
            add(tasks::retain(tx, old, limit)?);
            add(tasks::integrations::retain(tx, old, limit)?);
            let surplus = tx.counts().messages - retention.messages_count.max(1);
            Ok(Step { done, more, took: begun.elapsed(), surplus: surplus.max(0), latest: tx.last_seq() })
        })
        .await
    }

    /// Gives one small step of free space back to the disk: at most so many pages. Some stays, because what comes
    /// next goes there.
    pub async fn give_back_step(&self, pages: usize) -> Result<Step, StoreError> {
        self.write(move |tx| {
            let begun = Instant::now();
            let (all, free) = tx.pages()?;
            let surplus = free - (all / FREE_SHARE).clamp(FREE_MIN, FREE_MAX);
            let wanted = usize::try_from(surplus).unwrap_or(0).min(pages);
            let done = if wanted > 0 { tx.give_back(wanted)? } else { 0 };
            let surplus = surplus.max(0) - count(done);
            Ok(Step { done, more: done > 0 && surplus > 0, took: begun.elapsed(), surplus, latest: tx.last_seq() })
        })
        .await
    }

    /// Has the file shrink by what was given back.
    pub async fn shrink(&self) {
        let store = self.clone();
        let shrunk = tokio::task::spawn_blocking(move || store.inner.writer.checkpoint()).await;
        if let Ok(Err(error)) = shrunk {
            tracing::warn!(%error, "cannot shrink the database; it tries again");
        }
    }
}

/// When a message was stored, and in which channel.
struct Stored {
    id: MessageId,
    created_at: Timestamp,
    channel: Option<String>,
}

stored! { read Stored in messages { id, created_at, channel } }

/// Deletes the oldest messages where they are too many, or too old by [`Tx::proven`], so that a clock that was set
/// ahead deletes nothing: for good, and with them their events. At most `limit` rows, who read them included.
/// Answers how many, and whether there may be more.
fn retain_messages(tx: &mut Tx<'_>, retention: Retention, limit: i64) -> Result<(usize, bool), StoreError> {
    let mut surplus = tx.counts().messages - retention.messages_count.max(1);
    let (mut looked_at, mut count_of_doomed, mut of_channels) = (Vec::new(), 0, Vec::new());
    let old = tx.proven - retention.messages_ms;
    tx.each("ORDER BY id LIMIT $1", &[&limit], |Stored { id, created_at, channel }| {
        let is_doomed = surplus > 0 || created_at < old;
        if !is_doomed && created_at <= tx.now {
            return ControlFlow::Break(());
        }
        // A row from the future was dated by a clock that was wrong: it is as old as those around it.
        surplus -= 1;
        looked_at.push(id);
        of_channels.extend(channel.map(|name| (id, name)));
        if is_doomed {
            count_of_doomed = looked_at.len();
        }
        ControlFlow::Continue(())
    })?;
    let mut doomed = looked_at;
    doomed.truncate(count_of_doomed);
    let Some(last) = doomed.last() else { return Ok((0, false)) };
    let is_full = count(doomed.len()) >= limit;
    // One message may have as many readers as there are agents.
    let next: Option<MessageId> = tx.value(
        "SELECT message_id FROM reads WHERE message_id <= $1 ORDER BY message_id LIMIT 1 OFFSET $2",
        &[last, &limit],
    )?;
    if let Some(next) = next {
        doomed.retain(|id| *id < next);
        if doomed.is_empty() {
            let readers = tx.execute(
                "DELETE FROM reads WHERE message_id = $1
                     AND agent_id IN (SELECT agent_id FROM reads WHERE message_id = $1 LIMIT $2)",
                &[&next, &limit],
            )?;
            return Ok((readers, true));
        }
    }
    let Some(last) = doomed.last() else { return Ok((0, false)) };
    events::raise_floor(tx, (*last).into())?;
    let follow = deliveries::forget(tx, MessageId::default(), *last)?;
    let rows = tx.execute("DELETE FROM messages WHERE id <= $1", &[last])?;
    follow(tx)?;
    attention::forget_threads(tx, *last)?;
    tx.execute("DELETE FROM read_ranges WHERE to_id <= $1", &[last])?;
    let mut deleted = BTreeMap::new();
    for (_, name) in of_channels.into_iter().filter(|(id, _)| id <= last) {
        *deleted.entry(name).or_default() += 1;
    }
    channels::count_deleted(tx, &deleted)?;
    tx.counts().messages -= count(rows);
    tx.keep_counts()?;
    Ok((rows, is_full || next.is_some()))
}

/// The age of an event.
struct Aged {
    seq: EventSeq,
    at: Timestamp,
}

stored! { read Aged in events { seq, at } }

/// Events that are too old or too many fall below the floor; messages outlive theirs, if they may. Everything
/// below the floor is gone for streams, so that no gap goes unseen.
fn retain_events(tx: &mut Tx<'_>, retention: Retention, limit: i64) -> Result<usize, StoreError> {
    let range = events::range(tx)?;
    let (mut floor, mut rows) = (range.floor, 0);
    tx.each_of(
        "SELECT seq, at FROM events WHERE seq > $1
         UNION ALL SELECT id, created_at FROM messages WHERE id > $1 ORDER BY 1 LIMIT $2",
        &[&range.floor, &limit],
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
        tx.keep_counts()?;
    }
    Ok(rows)
}

fn count(rows: usize) -> i64 {
    i64::try_from(rows).unwrap_or(i64::MAX)
}
