//! Waits: how many may go on at once. Each holds a connection and a place among the streams.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::Problem;
use crate::domain::id::AgentId;

/// The longest wait, in seconds. Clients cut a tool off at 60 s, some of them earlier.
pub const WAIT_SECONDS_MAX: u64 = 45;

/// How many waits an agent may have at once. A session has one; the others are those that its client gave up and that
/// are about to end.
pub const WAITS_MAX: usize = 4;

/// The waits that go on, by agent.
#[derive(Debug, Default)]
pub struct Waits(Mutex<HashMap<AgentId, usize>>);

impl Waits {
    /// A place for one more wait of this agent, until it is dropped.
    pub(super) fn begin(&self, agent: &AgentId) -> Result<Waiting<'_>, Problem> {
        let mut waits = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = waits.entry(agent.clone()).or_default();
        if *count >= WAITS_MAX {
            let text = format!("{WAITS_MAX} of your calls wait already");
            return Err(Problem::new(text, "Let one of them end first; one is enough."));
        }
        *count += 1;
        Ok(Waiting { waits: self, agent: agent.clone() })
    }
}

/// A wait that goes on.
#[derive(Debug)]
pub(super) struct Waiting<'w> {
    waits: &'w Waits,
    agent: AgentId,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut waits = self.waits.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = waits.get_mut(&self.agent) {
            *count -= 1;
            if *count == 0 {
                waits.remove(&self.agent);
            }
        }
    }
}

/// How long somebody wants to wait: what is too long is cut, because the answer says to call again anyway.
pub(super) fn length(seconds: Option<i64>) -> Duration {
    let seconds = seconds.map_or(WAIT_SECONDS_MAX, |seconds| u64::try_from(seconds).unwrap_or(0));
    Duration::from_secs(seconds.min(WAIT_SECONDS_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_come_back_and_nobody_takes_anothers() {
        let waits = Waits::default();
        let (ada, bob) = (AgentId::from("ada"), AgentId::from("bob"));
        let mut held: Vec<_> = (0..WAITS_MAX).map(|_| waits.begin(&ada).expect("a place")).collect();
        waits.begin(&ada).expect_err("no place");
        drop(waits.begin(&bob).expect("his own"));
        held.pop();
        held.push(waits.begin(&ada).expect("a place again"));
        drop(held);
        assert!(waits.0.lock().expect("whole").is_empty(), "nothing is kept of who waited once");
    }

    #[test]
    fn a_wait_ends_before_clients_do() {
        for (asked, got) in [(None, 45), (Some(10), 10), (Some(55), 45), (Some(300), 45), (Some(0), 0), (Some(-1), 0)] {
            assert_eq!(length(asked), Duration::from_secs(got), "{asked:?}");
        }
    }
}
