//! How a plugin's calls went: the numbers an operator sees.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

/// Calls the percentiles look back on: enough for a 99th percentile, small enough to sort at will.
const SAMPLES: usize = 512;
/// The statistics of one loaded plugin.
pub(crate) struct CallStatistics {
    calls: AtomicU64,
    failures: AtomicU64,
    /// Microseconds of the latest calls, as a ring.
    samples: Box<[AtomicU32; SAMPLES]>,
}

impl CallStatistics {
    pub(crate) fn new() -> Self {
        Self {
            calls: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            samples: Box::new([const { AtomicU32::new(0) }; SAMPLES]),
        }
    }

    /// Counts a call that ran to its end, whatever that was.
    pub(crate) fn record(&self, took: Duration) {
        let call = self.calls.fetch_add(1, Ordering::Relaxed);
        let micros = u32::try_from(took.as_micros()).unwrap_or(u32::MAX);
        self.samples[usize::try_from(call).unwrap_or(0) % SAMPLES].store(micros, Ordering::Relaxed);
    }

    /// Counts a call that gave no usable answer.
    pub(crate) fn failed(&self) {
        self.failures.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    pub(crate) fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    /// The median and the 99th percentile of the latest calls, in microseconds; 0 before the
    /// first.
    pub(crate) fn percentiles(&self) -> (u64, u64) {
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
        let statistics = CallStatistics::new();
        assert_eq!(statistics.percentiles(), (0, 0));
        for micros in 1..=100 {
            statistics.record(Duration::from_micros(micros));
        }
        assert_eq!(statistics.percentiles(), (50, 99));
        for _ in 0..SAMPLES {
            statistics.record(Duration::from_micros(7));
        }
        assert_eq!(statistics.percentiles(), (7, 7));
        assert_eq!(statistics.calls(), 100 + SAMPLES as u64);
    }
}
