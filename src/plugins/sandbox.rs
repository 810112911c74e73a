//! One call of one plugin: room for it, a fresh store, a deadline, and an account of how it ended.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use metrics::{Gauge, Histogram};
use serde::Serialize;
use tokio::sync::{Semaphore, SemaphorePermit, mpsc};
use wasmtime::{Store, Trap, UpdateDeadline};

use super::engine::{Engine, Ticking};
use super::figures::Figures;
use super::guest_log::clean;
use super::host::Host;
use super::limits::{HANDLES_MAX, Limits};
use super::quarantine::{Gate, Pauses};
use super::threads::MEMORY_MB_INLINE;
use crate::telemetry::metric;

/// How long a call waits for room.
const WAIT_MAX: Duration = Duration::from_secs(1);
/// A guest that waits inside the host is not interrupted by the epoch; this much after its
/// deadline the call is dropped from outside.
const SLACK: Duration = Duration::from_millis(50);

/// Why a call gave no usable answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The guest gave up: a panic, a stack overflow, an unreachable instruction.
    #[error("trapped: {0}")]
    Trap(String),
    /// The call took too long.
    #[error("did not answer within {0} ms")]
    Deadline(u32),
    /// The guest asked for more memory than a call may have.
    #[error("wanted more than {limit_mb} MiB of memory")]
    Memory {
        /// The limit, in MiB.
        limit_mb: u32,
    },
    /// It would be asked more than it may be. Not the plugin's fault.
    #[error("is not asked: the question has more than the {limit_kb} KiB of limits.input_kb")]
    Input {
        /// The limit, in KiB.
        limit_kb: u32,
    },
    /// The answer is malformed, too large, or not allowed.
    #[error("gave an unusable answer: {0}")]
    Output(String),
    /// There was no room for the call within a second. Not the plugin's fault.
    #[error("is busy with as many calls as it may have; try again")]
    Overloaded,
    /// It failed too often in too short a time and is not asked for a while.
    #[error("is quarantined because it failed five times within a minute; GET /api/plugins tells why and until when")]
    Quarantined,
}

impl CallError {
    /// A stable word for metrics and verdicts.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Trap(_) => "trap",
            Self::Deadline(_) => "deadline",
            Self::Memory { .. } => "memory",
            Self::Input { .. } => "input",
            Self::Output(_) => "output",
            Self::Overloaded => "overloaded",
            Self::Quarantined => "quarantined",
        }
    }
}

/// A plugin failed too often in too short a time.
#[derive(Debug)]
pub(super) struct Trouble {
    pub(super) plugin: Arc<str>,
    pub(super) generation: u64,
    /// How the latest of these calls failed.
    pub(super) latest: String,
}

/// Where the calls of one loaded plugin run.
pub(super) struct Sandbox {
    pub(super) engine: Engine,
    pub(super) plugin: Arc<str>,
    pub(super) generation: u64,
    pub(super) settings: Arc<str>,
    pub(super) limits: Limits,
    pub(super) wasi: bool,
    pub(super) figures: Figures,
    pub(super) gate: Gate,
    gauges: Gauges,
    /// The most memory a call used since somebody last asked, in bytes.
    peak: AtomicUsize,
    slots: Semaphore,
    troubles: mpsc::Sender<Trouble>,
}

/// What is measured of each call, under names that are looked up once.
struct Gauges {
    running: Gauge,
    instantiate: Histogram,
    memory: Histogram,
}

impl Gauges {
    fn new(plugin: &str) -> Self {
        let plugin = plugin.to_owned();
        Self {
            running: metrics::gauge!(metric::PLUGIN_RUNNING, "plugin" => plugin.clone()),
            instantiate: metrics::histogram!(metric::PLUGIN_INSTANTIATE_SECONDS, "plugin" => plugin.clone()),
            memory: metrics::histogram!(metric::PLUGIN_MEMORY, "plugin" => plugin),
        }
    }
}

/// Counts a call for as long as it runs, however it ends.
struct Running(Gauge);

