//! The relay about itself: health, readiness, figures, maintenance.

use std::time::{Duration, Instant};

use serde::Serialize;
use tokio::sync::Mutex;
use utoipa::ToSchema;

use super::{Error, Relay, scopes};
use crate::domain::caller::Caller;
use crate::domain::retention::{Pace, Reaped};
use crate::domain::time::{Clock, Jump, Timestamp};
use crate::plugins::PluginState;
use crate::store::{Fitness, Loss, Scrubbed, Stats, StoreError};
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

/// What the latest look at the store found, and when it was.
#[derive(Default)]
pub(super) struct Examined(Mutex<Option<(Instant, Findings)>>);

/// What one look found.
#[derive(Clone)]
struct Findings {
    store: Fitness,
    /// Whether a commit was told to those who listen.
    told: Result<(), String>,
}

/// How long one look at the store counts, and how long it may take.
const EXAMINED_EVERY: Duration = Duration::from_secs(1);
const EXAMINED_WITHIN: Duration = Duration::from_secs(5);
const TOLD_NOBODY: &str = "a commit was answered, and those who listen were not told";
/// The log is folded in from 4 MiB on, so one of this size is held open by somebody.
const LOG_MAX: u64 = 64 << 20;
/// Bytes below which an operator should free some.
const FREE_MIN: u64 = 64 << 20;
/// How often retention is wanted. One that takes longer is in a hurry.
pub const RETAINED_EVERY: Duration = Duration::from_secs(60);
/// So is one that has more to delete than this share of what is kept.
const HURRY_SHARE: i64 = 20;
/// How many plugins a check names.
const WORRIES_MAX: usize = 3;

fn check_store(fitness: &Fitness, scrubbed: &Scrubbed) -> Check {
    let check = |status, detail| Check { name: "store", status, detail };
    if let Err(problem) = &fitness.file {
        let next = "stop the relay, put the file back, and start it again";
        return check("error", format!("{problem}; {next}"));
    }
    if let Err(problem) = &fitness.read {
        tracing::error!(%problem, "the store cannot be read");
        let next = "stop the relay and restore the database, or recover it with sqlite3 and .recover";
        return check("error", format!("not readable: {problem}; {next}"));
    }
    let Scrubbed { rows, passes, .. } = scrubbed;
    check("ok", format!("readable; {rows} rows read through since the start, {passes} whole passes"))
}

fn check_disk(fitness: &Fitness) -> Check {
    let check = |status, detail| Check { name: "disk", status, detail };
    match fitness.free_bytes {
        Some(free) if free < FREE_MIN => {
            let left = free >> 20;
            check("warn", format!("{left} MiB are left on the disk of the data directory; free some"))
        }
        Some(free) => check("ok", format!("{} MiB free", free >> 20)),
        None => check("warn", "how much room the disk of the data directory has is not known".to_owned()),
    }
}

fn check_log(fitness: &Fitness) -> Check {
    let size = fitness.log_bytes >> 20;
    if fitness.log_bytes > LOG_MAX {
        let detail = format!(
            "relay.db-wal has {size} MiB, since another program keeps an old state of the database open: end it \
             (fuser relay.db names it), and the log shrinks with the next writes"
        );
        return Check { name: "log", status: "warn", detail };
    }
    Check { name: "log", status: "ok", detail: format!("{size} MiB") }
}

/// For how long a jump of the clock is worth a warning.
const JUMP_MS: i64 = 60 * 60 * 1000;

fn check_clock(clock: &Clock) -> Check {
    let (steadiness, now) = (clock.steadiness(), clock.now());
    let is_recent = |at: Timestamp| (now - at).abs() < JUMP_MS;
    let mut worries = Vec::new();
    if let Some(Jump::Step { at, ms }) = steadiness.step
        && (is_recent(at) || steadiness.doubt_ms > 0)
    {
        let way = if ms < 0 { "back" } else { "forward" };
        let next = "leases and who is heard from go on as they were; see that the time of this host is kept right, for \
                    instance by timedatectl";
        worries.push(format!("the wall clock was set {way} by {}; {next}", span(ms)));
    }
    if steadiness.doubt_ms > 0 {
        let (ahead, left) = (span(steadiness.unproven_ms), span(steadiness.doubt_ms));
        worries.push(format!(
            "it is ahead of all that is known by {ahead}, so nothing is deleted on its word for another {left}; if it \
             is right, there is nothing to do"
        ));
    }
    if let Some(Jump::Pause { at, ms }) = steadiness.pause
        && is_recent(at)
    {
        let next = "leases were prolonged by that; if the machine was not asleep, find out what stopped or starved the \
                    relay";
        worries.push(format!("the relay did not run for {}; {next}", span(ms)));
    }
    let status = if worries.is_empty() { "ok" } else { "warn" };
    let detail = if worries.is_empty() { "steady".to_owned() } else { worries.join("; ") };
    Check { name: "clock", status, detail }
}

