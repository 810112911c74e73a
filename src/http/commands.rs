//! Commands: the record of each control request.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use super::answer;
use super::error::ApiError;
use super::extract::{Json, Path, Query, Who};
use crate::domain::caller::Scope;
use crate::domain::command::{Command, CommandFilter, CommandStatus};
use crate::domain::control::ControlKind;
use crate::domain::id::{AgentId, CommandId};
use crate::domain::page::Limit;
use crate::domain::text;
use crate::relay::Relay;

/// Which commands.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct ListCommands {
    /// Only those for this agent.
    target: Option<String>,
    /// Only those with this status.
    status: Option<String>,
    /// `spawn`, `restart` or `shutdown`.
    kind: Option<String>,
    /// 100 unless given; at most 1000.
    limit: Option<i64>,
    /// Only those with a smaller id: the next page.
    before: Option<i64>,
}

/// List commands, newest first.
#[utoipa::path(get, path = "/api/commands", tag = "control", params(ListCommands),
    responses((status = 200, description = "A page; the next one is in the Link header", body = Vec<Command>)))]
pub(super) async fn list_commands(
    State(relay): State<Relay>,
    who: Who,
    Query(query): Query<ListCommands>,
) -> Result<Response, ApiError> {
    who.require(&[Scope::Read, Scope::Agent, Scope::Orchestrator, Scope::Control])?;
    let mut target = AgentId::optional("target", query.target)?;
    if let Some(bound) = &who.agent_id {
        who.require_identity(target.as_ref().unwrap_or(bound))?;
        target = Some(bound.clone());
    }
    let status = text::optional("status", query.status, text::WORD_MAX)?;
    let kind = text::optional("kind", query.kind, text::WORD_MAX)?;
    let filter = CommandFilter {
        target,
        status: status.as_deref().map(|status| CommandStatus::named("status", status)).transpose()?,
        kind: kind.as_deref().map(|kind| ControlKind::named("kind", kind)).transpose()?,
        before: query.before.map(CommandId::new),
        limit: Limit::parse(query.limit)?,
    };
    let page = relay.store.commands(filter.clone()).await?;
    Ok(answer::page("/api/commands", &page, |last| filter.page_after(last)))
}

/// One command.
#[utoipa::path(get, path = "/api/commands/{id}", tag = "control", params(("id" = i64, Path)),
    responses((status = 200, description = "The command with what each policy said", body = Command)))]
pub(super) async fn get_command(
    State(relay): State<Relay>,
    who: Who,
    Path(id): Path<CommandId>,
) -> Result<Response, ApiError> {
    who.require(&[Scope::Read, Scope::Agent, Scope::Orchestrator, Scope::Control])?;
    let command = relay.store.command(id).await?;
    who.require_identity(&command.target)?;
    Ok(answer::json(StatusCode::OK, &command))
}

/// What the target of a command reports.
#[derive(Deserialize, ToSchema)]
pub(super) struct CommandReport {
    /// `accepted`, `running`, `succeeded` or `failed`.
    status: Option<String>,
    /// What came of it, at most 16 KiB of JSON.
    #[schema(value_type = Option<Object>)]
    result: Option<Value>,
    /// Why it was not done, at most 4000 characters.
    error: Option<String>,
}

/// Report how far a command has come; only its target may.
#[utoipa::path(patch, path = "/api/commands/{id}", tag = "control", params(("id" = i64, Path)),
    request_body = CommandReport, responses((status = 200, description = "The command", body = Command)))]
pub(super) async fn report_command(
    State(relay): State<Relay>,
    who: Who,
    Path(id): Path<CommandId>,
    Json(report): Json<CommandReport>,
) -> Result<Response, ApiError> {
    who.require(&[Scope::Agent, Scope::Orchestrator])?;
    let command = relay.store.command(id).await?;
    who.require_identity(&command.target)?;
    let status = CommandStatus::named("status", &text::required("status", report.status, text::WORD_MAX)?)?;
    let error = text::long("error", report.error, 4_000)?;
    if report.result.as_ref().is_some_and(|result| result.to_string().len() > text::META_BYTES_MAX) {
        return Err(ApiError::invalid(format!("result must have at most {} bytes of JSON", text::META_BYTES_MAX)));
    }
    Ok(answer::json(StatusCode::OK, &relay.store.report_command(id, status, report.result, error).await?))
}
