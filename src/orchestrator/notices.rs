//! Notices for the sessions of this host: what is due is asked of the relay, and what became of it is told to it until
//! it has it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::Notify;

use super::Daemon;
use super::link::Failed;
use crate::domain::agent::NewCondition;
use crate::domain::id::{AgentId, MessageId};
use crate::domain::message::notice::{Due, NoticeOutcome};
use crate::launcher::Notices;
use crate::plugins::PluginSet;

/// Who waits for something to show to an agent.
#[derive(Default)]
pub(super) struct Wakes(Mutex<HashMap<AgentId, Vec<Weak<Notify>>>>);

impl Wakes {
    /// Something may be due to this agent.
    pub(super) fn wake(&self, agent: &AgentId) {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(of_agent) = waiting.get_mut(agent) {
            wake_each(of_agent);
            if of_agent.is_empty() {
                waiting.remove(agent);
            }
        }
    }

    /// Something may be due to each: nobody knows what happened while nobody listened.
    pub(super) fn wake_all(&self) {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.retain(|_, of_agent| {
            wake_each(of_agent);
            !of_agent.is_empty()
        });
    }

    fn wait_for(&self, agent: &AgentId) -> Arc<Notify> {
        let wake = Arc::new(Notify::new());
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.entry(agent.clone()).or_default().push(Arc::downgrade(&wake));
        wake
    }
}

/// Wakes those that still wait, and forgets the others.
fn wake_each(waiting: &mut Vec<Weak<Notify>>) {
    waiting.retain(|wake| {
        let wake = wake.upgrade();
        if let Some(wake) = &wake {
            wake.notify_one();
        }
        wake.is_some()
    });
}

/// What is to be shown to the session of one agent.
pub(super) struct RelayNotices {
    daemon: Daemon,
    agent: AgentId,
    wake: Arc<Notify>,
}

impl RelayNotices {
    /// Of this agent, from now on.
    pub(super) fn new(daemon: &Daemon, agent: &AgentId) -> Self {
        Self { daemon: daemon.clone(), agent: agent.clone(), wake: daemon.wakes.wait_for(agent) }
    }
}

impl Notices for RelayNotices {
    fn plugins(&self) -> Arc<PluginSet> {
        self.daemon.plugins.current()
    }

    async fn due(&self, interrupting: bool) -> Result<Due, String> {
        self.daemon.link.ask(|client| client.notices().due(&self.agent, interrupting)).await.map_err(said)
    }

    async fn report(&self, outcome: NoticeOutcome) -> Result<Vec<MessageId>, String> {
        // That an agent read something is not for a host to say, and it never has to.
        let Some(report) = outcome.report() else { return Ok(Vec::new()) };
        let news = self.daemon.link.ask(|client| client.notices().report(&self.agent, &report)).await.map_err(said)?;
        Ok(news.into_iter().map(|news| news.message_id).collect())
    }

    async fn changed(&self) {
        self.wake.notified().await;
    }

    async fn observed(&self, condition: Option<NewCondition>) -> Result<(), String> {
        let asked = self.daemon.link.ask(|client| client.notices().observed(&self.agent, condition.as_ref())).await;
        asked.map(drop).map_err(said)
    }
}

fn said(failed: Failed) -> String {
    failed.to_string()
}
