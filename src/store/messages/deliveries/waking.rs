//! Waking: whoever sees to a session of this host hears at once that there may be something to show.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

use crate::domain::id::AgentId;
use crate::store::Store;

/// Who listens, by the agent of its session.
#[derive(Default)]
pub(in crate::store) struct Waking(Mutex<HashMap<AgentId, Vec<Arc<Notify>>>>);

impl Waking {
    /// Wakes those who see to these agents.
    pub(in crate::store) fn wake(&self, agents: &[AgentId]) {
        if agents.is_empty() {
            return;
        }
        let listening = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        agents.iter().filter_map(|agent| listening.get(agent)).flatten().for_each(|notify| notify.notify_one());
    }
}

/// Listens for one agent. Dropping it ends that.
pub struct Wake {
    waking: Arc<Waking>,
    agent: AgentId,
    notify: Arc<Notify>,
}

impl Wake {
    /// Waits until something may be due that was not when this was asked last. What happens while nobody asks is not
    /// missed.
    pub async fn changed(&self) {
        self.notify.notified().await;
    }
}

impl Drop for Wake {
    fn drop(&mut self) {
        let mut listening = self.waking.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(of_agent) = listening.get_mut(&self.agent) {
            of_agent.retain(|notify| !Arc::ptr_eq(notify, &self.notify));
            if of_agent.is_empty() {
                listening.remove(&self.agent);
            }
        }
    }
}

impl Store {
    /// Listens from now on for what may be due to this agent.
    pub fn wake_for(&self, agent: AgentId) -> Wake {
        let (waking, notify) = (self.inner.waking.clone(), Arc::new(Notify::new()));
        let mut listening = waking.0.lock().unwrap_or_else(PoisonError::into_inner);
        listening.entry(agent.clone()).or_default().push(notify.clone());
        drop(listening);
        Wake { waking, agent, notify }
    }
}
