//! Agents: registering, finding, changing.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use utoipa::openapi::schema::{Object, ObjectBuilder, Type};
use utoipa::{IntoParams, ToSchema};

use crate::domain::agent::{
    ANY, Agent, AgentFilter, AgentPatch, AgentStatus, AttentionMode, ConditionFilter, ConditionKind, Registration,
    SessionGuard,
};
use crate::domain::id::AgentId;
use crate::domain::page::Limit;
use crate::domain::text;
use crate::http::answer::{self, Done};
use crate::http::error::ApiError;
use crate::http::extract::{Authenticated, Json, Keyed, OptionalJson, Path, Query};
use crate::relay::Relay;
use crate::relay::agents::ConditionChange;

/// Register an agent, or a new session of one.
#[utoipa::path(post, path = "/api/agents", tag = "agents", request_body = Registration,
    responses((status = 201, description = "Registered", body = Agent),
              (status = 200, description = "It was there; the fields given were set", body = Agent)))]
pub(super) async fn register_agent(
    State(relay): State<Relay>,
    caller: Authenticated,
    Keyed { body, key }: Keyed<Registration>,
) -> Result<Response, ApiError> {
    Ok(answer::created(relay.register_agent(&caller, body, key).await?))
}

/// Which agents.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct FindAgents {
    /// `online`, `idle`, `busy` or `offline`.
    #[param(value_type = Option<AgentStatus>)]
    status: Option<String>,
    /// Only those with this tag.
    #[param(max_length = 120)]
    tag: Option<String>,
    /// Only those with this capability.
    #[param(max_length = 120)]
    capability: Option<String>,
    /// Only those with exactly this label.
    #[param(max_length = 120)]
    label: Option<String>,
    /// Only those on this machine.
    #[param(max_length = 240)]
    machine: Option<String>,
    /// Only those that take work, or that do not.
    ready: Option<bool>,
    /// Only those in a condition of this kind, or in `any`.
    #[param(schema_with = conditions)]
    condition: Option<String>,
    /// Of `/find`: text in the id, name, label, tags or capabilities.
    #[param(max_length = 240)]
    q: Option<String>,
    /// 100 unless given; at most 1000.
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: Option<i64>,
    /// Only those after this id: the next page.
    #[param(max_length = 240)]
    after: Option<String>,
    /// Of `/find`, whose order is live ones first: whether the agent of `after` was offline.
    #[serde(rename = "afterOffline")]
    #[param(rename = "afterOffline")]
    after_offline: Option<bool>,
}

fn conditions() -> Object {
    let kinds = ConditionKind::ALL.map(ConditionKind::as_str);
    let words = std::iter::once(ANY).chain(kinds);
    ObjectBuilder::new().schema_type(Type::String).enum_values(Some(words)).build()
}

impl FindAgents {
    fn filter(&self, live_first: bool) -> Result<AgentFilter, ApiError> {
        let word = |name, value: &Option<String>| text::optional(name, value.clone(), text::WORD_MAX);
        let status = word("status", &self.status)?;
        Ok(AgentFilter {
            status: status.as_deref().map(|status| AgentStatus::named("status", status)).transpose()?,
            tag: word("tag", &self.tag)?,
            capability: word("capability", &self.capability)?,
            label: word("label", &self.label)?,
            machine: text::optional("machine", self.machine.clone(), text::ID_MAX)?,
            ready: self.ready,
            condition: word("condition", &self.condition)?
                .map(|name| ConditionFilter::named("condition", &name))
                .transpose()?,
            text: text::optional("q", self.q.clone(), text::ID_MAX)?.filter(|_| live_first),
            live_first,
            after: AgentId::optional("after", self.after.clone())?,
            after_offline: self.after_offline.unwrap_or(false),
            limit: Limit::parse(self.limit)?,
        })
    }
}

/// List agents by id.
#[utoipa::path(get, path = "/api/agents", tag = "agents", params(FindAgents),
    responses((status = 200, description = "A page; the next one is in the Link header", body = Vec<Agent>)))]
pub(super) async fn list_agents(
    State(relay): State<Relay>,
    caller: Authenticated,
    Query(query): Query<FindAgents>,
) -> Result<Response, ApiError> {
    list(&relay, &caller, "/api/agents", query.filter(false)?).await
}

async fn list(relay: &Relay, caller: &Authenticated, path: &str, filter: AgentFilter) -> Result<Response, ApiError> {
    let page = relay.list_agents(caller, filter.clone()).await?;
    Ok(answer::page(path, &page, |last| filter.page_after(last)))
}

/// Find agents, live ones first.
#[utoipa::path(get, path = "/api/agents/find", tag = "agents", params(FindAgents),
    responses((status = 200, description = "A page; the next one is in the Link header", body = Vec<Agent>)))]
pub(super) async fn find_agents(
    State(relay): State<Relay>,
    caller: Authenticated,
    Query(query): Query<FindAgents>,
) -> Result<Response, ApiError> {
    list(&relay, &caller, "/api/agents/find", query.filter(true)?).await
}

