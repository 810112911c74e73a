//! What happened to a task, step by step.

use serde::{Deserialize, Deserializer, Serialize, de};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::Task;
use crate::domain::event::{Audience, EventName};
use crate::domain::id::{AgentId, TaskEventId, TaskId};
use crate::domain::text::json;
use crate::domain::text::word::words;
use crate::domain::time::Timestamp;

words! {
    /// What happened to a task.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
    #[serde(rename_all = "snake_case")]
    pub enum TaskEventKind {
        /// It was asked for.
        Created = "created",
        /// It was asked for again under the same key.
        Occurred = "occurred",
        /// Somebody took it.
        Claimed = "claimed",
        /// Its holder prolonged the lease. This is told on the stream and not kept: it happens all the time.
        Renewed = "renewed",
        /// Its holder gave it back.
        Released = "released",
        /// Its lease ended.
        Expired = "expired",
        /// Its holder works on it; the body says how far.
        InProgress = "in_progress",
        /// Its holder cannot go on; the body says why.
        Blocked = "blocked",
        /// All that it waited for is done.
        Unblocked = "unblocked",
        /// It was answered; the body is the answer.
        Answered = "answered",
        /// It was done.
        Done = "done",
        /// It was tried and not done; the body says why.
        Failed = "failed",
        /// It is not wanted any more; the body says why.
        Canceled = "canceled",
    }
}

impl TaskEventKind {
    /// What becomes of the claim of the message that brings the task, as its readers are told; nothing where the
    /// claim is as it was.
    pub fn of_message(self) -> Option<EventName> {
        match self {
            Self::Claimed | Self::Renewed => Some(EventName::MessageClaimed),
            Self::Released | Self::Expired | Self::Canceled => Some(EventName::MessageClaimReleased),
            Self::Answered | Self::Done | Self::Failed => Some(EventName::MessageCompleted),
            Self::Created | Self::Occurred | Self::InProgress | Self::Blocked | Self::Unblocked => None,
        }
    }
}

/// One step of a task as clients see it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TaskEvent {
    /// Increases with every event of any task.
    #[schema(value_type = i64)]
    pub id: TaskEventId,
    /// The task.
    #[schema(value_type = i64)]
    pub task_id: TaskId,
    /// What happened.
    #[serde(rename = "type")]
    pub kind: TaskEventKind,
    /// Who did it; for `expired`, whose lease ended. Absent where the relay did it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub agent_id: Option<AgentId>,
    /// What was said about it, at most 16 KiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// More for programs.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub metadata: Option<json::Object>,
    /// When, in milliseconds since the epoch.
    #[schema(value_type = i64)]
    pub created_at: Timestamp,
}

/// A task with what happened to it, in one object.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TaskHistory {
    /// The task.
    #[serde(flatten)]
    pub task: Task,
    /// The newest of its events, oldest first.
    pub events: Vec<TaskEvent>,
}

impl<'de> Deserialize<'de> for TaskHistory {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Events {
            events: Vec<TaskEvent>,
        }
        // Twice from the text: `metadata` is kept to the letter, which serde cannot do for a flattened part.
        let text = Box::<RawValue>::deserialize(deserializer)?;
        let task = serde_json::from_str(text.get()).map_err(de::Error::custom)?;
        let Events { events } = serde_json::from_str(text.get()).map_err(de::Error::custom)?;
        Ok(Self { task, events })
    }
}

/// A step to be recorded.
#[derive(Clone, Debug)]
pub struct Change {
    /// What happened.
    pub kind: TaskEventKind,
    /// Who did it; the relay itself where there is nobody.
    pub agent: Option<AgentId>,
    /// What is to be said about it.
    pub body: Option<String>,
    /// More for programs.
    pub metadata: Option<json::Object>,
    /// Who held the claim before, where the step ends it.
    pub former_holder: Option<AgentId>,
}

impl Change {
    /// A step of the relay's own.
    pub fn new(kind: TaskEventKind) -> Self {
        Self { kind, agent: None, body: None, metadata: None, former_holder: None }
    }

    /// A step of this agent's.
    #[must_use]
    pub fn by(self, agent: impl Into<Option<AgentId>>) -> Self {
        Self { agent: agent.into(), ..self }
    }

    /// With these words about it.
    #[must_use]
    pub fn saying(self, body: impl Into<Option<String>>) -> Self {
        Self { body: body.into(), ..self }
    }

    /// Which took the claim from this agent.
    #[must_use]
    pub fn from_holder(self, holder: Option<AgentId>) -> Self {
        Self { former_holder: holder, ..self }
    }
}

impl Task {
    /// Those whom a step of it concerns: whom it is for, who asked, and who holds it or held it. Whoever holds a task
    /// is one of those it is for, where it is for somebody.
    pub fn audience(&self, change: &Change) -> Audience {
        let holder = self.claimed_by.as_ref().or(change.former_holder.as_ref()).or(change.agent.as_ref());
        let mut concerned = self.target.as_deref().into_iter().chain(self.from.as_deref());
        let to = concerned.next().or(holder.map(AgentId::as_str));
        let also = concerned.next().or(holder.map(AgentId::as_str)).filter(|also| Some(*also) != to);
        Audience { to: to.map(Into::into), also: also.map(Into::into), ..Audience::nobody() }
    }
}
