//! Drafts: a message as a client sends it, and what is left to do once it is checked.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    CHANNEL_MAX, Channel, Message, MessageType, RESERVED_META, Receipt, SUBJECT_MAX, Sender, check_target, is_group,
};
use crate::domain::agent::imitation::refuse_imitation;
use crate::domain::id::{AgentId, MessageId};
use crate::domain::refusal::Refusal;
use crate::domain::text;
use crate::domain::text::json;
use crate::domain::text::word::words;
use crate::domain::time::Timestamp;

/// A message as a client sends it.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Draft {
    /// Who sends it; the credential's agent when left out.
    #[schema(max_length = 240)]
    pub from: Option<String>,
    /// Whom it is for.
    #[schema(value_type = String, max_length = 300, pattern = r"\S")]
    pub to: Option<String>,
    /// `message` (default) or `system`.
    #[serde(rename = "type")]
    #[schema(value_type = Option<MessageType>)]
    pub kind: Option<String>,
    /// At most 200 characters.
    #[schema(max_length = 200)]
    pub subject: Option<String>,
    /// At most 256 KiB; kept as it is.
    #[schema(value_type = String, max_length = 262144, pattern = r"\S")]
    pub body: Option<String>,
    /// The channel it belongs to.
    #[schema(max_length = 120)]
    pub channel: Option<String>,
    /// The message it answers.
    pub reply_to: Option<i64>,
    /// Whether it is work that exactly one agent takes.
    pub claimable: Option<bool>,
    /// The same key with the same body sends only once.
    #[schema(max_length = 200)]
    pub idempotency_key: Option<String>,
    /// Anything else, at most 16 KiB of JSON.
    #[schema(value_type = Option<Object>)]
    pub meta: Option<json::Object>,
    /// After this it is no longer delivered; must lie in the future.
    pub expires_at: Option<i64>,
    /// `interrupt`: it may break into what its recipient is doing. Kept as `delivery` in `meta`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Urgency>)]
    pub delivery: Option<String>,
    /// Store nothing when it reaches nobody; false unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strict: Option<bool>,
    /// What to wait for, as long as the request says; `claimed` and `completed` only of what is claimable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Receipt>)]
    pub receipt: Option<String>,
}

/// A message that passed every check and waits to be stored.
#[derive(Clone, Debug)]
pub struct NewMessage {
    /// Who sends it.
    pub from: AgentId,
    /// How the relay knows that.
    pub sender: Sender,
    /// A valid target.
    pub to: String,
    /// What kind of message it is.
    pub kind: MessageType,
    /// At most 200 characters.
    pub subject: Option<String>,
    /// At most 256 KiB.
    pub body: String,
    /// The channel it belongs to.
    pub channel: Option<String>,
    /// The message it answers.
    pub reply_to: Option<MessageId>,
    /// Whether it is work that exactly one agent takes.
    pub claimable: bool,
    /// The client's key.
    pub idempotency_key: Option<String>,
    /// Anything else.
    pub meta: json::Object,
    /// After this it is no longer delivered.
    pub expires_at: Option<Timestamp>,
}

words! {
    /// How urgent a message is to be brought to its recipient.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
    #[serde(rename_all = "lowercase")]
    pub enum Urgency {
        /// It may break into a turn that runs.
        Interrupt = "interrupt",
    }
}

impl Urgency {
    /// The key of `meta` that it is kept under. Other values there mean nothing to the relay.
    pub const META: &str = "delivery";

    /// Whether a message with this `meta` may interrupt.
    pub fn is_interrupting(meta: &json::Object) -> bool {
        meta.get(Self::META).is_some_and(|delivery| delivery == Self::Interrupt.as_str())
    }
}

impl Draft {
    /// What its sender waits for. Refuses to wait for what cannot happen.
    pub fn receipt(&self) -> Result<Option<Receipt>, Refusal> {
        let Some(word) = text::optional("receipt", self.receipt.clone(), text::WORD_MAX)? else { return Ok(None) };
        let receipt = Receipt::named("receipt", &word)?;
        if receipt.is_of_work() && !self.claimable.unwrap_or(false) {
            return Err(Refusal::invalid(format!("receipt \"{receipt}\" needs claimable: true")));
        }
        Ok(Some(receipt))
    }

