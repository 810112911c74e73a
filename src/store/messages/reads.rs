//! What an agent has read of a target, as ranges of ids: whoever looks for what is unread leaps over them, however
//! much was read.
//!
//! A range says that no message to this target with an id in it is still to be read by this agent: each was marked
//! read, or will not be delivered to it any more. Ranges do not touch: one that does is joined with its neighbour.

use crate::domain::id::{AgentId, MessageId};
use crate::domain::message::{Message, is_group};
use crate::store::StoreError;
use crate::store::engine::stored;
use crate::store::tx::{Snapshot, Tx};

/// Ids from the first to the last of which everything is read.
#[derive(Clone, Copy, Debug)]
pub(super) struct ReadRange {
    pub(super) from_id: MessageId,
    pub(super) to_id: MessageId,
}

stored! { read ReadRange in read_ranges { from_id, to_id } }

/// A message beside the one that was read, and whether it is still to be read.
struct Neighbour {
    id: MessageId,
    is_unread: bool,
}

stored! { read Neighbour in messages { id, is_unread } }

/// How far is looked for a neighbouring range, over messages that will not be delivered.
const NEIGHBOURS_MAX: i64 = 32;

/// The first range that ends after this place.
pub(super) fn first_ending_after(
    snapshot: &Snapshot<'_>,
    agent: &AgentId,
    target: &str,
    place: i64,
) -> Result<Option<ReadRange>, StoreError> {
    snapshot.row("WHERE agent_id = $1 AND target = $2 AND to_id > $3 ORDER BY to_id LIMIT 1", &[agent, &target, &place])
}

/// Adds a message that was just marked read to the ranges of its reader.
pub(super) fn cover(tx: &Tx<'_>, agent: &AgentId, message: &Message) -> Result<(), StoreError> {
    let target = message.to.as_str();
    let above = first_ending_after(tx, agent, target, message.id.get() - 1)?;
    if above.is_some_and(|range| range.from_id <= message.id) {
        return Ok(());
    }
    let below: Option<ReadRange> = tx.row(
        "WHERE agent_id = $1 AND target = $2 AND to_id < $3 ORDER BY to_id DESC LIMIT 1",
        &[agent, &target, &message.id],
    )?;
    // What an agent sends to its group does not come back to it.
    let own = if is_group(target) { agent.as_str() } else { "" };
    let floor = below.map_or_else(MessageId::default, |range| range.to_id);
    let down: Vec<Neighbour> = tx.rows_of(
        "SELECT id, CASE WHEN sender <> $1 AND (expires_at IS NULL OR expires_at > $2) AND NOT EXISTS
             (SELECT 1 FROM reads WHERE message_id = messages.id AND agent_id = $3) THEN 1 ELSE 0 END
         FROM messages WHERE target = $4 AND id < $5 AND id > $6 ORDER BY id DESC LIMIT $7",
        &[&own, &tx.now, agent, &target, &message.id, &floor, &NEIGHBOURS_MAX],
    )?;
    let ceiling = above.map_or(MessageId::new(i64::MAX), |range| range.from_id);
    let up: Vec<Neighbour> = tx.rows_of(
        "SELECT id, CASE WHEN sender <> $1 AND (expires_at IS NULL OR expires_at > $2) AND NOT EXISTS
             (SELECT 1 FROM reads WHERE message_id = messages.id AND agent_id = $3) THEN 1 ELSE 0 END
         FROM messages WHERE target = $4 AND id > $5 AND id < $6 ORDER BY id LIMIT $7",
        &[&own, &tx.now, agent, &target, &message.id, &ceiling, &NEIGHBOURS_MAX],
    )?;
    let (first, joins_below) = reach(&down, message.id);
    let (last, joins_above) = reach(&up, message.id);
    // Nobody will get a lower id any more: with nothing below, the range begins at the beginning.
    let joined_below = below.filter(|_| joins_below);
    let first = match joined_below {
        Some(range) => range.from_id,
        None if joins_below => MessageId::default(),
        None => first,
    };
    let joined_above = above.filter(|_| joins_above);
    let last = joined_above.map_or(last, |range| range.to_id);
    for range in joined_below.into_iter().chain(joined_above) {
        tx.execute(
            "DELETE FROM read_ranges WHERE agent_id = $1 AND target = $2 AND to_id = $3",
            &[agent, &target, &range.to_id],
        )?;
    }
    tx.execute(
        "INSERT INTO read_ranges (agent_id, target, from_id, to_id) VALUES ($1, $2, $3, $4)",
        &[agent, &target, &first, &last],
    )?;
    Ok(())
}

/// How far a range extends over these neighbours of a message, and whether it does so over all there are.
fn reach(neighbours: &[Neighbour], from: MessageId) -> (MessageId, bool) {
    let read = neighbours.iter().take_while(|neighbour| !neighbour.is_unread);
    let (mut last, mut count) = (from, 0);
    for neighbour in read {
        (last, count) = (neighbour.id, count + 1);
    }
    (last, count == neighbours.len() && count < NEIGHBOURS_MAX as usize)
}
