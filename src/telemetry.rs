//! What the relay says about itself: its log on standard error, and its metrics.
//!
//! Anybody may name the constants in [`metric`]. Nothing here listens: `/metrics` asks
//! [`render_metrics`] for the text.

use std::io::IsTerminal;
use std::str::FromStr;
use std::sync::OnceLock;

use prometheus::{HistogramOpts, HistogramVec, Registry, TextEncoder};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// What is logged, and how.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// What is logged.
    pub filter: Filter,
    /// How a line looks.
    pub format: LogFormat,
}

/// How a line of the log looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people; coloured on a terminal unless `NO_COLOR` is set.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// What is logged: a level, or directives such as `info,agent_relay::plugins=debug`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter(String);

/// A filter that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error(
    "`{text}` is not a log filter ({problem}); allowed are off, error, warn, info, debug, trace, or directives such as info,agent_relay::plugins=debug"
)]
pub struct FilterError {
    text: String,
    problem: String,
}

impl Filter {
    /// Checks a filter.
    ///
    /// # Errors
    ///
    /// When the text is no filter. The subscriber would take a misspelt level for the name of a
    /// module and log nothing else, so a single word must be a level.
    pub fn parse(text: &str) -> Result<Self, FilterError> {
        let refuse = |problem: String| FilterError { text: text.to_owned(), problem };
        let word = text.trim();
        if !word.contains(['=', ',', '[', ':']) && LevelFilter::from_str(word).is_err() {
            return Err(refuse("no such level".into()));
        }
        EnvFilter::builder().parse(word).map_err(|error| refuse(error.to_string()))?;
        Ok(Self(word.to_owned()))
    }

    /// Filters by level and module where that is all that is said. One that also knows spans and fields looks at
    /// every span that is entered, on behalf of all threads.
    fn to_layers(&self) -> (Option<Targets>, Option<EnvFilter>) {
        // The file watcher writes a line for each event that it cannot place; what matters of them is said by
        // whoever watches.
        let text = if self.0.contains("notify") { self.0.clone() } else { format!("{},notify=off", self.0) };
        match text.parse() {
            Ok(targets) if !text.contains('[') => (Some(targets), None),
            _ => (None, Some(EnvFilter::new(&text))),
        }
    }
}

impl Default for Filter {
    fn default() -> Self {
        Self("info".into())
    }
}

/// Starts the log of this process, on standard error. A second call changes nothing.
pub fn start_log(options: &Options) {
    let (by_module, by_span) = options.filter.to_layers();
    let filtered = tracing_subscriber::registry().with(by_module).with(by_span);
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    // An error means that a subscriber is already in place: in tests, many relays share a process.
    let _ = match options.format {
        LogFormat::Text => {
            let colour =
                std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
            filtered.with(lines.with_ansi(colour)).try_init()
        }
        LogFormat::Json => filtered.with(lines.json().flatten_event(true)).try_init(),
    };
}

/// Starts counting. Before the first call every metric is dropped; later calls change nothing.
pub fn start_metrics() {
    metrics();
}

/// Every metric in Prometheus' text format.
pub fn render_metrics() -> String {
    metrics().map_or_else(String::new, |registry| {
        TextEncoder::new().encode_to_string(&registry.gather()).unwrap_or_else(|error| {
            tracing::error!(%error, "metrics cannot be written as text");
            String::new()
        })
    })
}

/// The process has one recorder, because the `metrics` macros speak to a global one. `None` when
/// a program that uses the relay as a library has installed its own.
fn metrics() -> Option<&'static Registry> {
    static REGISTRY: OnceLock<Option<Registry>> = OnceLock::new();
    let start = || {
        let registry = Registry::new();
        let mut recorder = metrics_prometheus::Recorder::builder().with_registry(&registry);
        for (name, help, labels, buckets) in metric::HISTOGRAMS {
            let options = HistogramOpts::new(name, help).buckets(buckets.to_vec());
            recorder = recorder.try_with_metric(HistogramVec::new(options, labels).ok()?).ok()?;
        }
        metrics::set_global_recorder(recorder.build()).ok()?;
        metric::describe();
        Some(registry)
    };
    REGISTRY.get_or_init(start).as_ref()
}