impl Running {
    fn new(gauge: &Gauge) -> Self {
        gauge.increment(1.0);
        Self(gauge.clone())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}

impl Sandbox {
    pub(super) fn new(
        engine: Engine,
        plugin: Arc<str>,
        generation: u64,
        settings: Arc<str>,
        limits: Limits,
        wasi: bool,
        (troubles, pauses): (mpsc::Sender<Trouble>, Pauses),
    ) -> Self {
        Self {
            engine,
            gauges: Gauges::new(&plugin),
            plugin,
            generation,
            settings,
            limits,
            wasi,
            figures: Figures::new(),
            gate: Gate::new(pauses),
            peak: AtomicUsize::new(0),
            slots: Semaphore::new(limits.calls as usize),
            troubles,
        }
    }

    /// Whether one of its calls may hold up a thread for longer than others can wait.
    pub(super) fn is_heavy(&self) -> bool {
        self.limits.memory_mb > MEMORY_MB_INLINE
    }

    /// Whether this plugin may be asked at all.
    pub(super) fn admit(&self, func: &'static str) -> Result<(), CallError> {
        self.gate.admit().inspect_err(|error| self.count(func, error.code()))
    }

    /// Room for a call that is given this many bytes, and a store that no call has used before.
    ///
    /// The store is given away beside the call, so that dropping the caller's future drops it
    /// before the room it takes.
    pub(super) async fn enter(
        &self,
        func: &'static str,
        input_bytes: usize,
    ) -> Result<(Call<'_>, Store<Host>), CallError> {
        if input_bytes > self.limits.input_kb as usize * 1024 {
            let error = CallError::Input { limit_kb: self.limits.input_kb };
            self.count(func, error.code());
            return Err(error);
        }
        let room = async {
            let own = self.slots.acquire().await.ok()?;
            Some((own, self.engine.calls().acquire().await.ok()?))
        };
        // Room that is free is taken without a timer, which on a starved machine may have run out
        // before anybody looks.
        let at_once = || Some((self.slots.try_acquire().ok()?, self.engine.calls().try_acquire().ok()?));
        let permits = match at_once() {
            Some(permits) => permits,
            None => match tokio::time::timeout(WAIT_MAX, room).await {
                Ok(Some(permits)) => permits,
                _ => {
                    self.count(func, "overloaded");
                    return Err(CallError::Overloaded);
                }
            },
        };
        let call = Call {
            sandbox: self,
            func,
            started: Instant::now(),
            _running: Running::new(&self.gauges.running),
            _ticking: self.engine.ticking(),
            _permits: permits,
        };
        let store = self.store(call.started);
        Ok((call, store))
    }

    fn store(&self, started: Instant) -> Store<Host> {
        let mut store =
            self.engine.store(Host::new(Arc::clone(&self.plugin), Arc::clone(&self.settings), self.limits, self.wasi));
        store.limiter(|host| &mut host.memory);
        store.set_hostcall_fuel(self.limits.output_kb as usize * 1024);
        store.set_max_component_handles(HANDLES_MAX);
        // Yielding alone never ends a loop, and interrupting alone starves every other task of
        // this thread until then: so both.
        let budget = self.budget();
        store.epoch_deadline_callback(move |_| {
            Ok(if started.elapsed() < budget {
                UpdateDeadline::YieldCustom(1, Box::pin(tokio::task::yield_now()))
            } else {
                UpdateDeadline::Interrupt
            })
        });
        store.set_epoch_deadline(1);
        store
    }

    /// Counts an answer that turned out unusable after its call had ended.
    pub(super) fn reject_answer(&self, func: &'static str, problem: &str) -> CallError {
        let error = CallError::Output(clean(problem));
        self.failed(func, &error);
        error
    }

    /// The most memory a call used since this was last asked, in bytes.
    pub(super) fn take_peak(&self) -> usize {
        self.peak.swap(0, Ordering::Relaxed)
    }

    fn failed(&self, func: &'static str, error: &CallError) {
        tracing::warn!(plugin.id = &*self.plugin, plugin.generation = self.generation, func, "plugin {error}");
        if self.figures.failed(Instant::now()) {
            // A full queue means that trouble is already being looked at.
            let _ = self.troubles.try_send(Trouble {
                plugin: Arc::clone(&self.plugin),
                generation: self.generation,
                latest: format!("{func} {error}"),
            });
        }
    }

