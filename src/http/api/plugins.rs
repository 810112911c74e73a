//! Plugins: what is loaded, and what it would say.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::control::Fields;
use crate::domain::caller::{Caller, Scope};
use crate::domain::control::plan::Plan;
use crate::domain::control::{ApprovalMode, Control, ControlKind, Outcome, VerdictRecord};
use crate::domain::id::AgentId;
use crate::domain::text;
use crate::domain::time::Timestamp;
use crate::http::answer;
use crate::http::error::ApiError;
use crate::http::extract::{Authenticated, Json, Path};
use crate::plugins::{Action, PluginStatus, Step};
use crate::relay::Relay;
use crate::relay::control::ControlAsk;
use crate::relay::plugins::{Supposed, SupposedCaller};

/// A plugin and what happened to it.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PluginWithHistory {
    #[serde(flatten)]
    plugin: PluginStatus,
    /// The latest steps in its life since the relay started, the oldest first.
    history: Vec<Step>,
}

/// List plugins: those in use, those that are not, and those on their way.
#[utoipa::path(get, path = "/api/plugins", tag = "plugins",
    responses((status = 200, description = "By id; the active one of an id comes first", body = Vec<PluginStatus>)))]
pub(super) async fn list_plugins(State(relay): State<Relay>, caller: Authenticated) -> Result<Response, ApiError> {
    Ok(answer::json(StatusCode::OK, &relay.list_plugins(&caller)?))
}

/// One plugin, and what happened to it.
#[utoipa::path(get, path = "/api/plugins/{id}", tag = "plugins", params(("id" = String, Path)),
    responses((status = 200, description = "The active one of this id, or else the other", body = PluginWithHistory)))]
pub(super) async fn get_plugin(
    State(relay): State<Relay>,
    caller: Authenticated,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    let (plugin, history) = relay.get_plugin(&caller, &id)?;
    Ok(answer::json(StatusCode::OK, &PluginWithHistory { plugin, history }))
}

/// Look at every plugin again, now.
#[utoipa::path(post, path = "/api/plugins/reload", tag = "plugins",
    responses((status = 202, description = "How things are then", body = Vec<PluginStatus>)))]
pub(super) async fn reload_plugins(State(relay): State<Relay>, caller: Authenticated) -> Result<Response, ApiError> {
    Ok(answer::json(StatusCode::ACCEPTED, &relay.reload_plugins(&caller).await?))
}

/// Go back to the generation before the active one.
///
/// What is in the plugin's folder is set aside: it is loaded again when it changes, or by `enable`.
#[utoipa::path(post, path = "/api/plugins/{id}/rollback", tag = "plugins", params(("id" = String, Path)),
    responses((status = 202, description = "How the plugin is then", body = PluginStatus)))]
pub(super) async fn rollback_plugin(
    State(relay): State<Relay>,
    caller: Authenticated,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    act(&relay, &caller, &id, Action::RollBack).await
}

/// Undo `disable`, or else `rollback`; try again what was rejected or is quarantined.
#[utoipa::path(post, path = "/api/plugins/{id}/enable", tag = "plugins", params(("id" = String, Path)),
    responses((status = 202, description = "How the plugin is then", body = PluginStatus)))]
pub(super) async fn enable_plugin(
    State(relay): State<Relay>,
    caller: Authenticated,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    act(&relay, &caller, &id, Action::Enable).await
}

/// Load a plugin no more, until `enable`.
#[utoipa::path(post, path = "/api/plugins/{id}/disable", tag = "plugins", params(("id" = String, Path)),
    responses((status = 202, description = "How the plugin is then", body = PluginStatus)))]
pub(super) async fn disable_plugin(
    State(relay): State<Relay>,
    caller: Authenticated,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    act(&relay, &caller, &id, Action::Disable).await
}

/// What is allowed.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AllowBody {
    /// The digest of the rejection that lists what the plugin asks for.
    #[schema(max_length = 120, pattern = r"\S")]
    digest: String,
}

