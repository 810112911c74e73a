//! The activity log.

use axum::extract::State;
use axum::response::Response;
use serde::Deserialize;
use utoipa::IntoParams;

use super::answer;
use super::error::ApiError;
use super::extract::{Keyed, Query, Who};
use crate::domain::activity::{Activity, ActivityFilter, ActivityKind, NewActivity};
use crate::domain::caller::Scope;
use crate::domain::id::{ActivityId, AgentId};
use crate::domain::page::Limit;
use crate::domain::text;
use crate::relay::Relay;

/// Which entries.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct ListActivity {
    /// Only those with a greater id.
    since: Option<i64>,
    /// Only those with a smaller id: the next page.
    before: Option<i64>,
    /// Only those of this kind.
    kind: Option<String>,
    /// Only those about this agent.
    agent: Option<String>,
    /// 100 unless given; at most 1000.
    limit: Option<i64>,
}

/// List activity, newest first.
#[utoipa::path(get, path = "/api/activity", tag = "activity", params(ListActivity),
    responses((status = 200, description = "A page; the next one is in the Link header", body = Vec<Activity>)))]
pub(super) async fn list_activity(
    State(relay): State<Relay>,
    who: Who,
    Query(query): Query<ListActivity>,
) -> Result<Response, ApiError> {
    who.require(&[Scope::Read])?;
    let kind = text::optional("kind", query.kind, text::WORD_MAX)?;
    let filter = ActivityFilter {
        since: query.since.map_or_else(ActivityId::default, ActivityId::new),
        before: query.before.map(ActivityId::new),
        kind: kind.as_deref().map(|kind| ActivityKind::named("kind", kind)).transpose()?,
        agent: AgentId::optional("agent", query.agent)?,
        limit: Limit::parse(query.limit)?,
    };
    let page = relay.store.activity(filter.clone()).await?;
    Ok(answer::page("/api/activity", &page, |last| filter.page_after(last)))
}

/// Write an entry; a `clientId` that is there already changes nothing.
#[utoipa::path(post, path = "/api/activity", tag = "activity", request_body = NewActivity,
    responses((status = 201, description = "Written", body = Activity),
              (status = 200, description = "It was there", body = Activity)))]
pub(super) async fn create_activity(
    State(relay): State<Relay>,
    who: Who,
    Keyed { body: entry, idempotency }: Keyed<NewActivity>,
) -> Result<Response, ApiError> {
    who.require(&[Scope::Send, Scope::Agent, Scope::Orchestrator])?;
    let by_relay = entry.client_id.as_deref().is_some_and(|id| id.trim_start().starts_with("server-"));
    if by_relay {
        return Err(ApiError::invalid("clientId must not begin with \"server-\", which marks the relay's own entries"));
    }
    Ok(answer::created(relay.store.add_activity(entry.parse()?, idempotency).await?))
}
