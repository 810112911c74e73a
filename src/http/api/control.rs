//! Control: starting, restarting and shutting down agents, on this host or through orchestrators.
//!
//! These routes keep the order of checks and the texts that clients of this protocol know, so they
//! look at the body by hand. They refuse what they do not know: a misspelt `agentId` must never
//! mean "all".

use std::path::PathBuf;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::{IntoParams, ToSchema};

use crate::domain::control::orchestrator::{PROMPT_MAX, PROVIDER_MAX, parse_approval_mode};
use crate::domain::control::order::ControlAnswer;
use crate::domain::control::spawn::SpawnAsk;
use crate::domain::control::{ApprovalMode, ControlKind};
use crate::domain::id::{AgentId, OrchestratorId};
use crate::domain::refusal::Refusal;
use crate::domain::text;
use crate::http::answer;
use crate::http::error::ApiError;
use crate::http::extract::{Authenticated, Keyed, Path, Query};
use crate::relay::Relay;
use crate::relay::control::{ManagedAction, ManagedTarget};

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

    /// As [`Self::of`], for a body that must be an object.
    fn required(body: Value) -> Result<Self, Refusal> {
        if body.is_object() { Ok(Self::of(body)) } else { Err(Refusal::invalid("body required")) }
    }

    pub(super) fn only(&self, allowed: &[&str]) -> Result<(), Refusal> {
        match self.0.keys().find(|name| !allowed.contains(&name.as_str())) {
            None => Ok(()),
            Some(unknown) => {
                Err(Refusal::invalid(format!("unknown field \"{unknown}\"; allowed are {}", allowed.join(", "))))
            }
        }
    }

    /// Takes a field that is no part of the request itself.
    pub(super) fn take(&mut self, name: &str) -> Option<Value> {
        self.0.remove(name).filter(|value| !value.is_null())
    }

    pub(super) fn string(&self, name: &str) -> Result<Option<String>, Refusal> {
        match self.0.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(_) => Err(Refusal::invalid(format!("{name} must be a string"))),
        }
    }

    pub(super) fn action(&self) -> Result<ControlKind, Refusal> {
        let action = self.string("action").map_err(|_| Refusal::invalid("action must be one of: restart, shutdown"))?;
        match text::optional("action", action, text::WORD_MAX)?.as_deref() {
            None => Err(Refusal::invalid("action required")),
            Some("restart") => Ok(ControlKind::Restart),
            Some("shutdown") => Ok(ControlKind::Shutdown),
            Some(_) => Err(Refusal::invalid("action must be one of: restart, shutdown")),
        }
    }

    /// Which agents of an orchestrator are meant: one, or every one, but said in so many words.
    fn managed_target(&self) -> Result<ManagedTarget, Refusal> {
        self.only(&["action", "agentId", "all"])?;
        let one = AgentId::optional("agentId", self.string("agentId")?)?;
        match (one, self.0.get("all")) {
            (Some(id), None | Some(Value::Null)) => Ok(ManagedTarget::One(id)),
            (None, Some(Value::Bool(true))) => Ok(ManagedTarget::All),
            _ => Err(Refusal::invalid(
                "name one agent with agentId, or all of them with \"all\": true; not both and not neither",
            )),
        }
    }

    /// A spawn with no field that is unknown.
    fn spawn_only(&self) -> Result<SpawnAsk, Refusal> {
        let ask = self.spawn()?;
        self.only(&SPAWN_FIELDS)?;
        Ok(ask)
    }

    pub(super) fn spawn(&self) -> Result<SpawnAsk, Refusal> {
        let prompt = text::long("prompt", self.string("prompt")?, text::BODY_BYTES_MAX)?;
        if let Some(prompt) = &prompt {
            if prompt.chars().nth(PROMPT_MAX).is_some() {
                return Err(Refusal::invalid(format!("prompt must have at most {PROMPT_MAX} characters")));
            }
            text::plain("prompt", prompt)?;
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
    #[schema(max_length = 240)]
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
    #[schema(max_length = 64, pattern = r"\S")]
    provider: String,
    /// `guarded` unless given.
    approval_mode: Option<ApprovalMode>,
    /// The base directory unless given; relative paths start there.
    #[schema(max_length = 500)]
    cwd: Option<String>,
    /// At most 120 characters.
    #[schema(max_length = 120)]
    label: Option<String>,
    /// At most 4000 characters.
    #[schema(max_length = 4000)]
    prompt: Option<String>,
}

/// What would be asked of the provider in the path.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
#[expect(dead_code, reason = "describes a body that is read by hand")]
pub(super) struct PlanBody {
    /// The plugin in the path, or nothing.
    #[schema(max_length = 64)]
    provider: Option<String>,
    /// `guarded` unless given.
    approval_mode: Option<ApprovalMode>,
    /// The base directory unless given; relative paths start there.
    #[schema(max_length = 500)]
    cwd: Option<String>,
    /// At most 120 characters.
    #[schema(max_length = 120)]
    label: Option<String>,
    /// At most 4000 characters.
    #[schema(max_length = 4000)]
    prompt: Option<String>,
}

/// Ask an agent to restart or shut down.
#[utoipa::path(post, path = "/api/agents/{id}/actions", tag = "control", params(("id" = String, Path)),
    request_body = AgentAction,
    responses((status = 202, description = "What is done about it", body = ControlAnswer)))]
