//! Hosts: whose sessions run now, and where. Few agents have one, so the writer knows them all, and a message that
//! reaches none of them costs no look.

use std::collections::HashMap;

use super::{Row, begin_again, change, due, insert, of_agent, wake};
use crate::domain::agent::{SYSTEM, USER};
use crate::domain::id::{AgentId, MessageId};
use crate::domain::message::delivery::{DropReason, Step, TOGETHER_MAX, WAITS_MS};
use crate::domain::message::{Message, MessageFilter, is_group};
use crate::domain::page::Limit;
use crate::domain::time::Timestamp;
use crate::store::StoreError;
use crate::store::engine::stored;
use crate::store::messages::{load_as_stored, search, with_claim_of_task};
use crate::store::tx::{Snapshot, Tx};

/// Of what is unread when a session begins, so many messages have a delivery: the newest.
const UNREAD_MAX: usize = 100;
/// The host of the relay's own sessions.
pub(in crate::store) const OWN: &str = "";

/// An agent whose session runs.
pub(super) struct Host {
    agent_id: AgentId,
    /// The agent of the orchestrator that runs it, or [`OWN`].
    pub(super) host: AgentId,
    /// How often it is still tried to tell it what it has, and from when on.
    pub(super) greets: i64,
    pub(super) greets_at: Timestamp,
}

stored! { stored Host in hosted { agent_id, host, greets, greets_at } }

/// Where the sessions of agents run, by agent; nothing until somebody looked.
#[derive(Default)]
pub(in crate::store) struct Hosted(Option<HashMap<AgentId, AgentId>>);

/// The session of this agent, if one runs.
pub(super) fn find(snapshot: &Snapshot<'_>, agent: &AgentId) -> Result<Option<Host>, StoreError> {
    snapshot.row("WHERE agent_id = $1", &[agent])
}

/// The orchestrator's agent that runs the session of this one, if one does.
pub(super) fn orchestrator(tx: &mut Tx<'_>, agent: &AgentId) -> Result<Option<AgentId>, StoreError> {
    look(tx)?;
    let hosted = tx.remembered().hosted().0.as_ref();
    Ok(hosted.and_then(|hosted| hosted.get(agent)).filter(|host| host.as_str() != OWN).cloned())
}

fn look(tx: &mut Tx<'_>) -> Result<(), StoreError> {
    if tx.remembered().hosted().0.is_none() {
        let all: Vec<Host> = tx.rows("", &[])?;
        let all = all.into_iter().map(|it| (it.agent_id, it.host)).collect();
        tx.remembered().hosted_mut().0 = Some(all);
    }
    Ok(())
}

/// The agents with a session that a message reaches.
pub(super) fn reached(tx: &mut Tx<'_>, message: &Message) -> Result<Vec<AgentId>, StoreError> {
    look(tx)?;
    let Some(hosted) = tx.remembered().hosted().0.as_ref().filter(|hosted| !hosted.is_empty()) else {
        return Ok(Vec::new());
    };
    if !is_group(&message.to) {
        return Ok(hosted.contains_key(message.to.as_str()).then(|| message.to.as_str().into()).into_iter().collect());
    }
    let mut reached: Vec<AgentId> = if message.to == "broadcast" {
        tx.values("SELECT agent_id FROM hosted WHERE agent_id IN (SELECT id FROM agents) ORDER BY agent_id", &[])?
    } else {
        tx.values(
            "SELECT agent_id FROM agent_targets WHERE target = $1 AND agent_id IN (SELECT agent_id FROM hosted)
             ORDER BY agent_id",
            &[&message.to],
        )?
    };
    reached.retain(|agent| *agent != message.from && !matches!(agent.as_str(), USER | SYSTEM));
    Ok(reached)
}

/// The session of an agent begins: it will be told what it has, and what it has not read is brought to it.
pub(in crate::store) fn begin(tx: &mut Tx<'_>, agent: &AgentId, host: &AgentId) -> Result<(), StoreError> {
    look(tx)?;
    // Whoever has nothing is told nothing.
    let greets = if due::belongings(tx, agent, tx.now)?.is_empty() { 0 } else { WAITS_MS.len() as i64 };
    let row = Host { agent_id: agent.clone(), host: host.clone(), greets, greets_at: tx.now };
    tx.upsert(&row)?;
    if let Some(hosted) = &mut tx.remembered().hosted_mut().0 {
        hosted.insert(agent.clone(), host.clone());
    }
    for which in ["next_at IS NOT NULL", "state = 'parked'"] {
        for row in of_agent(tx, agent, which)? {
            begin_again(tx, row)?;
        }
    }
    for id in unread(tx, agent, tx.now)?.0.into_iter().rev().take(UNREAD_MAX).rev() {
        let message = with_claim_of_task(tx, load_as_stored(tx, id)?)?;
        // What somebody holds is brought to it once that is given back.
        let over = message.claimed_by.is_some().then_some(DropReason::Claimed);
        match tx.row::<Row>("WHERE message_id = $1 AND agent_id = $2", &[&id, agent])? {
            Some(row) if over.is_none() => begin_again(tx, row)?,
            Some(_) => {}
            None => insert(tx, &message, agent.clone(), over)?,
        }
    }
    super::parked::follow(tx, agent)?;
    wake(tx, agent);
    Ok(())
}

/// The session of an agent on this host ended. What it was not shown waits for the next one.
pub(in crate::store) fn end(tx: &mut Tx<'_>, agent: &AgentId, host: &AgentId) -> Result<(), StoreError> {
    look(tx)?;
    if tx.execute("DELETE FROM hosted WHERE agent_id = $1 AND host = $2", &[agent, host])? == 0 {
        return Ok(());
    }
    for row in of_agent(tx, agent, "next_at IS NOT NULL AND state = 'waiting'")? {
        change(tx, row, Step::Begin)?;
    }
    if let Some(hosted) = &mut tx.remembered().hosted_mut().0 {
        hosted.remove(agent);
    }
    Ok(())
}

/// What an agent has not read, oldest first, and whether there is more than is counted.
pub(super) fn unread(
    snapshot: &Snapshot<'_>,
    agent: &AgentId,
    now: Timestamp,
) -> Result<(Vec<MessageId>, bool), StoreError> {
    let filter = MessageFilter {
        reaching: Some(agent.clone()),
        unread: true,
        limit: Limit::parse(Some(TOGETHER_MAX as i64))?,
        ..MessageFilter::default()
    };
    let (mut ids, next) = search::find(snapshot, &filter, now)?;
    let mut unread = Vec::with_capacity(ids.len());
    for id in ids.drain(..) {
        // A command is no message to it, wherever it is kept.
        let reason = "SELECT reason FROM deliveries WHERE message_id = $1 AND agent_id = $2";
        let reason: Option<Option<String>> = snapshot.value(reason, &[&id, agent])?;
        if reason.flatten().as_deref() != Some(DropReason::CarriedOut.as_str()) {
            unread.push(id);
        }
    }
    Ok((unread, next.is_some()))
}
