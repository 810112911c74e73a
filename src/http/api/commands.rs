//! Commands: the record of each control request, and what was decided about it.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use crate::domain::control::ControlKind;
use crate::domain::control::command::{Command, CommandFilter, CommandStatus, RecordedDecision};
use crate::domain::id::{AgentId, CommandId};
use crate::domain::page::{self, Limit};
use crate::domain::text;
use crate::domain::text::json::Exact;
use crate::http::answer;
use crate::http::error::ApiError;
use crate::http::extract::{Authenticated, Json, Path, Query};
use crate::relay::Relay;
use crate::relay::control::commands;

/// Which commands.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct ListCommands {
    /// Only those for this agent.
    #[param(max_length = 240)]
    target: Option<String>,
    /// Only those with this status.
    #[param(value_type = Option<CommandStatus>)]
    status: Option<String>,
    /// `spawn`, `restart` or `shutdown`.
    #[param(value_type = Option<ControlKind>)]
    kind: Option<String>,
    /// 100 unless given; at most 1000.
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: Option<i64>,
    /// Only those with a smaller id: the next page.
    before: Option<i64>,
}

/// List commands, newest first.
#[utoipa::path(get, path = "/api/commands", tag = "control", params(ListCommands),
    responses((status = 200, description = "A page; the next one is in the Link header", body = Vec<Command>)))]
pub(super) async fn list_commands(
    State(relay): State<Relay>,
    caller: Authenticated,
    Query(query): Query<ListCommands>,
) -> Result<Response, ApiError> {
    let status = text::optional("status", query.status, text::WORD_MAX)?;
    let kind = text::optional("kind", query.kind, text::WORD_MAX)?;
    let filter = CommandFilter {
        target: AgentId::optional("target", query.target)?,
        status: status.as_deref().map(|status| CommandStatus::named("status", status)).transpose()?,
        kind: kind.as_deref().map(|kind| ControlKind::named("kind", kind)).transpose()?,
        before: query.before.map(CommandId::new),
        limit: Limit::parse(query.limit)?,
    };
    let (page, filter) = relay.list_commands(&caller, filter).await?;
    Ok(answer::page("/api/commands", &page, |last| filter.page_after(*last)))
}

/// One command.
#[utoipa::path(get, path = "/api/commands/{id}", tag = "control", params(("id" = i64, Path)),
    responses((status = 200, description = "The command with what each policy said", body = Command)))]
pub(super) async fn get_command(
    State(relay): State<Relay>,
    caller: Authenticated,
    Path(id): Path<CommandId>,
) -> Result<Response, ApiError> {
    Ok(answer::json(StatusCode::OK, &relay.get_command(&caller, id).await?))
}

/// What the target of a command reports.
#[derive(Deserialize, ToSchema)]
pub(super) struct CommandReport {
    /// `accepted`, `running`, `succeeded` or `failed`.
    #[schema(value_type = CommandStatus)]
    status: Option<String>,
    /// What came of it, at most 16 KiB of JSON.
    #[schema(value_type = serde_json::Value, required = false)]
    result: Option<Exact>,
    /// Why it was not done, at most 4000 bytes.
    #[schema(max_length = 4000)]
    error: Option<String>,
}

/// Report how far a command has come; only its target may.
#[utoipa::path(patch, path = "/api/commands/{id}", tag = "control", params(("id" = i64, Path)),
    request_body = CommandReport, responses((status = 200, description = "The command", body = Command)))]
pub(super) async fn report_command(
    State(relay): State<Relay>,
    caller: Authenticated,
    Path(id): Path<CommandId>,
    Json(report): Json<CommandReport>,
) -> Result<Response, ApiError> {
    let status = CommandStatus::named("status", &text::required("status", report.status, text::WORD_MAX)?)?;
    let error = text::long("error", report.error, 4_000)?;
    if report.result.as_ref().is_some_and(|result| result.as_str().len() > text::META_BYTES_MAX) {
        return Err(ApiError::invalid(format!("result must have at most {} bytes of JSON", text::META_BYTES_MAX)));
    }
    let report = commands::CommandReport { status, result: report.result, error };
    Ok(answer::json(StatusCode::OK, &relay.report_command(&caller, id, report).await?))
}

/// Which decisions.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct ListDecisions {
    /// 100 unless given; at most 1000.
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: Option<i64>,
    /// Only those of commands with a smaller id: the next page.
    before: Option<i64>,
}

/// List recorded decisions with the question that was asked, newest first.
///
/// Decisions whose question was too large to keep are left out.
#[utoipa::path(get, path = "/api/plugins/decisions", tag = "plugins", params(ListDecisions),
    responses((status = 200, description = "A page; the next one is in the Link header",
        body = Vec<RecordedDecision>)))]
pub(super) async fn list_decisions(
    State(relay): State<Relay>,
    caller: Authenticated,
    Query(query): Query<ListDecisions>,
) -> Result<Response, ApiError> {
    let (before, limit) = (query.before.map(CommandId::new), Limit::parse(query.limit)?);
    let page = relay.list_decisions(&caller, before, limit).await?;
    let after = |last: &CommandId| page::Query::default().with("limit", Some(limit)).with("before", Some(last));
    Ok(answer::page("/api/plugins/decisions", &page, after))
}
