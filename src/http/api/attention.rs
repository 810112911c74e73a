//! Attention: what waits for a person.

use axum::extract::State;
use axum::response::Response;
use serde::Deserialize;
use utoipa::IntoParams;

use crate::domain::attention::{Attention, AttentionFilter, AttentionPlace};
use crate::domain::id::AttentionId;
use crate::domain::page::Limit;
use crate::domain::time::Timestamp;
use crate::http::answer;
use crate::http::error::ApiError;
use crate::http::extract::{Authenticated, Path, Query};
use crate::relay::Relay;

/// Which part of the list.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct ListAttention {
    /// 100 unless given; at most 1000.
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: Option<i64>,
    /// Only what comes after this item: the next page, with the two below.
    after: Option<i64>,
    /// The `since` of that item.
    #[serde(rename = "afterSince")]
    #[param(rename = "afterSince")]
    after_since: Option<i64>,
    /// How urgent it is: 0, 1, 2 or 3.
    #[serde(rename = "afterUrgency")]
    #[param(rename = "afterUrgency")]
    after_urgency: Option<i64>,
}

/// List what waits for a person: approvals and dialogs, then questions, then failures, then the rest; the oldest first.
#[utoipa::path(get, path = "/api/attention", tag = "attention", params(ListAttention),
    responses((status = 200, description = "A page; the next one is in the Link header", body = Vec<Attention>)))]
pub(super) async fn list_attention(
    State(relay): State<Relay>,
    caller: Authenticated,
    Query(query): Query<ListAttention>,
) -> Result<Response, ApiError> {
    let first = AttentionPlace::FIRST;
    let after = AttentionPlace {
        urgency: query.after_urgency.unwrap_or(first.urgency),
        since: query.after_since.map_or(first.since, Timestamp::from_ms),
        id: query.after.map_or(first.id, AttentionId::new),
    };
    let filter = AttentionFilter { after, limit: Limit::parse(query.limit)? };
    let page = relay.list_attention(&caller, filter).await?;
    Ok(answer::page("/api/attention", &page, |last| filter.page_after(*last)))
}

/// Take an item off the list. It does not come back before its cause has ended, or has become another.
#[utoipa::path(post, path = "/api/attention/{id}/dismiss", tag = "attention", params(("id" = i64, Path)),
    responses((status = 200, description = "It is off the list", body = answer::Done)))]
pub(super) async fn dismiss_attention(
    State(relay): State<Relay>,
    caller: Authenticated,
    Path(id): Path<AttentionId>,
) -> Result<Response, ApiError> {
    relay.dismiss_attention(&caller, id).await?;
    Ok(answer::ok())
}
