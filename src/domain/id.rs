//! Ids: which number or name belongs to what, so that one is never taken for another.
//!
//! Text ids have bounds where a request brings them (`required`, `optional`). `From` takes a text as it
//! is: one that nobody could have registered names nobody, and is simply not found.

use std::borrow::Borrow;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::agent::{SYSTEM, USER};
use super::refusal::Refusal;
use super::text;

macro_rules! text_ids {
    ($( $(#[$doc:meta])* $name:ident up to $max:expr; )+) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// The id in this field: trimmed, without control characters, within its bound. `None` when
            /// it is left out or blank.
            pub fn optional(field: &str, value: Option<String>) -> Result<Option<Self>, Refusal> {
                Ok(text::id(field, value, $max)?.map(Self))
            }

            /// The id that must be in this field.
            pub fn required(field: &str, value: Option<String>) -> Result<Self, Refusal> {
                Self::optional(field, value)?.ok_or_else(|| Refusal::invalid(format!("{field} required")))
            }

            /// The id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// The text itself.
            pub fn into_string(self) -> String {
                self.0
            }
        }

        impl Deref for $name {
            type Target = str;

            fn deref(&self) -> &str {
                &self.0
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl From<String> for $name {
            fn from(id: String) -> Self {
                Self(id)
            }
        }

        impl From<&str> for $name {
            fn from(id: &str) -> Self {
                Self(id.to_owned())
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0
            }
        }

        impl From<&$name> for Arc<str> {
            fn from(id: &$name) -> Self {
                Self::from(id.as_str())
            }
        }

        impl From<&$name> for Value {
            fn from(id: &$name) -> Self {
                Self::from(id.as_str())
            }
        }

        impl From<$name> for Value {
            fn from(id: $name) -> Self {
                Self::from(id.0)
            }
        }

        impl PartialEq<str> for $name {
            fn eq(&self, other: &str) -> bool {
                self.0 == other
            }
        }

        impl PartialEq<&str> for $name {
            fn eq(&self, other: &&str) -> bool {
                self.0 == *other
            }
        }

        impl PartialEq<String> for $name {
            fn eq(&self, other: &String) -> bool {
                self.0 == *other
            }
        }

        impl PartialEq<$name> for str {
            fn eq(&self, other: &$name) -> bool {
                self == other.0
            }
        }

        impl PartialEq<$name> for String {
            fn eq(&self, other: &$name) -> bool {
                *self == other.0
            }
        }

        impl PartialEq<$name> for Value {
            fn eq(&self, other: &$name) -> bool {
                *self == *other.0
            }
        }
    )+};
}

text_ids! {
    /// Who sends, gets and does: an agent, the human or the relay. At most 240 characters.
    AgentId up to text::ID_MAX;
    /// A daemon that starts agents on another host. At most 120 characters.
    OrchestratorId up to super::control::orchestrator::ORCHESTRATOR_ID_MAX;
}

impl AgentId {
    /// The human at the dashboard.
    pub fn user() -> Self {
        Self(USER.to_owned())
    }

    /// The relay itself.
    pub fn system() -> Self {
        Self(SYSTEM.to_owned())
    }
}

/// What comes before an orchestrator's id in the id of its agent.
const ORCHESTRATOR_PREFIX: &str = "orchestrator-";

impl OrchestratorId {
    /// The agent under which this orchestrator gets its messages.
    pub fn agent_id(&self) -> AgentId {
        AgentId(format!("{ORCHESTRATOR_PREFIX}{}", self.0))
    }

    /// The orchestrator whose agent this is, if it is one's.
    pub fn of_agent(agent: &AgentId) -> Option<Self> {
        agent.strip_prefix(ORCHESTRATOR_PREFIX).map(Self::from)
    }
}

macro_rules! number_ids {
    ($( $(#[$doc:meta])* $name:ident; )+) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(i64);

        impl $name {
            /// The id with this number, whether or not it was ever given.
            pub const fn new(number: i64) -> Self {
                Self(number)
            }

            /// The number.
            pub const fn get(self) -> i64 {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl From<i64> for $name {
            fn from(number: i64) -> Self {
                Self(number)
            }
        }

        impl From<$name> for i64 {
            fn from(id: $name) -> Self {
                id.0
            }
        }

        impl From<$name> for Value {
            fn from(id: $name) -> Self {
                Self::from(id.0)
            }
        }

        impl PartialEq<i64> for $name {
            fn eq(&self, other: &i64) -> bool {
                self.0 == *other
            }
        }

        impl PartialOrd<i64> for $name {
            fn partial_cmp(&self, other: &i64) -> Option<std::cmp::Ordering> {
                self.0.partial_cmp(other)
            }
        }

        impl PartialEq<$name> for Value {
            fn eq(&self, other: &$name) -> bool {
                *self == other.0
            }
        }
    )+};
}

number_ids! {
    /// A message. It is the place of its `message.new` event as well.
    MessageId;
    /// A control request.
    CommandId;
    /// An entry of the activity log.
    ActivityId;
    /// Something that waits for a person. No number is given twice.
    AttentionId;
    /// A task.
    TaskId;
    /// A stored credential. No number is given twice.
    TokenId;
    /// A pair.
    PairId;
    /// A step of a task.
    TaskEventId;
    /// A delivery of an integration that could not be read. No number is given twice.
    DeliveryId;
    /// Something that is sent to somebody outside. No number is given twice.
    CallbackId;
    /// The place of an event in commit order, from 1.
    EventSeq;
}

/// What a claim is of: a message, or a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// A message.
    Message(MessageId),
    /// A task, whose message has the same claim.
    Task(TaskId),
}

impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Message(id) => write!(f, "message {id}"),
            Self::Task(id) => write!(f, "task {id}"),
        }
    }
}

impl From<MessageId> for Work {
    fn from(id: MessageId) -> Self {
        Self::Message(id)
    }
}

impl From<TaskId> for Work {
    fn from(id: TaskId) -> Self {
        Self::Task(id)
    }
}

impl From<MessageId> for EventSeq {
    fn from(id: MessageId) -> Self {
        Self(id.0)
    }
}

impl From<EventSeq> for MessageId {
    fn from(seq: EventSeq) -> Self {
        Self(seq.0)
    }
}

impl EventSeq {
    /// After all of them.
    pub const MAX: Self = Self(i64::MAX);

    /// The next place.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_checked_where_an_id_comes_in() {
        assert_eq!(AgentId::required("id", Some(" a ".to_owned())).unwrap(), "a");
        assert_eq!(AgentId::required("id", Some(" ".to_owned())).unwrap_err().to_string(), "id required");
        let long = Some("x".repeat(241));
        assert_eq!(AgentId::optional("from", long).unwrap_err().to_string(), "from must have at most 240 characters");
    }

    #[test]
    fn an_orchestrator_and_its_agent_name_each_other() {
        let id = OrchestratorId::from("build-1");
        assert_eq!(id.agent_id(), "orchestrator-build-1");
        assert_eq!(OrchestratorId::of_agent(&id.agent_id()), Some(id));
        assert_eq!(OrchestratorId::of_agent(&AgentId::user()), None);
    }

    #[test]
    fn json_has_the_bare_number_or_text() {
        assert_eq!(serde_json::to_string(&(MessageId::new(3), AgentId::from("a"))).unwrap(), r#"[3,"a"]"#);
    }
}
