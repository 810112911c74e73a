//! Control: starting, restarting and shutting down agents, on this host or through orchestrators.
//!
//! These routes keep the order of checks and the texts that clients of this protocol know, so they
//! look at the body by hand. They refuse what they do not know: a misspelt `agentId` must never
//! mean "all".

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use utoipa::{IntoParams, ToSchema};

use super::answer;
use super::error::ApiError;
use super::extract::{Keyed, Path, Query, Who};
use crate::domain::caller::Scope;
use crate::domain::control::{ApprovalMode, ControlKind};
use crate::domain::id::{AgentId, OrchestratorId};
use crate::domain::orchestrator::{OrchestratorStatus, PROMPT_MAX, PROVIDER_MAX, parse_approval_mode};
use crate::domain::refusal::Refusal;
use crate::domain::text;
use crate::relay::Relay;
use crate::relay::control::{ManagedTarget, SpawnAsk};

/// The fields of a control request. Values of other types and names not listed are refused.
pub(super) struct Fields(Map<String, Value>);

impl Fields {
    /// A body that is no object has no fields.
    pub(super) fn of(body: Value) -> Self {
        match body {
            Value::Object(fields) => Self(fields),
            _ => Self(Map::new()),
        }
    }

    pub(super) fn only(&self, allowed: &[&str]) -> Result<(), ApiError> {
        match self.0.keys().find(|name| !allowed.contains(&name.as_str())) {
            None => Ok(()),
            Some(unknown) => {
                Err(ApiError::invalid(format!("unknown field \"{unknown}\"; allowed are {}", allowed.join(", "))))
            }
        }
    }

    pub(super) fn string(&self, name: &str) -> Result<Option<String>, ApiError> {
        match self.0.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(_) => Err(ApiError::invalid(format!("{name} must be a string"))),
        }
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn action(&self) -> Result<ControlKind, ApiError> {
        let action =
            self.string("action").map_err(|_| ApiError::invalid("action must be one of: restart, shutdown"))?;
        match text::optional("action", action, text::WORD_MAX)?.as_deref() {
            None => Err(ApiError::invalid("action required")),
            Some("restart") => Ok(ControlKind::Restart),
            Some("shutdown") => Ok(ControlKind::Shutdown),
            Some(_) => Err(ApiError::invalid("action must be one of: restart, shutdown")),
        }
    }

    pub(super) fn spawn(&self) -> Result<SpawnAsk, ApiError> {
        let prompt = text::long("prompt", self.string("prompt")?, text::BODY_BYTES_MAX)?;
        if prompt.as_deref().is_some_and(|prompt| prompt.chars().nth(PROMPT_MAX).is_some()) {
            return Err(ApiError::invalid(format!("prompt must have at most {PROMPT_MAX} characters")));
        }
        Ok(SpawnAsk {
            provider: text::required("provider", self.string("provider")?, PROVIDER_MAX)?,
            approval_mode: parse_approval_mode(text::optional(
                "approvalMode",
                self.string("approvalMode")?,
                text::WORD_MAX,
            )?)?,
            cwd: text::optional("cwd", self.string("cwd")?, text::PATH_MAX)?,
            label: text::optional("label", self.string("label")?, text::WORD_MAX)?,
            prompt,
        })
    }
}

const SPAWN_FIELDS: [&str; 5] = ["provider", "approvalMode", "cwd", "label", "prompt"];

/// A restart or shutdown.
#[derive(ToSchema)]
#[schema(as = AgentAction)]
#[expect(dead_code, reason = "describes a body that is read by hand")]
pub(super) struct AgentAction {
    action: Action,
}

/// What may be done to a running agent.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
#[expect(dead_code, reason = "describes a body that is read by hand")]
pub(super) enum Action {
    Restart,
    Shutdown,
}

/// A restart or shutdown of one agent of an orchestrator, or of all.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
#[expect(dead_code, reason = "describes a body that is read by hand")]
pub(super) struct OrchestratorAction {
    action: Action,
    /// One managed agent; or else `all`.
    agent_id: Option<String>,
    /// Must be true when no agent is named.
    all: Option<bool>,
}

/// An agent to be started.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
#[expect(dead_code, reason = "describes a body that is read by hand")]
pub(super) struct SpawnBody {
    /// The id of a loaded provider plugin.
    provider: String,
    /// `guarded` unless given.
    approval_mode: Option<ApprovalMode>,
    /// The base directory unless given; relative paths start there.
    cwd: Option<String>,
    /// At most 120 characters.
    label: Option<String>,
    /// At most 4000 characters.
    prompt: Option<String>,
}

/// Ask an agent to restart or shut down.
#[utoipa::path(post, path = "/api/agents/{id}/actions", tag = "control", params(("id" = String, Path)),
    request_body = AgentAction,
    responses((status = 202, description = "`{ok, action, message, command}`", body = Object)))]
pub(super) async fn create_agent_action(
    State(relay): State<Relay>,
    who: Who,
    Path(id): Path<AgentId>,
    Keyed { body, idempotency }: Keyed<Value>,
) -> Result<Response, ApiError> {
    who.require(&[Scope::Control])?;
    let fields = Fields::of(body);
    let kind = fields.action()?;
    fields.only(&["action"])?;
    Ok(answer::accepted(relay.control_agent(&who, id, kind, idempotency).await?))
}

