//! Messages: storing, finding, reading.

pub(super) mod bounces;
pub(super) mod channels;
pub(super) mod claims;
pub(super) mod deliveries;
mod post;
mod reads;
pub(super) mod recipients;
mod search;
pub(super) mod similar;
mod standing;
pub(super) mod threads;

use std::collections::BTreeMap;

use serde_json::json;

pub use self::post::{Posted, Posting};

use super::engine::stored;
use super::tx::search::page_of;
use super::tx::{Snapshot, Tx};
use super::{Created, Idempotency, Json, Store, StoreError, agents, attention, events, tasks};
use crate::domain::agent::{Routes, SessionGuard, USER};
use crate::domain::attention::Cause;
use crate::domain::event::{Audience, EventName};
use crate::domain::id::{AgentId, MessageId};
use crate::domain::message::delivery::DropReason;
use crate::domain::message::{Message, MessageFilter, NewMessage, READ_BY_MAX};
use crate::domain::page::{Limit, Page};
use crate::domain::refusal::Refusal;
use crate::domain::time::Timestamp;

stored! {
    stored Message in messages {
        id, from = "sender", sender = "sent_by", to = "target", kind = "type", subject, body, channel, reply_to, thread_id, claimable,
        claimed_by, claimed_at, claim_expires_at, claim_generation, completed_at, idempotency_key, meta as json,
        created_at, expires_at,
    }
    // Who read it stands in a table of its own.
    beside { read_by: Vec::new(), read_count: 0 }
}

/// A message with what is kept of it besides.
pub(super) struct Whole {
    pub(super) message: Message,
    /// The length of its claim's lease, for renewals.
    pub(super) lease_ms: i64,
    /// Whether anybody marked it read. Most were not, and then nobody has to ask who.
    pub(super) is_read: bool,
}

stored! {
    read Whole in messages {
        message as part Message,
        lease_ms = "claim_lease_ms",
        is_read = "EXISTS (SELECT 1 FROM reads WHERE message_id = messages.id)",
    }
}

impl Store {
    /// Stores a message of the relay's own. Refuses an answer to a message that is not there.
    pub async fn send(
        &self,
        message: NewMessage,
        idempotency: Option<Idempotency>,
    ) -> Result<Created<Message>, StoreError> {
        self.write(move |tx| {
            tx.once(idempotency.as_ref(), |tx| {
                let (_, json) = insert(tx, message)?;
                Ok(Created::new(json))
            })
        })
        .await
    }

    /// One message, expired or not.
    pub async fn message(&self, id: MessageId) -> Result<Message, StoreError> {
        self.read(move |snapshot| load(snapshot, id)).await
    }

    /// Messages, oldest first.
    pub async fn messages(&self, filter: MessageFilter) -> Result<Page<Message, MessageId>, StoreError> {
        let now = self.now();
        self.read_page(move |snapshot| page(snapshot, &filter, now)).await
    }

    /// A page of a thread, oldest first, from any of its messages: those with a greater id than `since`.
    pub async fn thread(
        &self,
        id: MessageId,
        since: MessageId,
        limit: Limit,
    ) -> Result<Page<Message, MessageId>, StoreError> {
        let now = self.now();
        self.read_page(move |snapshot| {
            let thread = load_as_stored(snapshot, id)?.thread_id;
            let filter = MessageFilter { thread: Some(thread), since, limit, ..MessageFilter::default() };
            page(snapshot, &filter, now)
        })
        .await
    }

    /// The greatest message id, or 0.
    pub async fn latest_message_id(&self) -> Result<MessageId, StoreError> {
        self.read(latest).await
    }

    /// Marks a message read by an agent. Doing it again changes nothing.
    pub async fn mark_read(&self, id: MessageId, agent: AgentId, guard: SessionGuard) -> Result<Message, StoreError> {
        self.write(move |tx| {
            let mut message = load_as_stored(tx, id)?;
            require_reach(tx, &message, &agent, &guard)?;
            let added = tx.execute(
                "INSERT INTO reads (message_id, agent_id, read_at) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
                &[&id, &agent, &tx.now],
            )?;
            if added > 0 {
                reads::cover(tx, &agent, &message)?;
                deliveries::read(tx, &message, &agent)?;
                let audience = Audience { also: Some((&agent).into()), ..Audience::only(&message.from) };
                tx.emit(EventName::MessageRead, audience, &json!({"id": id, "agentId": agent}))?;
            }
            (message.read_by, message.read_count) = read_by(tx, id)?;
            with_claim_of_task(tx, message)
        })
        .await
    }

    /// Deletes a message for good.
    pub async fn delete_message(&self, id: MessageId) -> Result<(), StoreError> {
        self.write(move |tx| {
            let message = load_as_stored(tx, id)?;
            let is_told = id.get() > events::range(tx)?.floor.get();
            deliveries::over(tx, id, DropReason::Deleted)?;
            let follow = deliveries::forget(tx, id, id)?;
            tx.execute("DELETE FROM messages WHERE id = $1", &[&id])?;
            follow(tx)?;
            attention::end(tx, &Cause::Thread(id))?;
            if let Some(channel) = &message.channel {
                channels::count_deleted(tx, &BTreeMap::from([(channel.clone(), 1)]))?;
            }
            let counts = tx.counts();
            (counts.messages, counts.told) = (counts.messages - 1, counts.told - i64::from(is_told));
            tx.keep_counts()?;
            tx.emit(EventName::MessageDeleted, message.audience_with_sender(), &json!({"id": id}))
        })
        .await
    }
}

