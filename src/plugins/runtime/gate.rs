//! A plugin that fails too often is not asked for a while: every call is refused at once, without an
//! instance. After a pause one probe decides whether it is asked again.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::call_error::CallError;
use crate::domain::time::Timestamp;

/// How long a plugin in quarantine is left alone before it is tried again. The pause doubles each
/// time, and begins anew when a call has succeeded after all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pauses {
    /// The first.
    pub first: Duration,
    /// The longest.
    pub longest: Duration,
}

impl Default for Pauses {
    fn default() -> Self {
        Self { first: Duration::from_secs(30), longest: Duration::from_secs(600) }
    }
}

/// Whether the calls of one loaded plugin are let through.
pub(crate) struct Gate {
    pauses: Pauses,
    /// Looked at by every call, so it is not behind the lock.
    closed: AtomicBool,
    /// Whether the next pause is longer than the first.
    doubtful: AtomicBool,
    state: Mutex<State>,
}

struct State {
    /// The next pause.
    pause: Duration,
    shut: Option<Shut>,
}

struct Shut {
    /// When it is tried again.
    until: Instant,
    refusal: Refusal,
}

/// Why the calls of a plugin are refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// For the operator.
    pub(crate) reason: String,
    /// Since when, in milliseconds since the epoch.
    pub(crate) at: i64,
}

impl Gate {
    pub(crate) fn new(pauses: Pauses) -> Self {
        Self {
            pauses,
            closed: AtomicBool::new(false),
            doubtful: AtomicBool::new(false),
            state: Mutex::new(State { pause: pauses.first, shut: None }),
        }
    }

    /// Whether a call may be made.
    pub(crate) fn admit(&self) -> Result<(), CallError> {
        if self.closed.load(Ordering::Relaxed) { Err(CallError::Quarantined) } else { Ok(()) }
    }

    /// Refuses calls from now on. `reason` is told for how long, and says why. Answers for how long.
    pub(crate) fn close(&self, now: Instant, reason: impl FnOnce(Duration) -> String) -> Duration {
        let mut state = self.state();
        let pause = state.pause;
        state.pause = (2 * pause).min(self.pauses.longest);
        state.shut =
            Some(Shut { until: now + pause, refusal: Refusal { reason: reason(pause), at: Timestamp::now().as_ms() } });
        self.doubtful.store(true, Ordering::Relaxed);
        self.closed.store(true, Ordering::Relaxed);
        pause
    }

    /// Lets calls through again. The next pause stays as long as it has become.
    pub(crate) fn open(&self) {
        self.state().shut = None;
        self.closed.store(false, Ordering::Relaxed);
    }

    /// A call succeeded. The first one after a quarantine shows that the plugin is well.
    pub(crate) fn succeeded(&self) {
        if self.doubtful.load(Ordering::Relaxed) && !self.closed.load(Ordering::Relaxed) {
            self.state().pause = self.pauses.first;
            self.doubtful.store(false, Ordering::Relaxed);
        }
    }

    /// Why calls are refused, while they are.
    pub(crate) fn refusal(&self) -> Option<Refusal> {
        self.state().shut.as_ref().map(|shut| shut.refusal.clone())
    }

    /// When it is tried again, while calls are refused.
    pub(crate) fn until(&self) -> Option<Instant> {
        self.state().shut.as_ref().map(|shut| shut.until)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_a_success_ends_that() {
        let gate = Gate::new(Pauses::default());
        let now = Instant::now();
        let close = || gate.close(now, |_| "failed".to_owned()).as_secs();
        let pauses: Vec<u64> = (0..7).map(|_| close()).collect();
        assert_eq!(pauses, [30, 60, 120, 240, 480, 600, 600]);
        assert_eq!(gate.until(), Some(now + Duration::from_secs(600)));
        // What was under way when it closed proves nothing.
        gate.succeeded();
        assert_eq!(gate.admit(), Err(CallError::Quarantined));
        gate.open();
        assert_eq!((gate.admit(), gate.refusal()), (Ok(()), None));
        assert_eq!(close(), 600, "let through, but it never succeeded");
        gate.open();
        gate.succeeded();
        assert_eq!(close(), 30);
    }
}
