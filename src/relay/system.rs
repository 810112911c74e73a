//! The relay about itself: health, readiness, figures, maintenance.

use std::time::Duration;

use serde::Serialize;
use utoipa::ToSchema;

use super::{Error, Relay, scopes};
use crate::domain::caller::Caller;
use crate::domain::retention::Reaped;
use crate::plugins::PluginState;
use crate::store::{Stats, StoreError};
use crate::telemetry;

/// How well the relay is.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Health {
    /// The worst of the checks: `ok`, `warn` or `error`.
    status: &'static str,
    version: &'static str,
    uptime_ms: u64,
    checks: Vec<Check>,
}

/// One thing that was looked at.
#[derive(Serialize, ToSchema)]
pub struct Check {
    name: &'static str,
    /// `ok`, `warn` or `error`.
    status: &'static str,
    detail: String,
}

/// How much there is of everything.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct StatsReport {
    #[serde(flatten)]
    stats: Stats,
    /// Streams open now.
    streams: usize,
    uptime_ms: u64,
}

impl Relay {
    /// How well the relay is, part by part. Each check tries the thing itself.
    pub async fn health(&self) -> Health {
        let mut checks = vec![self.check_store().await, self.check_writer(), self.check_streams()];
        checks.extend(self.check_plugins());
        if self.draining.is_cancelled() {
            checks.push(Check { name: "drain", status: "warn", detail: "shutting down".to_owned() });
        }
        let worst = ["error", "warn"].into_iter().find(|status| checks.iter().any(|check| check.status == *status));
        Health {
            status: worst.unwrap_or("ok"),
            version: env!("CARGO_PKG_VERSION"),
            uptime_ms: self.uptime_ms(),
            checks,
        }
    }

    async fn check_store(&self) -> Check {
        match self.store.latest_message_id().await {
            Ok(_) => Check { name: "store", status: "ok", detail: "readable".to_owned() },
            Err(error) => {
                tracing::error!(%error, "the store cannot be read");
                Check { name: "store", status: "error", detail: "not readable; see the log".to_owned() }
            }
        }
    }

    fn check_writer(&self) -> Check {
        let (status, detail) = if self.store.is_writable() {
            ("ok", format!("{} writes queued", self.store.queue_len()))
        } else {
            ("error", "stopped after a failed commit; restart the relay".to_owned())
        };
        Check { name: "writer", status, detail }
    }

    fn check_streams(&self) -> Check {
        let (open, max) = (self.hub.open_streams(), self.settings.streams_max);
        let status = if open * 10 >= max * 9 { "warn" } else { "ok" };
        Check { name: "streams", status, detail: format!("{open} of {max} streams open") }
    }

    /// One check for each plugin that needs attention, or one for all of them.
    fn check_plugins(&self) -> Vec<Check> {
        let plugins = self.plugins.current();
        let check = |status, detail| Check { name: "plugins", status, detail };
        let missing = plugins.missing().map(|(id, reason)| {
            check("error", format!("required policy {id} is not loaded, so every control is refused: {reason}"))
        });
        let rejected = plugins.statuses().into_iter().filter_map(|plugin| {
            let what = match plugin.state {
                PluginState::Rejected => "was rejected",
                PluginState::Quarantined => "is quarantined",
                _ => return None,
            };
            Some(check("warn", format!("plugin {} {what}: {}", plugin.id, plugin.error?.reason)))
        });
        let warnings = plugins.warnings().iter().map(|warning| check("warn", warning.clone()));
        let mut checks: Vec<_> = missing.chain(rejected).chain(warnings).collect();
        if checks.is_empty() {
            let active = plugins.statuses().iter().filter(|plugin| plugin.state == PluginState::Active).count();
            checks.push(check("ok", format!("{active} active")));
        }
        checks
    }

    /// Why requests should go elsewhere, if they should; a line for whoever looks.
    pub fn unready_reason(&self) -> Option<&'static str> {
        if self.draining.is_cancelled() {
            return Some("draining\n");
        }
        (!self.store.is_writable()).then_some("the store takes no writes\n")
    }

    /// How much there is of everything.
    pub async fn stats(&self, caller: &Caller) -> Result<StatsReport, Error> {
        caller.require(scopes::READ_STATS)?;
        Ok(StatsReport {
            stats: self.store.stats().await?,
            streams: self.hub.open_streams(),
            uptime_ms: self.uptime_ms(),
        })
    }

    /// Every metric, in Prometheus' text format.
    pub fn metrics(&self, caller: &Caller) -> Result<String, Error> {
        caller.require(scopes::READ_METRICS)?;
        metrics::gauge!(telemetry::metric::STREAMS).set(self.hub.open_streams() as f64);
        metrics::gauge!(telemetry::metric::WRITE_QUEUE).set(self.store.queue_len() as f64);
        Ok(telemetry::render_metrics())
    }

    /// Lets everything expire that should, because somebody asked for it.
    pub async fn reap_now(&self, caller: &Caller) -> Result<Reaped, Error> {
        caller.require(scopes::REAP)?;
        Ok(self.reap(true).await?)
    }

    /// Lets everything expire that should: the relay does so by itself every 15 s.
    pub async fn reap_on_time(&self) -> Result<Reaped, Error> {
        Ok(self.reap(false).await?)
    }

    async fn reap(&self, audited: bool) -> Result<Reaped, StoreError> {
        let (offline, prune) = (millis(self.settings.offline_after), millis(self.settings.prune_after));
        self.store.reap(self.hub.open_agents(), offline, prune, audited).await
    }

    /// Deletes what is too old or too much, in small steps with a `pause` between them, so that nobody waits
    /// long for the writer. Answers how many rows that were.
    pub async fn retain(&self, pause: Duration) -> Result<usize, Error> {
        let retention = self.settings.retention;
        let surplus = self.store.surplus_messages(retention.messages_count).await?;
        let mut rows = 0;
        loop {
            match self.store.retain_step(retention, surplus).await? {
                0 => return Ok(rows),
                step => rows += step,
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.draining.cancelled() => return Ok(rows),
            }
        }
    }

    fn uptime_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
