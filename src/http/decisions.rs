//! What policies were asked and said, for replaying it through a candidate.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use utoipa::IntoParams;

use super::answer;
use super::error::ApiError;
use super::extract::{Query, Who};
use crate::domain::caller::Scope;
use crate::domain::command::RecordedDecision;
use crate::domain::id::CommandId;
use crate::domain::page::Limit;
use crate::relay::Relay;

/// Which decisions.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct ListDecisions {
    /// 100 unless given; at most 1000.
    limit: Option<i64>,
    /// Only those of commands with a smaller id: the next page.
    before: Option<i64>,
}

/// List recorded decisions with the question that was asked, newest first.
///
/// A page of large questions is shorter than `limit`; the last one is empty. Decisions whose question
/// was too large to keep are left out.
#[utoipa::path(get, path = "/api/plugins/decisions", tag = "plugins", params(ListDecisions),
    responses((status = 200, description = "A page; the next one begins before its last commandId",
        body = Vec<RecordedDecision>)))]
pub(super) async fn list_decisions(
    State(relay): State<Relay>,
    who: Who,
    Query(query): Query<ListDecisions>,
) -> Result<Response, ApiError> {
    who.require(&[Scope::Control])?;
    Ok(answer::json(
        StatusCode::OK,
        &relay.store.decisions(query.before.map(CommandId::new), Limit::parse(query.limit)?).await?,
    ))
}