/// Accept that a plugin asks for more than before.
#[utoipa::path(post, path = "/api/plugins/{id}/allow", tag = "plugins", params(("id" = String, Path)),
    request_body = AllowBody,
    responses((status = 202, description = "How the plugin is then", body = PluginStatus)))]
pub(super) async fn allow_plugin(
    State(relay): State<Relay>,
    caller: Authenticated,
    Path(id): Path<String>,
    Json(body): Json<AllowBody>,
) -> Result<Response, ApiError> {
    let digest = text::required("digest", Some(body.digest), text::WORD_MAX)?;
    act(&relay, &caller, &id, Action::Allow { digest }).await
}

async fn act(relay: &Relay, caller: &Authenticated, id: &str, action: Action) -> Result<Response, ApiError> {
    Ok(answer::json(StatusCode::ACCEPTED, &relay.operate_plugin(caller, id, action).await?))
}

/// What the policies say of a control request.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Evaluation<'a> {
    /// What each policy said.
    verdicts: &'a [VerdictRecord],
    /// `allowed`, `denied` or `failed`.
    outcome: &'a str,
    /// Why, unless it is allowed.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    /// Where an allowed spawn would work.
    #[serde(skip_serializing_if = "Option::is_none")]
    cwd: Option<&'a str>,
    /// What it might do by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    approval_mode: Option<ApprovalMode>,
}

/// Ask each policy about a control request. Nothing is done.
#[utoipa::path(post, path = "/api/plugins/evaluate", tag = "plugins",
    request_body(content = Object, description = "`kind`, `target` and the control request's own fields; `as` is another caller (administrators only): the \
        name of a token, the id of an agent, or `{name, scopes?, agentId?, loopback?}`; `at` is another time, in \
        milliseconds since the epoch"),
    responses((status = 200, description = "What they say", body = Evaluation)))]
pub(super) async fn evaluate_control(
    State(relay): State<Relay>,
    caller: Authenticated,
    Json(body): Json<Value>,
) -> Result<Response, ApiError> {
    let mut fields = Fields::of(body);
    let supposed = Supposed { caller: supposed_caller(fields.take("as"))?, at: supposed_time(fields.take("at"))? };
    let kind = text::required("kind", fields.string("kind")?, text::WORD_MAX)?;
    let target = text::optional("target", fields.string("target")?, text::ID_MAX)?;
    let ask = match ControlKind::parse(&kind) {
        Some(ControlKind::Spawn) => {
            fields.only(&["kind", "target", "action", "provider", "approvalMode", "cwd", "label", "prompt"])?;
            let orchestrator = target.map(|target| target.strip_prefix("orchestrator-").unwrap_or(&target).into());
            ControlAsk::Spawn(fields.spawn()?, orchestrator)
        }
        Some(kind) => action_asked(kind, &fields, target)?,
        None => return Err(ApiError::invalid("kind must be one of: spawn, restart, shutdown")),
    };
    let decision = relay.evaluate_control(&caller, ask, supposed).await?;
    let (outcome, reason) = match &decision.outcome {
        Outcome::Allowed(_) => ("allowed", None),
        Outcome::Denied { reason, .. } => ("denied", Some(reason.as_str())),
        Outcome::Failed { reason, .. } => ("failed", Some(reason.as_str())),
    };
    let (cwd, approval_mode) = match &decision.outcome {
        Outcome::Allowed(Control::Spawn(spawn)) => (Some(spawn.cwd.effective()), Some(spawn.approval_mode)),
        _ => (None, None),
    };
    let verdicts = &decision.verdicts;
    Ok(answer::json(StatusCode::OK, &Evaluation { verdicts, outcome, reason, cwd, approval_mode }))
}

/// The latest time that can be supposed: the end of the year 9999.
const AT_MAX: i64 = 253_402_300_799_999;

fn supposed_time(at: Option<Value>) -> Result<Option<Timestamp>, ApiError> {
    let wrong = || ApiError::invalid(format!("at must be milliseconds since the epoch: 0 to {AT_MAX}"));
    let at = at.map(|at| at.as_i64().filter(|at| (0..=AT_MAX).contains(at)).ok_or_else(wrong)).transpose()?;
    Ok(at.map(Timestamp::from_ms))
}