    /// Checks bounds, trims, and fills in the sender of a bound credential. How the sender is known is for whoever
    /// knows the credential to say: nothing is vouched for here.
    pub fn parse(self, bound_to: Option<&AgentId>, now: Timestamp) -> Result<NewMessage, Refusal> {
        refuse_imitation(self.from.as_deref())?;
        let from = AgentId::optional("from", self.from)?
            .or_else(|| bound_to.cloned())
            .ok_or_else(|| Refusal::invalid("from required"))?;
        // A sender is somebody: an answer to a group would not reach who wrote.
        if is_group(&from) {
            return Err(Refusal::ReservedId(from.into_string()));
        }
        let to = text::required("to", self.to, text::TARGET_MAX)?;
        let channel_of_target = check_target(&to)?;
        let channel = text::optional("channel", self.channel, CHANNEL_MAX)?;
        let mut meta = self.meta.unwrap_or_default();
        if let Some(delivery) = text::optional("delivery", self.delivery, text::WORD_MAX)? {
            meta.insert(Urgency::META, Urgency::named("delivery", &delivery)?.as_str());
        }
        text::object("meta", &meta, text::META_BYTES_MAX)?;
        if let Some(key) = RESERVED_META.into_iter().find(|key| meta.contains(key)) {
            return Err(Refusal::ReservedMeta(key));
        }
        let expires_at = self.expires_at.map(Timestamp::from_ms);
        if expires_at.is_some_and(|at| at <= now) {
            return Err(Refusal::invalid("expiresAt must lie in the future"));
        }
        Ok(NewMessage {
            sender: Sender { verified: false, ..Sender::relay(&from) },
            from,
            kind: text::optional("type", self.kind, text::WORD_MAX)?
                .map_or(Ok(MessageType::Message), |kind| MessageType::named("type", &kind))?,
            subject: text::optional("subject", self.subject, SUBJECT_MAX)?,
            body: text::long("body", self.body, text::BODY_BYTES_MAX)?
                .ok_or_else(|| Refusal::invalid("body required"))?,
            channel: channel.or(channel_of_target),
            reply_to: self.reply_to.map(MessageId::new),
            claimable: self.claimable.unwrap_or(false),
            idempotency_key: text::optional("idempotencyKey", self.idempotency_key, text::KEY_MAX)?,
            meta,
            expires_at,
            to,
        })
    }
}

impl NewMessage {
    /// A plain message that the relay sends; everything else can be set on it.
    pub fn plain(from: AgentId, to: impl Into<String>, body: impl Into<String>) -> Self {
        Self {
            sender: Sender::relay(&from),
            from,
            to: to.into(),
            kind: MessageType::Message,
            subject: None,
            body: body.into(),
            channel: None,
            reply_to: None,
            claimable: false,
            idempotency_key: None,
            meta: json::Object::default(),
            expires_at: None,
        }
    }

    /// The message as it is stored under this id: claimed and read by nobody. An answer belongs to the
    /// `thread` of what it answers; any other message begins its own.
    pub fn stored(self, id: MessageId, thread: Option<MessageId>, now: Timestamp) -> Message {
        // What the relay itself sends to a channel belongs to it as well.
        let of_target = || Channel::of_target(&self.to).map(|name| name.trim().to_owned());
        let channel = self.channel.or_else(of_target);
        Message {
            id,
            from: self.from,
            sender: self.sender,
            to: self.to,
            kind: self.kind,
            subject: self.subject,
            body: self.body,
            channel,
            reply_to: self.reply_to,
            thread_id: thread.unwrap_or(id),
            claimable: self.claimable,
            claimed_by: None,
            claimed_at: None,
            claim_expires_at: None,
            claim_generation: 0,
            completed_at: None,
            idempotency_key: self.idempotency_key,
            meta: self.meta,
            created_at: now,
            expires_at: self.expires_at,
            read_by: Vec::new(),
            read_count: 0,
        }
    }
}
