//! How long to wait before the next try.

use std::time::Duration;

/// The longest pause between tries, unless the relay asks for a longer one.
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// Until the relay says how long.
const RETRY_DEFAULT: Duration = Duration::from_secs(1);
/// What the relay may ask for: less is a busy loop, more is a client that is lost.
const RETRY_MIN: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(60);

/// Pauses that double with each failure, from what the relay asked for.
#[derive(Debug)]
pub struct Backoff {
    retry: Duration,
    failures: u32,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { retry: RETRY_DEFAULT, failures: 0 }
    }
}

impl Backoff {
    /// The relay said how long to wait at least.
    pub fn set_retry(&mut self, retry: Duration) {
        self.retry = retry.clamp(RETRY_MIN, RETRY_MAX);
    }

    /// It worked.
    pub fn reset(&mut self) {
        self.failures = 0;
    }

    /// The pause before the next try, at least `asked_for`. It is never shorter than the relay's `retry`,
    /// and up to half longer than it need be, so that the clients of a relay that was away do not come
    /// back in one wave.
    pub fn next(&mut self, asked_for: Option<Duration>) -> Duration {
        let doubled = self.retry.saturating_mul(1 << self.failures.min(16));
        self.failures = self.failures.saturating_add(1);
        let pause = doubled.min(PAUSE_MAX).max(self.retry).max(asked_for.unwrap_or_default());
        let mut byte = [0];
        // Jitter is a courtesy; without randomness there is none.
        let _ = getrandom::fill(&mut byte);
        pause + pause.mul_f64(f64::from(byte[0]) / 512.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_bound_and_begin_again() {
        let mut backoff = Backoff::default();
        backoff.set_retry(Duration::from_secs(2));
        let mut pause = |asked_for| backoff.next(asked_for);
        for seconds in [2, 4, 8, 16, 30, 30] {
            let (least, taken) = (Duration::from_secs(seconds), pause(None));
            assert!((least..=least.mul_f64(1.5)).contains(&taken), "{taken:?} for {seconds} s");
        }
        assert!(pause(Some(Duration::from_secs(50))) >= Duration::from_secs(50), "the relay asked for it");
        backoff.reset();
        assert!(backoff.next(None) < Duration::from_secs(4));
    }

    #[test]
    fn the_relay_cannot_make_a_client_spin_or_vanish() {
        let mut backoff = Backoff::default();
        backoff.set_retry(Duration::ZERO);
        assert!(backoff.next(None) >= RETRY_MIN);
        backoff.set_retry(Duration::MAX);
        assert!(backoff.next(None) <= RETRY_MAX.mul_f64(1.5));
    }
}