    fn budget(&self) -> Duration {
        Duration::from_millis(u64::from(self.limits.deadline_ms))
    }

    fn count(&self, func: &'static str, outcome: &'static str) {
        metrics::counter!(metric::PLUGIN_CALLS, "plugin" => self.plugin.to_string(), "func" => func, "outcome" => outcome)
            .increment(1);
    }
}

/// How large a question is: the bytes of its JSON, which nobody keeps.
pub(super) fn size_of(question: &impl Serialize) -> usize {
    struct Count(usize);
    impl std::io::Write for Count {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut count = Count(0);
    // What cannot be written as JSON is asked nobody.
    serde_json::to_writer(&mut count, question).map_or(usize::MAX, |()| count.0)
}

/// A call that is running.
pub(super) struct Call<'a> {
    sandbox: &'a Sandbox,
    func: &'static str,
    started: Instant,
    _running: Running,
    _ticking: Ticking<'a>,
    _permits: (SemaphorePermit<'a>, SemaphorePermit<'a>),
}

/// How the guest's part of a call ended: in time or not, and if so, how.
pub(super) type Ended<T> = Option<wasmtime::Result<T>>;

impl Call<'_> {
    /// Runs the guest's part, for as long as it may take.
    pub(super) async fn run<T>(&self, work: impl Future<Output = wasmtime::Result<T>>) -> Ended<T> {
        tokio::time::timeout(self.sandbox.budget() + SLACK, work).await.ok()
    }

    /// Ends the call: drops the store, judges the answer with `check`, and counts.
    pub(super) fn end<T, U>(
        self,
        store: Store<Host>,
        ended: Ended<T>,
        check: impl FnOnce(T) -> Result<U, CallError>,
    ) -> Result<U, CallError> {
        let took = self.started.elapsed();
        let sandbox = self.sandbox;
        let result = match ended {
            Some(Ok(answer)) => check(answer),
            Some(Err(error)) => Err(self.failure(&store, &error)),
            None => Err(CallError::Deadline(sandbox.limits.deadline_ms)),
        };
        if let Some(instance_at) = store.data().instance_at {
            sandbox.gauges.instantiate.record(instance_at.duration_since(self.started).as_secs_f64());
        }
        sandbox.gauges.memory.record(store.data().memory.peak as f64);
        let dropped = store.data().log.dropped();
        sandbox.peak.fetch_max(store.data().memory.peak, Ordering::Relaxed);
        drop(store);
        if dropped > 0 {
            tracing::warn!(plugin.id = &*sandbox.plugin, func = self.func, dropped, "plugin wrote too many log lines");
        }
        sandbox.figures.record(took);
        metrics::histogram!(metric::PLUGIN_SECONDS, "plugin" => sandbox.plugin.to_string(), "func" => self.func)
            .record(took.as_secs_f64());
        sandbox.count(self.func, result.as_ref().map_or_else(CallError::code, |_| "ok"));
        match &result {
            Ok(_) => sandbox.gate.succeeded(),
            Err(error) => sandbox.failed(self.func, error),
        }
        result
    }

    fn failure(&self, store: &Store<Host>, error: &wasmtime::Error) -> CallError {
        let limits = self.sandbox.limits;
        tracing::debug!(
            plugin.id = &*self.sandbox.plugin,
            func = self.func,
            memory.peak = store.data().memory.peak,
            "{error:?}"
        );
        if let Some(Trap::Interrupt) = error.downcast_ref() {
            return CallError::Deadline(limits.deadline_ms);
        }
        if store.data().memory.denied {
            return CallError::Memory { limit_mb: limits.memory_mb };
        }
        if let Some(exit) = error.downcast_ref::<wasmtime_wasi::I32Exit>() {
            return CallError::Trap(format!("exited with status {}", exit.0));
        }
        match error.downcast_ref::<Trap>() {
            Some(trap) => CallError::Trap(trap.to_string()),
            None => CallError::Output(clean(&error.root_cause().to_string())),
        }
    }
}
