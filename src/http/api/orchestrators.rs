//! Orchestrators: the daemons that start agents on other hosts.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use utoipa::IntoParams;

use crate::domain::agent::SessionGuard;
use crate::domain::control::orchestrator::{Orchestrator, OrchestratorRegistration, OrchestratorStatus};
use crate::domain::id::OrchestratorId;
use crate::domain::page::{self, Limit};
use crate::domain::text;
use crate::http::answer::{self, Done};
use crate::http::error::ApiError;
use crate::http::extract::{Authenticated, Json, Keyed, Path, Query, parse};
use crate::relay::Relay;

/// Register an orchestrator, or again.
#[utoipa::path(post, path = "/api/orchestrators", tag = "orchestrators", request_body = OrchestratorRegistration,
    responses((status = 201, description = "Registered", body = Orchestrator)))]
pub(super) async fn register_orchestrator(
    State(relay): State<Relay>,
    caller: Authenticated,
    Keyed { body, key }: Keyed<Box<RawValue>>,
) -> Result<Response, ApiError> {
    if !body.get().starts_with('{') {
        return Err(ApiError::invalid("body required"));
    }
    let registration = parse(body.get().as_bytes())?;
    Ok(answer::created(relay.register_orchestrator(&caller, registration, key).await?))
}

/// Which orchestrators.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct ListOrchestrators {
    /// 100 unless given; at most 1000.
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: Option<i64>,
    /// Only those after this id: the next page.
    #[param(max_length = 120)]
    after: Option<String>,
}

/// List orchestrators by id.
#[utoipa::path(get, path = "/api/orchestrators", tag = "orchestrators", params(ListOrchestrators),
    responses((status = 200, description = "A page; the next one is in the Link header", body = Vec<Orchestrator>)))]
pub(super) async fn list_orchestrators(
    State(relay): State<Relay>,
    caller: Authenticated,
    Query(query): Query<ListOrchestrators>,
) -> Result<Response, ApiError> {
    let limit = Limit::parse(query.limit)?;
    let after = OrchestratorId::optional("after", query.after)?;
    let page = relay.list_orchestrators(&caller, after, limit).await?;
    let after = |last: &OrchestratorId| page::Query::default().with("limit", Some(limit)).with("after", Some(last));
    Ok(answer::page("/api/orchestrators", &page, after))
}

/// One orchestrator.
#[utoipa::path(get, path = "/api/orchestrators/{id}", tag = "orchestrators", params(("id" = String, Path)),
    responses((status = 200, description = "The orchestrator", body = Orchestrator)))]
pub(super) async fn get_orchestrator(
    State(relay): State<Relay>,
    caller: Authenticated,
    Path(id): Path<OrchestratorId>,
) -> Result<Response, ApiError> {
    Ok(answer::json(StatusCode::OK, &relay.get_orchestrator(&caller, id).await?))
}

/// Which daemon speaks, for an orchestrator of which several may, and whether it ends. A query, since the body was always
/// passed over.
#[derive(Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
pub(super) struct Beat {
    /// Must be the current daemon when given.
    #[param(max_length = 240)]
    instance_id: Option<String>,
    /// Must be the current epoch when given.
    epoch: Option<i64>,
    /// `offline` from a daemon that ends: nothing is asked of it until it is heard from again. Otherwise `online`.
    #[param(value_type = Option<OrchestratorStatus>)]
    status: Option<String>,
}

/// Say that an orchestrator is alive, or takes its leave.
#[utoipa::path(post, path = "/api/orchestrators/{id}/heartbeat", tag = "orchestrators",
    params(("id" = String, Path), Beat), responses((status = 200, description = "It is done", body = Done)))]
pub(super) async fn heartbeat_orchestrator(
    State(relay): State<Relay>,
    caller: Authenticated,
    Path(id): Path<OrchestratorId>,
    Query(beat): Query<Beat>,
) -> Result<Response, ApiError> {
    let guard = SessionGuard::parse(beat.instance_id, beat.epoch)?;
    let status = text::optional("status", beat.status, text::WORD_MAX)?;
    let status = status.map(|status| OrchestratorStatus::named("status", &status)).transpose()?;
    relay.heartbeat_orchestrator(&caller, id, status.unwrap_or(OrchestratorStatus::Online), guard).await?;
    Ok(answer::ok())
}

/// Replace the list of agents that an orchestrator runs.
#[utoipa::path(patch, path = "/api/orchestrators/{id}/agents", tag = "orchestrators", params(("id" = String, Path)),
    request_body(content = Object, description = "`{agents: [ManagedAgent], instanceId?, epoch?}`"),
    responses((status = 200, description = "The orchestrator", body = Orchestrator)))]
pub(super) async fn set_managed_agents(
    State(relay): State<Relay>,
    caller: Authenticated,
    Path(id): Path<OrchestratorId>,
    Json(body): Json<Value>,
) -> Result<Response, ApiError> {
    Ok(answer::json(StatusCode::OK, &relay.set_managed_agents(&caller, id, body).await?))
}

/// Remove an orchestrator: its agent goes offline and its open commands fail.
#[utoipa::path(delete, path = "/api/orchestrators/{id}", tag = "orchestrators", params(("id" = String, Path)),
    responses((status = 200, description = "It is done", body = Done)))]
pub(super) async fn delete_orchestrator(
    State(relay): State<Relay>,
    caller: Authenticated,
    Path(id): Path<OrchestratorId>,
) -> Result<Response, ApiError> {
    relay.remove_orchestrator(&caller, id).await?;
    Ok(answer::ok())
}
