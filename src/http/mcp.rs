//! `/mcp`: what the protocol for tools is carried by.
//!
//! Only POST is taken, and every answer is JSON, whatever `Accept` says: there is no session and no stream, so there
//! is nothing to open, to resume or to end. What is refused before the protocol is reached is an error of its form.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, post};

use super::answer;
use super::error::ApiError;
use super::extract::{Authenticated, read_body};
use crate::mcp::{self, Head, Outcome, Reply, Toolbox, Waits};
use crate::relay::Relay;

/// The route.
pub(super) fn route() -> MethodRouter<Relay> {
    let waits = Arc::new(Waits::default());
    post(move |relay, caller, request| call_tools(relay, caller, waits.clone(), request))
}

async fn call_tools(
    State(relay): State<Relay>,
    caller: Authenticated,
    waits: Arc<Waits>,
    request: Request,
) -> Result<Response, ApiError> {
    let head = head(request.headers());
    let body = read_body(request).await?;
    let tools = Toolbox::new(&relay, &caller, &waits);
    let Reply { outcome, body } = mcp::exchange(&tools, &head, &body).await;
    let status = match outcome {
        Outcome::Answered => StatusCode::OK,
        Outcome::Taken => StatusCode::ACCEPTED,
        Outcome::Malformed => StatusCode::BAD_REQUEST,
        Outcome::Unknown => StatusCode::NOT_FOUND,
    };
    Ok(match body {
        Some(body) => answer::json(status, &body),
        None => status.into_response(),
    })
}

fn head(headers: &HeaderMap) -> Head {
    let all = |name: &str| {
        headers.get_all(name).iter().map(|value| value.to_str().ok().map(|text| text.trim().to_owned())).collect()
    };
    Head { version: all("mcp-protocol-version"), method: all("mcp-method"), name: all("mcp-name") }
}
