//! A keyed lock: one request at a time for each agent.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::OwnedMutexGuard;

/// The agents whose session is being ended or restarted, or is waited for. Bounded by the control requests
/// under way.
#[derive(Default)]
pub(super) struct Turns(Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>);

/// Held while one request ends or restarts an agent.
pub struct Turn(#[expect(dead_code, reason = "held for its drop")] OwnedMutexGuard<()>);

impl Turns {
    pub(super) async fn of(&self, agent: &str) -> Turn {
        let turn = {
            let mut turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            // What nobody holds or waits for is not needed any more.
            turns.retain(|_, turn| Arc::strong_count(turn) > 1);
            turns.entry(agent.to_owned()).or_default().clone()
        };
        Turn(turn.lock_owned().await)
    }
}
