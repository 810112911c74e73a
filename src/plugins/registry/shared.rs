//! The registry and what it works with, shared between whoever asks, the watch and the loads.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::{Mutex, Notify, Semaphore, broadcast};
use tokio::task::JoinHandle;

use super::super::runtime::FailureReport;
use super::action::{Action, ActionError};
use super::change::PluginChange;
use super::history::History;
use super::loader::Loader;
use super::set::PluginSet;
use super::{Candidate, Look, Registry};

pub(crate) struct Shared {
    pub(crate) loader: Arc<Loader>,
    pub(crate) registry: Mutex<Registry>,
    pub(crate) current: ArcSwap<PluginSet>,
    pub(crate) history: History,
    /// Loads at once.
    pub(crate) turns: Semaphore,
    pub(crate) changes: broadcast::Sender<PluginChange>,
    /// Told when the last request that uses some earlier set has ended.
    pub(crate) unused: Arc<Notify>,
}

impl Shared {
    /// Loads what is in the binary, to its end: what lies in the directory may take its place.
    pub(crate) async fn look_at_embedded(self: &Arc<Self>) {
        let mut registry = self.registry.lock().await;
        registry.look_at_all_embedded(Look::Changed).await;
        self.publish(&mut registry);
        drop(registry);
        self.settled(None).await;
    }

    /// Looks at everything, and begins to load what is new. Answers when to look again, if anything is
    /// still in motion.
    pub(crate) async fn look(self: &Arc<Self>, look: Look, by: Option<String>) -> Option<Duration> {
        let mut registry = self.registry.lock().await;
        registry.on_behalf_of(by);
        let again = registry.look(look).await;
        self.publish(&mut registry);
        registry.on_behalf_of(None);
        again
    }

    pub(crate) async fn act(self: &Arc<Self>, id: &str, action: Action, by: Option<String>) -> Result<(), ActionError> {
        let mut registry = self.registry.lock().await;
        registry.on_behalf_of(by);
        let done = registry.act(id, action).await;
        self.publish(&mut registry);
        registry.on_behalf_of(None);
        drop(registry);
        self.settled(Some(id)).await;
        done
    }

    /// Waits until nothing is being loaded, of one plugin or at all.
    pub(crate) async fn settled(&self, only: Option<&str>) {
        loop {
            let under_way = self.registry.lock().await.under_way(only);
            if under_way.is_empty() {
                return;
            }
            for candidate in under_way {
                candidate.cancelled().await;
            }
        }
    }

    /// Answers when a plugin in quarantine is to be probed, if any is in it.
    pub(crate) async fn put_back(self: &Arc<Self>, report: &FailureReport) -> Option<Duration> {
        let mut registry = self.registry.lock().await;
        let due = registry.put_back(report).await;
        self.publish(&mut registry);
        due
    }

    /// As [`Self::put_back`], for those whose pause is over.
    pub(crate) async fn probe(self: &Arc<Self>) -> Option<Duration> {
        let mut registry = self.registry.lock().await;
        let due = registry.probe_due().await;
        self.publish(&mut registry);
        due
    }

    /// Lets go of the generations that nobody uses any more.
    pub(crate) async fn retire(&self) {
        let mut registry = self.registry.lock().await;
        registry.retire();
        self.tell(registry.take_changes());
    }

    /// Makes what changed the current set, all at once, and then tells everybody. What was begun is
    /// loaded from now on.
    fn publish(self: &Arc<Self>, registry: &mut Registry) {
        if let Some(set) = registry.next_set(&self.unused) {
            let before = self.current.swap(Arc::new(set));
            registry.leave(before);
        }
        self.tell(registry.take_changes());
        for candidate in registry.take_begun() {
            self.spawn(Arc::clone(self).load(candidate));
        }
    }

    pub(crate) async fn load(self: Arc<Self>, candidate: Candidate) {
        let turn = self.turns.acquire().await;
        let built = candidate.build(&self.loader).await;
        drop(turn);
        if let Some(built) = built {
            let mut registry = self.registry.lock().await;
            registry.settle(candidate, built).await;
            self.publish(&mut registry);
            registry.on_behalf_of(None);
        }
    }

    /// Does what may load a plugin where it holds up nobody.
    pub(crate) fn spawn<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
        self.loader.engine.threads().spawn(work)
    }

    fn tell(&self, changes: Vec<PluginChange>) {
        for change in changes {
            // Nobody listening is fine.
            let _ = self.changes.send(change);
        }
    }
}
