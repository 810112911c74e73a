//! Which questions a plugin failed on of late, and what follows from that.
//!
//! Whoever asks decides what is asked, so one of them must not be able to take a plugin away from everybody:
//!
//! - a question that failed is answered with the same failure for a while, without a call;
//! - a plugin is put back for [`TOO_MANY`] different questions within [`WITHIN`], of which those of one caller count
//!   for no more than [`COUNTED_OF_ONE`];
//! - as many failures of whatever kind have the plugin asked something harmless by the relay, at most once in
//!   [`PROBED_EVERY`]: one that fails at that too is put back, even if nobody but one caller uses the relay;
//! - a caller on whose different questions it failed that often is let in for one call at a time, so that the
//!   plugin's other places are left to others.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::call_error::CallError;
use super::inquiry::Asker;

/// This many failures within [`WITHIN`] are too many.
const TOO_MANY: usize = 5;
/// How long a failure counts.
const WITHIN: Duration = Duration::from_secs(60);
/// Questions of one caller that count towards [`TOO_MANY`].
const COUNTED_OF_ONE: usize = 3;
/// How long a failed question is answered without a call.
const REMEMBERED: Duration = Duration::from_secs(10);
/// Between two questions of the relay's own because of failures.
const PROBED_EVERY: Duration = Duration::from_secs(10);
/// Failed questions that are known; of one caller, and together.
const OF_ONE_MAX: usize = 16;
const QUESTIONS_MAX: usize = 64;

/// What follows from a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Follows {
    Nothing,
    /// The plugin is asked something harmless, which decides.
    Probe,
    /// The plugin is put back.
    PutBack,
}

/// The failed questions of one loaded plugin.
#[derive(Default)]
pub(crate) struct FailedQuestions {
    /// Looked at by every call, so it is not behind the lock.
    any: AtomicBool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The latest failure last.
    questions: VecDeque<Failed>,
    /// When the latest failures were, those without a call included.
    recent: VecDeque<Instant>,
    probed: Option<Instant>,
}

struct Failed {
    asker: Asker,
    at: Instant,
    /// How often it was asked and failed.
    times: u32,
    error: CallError,
    /// The one place of its asker, once there is only one.
    place: Option<Arc<Semaphore>>,
}

impl FailedQuestions {
    /// How this question failed a moment ago, if it did. It counts as a failure again.
    pub(crate) fn again(&self, now: Instant, asker: &Asker) -> Option<(CallError, Follows)> {
        if !self.any.load(Ordering::Relaxed) {
            return None;
        }
        let mut state = self.state();
        let failed = state.questions.iter().find(|failed| failed.asker == *asker)?;
        // A busy machine may be the reason once.
        let is_remembered = failed.times > 1 || !matches!(failed.error, CallError::Deadline(_));
        if now.duration_since(failed.at) >= REMEMBERED || !is_remembered {
            return None;
        }
        let error = failed.error.clone();
        Some((error, state.count(now)))
    }

    /// Room for a call of this caller: only of one at a time if it failed on many questions of theirs.
    pub(crate) fn enter(&self, now: Instant, asker: &Asker) -> Result<Option<OwnedSemaphorePermit>, CallError> {
        if !self.any.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let mut state = self.state();
        state.forget(now);
        self.any.store(!state.is_empty(), Ordering::Relaxed);
        let of_asker = || state.questions.iter().filter(|failed| failed.asker.name == asker.name);
        if of_asker().count() < TOO_MANY {
            return Ok(None);
        }
        let place = of_asker().find_map(|failed| failed.place.clone()).unwrap_or_else(|| Arc::new(Semaphore::new(1)));
        // On all of them, since each may be forgotten.
        for failed in state.questions.iter_mut().filter(|failed| failed.asker.name == asker.name) {
            failed.place.get_or_insert_with(|| Arc::clone(&place));
        }
        place.try_acquire_owned().map(Some).map_err(|_| CallError::Limited)
    }

    /// Notes that a call failed: of a caller, or of the relay's own.
    pub(crate) fn failed(&self, now: Instant, asker: Option<&Asker>, error: &CallError) -> Follows {
        let mut state = self.state();
        self.any.store(true, Ordering::Relaxed);
        state.forget(now);
        if let Some(asker) = asker {
            state.note(now, asker, error);
            if state.is_put_back() {
                *state = State::default();
                return Follows::PutBack;
            }
        }
        state.count(now)
    }

    /// Forgets everything: the plugin was found to be well, or somebody wants it tried anew.
    pub(crate) fn clear(&self) {
        let mut state = self.state();
        *state = State::default();
        self.any.store(false, Ordering::Relaxed);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn is_empty(&self) -> bool {
        self.questions.is_empty() && self.recent.is_empty()
    }

    fn forget(&mut self, now: Instant) {
        self.questions.retain(|failed| now.duration_since(failed.at) < WITHIN);
        self.recent.retain(|&at| now.duration_since(at) < WITHIN);
    }

    fn note(&mut self, now: Instant, asker: &Asker, error: &CallError) {
        let known = self.questions.iter().position(|failed| failed.asker == *asker);
        let known = known.and_then(|at| self.questions.remove(at));
        let is_of_asker = |failed: &Failed| failed.asker.name == asker.name;
        let place = self.questions.iter().filter(|failed| is_of_asker(failed)).find_map(|failed| failed.place.clone());
        let place = known.as_ref().and_then(|known| known.place.clone()).or(place);
        if self.questions.iter().filter(|failed| is_of_asker(failed)).count() >= OF_ONE_MAX {
            let oldest = self.questions.iter().position(is_of_asker);
            oldest.and_then(|at| self.questions.remove(at));
        } else if self.questions.len() >= QUESTIONS_MAX {
            self.questions.pop_front();
        }
        let times = known.map_or(0, |known| known.times).saturating_add(1);
        self.questions.push_back(Failed { asker: asker.clone(), at: now, times, error: error.clone(), place });
    }

    /// Whether it failed on enough different questions of enough callers.
    fn is_put_back(&self) -> bool {
        let mut counted: Vec<(&str, usize)> = Vec::new();
        for failed in &self.questions {
            let name = failed.asker.name.as_str();
            match counted.iter_mut().find(|(known, _)| *known == name) {
                Some((_, count)) => *count += 1,
                None => counted.push((name, 1)),
            }
        }
        counted.iter().map(|(_, count)| (*count).min(COUNTED_OF_ONE)).sum::<usize>() >= TOO_MANY
    }

    /// Counts a failure of whatever kind.
    fn count(&mut self, now: Instant) -> Follows {
        self.recent.retain(|&at| now.duration_since(at) < WITHIN);
        self.recent.push_back(now);
        if self.recent.len() < TOO_MANY {
            return Follows::Nothing;
        }
        if self.probed.is_some_and(|at| now.duration_since(at) < PROBED_EVERY) {
            self.recent.pop_front();
            return Follows::Nothing;
        }
        self.recent.clear();
        self.probed = Some(now);
        Follows::Probe
    }
}

#[cfg(test)]
mod tests;
