//! Deliveries: how far messages have come into sessions. A row is made with its message, or when a session begins, and
//! changes in the transaction that changes its cause: each by [`Delivery::after`], and by nothing else.

mod due;
mod hosts;
mod parked;
mod waking;

use super::{Message, load_as_stored};
use crate::domain::agent::{Agent, AttentionMode};
use crate::domain::event::{Audience, EventName};
use crate::domain::id::{AgentId, MessageId};
use crate::domain::message::delivery::{
    Delivery, DeliveryFilter, DeliveryNews, DeliveryState, DropReason, HoldReason, Step, TOGETHER_MAX,
};
use crate::domain::message::{Urgency, is_group, notice};
use crate::domain::page::{Filling, Page};
use crate::store::engine::stored;
use crate::store::tx::{Snapshot, Tx};
use crate::store::{Store, StoreError};

pub(in crate::store) use self::hosts::{Hosted, OWN, begin, end};
pub(in crate::store) use self::parked::{forget, park};
pub use self::waking::Wake;
pub(in crate::store) use self::waking::Waking;

stored! {
    stored Delivery in deliveries {
        agent_id, state, how, evidence, attempts, reason, updated_at, next_at, tried, is_trying = "trying",
    }
}

/// A delivery with what is kept of it besides.
struct Row {
    message_id: MessageId,
    /// Whether it may break into a turn.
    interrupts: bool,
    /// Whether it was sent to this agent alone.
    direct: bool,
    delivery: Delivery,
}

stored! { stored Row in deliveries { message_id, interrupts, direct, delivery as part Delivery } }

impl Store {
    /// How far a message has come, by agent. Refuses where there is no such message.
    pub async fn deliveries(
        &self,
        id: MessageId,
        filter: DeliveryFilter,
    ) -> Result<Page<Delivery, AgentId>, StoreError> {
        self.read_page(move |snapshot| {
            load_as_stored(snapshot, id)?;
            let mut page = Filling::new(filter.limit);
            if let Some(agent) = &filter.agent {
                let own: Option<Delivery> = snapshot.row("WHERE message_id = $1 AND agent_id = $2", &[&id, agent])?;
                own.into_iter().for_each(|own| {
                    let _ = page.take(own);
                });
            } else {
                let after = filter.after.as_deref().unwrap_or_default();
                let tail = "WHERE message_id = $1 AND agent_id > $2 ORDER BY agent_id LIMIT $3";
                snapshot.each(tail, &[&id, &after, &filter.limit], |delivery: Delivery| page.take(delivery))?;
            }
            Ok(page.finish(|last| last.agent_id.clone()))
        })
        .await
    }

    /// How far a message has come into the session that is furthest; none where it is for none.
    pub async fn reached_sessions(&self, id: MessageId) -> Result<Option<DeliveryState>, StoreError> {
        self.read(move |snapshot| {
            let states: Vec<DeliveryState> =
                snapshot.values("SELECT state FROM deliveries WHERE message_id = $1 LIMIT $2", &[&id, &MOST])?;
            Ok(notice::furthest(states))
        })
        .await
    }
}

/// Rows looked at in one go.
const MOST: i64 = TOGETHER_MAX as i64;

/// A message was stored: whoever sees to a session that it reaches hears of it.
pub(super) fn begin_with(tx: &mut Tx<'_>, message: &Message) -> Result<(), StoreError> {
    for agent in hosts::reached(tx, message)? {
        insert(tx, message, agent, None)?;
    }
    Ok(())
}

/// Makes the delivery of a message to an agent, which may be over already.
fn insert(tx: &mut Tx<'_>, message: &Message, agent: AgentId, over: Option<DropReason>) -> Result<(), StoreError> {
    let (interrupts, direct) = (Urgency::is_interrupting(&message.meta), !is_group(&message.to));
    let mut delivery = Delivery::new(agent, tx.now);
    let step = if message.meta.contains("agentControl") {
        Some(Step::Drop(DropReason::CarriedOut))
    } else if let Some(reason) = over {
        Some(Step::Drop(reason))
    } else if mode_of(tx, &delivery.agent_id)?.admits(direct, interrupts) {
        None
    } else {
        Some(Step::Hold(HoldReason::DoNotDisturb))
    };
    if let Some(next) = step.and_then(|step| delivery.after(step, tx.now)) {
        delivery = next;
    }
    let row = Row { message_id: message.id, interrupts, direct, delivery };
    tx.insert(&row)?;
    tell(tx, row.message_id, &message.from, &row.delivery)?;
    wake(tx, &row.delivery.agent_id);
    Ok(())
}

fn mode_of(snapshot: &Snapshot<'_>, agent: &AgentId) -> Result<AttentionMode, StoreError> {
    Ok(snapshot.value("SELECT attention FROM agents WHERE id = $1", &[agent])?.unwrap_or_default())
}

/// An agent read a message.
pub(super) fn read(tx: &mut Tx<'_>, message: &Message, agent: &AgentId) -> Result<(), StoreError> {
    let row: Option<Row> = tx.row("WHERE message_id = $1 AND agent_id = $2", &[&message.id, agent])?;
    let Some(row) = row else { return Ok(()) };
    let was_parked = row.delivery.state == DeliveryState::Parked;
    change(tx, row, Step::Read)?;
    if was_parked { parked::follow(tx, agent) } else { Ok(()) }
}

