//! Messages: storing, finding, reading.

use rusqlite::types::ToSql;
use rusqlite::{Connection, OptionalExtension, Row, params};
use serde_json::{Value, json};

use super::super::{Answer, Idempotency, StoreError, now_ms};
use super::Store;
use super::agents;
use super::tx::{self, Tx, from_json};
use crate::domain::agent::{Routes, SessionGuard};
use crate::domain::event::{Audience, EventName};
use crate::domain::message::{Message, MessageType, NewMessage, is_group};
use crate::domain::refusal::Refusal;

/// Which messages to list.
#[derive(Clone, Debug, Default)]
pub struct MessageFilter {
    /// Only those that reach this agent, and are still to be delivered.
    pub reaching: Option<String>,
    /// Only those this agent has not marked read; together with `reaching`.
    pub unread: bool,
    /// Only those with a greater id.
    pub since: i64,
    /// Only those from this sender.
    pub from: Option<String>,
    /// Only those to this target.
    pub to: Option<String>,
    /// Only those of this channel.
    pub channel: Option<String>,
    /// Only those of this thread.
    pub thread: Option<i64>,
    /// Only those of this type.
    pub kind: Option<MessageType>,
    /// At most this many, oldest first.
    pub limit: usize,
}

/// The columns of a message, for [`from_row`], and the length of its lease.
const COLUMNS: &str = "m.id, m.sender, m.target, m.type, m.subject, m.body, m.channel, m.reply_to, m.thread_id, \
     m.claimable, m.claimed_by, m.claimed_at, m.claim_expires_at, m.claim_generation, m.completed_at, \
     m.idempotency_key, m.meta, m.created_at, m.expires_at, \
     (SELECT json_group_array(agent_id) FROM reads WHERE message_id = m.id), m.claim_lease_ms";

impl Store {
    /// Stores a message. Refuses an answer to a message that is not there.
    pub async fn send(&self, message: NewMessage, idempotency: Option<Idempotency>) -> Result<Answer, StoreError> {
        self.write(move |tx| {
            tx.once(idempotency.as_ref(), |tx| {
                let (_, json) = insert(tx, message)?;
                Ok(Answer { json, replayed: false, created: true })
            })
        })
        .await
    }

    /// One message, expired or not.
    pub async fn message(&self, id: i64) -> Result<Message, StoreError> {
        self.read(move |connection| load(connection, id)).await
    }

    /// Messages, oldest first.
    pub async fn messages(&self, filter: MessageFilter) -> Result<Vec<Message>, StoreError> {
        self.read(move |connection| {
            // One snapshot, so that the ids found are still there when they are loaded.
            let snapshot = connection.unchecked_transaction()?;
            let ids = match &filter.reaching {
                Some(agent) => reaching_ids(&snapshot, agent, &filter)?,
                None => matching_ids(&snapshot, &filter)?,
            };
            ids.into_iter().map(|id| load(&snapshot, id)).collect()
        })
        .await
    }

    /// A whole thread, oldest first, from any of its messages.
    pub async fn thread(&self, id: i64) -> Result<Vec<Message>, StoreError> {
        self.read(move |connection| {
            let snapshot = connection.unchecked_transaction()?;
            let thread = load(&snapshot, id)?.thread_id;
            let filter = MessageFilter { thread: Some(thread), limit: THREAD_MAX, ..MessageFilter::default() };
            matching_ids(&snapshot, &filter)?.into_iter().map(|id| load(&snapshot, id)).collect()
        })
        .await
    }

    /// The greatest message id, or 0.
    pub async fn latest_message_id(&self) -> Result<i64, StoreError> {
        self.read(|connection| {
            Ok(connection
                .prepare_cached("SELECT coalesce(max(id), 0) FROM messages")?
                .query_row([], |row| row.get(0))?)
        })
        .await
    }

    /// Marks a message read by an agent. Doing it again changes nothing.
    pub async fn mark_read(&self, id: i64, agent: String, guard: SessionGuard) -> Result<Message, StoreError> {
        self.write(move |tx| {
            let message = load(tx.connection, id)?;
            require_reach(tx.connection, &message, &agent, &guard)?;
            let added = tx
                .sql("INSERT OR IGNORE INTO reads (message_id, agent_id, read_at) VALUES (?1, ?2, ?3)")?
                .execute(params![id, agent, tx.now])?;
            if added > 0 {
                let audience = Audience { also: Some(agent.as_str().into()), ..Audience::only(&message.from) };
                tx.emit(EventName::MessageRead, audience, &json!({"id": id, "agentId": agent}))?;
            }
            load(tx.connection, id)
        })
        .await
    }

