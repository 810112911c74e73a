//! The relay about itself: health, figures, maintenance, its own document.

use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::answer;
use super::error::ApiError;
use super::extract::Who;
use crate::domain::caller::Scope;
use crate::domain::retention::Reaped;
use crate::relay::Relay;
use crate::store::Stats;
use crate::telemetry;

/// How well the relay is.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Health {
    /// The worst of the checks: `ok`, `warn` or `error`.
    status: &'static str,
    version: &'static str,
    uptime_ms: u64,
    checks: Vec<Check>,
}

/// One thing that was looked at.
#[derive(Serialize, ToSchema)]
pub(super) struct Check {
    name: &'static str,
    /// `ok`, `warn` or `error`.
    status: &'static str,
    detail: String,
}

/// How well the relay is, part by part. Each check tries the thing itself.
#[utoipa::path(get, path = "/api/health", tag = "system",
    responses((status = 200, description = "The report; its `status` is the worst of the checks", body = Health)))]
pub(super) async fn get_health(State(relay): State<Relay>) -> Response {
    let mut checks = vec![store_check(&relay).await, writer_check(&relay), streams_check(&relay)];
    checks.extend(relay.plugin_checks().into_iter().map(|(status, detail)| Check { name: "plugins", status, detail }));
    if relay.draining.is_cancelled() {
        checks.push(Check { name: "drain", status: "warn", detail: "shutting down".to_owned() });
    }
    let worst = ["error", "warn"].into_iter().find(|status| checks.iter().any(|check| check.status == *status));
    let health = Health {
        status: worst.unwrap_or("ok"),
        version: env!("CARGO_PKG_VERSION"),
        uptime_ms: u64::try_from(relay.started.elapsed().as_millis()).unwrap_or(u64::MAX),
        checks,
    };
    answer::json(StatusCode::OK, &health)
}

async fn store_check(relay: &Relay) -> Check {
    match relay.store.latest_message_id().await {
        Ok(_) => Check { name: "store", status: "ok", detail: "readable".to_owned() },
        Err(error) => {
            tracing::error!(%error, "the store cannot be read");
            Check { name: "store", status: "error", detail: "not readable; see the log".to_owned() }
        }
    }
}

fn writer_check(relay: &Relay) -> Check {
    let detail = format!("{} writes queued", relay.store.queue_len());
    if relay.store.is_writable() {
        Check { name: "writer", status: "ok", detail }
    } else {
        Check { name: "writer", status: "error", detail: "stopped after a failed commit; restart the relay".to_owned() }
    }
}

fn streams_check(relay: &Relay) -> Check {
    let (open, max) = (relay.hub.open_streams(), relay.settings.streams_max);
    let status = if open * 10 >= max * 9 { "warn" } else { "ok" };
    Check { name: "streams", status, detail: format!("{open} of {max} streams open") }
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
    match relay.unready_reason() {
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
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct StatsReport {
    #[serde(flatten)]
    stats: Stats,
    /// Streams open now.
    streams: usize,
    uptime_ms: u64,
}

/// How much there is of everything.
#[utoipa::path(get, path = "/api/stats", tag = "system",
    responses((status = 200, description = "Counts", body = StatsReport)))]
pub(super) async fn get_stats(State(relay): State<Relay>, who: Who) -> Result<Response, ApiError> {
    who.require(&[Scope::Read, Scope::Metrics])?;
    let report = StatsReport {
        stats: relay.store.stats().await?,
        streams: relay.hub.open_streams(),
        uptime_ms: u64::try_from(relay.started.elapsed().as_millis()).unwrap_or(u64::MAX),
    };
    Ok(answer::json(StatusCode::OK, &report))
}

/// Figures for Prometheus.
#[utoipa::path(get, path = "/metrics", tag = "system",
    responses((status = 200, description = "The text exposition format", body = String)))]
pub(super) async fn get_metrics(State(relay): State<Relay>, who: Who) -> Result<Response, ApiError> {
    who.require(&[Scope::Metrics, Scope::Read])?;
    metrics::gauge!(telemetry::metric::STREAMS).set(relay.hub.open_streams() as f64);
    metrics::gauge!(telemetry::metric::WRITE_QUEUE).set(relay.store.queue_len() as f64);
    let exposition = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    Ok(([(header::CONTENT_TYPE, exposition)], telemetry::render_metrics()).into_response())
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
pub(super) async fn reap(State(relay): State<Relay>, who: Who) -> Result<Response, ApiError> {
    who.require(&[Scope::Control])?;
    let reaped = relay.reap(true).await?;
    Ok(answer::json(StatusCode::OK, &ReapReport { ok: true, reaped }))
}

/// This document.
#[utoipa::path(get, path = "/api/spec", tag = "system",
    responses((status = 200, description = "OpenAPI 3.1", body = Object)))]
pub(super) async fn get_spec() -> Response {
    let json = HeaderValue::from_static("application/json");
    ([(header::CONTENT_TYPE, json)], super::openapi::document_text().to_owned()).into_response()
}

/// What no route takes.
pub(super) async fn not_found(uri: axum::http::Uri) -> ApiError {
    ApiError::not_found(&format!("route {}", uri.path()))
}