fn supposed_caller(caller: Option<Value>) -> Result<Option<SupposedCaller>, ApiError> {
    match caller {
        None => Ok(None),
        Some(Value::String(name)) => Ok(Some(SupposedCaller::Named(text::required("as", Some(name), text::ID_MAX)?))),
        Some(described @ Value::Object(_)) => {
            let CallerBody { name, scopes, agent_id, loopback } =
                serde_json::from_value(described).map_err(|error| ApiError::invalid(format!("as: {error}")))?;
            let name = text::required("as.name", Some(name), text::ID_MAX)?;
            let agent_id = AgentId::optional("as.agentId", agent_id)?;
            let scope = |word: &String| {
                Scope::parse(word).ok_or_else(|| ApiError::invalid(format!("as.scopes: {word:?} is no scope")))
            };
            let scopes = scopes.iter().take(SCOPES_MAX).map(scope).collect::<Result<_, _>>()?;
            Ok(Some(SupposedCaller::Described(Caller { name, agent_id, scopes, loopback, token: None })))
        }
        Some(_) => Err(ApiError::invalid("as must be the name of a caller, or an object")),
    }
}

/// Scopes of a supposed caller that are looked at: more than there are.
const SCOPES_MAX: usize = 16;

/// A caller that need not exist.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct CallerBody {
    name: String,
    #[serde(default)]
    scopes: Vec<String>,
    #[serde(default)]
    agent_id: Option<String>,
    #[serde(default)]
    loopback: bool,
}

/// The restart or shutdown that is asked about.
fn action_asked(kind: ControlKind, fields: &Fields, target: Option<String>) -> Result<ControlAsk, ApiError> {
    fields.only(&["kind", "target", "action", "agentId", "all"])?;
    let target = target.ok_or_else(|| ApiError::invalid("target required"))?;
    let agent = AgentId::optional("agentId", fields.string("agentId")?)?;
    Ok(match target.strip_prefix("orchestrator-") {
        Some(orchestrator) => ControlAsk::Managed(kind, orchestrator.into(), agent),
        None => ControlAsk::Agent(kind, target.into()),
    })
}

/// A plan and who made it.
#[derive(Serialize, ToSchema)]
pub(super) struct Planned<'a> {
    #[serde(flatten)]
    plan: &'a Plan,
    /// The plugin.
    provider: &'a str,
    /// Its version.
    version: &'a str,
    /// Its digest.
    digest: &'a str,
    /// The hash of the plan.
    sha256: &'a str,
}

/// The plan a provider would make for a spawn on this host. Nothing is started.
#[utoipa::path(post, path = "/api/plugins/{id}/plan", tag = "plugins", params(("id" = String, Path)),
    request_body = super::control::PlanBody,
    responses((status = 200, description = "The plan", body = Planned)))]
pub(super) async fn plan_spawn(
    State(relay): State<Relay>,
    caller: Authenticated,
    Path(id): Path<String>,
    Json(body): Json<Value>,
) -> Result<Response, ApiError> {
    let Value::Object(mut map) = body else { return Err(ApiError::invalid("body required")) };
    // The provider is already in the path; naming another one in the body is a mistake.
    let named = map.entry("provider").or_insert(Value::Null);
    if named.is_null() {
        *named = Value::from(id.as_str());
    }
    if named != &Value::from(id.as_str()) {
        return Err(ApiError::invalid("provider must be the plugin of the path"));
    }
    let fields = Fields::of(Value::Object(map));
    fields.only(&["provider", "approvalMode", "cwd", "label", "prompt"])?;
    let ask = fields.spawn()?;
    let plan = relay.plan_spawn(&caller, ask).await?;
    let planned = Planned {
        plan: plan.plan(),
        provider: plan.provider(),
        version: plan.version(),
        digest: plan.digest(),
        sha256: plan.sha256(),
    };
    Ok(answer::json(StatusCode::OK, &planned))
}