    /// Deletes a message for good.
    pub async fn delete_message(&self, id: i64) -> Result<(), StoreError> {
        self.write(move |tx| {
            let message = load(tx.connection, id)?;
            tx.sql("DELETE FROM messages WHERE id = ?1")?.execute([id])?;
            let audience = Audience { also: Some(message.from.as_str().into()), ..Audience::only(&message.to) };
            tx.emit(EventName::MessageDeleted, audience, &json!({"id": id}))
        })
        .await
    }
}

/// The longest thread that is answered whole.
const THREAD_MAX: usize = 1_000;

/// Stores a message, which is its own event, and answers it and its JSON.
pub(super) fn insert(tx: &mut Tx<'_>, new: NewMessage) -> Result<(Message, String), StoreError> {
    let thread = match new.reply_to {
        None => None,
        Some(parent) => Some(
            tx.sql("SELECT thread_id FROM messages WHERE id = ?1")?
                .query_row([parent], |row| row.get::<_, i64>(0))
                .optional()?
                .ok_or(Refusal::NotFound("message to reply to"))?,
        ),
    };
    let id = tx.next_seq();
    let message = Message {
        id,
        from: new.from,
        to: new.to,
        kind: new.kind,
        subject: new.subject,
        body: new.body,
        channel: new.channel,
        reply_to: new.reply_to,
        thread_id: thread.unwrap_or(id),
        claimable: new.claimable,
        claimed_by: None,
        claimed_at: None,
        claim_expires_at: None,
        claim_generation: 0,
        completed_at: None,
        idempotency_key: new.idempotency_key,
        meta: new.meta,
        created_at: tx.now,
        expires_at: new.expires_at,
        read_by: Vec::new(),
    };
    tx.sql(
        "INSERT INTO messages (id, sender, target, type, subject, body, channel, reply_to, thread_id, claimable,
                               idempotency_key, meta, created_at, expires_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)",
    )?
    .execute(params![
        id,
        message.from,
        message.to,
        message.kind.as_str(),
        message.subject,
        message.body,
        message.channel,
        message.reply_to,
        message.thread_id,
        message.claimable,
        message.idempotency_key,
        tx::json(&message.meta),
        message.created_at,
        message.expires_at,
    ])?;
    let json = tx::json(&message);
    tx.announce(&message, &json);
    Ok((message, json))
}

/// One message or a refusal.
pub(super) fn load(connection: &Connection, id: i64) -> Result<Message, StoreError> {
    Ok(load_with_lease(connection, id)?.0)
}

/// One message and how many milliseconds its claim was asked for, or a refusal.
pub(super) fn load_with_lease(connection: &Connection, id: i64) -> Result<(Message, i64), StoreError> {
    let message = connection
        .prepare_cached(&format!("SELECT {COLUMNS} FROM messages m WHERE m.id = ?1"))?
        .query_row([id], |row| Ok((from_row(row)?, row.get(20)?)))
        .optional()?;
    Ok(message.ok_or(Refusal::NotFound("message"))?)
}

/// Refuses unless the message reaches the agent and the session speaks for it.
pub(super) fn require_reach(
    connection: &Connection,
    message: &Message,
    agent: &str,
    guard: &SessionGuard,
) -> Result<(), StoreError> {
    let card = agents::load(connection, agent)?;
    let routes = match &card {
        Some(card) => {
            guard.check(card)?;
            card.routes()
        }
        None if *guard != SessionGuard::default() => return Err(Refusal::NotFound("agent").into()),
        None => Routes::unregistered(agent),
    };
    if routes.reach(&message.to, &message.from, message.created_at) {
        Ok(())
    } else {
        Err(Refusal::NotAddressed { id: message.id, agent: agent.to_owned() }.into())
    }
}

fn from_row(row: &Row<'_>) -> Result<Message, rusqlite::Error> {
    let meta: String = row.get(16)?;
    let read_by: String = row.get(19)?;
    let kind: String = row.get(3)?;
    Ok(Message {
        id: row.get(0)?,
        from: row.get(1)?,
        to: row.get(2)?,
        kind: if kind == MessageType::System.as_str() { MessageType::System } else { MessageType::Message },
        subject: row.get(4)?,
        body: row.get(5)?,
        channel: row.get(6)?,
        reply_to: row.get(7)?,
        thread_id: row.get(8)?,
        claimable: row.get(9)?,
        claimed_by: row.get(10)?,
        claimed_at: row.get(11)?,
        claim_expires_at: row.get(12)?,
        claim_generation: row.get(13)?,
        completed_at: row.get(14)?,
        idempotency_key: row.get(15)?,
        meta: from_json(&meta)?,
        created_at: row.get(17)?,
        expires_at: row.get(18)?,
        read_by: from_json(&read_by)?,
    })
}

