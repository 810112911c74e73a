//! Messages: sending, finding, reading, claiming.

pub mod channels;
pub mod pairs;

use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{Client, Done, Pages, Request};
use crate::domain::agent::SessionGuard;
use crate::domain::id::MessageId;
use crate::domain::message::delivery::Delivery;
use crate::domain::message::{Draft, Message, MessageType, Sent};

/// Requests about messages. See [`Client::messages`].
#[derive(Clone, Copy, Debug)]
pub struct Messages<'a>(pub(super) &'a Client);

/// Which messages.
#[derive(Clone, Debug, Default)]
pub struct MessageQuery {
    /// Only those that reach this agent and are still to be delivered.
    pub reaching: Option<String>,
    /// With `reaching`: only those that agent has not marked read.
    pub unread: bool,
    /// Only those with a greater id.
    pub since: Option<MessageId>,
    /// Only those from this sender.
    pub from: Option<String>,
    /// Only those to this target.
    pub to: Option<String>,
    /// Only those of this channel.
    pub channel: Option<String>,
    /// Only those of this thread.
    pub thread: Option<MessageId>,
    /// Only those of this type.
    pub kind: Option<MessageType>,
    /// The size of a page: 100 unless given, at most 1000.
    pub limit: Option<u32>,
    /// For the first page: wait up to this many seconds, at most 60, until there is one.
    pub wait: Option<u64>,
}

/// Who claims or reads, with the session that speaks.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Claimant {
    /// The agent; the credential's own when `None`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent_id: Option<String>,
    /// The session guard.
    #[serde(flatten)]
    pub guard: SessionGuard,
}

impl Claimant {
    /// This agent, or the credential's own.
    pub fn of(agent_id: Option<String>) -> Self {
        Self { agent_id, guard: SessionGuard::default() }
    }

    /// This agent, whichever of its sessions speaks.
    pub fn agent(id: impl Into<String>) -> Self {
        Self { agent_id: Some(id.into()), guard: SessionGuard::default() }
    }
}

/// What claims and whatever follows one are asked with, of messages and of tasks.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ClaimRequest<'a> {
    #[serde(flatten)]
    pub(super) claimant: &'a Claimant,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) claim_generation: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) lease_ms: Option<i64>,
}

/// The newest message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MessageCursor {
    /// Its id; 0 when there is none.
    pub latest_id: MessageId,
}

impl Messages<'_> {
    /// Sends a message. Once it is answered it is on disk.
    pub fn send(&self, draft: &Draft) -> Request<Sent> {
        self.0.request(Method::POST, "/api/messages").json(draft)
    }

    /// Sends a message from the relay to everybody.
    pub fn broadcast(&self, subject: Option<&str>, body: &str) -> Request<Message> {
        self.0.request(Method::POST, "/api/system/broadcast").json(&json!({"subject": subject, "body": body}))
    }

    /// Messages, oldest first.
    pub fn list(&self, query: &MessageQuery) -> Pages<Message> {
        let request = self.0.request(Method::GET, "/api/messages");
        Pages::from(
            request
                .query("for", query.reaching.as_ref())
                .query("unread", query.unread.then_some(true))
                .query("since", query.since)
                .query("from", query.from.as_ref())
                .query("to", query.to.as_ref())
                .query("channel", query.channel.as_ref())
                .query("thread", query.thread)
                .query("type", query.kind.map(MessageType::as_str))
                .query("limit", query.limit)
                .wait(query.wait),
        )
    }

    /// The id of the newest message.
    pub fn cursor(&self) -> Request<MessageCursor> {
        self.0.request(Method::GET, "/api/messages/cursor")
    }

    /// One message, expired or not.
    pub fn get(&self, id: MessageId) -> Request<Message> {
        self.0.request(Method::GET, &path(id, ""))
    }

    /// The thread of a message, oldest first, from any message of it.
    pub fn thread(&self, id: MessageId) -> Pages<Message> {
        Pages::from(self.0.request(Method::GET, &path(id, "/thread")))
    }

    /// How far a message has come into the session of each agent that has one, by agent. `limit` is the size of a page:
    /// 100 unless given, at most 1000.
    pub fn deliveries(&self, id: MessageId, limit: Option<u32>) -> Pages<Delivery> {
        Pages::from(self.0.request(Method::GET, &path(id, "/deliveries")).query("limit", limit))
    }

    /// Marks a message read by an agent.
    pub fn mark_read(&self, id: MessageId, reader: &Claimant) -> Request<Message> {
        self.of_claim(id, "/read", reader, None, None)
    }

    /// Claims a message, for `lease_ms` milliseconds: 5 minutes unless given, 1 s to 1 h. Exactly one agent
    /// holds it; the answer has the `claim_generation` that proves it.
    pub fn claim(&self, id: MessageId, claimant: &Claimant, lease_ms: Option<i64>) -> Request<Message> {
        self.of_claim(id, "/claim", claimant, None, lease_ms)
    }

    /// Prolongs a claim from now on.
    pub fn renew_claim(
        &self,
        id: MessageId,
        holder: &Claimant,
        generation: i64,
        lease_ms: Option<i64>,
    ) -> Request<Message> {
        self.of_claim(id, "/claim/renew", holder, Some(generation), lease_ms)
    }

    /// Gives a claim back.
    pub fn release_claim(&self, id: MessageId, holder: &Claimant, generation: i64) -> Request<Message> {
        self.of_claim(id, "/claim/release", holder, Some(generation), None)
    }

    /// Finishes claimed work for good.
    pub fn complete_claim(&self, id: MessageId, holder: &Claimant, generation: i64) -> Request<Message> {
        self.of_claim(id, "/claim/complete", holder, Some(generation), None)
    }

    fn of_claim(
        &self,
        id: MessageId,
        what: &str,
        claimant: &Claimant,
        claim_generation: Option<i64>,
        lease_ms: Option<i64>,
    ) -> Request<Message> {
        let body = ClaimRequest { claimant, claim_generation, lease_ms };
        self.0.request(Method::POST, &path(id, what)).json(&body)
    }

    /// Deletes a message for good.
    pub fn delete(&self, id: MessageId) -> Request<Done> {
        self.0.request(Method::DELETE, &path(id, ""))
    }
}

fn path(id: MessageId, what: &str) -> String {
    format!("/api/messages/{id}{what}")
}
