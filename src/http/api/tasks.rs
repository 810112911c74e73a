//! Tasks: asking for them, finding them, and bringing them to an end.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use crate::domain::agent::SessionGuard;
use crate::domain::id::{AgentId, TaskEventId, TaskId};
use crate::domain::page::Limit;
use crate::domain::task::{DraftAnswer, Severity, Task, TaskDraft, TaskFilter, TaskHistory, TaskStatus};
use crate::domain::text;
use crate::domain::text::json::Exact;
use crate::http::answer::{self, Link};
use crate::http::api::messages::ClaimRequest;
use crate::http::error::ApiError;
use crate::http::extract::{Authenticated, Json, Keyed, Path, Query};
use crate::relay::Relay;
use crate::relay::messages::Claimant;
use crate::relay::tasks::Progress;

use super::messages::{Claiming, Holding, Renewing};

/// Ask for a task.
///
/// Whom it is for gets a claimable message about it: at once, or when the tasks that it depends on are done.
#[utoipa::path(post, path = "/api/tasks", tag = "tasks", request_body = TaskDraft,
    responses((status = 201, description = "The task, on disk", body = Task),
              (status = 200, description = "The task that has the same `dedupeKey` and is not finished, with one more \
                  of its `occurrences`; or the one that was made under the same key", body = Task)))]
pub(super) async fn create_task(
    State(relay): State<Relay>,
    caller: Authenticated,
    Keyed { body, key }: Keyed<TaskDraft>,
) -> Result<Response, ApiError> {
    Ok(answer::created(relay.create_task(&caller, body, key).await?))
}

/// Which tasks.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct ListTasks {
    /// Only those with this status.
    #[param(value_type = Option<TaskStatus>)]
    status: Option<String>,
    /// Only those from this source.
    #[param(max_length = 120)]
    source: Option<String>,
    /// Only those of this severity.
    #[param(value_type = Option<Severity>)]
    severity: Option<String>,
    /// Only those for exactly this target.
    #[param(max_length = 300)]
    target: Option<String>,
    /// Only those that this agent asked for, holds or finished, or that are for it or a group it belongs to.
    #[param(max_length = 240)]
    agent: Option<String>,
    /// 100 unless given; at most 1000.
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: Option<i64>,
    /// Only those with a smaller id: the next page.
    before: Option<i64>,
}

/// List tasks, newest first.
#[utoipa::path(get, path = "/api/tasks", tag = "tasks", params(ListTasks),
    responses((status = 200, description = "A page; the next one is in the Link header. One request looks at some \
        thousand tasks: where few of them match, the page is short and the next one goes on", body = Vec<Task>)))]
pub(super) async fn list_tasks(
    State(relay): State<Relay>,
    caller: Authenticated,
    Query(query): Query<ListTasks>,
) -> Result<Response, ApiError> {
    let status = text::optional("status", query.status, text::WORD_MAX)?;
    let severity = text::optional("severity", query.severity, text::WORD_MAX)?;
    let filter = TaskFilter {
        status: status.as_deref().map(|status| TaskStatus::named("status", status)).transpose()?,
        source: text::optional("source", query.source, text::WORD_MAX)?,
        severity: severity.as_deref().map(|severity| Severity::named("severity", severity)).transpose()?,
        target: text::optional("target", query.target, text::TARGET_MAX)?,
        agent: AgentId::optional("agent", query.agent)?,
        or_for_anybody: false,
        before: query.before.map(TaskId::new),
        limit: Limit::parse(query.limit)?,
    };
    let (page, filter) = relay.list_tasks(&caller, filter).await?;
    Ok(answer::page("/api/tasks", &page, |last| filter.page_after(*last)))
}

/// Which events of a task.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct GetTask {
    /// At most so many events: 100 unless given; at most 1000.
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: Option<i64>,
    /// Only events with a smaller id: what happened before.
    before: Option<i64>,
}

/// One task, with what happened to it.
#[utoipa::path(get, path = "/api/tasks/{id}", tag = "tasks", params(("id" = i64, Path), GetTask),
    responses((status = 200, description = "The task with the newest of its events, oldest first; what happened \
        before is in the Link header. The newest 1000 are kept", body = TaskHistory)))]
pub(super) async fn get_task(
    State(relay): State<Relay>,
    caller: Authenticated,
    Path(id): Path<TaskId>,
    Query(query): Query<GetTask>,
) -> Result<Response, ApiError> {
    let (before, limit) = (query.before.map(TaskEventId::new), Limit::parse(query.limit)?);
    let (task, events) = relay.get_task(&caller, id, before, limit).await?;
    let next = events.next.map(|oldest| {
        let mut link = Link::new(&format!("/api/tasks/{id}"));
        link.add("limit", Some(&limit.to_string()));
        link.add("before", Some(&oldest.to_string()));
        link.finish()
    });
    Ok(answer::linked(&TaskHistory { task, events: events.entries }, next))
}

