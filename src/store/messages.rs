//! Messages: storing, finding, reading.

use serde_json::json;

use super::engine::{Conditions, stored};
use super::tx::{Snapshot, Tx};
use super::{Created, Idempotency, Json, Store, StoreError, agents};
use crate::domain::agent::{Routes, SessionGuard};
use crate::domain::event::{Audience, EventName};
use crate::domain::id::{AgentId, MessageId};
use crate::domain::message::{Message, MessageFilter, NewMessage, is_group};
use crate::domain::page::{Limit, Page};
use crate::domain::refusal::Refusal;
use crate::domain::time::Timestamp;

stored! {
    stored Message in messages {
        id, from = "sender", to = "target", kind = "type", subject, body, channel, reply_to, thread_id, claimable,
        claimed_by, claimed_at, claim_expires_at, claim_generation, completed_at, idempotency_key, meta as json,
        created_at, expires_at,
    }
    // Who read it stands in a table of its own.
    beside { read_by: Vec::new() }
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
    /// Stores a message. Refuses an answer to a message that is not there.
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
    pub async fn messages(&self, filter: MessageFilter) -> Result<Page<Message>, StoreError> {
        let now = self.now();
        self.read(move |snapshot| {
            let ids = match &filter.reaching {
                Some(agent) => reaching_ids(snapshot, agent, &filter, now)?,
                None => matching_ids(snapshot, &filter)?,
            };
            let messages = ids.into_iter().map(|id| load(snapshot, id)).collect::<Result<_, _>>()?;
            Ok(Page::new(messages, filter.limit))
        })
        .await
    }

    /// A page of a thread, oldest first, from any of its messages: those with a greater id than `since`.
    pub async fn thread(&self, id: MessageId, since: MessageId, limit: Limit) -> Result<Page<Message>, StoreError> {
        self.read(move |snapshot| {
            let thread = load_as_stored(snapshot, id)?.thread_id;
            let filter = MessageFilter { thread: Some(thread), since, limit, ..MessageFilter::default() };
            let ids = matching_ids(snapshot, &filter)?;
            let messages = ids.into_iter().map(|id| load(snapshot, id)).collect::<Result<_, _>>()?;
            Ok(Page::new(messages, limit))
        })
        .await
    }

    /// The greatest message id, or 0.
    pub async fn latest_message_id(&self) -> Result<MessageId, StoreError> {
        self.read(|snapshot| Ok(snapshot.value("SELECT coalesce(max(id), 0) FROM messages", &[])?.unwrap_or_default()))
            .await
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
                let audience = Audience { also: Some((&agent).into()), ..Audience::only(&message.from) };
                tx.emit(EventName::MessageRead, audience, &json!({"id": id, "agentId": agent}))?;
            }
            message.read_by = read_by(tx, id)?;
            Ok(message)
        })
        .await
    }

    /// Deletes a message for good.
    pub async fn delete_message(&self, id: MessageId) -> Result<(), StoreError> {
        self.write(move |tx| {
            let message = load_as_stored(tx, id)?;
            tx.execute("DELETE FROM messages WHERE id = $1", &[&id])?;
            tx.emit(EventName::MessageDeleted, message.audience_with_sender(), &json!({"id": id}))
        })
        .await
    }
}

/// Stores a message, which is its own event, and answers it and its JSON.
pub(super) fn insert(tx: &mut Tx<'_>, new: NewMessage) -> Result<(Message, Json<Message>), StoreError> {
    let thread = match new.reply_to {
        None => None,
        Some(parent) => Some(
            tx.value("SELECT thread_id FROM messages WHERE id = $1", &[&parent])?
                .ok_or(Refusal::NotFound("message to reply to"))?,
        ),
    };
    let id = tx.next_seq().into();
    let message = new.stored(id, thread, tx.now);
    tx.insert(&message)?;
    let json = Json::of(&message);
    tx.announce(&message, &json);
    Ok((message, json))
}

/// One message or a refusal.
fn load(snapshot: &Snapshot<'_>, id: MessageId) -> Result<Message, StoreError> {
    let Whole { mut message, is_read, .. } = load_whole(snapshot, id)?;
    if is_read {
        message.read_by = read_by(snapshot, id)?;
    }
    Ok(message)
}

/// One message, without who read it, or a refusal.
pub(super) fn load_as_stored(snapshot: &Snapshot<'_>, id: MessageId) -> Result<Message, StoreError> {
    Ok(snapshot.row("WHERE id = $1", &[&id])?.ok_or(Refusal::NotFound("message"))?)
}

