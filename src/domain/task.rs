//! Tasks: work, questions and approvals, each of which comes to an end that is told.

pub mod callback;
mod draft;
mod history;
mod transition;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::agent::Routes;
use super::id::{AgentId, MessageId, TaskId};
use super::message::{Claim, Sender};
use super::page::{Limit, Query};
use super::text::json::{self, Exact};
use super::text::word::words;
use super::time::Timestamp;

pub use draft::{
    CALLBACK_URL_MAX, DEPENDENCIES_MAX, DraftAnswer, NewTask, OPTION_MAX, OPTIONS_MAX, SOURCE_OF_API, TaskDraft,
};
pub use history::{Change, TaskEvent, TaskEventKind, TaskHistory};
pub use transition::{Answer, Report};

/// The longest title, in characters.
pub const TITLE_MAX: usize = 200;
/// The longest note and the longest answer, in bytes.
pub const NOTE_BYTES_MAX: usize = 16 * 1024;
/// Of a task's events so many are kept, the newest.
pub const EVENTS_KEPT: i64 = 1_000;

words! {
    /// How far a task has come.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
    #[serde(rename_all = "snake_case")]
    pub enum TaskStatus {
        /// Nobody has taken it.
        Open = "open",
        /// Somebody holds it.
        Claimed = "claimed",
        /// Its holder works on it.
        InProgress = "in_progress",
        /// Its holder cannot go on, or it waits for others to be done.
        Blocked = "blocked",
        /// It was done.
        Done = "done",
        /// It was tried and not done.
        Failed = "failed",
        /// It is not wanted any more.
        Canceled = "canceled",
    }
}

words! {
    /// What is wanted.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
    #[serde(rename_all = "lowercase")]
    pub enum TaskKind {
        /// That something is done.
        #[default]
        Work = "work",
        /// An answer.
        Question = "question",
        /// A decision.
        Approval = "approval",
    }
}

words! {
    /// How much it matters.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
    #[serde(rename_all = "lowercase")]
    pub enum Severity {
        /// As usual.
        #[default]
        Info = "info",
        /// Soon.
        Warning = "warning",
        /// Now.
        Critical = "critical",
    }
}

/// A task as clients see it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Task {
    /// Increases with every task.
    #[schema(value_type = i64)]
    pub id: TaskId,
    /// Where it comes from: `api`, or the name of an integration.
    pub source: String,
    /// What is wanted.
    pub kind: TaskKind,
    /// One line, at most 200 characters.
    pub title: String,
    /// More, at most 256 KiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// How much it matters.
    pub severity: Severity,
    /// How far it has come.
    pub status: TaskStatus,
    /// Whom it is for: an agent or a group, as messages have it. Without one anybody may claim it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// Who asked for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub from: Option<AgentId>,
    /// How it is known who asked for it. Its message says so; kept, not told.
    #[serde(skip)]
    #[schema(ignore)]
    pub asked_by: Sender,
    /// While it is not finished, the same key from the same source makes no other task.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dedupe_key: Option<String>,
    /// How often it was asked for.
    pub occurrences: i64,
    /// Who holds it, or finished it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub claimed_by: Option<AgentId>,
    /// Since when.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<i64>)]
    pub claimed_at: Option<Timestamp>,
    /// When the lease ends; absent while nobody holds it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<i64>)]
    pub claim_expires_at: Option<Timestamp>,
    /// The fencing token: raised by every new claim, 0 before the first.
    pub claim_generation: i64,
    /// Where its changes are sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub callback_url: Option<String>,
    /// What a question or an approval may be answered with; anything where there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(max_items = 20)]
    pub options: Vec<String>,
    /// What came of it: of a question `{answer, note?}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = serde_json::Value, required = false)]
    pub result: Option<Exact>,
    /// Anything else, at most 16 KiB of JSON.
    #[schema(value_type = Object)]
    pub metadata: json::Object,
    /// The tasks that must be done before it is begun.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<i64>, max_items = 64)]
    pub depends_on: Vec<TaskId>,
    /// Those of them that are not done yet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<i64>, max_items = 64)]
    pub blocked_by: Vec<TaskId>,
    /// The message that brings it to its target. Claiming the one claims the other.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<i64>)]
    pub message_id: Option<MessageId>,
    /// When it was made, in milliseconds since the epoch.
    #[schema(value_type = i64)]
    pub created_at: Timestamp,
    /// When it last changed.
    #[schema(value_type = i64)]
    pub updated_at: Timestamp,
    /// When it came to its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<i64>)]
    pub finished_at: Option<Timestamp>,
    /// The length of its claim's lease, for renewals. Kept, not told.
    #[serde(skip)]
    #[schema(ignore)]
    pub lease_ms: i64,
    /// How many events were written of it. Kept, not told.
    #[serde(skip)]
    #[schema(ignore)]
    pub event_count: i64,
}