/// A length of time for people, to the second, or to the day.
fn span(ms: i64) -> String {
    let seconds = (ms.unsigned_abs() + 500) / 1_000;
    match seconds / (24 * 60 * 60) {
        0 | 1 => humantime::format_duration(Duration::from_secs(seconds)).to_string(),
        days => format!("{days} days"),
    }
}

fn check_loss(loss: &Loss) -> Check {
    let next = "to have it back, stop the relay and restore relay.db and relay.db-wal as they were; to go on without \
                it, restart the relay. Numbers go on above those that were given";
    Check { name: "records", status: "error", detail: format!("{}; {next}", loss.detail) }
}

fn check_network(kind: &str) -> Check {
    let detail = format!(
        "the data directory lies on {kind}, where locks may not hold and what is synced may be lost; use a disk of this host"
    );
    Check { name: "file_system", status: "warn", detail }
}

impl Relay {
    /// How well the relay is, part by part. Each check tries the thing itself.
    pub async fn health(&self) -> Health {
        let Findings { store, told } = self.examine().await;
        let mut checks = vec![
            check_store(&store, &self.store.scrubbed()),
            self.check_writer(&store),
            check_disk(&store),
            check_log(&store),
            self.check_streams(&told),
            self.check_plugins(),
            check_clock(self.store.clock()),
        ];
        checks.extend(self.store.loss().map(check_loss));
        checks.extend(self.settings.network_file_system.map(check_network));
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

    /// Tries the store, and whether a commit is told, at most once in [`EXAMINED_EVERY`]: whoever asks how the relay is
    /// must not keep it busy.
    async fn examine(&self) -> Findings {
        let mut examined = self.examined.0.lock().await;
        if let Some((at, findings)) = &*examined
            && at.elapsed() < EXAMINED_EVERY
        {
            return findings.clone();
        }
        let late = || Err(format!("no answer within {} s", EXAMINED_WITHIN.as_secs()));
        let mut echo = self.hub.echo();
        let store = tokio::time::timeout(EXAMINED_WITHIN, self.store.examine(echo.number())).await;
        let store = store.unwrap_or_else(|_| Fitness {
            write: late(),
            read: late(),
            file: Ok(()),
            free_bytes: None,
            log_bytes: self.store.log_bytes(),
        });
        let told = match &store.write {
            // A commit is told before it is answered.
            Ok(()) => tokio::time::timeout(EXAMINED_WITHIN, echo.heard()).await.map_err(|_| TOLD_NOBODY.to_owned()),
            Err(_) => Ok(()),
        };
        let findings = Findings { store, told };
        *examined = Some((Instant::now(), findings.clone()));
        findings
    }

    fn check_writer(&self, fitness: &Fitness) -> Check {
        let check = |status, detail| Check { name: "writer", status, detail };
        if !self.store.is_writable() {
            return check("error", "stopped after a failed commit; restart the relay".to_owned());
        }
        if fitness.file.is_err() {
            return check("error", "writes are refused, since the database is not where it was".to_owned());
        }
        if let Err(problem) = &fitness.write {
            let next = "nothing is lost; free space on the disk of the data directory, or see the log";
            return check("error", format!("writes fail: {problem}; {next}"));
        }
        check("ok", format!("a commit was tried; {} writes queued", self.store.queue_len()))
    }

    fn check_streams(&self, told: &Result<(), String>) -> Check {
        if let Err(problem) = told {
            return Check { name: "streams", status: "error", detail: format!("{problem}; restart the relay") };
        }
        let (open, max) = (self.hub.open_streams(), self.settings.streams_max);
        let status = if open * 10 >= max * 9 { "warn" } else { "ok" };
        let next = if status == "ok" { "" } else { "; beyond that they are refused: raise limits.streams" };
        Check {
            name: "streams",
            status,
            detail: format!("a commit was heard back; {open} of {max} streams open{next}"),
        }
    }

    /// How many plugins are how, and the first of what needs attention. GET /api/plugins has all of it.
    fn check_plugins(&self) -> Check {
        let plugins = self.plugins.current();
        let (mut active, mut rejected, mut quarantined, mut worries) = (0, 0, 0, Vec::new());
        let missing = plugins
            .missing()
            .map(|(id, reason)| format!("required policy {id} is not loaded, so every control is refused: {reason}"));
        worries.extend(missing);
        let status = if worries.is_empty() { "warn" } else { "error" };
        for plugin in plugins.statuses() {
            let (count, what) = match plugin.state {
                PluginState::Active => {
                    active += 1;
                    continue;
                }
                PluginState::Rejected => (&mut rejected, "was rejected"),
                PluginState::Quarantined => (&mut quarantined, "is quarantined"),
                _ => continue,
            };
            *count += 1;
            // Said already.
            if plugins.missing().any(|(id, _)| id == plugin.id) {
                continue;
            }
            let reason = plugin.error.map(|error| error.reason).unwrap_or_default();
            worries.push(format!("plugin {} {what}: {reason}", plugin.id));
        }
        worries.extend(plugins.warnings().iter().cloned());
        let mut detail = format!("{active} active");
        for (count, what) in [(rejected, "rejected"), (quarantined, "quarantined")] {
            if count > 0 {
                detail.push_str(&format!(", {count} {what}"));
            }
        }
        let more = worries.len().saturating_sub(WORRIES_MAX);
        for worry in worries.iter().take(WORRIES_MAX) {
            detail.push_str("; ");
            detail.push_str(worry);
        }
        if more > 0 {
            detail.push_str(&format!("; and {more} more, which GET /api/plugins lists"));
        }
        Check { name: "plugins", status: if worries.is_empty() { "ok" } else { status }, detail }
    }

    /// Why requests should go elsewhere, if they should; a line for whoever looks.
    pub async fn unready_reason(&self) -> Option<&'static str> {
        if self.draining.is_cancelled() {
            return Some("draining\n");
        }
        if !self.store.is_writable() {
            return Some("the store takes no writes\n");
        }
        if !self.store.is_in_place() {
            return Some("the database is not where it was\n");
        }
        // Nobody who was sent elsewhere would notice that there is room again.
        let fails = self.store.is_without_room() && self.examine().await.store.write.is_err();
        fails.then_some("the disk is full\n")
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
        let steadiness = self.store.clock().steadiness();
        for (direction, steps) in [("forward", steadiness.steps_forward), ("back", steadiness.steps_back)] {
            metrics::counter!(telemetry::metric::CLOCK_STEPS, "direction" => direction).absolute(steps);
        }
        metrics::gauge!(telemetry::metric::LOG_BYTES).set(self.store.log_bytes() as f64);
        if let Some(free) = self.store.free_bytes() {
            metrics::gauge!(telemetry::metric::DISK_FREE_BYTES).set(free as f64);
        }
        metrics::counter!(telemetry::metric::PAUSES).absolute(steadiness.pauses);
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

    /// Looks at the clock, and answers what happened to it since this was asked last.
    pub fn look_at_the_clock(&self) -> Vec<Jump> {
        self.store.clock().look();
        self.store.clock().news()
    }

    /// Has what is dated follow the clock. Every other write does so too.
    pub async fn follow_the_clock(&self) -> Result<(), Error> {
        Ok(self.store.keep_time().await?)
    }

    /// Reads the next small part of the database, to find damage before somebody needs what is damaged; answers how
    /// long to wait before the one after it.
    pub async fn scrub(&self) -> Result<Duration, Error> {
        Ok(self.store.scrub_step().await?)
    }

    /// Deletes what is too old or too much and gives the space back, in small steps with pauses between them, so
    /// that nobody waits long for the writer. Answers how many rows that were.
    pub async fn retain(&self) -> Result<usize, Error> {
        let retention = self.settings.retention;
        let (begun, mut rows, mut pages) = (Instant::now(), 0, 0);
        let (mut deleting, mut giving) = (Pace::default(), Pace::default());
        // In turn: the longer the list of free pages, the longer it takes to give one of them back.
        loop {
            let deleted = self.store.retain_step(retention, deleting.size).await?;
            rows += deleted.done;
            let is_behind =
                deleted.surplus > retention.messages_count / HURRY_SHARE || begun.elapsed() > RETAINED_EVERY;
            if deleted.more && !self.rest(deleting.after(deleted.took, deleted.latest, is_behind)).await {
                break;
            }
            let given = self.store.give_back_step(giving.size).await?;
            pages += given.done;
            // What came meanwhile is for the next time: otherwise it would never end where messages keep coming.
            let is_done = !deleted.more && !given.more;
            if is_done || given.more && !self.rest(giving.after(given.took, given.latest, is_behind)).await {
                break;
            }
        }
        if pages > 0 {
            self.store.shrink().await;
            tracing::info!(pages, "free space given back to the disk");
        }
        Ok(rows)
    }

    /// Lets others have their turn. False: the relay drains.
    async fn rest(&self, pause: Duration) -> bool {
        tokio::select! {
            () = tokio::time::sleep(pause) => true,
            () = self.draining.cancelled() => false,
        }
    }

    fn uptime_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
