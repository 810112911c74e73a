//! Messages: what is sent, to whom, and who holds the work in it.

mod bounce;
mod channel;
mod claim;
pub mod delivery;
mod draft;
pub mod notice;
mod sender;
mod sent;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::event::Audience;
use super::id::{AgentId, MessageId};
use super::page::{Limit, Query};
use super::refusal::Refusal;
use super::text;
use super::text::json;
use super::text::word::words;
use super::time::Timestamp;

pub use bounce::{Bounce, BounceReason};
pub use channel::{Channel, ChannelDeclaration, ChannelFilter, Direction};
pub use claim::{Claim, ClaimChange, LEASE_MS_DEFAULT, LEASE_MS_MAX, LEASE_MS_MIN, lease_ms};
pub use draft::{Draft, NewMessage, Urgency};
pub use sender::{Sender, SenderKind};
pub use sent::{Outcome, Reached, Receipt, Sent};

/// `meta` keys by which the relay tells control messages from others; nobody else may set them.
pub const RESERVED_META: [&str; 3] = ["agentControl", "orchestratorControl", "commandId"];

/// The longest subject.
pub const SUBJECT_MAX: usize = 200;
/// Of the agents that read a message, so many are named.
pub const READ_BY_MAX: usize = 100;
/// Of the targets that look like one that reaches nobody, so many are told.
pub const SIMILAR_MAX: usize = 3;
/// Over how long the replies of agents in a thread are counted, in milliseconds.
pub const THREAD_WINDOW_MS: i64 = 10 * 60 * 1_000;
/// The most replies by agents that a setting allows in a thread within that time.
pub const THREAD_REPLIES_MAX: usize = 1_000;
/// The longest name of a channel.
pub const CHANNEL_MAX: usize = 120;

words! {
    /// What kind of message it is.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
    #[serde(rename_all = "lowercase")]
    pub enum MessageType {
        /// From one participant to others.
        #[default]
        Message = "message",
        /// From the relay or an administrator.
        System = "system",
    }
}

/// A stored message as clients see it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Message {
    /// Increases with every message. It is the number of its `message.new` event too, so there are gaps.
    #[schema(value_type = i64)]
    pub id: MessageId,
    /// Who sent it.
    #[schema(value_type = String)]
    pub from: AgentId,
    /// How the relay knows that.
    #[serde(default)]
    pub sender: Sender,
    /// An agent id, `broadcast`, `tag:T`, `cap:C`, `label:L` or `channel:NAME`.
    pub to: String,
    /// What kind of message it is.
    #[serde(rename = "type")]
    pub kind: MessageType,
    /// At most 200 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// At most 256 KiB.
    pub body: String,
    /// The channel it belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub channel: Option<String>,
    /// The message it answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<i64>)]
    pub reply_to: Option<MessageId>,
    /// The first message of the conversation.
    #[schema(value_type = i64)]
    pub thread_id: MessageId,
    /// Whether it is work that exactly one agent takes.
    pub claimable: bool,
    /// Who holds the claim, or completed it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub claimed_by: Option<AgentId>,
    /// Since when.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<i64>)]
    pub claimed_at: Option<Timestamp>,
    /// When the lease ends; absent once completed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<i64>)]
    pub claim_expires_at: Option<Timestamp>,
    /// The fencing token: raised by every new claim, 0 before the first.
    pub claim_generation: i64,
    /// When the work was done.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<i64>)]
    pub completed_at: Option<Timestamp>,
    /// The key under which it was sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
    /// Anything else, at most 16 KiB of JSON.
    #[schema(value_type = Object)]
    pub meta: json::Object,
    /// When it was stored, in milliseconds since the epoch.
    #[schema(value_type = i64)]
    pub created_at: Timestamp,
    /// After this it is no longer delivered.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<i64>)]
    pub expires_at: Option<Timestamp>,
    /// The agents that marked it read: the first 100 by id.
    #[schema(value_type = Vec<String>, max_items = 100)]
    pub read_by: Vec<AgentId>,
    /// How many did.
    #[serde(default)]
    pub read_count: i64,
}

impl Message {
    /// The message as it was when it was stored: claimed and read by nobody.
    #[must_use]
    pub fn as_sent(self) -> Self {
        Self {
            claimed_by: None,
            claimed_at: None,
            claim_expires_at: None,
            claim_generation: 0,
            completed_at: None,
            read_by: Vec::new(),
            read_count: 0,
            ..self
        }
    }

    /// Whether it is still delivered at this moment.
    pub fn is_deliverable(&self, now: Timestamp) -> bool {
        self.expires_at.is_none_or(|at| at > now)
    }

    /// Those it concerns when something becomes of it: whom it was sent to, and its sender.
    pub fn audience_with_sender(&self) -> Audience {
        Audience { also: Some((&self.from).into()), ..Audience::only(&self.to) }
    }
}

/// Checks a target's form and answers the channel it names, if it names one.
pub fn check_target(to: &str) -> Result<Option<String>, Refusal> {
    let Some((prefix, name)) = to.split_once(':') else { return Ok(None) };
    if !matches!(prefix, "tag" | "cap" | "label" | "channel") {
        return Ok(None);
    }
    if name.trim().is_empty() {
        return Err(Refusal::invalid(format!("to must name something after \"{prefix}:\"")));
    }
    if prefix != "channel" {
        return Ok(None);
    }
    text::optional("channel", Some(name.to_owned()), CHANNEL_MAX)
}

/// Whether a target names a group, so that it may reach several agents.
pub fn is_group(to: &str) -> bool {
    to == "broadcast" || ["tag:", "cap:", "label:", "channel:"].iter().any(|prefix| to.starts_with(prefix))
}

/// Which messages to list.
#[derive(Clone, Debug, Default)]
pub struct MessageFilter {
    /// Only those that reach this agent, and are still to be delivered.
    pub reaching: Option<AgentId>,
    /// Only those this agent has not marked read; together with `reaching`.
    pub unread: bool,
    /// Only those with a greater id.
    pub since: MessageId,
    /// Only those from this sender.
    pub from: Option<AgentId>,
    /// Only those to this target.
    pub to: Option<String>,
    /// Only those of this channel.
    pub channel: Option<String>,
    /// Only those of this thread.
    pub thread: Option<MessageId>,
    /// Only those of this type.
    pub kind: Option<MessageType>,
    /// At most this many, oldest first.
    pub limit: Limit,
}

impl MessageFilter {
    /// The query of the page after this message.
    pub fn page_after(&self, last: MessageId) -> Query {
        Query::default()
            .with("for", self.reaching.as_ref())
            .with("unread", self.unread.then_some(true))
            .with("from", self.from.as_ref())
            .with("to", self.to.as_ref())
            .with("channel", self.channel.as_ref())
            .with("thread", self.thread)
            .with("type", self.kind)
            .with("limit", Some(self.limit))
            .with("since", Some(last))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_with_nothing_after_the_prefix_are_refused() {
        for to in ["tag:", "cap: ", "label:", "channel:"] {
            assert!(check_target(to).is_err(), "{to}");
        }
        assert_eq!(check_target("channel:dev").unwrap().as_deref(), Some("dev"));
        assert_eq!(check_target("host:1").unwrap(), None);
    }
}
