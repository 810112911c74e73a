//! Orchestrators: the daemons that start agents on other hosts.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::Value;

use super::answer;
use super::error::ApiError;
use super::extract::{Authenticated, Json, Keyed, Path};
use crate::domain::id::OrchestratorId;
use crate::domain::orchestrator::{Orchestrator, OrchestratorRegistration};
use crate::relay::Relay;

/// Register an orchestrator, or again.
#[utoipa::path(post, path = "/api/orchestrators", tag = "orchestrators", request_body = OrchestratorRegistration,
    responses((status = 201, description = "Registered", body = Orchestrator)))]
pub(super) async fn register_orchestrator(
    State(relay): State<Relay>,
    caller: Authenticated,
    Keyed { body, key }: Keyed<Value>,
) -> Result<Response, ApiError> {
    if !body.is_object() {
        return Err(ApiError::invalid("body required"));
    }
    let registration: OrchestratorRegistration =
        serde_json::from_value(body).map_err(|error| ApiError::invalid(error.to_string()))?;
    Ok(answer::created(relay.register_orchestrator(&caller, registration, key).await?))
}

/// List orchestrators by id.
#[utoipa::path(get, path = "/api/orchestrators", tag = "orchestrators",
    responses((status = 200, description = "All of them", body = Vec<Orchestrator>)))]
pub(super) async fn list_orchestrators(
    State(relay): State<Relay>,
    caller: Authenticated,
) -> Result<Response, ApiError> {
    Ok(answer::json(StatusCode::OK, &relay.list_orchestrators(&caller).await?))
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

/// Say that an orchestrator is alive.
#[utoipa::path(post, path = "/api/orchestrators/{id}/heartbeat", tag = "orchestrators", params(("id" = String, Path)),
    responses((status = 200, description = "`ok`", body = Object)))]
pub(super) async fn heartbeat_orchestrator(
    State(relay): State<Relay>,
    caller: Authenticated,
    Path(id): Path<OrchestratorId>,
) -> Result<Response, ApiError> {
    relay.heartbeat_orchestrator(&caller, id).await?;
    Ok(answer::ok())
}

/// Replace the list of agents that an orchestrator runs.
#[utoipa::path(patch, path = "/api/orchestrators/{id}/agents", tag = "orchestrators", params(("id" = String, Path)),
    request_body(content = Object, description = "`{agents: [ManagedAgent]}`"),
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
    responses((status = 200, description = "`ok`", body = Object)))]
pub(super) async fn delete_orchestrator(
    State(relay): State<Relay>,
    caller: Authenticated,
    Path(id): Path<OrchestratorId>,
) -> Result<Response, ApiError> {
    relay.remove_orchestrator(&caller, id).await?;
    Ok(answer::ok())
}