pub(super) async fn create_agent_action(
    State(relay): State<Relay>,
    caller: Authenticated,
    Path(id): Path<AgentId>,
    Keyed { body, key }: Keyed<Value>,
) -> Result<Response, ApiError> {
    let fields = Fields::of(body);
    let kind = fields.action()?;
    fields.only(&["action"])?;
    Ok(answer::accepted(relay.control_agent(&caller, id, kind, key).await?))
}

/// Start an agent: through the orchestrator that suits, or else on the relay's own host.
#[utoipa::path(post, path = "/api/agents/spawn", tag = "control", request_body = SpawnBody,
    responses((status = 202, description = "Through an orchestrator, with its `orchestratorId`; here, with its `session`",
        body = ControlAnswer)))]
pub(super) async fn create_spawn(
    State(relay): State<Relay>,
    caller: Authenticated,
    Keyed { body, key }: Keyed<Value>,
) -> Result<Response, ApiError> {
    let ask = Fields::of(body).spawn_only()?;
    Ok(answer::accepted(relay.spawn_agent(&caller, ask, key).await?))
}

/// Have an orchestrator start an agent.
#[utoipa::path(post, path = "/api/orchestrators/{id}/spawn", tag = "control", params(("id" = String, Path)),
    request_body = SpawnBody,
    responses((status = 202, description = "What is done about it", body = ControlAnswer)))]
pub(super) async fn create_orchestrator_spawn(
    State(relay): State<Relay>,
    caller: Authenticated,
    Path(id): Path<OrchestratorId>,
    Keyed { body, key }: Keyed<Value>,
) -> Result<Response, ApiError> {
    let ask = Fields::required(body).and_then(|fields| fields.spawn_only());
    Ok(answer::accepted(relay.spawn_through(&caller, id, ask, key).await?))
}

/// Have an orchestrator restart or shut down one of its agents, or all.
#[utoipa::path(post, path = "/api/orchestrators/{id}/actions", tag = "control", params(("id" = String, Path)),
    request_body = OrchestratorAction,
    responses((status = 202, description = "What is done about it", body = ControlAnswer)))]
pub(super) async fn create_orchestrator_action(
    State(relay): State<Relay>,
    caller: Authenticated,
    Path(id): Path<OrchestratorId>,
    Keyed { body, key }: Keyed<Value>,
) -> Result<Response, ApiError> {
    let action = match Fields::required(body) {
        Ok(fields) => ManagedAction { kind: fields.action(), target: fields.managed_target() },
        Err(refusal) => ManagedAction { kind: Err(refusal.clone()), target: Err(refusal) },
    };
    Ok(answer::accepted(relay.control_orchestrator(&caller, id, action, key).await?))
}

/// Which directory.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct ListDirectories {
    /// The base directory unless given.
    #[param(max_length = 500)]
    path: Option<String>,
}

/// A directory and those in it.
#[derive(Serialize, ToSchema)]
pub(super) struct Directories {
    /// Resolved.
    #[schema(value_type = String)]
    path: PathBuf,
    /// The one above, where that is allowed.
    #[schema(required = true, value_type = Option<String>)]
    parent: Option<PathBuf>,
    /// The home directory of the relay's user.
    #[schema(value_type = String)]
    home: PathBuf,
    /// Where agents start unless asked otherwise.
    #[schema(value_type = String)]
    cwd: PathBuf,
    /// By name; hidden ones are left out.
    entries: Vec<Directory>,
}

/// A directory.
#[derive(Serialize, ToSchema)]
pub(super) struct Directory {
    name: String,
    #[schema(value_type = String)]
    path: PathBuf,
}

/// List directories in which agents may be started on the relay's own host.
#[utoipa::path(get, path = "/api/agents/spawn/directories", tag = "control", params(ListDirectories),
    responses((status = 200, description = "The directory and those in it", body = Directories)))]
pub(super) async fn list_spawn_directories(
    State(relay): State<Relay>,
    caller: Authenticated,
    Query(query): Query<ListDirectories>,
) -> Result<Response, ApiError> {
    let path = text::optional("path", query.path, text::PATH_MAX)?;
    let listing = relay.list_directories(&caller, path).await?;
    let directories = Directories {
        path: listing.path,
        parent: listing.parent,
        home: listing.home,
        cwd: listing.cwd,
        entries: listing.entries.into_iter().map(|(name, path)| Directory { name, path }).collect(),
    };
    Ok(answer::json(StatusCode::OK, &directories))
}