/// Start an agent: through the orchestrator that suits, or else on the relay's own host.
#[utoipa::path(post, path = "/api/agents/spawn", tag = "control", request_body = SpawnBody,
    responses((status = 202, description = "Through an orchestrator `{ok, orchestratorId, provider, message, command}`; \
        here `{ok, provider, approvalMode, cwd, label, agentId, session, pid, logPath, dryRun, command}`",
        body = Object)))]
pub(super) async fn create_spawn(
    State(relay): State<Relay>,
    who: Who,
    Keyed { body, idempotency }: Keyed<Value>,
) -> Result<Response, ApiError> {
    who.require(&[Scope::Control])?;
    let fields = Fields::of(body);
    let ask = fields.spawn()?;
    fields.only(&SPAWN_FIELDS)?;
    let answer = match relay.choose_orchestrator(&ask).await? {
        Some(orchestrator) => relay.spawn_through(&who, orchestrator, ask, idempotency, true).await?,
        None => relay.spawn_here(&who, ask, idempotency).await?,
    };
    Ok(answer::accepted(answer))
}

/// Have an orchestrator start an agent.
#[utoipa::path(post, path = "/api/orchestrators/{id}/spawn", tag = "control", params(("id" = String, Path)),
    request_body = SpawnBody,
    responses((status = 202, description = "`{ok, orchestratorId, message, command}`", body = Object)))]
pub(super) async fn create_orchestrator_spawn(
    State(relay): State<Relay>,
    who: Who,
    Path(id): Path<OrchestratorId>,
    Keyed { body, idempotency }: Keyed<Value>,
) -> Result<Response, ApiError> {
    who.require(&[Scope::Control])?;
    let orchestrator = relay.store.orchestrator(id).await?;
    if orchestrator.status != OrchestratorStatus::Online {
        return Err(Refusal::OrchestratorOffline.into());
    }
    if !body.is_object() {
        return Err(ApiError::invalid("body required"));
    }
    let fields = Fields::of(body);
    let ask = fields.spawn()?;
    fields.only(&SPAWN_FIELDS)?;
    if !orchestrator.providers.contains(&ask.provider) {
        return Err(ApiError::invalid(format!("orchestrator does not support provider: {}", ask.provider)));
    }
    Ok(answer::accepted(relay.spawn_through(&who, orchestrator, ask, idempotency, false).await?))
}

/// Have an orchestrator restart or shut down one of its agents, or all.
#[utoipa::path(post, path = "/api/orchestrators/{id}/actions", tag = "control", params(("id" = String, Path)),
    request_body = OrchestratorAction,
    responses((status = 202, description = "`{ok, action, message, command}`", body = Object)))]
pub(super) async fn create_orchestrator_action(
    State(relay): State<Relay>,
    who: Who,
    Path(id): Path<OrchestratorId>,
    Keyed { body, idempotency }: Keyed<Value>,
) -> Result<Response, ApiError> {
    who.require(&[Scope::Control])?;
    let orchestrator = relay.store.orchestrator(id).await?;
    let is_object = body.is_object();
    let fields = Fields::of(body);
    if !is_object || fields.is_empty() {
        return Err(ApiError::invalid("action required"));
    }
    let kind = fields.action()?;
    if orchestrator.status != OrchestratorStatus::Online {
        return Err(Refusal::OrchestratorOffline.into());
    }
    fields.only(&["action", "agentId", "all"])?;
    let one = AgentId::optional("agentId", fields.string("agentId")?)?;
    let target = match (one, fields.0.get("all")) {
        (Some(id), None | Some(Value::Null)) => ManagedTarget::One(id),
        (None, Some(Value::Bool(true))) => ManagedTarget::All,
        _ => {
            return Err(ApiError::invalid(
                "name one agent with agentId, or all of them with \"all\": true; not both and not neither",
            ));
        }
    };
    Ok(answer::accepted(relay.control_orchestrator(&who, orchestrator, kind, target, idempotency).await?))
}

/// Which directory.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct ListDirectories {
    /// The base directory unless given.
    path: Option<String>,
}

/// List directories in which agents may be started on the relay's own host.
#[utoipa::path(get, path = "/api/agents/spawn/directories", tag = "control", params(ListDirectories),
    responses((status = 200, description = "`{path, parent, home, cwd, entries: [{name, path}]}`", body = Object)))]
pub(super) async fn list_spawn_directories(
    State(relay): State<Relay>,
    who: Who,
    Query(query): Query<ListDirectories>,
) -> Result<Response, ApiError> {
    who.require(&[Scope::Control])?;
    let path = text::optional("path", query.path, text::PATH_MAX)?;
    let listing = tokio::task::spawn_blocking(move || relay.list_directories(path.as_deref()))
        .await
        .map_err(ApiError::internal)??;
    Ok(answer::json(
        StatusCode::OK,
        &json!({
            "path": listing.path, "parent": listing.parent, "home": listing.home, "cwd": listing.cwd,
            "entries": listing.entries.iter().map(|(name, path)| json!({"name": name, "path": path})).collect::<Vec<_>>(),
        }),
    ))
}
