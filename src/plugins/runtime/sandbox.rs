//! One call of one plugin: room for it, a fresh store, a deadline, and an account of how it ended.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use metrics::{Gauge, Histogram};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit, mpsc};
use tracing::Instrument;
use wasmtime::{Store, UpdateDeadline};

use super::super::package::Limits;
use super::call_error::CallError;
use super::ending;
use super::engine::Engine;
use super::failed_questions::{FailedQuestions, Follows};
use super::gate::{Gate, Pauses};
use super::guest_log::clean;
use super::host::Host;
use super::inquiry::Inquiry;
use super::memory::HANDLES_MAX;
use super::statistics::CallStatistics;
use super::threads::MEMORY_MB_INLINE;
use super::ticker::Ticking;
use crate::telemetry::metric;

/// How long a call waits for room.
const WAIT_MAX: Duration = Duration::from_secs(1);
/// A guest that waits inside the host is not interrupted by the epoch; this much after its
/// deadline the call is dropped from outside.
const SLACK: Duration = Duration::from_millis(50);

/// A plugin failed too often in too short a time.
#[derive(Debug)]
pub(crate) struct FailureReport {
    pub(crate) plugin: Arc<str>,
    pub(crate) generation: u64,
    /// Whether that is enough to put it back. Otherwise it may be only the questions of one caller that it fails on,
    /// and a probe decides.
    pub(crate) decisive: bool,
    /// How the latest of these calls failed.
    pub(crate) latest: String,
}

/// What follows when a plugin fails too often.
#[derive(Clone, Debug)]
pub(crate) struct Supervision {
    /// Where that is reported.
    pub(crate) failure_reports: mpsc::Sender<FailureReport>,
    /// How long it is then left alone.
    pub(crate) pauses: Pauses,
}

/// Where the calls of one loaded plugin run.
pub(crate) struct Sandbox {
    engine: Engine,
    plugin: Arc<str>,
    /// Which load of its id this is, once it has been given one.
    pub(crate) generation: u64,
    settings: Arc<str>,
    limits: Limits,
    wasi: bool,
    pub(crate) statistics: CallStatistics,
    pub(crate) gate: Gate,
    failed_questions: FailedQuestions,
    gauges: Gauges,
    /// The most memory a call used since somebody last asked, in bytes.
    peak: AtomicUsize,
    room: Semaphore,
    failure_reports: mpsc::Sender<FailureReport>,
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
    pub(crate) fn new(
        engine: Engine,
        plugin: Arc<str>,
        settings: Arc<str>,
        limits: Limits,
        wasi: bool,
        supervision: Supervision,
    ) -> Self {
        Self {
            engine,
            gauges: Gauges::new(&plugin),
            plugin,
            generation: 0,
            settings,
            limits,
            wasi,
            statistics: CallStatistics::new(),
            gate: Gate::new(supervision.pauses),
            failed_questions: FailedQuestions::default(),
            peak: AtomicUsize::new(0),
            room: Semaphore::new(limits.calls as usize),
            failure_reports: supervision.failure_reports,
        }
    }

    /// Whether one of its calls may hold up a thread for longer than others can wait.
    pub(crate) fn is_heavy(&self) -> bool {
        self.limits.memory_mb > MEMORY_MB_INLINE
    }

    /// Runs what calls this plugin on threads of their own, where it may hold up nobody.
    pub(crate) async fn run_apart<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> T {
        self.engine.threads().run(work).await
    }

    /// Whether this plugin may be asked at all.
    pub(crate) fn admit(&self, func: &'static str) -> Result<(), CallError> {
        self.gate.admit().inspect_err(|error| self.count(func, error.code()))
    }

    /// Makes one call: `guest` makes an instance in the fresh store it is given and calls it, `check` judges
    /// what it answered.
    ///
    /// # Errors
    /// When the question is too large or failed a moment ago, there is no room for the call, the guest fails or
    /// exceeds a limit, or `check` does not accept the answer. Each is counted.
    pub(crate) async fn call<T, U>(
        &self,
        func: &'static str,
        inquiry: &Inquiry,
        guest: impl AsyncFnOnce(&mut Store<Host>) -> wasmtime::Result<T>,
        check: impl FnOnce(T) -> Result<U, CallError>,
    ) -> Result<U, CallError> {
        // At level debug: with the ordinary log this costs a call a comparison.
        let span = tracing::debug_span!("plugin.call", plugin.id = &*self.plugin, plugin.func = func);
        let call = async {
            let call = self.enter(func, inquiry).await?;
            // Dropped before `call` when the caller goes away: first the memory, then the room for it.
            let mut store = self.store(call.started, inquiry);
            let ended = tokio::time::timeout(self.budget() + SLACK, guest(&mut store)).await.ok();
            call.end(store, ended, check)
        };
        call.instrument(span).await
    }