/// Stores a message, which is its own event, and answers it and its JSON.
pub(super) fn insert(tx: &mut Tx<'_>, new: NewMessage) -> Result<(Message, Json<Message>), StoreError> {
    let thread = thread_of(tx, new.reply_to)?;
    insert_into(tx, thread, new)
}

/// The thread of the message that another answers.
fn thread_of(snapshot: &Snapshot<'_>, parent: Option<MessageId>) -> Result<Option<MessageId>, StoreError> {
    let Some(parent) = parent else { return Ok(None) };
    let thread = snapshot.value("SELECT thread_id FROM messages WHERE id = $1", &[&parent])?;
    Ok(Some(thread.ok_or(Refusal::NotFound("message to reply to"))?))
}

fn insert_into(
    tx: &mut Tx<'_>,
    thread: Option<MessageId>,
    new: NewMessage,
) -> Result<(Message, Json<Message>), StoreError> {
    let id = tx.next_seq().into();
    let message = new.stored(id, thread, tx.now);
    tx.insert(&message)?;
    if let Some(channel) = &message.channel {
        channels::count_sent(tx, channel)?;
    }
    let counts = tx.counts();
    (counts.messages, counts.told) = (counts.messages + 1, counts.told + 1);
    threads::note(tx, &message);
    if message.from == USER && message.reply_to.is_some() {
        // A person has seen to it.
        attention::end(tx, &Cause::Thread(message.thread_id))?;
    }
    let json = Json::of(&message);
    tx.announce(&message, &json);
    deliveries::begin_with(tx, &message)?;
    Ok((message, json))
}

fn page(
    snapshot: &Snapshot<'_>,
    filter: &MessageFilter,
    now: Timestamp,
) -> Result<Page<Message, MessageId>, StoreError> {
    page_of(search::find(snapshot, filter, now)?, filter.limit, |id| load(snapshot, id), |last| last.id)
}

/// The greatest message id, or 0.
pub(super) fn latest(snapshot: &Snapshot<'_>) -> Result<MessageId, StoreError> {
    Ok(snapshot.value("SELECT coalesce(max(id), 0) FROM messages", &[])?.unwrap_or_default())
}

/// One message or a refusal.
fn load(snapshot: &Snapshot<'_>, id: MessageId) -> Result<Message, StoreError> {
    let Whole { message, is_read, .. } = load_whole(snapshot, id)?;
    let mut message = with_claim_of_task(snapshot, message)?;
    if is_read {
        (message.read_by, message.read_count) = read_by(snapshot, id)?;
    }
    Ok(message)
}

/// One message, without who read it and without the claim of its task, or a refusal.
pub(super) fn load_as_stored(snapshot: &Snapshot<'_>, id: MessageId) -> Result<Message, StoreError> {
    Ok(snapshot.row("WHERE id = $1", &[&id])?.ok_or(Refusal::NotFound("message"))?)
}

/// A message with the claim of the task that it brings, if it brings one: that claim is kept with the task alone.
fn with_claim_of_task(snapshot: &Snapshot<'_>, message: Message) -> Result<Message, StoreError> {
    Ok(match tasks::claims::of_message(snapshot, &message)? {
        Some(task) => message.with_claim(task.claim_of_message()),
        None => message,
    })
}

/// Looks at the first message that is not before this place.
pub(super) fn load_near(snapshot: &Snapshot<'_>, place: MessageId) -> Result<(), StoreError> {
    snapshot.row::<Message>("WHERE id >= $1 ORDER BY id LIMIT 1", &[&place]).map(drop)
}

/// One message with what is kept of it besides, or a refusal.
pub(super) fn load_whole(snapshot: &Snapshot<'_>, id: MessageId) -> Result<Whole, StoreError> {
    Ok(snapshot.row("WHERE id = $1", &[&id])?.ok_or(Refusal::NotFound("message"))?)
}

/// The agents that marked a message read, as many as are told, and how many there are.
pub(super) fn read_by(snapshot: &Snapshot<'_>, id: MessageId) -> Result<(Vec<AgentId>, i64), StoreError> {
    let sql = "SELECT agent_id FROM reads WHERE message_id = $1 ORDER BY agent_id LIMIT $2";
    let told = snapshot.values(sql, &[&id, &(READ_BY_MAX as i64)])?;
    let count = if told.len() < READ_BY_MAX {
        told.len() as i64
    } else {
        snapshot.count("SELECT count(*) FROM reads WHERE message_id = $1", &[&id])?
    };
    Ok((told, count))
}

/// Refuses unless the message reaches the agent and the session speaks for it.
pub(super) fn require_reach(
    snapshot: &Snapshot<'_>,
    message: &Message,
    agent: &AgentId,
    guard: &SessionGuard,
) -> Result<(), StoreError> {
    let routes = routes_of_session(snapshot, agent, guard)?;
    if routes.reach(&message.to, &message.from, message.id.into()) {
        Ok(())
    } else {
        Err(Refusal::NotAddressed { work: message.id.into(), agent: agent.clone() }.into())
    }
}

/// The routes of an agent, if the session speaks for it.
pub(super) fn routes_of_session(
    snapshot: &Snapshot<'_>,
    agent: &AgentId,
    guard: &SessionGuard,
) -> Result<Routes, StoreError> {
    match agents::load(snapshot, agent)? {
        Some(card) => {
            guard.check(&card)?;
            Ok(card.routes())
        }
        None if !guard.is_open() => Err(Refusal::NotFound("agent").into()),
        None => Ok(Routes::unregistered(agent.clone())),
    }
}
