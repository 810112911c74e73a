//! Callbacks: what became of them, and trying them again.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use utoipa::IntoParams;

use crate::domain::id::{CallbackId, TaskId};
use crate::domain::page::Limit;
use crate::domain::task::callback::{Callback, CallbackFilter, CallbackStatus};
use crate::domain::text;
use crate::http::answer;
use crate::http::error::ApiError;
use crate::http::extract::{Authenticated, Path, Query};
use crate::relay::Relay;

/// Which callbacks.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(rename_all = "camelCase")]
pub(super) struct ListCallbacks {
    /// Only those of this task.
    task_id: Option<i64>,
    /// Only those with this status.
    #[param(value_type = Option<CallbackStatus>)]
    status: Option<String>,
    /// 100 unless given; at most 1000.
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: Option<i64>,
    /// Only those with a smaller id: the next page.
    before: Option<i64>,
}

/// List callbacks, newest first.
#[utoipa::path(get, path = "/api/callbacks", tag = "callbacks", params(ListCallbacks),
    responses((status = 200, description = "A page, each with its attempts; the next one is in the Link header",
        body = Vec<Callback>)))]
pub(super) async fn list_callbacks(
    State(relay): State<Relay>,
    caller: Authenticated,
    Query(query): Query<ListCallbacks>,
) -> Result<Response, ApiError> {
    let status = text::optional("status", query.status, text::WORD_MAX)?;
    let filter = CallbackFilter {
        task: query.task_id.map(TaskId::new),
        status: status.as_deref().map(|status| CallbackStatus::named("status", status)).transpose()?,
        before: query.before.map(CallbackId::new),
        limit: Limit::parse(query.limit)?,
    };
    let page = relay.list_callbacks(&caller, filter.clone()).await?;
    Ok(answer::page("/api/callbacks", &page, |last| filter.page_after(*last)))
}

/// Try a callback again.
///
/// A dead one gets all the attempts of a new one, under the same `webhookId`; one that is pending is tried now. Later
/// ones of its task wait for it.
#[utoipa::path(post, path = "/api/callbacks/{id}/retry", tag = "callbacks", params(("id" = i64, Path)),
    responses((status = 200, description = "The callback, which is pending", body = Callback)))]
pub(super) async fn retry_callback(
    State(relay): State<Relay>,
    caller: Authenticated,
    Path(id): Path<CallbackId>,
) -> Result<Response, ApiError> {
    Ok(answer::json(StatusCode::OK, &relay.retry_callback(&caller, id).await?))
}