/// Looks at the first message that is not before this place.
pub(super) fn load_near(snapshot: &Snapshot<'_>, place: MessageId) -> Result<(), StoreError> {
    snapshot.row::<Message>("WHERE id >= $1 ORDER BY id LIMIT 1", &[&place]).map(drop)
}

/// One message with what is kept of it besides, or a refusal.
pub(super) fn load_whole(snapshot: &Snapshot<'_>, id: MessageId) -> Result<Whole, StoreError> {
    Ok(snapshot.row("WHERE id = $1", &[&id])?.ok_or(Refusal::NotFound("message"))?)
}

/// The agents that marked a message read.
pub(super) fn read_by(snapshot: &Snapshot<'_>, id: MessageId) -> Result<Vec<AgentId>, StoreError> {
    snapshot.values("SELECT agent_id FROM reads WHERE message_id = $1 ORDER BY agent_id", &[&id])
}

/// Refuses unless the message reaches the agent and the session speaks for it.
pub(super) fn require_reach(
    snapshot: &Snapshot<'_>,
    message: &Message,
    agent: &AgentId,
    guard: &SessionGuard,
) -> Result<(), StoreError> {
    let routes = match agents::load(snapshot, agent)? {
        Some(card) => {
            guard.check(&card)?;
            card.routes()
        }
        None if !guard.is_open() => return Err(Refusal::NotFound("agent").into()),
        None => Routes::unregistered(agent.clone()),
    };
    if routes.reach(&message.to, &message.from, message.id.into()) {
        Ok(())
    } else {
        Err(Refusal::NotAddressed { id: message.id, agent: agent.clone() }.into())
    }
}

/// Where every search for messages begins.
const IDS: &str = "SELECT id FROM messages";

/// The inbox: a union over the agent's targets, each an index range, merged by id.
fn reaching_ids(
    snapshot: &Snapshot<'_>,
    agent: &AgentId,
    filter: &MessageFilter,
    now: Timestamp,
) -> Result<Vec<MessageId>, StoreError> {
    let routes = agents::routes(snapshot, agent)?;
    let mut ids = Vec::new();
    let targets = std::iter::once(agent.as_str()).chain(routes.groups.iter().map(String::as_str));
    for target in targets.filter(|target| filter.to.as_deref().is_none_or(|to| to == *target)) {
        let mut query = Conditions::after(IDS);
        query.add("id > ?", &[&filter.since]);
        query.add("target = ?", &[&target]);
        query.add("(expires_at IS NULL OR expires_at > ?)", &[&now]);
        if *agent != *target && is_group(target) {
            query.add("id > ?", &[&routes.after]);
            query.add("sender <> ?", &[agent]);
        }
        if filter.unread {
            query.add("NOT EXISTS (SELECT 1 FROM reads WHERE message_id = messages.id AND agent_id = ?)", &[agent]);
        }
        query.add_if("thread_id = ?", &filter.thread);
        ids.extend(find(snapshot, query, filter)?);
    }
    ids.sort_unstable();
    ids.truncate(filter.limit.get());
    Ok(ids)
}

fn matching_ids(snapshot: &Snapshot<'_>, filter: &MessageFilter) -> Result<Vec<MessageId>, StoreError> {
    let mut query = Conditions::after(IDS);
    query.add("id > ?", &[&filter.since]);
    query.add_if("target = ?", &filter.to);
    let Some(thread) = &filter.thread else { return find(snapshot, query, filter) };
    // The first message is found by its id, the replies by their index.
    query.add("id = ?", &[thread]);
    let mut replies = Conditions::after(IDS);
    replies.add("id > ?", &[&filter.since]);
    replies.add("reply_to IS NOT NULL AND thread_id = ?", &[thread]);
    let mut ids = find(snapshot, query, filter)?;
    ids.extend(find(snapshot, replies, filter)?);
    ids.sort_unstable();
    ids.dedup();
    ids.truncate(filter.limit.get());
    Ok(ids)
}

fn find<'v>(
    snapshot: &Snapshot<'_>,
    mut query: Conditions<'v>,
    filter: &'v MessageFilter,
) -> Result<Vec<MessageId>, StoreError> {
    query.add_if("sender = ?", &filter.from);
    query.add_if("channel = ?", &filter.channel);
    query.add_if("type = ?", &filter.kind);
    query.push(" ORDER BY id LIMIT ?", &[&filter.limit]);
    let (sql, values) = query.parts();
    snapshot.values(sql, values)
}