impl Task {
    /// Its claim. The message that brings it has the same.
    pub fn claim(&self) -> Claim {
        Claim {
            by: self.claimed_by.clone(),
            at: self.claimed_at,
            expires_at: self.claim_expires_at,
            lease_ms: self.lease_ms,
            generation: self.claim_generation,
            completed_at: self.finished_at,
        }
    }

    /// The claim that the message has by which it was brought: nobody completes what is canceled.
    pub fn claim_of_message(&self) -> Claim {
        match self.status {
            TaskStatus::Canceled => {
                Claim { generation: self.claim_generation, lease_ms: self.lease_ms, ..Claim::default() }
            }
            _ => self.claim(),
        }
    }

    fn set_claim(&mut self, claim: Claim) {
        self.claimed_by = claim.by;
        self.claimed_at = claim.at;
        self.claim_expires_at = claim.expires_at;
        self.lease_ms = claim.lease_ms;
        self.claim_generation = claim.generation;
        self.finished_at = claim.completed_at;
    }

    /// Whether it waits until the tasks it depends on are done.
    pub fn is_waiting(&self) -> bool {
        !self.blocked_by.is_empty()
    }

    /// Whether it is for an agent with these routes: by its id, by a group, or because it is for anybody. An agent
    /// that came after the task takes it as well.
    pub fn is_for(&self, routes: &Routes) -> bool {
        self.target.as_deref().is_none_or(|target| routes.include(target))
    }

    /// Whether an agent with these routes has to do with it: it is for the agent, asked for by it, or held by it.
    pub fn concerns(&self, routes: &Routes) -> bool {
        let agent = Some(&routes.agent);
        self.from.as_ref() == agent || self.claimed_by.as_ref() == agent || self.is_for(routes)
    }
}

/// Which tasks to list.
#[derive(Clone, Debug, Default)]
pub struct TaskFilter {
    /// Only those with this status.
    pub status: Option<TaskStatus>,
    /// Only those from this source.
    pub source: Option<String>,
    /// Only those of this severity.
    pub severity: Option<Severity>,
    /// Only those for this target.
    pub target: Option<String>,
    /// Only those that this agent asked for, holds or finished, or that are for it or a group it belongs to.
    pub agent: Option<AgentId>,
    /// With `agent`: those for anybody as well. What a credential sees that is bound to the agent.
    pub or_for_anybody: bool,
    /// Only those with a smaller id: the next page.
    pub before: Option<TaskId>,
    /// At most this many, newest first.
    pub limit: Limit,
}

impl TaskFilter {
    /// The query of the page after this task.
    pub fn page_after(&self, last: TaskId) -> Query {
        Query::default()
            .with("status", self.status)
            .with("source", self.source.as_ref())
            .with("severity", self.severity)
            .with("target", self.target.as_ref())
            // Whoever sees what is for anybody did not ask for an agent: the credential names it.
            .with("agent", self.agent.as_ref().filter(|_| !self.or_for_anybody))
            .with("limit", Some(self.limit))
            .with("before", Some(last))
    }
}
