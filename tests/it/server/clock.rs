//! A clock that a test sets, for a relay in this process.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use agent_relay::domain::time::{Clock, Reading, Timestamp};
use rustix::time::{ClockId, clock_gettime};

/// The clocks of this machine, set by a test to something else. Clones are one clock.
#[derive(Clone, Default)]
pub(crate) struct TestClock {
    ahead_ms: Arc<AtomicI64>,
    slept_ms: Arc<AtomicI64>,
}

impl TestClock {
    /// The clock for a relay that is started now: each start has seen nothing yet.
    pub(crate) fn clock(&self) -> Clock {
        let of_clock = self.clone();
        Clock::reading("a start of the machine", move || of_clock.read())
    }

    fn read(&self) -> Reading {
        let slept = self.slept_ms.load(Ordering::SeqCst);
        let monotonic = clock_gettime(ClockId::Monotonic);
        let elapsed_ms = monotonic.tv_sec * 1_000 + monotonic.tv_nsec / 1_000_000 + slept;
        Reading { wall: Timestamp::now() + slept + self.ahead_ms.load(Ordering::SeqCst), elapsed_ms }
    }

    /// The wall clock.
    pub(crate) fn now(&self) -> Timestamp {
        self.read().wall
    }

    /// Sets the wall clock forward, or back by a negative number.
    pub(crate) fn set_forward(&self, ms: i64) {
        self.ahead_ms.fetch_add(ms, Ordering::SeqCst);
    }

    /// Time passes: less than [`BLINK_MS`] is time in which somebody was here, more is a sleep.
    pub(crate) fn pass(&self, ms: i64) {
        self.slept_ms.fetch_add(ms, Ordering::SeqCst);
    }
}

/// Time that may pass between two looks without anybody taking it for a pause, on a loaded machine too.
pub(crate) const BLINK_MS: i64 = 2_000;
