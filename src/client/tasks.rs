//! Tasks: asking for them, finding them, and bringing them to an end.

pub mod callbacks;
pub mod integrations;

use reqwest::Method;
use serde::Serialize;

use super::messages::{ClaimRequest, Claimant};
use super::{Client, Pages, Request};
use crate::domain::id::TaskId;
use crate::domain::task::{DraftAnswer, Severity, Task, TaskDraft, TaskHistory, TaskStatus};
use crate::domain::text::json::Exact;

/// Requests about tasks. See [`Client::tasks`].
#[derive(Clone, Copy, Debug)]
pub struct Tasks<'a>(pub(super) &'a Client);

/// Which tasks.
#[derive(Clone, Debug, Default)]
pub struct TaskQuery {
    /// Only those with this status.
    pub status: Option<TaskStatus>,
    /// Only those from this source.
    pub source: Option<String>,
    /// Only those of this severity.
    pub severity: Option<Severity>,
    /// Only those for exactly this target.
    pub target: Option<String>,
    /// Only those that this agent asked for, holds or finished, or that are for it or a group it belongs to.
    pub agent: Option<String>,
    /// Only those with a smaller id.
    pub before: Option<TaskId>,
    /// The size of a page: 100 unless given, at most 1000.
    pub limit: Option<u32>,
}

/// How far a task has come, said by whoever holds it.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TaskProgress {
    /// What it is now. `open` gives it back.
    pub status: TaskStatus,
    /// The generation that the claim was answered with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub claim_generation: Option<i64>,
    /// Words about it, at most 16 KiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// What came of it, at most 16 KiB of JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result: Option<Exact>,
}

impl TaskProgress {
    /// It is this now, and nothing else is said.
    pub fn to(status: TaskStatus) -> Self {
        Self { status, claim_generation: None, note: None, result: None }
    }
}

#[derive(Serialize)]
struct Reported<'a> {
    #[serde(flatten)]
    who: &'a Claimant,
    #[serde(flatten)]
    progress: &'a TaskProgress,
}

impl Tasks<'_> {
    /// Asks for a task.
    pub fn create(&self, draft: &TaskDraft) -> Request<Task> {
        self.0.request(Method::POST, "/api/tasks").json(draft)
    }

    /// Tasks, newest first.
    pub fn list(&self, query: &TaskQuery) -> Pages<Task> {
        let request = self.0.request(Method::GET, "/api/tasks");
        Pages::from(
            request
                .query("status", query.status.map(TaskStatus::as_str))
                .query("source", query.source.as_ref())
                .query("severity", query.severity.map(Severity::as_str))
                .query("target", query.target.as_ref())
                .query("agent", query.agent.as_ref())
                .query("before", query.before)
                .query("limit", query.limit),
        )
    }

    /// One task, with the newest of its events.
    pub fn get(&self, id: TaskId) -> Request<TaskHistory> {
        self.0.request(Method::GET, &path(id, ""))
    }

    /// Claims a task, and its message with it, for `lease_ms` milliseconds: 5 minutes unless given, 1 s to 1 h.
    pub fn claim(&self, id: TaskId, claimant: &Claimant, lease_ms: Option<i64>) -> Request<Task> {
        self.of_claim(id, "/claim", claimant, None, lease_ms)
    }

    /// Prolongs a claim from now on.
    pub fn renew(&self, id: TaskId, holder: &Claimant, generation: i64, lease_ms: Option<i64>) -> Request<Task> {
        self.of_claim(id, "/renew", holder, Some(generation), lease_ms)
    }

    /// Gives a claim back.
    pub fn release(&self, id: TaskId, holder: &Claimant, generation: i64) -> Request<Task> {
        self.of_claim(id, "/release", holder, Some(generation), None)
    }

    /// Says how far a task has come. Only its holder may, and who asked for it may cancel it.
    pub fn report(&self, id: TaskId, who: &Claimant, progress: &TaskProgress) -> Request<Task> {
        self.0.request(Method::PATCH, &path(id, "/status")).json(&Reported { who, progress })
    }

    /// Answers a question or an approval. The first answer counts.
    pub fn answer(&self, id: TaskId, answer: &DraftAnswer) -> Request<Task> {
        self.0.request(Method::POST, &path(id, "/answer")).json(answer)
    }

    fn of_claim(
        &self,
        id: TaskId,
        what: &str,
        claimant: &Claimant,
        claim_generation: Option<i64>,
        lease_ms: Option<i64>,
    ) -> Request<Task> {
        let body = ClaimRequest { claimant, claim_generation, lease_ms };
        self.0.request(Method::POST, &path(id, what)).json(&body)
    }
}

fn path(id: TaskId, what: &str) -> String {
    format!("/api/tasks/{id}{what}")
}
