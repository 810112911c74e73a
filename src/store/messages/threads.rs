//! Threads in which agents answer each other: how often they did within the last minutes, so that a loop is stopped.
//!
//! What was answered is in the rows; it is read once for each thread that becomes active, and then remembered.

use std::collections::{HashMap, VecDeque};
use std::ops::ControlFlow;

use crate::domain::agent::{SYSTEM, USER};
use crate::domain::id::{AgentId, MessageId};
use crate::domain::message::{Message, THREAD_REPLIES_MAX, THREAD_WINDOW_MS};
use crate::domain::refusal::Refusal;
use crate::domain::time::Timestamp;
use crate::store::StoreError;
use crate::store::engine::stored;
use crate::store::tx::Tx;

/// Threads remembered. Of each, at most [`THREAD_REPLIES_MAX`] times.
const THREADS_MAX: usize = 1_024;
/// Rows of a thread looked at: what persons wrote there is among them.
const LOOKS_MAX: i64 = 2 * THREAD_REPLIES_MAX as i64;

/// The threads in which agents answered lately.
#[derive(Default)]
pub(in crate::store) struct Threads(HashMap<MessageId, Thread>);

#[derive(Default)]
struct Thread {
    /// When agents answered, oldest first.
    replies: VecDeque<Timestamp>,
    /// When it was last written down that there are too many.
    told_at: Option<Timestamp>,
}

/// When somebody answered.
struct Reply {
    from: AgentId,
    at: Timestamp,
}

stored! { read Reply in messages { from = "sender", at = "created_at" } }

impl Thread {
    fn add(&mut self, at: Timestamp) {
        if self.replies.len() >= THREAD_REPLIES_MAX {
            self.replies.pop_front();
        }
        self.replies.push_back(at);
    }
}

impl Threads {
    fn remember(&mut self, id: MessageId, thread: Thread, now: Timestamp) {
        if self.0.len() >= THREADS_MAX {
            self.0.retain(|_, thread| thread.replies.back().is_some_and(|at| *at > now - THREAD_WINDOW_MS));
        }
        if self.0.len() >= THREADS_MAX {
            self.0.clear();
        }
        self.0.insert(id, thread);
    }
}

/// Whether what this agent, or person, writes counts.
fn counts(from: &AgentId) -> bool {
    !matches!(from.as_str(), USER | SYSTEM)
}

/// Refuses another reply by an agent where `limit` came within the window; 0 is no limit.
pub(super) fn check(tx: &mut Tx<'_>, id: MessageId, from: &AgentId, limit: usize) -> Result<(), StoreError> {
    if limit == 0 || !counts(from) {
        return Ok(());
    }
    let (now, since) = (tx.now, tx.now - THREAD_WINDOW_MS);
    if !tx.remembered().threads().0.contains_key(&id) {
        let thread = read(tx, id)?;
        tx.remembered().threads_mut().remember(id, thread, now);
    }
    let Some(thread) = tx.remembered().threads().0.get_mut(&id) else { return Ok(()) };
    while thread.replies.front().is_some_and(|at| *at <= since) {
        thread.replies.pop_front();
    }
    let Some(first) = thread.replies.len().checked_sub(limit).and_then(|index| thread.replies.get(index)) else {
        return Ok(());
    };
    // By a clock that was set back meanwhile it would be longer.
    let wait_ms = (*first - since).clamp(1, THREAD_WINDOW_MS);
    Err(Refusal::LoopSuspected { thread: id, replies: limit, wait_ms }.into())
}

/// Whether that a thread has too many replies is not yet written down within this window. From now on it is.
pub(super) fn is_news(tx: &mut Tx<'_>, id: MessageId) -> bool {
    let now = tx.now;
    let Some(thread) = tx.remembered().threads().0.get_mut(&id) else { return false };
    let is_news = thread.told_at.is_none_or(|at| at <= now - THREAD_WINDOW_MS);
    if is_news {
        thread.told_at = Some(now);
        // Touched: written down is what this job does.
        tx.remembered().threads_mut();
    }
    is_news
}

/// Notes a message that was stored.
pub(super) fn note(tx: &mut Tx<'_>, message: &Message) {
    if message.reply_to.is_some()
        && counts(&message.from)
        && let Some(thread) = tx.remembered().threads_mut().0.get_mut(&message.thread_id)
    {
        thread.add(message.created_at);
    }
}

fn read(tx: &Tx<'_>, id: MessageId) -> Result<Thread, StoreError> {
    let (mut thread, since) = (Thread::default(), tx.now - THREAD_WINDOW_MS);
    let newest_first = "WHERE thread_id = $1 AND reply_to IS NOT NULL ORDER BY id DESC LIMIT $2";
    tx.each(newest_first, &[&id, &LOOKS_MAX], |Reply { from, at }| {
        if at <= since || thread.replies.len() >= THREAD_REPLIES_MAX {
            return ControlFlow::Break(());
        }
        if counts(&from) {
            thread.replies.push_front(at);
        }
        ControlFlow::Continue(())
    })?;
    Ok(thread)
}