    /// Room for a call about this.
    async fn enter<'a>(&'a self, func: &'static str, inquiry: &'a Inquiry) -> Result<Call<'a>, CallError> {
        if inquiry.bytes() > self.limits.input_kb as usize * 1024 {
            let error = CallError::Input { limit_kb: self.limits.input_kb };
            self.count(func, error.code());
            return Err(error);
        }
        let place = self.enter_as(func, inquiry)?;
        let room = async {
            let own = self.room.acquire().await.ok()?;
            Some((own, self.engine.calls().acquire().await.ok()?))
        };
        // Room that is free is taken without a timer, which on a starved machine may have run out
        // before anybody looks.
        let at_once = || Some((self.room.try_acquire().ok()?, self.engine.calls().try_acquire().ok()?));
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
        Ok(Call {
            sandbox: self,
            func,
            inquiry,
            started: Instant::now(),
            _place: place,
            _running: Running::new(&self.gauges.running),
            _ticking: self.engine.ticking(),
            _permits: permits,
        })
    }

    /// Lets a caller in, unless the plugin failed on this question of theirs a moment ago.
    fn enter_as(&self, func: &'static str, inquiry: &Inquiry) -> Result<Option<OwnedSemaphorePermit>, CallError> {
        let Some(asker) = inquiry.asker() else {
            return Ok(None);
        };
        let now = Instant::now();
        if let Some((error, follows)) = self.failed_questions.again(now, asker) {
            self.count(func, "remembered");
            self.follow(func, follows, &error);
            return Err(error);
        }
        self.failed_questions.enter(now, asker).inspect_err(|error| self.count(func, error.code()))
    }

    fn store(&self, started: Instant, inquiry: &Inquiry) -> Store<Host> {
        let (plugin, settings) = (Arc::clone(&self.plugin), Arc::clone(&self.settings));
        let mut store = self.engine.store(Host::new(plugin, settings, self.limits, self.wasi, inquiry));
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
    pub(crate) fn reject_answer(&self, func: &'static str, inquiry: &Inquiry, problem: &str) -> CallError {
        let error = CallError::Output(clean(problem));
        self.failed(func, inquiry, &error);
        error
    }

    /// Lets calls through again, those that failed a moment ago included.
    pub(crate) fn let_back(&self) {
        self.failed_questions.clear();
        self.gate.open();
    }

    /// The most memory a call used since this was last asked, in bytes.
    pub(crate) fn take_peak(&self) -> usize {
        self.peak.swap(0, Ordering::Relaxed)
    }

    fn failed(&self, func: &'static str, inquiry: &Inquiry, error: &CallError) {
        if !inquiry.puts_back() {
            // Whoever asked tells the operator, once.
            tracing::debug!(plugin.id = &*self.plugin, plugin.generation = self.generation, func, "plugin {error}");
            return self.statistics.failed();
        }
        tracing::warn!(
            plugin.id = &*self.plugin,
            plugin.generation = self.generation,
            func,
            caller = inquiry.asker().map(|asker| asker.name.as_str()),
            "plugin {error}"
        );
        self.statistics.failed();
        let follows = self.failed_questions.failed(Instant::now(), inquiry.asker(), error);
        self.follow(func, follows, error);
    }

    fn follow(&self, func: &'static str, follows: Follows, error: &CallError) {
        if follows != Follows::Nothing {
            // When the queue is full, earlier reports are being dealt with; a plugin that goes on failing reports
            // again.
            let _ = self.failure_reports.try_send(FailureReport {
                plugin: Arc::clone(&self.plugin),
                generation: self.generation,
                decisive: follows == Follows::PutBack,
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

/// A call that is running.
struct Call<'a> {
    sandbox: &'a Sandbox,
    func: &'static str,
    inquiry: &'a Inquiry,
    started: Instant,
    /// The one place of a caller who has no more.
    _place: Option<OwnedSemaphorePermit>,
    _running: Running,
    _ticking: Ticking<'a>,
    _permits: (SemaphorePermit<'a>, SemaphorePermit<'a>),
}

impl Call<'_> {
    /// Ends the call: drops the store, judges the answer with `check`, and counts.
    fn end<T, U>(
        self,
        store: Store<Host>,
        // Nothing when the guest did not end in time.
        ended: Option<wasmtime::Result<T>>,
        check: impl FnOnce(T) -> Result<U, CallError>,
    ) -> Result<U, CallError> {
        let took = self.started.elapsed();
        let sandbox = self.sandbox;
        store.data().end_lines();
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
        sandbox.statistics.record(took);
        metrics::histogram!(metric::PLUGIN_SECONDS, "plugin" => sandbox.plugin.to_string(), "func" => self.func)
            .record(took.as_secs_f64());
        sandbox.count(self.func, result.as_ref().map_or_else(CallError::code, |_| "ok"));
        match &result {
            Ok(_) if self.inquiry.puts_back() => sandbox.gate.succeeded(),
            Ok(_) => {}
            Err(error) => sandbox.failed(self.func, self.inquiry, error),
        }
        result
    }

    fn failure(&self, store: &Store<Host>, error: &wasmtime::Error) -> CallError {
        tracing::debug!(
            plugin.id = &*self.sandbox.plugin,
            func = self.func,
            memory.peak = store.data().memory.peak,
            "{error:?}"
        );
        ending::explain(error, store.data(), self.sandbox.limits)
    }
}
