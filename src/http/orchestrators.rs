//! Orchestrators: the daemons that start agents on other hosts.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::Value;

use super::answer;
use super::error::ApiError;
use super::extract::{Json, Keyed, Path, Who};
use crate::domain::caller::Scope;
use crate::domain::id::OrchestratorId;
use crate::domain::orchestrator::{MANAGED_MAX, ManagedAgent, Orchestrator, OrchestratorRegistration};
use crate::domain::time::Timestamp;
use crate::relay::Relay;

/// Register an orchestrator, or again.
#[utoipa::path(post, path = "/api/orchestrators", tag = "orchestrators", request_body = OrchestratorRegistration,
    responses((status = 201, description = "Registered", body = Orchestrator)))]
pub(super) async fn register_orchestrator(
    State(relay): State<Relay>,
    who: Who,
    Keyed { body, idempotency }: Keyed<Value>,
) -> Result<Response, ApiError> {
    who.require(&[Scope::Orchestrator])?;
    if !body.is_object() {
        return Err(ApiError::invalid("body required"));
    }
    let registration: OrchestratorRegistration =
        serde_json::from_value(body).map_err(|error| ApiError::invalid(error.to_string()))?;
    let orchestrator = registration.parse(&relay.plugins.current().provider_ids())?;
    who.require_identity(&orchestrator.id.agent_id())?;
    Ok(answer::created(relay.store.register_orchestrator(orchestrator, idempotency).await?))
}

/// List orchestrators by id.
#[utoipa::path(get, path = "/api/orchestrators", tag = "orchestrators",
    responses((status = 200, description = "All of them", body = Vec<Orchestrator>)))]
pub(super) async fn list_orchestrators(State(relay): State<Relay>, who: Who) -> Result<Response, ApiError> {
    who.require(&[Scope::Read, Scope::Orchestrator])?;
    Ok(answer::json(StatusCode::OK, &relay.store.orchestrators().await?))
}

/// One orchestrator.
#[utoipa::path(get, path = "/api/orchestrators/{id}", tag = "orchestrators", params(("id" = String, Path)),
    responses((status = 200, description = "The orchestrator", body = Orchestrator)))]
pub(super) async fn get_orchestrator(
    State(relay): State<Relay>,
    who: Who,
    Path(id): Path<OrchestratorId>,
) -> Result<Response, ApiError> {
    who.require(&[Scope::Read, Scope::Orchestrator])?;
    Ok(answer::json(StatusCode::OK, &relay.store.orchestrator(id).await?))
}

/// A bound credential speaks for its own orchestrator only.
fn speak_for(who: &Who, id: &OrchestratorId) -> Result<(), ApiError> {
    who.require(&[Scope::Orchestrator])?;
    Ok(who.require_identity(&id.agent_id())?)
}

/// Say that an orchestrator is alive.
#[utoipa::path(post, path = "/api/orchestrators/{id}/heartbeat", tag = "orchestrators", params(("id" = String, Path)),
    responses((status = 200, description = "`ok`", body = Object)))]
pub(super) async fn heartbeat_orchestrator(
    State(relay): State<Relay>,
    who: Who,
    Path(id): Path<OrchestratorId>,
) -> Result<Response, ApiError> {
    speak_for(&who, &id)?;
    relay.store.heartbeat_orchestrator(id).await?;
    Ok(answer::ok())
}

/// Replace the list of agents that an orchestrator runs.
#[utoipa::path(patch, path = "/api/orchestrators/{id}/agents", tag = "orchestrators", params(("id" = String, Path)),
    request_body(content = Object, description = "`{agents: [ManagedAgent]}`"),
    responses((status = 200, description = "The orchestrator", body = Orchestrator)))]
pub(super) async fn set_managed_agents(
    State(relay): State<Relay>,
    who: Who,
    Path(id): Path<OrchestratorId>,
    Json(body): Json<Value>,
) -> Result<Response, ApiError> {
    speak_for(&who, &id)?;
    relay.store.orchestrator(id.clone()).await?;
    let Value::Object(fields) = body else { return Err(ApiError::invalid("body required")) };
    let Some(Value::Array(list)) = fields.get("agents") else {
        return Err(ApiError::invalid("agents must be an array"));
    };
    if list.len() > MANAGED_MAX {
        return Err(ApiError::invalid(format!("agents must have at most {MANAGED_MAX} entries")));
    }
    let now = Timestamp::now();
    let agents: Vec<ManagedAgent> =
        list.iter().map(|agent| ManagedAgent::parse(agent, now)).collect::<Result<_, _>>()?;
    Ok(answer::json(StatusCode::OK, &relay.store.set_managed_agents(id, agents).await?))
}

/// Remove an orchestrator: its agent goes offline and its open commands fail.
#[utoipa::path(delete, path = "/api/orchestrators/{id}", tag = "orchestrators", params(("id" = String, Path)),
    responses((status = 200, description = "`ok`", body = Object)))]
pub(super) async fn delete_orchestrator(
    State(relay): State<Relay>,
    who: Who,
    Path(id): Path<OrchestratorId>,
) -> Result<Response, ApiError> {
    speak_for(&who, &id)?;
    relay.store.remove_orchestrator(id).await?;
    Ok(answer::ok())
}
