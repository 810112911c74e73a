//! Tokens: named credentials.

use axum::extract::State;
use axum::response::Response;
use serde::Deserialize;
use utoipa::IntoParams;

use crate::domain::caller::token::{TokenCard, TokenDraft};
use crate::domain::id::TokenId;
use crate::domain::page::{self, Limit};
use crate::http::answer::{self, Done, ok};
use crate::http::error::ApiError;
use crate::http::extract::{Authenticated, Keyed, Path, Query};
use crate::relay::Relay;

/// Make a token.
///
/// An orchestrator's credential makes tokens with `scopes: ["agent"]` and an `agentId` that is `request.agentId` of a
/// spawn command addressed to it; each takes the place of the one before, and ends with the agent.
#[utoipa::path(post, path = "/api/tokens", tag = "tokens", request_body = TokenDraft,
    responses((status = 201, description = "Made; `token` is told here and never again", body = TokenCard),
              (status = 200, description = "Made before under the same key; without `token`", body = TokenCard)))]
pub(super) async fn create_token(
    State(relay): State<Relay>,
    caller: Authenticated,
    Keyed { body, key }: Keyed<TokenDraft>,
) -> Result<Response, ApiError> {
    Ok(answer::created(relay.create_token(&caller, body, key).await?))
}

/// Which tokens.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct ListTokens {
    /// 100 unless given; at most 1000.
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: Option<i64>,
    /// Only those with a greater id: the next page.
    after: Option<i64>,
}

/// List tokens in the order in which they were made, those of running agents too; never the token itself.
#[utoipa::path(get, path = "/api/tokens", tag = "tokens", params(ListTokens),
    responses((status = 200, description = "A page; the next one is in the Link header", body = Vec<TokenCard>)))]
pub(super) async fn list_tokens(
    State(relay): State<Relay>,
    caller: Authenticated,
    Query(query): Query<ListTokens>,
) -> Result<Response, ApiError> {
    let (after, limit) = (query.after.map_or_else(TokenId::default, TokenId::new), Limit::parse(query.limit)?);
    let page = relay.list_tokens(&caller, after, limit).await?;
    let after = |last: &TokenId| page::Query::default().with("limit", Some(limit)).with("after", Some(last));
    Ok(answer::page("/api/tokens", &page, after))
}

/// Revoke a token: it opens nothing from now on, and what it has open ends.
#[utoipa::path(delete, path = "/api/tokens/{id}", tag = "tokens", params(("id" = i64, Path)),
    responses((status = 200, description = "It is revoked", body = Done)))]
pub(super) async fn delete_token(
    State(relay): State<Relay>,
    caller: Authenticated,
    Path(id): Path<TokenId>,
) -> Result<Response, ApiError> {
    relay.revoke_token(&caller, id).await?;
    Ok(ok())
}
