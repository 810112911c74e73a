//! The activity log.

use axum::extract::State;
use axum::response::Response;
use serde::Deserialize;
use utoipa::IntoParams;

use crate::domain::activity::{Activity, ActivityFilter, ActivityKind, NewActivity};
use crate::domain::id::{ActivityId, AgentId};
use crate::domain::page::Limit;
use crate::domain::text;
use crate::http::answer;
use crate::http::error::ApiError;
use crate::http::extract::{Authenticated, Keyed, Query};
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
    #[param(value_type = Option<ActivityKind>)]
    kind: Option<String>,
    /// Only those about this agent.
    #[param(max_length = 240)]
    agent: Option<String>,
    /// 100 unless given; at most 1000.
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: Option<i64>,
}

/// List activity, newest first.
#[utoipa::path(get, path = "/api/activity", tag = "activity", params(ListActivity),
    responses((status = 200, description = "A page; the next one is in the Link header", body = Vec<Activity>)))]
pub(super) async fn list_activity(
    State(relay): State<Relay>,
    caller: Authenticated,
    Query(query): Query<ListActivity>,
) -> Result<Response, ApiError> {
    let kind = text::optional("kind", query.kind, text::WORD_MAX)?;
    let filter = ActivityFilter {
        since: query.since.map_or_else(ActivityId::default, ActivityId::new),
        before: query.before.map(ActivityId::new),
        kind: kind.as_deref().map(|kind| ActivityKind::named("kind", kind)).transpose()?,
        agent: AgentId::optional("agent", query.agent)?,
        limit: Limit::parse(query.limit)?,
    };
    let page = relay.list_activity(&caller, filter.clone()).await?;
    Ok(answer::page("/api/activity", &page, |last| filter.page_after(*last)))
}

/// Write an entry; a `clientId` that is there already changes nothing.
#[utoipa::path(post, path = "/api/activity", tag = "activity", request_body = NewActivity,
    responses((status = 201, description = "Written", body = Activity),
              (status = 200, description = "It was there", body = Activity)))]
pub(super) async fn create_activity(
    State(relay): State<Relay>,
    caller: Authenticated,
    Keyed { body, key }: Keyed<NewActivity>,
) -> Result<Response, ApiError> {
    Ok(answer::created(relay.create_activity(&caller, body, key).await?))
}