/// Somebody claimed a message: it has seen it, and to others it is nothing any more.
pub(in crate::store) fn claimed(tx: &mut Tx<'_>, id: MessageId, by: &AgentId) -> Result<(), StoreError> {
    for row in of_message(tx, id, "next_at IS NOT NULL")? {
        let step = if row.delivery.agent_id == *by { Step::Read } else { Step::Drop(DropReason::Claimed) };
        change(tx, row, step)?;
    }
    Ok(())
}

/// The claim of a message was given back.
pub(in crate::store) fn freed(tx: &mut Tx<'_>, id: MessageId) -> Result<(), StoreError> {
    for row in of_message(tx, id, "next_at IS NULL AND reason = 'claimed'")? {
        change(tx, row, Step::Free)?;
    }
    Ok(())
}

/// There is nothing left to show of a message.
pub(in crate::store) fn over(tx: &mut Tx<'_>, id: MessageId, reason: DropReason) -> Result<(), StoreError> {
    for row in of_message(tx, id, "next_at IS NOT NULL")? {
        change(tx, row, Step::Drop(reason))?;
    }
    Ok(())
}

/// An agent is gone, and with it what was to be brought to it.
pub(in crate::store) fn agent_removed(tx: &mut Tx<'_>, agent: &AgentId) -> Result<(), StoreError> {
    for row in of_agent(tx, agent, "next_at IS NOT NULL")? {
        change(tx, row, Step::Drop(DropReason::Removed))?;
    }
    parked::agent_removed(tx, agent)
}

/// What an agent lets be shown is different.
pub(in crate::store) fn mode_changed(tx: &mut Tx<'_>, agent: &Agent) -> Result<(), StoreError> {
    for row in of_agent(tx, &agent.id, "next_at IS NOT NULL")? {
        let is_admitted = agent.attention.admits(row.direct, row.interrupts);
        change(tx, row, if is_admitted { Step::Welcome } else { Step::Hold(HoldReason::DoNotDisturb) })?;
    }
    Ok(())
}

fn begin_again(tx: &mut Tx<'_>, row: Row) -> Result<(), StoreError> {
    change(tx, row, Step::Begin)
}

fn of_message(snapshot: &Snapshot<'_>, id: MessageId, which: &str) -> Result<Vec<Row>, StoreError> {
    snapshot.rows(&format!("WHERE message_id = $1 AND {which}"), &[&id])
}

/// The newest deliveries to an agent of some kind, oldest first: of very many the others stay as they are, and come up
/// when they are due.
fn of_agent(snapshot: &Snapshot<'_>, agent: &AgentId, which: &str) -> Result<Vec<Row>, StoreError> {
    let tail = format!("WHERE agent_id = $1 AND {which} ORDER BY message_id DESC LIMIT $2");
    let mut rows: Vec<Row> = snapshot.rows(&tail, &[agent, &MOST])?;
    rows.reverse();
    Ok(rows)
}

/// Takes a delivery a step further because of something that is not its host's report, and has the host look again.
fn change(tx: &mut Tx<'_>, row: Row, step: Step) -> Result<(), StoreError> {
    let agent = row.delivery.agent_id.clone();
    if take_step(tx, row, step)?.is_some() {
        wake(tx, &agent);
    }
    Ok(())
}

/// Takes a delivery a step further, and tells those concerned where they can see that. None where it stays as it is.
fn take_step(tx: &mut Tx<'_>, row: Row, step: Step) -> Result<Option<DeliveryNews>, StoreError> {
    let Some(next) = row.delivery.after(step, tx.now) else { return Ok(None) };
    tx.execute(
        "UPDATE deliveries SET state = $1, how = $2, evidence = $3, attempts = $4, reason = $5, updated_at = $6,
             next_at = $7, tried = $8, trying = $9 WHERE message_id = $10 AND agent_id = $11",
        &[
            &next.state,
            &next.how,
            &next.evidence,
            &next.attempts,
            &next.reason,
            &next.updated_at,
            &next.next_at,
            &next.tried,
            &next.is_trying,
            &row.message_id,
            &next.agent_id,
        ],
    )?;
    if !next.looks_like(&row.delivery) {
        let from: Option<AgentId> = tx.value("SELECT sender FROM messages WHERE id = $1", &[&row.message_id])?;
        tell(tx, row.message_id, &from.unwrap_or_else(AgentId::system), &next)?;
    }
    Ok(Some(DeliveryNews { message_id: row.message_id, delivery: next }))
}

/// Tells the agent, the sender and whoever runs the session.
fn tell(tx: &mut Tx<'_>, id: MessageId, from: &AgentId, delivery: &Delivery) -> Result<(), StoreError> {
    let host = hosts::orchestrator(tx, &delivery.agent_id)?;
    let audience =
        Audience { also: Some(from.into()), host: host.as_ref().map(Into::into), ..Audience::only(&delivery.agent_id) };
    tx.emit(EventName::MessageDelivery, audience, &DeliveryNews { message_id: id, delivery: delivery.clone() })
}

fn wake(tx: &mut Tx<'_>, agent: &AgentId) {
    tx.wake(agent.clone());
}