/// One agent.
#[utoipa::path(get, path = "/api/agents/{id}", tag = "agents", params(("id" = String, Path)),
    responses((status = 200, description = "Its card", body = Agent)))]
pub(super) async fn get_agent(
    State(relay): State<Relay>,
    caller: Authenticated,
    Path(id): Path<AgentId>,
) -> Result<Response, ApiError> {
    Ok(answer::json(StatusCode::OK, &relay.get_agent(&caller, id).await?))
}

/// What a change to an agent says, with the session guard.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct AgentChange {
    status: Option<String>,
    ready: Option<bool>,
    #[serde(default, deserialize_with = "text::present")]
    label: Option<Option<String>>,
    tags: Option<Vec<String>>,
    attention: Option<String>,
    instance_id: Option<String>,
    epoch: Option<i64>,
}

macro_rules! changes {
    ($($(#[$doc:meta])* $name:ident { $(#[$of_field:meta])* $field:ident: $type:ty })+) => {$(
        $(#[$doc])*
        #[derive(ToSchema)]
        #[schema(rename_all = "camelCase")]
        #[expect(dead_code, reason = "describes what a route takes of a change")]
        pub(super) struct $name {
            $(#[$of_field])*
            $field: $type,
            /// Must be the current session when given.
            #[schema(max_length = 240)]
            instance_id: Option<String>,
            /// Must be the current epoch when given.
            epoch: Option<i64>,
        }
    )+};
}

changes! {
    /// How an agent is doing.
    StatusChange {
        /// `online`, `idle`, `busy` or `offline`.
        status: AgentStatus
    }
    /// Whether an agent takes work.
    ReadyChange {
        /// Whether it takes work.
        ready: bool
    }
    /// How people call an agent.
    LabelChange {
        /// Its label; null clears it.
        #[schema(required = true, max_length = 120)]
        label: Option<String>
    }
    /// What an agent lets be shown to its session by itself.
    AttentionChange {
        /// `open`: everything; `focus`: what is sent to it alone and what may interrupt; `dnd`: what may interrupt.
        attention: AttentionMode
    }
    /// The groups of an agent.
    TagsChange {
        /// Its tags.
        #[schema(max_items = 64)]
        tags: Vec<text::WordSchema>
    }
    /// A sign of life.
    Heartbeat {
        /// `online`, `idle`, `busy` or `offline`; as before when left out.
        status: Option<AgentStatus>
    }
}

async fn patch(
    relay: &Relay,
    caller: &Authenticated,
    id: AgentId,
    change: &AgentChange,
    patch: AgentPatch,
) -> Result<Agent, ApiError> {
    let guard = SessionGuard::parse(change.instance_id.clone(), change.epoch)?;
    Ok(relay.change_agent(caller, id, guard, patch).await?)
}

fn status(change: &AgentChange) -> Result<Option<AgentStatus>, ApiError> {
    let status = text::optional("status", change.status.clone(), text::WORD_MAX)?;
    Ok(status.as_deref().map(|status| AgentStatus::named("status", status)).transpose()?)
}

/// Set how an agent is doing.
#[utoipa::path(patch, path = "/api/agents/{id}/status", tag = "agents", params(("id" = String, Path)),
    request_body = StatusChange, responses((status = 200, description = "Its card", body = Agent)))]
pub(super) async fn set_agent_status(
    State(relay): State<Relay>,
    caller: Authenticated,
    Path(id): Path<AgentId>,
    Json(change): Json<AgentChange>,
) -> Result<Response, ApiError> {
    let status = status(&change)?.ok_or_else(|| ApiError::invalid("status required"))?;
    Ok(answer::json(StatusCode::OK, &patch(&relay, &caller, id, &change, AgentPatch::Status(status)).await?))
}

/// Set whether an agent takes work.
#[utoipa::path(patch, path = "/api/agents/{id}/ready", tag = "agents", params(("id" = String, Path)),
    request_body = ReadyChange, responses((status = 200, description = "Its card", body = Agent)))]
pub(super) async fn set_agent_ready(
    State(relay): State<Relay>,
    caller: Authenticated,
    Path(id): Path<AgentId>,
    Json(change): Json<AgentChange>,
) -> Result<Response, ApiError> {
    let ready = change.ready.ok_or_else(|| ApiError::invalid("ready required"))?;
    Ok(answer::json(StatusCode::OK, &patch(&relay, &caller, id, &change, AgentPatch::Ready(ready)).await?))
}

/// Set or clear an agent's label.
#[utoipa::path(patch, path = "/api/agents/{id}/label", tag = "agents", params(("id" = String, Path)),
    request_body = LabelChange, responses((status = 200, description = "Its card", body = Agent)))]
pub(super) async fn set_agent_label(
    State(relay): State<Relay>,
    caller: Authenticated,
    Path(id): Path<AgentId>,
    Json(change): Json<AgentChange>,
) -> Result<Response, ApiError> {
    let label = change.label.clone().ok_or_else(|| ApiError::invalid("label required, or null to clear it"))?;
    let label = text::optional("label", label, text::WORD_MAX)?;
    Ok(answer::json(StatusCode::OK, &patch(&relay, &caller, id, &change, AgentPatch::Label(label)).await?))
}

