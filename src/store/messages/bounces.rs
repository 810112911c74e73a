//! Bounces: whoever sent what nobody read hears of it, once, in the transaction that settles it.
//!
//! A message that expired is settled when the reaper comes to it, by an index of those that are not. Of an agent that
//! is gone there may be any number: the first are told with its going, and a row in `bounces_due` says where the
//! reaper goes on.

use std::collections::BTreeMap;

use super::{deliveries, insert, search};
use crate::domain::audit;
use crate::domain::id::{AgentId, MessageId};
use crate::domain::message::delivery::DropReason;
use crate::domain::message::{Bounce, BounceReason, MessageFilter, is_group};
use crate::domain::page::Limit;
use crate::domain::text::json;
use crate::store::engine::stored;
use crate::store::tx::Tx;
use crate::store::{StoreError, activity, tasks};

/// Messages looked at with the going of an agent.
const FIRST: i64 = 500;

/// What has to be known of a message to say who hears of it.
struct Unread {
    id: MessageId,
    from: AgentId,
    to: AgentId,
    claim_generation: i64,
    meta: json::Object,
    is_settled: bool,
    is_read: bool,
}

stored! {
    read Unread in messages {
        id, from = "sender", to = "target", claim_generation, meta as json,
        is_settled = "CASE WHEN settled IS NULL THEN 0 ELSE 1 END",
        is_read = "CASE WHEN EXISTS (SELECT 1 FROM reads WHERE message_id = messages.id AND agent_id = messages.target)
                   THEN 1 ELSE 0 END",
    }
}

impl Unread {
    /// Whether anybody hears of it. Who claimed it has seen it. A command has its own record, and what an agent sends
    /// to itself would come back to it.
    fn is_told(&self, tx: &Tx<'_>) -> Result<bool, StoreError> {
        let is_of_relay = [Bounce::META, "commandId"].iter().any(|key| self.meta.contains(key));
        let may_be = !is_group(&self.to) && !self.is_read && self.from != self.to && !is_of_relay;
        Ok(may_be && self.claim_generation == 0 && !tasks::claims::was_claimed(tx, self.id, &self.meta)?)
    }
}

/// An agent that is gone, and how far its messages were looked at.
struct Due {
    id: i64,
    agent_id: AgentId,
    reason: BounceReason,
    after_id: MessageId,
    last_id: MessageId,
}

stored! { stored Due in bounces_due { id, agent_id, reason, after_id, last_id } }

/// Settles messages that nobody read in time, at most `limit`. Answers whether there may be more.
pub(in crate::store) fn tell_expired(tx: &mut Tx<'_>, limit: i64) -> Result<bool, StoreError> {
    let expired: Vec<Unread> = tx.rows(
        "WHERE expires_at IS NOT NULL AND settled IS NULL AND expires_at <= $1 ORDER BY expires_at LIMIT $2",
        &[&tx.now, &limit],
    )?;
    let is_full = expired.len() as i64 >= limit;
    for message in &expired {
        deliveries::over(tx, message.id, DropReason::Expired)?;
    }
    settle(tx, expired, BounceReason::Expired, None)?;
    Ok(is_full)
}

/// Has the senders of what this agent did not read hear of it: of the first messages by [`tell_first`], of others soon.
pub(in crate::store) fn owe(tx: &Tx<'_>, agent: &AgentId, reason: BounceReason) -> Result<(), StoreError> {
    let last = tx.last_seq();
    tx.execute(
        "INSERT INTO bounces_due (agent_id, reason, after_id, last_id) VALUES ($1, $2, 0, $3)
         ON CONFLICT (agent_id) DO UPDATE SET last_id = excluded.last_id",
        &[agent, &reason, &last],
    )?;
    Ok(())
}

/// Settles the first messages to agents that are gone, in the transaction in which they go.
pub(in crate::store) fn tell_first(tx: &mut Tx<'_>) -> Result<(), StoreError> {
    tell_due(tx, FIRST).map(drop)
}

/// Settles messages to agents that are gone, at most about `limit`. Answers whether there may be more.
pub(in crate::store) fn tell_due(tx: &mut Tx<'_>, limit: i64) -> Result<bool, StoreError> {
    let mut left = limit;
    while left > 0 {
        let Some(due) = tx.rows::<Due>("ORDER BY id LIMIT 1", &[])?.pop() else { return Ok(false) };
        left -= 1 + step(tx, &due, left)?;
    }
    Ok(true)
}

/// Settles some of the messages to an agent that is gone. Answers how many were looked at.
fn step(tx: &mut Tx<'_>, due: &Due, limit: i64) -> Result<i64, StoreError> {
    let filter = MessageFilter {
        reaching: Some(due.agent_id.clone()),
        unread: true,
        to: Some(due.agent_id.as_str().to_owned()),
        since: due.after_id,
        limit: Limit::parse(Some(limit.clamp(1, Limit::MAX.as_i64())))?,
        ..MessageFilter::default()
    };
    let (mut ids, looked_to) = search::find(tx, &filter, tx.now)?;
    let found = ids.len();
    ids.retain(|id| *id <= due.last_id);
    let is_over = ids.len() < found || looked_to.is_none_or(|to| to >= due.last_id);
    let mut unread = Vec::with_capacity(ids.len());
    for id in ids {
        unread.extend(tx.row::<Unread>("WHERE id = $1", &[&id])?.filter(|message| !message.is_settled));
    }
    settle(tx, unread, due.reason, None)?;
    if is_over {
        tx.execute("DELETE FROM bounces_due WHERE id = $1", &[&due.id])?;
    } else {
        tx.execute("UPDATE bounces_due SET after_id = $1 WHERE id = $2", &[&looked_to.unwrap_or_default(), &due.id])?;
    }
    Ok(found as i64)
}

/// Settles messages that could not be brought into a session after all of this was tried. What is for a group others
/// may have.
pub(super) fn tell_parked(tx: &mut Tx<'_>, messages: &[MessageId], tried: &str) -> Result<(), StoreError> {
    let mut unread = Vec::with_capacity(messages.len());
    for id in messages {
        let message: Option<Unread> = tx.row("WHERE id = $1", &[id])?;
        unread.extend(message.filter(|message| !is_group(&message.to) && !message.is_settled));
    }
    settle(tx, unread, BounceReason::Parked, Some(tried))
}

/// Settles messages, and tells those who sent what nobody read: each sender once for each recipient.
fn settle(tx: &mut Tx<'_>, messages: Vec<Unread>, reason: BounceReason, tried: Option<&str>) -> Result<(), StoreError> {
    let mut bounces: BTreeMap<(AgentId, AgentId), Vec<MessageId>> = BTreeMap::new();
    for message in messages {
        tx.execute("UPDATE messages SET settled = 1 WHERE id = $1", &[&message.id])?;
        if message.is_told(tx)? {
            bounces.entry((message.from, message.to)).or_default().push(message.id);
        }
    }
    for ((from, to), mut messages) in bounces {
        messages.sort_unstable();
        let bounce = Bounce { from, to, reason, messages, tried: tried.map(str::to_owned) };
        if bounce.reaches_sender() {
            insert(tx, bounce.message())?;
        } else {
            activity::insert(tx, audit::not_read(&bounce))?;
        }
    }
    Ok(())
}
