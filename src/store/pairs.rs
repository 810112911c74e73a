//! Pairs: asked for, answered, talked in, over. No agent is in two that are pending or active: `pair_members` has
//! the agent as its key.

use super::agents;
use super::engine::stored;
use super::tx::search::{AnyOf, NewestFirst};
use super::tx::{Snapshot, Tx};
use super::{Created, Idempotency, Json, Store, StoreError, activity, messages};
use crate::domain::agent::SessionGuard;
use crate::domain::audit;
use crate::domain::event::{Audience, EventName};
use crate::domain::id::{AgentId, MessageId, PairId};
use crate::domain::message::{Message, NewMessage, Sender};
use crate::domain::page::Page;
use crate::domain::pair::{NewPair, Pair, PairFilter, PairStep};
use crate::domain::refusal::Refusal;

stored! {
    stored Pair in pairs {
        id, requester_id, target_id, status, objective, thread_id, created_at, accepted_at, last_activity_at,
        expires_at, ended_at, ended_by,
    }
}

impl Store {
    /// Makes a pair of two registered agents, neither of which is in another.
    pub async fn request_pair(
        &self,
        new: NewPair,
        idempotency: Option<Idempotency>,
    ) -> Result<Created<Pair>, StoreError> {
        self.write(move |tx| {
            tx.once(idempotency.as_ref(), |tx| {
                new.guard.check(&agents::load(tx, &new.requester)?.ok_or(Refusal::NotFound("agent"))?)?;
                agents::load(tx, &new.target)?.ok_or(Refusal::NotFound("agent"))?;
                // Somebody whose pair is late is free, whether or not the reaper came by.
                for agent in [&new.requester, &new.target] {
                    if let Some(pair) = live_of(tx, agent)?.filter(|pair| pair.is_late(tx.now)) {
                        let now = tx.now;
                        finish(tx, pair.expired(now))?;
                    }
                }
                let mut pair = new.stored(PairId::default(), tx.now);
                pair.id = tx.insert_numbered(&pair)?.into();
                for agent in [&pair.requester_id, &pair.target_id] {
                    join(tx, agent, pair.id)?;
                }
                tell(tx, &pair)?;
                Ok(Created::new(Json::of(&pair)))
            })
        })
        .await
    }

    /// One pair.
    pub async fn pair(&self, id: PairId) -> Result<Pair, StoreError> {
        self.read(move |snapshot| load(snapshot, id)).await
    }

    /// Pairs, newest first.
    pub async fn pairs(&self, filter: PairFilter) -> Result<Page<Pair, PairId>, StoreError> {
        self.read_page(move |snapshot| {
            let agent = filter.agent.iter();
            let any: Vec<_> =
                agent.flat_map(|agent| [AnyOf::With("requester_id", agent), AnyOf::With("target_id", agent)]).collect();
            let lists = [("status", filter.status.as_ref().map(|status| status as _))];
            let rows = NewestFirst { table: "pairs", lists: &lists, any: &any, since: 0 };
            rows.page(snapshot, filter.before, filter.limit, |pair: &Pair| pair.id)
        })
        .await
    }

    /// One of the two accepts, rejects or ends it.
    pub async fn step_pair(
        &self,
        id: PairId,
        by: AgentId,
        guard: SessionGuard,
        step: PairStep,
    ) -> Result<Pair, StoreError> {
        self.write(move |tx| {
            let pair = load(tx, id)?;
            check_session(tx, &by, &guard)?;
            let pair = pair.step(step, &by, tx.now)?;
            if !pair.status.is_live() {
                return finish(tx, pair);
            }
            tx.upsert(&pair)?;
            tell(tx, &pair)?;
            Ok(pair)
        })
        .await
    }

