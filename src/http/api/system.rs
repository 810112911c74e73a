//! The relay about itself: health, figures, maintenance, its own document.

use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::retention::Reaped;
use crate::http::answer;
use crate::http::error::ApiError;
use crate::http::extract::Authenticated;
use crate::relay::Relay;
use crate::relay::system::{Health, StatsReport};

/// How well the relay is, part by part. Each check tries the thing itself.
#[utoipa::path(get, path = "/api/health", tag = "system",
    responses((status = 200, description = "The report; its `status` is the worst of the checks", body = Health)))]
pub(super) async fn get_health(State(relay): State<Relay>) -> Response {
    answer::json(StatusCode::OK, &relay.health().await)
}

/// Whether the process runs.
#[utoipa::path(get, path = "/livez", tag = "system", responses((status = 200, description = "It does", body = String)))]
pub(super) async fn get_livez() -> Response {
    text(StatusCode::OK, "ok\n")
}

/// Whether the relay takes requests.
#[utoipa::path(get, path = "/readyz", tag = "system",
    responses((status = 200, description = "It does", body = String),
              (status = 503, description = "It is starting, draining, or cannot write", body = String)))]
pub(super) async fn get_readyz(State(relay): State<Relay>) -> Response {
    match relay.unready_reason().await {
        None => text(StatusCode::OK, "ready\n"),
        Some(reason) => {
            let mut response = text(StatusCode::SERVICE_UNAVAILABLE, reason);
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
            response
        }
    }
}

fn text(status: StatusCode, text: impl Into<String>) -> Response {
    (status, [(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"))], text.into())
        .into_response()
}

/// How much there is of everything.
#[utoipa::path(get, path = "/api/stats", tag = "system",
    responses((status = 200, description = "Counts", body = StatsReport)))]
pub(super) async fn get_stats(State(relay): State<Relay>, caller: Authenticated) -> Result<Response, ApiError> {
    Ok(answer::json(StatusCode::OK, &relay.stats(&caller).await?))
}

/// Figures for Prometheus.
#[utoipa::path(get, path = "/metrics", tag = "system",
    responses((status = 200, description = "The text exposition format", body = String)))]
pub(super) async fn get_metrics(State(relay): State<Relay>, caller: Authenticated) -> Result<Response, ApiError> {
    let text = relay.metrics(&caller)?;
    let exposition = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    Ok(([(header::CONTENT_TYPE, exposition)], text).into_response())
}

/// The reaper's report.
#[derive(Serialize, ToSchema)]
pub(super) struct ReapReport {
    ok: bool,
    #[serde(flatten)]
    reaped: Reaped,
}

/// Let everything expire that should, now. The relay does the same by itself every 15 s.
#[utoipa::path(post, path = "/api/system/reap", tag = "system",
    responses((status = 200, description = "What was found", body = ReapReport)))]
pub(super) async fn reap(State(relay): State<Relay>, caller: Authenticated) -> Result<Response, ApiError> {
    let reaped = relay.reap_now(&caller).await?;
    Ok(answer::json(StatusCode::OK, &ReapReport { ok: true, reaped }))
}

/// This document.
#[utoipa::path(get, path = "/api/spec", tag = "system",
    responses((status = 200, description = "OpenAPI 3.1", body = Object)))]
pub(super) async fn get_spec() -> Response {
    let json = HeaderValue::from_static("application/json");
    ([(header::CONTENT_TYPE, json)], crate::http::routes::openapi::document_text()).into_response()
}

/// What no route takes.
pub(in crate::http) async fn not_found(uri: axum::http::Uri) -> ApiError {
    ApiError::not_found(&format!("route {}", uri.path()))
}