/// From the shortest plugin call to the longest drain.
const SECONDS_BUCKETS: [f64; 14] =
    [0.000_05, 0.000_2, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0];

/// From the first page of a small guest to the most that any may have.
const MEMORY_BUCKETS: [f64; 10] = {
    const MIB: f64 = 1_048_576.0;
    [MIB / 16.0, MIB / 4.0, MIB, 2.0 * MIB, 4.0 * MIB, 16.0 * MIB, 64.0 * MIB, 128.0 * MIB, 256.0 * MIB, 512.0 * MIB]
};

/// From a lone write to a full batch.
const COUNT_BUCKETS: [f64; 10] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0];

/// The names of all metrics, with their labels. Seconds and bytes, as Prometheus has it.
pub mod metric {
    use metrics::{Unit, describe_counter, describe_gauge};

    use super::{COUNT_BUCKETS, MEMORY_BUCKETS, SECONDS_BUCKETS};

    /// Time from a request's head to its answer's head: `method`, `route`, `status`.
    pub const HTTP_SECONDS: &str = "agent_relay_http_request_seconds";
    /// Time of a call of a tool, from its arguments to its text: `tool`, `outcome`.
    pub const TOOL_SECONDS: &str = "agent_relay_mcp_tool_seconds";
    /// Open connections, without event streams.
    pub const CONNECTIONS: &str = "agent_relay_connections";
    /// Connections that had to go for others: `limit`, the setting that was reached.
    pub const CONNECTIONS_ENDED: &str = "agent_relay_connections_ended_total";
    /// What bodies and answers take up in memory.
    pub const BUFFERS: &str = "agent_relay_buffers_bytes";
    /// Open event streams.
    pub const STREAMS: &str = "agent_relay_streams";
    /// Times a slow stream went back to reading from the store.
    pub const STREAM_LAGS: &str = "agent_relay_stream_lags_total";
    /// Events committed.
    pub const EVENTS: &str = "agent_relay_events_total";
    /// Time of one commit with all its writes.
    pub const COMMIT_SECONDS: &str = "agent_relay_store_commit_seconds";
    /// Writes in one commit.
    pub const COMMIT_WRITES: &str = "agent_relay_store_commit_writes";
    /// Writes waiting for the database.
    pub const WRITE_QUEUE: &str = "agent_relay_store_write_queue";
    /// Size of the log in front of the database.
    pub const LOG_BYTES: &str = "agent_relay_store_log_bytes";
    /// Room on the disk of the data directory.
    pub const DISK_FREE_BYTES: &str = "agent_relay_disk_free_bytes";
    /// Times that the wall clock was set: `direction`.
    pub const CLOCK_STEPS: &str = "agent_relay_clock_steps_total";
    /// Times that the relay did not run: the machine slept, or the program was stopped.
    pub const PAUSES: &str = "agent_relay_pauses_total";
    /// Control requests decided: `kind`, `outcome`.
    pub const CONTROLS: &str = "agent_relay_controls_total";
    /// Attempts to deliver a callback: `outcome`.
    pub const CALLBACK_ATTEMPTS: &str = "agent_relay_callback_attempts_total";
    /// Plugin calls: `plugin`, `func`, `outcome`.
    pub const PLUGIN_CALLS: &str = "agent_relay_plugin_calls_total";
    /// Time of a plugin call, its fresh instance included: `plugin`, `func`.
    pub const PLUGIN_SECONDS: &str = "agent_relay_plugin_call_seconds";
    /// Time from the start of a plugin call to its fresh instance: `plugin`.
    pub const PLUGIN_INSTANTIATE_SECONDS: &str = "agent_relay_plugin_instantiate_seconds";
    /// The most memory a plugin call had at once: `plugin`.
    pub const PLUGIN_MEMORY: &str = "agent_relay_plugin_call_memory_bytes";
    /// Plugin calls running now: `plugin`.
    pub const PLUGIN_RUNNING: &str = "agent_relay_plugin_calls_running";
    /// The generation of each active plugin; 0 when it is gone: `plugin`.
    pub const PLUGIN_GENERATION: &str = "agent_relay_plugin_generation";
    /// Times that a plugin came into a state: `plugin`, `state`.
    pub const PLUGIN_TRANSITIONS: &str = "agent_relay_plugin_transitions_total";
    /// What became of candidates and active plugins: `result`, `stage`.
    pub const PLUGIN_RELOADS: &str = "agent_relay_plugin_reloads_total";

