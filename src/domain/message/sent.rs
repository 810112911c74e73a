//! Sent: what whoever sent a message is answered beside the message itself.

use serde::{Deserialize, Deserializer, Serialize, de};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::Message;
use super::delivery::DeliveryState;
use crate::domain::event::EventName;
use crate::domain::text::word::words;

words! {
    /// What a sender can wait for.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
    #[serde(rename_all = "lowercase")]
    pub enum Receipt {
        /// An agent that the message reaches marked it read.
        Read = "read",
        /// One claimed it.
        Claimed = "claimed",
        /// One finished the work in it.
        Completed = "completed",
    }
}

impl Receipt {
    /// The event that tells it.
    pub fn event(self) -> EventName {
        match self {
            Self::Read => EventName::MessageRead,
            Self::Claimed => EventName::MessageClaimed,
            Self::Completed => EventName::MessageCompleted,
        }
    }

    /// Whether it can only become of work.
    pub fn is_of_work(self) -> bool {
        self != Self::Read
    }

    /// Whether it has happened to this message.
    pub fn has_happened(self, message: &Message) -> bool {
        match self {
            Self::Read => message.read_count > 0,
            // A claim that was given back, or ran out, was one.
            Self::Claimed => message.claim_generation > 0,
            Self::Completed => message.completed_at.is_some(),
        }
    }
}

words! {
    /// What became of a message.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
    #[serde(rename_all = "lowercase")]
    pub enum Reached {
        /// It is on disk, and nobody said anything yet.
        Stored = "stored",
        /// It is held back from a session.
        Waiting = "waiting",
        /// It could not be brought into a session, and is not tried any more.
        Parked = "parked",
        /// It was handed over to a session, and nobody saw it taken.
        Offered = "offered",
        /// A session took it, and its agent said nothing yet.
        Presented = "presented",
        /// An agent marked it read.
        Read = "read",
        /// An agent holds its claim.
        Claimed = "claimed",
        /// The work in it is done.
        Completed = "completed",
    }
}

impl Reached {
    /// How far a message has come.
    pub fn of(message: &Message) -> Self {
        if message.completed_at.is_some() {
            Self::Completed
        } else if message.claimed_by.is_some() {
            Self::Claimed
        } else if message.read_count > 0 {
            Self::Read
        } else {
            Self::Stored
        }
    }
}

impl From<DeliveryState> for Reached {
    fn from(state: DeliveryState) -> Self {
        match state {
            DeliveryState::Stored | DeliveryState::Dropped => Self::Stored,
            DeliveryState::Waiting => Self::Waiting,
            DeliveryState::Offered => Self::Offered,
            DeliveryState::Presented => Self::Presented,
            DeliveryState::Read => Self::Read,
            DeliveryState::Parked => Self::Parked,
        }
    }
}

impl From<Receipt> for Reached {
    fn from(receipt: Receipt) -> Self {
        match receipt {
            Receipt::Read => Self::Read,
            Receipt::Claimed => Self::Claimed,
            Receipt::Completed => Self::Completed,
        }
    }
}

/// A message with what its sender wants to know of it. Only the answer has the latter.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Sent {
    /// The message.
    #[serde(flatten)]
    pub message: Message,
    /// The rest.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// What whoever sent a message wants to know of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Outcome {
    /// How many agents it reaches now: 1 for the id of one that is registered, whatever its status; for a group all
    /// whose inbox has it, without the sender, `user` and `system`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0)]
    pub recipients: Option<i64>,
    /// When it reaches nobody: up to three targets that look like the one it was sent to and reach somebody.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(max_items = 3)]
    pub similar: Option<Vec<String>>,
    /// What was waited for if it happened, or else what became of it; only where a receipt was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub receipt: Option<Reached>,
}

impl<'de> Deserialize<'de> for Sent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Twice from the text: `meta` is kept to the letter, which serde cannot do for a flattened part.
        let text = Box::<RawValue>::deserialize(deserializer)?;
        let message = serde_json::from_str(text.get()).map_err(de::Error::custom)?;
        let outcome = serde_json::from_str(text.get()).map_err(de::Error::custom)?;
        Ok(Self { message, outcome })
    }
}
