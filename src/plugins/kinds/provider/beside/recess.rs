//! A part of a plugin that can be done without is not asked for a while when it fails too often.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::super::super::super::runtime::CallError;

/// This many failures within [`WITHIN`] are too many.
const TOO_MANY: usize = 5;
/// How long a failure counts.
const WITHIN: Duration = Duration::from_secs(60);
/// How long it is left alone then.
const PAUSE: Duration = Duration::from_secs(60);

/// What of its failures is known.
#[derive(Default)]
pub(super) struct Recess(Mutex<State>);

#[derive(Default)]
struct State {
    recent: VecDeque<Instant>,
    until: Option<Instant>,
    /// Whether the operator was told of it and it has not been well since.
    told: bool,
}

/// What is to be told of a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tell {
    /// It was told before.
    Nothing,
    /// It is the first.
    Failed,
    /// From now on it is left alone for a while.
    Paused,
}

impl Recess {
    /// Whether it may be asked.
    pub(super) fn admit(&self, now: Instant) -> Result<(), CallError> {
        let mut state = self.state();
        match state.until {
            Some(until) if now < until => Err(CallError::Quarantined),
            _ => {
                state.until = None;
                Ok(())
            }
        }
    }

    /// It answered.
    pub(super) fn succeeded(&self) {
        let mut state = self.state();
        if state.told {
            state.told = false;
            state.recent.clear();
        }
    }

    /// It failed. What is the question's fault, or that of a busy machine, does not count.
    pub(super) fn failed(&self, now: Instant, error: &CallError) -> Tell {
        if matches!(
            error,
            CallError::Input { .. } | CallError::Overloaded | CallError::Limited | CallError::Quarantined
        ) {
            return Tell::Nothing;
        }
        let mut state = self.state();
        state.recent.retain(|at| now.duration_since(*at) < WITHIN);
        state.recent.push_back(now);
        if state.recent.len() >= TOO_MANY {
            state.recent.clear();
            state.until = Some(now + PAUSE);
            state.told = true;
            return Tell::Paused;
        }
        if std::mem::replace(&mut state.told, true) { Tell::Nothing } else { Tell::Failed }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_told_of_once_and_left_alone_after_five() {
        let (recess, now) = (Recess::default(), Instant::now());
        let failed = |after| recess.failed(now + Duration::from_secs(after), &CallError::Deadline(100));
        assert_eq!(recess.failed(now, &CallError::Overloaded), Tell::Nothing);
        assert_eq!([0, 1, 2, 3].map(failed), [Tell::Failed, Tell::Nothing, Tell::Nothing, Tell::Nothing]);
        assert_eq!(recess.admit(now + Duration::from_secs(3)), Ok(()));
        assert_eq!(failed(4), Tell::Paused);
        assert_eq!(recess.admit(now + Duration::from_secs(63)), Err(CallError::Quarantined));
        assert_eq!(recess.admit(now + Duration::from_secs(64)), Ok(()));
        recess.succeeded();
        assert_eq!(failed(65), Tell::Failed);
    }

    #[test]
    fn failures_that_are_long_ago_do_not_count() {
        let (recess, now) = (Recess::default(), Instant::now());
        for minute in 0..20 {
            assert_ne!(recess.failed(now + minute * WITHIN, &CallError::Deadline(100)), Tell::Paused);
        }
    }
}
