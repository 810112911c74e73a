//! Pairs: two agents in a focused exchange.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use crate::domain::agent::SessionGuard;
use crate::domain::id::{AgentId, PairId};
use crate::domain::message::Message;
use crate::domain::page::Limit;
use crate::domain::pair::{Pair, PairFilter, PairRequest, PairStatus, PairStep};
use crate::domain::text;
use crate::http::answer;
use crate::http::error::ApiError;
use crate::http::extract::{Authenticated, Json, Keyed, Path, Query};
use crate::relay::Relay;
use crate::relay::messages::Claimant;
use crate::relay::pairs::Talk;

/// Ask another agent for a pair.
#[utoipa::path(post, path = "/api/pairs", tag = "pairs", request_body = PairRequest,
    responses((status = 201, description = "It is pending, and expires after 10 minutes", body = Pair)))]
pub(super) async fn create_pair(
    State(relay): State<Relay>,
    caller: Authenticated,
    Keyed { body, key }: Keyed<PairRequest>,
) -> Result<Response, ApiError> {
    Ok(answer::created(relay.request_pair(&caller, body, key).await?))
}

/// Which pairs.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct ListPairs {
    /// Only those that this agent is, or was, one of the two of.
    #[param(max_length = 240)]
    agent: Option<String>,
    /// Only those with this status.
    #[param(value_type = Option<PairStatus>)]
    status: Option<String>,
    /// 100 unless given; at most 1000.
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: Option<i64>,
    /// Only those with a smaller id: the next page.
    before: Option<i64>,
}

/// List pairs, newest first.
#[utoipa::path(get, path = "/api/pairs", tag = "pairs", params(ListPairs),
    responses((status = 200, description = "A page; the next one is in the Link header", body = Vec<Pair>)))]
pub(super) async fn list_pairs(
    State(relay): State<Relay>,
    caller: Authenticated,
    Query(query): Query<ListPairs>,
) -> Result<Response, ApiError> {
    let status = text::optional("status", query.status, text::WORD_MAX)?;
    let filter = PairFilter {
        agent: AgentId::optional("agent", query.agent)?,
        status: status.as_deref().map(|status| PairStatus::named("status", status)).transpose()?,
        before: query.before.map(PairId::new),
        limit: Limit::parse(query.limit)?,
    };
    let (page, filter) = relay.list_pairs(&caller, filter).await?;
    Ok(answer::page("/api/pairs", &page, |last| filter.page_after(*last)))
}

/// One pair.
#[utoipa::path(get, path = "/api/pairs/{id}", tag = "pairs", params(("id" = i64, Path)),
    responses((status = 200, description = "The pair", body = Pair)))]
pub(super) async fn get_pair(
    State(relay): State<Relay>,
    caller: Authenticated,
    Path(id): Path<PairId>,
) -> Result<Response, ApiError> {
    Ok(answer::json(StatusCode::OK, &relay.get_pair(&caller, id).await?))
}

/// Which of the two it is that does something.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct PairAction {
    /// The agent; the credential's agent when left out.
    #[schema(max_length = 240)]
    agent_id: Option<String>,
    /// The session guard.
    #[schema(max_length = 240)]
    instance_id: Option<String>,
    /// The session guard.
    epoch: Option<i64>,
}

async fn step(
    relay: &Relay,
    caller: &Authenticated,
    id: PairId,
    action: PairAction,
    step: PairStep,
) -> Result<Response, ApiError> {
    let guard = SessionGuard::parse(action.instance_id, action.epoch)?;
    let who = Claimant { agent: action.agent_id, guard };
    Ok(answer::json(StatusCode::OK, &relay.step_pair(caller, id, who, step).await?))
}

/// Accept a pair, as the agent that was asked.
#[utoipa::path(post, path = "/api/pairs/{id}/accept", tag = "pairs", params(("id" = i64, Path)),
    request_body = PairAction, responses((status = 200, description = "The pair, which is active", body = Pair)))]
pub(super) async fn accept_pair(
    State(relay): State<Relay>,
    caller: Authenticated,
    Path(id): Path<PairId>,
    Json(action): Json<PairAction>,
) -> Result<Response, ApiError> {
    step(&relay, &caller, id, action, PairStep::Accept).await
}

/// Reject a pair, as the agent that was asked.
#[utoipa::path(post, path = "/api/pairs/{id}/reject", tag = "pairs", params(("id" = i64, Path)),
    request_body = PairAction, responses((status = 200, description = "The pair, which is rejected", body = Pair)))]
pub(super) async fn reject_pair(
    State(relay): State<Relay>,
    caller: Authenticated,
    Path(id): Path<PairId>,
    Json(action): Json<PairAction>,
) -> Result<Response, ApiError> {
    step(&relay, &caller, id, action, PairStep::Reject).await
}

/// End a pair, as either of the two, also while it is pending.
#[utoipa::path(post, path = "/api/pairs/{id}/end", tag = "pairs", params(("id" = i64, Path)),
    request_body = PairAction, responses((status = 200, description = "The pair, which has ended", body = Pair)))]
pub(super) async fn end_pair(
    State(relay): State<Relay>,
    caller: Authenticated,
    Path(id): Path<PairId>,
    Json(action): Json<PairAction>,
) -> Result<Response, ApiError> {
    step(&relay, &caller, id, action, PairStep::End).await
}

/// What one of the two says to the other.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct PairMessage {
    /// Who says it; the credential's agent when left out.
    #[schema(max_length = 240)]
    from: Option<String>,
    /// At most 256 KiB; kept as it is.
    #[schema(value_type = String, max_length = 262144, pattern = r"\S")]
    body: Option<String>,
    /// The session guard.
    #[schema(max_length = 240)]
    instance_id: Option<String>,
    /// The session guard.
    epoch: Option<i64>,
}

/// Say something to the other one of an active pair: a message in the pair's thread, with `meta.pairId`.
#[utoipa::path(post, path = "/api/pairs/{id}/messages", tag = "pairs", params(("id" = i64, Path)),
    request_body = PairMessage, responses((status = 201, description = "The message", body = Message)))]
pub(super) async fn create_pair_message(
    State(relay): State<Relay>,
    caller: Authenticated,
    Path(id): Path<PairId>,
    Keyed { body, key }: Keyed<PairMessage>,
) -> Result<Response, ApiError> {
    let PairMessage { from, body, instance_id, epoch } = body;
    let talk = Talk { from, body, guard: SessionGuard::parse(instance_id, epoch)? };
    Ok(answer::created(relay.talk_in_pair(&caller, id, talk, key).await?))
}