/// Claim a task, and its message with it: exactly one agent holds them.
#[utoipa::path(post, path = "/api/tasks/{id}/claim", tag = "tasks", params(("id" = i64, Path)),
    request_body = Claiming,
    responses((status = 200, description = "The task with its `claimGeneration`", body = Task)))]
pub(super) async fn claim_task(
    State(relay): State<Relay>,
    caller: Authenticated,
    Path(id): Path<TaskId>,
    Json(request): Json<ClaimRequest>,
) -> Result<Response, ApiError> {
    let task = relay.claim_task(&caller, id, request.claimant()?, request.lease_ms).await?;
    Ok(answer::json(StatusCode::OK, &task))
}

/// Prolong the claim of a task.
#[utoipa::path(post, path = "/api/tasks/{id}/renew", tag = "tasks", params(("id" = i64, Path)),
    request_body = Renewing, responses((status = 200, description = "The task", body = Task)))]
pub(super) async fn renew_task(
    State(relay): State<Relay>,
    caller: Authenticated,
    Path(id): Path<TaskId>,
    Json(request): Json<ClaimRequest>,
) -> Result<Response, ApiError> {
    let (who, generation) = (request.claimant()?, request.claim_generation);
    let task = relay.renew_task(&caller, id, who, generation, request.lease_ms).await?;
    Ok(answer::json(StatusCode::OK, &task))
}

/// Give the claim of a task back.
#[utoipa::path(post, path = "/api/tasks/{id}/release", tag = "tasks", params(("id" = i64, Path)),
    request_body = Holding, responses((status = 200, description = "The task", body = Task)))]
pub(super) async fn release_task(
    State(relay): State<Relay>,
    caller: Authenticated,
    Path(id): Path<TaskId>,
    Json(request): Json<ClaimRequest>,
) -> Result<Response, ApiError> {
    let task = relay.release_task(&caller, id, request.claimant()?, request.claim_generation).await?;
    Ok(answer::json(StatusCode::OK, &task))
}

/// How far a task has come.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct TaskReport {
    /// What it is now. `open` gives it back.
    #[schema(value_type = TaskStatus)]
    status: Option<String>,
    /// Who says so; the credential's agent when left out.
    #[schema(max_length = 240)]
    agent_id: Option<String>,
    /// The generation that the claim was answered with.
    claim_generation: Option<i64>,
    /// Words about it, at most 16 KiB.
    #[schema(max_length = 16384)]
    note: Option<String>,
    /// What came of it, at most 16 KiB of JSON.
    #[schema(value_type = serde_json::Value, required = false)]
    result: Option<Exact>,
    /// The session guard.
    #[schema(max_length = 240)]
    instance_id: Option<String>,
    /// The session guard.
    epoch: Option<i64>,
}

/// Say how far a task has come; only its holder may, and who asked for it may cancel it.
#[utoipa::path(patch, path = "/api/tasks/{id}/status", tag = "tasks", params(("id" = i64, Path)),
    request_body = TaskReport, responses((status = 200, description = "The task", body = Task)))]
pub(super) async fn report_task(
    State(relay): State<Relay>,
    caller: Authenticated,
    Path(id): Path<TaskId>,
    Json(report): Json<TaskReport>,
) -> Result<Response, ApiError> {
    let guard = SessionGuard::parse(report.instance_id, report.epoch)?;
    let who = Claimant { agent: report.agent_id, guard };
    let TaskReport { status, claim_generation: generation, note, result, .. } = report;
    let progress = Progress { status, generation, note, result };
    Ok(answer::json(StatusCode::OK, &relay.report_task(&caller, id, who, progress).await?))
}

/// Answer a question or an approval. The first answer counts.
///
/// Who asked gets the answer as a message in the thread of the question.
#[utoipa::path(post, path = "/api/tasks/{id}/answer", tag = "tasks", params(("id" = i64, Path)),
    request_body = DraftAnswer,
    responses((status = 200, description = "The task, `done`, with its `result`", body = Task)))]
pub(super) async fn answer_task(
    State(relay): State<Relay>,
    caller: Authenticated,
    Path(id): Path<TaskId>,
    Json(draft): Json<DraftAnswer>,
) -> Result<Response, ApiError> {
    Ok(answer::json(StatusCode::OK, &relay.answer_task(&caller, id, draft).await?))
}
