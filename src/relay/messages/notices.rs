//! Notices for the sessions of this host: what is due stands in the store, and so does what became of it.

use std::sync::Arc;

use crate::domain::agent::NewCondition;
use crate::domain::id::{AgentId, MessageId};
use crate::domain::message::notice::{Due, NoticeOutcome};
use crate::launcher::Notices;
use crate::plugins::PluginSet;
use crate::relay::Relay;
use crate::store::Wake;

/// What is to be shown to the session of one agent.
pub(in crate::relay) struct StoreNotices {
    relay: Relay,
    agent: AgentId,
    wake: Wake,
}

impl StoreNotices {
    /// Of this agent, from now on.
    pub(in crate::relay) fn new(relay: &Relay, agent: &AgentId) -> Self {
        Self { relay: relay.clone(), agent: agent.clone(), wake: relay.store.wake_for(agent.clone()) }
    }
}

impl Notices for StoreNotices {
    fn plugins(&self) -> Arc<PluginSet> {
        self.relay.plugins.current()
    }

    async fn due(&self, interrupting: bool) -> Result<Due, String> {
        let due = self.relay.store.due_notice(self.agent.clone(), None, interrupting).await;
        due.map_err(|error| error.to_string())
    }

    async fn report(&self, outcome: NoticeOutcome) -> Result<Vec<MessageId>, String> {
        let news = self.relay.store.report_notice(self.agent.clone(), None, outcome).await;
        news.map(|news| news.into_iter().map(|news| news.message_id).collect()).map_err(|error| error.to_string())
    }

    async fn changed(&self) {
        self.wake.changed().await;
    }

    async fn observed(&self, condition: Option<NewCondition>) -> Result<(), String> {
        self.relay.store.session_seen(self.agent.clone(), condition).await.map_err(|error| error.to_string())
    }
}
