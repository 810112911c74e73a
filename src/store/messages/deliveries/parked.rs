//! Parked: what could not be brought into a session. A person hears of it, and so does the sender.

use super::{Row, change};
use crate::domain::attention::{Cause, of_parked};
use crate::domain::id::{AgentId, MessageId};
use crate::domain::message::delivery::Step;
use crate::store::messages::bounces;
use crate::store::tx::Tx;
use crate::store::{StoreError, attention};

/// Gives up what was tried in vain often enough, at most `limit`. Answers whether there may be more.
pub(in crate::store) fn park(tx: &mut Tx<'_>, limit: i64) -> Result<bool, StoreError> {
    let due: Vec<Row> = tx.rows(
        "WHERE next_at IS NOT NULL AND attempts >= 4 AND next_at <= $1 ORDER BY next_at LIMIT $2",
        &[&tx.now, &limit],
    )?;
    let is_full = due.len() as i64 >= limit;
    let mut parked: Vec<(AgentId, MessageId)> = Vec::with_capacity(due.len());
    for row in due {
        parked.push((row.delivery.agent_id.clone(), row.message_id));
        change(tx, row, Step::GiveUp)?;
    }
    parked.sort_unstable();
    for of_agent in parked.chunk_by(|one, other| one.0 == other.0) {
        let agent = &of_agent[0].0;
        let reason = reason(tx, agent, of_agent[of_agent.len() - 1].1)?;
        let messages: Vec<MessageId> = of_agent.iter().map(|(_, id)| *id).collect();
        bounces::tell_parked(tx, &messages, &reason)?;
        let of_agent = "SELECT count(*) FROM deliveries WHERE agent_id = $1 AND state = 'parked'";
        let count = tx.count(of_agent, &[agent])?;
        let attach: Option<Option<String>> =
            tx.value("SELECT attach FROM sessions WHERE agent_id = $1 AND ended_at IS NULL", &[agent])?;
        let newest = messages.last().copied().unwrap_or_default();
        attention::set(tx, of_parked(agent, count, newest, &reason, attach.flatten().as_deref()))?;
    }
    Ok(is_full)
}

fn reason(tx: &Tx<'_>, agent: &AgentId, id: MessageId) -> Result<String, StoreError> {
    let sql = "SELECT reason FROM deliveries WHERE message_id = $1 AND agent_id = $2";
    Ok(tx.value::<Option<String>>(sql, &[&id, agent])?.flatten().unwrap_or_default())
}

/// Nobody has to see to an agent of which nothing is parked any more.
pub(super) fn follow(tx: &mut Tx<'_>, agent: &AgentId) -> Result<(), StoreError> {
    let sql = "SELECT 1 FROM deliveries WHERE agent_id = $1 AND state = 'parked' LIMIT 1";
    match tx.value::<i64>(sql, &[agent])? {
        Some(_) => Ok(()),
        None => attention::end(tx, &Cause::Delivery(agent.clone())),
    }
}

/// Nobody has to see to an agent that is gone.
pub(super) fn agent_removed(tx: &mut Tx<'_>, agent: &AgentId) -> Result<(), StoreError> {
    attention::end(tx, &Cause::Delivery(agent.clone()))
}

/// The agents that have something parked among the messages up to this one, or that one alone: whoever deletes them
/// calls what this answers afterwards.
pub(in crate::store) fn forget(
    tx: &Tx<'_>,
    first: MessageId,
    last: MessageId,
) -> Result<impl FnOnce(&mut Tx<'_>) -> Result<(), StoreError> + use<>, StoreError> {
    let agents: Vec<AgentId> = tx.values(
        "SELECT DISTINCT agent_id FROM deliveries WHERE state = 'parked' AND message_id BETWEEN $1 AND $2",
        &[&first, &last],
    )?;
    Ok(move |tx: &mut Tx<'_>| agents.iter().try_for_each(|agent| follow(tx, agent)))
}