/// Set an agent's tags.
#[utoipa::path(patch, path = "/api/agents/{id}/tags", tag = "agents", params(("id" = String, Path)),
    request_body = TagsChange, responses((status = 200, description = "Its card", body = Agent)))]
pub(super) async fn set_agent_tags(
    State(relay): State<Relay>,
    caller: Authenticated,
    Path(id): Path<AgentId>,
    Json(change): Json<AgentChange>,
) -> Result<Response, ApiError> {
    let tags = change.tags.clone().ok_or_else(|| ApiError::invalid("tags required"))?;
    let tags = text::words("tags", tags)?;
    Ok(answer::json(StatusCode::OK, &patch(&relay, &caller, id, &change, AgentPatch::Tags(tags)).await?))
}

/// Set what is shown to an agent's session by itself: as the agent, or for it.
#[utoipa::path(patch, path = "/api/agents/{id}/attention", tag = "agents", params(("id" = String, Path)),
    request_body = AttentionChange, responses((status = 200, description = "Its card", body = Agent)))]
pub(super) async fn set_agent_attention(
    State(relay): State<Relay>,
    caller: Authenticated,
    Path(id): Path<AgentId>,
    Json(change): Json<AgentChange>,
) -> Result<Response, ApiError> {
    let mode = text::required("attention", change.attention.clone(), text::WORD_MAX)?;
    let mode = AttentionMode::named("attention", &mode)?;
    let guard = SessionGuard::parse(change.instance_id, change.epoch)?;
    Ok(answer::json(StatusCode::OK, &relay.set_attention(&caller, id, guard, mode).await?))
}

/// What keeps an agent from working, with the session guard.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct ConditionReport {
    /// What it is; null when nothing does any more.
    #[serde(default, deserialize_with = "text::present")]
    #[schema(required = true, value_type = Option<ConditionKind>)]
    kind: Option<Option<String>>,
    /// Until when, in milliseconds since the epoch, where that is known; then it ends by itself.
    #[schema(minimum = 0)]
    until: Option<i64>,
    /// More for people, at most 1000 characters.
    #[schema(max_length = 1000)]
    detail: Option<String>,
    /// Must be the current session when given.
    #[schema(max_length = 240)]
    instance_id: Option<String>,
    /// Must be the current epoch when given.
    epoch: Option<i64>,
}

/// Say what keeps an agent from working, or that nothing does: as the agent, as the orchestrator that runs it, or as
/// an administrator.
#[utoipa::path(patch, path = "/api/agents/{id}/condition", tag = "agents", params(("id" = String, Path)),
    request_body = ConditionReport, responses((status = 200, description = "Its card", body = Agent)))]
pub(super) async fn set_agent_condition(
    State(relay): State<Relay>,
    caller: Authenticated,
    Path(id): Path<AgentId>,
    Json(report): Json<ConditionReport>,
) -> Result<Response, ApiError> {
    let ConditionReport { kind, until, detail, instance_id, epoch } = report;
    let kind = kind.ok_or_else(|| ApiError::invalid("kind required, or null to end the condition"))?;
    let kind = kind.map(|kind| ConditionKind::named("kind", kind.trim())).transpose()?;
    let guard = SessionGuard::parse(instance_id, epoch)?;
    let card = relay.set_condition(&caller, id, guard, ConditionChange { kind, until, detail }).await?;
    Ok(answer::json(StatusCode::OK, &card))
}

/// Say that an agent is alive.
#[utoipa::path(post, path = "/api/agents/{id}/heartbeat", tag = "agents", params(("id" = String, Path)),
    request_body = Option<Heartbeat>, responses((status = 200, description = "`ok`; 404 once the agent was pruned",
    body = Done)))]
pub(super) async fn heartbeat_agent(
    State(relay): State<Relay>,
    caller: Authenticated,
    Path(id): Path<AgentId>,
    OptionalJson(change): OptionalJson<AgentChange>,
) -> Result<Response, ApiError> {
    let status = status(&change)?;
    patch(&relay, &caller, id, &change, AgentPatch::Heartbeat(status)).await?;
    Ok(answer::ok())
}

/// The session guard, as query parameters or as a body.
#[derive(Default, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
pub(super) struct Guard {
    /// Must be the current session when given.
    #[param(max_length = 240)]
    instance_id: Option<String>,
    /// Must be the current epoch when given.
    epoch: Option<i64>,
}

/// Remove an agent; its messages stay.
#[utoipa::path(delete, path = "/api/agents/{id}", tag = "agents", params(("id" = String, Path), Guard),
    responses((status = 200, description = "`ok`", body = Done)))]
pub(super) async fn delete_agent(
    State(relay): State<Relay>,
    caller: Authenticated,
    Path(id): Path<AgentId>,
    Query(query): Query<Guard>,
    OptionalJson(body): OptionalJson<Guard>,
) -> Result<Response, ApiError> {
    let guard = SessionGuard::parse(query.instance_id.or(body.instance_id), query.epoch.or(body.epoch))?;
    relay.remove_agent(&caller, id, guard).await?;
    Ok(answer::ok())
}
