//! How a plugin's calls went: the numbers an operator sees, and the count of failures that puts a
//! plugin back.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Counter of calls: labels `plugin`, `func`, `outcome`.
pub const CALLS_TOTAL: &str = "plugin_calls_total";
/// Histogram of the time a call took, its fresh instance included: labels `plugin`, `func`.
pub const CALL_SECONDS: &str = "plugin_call_seconds";
/// Counter of loads: labels `result` (`activated` or `rejected`) and `stage`.
pub const RELOAD_TOTAL: &str = "plugin_reload_total";
/// Gauge of the generation that is active: label `plugin`.
pub const GENERATION: &str = "plugin_generation";

/// Calls the percentiles look back on: enough for a 99th percentile, small enough to sort at will.
const SAMPLES: usize = 512;
/// So many failures ...
const FAILURES_MAX: usize = 5;
/// ... within this time put a plugin back to its previous generation.
const FAILURES_WITHIN: Duration = Duration::from_secs(60);

/// The figures of one loaded plugin.
pub(super) struct Figures {
    calls: AtomicU64,
    failures: AtomicU64,
    /// Microseconds of the latest calls, as a ring.
    samples: Box<[AtomicU32; SAMPLES]>,
    recent_failures: Mutex<VecDeque<Instant>>,
}

impl Figures {
    pub(super) fn new() -> Self {
        Self {
            calls: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            samples: Box::new([const { AtomicU32::new(0) }; SAMPLES]),
            recent_failures: Mutex::default(),
        }
    }

    /// Counts a call that ran to its end, whatever that was.
    pub(super) fn record(&self, took: Duration) {
        let call = self.calls.fetch_add(1, Ordering::Relaxed);
        let micros = u32::try_from(took.as_micros()).unwrap_or(u32::MAX);
        self.samples[usize::try_from(call).unwrap_or(0) % SAMPLES].store(micros, Ordering::Relaxed);
    }

    /// Counts a failure. True when it is one too many for `now`; the count then starts anew.
    pub(super) fn failed(&self, now: Instant) -> bool {
        self.failures.fetch_add(1, Ordering::Relaxed);
        let mut recent = self.recent_failures.lock().unwrap_or_else(PoisonError::into_inner);
        recent.retain(|&at| now.duration_since(at) < FAILURES_WITHIN);
        recent.push_back(now);
        let too_many = recent.len() >= FAILURES_MAX;
        if too_many {
            recent.clear();
        }
        too_many
    }

    pub(super) fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    pub(super) fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    /// The median and the 99th percentile of the latest calls, in microseconds; 0 before the
    /// first.
    pub(super) fn percentiles(&self) -> (u64, u64) {
        let filled = usize::try_from(self.calls()).unwrap_or(SAMPLES).min(SAMPLES);
        let mut micros: Vec<u32> = self.samples[..filled].iter().map(|sample| sample.load(Ordering::Relaxed)).collect();
        micros.sort_unstable();
        let at = |percent: usize| {
            let rank = (micros.len() * percent).div_ceil(100).saturating_sub(1);
            micros.get(rank).copied().map_or(0, u64::from)
        };
        (at(50), at(99))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_latest_calls() {
        let figures = Figures::new();
        assert_eq!(figures.percentiles(), (0, 0));
        for micros in 1..=100 {
            figures.record(Duration::from_micros(micros));
        }
        assert_eq!(figures.percentiles(), (50, 99));
        for _ in 0..SAMPLES {
            figures.record(Duration::from_micros(7));
        }
        assert_eq!(figures.percentiles(), (7, 7));
        assert_eq!(figures.calls(), 100 + SAMPLES as u64);
    }

    #[test]
    fn only_failures_close_together_are_too_many() {
        let figures = Figures::new();
        let start = Instant::now();
        for slow in 0..20 {
            assert!(!figures.failed(start + Duration::from_secs(16 * slow)));
        }
        let later = start + Duration::from_secs(1_000);
        let verdicts: Vec<bool> = (0..6).map(|_| figures.failed(later)).collect();
        assert_eq!(verdicts, [false, false, false, false, true, false]);
        assert_eq!(figures.failures(), 26);
    }
}
