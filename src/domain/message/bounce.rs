//! Bounces: what the sender of a message hears when nobody will read it.

use serde_json::json;

use super::{MessageType, NewMessage};
use crate::domain::agent::{SYSTEM, USER};
use crate::domain::id::{AgentId, MessageId};
use crate::domain::text::word::words;

words! {
    /// Why nobody will read it.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum BounceReason {
        /// Its time was over.
        Expired = "expired",
        /// Its recipient was removed.
        Deleted = "deleted",
        /// Its recipient was not heard from for so long that it was forgotten.
        Pruned = "pruned",
        /// Its recipient was shut down.
        Shutdown = "shutdown",
        /// It could not be brought to its recipient, however often that was tried.
        Parked = "parked",
    }
}

impl BounceReason {
    /// The end of a sentence about it, and what can be done.
    fn told(self) -> &'static str {
        match self {
            Self::Expired => "the time for it is over. Send again what still matters.",
            Self::Deleted => "the agent was removed. Who registers under its id again gets what waits for it.",
            Self::Pruned => {
                "the agent was not heard from for so long that it was forgotten. Who registers under its id again gets \
                 what waits for it."
            }
            Self::Shutdown => "the agent was shut down. It gets what waits for it when it is started again.",
            Self::Parked => "its session could not be shown it. It stays in the agent's inbox.",
        }
    }
}

/// Messages of one sender that nobody read, for one reason.
#[derive(Clone, Debug)]
pub struct Bounce {
    /// Who sent them.
    pub from: AgentId,
    /// Whom they were for.
    pub to: AgentId,
    /// Why nobody will read them.
    pub reason: BounceReason,
    /// Which, oldest first; at least one.
    pub messages: Vec<MessageId>,
    /// What was tried before that was clear.
    pub tried: Option<String>,
}

impl Bounce {
    /// The key of `meta` that marks a bounce.
    pub const META: &str = "bounce";

    /// The newest of them.
    pub fn newest(&self) -> MessageId {
        self.messages.last().copied().unwrap_or_default()
    }

    /// Whether their sender gets a message about it. A person has the activity, and so has the relay.
    pub fn reaches_sender(&self) -> bool {
        !matches!(self.from.as_str(), USER | SYSTEM)
    }

    /// What happened, in a sentence or two.
    pub fn text(&self) -> String {
        let (to, newest, told) = (&self.to, self.newest(), self.reason.told());
        let tried = self.tried.as_ref().map(|tried| format!(" {tried}.")).unwrap_or_default();
        match self.messages.len() {
            0 | 1 => format!("Message {newest} to \"{to}\" was not read: {told}{tried}"),
            count => format!("{count} messages to \"{to}\", the newest {newest}, were not read: {told}{tried}"),
        }
    }

    /// The message that tells their sender.
    pub fn message(&self) -> NewMessage {
        let mut message = NewMessage {
            kind: MessageType::System,
            subject: Some("Not read".to_owned()),
            reply_to: Some(self.newest()),
            ..NewMessage::plain(AgentId::system(), self.from.as_str(), self.text())
        };
        let bounce = json!({
            "messageId": self.newest(), "messageIds": self.messages, "to": self.to, "reason": self.reason.as_str(),
        });
        message.meta.insert(Self::META, bounce);
        message
    }
}