    /// One of the two says something to the other; `sender` is how it is known who. `body` becomes a message in the pair's thread.
    pub async fn talk_in_pair(
        &self,
        id: PairId,
        from: AgentId,
        sender: Sender,
        guard: SessionGuard,
        body: String,
        idempotency: Option<Idempotency>,
    ) -> Result<Created<Message>, StoreError> {
        self.write(move |tx| {
            tx.once(idempotency.as_ref(), |tx| {
                let pair = load(tx, id)?;
                let to = pair.other_than(&from)?.to_string();
                check_session(tx, &from, &guard)?;
                // Refused before anything is sent; the thread is known only after.
                pair.clone().talk(MessageId::default(), tx.now)?;
                let mut message = NewMessage { sender, ..NewMessage::plain(from, to, body) };
                message.meta.insert("pairId", id);
                message.reply_to = beginning(tx, &pair)?;
                let (message, json) = messages::insert(tx, message)?;
                let pair = pair.talk(message.thread_id, tx.now)?;
                tx.upsert(&pair)?;
                Ok(Created::new(json))
            })
        })
        .await
    }
}

/// The first message of the pair, as long as it is kept: what comes next answers it.
fn beginning(snapshot: &Snapshot<'_>, pair: &Pair) -> Result<Option<MessageId>, StoreError> {
    let Some(thread) = pair.thread_id else { return Ok(None) };
    snapshot.value("SELECT id FROM messages WHERE id = $1", &[&thread])
}

fn check_session(snapshot: &Snapshot<'_>, agent: &AgentId, guard: &SessionGuard) -> Result<(), StoreError> {
    if guard.is_open() {
        return Ok(());
    }
    let card = agents::load(snapshot, agent)?.ok_or(Refusal::NotFound("agent"))?;
    Ok(guard.check(&card)?)
}

fn load(snapshot: &Snapshot<'_>, id: PairId) -> Result<Pair, StoreError> {
    Ok(snapshot.row("WHERE id = $1", &[&id])?.ok_or(Refusal::NotFound("pair"))?)
}

/// The pending or active pair that an agent is in.
fn live_of(snapshot: &Snapshot<'_>, agent: &AgentId) -> Result<Option<Pair>, StoreError> {
    let id: Option<PairId> = snapshot.value("SELECT pair_id FROM pair_members WHERE agent_id = $1", &[agent])?;
    id.map(|id| load(snapshot, id)).transpose()
}

/// Has the database say that an agent is in this pair, unless it says that the agent is in another.
fn join(tx: &Tx<'_>, agent: &AgentId, pair: PairId) -> Result<(), StoreError> {
    let insert = "INSERT INTO pair_members (agent_id, pair_id) VALUES ($1, $2) ON CONFLICT (agent_id) DO NOTHING";
    if tx.execute(insert, &[agent, &pair])? == 1 {
        return Ok(());
    }
    let other = live_of(tx, agent)?.map_or(pair, |other| other.id);
    Err(Refusal::AlreadyPaired { agent: agent.clone(), pair: other }.into())
}

/// Writes down that a pair is over: its two agents are free.
fn finish(tx: &mut Tx<'_>, pair: Pair) -> Result<Pair, StoreError> {
    tx.execute("DELETE FROM pair_members WHERE pair_id = $1", &[&pair.id])?;
    tx.upsert(&pair)?;
    tell(tx, &pair)?;
    Ok(pair)
}

/// Tells both, and the activity log.
fn tell(tx: &mut Tx<'_>, pair: &Pair) -> Result<(), StoreError> {
    let audience = Audience { also: Some((&pair.target_id).into()), ..Audience::only(&pair.requester_id) };
    tx.emit(EventName::PairUpdated, audience, pair)?;
    activity::insert(tx, audit::pair_changed(pair))?;
    Ok(())
}

/// Ends the pair of an agent that is gone, if it is in one.
pub(super) fn end_of(tx: &mut Tx<'_>, agent: &AgentId) -> Result<(), StoreError> {
    if let Some(pair) = live_of(tx, agent)? {
        let now = tx.now;
        finish(tx, pair.left(agent, now))?;
    }
    Ok(())
}

/// Ends pairs whose time is over, at most `limit`.
pub(super) fn expire(tx: &mut Tx<'_>, limit: i64) -> Result<Vec<PairId>, StoreError> {
    let late: Vec<Pair> =
        tx.rows("WHERE expires_at IS NOT NULL AND expires_at <= $1 ORDER BY expires_at LIMIT $2", &[&tx.now, &limit])?;
    let mut ids = Vec::with_capacity(late.len());
    for pair in late {
        let now = tx.now;
        ids.push(finish(tx, pair.expired(now))?.id);
    }
    Ok(ids)
}