/// The inbox: a union over the agent's targets, each an index range, merged by id.
fn reaching_ids(connection: &Connection, agent: &str, filter: &MessageFilter) -> Result<Vec<i64>, StoreError> {
    let routes = agents::load(connection, agent)?.map_or_else(|| Routes::unregistered(agent), |card| card.routes());
    let now = now_ms();
    let mut ids = Vec::new();
    let targets = std::iter::once(agent).chain(routes.groups.iter().map(String::as_str));
    for target in targets.filter(|target| filter.to.as_deref().is_none_or(|to| to == *target)) {
        let group = target != agent && is_group(target);
        let mut conditions = Conditions::new(filter.since);
        conditions.add("m.target = ?", target.to_owned());
        conditions.add("(m.expires_at IS NULL OR m.expires_at > ?)", now);
        if group {
            conditions.add("m.created_at >= ?", routes.since);
            conditions.add("m.sender <> ?", agent.to_owned());
        }
        if filter.unread {
            conditions.add(
                "NOT EXISTS (SELECT 1 FROM reads r WHERE r.message_id = m.id AND r.agent_id = ?)",
                agent.to_owned(),
            );
        }
        conditions.add_common(filter);
        ids.extend(conditions.ids(connection, filter.limit)?);
    }
    ids.sort_unstable();
    ids.truncate(filter.limit);
    Ok(ids)
}

fn matching_ids(connection: &Connection, filter: &MessageFilter) -> Result<Vec<i64>, StoreError> {
    let mut conditions = Conditions::new(filter.since);
    if let Some(to) = &filter.to {
        conditions.add("m.target = ?", to.clone());
    }
    if let Some(thread) = filter.thread {
        // The first message is found by its id, the replies by their index.
        let mut replies = Conditions::new(filter.since);
        replies.add("m.reply_to IS NOT NULL AND m.thread_id = ?", thread);
        replies.add_common(filter);
        conditions.add("m.id = ?", thread);
        conditions.add_common(filter);
        let mut ids = conditions.ids(connection, filter.limit)?;
        ids.extend(replies.ids(connection, filter.limit)?);
        ids.sort_unstable();
        ids.dedup();
        ids.truncate(filter.limit);
        return Ok(ids);
    }
    conditions.add_common(filter);
    conditions.ids(connection, filter.limit)
}

/// A list of conditions with their values. The texts are ours; only the values come from outside.
struct Conditions {
    sql: String,
    values: Vec<Box<dyn ToSql>>,
}

impl Conditions {
    fn new(since: i64) -> Self {
        Self { sql: "SELECT m.id FROM messages m WHERE m.id > ?".to_owned(), values: vec![Box::new(since)] }
    }

    fn add(&mut self, condition: &str, value: impl ToSql + 'static) {
        self.sql.push_str(" AND ");
        self.sql.push_str(condition);
        self.values.push(Box::new(value));
    }

    fn add_common(&mut self, filter: &MessageFilter) {
        if let Some(from) = &filter.from {
            self.add("m.sender = ?", from.clone());
        }
        if let Some(channel) = &filter.channel {
            self.add("m.channel = ?", channel.clone());
        }
        if let Some(kind) = filter.kind {
            self.add("m.type = ?", kind.as_str());
        }
        if let (Some(thread), Some(_)) = (filter.thread, &filter.reaching) {
            self.add("m.thread_id = ?", thread);
        }
    }

    fn ids(mut self, connection: &Connection, limit: usize) -> Result<Vec<i64>, StoreError> {
        self.sql.push_str(" ORDER BY m.id LIMIT ?");
        self.values.push(Box::new(i64::try_from(limit).unwrap_or(i64::MAX)));
        let mut statement = connection.prepare_cached(&self.sql)?;
        let rows = statement.query_map(rusqlite::params_from_iter(self.values), |row| row.get(0))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}

/// What the events about a message's claim carry.
pub(super) fn claim_event(id: i64, agent: &str, generation: i64) -> Value {
    json!({"id": id, "agentId": agent, "claimGeneration": generation})
}
