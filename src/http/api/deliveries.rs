//! Deliveries: how far messages have come into sessions, and what whoever runs a session shows to it.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use utoipa::IntoParams;

use crate::domain::id::{AgentId, MessageId};
use crate::domain::message::delivery::{Delivery, DeliveryFilter, DeliveryNews};
use crate::domain::message::notice::{Due, NoticeReport};
use crate::domain::page::Limit;
use crate::http::answer;
use crate::http::error::ApiError;
use crate::http::extract::{Authenticated, Json, Path, Query};
use crate::relay::Relay;

/// Which deliveries.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct ListDeliveries {
    /// 100 unless given; at most 1000.
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: Option<i64>,
    /// Only those of agents after this id: the next page.
    #[param(max_length = 240)]
    after: Option<String>,
}

/// How far a message has come into the sessions that it is for, by agent.
#[utoipa::path(get, path = "/api/messages/{id}/deliveries", tag = "messages",
    params(("id" = i64, Path), ListDeliveries),
    responses((status = 200, description = "A page; the next one is in the Link header. An agent that neither a relay \
        nor an orchestrator runs has none", body = Vec<Delivery>)))]
pub(super) async fn list_message_deliveries(
    State(relay): State<Relay>,
    caller: Authenticated,
    Path(id): Path<MessageId>,
    Query(query): Query<ListDeliveries>,
) -> Result<Response, ApiError> {
    let filter = DeliveryFilter {
        agent: None,
        after: AgentId::optional("after", query.after)?,
        limit: Limit::parse(query.limit)?,
    };
    let page = relay.list_message_deliveries(&caller, id, filter.clone()).await?;
    Ok(answer::page(&format!("/api/messages/{id}/deliveries"), &page, |last| filter.page_after(last)))
}

/// When a notice is wanted.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct GetNotice {
    /// Only what may be shown while a turn runs; false unless given.
    interrupting: Option<bool>,
}

/// What to show to the session of an agent now, for whoever runs it.
#[utoipa::path(get, path = "/api/agents/{id}/notice", tag = "agents", params(("id" = String, Path), GetNotice),
    responses((status = 200, description = "The line and what it tells of, or null; 404 unless somebody runs a session \
        of it", body = Due)))]
pub(super) async fn get_notice(
    State(relay): State<Relay>,
    caller: Authenticated,
    Path(id): Path<AgentId>,
    Query(query): Query<GetNotice>,
) -> Result<Response, ApiError> {
    let due = relay.get_notice(&caller, id, query.interrupting.unwrap_or(false)).await?;
    Ok(answer::json(StatusCode::OK, &due))
}

/// Report what became of a notice. What is no step of a delivery leaves that as it is.
#[utoipa::path(post, path = "/api/agents/{id}/notice", tag = "agents", params(("id" = String, Path)),
    request_body = NoticeReport,
    responses((status = 200, description = "The deliveries that changed by it", body = Vec<DeliveryNews>)))]
pub(super) async fn report_notice(
    State(relay): State<Relay>,
    caller: Authenticated,
    Path(id): Path<AgentId>,
    Json(report): Json<NoticeReport>,
) -> Result<Response, ApiError> {
    Ok(answer::json(StatusCode::OK, &relay.report_notice(&caller, id, report).await?))
}
