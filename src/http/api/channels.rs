//! Channels: named streams that outside adapters carry in and out.

use axum::extract::State;
use axum::response::Response;
use serde::Deserialize;
use utoipa::IntoParams;

use crate::domain::message::{CHANNEL_MAX, Channel, ChannelDeclaration, ChannelFilter};
use crate::domain::page::Limit;
use crate::domain::text;
use crate::http::answer;
use crate::http::error::ApiError;
use crate::http::extract::{Authenticated, Keyed, Query};
use crate::relay::Relay;

/// Which channels.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct ListChannels {
    /// 100 unless given; at most 1000.
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: Option<i64>,
    /// Only those after this name: the next page.
    #[param(max_length = 120)]
    after: Option<String>,
}

/// List channels by name.
#[utoipa::path(get, path = "/api/channels", tag = "channels", params(ListChannels),
    responses((status = 200, description = "A page; the next one is in the Link header", body = Vec<Channel>)))]
pub(super) async fn list_channels(
    State(relay): State<Relay>,
    caller: Authenticated,
    Query(query): Query<ListChannels>,
) -> Result<Response, ApiError> {
    let after = text::optional("after", query.after, CHANNEL_MAX)?;
    let filter = ChannelFilter { after, limit: Limit::parse(query.limit)? };
    let page = relay.list_channels(&caller, filter.clone()).await?;
    Ok(answer::page("/api/channels", &page, |last| filter.page_after(last)))
}

/// Declare a channel. A message of a channel that nobody declared makes it as well, carried either way.
#[utoipa::path(post, path = "/api/channels", tag = "channels", request_body = ChannelDeclaration,
    responses((status = 201, description = "It is new", body = Channel),
              (status = 200, description = "It was there, and carries messages as was said", body = Channel)))]
pub(super) async fn create_channel(
    State(relay): State<Relay>,
    caller: Authenticated,
    Keyed { body, key }: Keyed<ChannelDeclaration>,
) -> Result<Response, ApiError> {
    Ok(answer::created(relay.declare_channel(&caller, body, key).await?))
}
