//! The relay about itself: health, figures, maintenance, its own document.

use reqwest::{Method, StatusCode};
use serde::Deserialize;
use serde_json::Value;

use super::{Client, Error, Request};

/// Requests about the relay itself. See [`Client::system`].
#[derive(Clone, Copy, Debug)]
pub struct System<'a>(pub(super) &'a Client);

/// How well the relay is.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Health {
    /// The worst of the checks: `ok`, `warn` or `error`.
    pub status: String,
    /// The relay's version.
    pub version: String,
    /// How long it has been running, in milliseconds.
    pub uptime_ms: u64,
    /// What was looked at.
    pub checks: Vec<HealthCheck>,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct HealthCheck {
    /// What it is.
    pub name: String,
    /// `ok`, `warn` or `error`.
    pub status: String,
    /// What was found, for people.
    pub detail: String,
}

/// How much there is of everything.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Stats {
    /// Registered agents, the reserved ones included.
    pub agents: u64,
    /// Those that are not offline.
    pub agents_online: u64,
    /// Orchestrators.
    pub orchestrators: u64,
    /// Those that are online.
    pub orchestrators_online: u64,
    /// Messages kept.
    pub messages: u64,
    /// The greatest message id ever given.
    pub latest_message_id: i64,
    /// Claims held now.
    pub claims: u64,
    /// Commands that are not finished.
    pub commands_open: u64,
    /// Agents that the relay itself runs.
    pub sessions: u64,
    /// Events kept.
    pub events: u64,
    /// The size of the database, in bytes.
    pub database_bytes: u64,
    /// Streams open now.
    pub streams: u64,
    /// How long the relay has been running, in milliseconds.
    pub uptime_ms: u64,
}

/// What one run of the reaper found.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Reaped {
    /// Agents that fell silent.
    pub reaped_agent_ids: Vec<String>,
    /// Orchestrators that fell silent.
    pub reaped_orchestrator_ids: Vec<String>,
    /// Messages whose claim is free again.
    pub released_message_ids: Vec<i64>,
    /// Tasks whose claim is free again.
    pub released_task_ids: Vec<i64>,
}

impl System<'_> {
    /// How well the relay is, part by part.
    pub fn health(&self) -> Request<Health> {
        self.0.request(Method::GET, "/api/health")
    }

    /// Whether the relay takes requests now: not while it starts, drains or cannot write.
    ///
    /// # Errors
    ///
    /// When nobody answers, or something else than yes or no.
    pub async fn is_ready(&self) -> Result<bool, Error> {
        let answer = self.0.request::<()>(Method::GET, "/readyz").answer().await?;
        if answer.status() == StatusCode::SERVICE_UNAVAILABLE {
            return Ok(false);
        }
        answer.success().map(|_| true)
    }

    /// How much there is of everything.
    pub fn stats(&self) -> Request<Stats> {
        self.0.request(Method::GET, "/api/stats")
    }

    /// Figures in the text exposition format of Prometheus.
    ///
    /// # Errors
    ///
    /// As [`Request::send`].
    pub async fn metrics(&self) -> Result<String, Error> {
        let answer = self.0.request::<()>(Method::GET, "/metrics").answer().await?.success()?;
        answer.text().map(str::to_owned)
    }

    /// Lets everything expire that should, now.
    pub fn reap(&self) -> Request<Reaped> {
        self.0.request(Method::POST, "/api/system/reap")
    }

    /// The OpenAPI document.
    pub fn spec(&self) -> Request<Value> {
        self.0.request(Method::GET, "/api/spec")
    }
}
