//! The activity log.

use axum::extract::State;
use axum::response::Response;
use serde::Deserialize;
use utoipa::IntoParams;

use super::answer;
use super::error::ApiError;
use super::extract::{Authenticated, Keyed, Query, limit};
use crate::domain::activity::{Activity, ActivityKind, NewActivity};
use crate::domain::text;
use crate::relay::Relay;
use crate::store::ActivityFilter;

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
    caller: Authenticated,
    Query(query): Query<ListActivity>,
) -> Result<Response, ApiError> {
    let kind = text::optional("kind", query.kind, text::WORD_MAX)?;
    let filter = ActivityFilter {
        since: query.since.unwrap_or(0),
        before: query.before,
        kind: kind.as_deref().map(ActivityKind::parse).transpose()?,
        agent: text::optional("agent", query.agent, text::ID_MAX)?,
        limit: limit(query.limit)?,
    };
    let entries = relay.list_activity(&caller, filter.clone()).await?;
    let next = entries.last().filter(|_| entries.len() == filter.limit).map(|last| {
        let mut link = answer::Link::new("/api/activity");
        link.add("since", (filter.since > 0).then(|| filter.since.to_string()).as_deref());
        link.add("kind", filter.kind.map(ActivityKind::as_str));
        link.add("agent", filter.agent.as_deref());
        link.add("limit", Some(&filter.limit.to_string()));
        link.add("before", Some(&last.id.to_string()));
        link.finish()
    });
    Ok(answer::page(&entries, next))
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