    /// Each histogram with its help, its labels and its buckets.
    pub(super) const HISTOGRAMS: [(&str, &str, &[&str], &[f64]); 7] = [
        (HTTP_SECONDS, "time to a request's answer", &["method", "route", "status"], &SECONDS_BUCKETS),
        (TOOL_SECONDS, "time of a call of a tool", &["tool", "outcome"], &SECONDS_BUCKETS),
        (COMMIT_SECONDS, "time of one commit", &[], &SECONDS_BUCKETS),
        (COMMIT_WRITES, "writes in one commit", &[], &COUNT_BUCKETS),
        (PLUGIN_SECONDS, "time of a plugin call", &["plugin", "func"], &SECONDS_BUCKETS),
        (PLUGIN_INSTANTIATE_SECONDS, "time to a plugin call's fresh instance", &["plugin"], &SECONDS_BUCKETS),
        (PLUGIN_MEMORY, "the most memory of a plugin call", &["plugin"], &MEMORY_BUCKETS),
    ];

    pub(super) fn describe() {
        describe_gauge!(CONNECTIONS, "open connections");
        describe_counter!(CONNECTIONS_ENDED, "connections that had to go for others");
        describe_gauge!(BUFFERS, Unit::Bytes, "bodies and answers in memory");
        describe_gauge!(STREAMS, "open event streams");
        describe_counter!(STREAM_LAGS, "slow streams sent back to the store");
        describe_counter!(EVENTS, "events committed");
        describe_gauge!(WRITE_QUEUE, "writes waiting for the database");
        describe_gauge!(LOG_BYTES, Unit::Bytes, "size of the log in front of the database");
        describe_gauge!(DISK_FREE_BYTES, Unit::Bytes, "room on the disk of the data directory");
        describe_counter!(CLOCK_STEPS, "times that the wall clock was set");
        describe_counter!(PAUSES, "times that the relay did not run for a while");
        describe_counter!(CONTROLS, "control requests decided");
        describe_counter!(CALLBACK_ATTEMPTS, "attempts to deliver a callback");
        describe_counter!(PLUGIN_CALLS, "plugin calls");
        describe_gauge!(PLUGIN_RUNNING, "plugin calls running now");
        describe_gauge!(PLUGIN_GENERATION, "generation of each active plugin");
        describe_counter!(PLUGIN_TRANSITIONS, "plugins that came into a state");
        describe_counter!(PLUGIN_RELOADS, "plugin candidates taken up or turned away");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_level_is_refused_not_taken_for_a_module() {
        let error = Filter::parse("inof").unwrap_err().to_string();
        assert!(error.contains("`inof`") && error.contains("trace"), "{error}");
        assert!(Filter::parse("info,agent_relay=nonsense").is_err());
        for good in ["info", "OFF", "warn,agent_relay::plugins=trace", "agent_relay[{agent.id=x}]=debug"] {
            assert!(Filter::parse(good).is_ok(), "{good}");
        }
    }

    #[test]
    fn what_is_counted_can_be_read() {
        start_metrics();
        metrics::counter!(metric::EVENTS).increment(3);
        metrics::histogram!(metric::COMMIT_SECONDS).record(0.003);
        let text = render_metrics();
        assert!(text.contains("# HELP agent_relay_events_total events committed"), "{text}");
        assert!(text.contains("agent_relay_events_total 3"), "{text}");
        assert!(text.contains("agent_relay_store_commit_seconds_bucket{le=\"0.005\"} 1"), "{text}");
    }
}
