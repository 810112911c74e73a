//! HTTP: the edge in front of the routes, which are in [`api`], and the server around them.

mod answer;
mod api;
mod edge;
mod error;
mod extract;
mod mcp;
mod rate;
mod routes;
mod serve;
mod signed;

use std::time::Duration;

use axum::Router;
use axum::middleware::from_fn_with_state;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower_http::catch_panic::CatchPanicLayer;

use self::edge::Edge;
use self::error::ApiError;
use self::routes::Assembled;
use crate::domain::event::EventName;
use crate::relay::Relay;

// For the table of bounds.
pub(crate) use api::messages::WAIT_MAX;
pub(crate) use edge::URI_BYTES_MAX;
pub(crate) use extract::BODY_MAX;
pub use routes::openapi::document_text;
pub(crate) use serve::{HEAD_BYTES_MAX, HEADERS_MAX};

/// What connections may take up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Open connections. Beyond it, whoever keeps one waiting longest has to go.
    pub connections: usize,
    /// The same from one address.
    pub connections_per_address: usize,
    /// Bodies and answers of more than 16 KiB in memory at once, in bytes.
    pub buffers_bytes: usize,
    /// How long the head of a request may take, and the wait for one.
    pub head: Duration,
    /// How long a whole request may take.
    pub request: Duration,
    /// How long an answer, or an event, may wait to be taken.
    pub stall: Duration,
    /// Events of integrations that a caller may send in a minute; 0: as many as it likes.
    pub integrations_per_minute: u32,
    /// Other requests that a caller may send in a minute; 0: as many as it likes.
    pub requests_per_minute: u32,
}

/// Serves the relay until `shutdown`, then lets requests and streams end.
pub async fn serve(
    relay: Relay,
    listener: TcpListener,
    limits: Limits,
    shutdown: CancellationToken,
    tasks: TaskTracker,
) {
    let router = router(relay, &limits);
    serve::serve(listener, router, limits, shutdown, tasks).await;
}

/// The routes with everything around them.
fn router(relay: Relay, limits: &Limits) -> Router {
    let Assembled { router, public, signed, .. } = api::routes();
    router
        .fallback(api::system::not_found)
        .layer(CatchPanicLayer::custom(|panic: Box<dyn std::any::Any + Send>| {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a handler panicked");
            axum::response::IntoResponse::into_response(ApiError::internal(text))
        }))
        .layer(from_fn_with_state(Edge::new(relay.clone(), public, signed, limits), edge::edge))
        .with_state(relay)
}

/// The names of events, for the document.
fn events_schema() -> Value {
    let names: Vec<&str> = EventName::ALL.iter().map(|name| name.as_str()).collect();
    json!({"type": "string", "description": "The kinds of events on the stream.", "enum": names})
}
