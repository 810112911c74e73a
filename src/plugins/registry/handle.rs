//! The registry: what it works with, and how a transition of a slot takes place.
//!
//! Whoever changes a slot holds the keyed lock of its id, for as long as reading, compiling and writing takes;
//! so nobody waits for a plugin that is none of theirs. The registry's own lock is held for a transition and
//! the set that follows from it, and never while anything is waited for.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use tokio::sync::{Notify, Semaphore, broadcast, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::telemetry::metric;

use super::super::kinds::Plugin;
use super::super::package::{Embedded, Fingerprint, Manifest, Origin, PluginKind, RequestedGrants, Source, Terms};
use super::keyed_lock::KeyedLock;
use super::lifecycle::{ChangeKind, History, PluginChange, PluginState, PluginStatus, Progress, Step};
use super::loader::{Candidate, Loader};
use super::remembered::{OperatorStates, StateChange};
use super::serving::PluginSet;
use super::slot::{Effect, Event, Slot, Ticket};
use super::state::{Load, State, Trouble};

/// Changes that a slow listener may be behind before it misses some.
const CHANGES_MAX: usize = 256;
/// Plugins loaded at once: with a full directory, more would be in the way of requests.
const LOADS_MAX: usize = 8;

/// What is loaded, what was tried, and everything that this changes by.
pub(crate) struct Registry {
    pub(super) loader: Loader,
    pub(super) operator_states: OperatorStates,
    pub(super) directory: Option<PathBuf>,
    pub(super) embedded: BTreeMap<String, BuiltIn>,
    pub(super) history: History,
    /// By id. Held by whoever changes a slot of it.
    pub(super) turns: KeyedLock,
    /// Held for a look at everything: a second look would only see the same.
    pub(super) looking: tokio::sync::Mutex<()>,
    /// Loads at once.
    pub(super) loading: Semaphore,
    /// Told when the last request that uses some earlier set has ended.
    pub(super) unused: Arc<Notify>,
    state: Mutex<State>,
    current: ArcSwap<PluginSet>,
    changes: broadcast::Sender<PluginChange>,
    /// Marked with each set that becomes current.
    sets: watch::Sender<()>,
}

/// A plugin in the relay's binary.
#[derive(Clone, Copy)]
pub(crate) struct BuiltIn {
    pub(super) files: Embedded,
    pub(super) kind: Option<PluginKind>,
}

/// What is loaded if a slot takes a candidate.
pub(super) struct Prepared {
    pub(super) source: Source,
    pub(super) terms: Terms,
    pub(super) fingerprint: Fingerprint,
    /// What was accepted of its predecessor.
    pub(super) accepted: Option<RequestedGrants>,
    /// Whether an earlier generation is to be active if this one cannot be.
    pub(super) restores: bool,
}

impl Registry {
    pub(crate) fn new(
        loader: Loader,
        operator_states: OperatorStates,
        directory: Option<PathBuf>,
        required: Vec<String>,
        embedded: Vec<Embedded>,
    ) -> Self {
        let built_in = |files: Embedded| {
            // One whose manifest cannot be read is listed as rejected under this name.
            let (id, kind) = Manifest::parse(files.manifest)
                .map_or_else(|_| ("built-in".to_owned(), None), |manifest| (manifest.id, Some(manifest.kind)));
            (id, BuiltIn { files, kind })
        };
        Self {
            loader,
            operator_states,
            directory,
            embedded: embedded.into_iter().map(built_in).collect(),
            history: History::default(),
            turns: KeyedLock::default(),
            looking: tokio::sync::Mutex::default(),
            loading: Semaphore::new(LOADS_MAX),
            unused: Arc::default(),
            state: Mutex::new(State::new(required)),
            current: ArcSwap::default(),
            changes: broadcast::channel(CHANGES_MAX).0,
            sets: watch::Sender::default(),
        }
    }

    /// The plugins that are active now, as one set that never changes.
    pub(crate) fn current(&self) -> Arc<PluginSet> {
        self.current.load_full()
    }

    /// The latest steps in the life of a plugin, the oldest first.
    pub(crate) fn history_of(&self, id: &str) -> Vec<Step> {
        self.history.of(id)
    }

    /// Marked each time that another set is the current one.
    pub(crate) fn sets(&self) -> watch::Receiver<()> {
        self.sets.subscribe()
    }

    /// What happens to plugins from now on.
    pub(crate) fn changes(&self) -> broadcast::Receiver<PluginChange> {
        self.changes.subscribe()
    }

    /// Does what may load a plugin where it holds up nobody.
    pub(crate) fn spawn<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
        self.loader.engine.threads().spawn(work)
    }

    /// Waits until nothing is being loaded, of one plugin or at all. Not for whoever holds the turn of a plugin:
    /// its load waits for that.
    pub(crate) async fn loads_done(&self, only: Option<&str>) {
        loop {
            let under_way = self.state().under_way(only);
            if under_way.is_empty() {
                return;
            }
            for load in under_way {
                load.cancelled().await;
            }
        }
    }

    /// Lets go of the generations that nobody uses any more.
    pub(crate) fn retire(&self) {
        let mut state = self.state();
        let mut changes = Vec::new();
        self.retire_in(&mut state, &mut changes);
        self.tell(changes);
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has something happen to a slot, and carries out what follows. What is to be on disk first is. The caller
    /// holds the turn of the id.
    ///
    /// # Errors
    /// When an operator's decision cannot be kept: then nothing happens.
    pub(super) async fn transition(
        self: &Arc<Self>,
        (origin, id): (Origin, &str),
        event: Event<Arc<Plugin>>,
        prepared: Option<Prepared>,
        by: Option<&str>,
    ) -> Result<(), String> {
        let is_removal = matches!(event, Event::Gone { .. });
        let mut slot = self.state().slot(origin, id).cloned().unwrap_or_else(|| Slot::new(false));
        let effects = slot.apply(event);
        for effect in &effects {
            match effect {
                Effect::Decide(change) => self.operator_states.decide(id, change).await?,
                Effect::Remember(change) => self.operator_states.remember(id, change).await,
                _ => {}
            }
        }
        // Dropped after the lock.
        let _before;
        let mut state = self.state();
        _before = if is_removal {
            state.folders.remove(id).map(|folder| folder.slot)
        } else {
            state.replace(origin, id, slot)
        };
        self.carry_out(&mut state, effects, prepared, by);
        Ok(())
    }

    /// As [`Self::transition`], for what needs no decision of an operator and so takes place in any case.
    pub(super) async fn happens(
        self: &Arc<Self>,
        (origin, id): (Origin, &str),
        event: Event<Arc<Plugin>>,
        prepared: Option<Prepared>,
        by: Option<&str>,
    ) {
        if let Err(problem) = self.transition((origin, id), event, prepared, by).await {
            tracing::error!(plugin.id = id, "{problem}");
        }
    }

    /// Makes the set that follows from everything that is known the current one.
    pub(crate) fn publish(self: &Arc<Self>, by: Option<&str>) {
        self.announce(vec![Effect::Publish], by);
    }

    /// Notes that something is, or is not any more, as it should not be: it is logged when that changes.
    pub(super) fn trouble(self: &Arc<Self>, about: Trouble, now: Option<String>) {
        {
            let mut state = self.state();
            if state.troubles.get(&about) == now.as_ref() {
                return;
            }
            match now {
                Some(trouble) => {
                    tracing::warn!("{trouble}");
                    state.troubles.insert(about, trouble);
                }
                None => {
                    let over = state.troubles.remove(&about).unwrap_or_default();
                    tracing::info!("plugins: this is over: {over}");
                }
            }
        }
        self.publish(None);
    }

    /// Notes again what an earlier run found lost, if it still is.
    pub(crate) fn lose_again(self: &Arc<Self>, id: &str) {
        let is_lost = self.state().lose_again(id);
        if is_lost {
            self.publish(None);
        }
    }

    /// Somebody knows what was lost by itself: all of it, or this policy.
    pub(crate) async fn acknowledge_losses(self: &Arc<Self>, only: Option<&str>, by: &str) {
        let lost: BTreeMap<String, String> = {
            let lost = &mut self.state().lost;
            match only {
                None => std::mem::take(lost),
                Some(id) => lost.remove_entry(id).into_iter().collect(),
            }
        };
        for id in lost.keys() {
            tracing::info!(plugin.id = id, by, "that the policy is not obeyed any more is acknowledged");
            if !self.state().folders.contains_key(id) {
                self.operator_states.remember(id, &StateChange::Gone).await;
            }
        }
        if !lost.is_empty() {
            self.publish(Some(by));
        }
    }

    /// As [`Self::transition`], for what changes no slot.
    pub(super) fn announce(self: &Arc<Self>, effects: Vec<Effect>, by: Option<&str>) {
        self.carry_out(&mut self.state(), effects, None, by);
    }

    fn carry_out(
        self: &Arc<Self>,
        state: &mut State,
        effects: Vec<Effect>,
        mut prepared: Option<Prepared>,
        by: Option<&str>,
    ) {
        let mut is_new = false;
        let mut changes = Vec::new();
        let mut begun = None;
        for effect in effects {
            match effect {
                // On disk already.
                Effect::Decide(_) | Effect::Remember(_) => {}
                Effect::Abandon { ticket, why } => {
                    if let Some(load) = state.loads.remove(&ticket) {
                        self.note_abandoned(&load.progress, why, by);
                    }
                }
                Effect::Begin { ticket, is_silent } => {
                    begun = prepared.take().map(|prepared| self.begin(state, ticket, prepared, is_silent, by));
                }
                Effect::Note(status) => {
                    self.history.note(&status.id, Step { by: by.map(str::to_owned), ..Step::to(&status) });
                }
                Effect::Count { kind, stage } => {
                    metrics::counter!(metric::PLUGIN_RELOADS, "result" => kind.as_str(), "stage" => stage).increment(1);
                }
                Effect::Announce { kind, plugin } => {
                    is_new = true;
                    changes.push(PluginChange { kind, plugin, steps: Vec::new(), by: by.map(str::to_owned) });
                }
                Effect::Publish => is_new = true,
            }
        }
        if is_new {
            let set = state.next_set(&self.history, by, &self.unused);
            let before = self.current.swap(Arc::new(set));
            self.sets.send_replace(());
            state.draining.leave(before);
            self.retire_in(state, &mut changes);
        }
        self.tell(changes);
        if let Some(candidate) = begun {
            self.spawn(Arc::clone(self).load(candidate));
        }
    }

    fn begin(
        &self,
        state: &mut State,
        ticket: Ticket,
        prepared: Prepared,
        is_silent: bool,
        by: Option<&str>,
    ) -> Candidate {
        let Prepared { source, terms, fingerprint, accepted, restores } = prepared;
        let history = (!is_silent).then(|| self.history.clone());
        let progress = self.progress(&source, &terms, &fingerprint, history, by);
        let (abandoned, done) = (CancellationToken::new(), CancellationToken::new());
        let load = Load {
            id: source.name.clone(),
            progress: Arc::clone(&progress),
            done: done.clone(),
            _abandon: abandoned.clone().drop_guard(),
        };
        state.loads.insert(ticket, load);
        Candidate {
            ticket,
            source,
            terms,
            fingerprint,
            accepted,
            restores,
            progress,
            abandoned,
            _done: done.drop_guard(),
        }
    }

    /// How far a candidate comes, from now on.
    pub(super) fn progress(
        &self,
        source: &Source,
        terms: &Terms,
        fingerprint: &Fingerprint,
        history: Option<History>,
        by: Option<&str>,
    ) -> Arc<Progress> {
        let status = PluginStatus {
            digest: Some(fingerprint.wasm.clone()),
            ..PluginStatus::of(terms, source.origin, PluginState::Staged)
        };
        Arc::new(Progress::new(status, by.map(str::to_owned), history))
    }

    fn note_abandoned(&self, progress: &Progress, why: &str, by: Option<&str>) {
        let status = progress.status();
        let step = Step {
            state: PluginState::Rejected,
            stage: Some(progress.stage()),
            reason: Some(format!("overtaken: {why}")),
            by: by.map(str::to_owned),
            ..Step::to(&status)
        };
        self.history.note(&status.id, step);
    }

    /// Tells of the generations whose last request has ended.
    fn retire_in(&self, state: &mut State, changes: &mut Vec<PluginChange>) {
        for status in state.draining.retire(&self.history) {
            // What is told of a plugin anyway brings this step with it.
            if changes.iter().all(|change| change.plugin.id != status.id) {
                changes.push(PluginChange { kind: ChangeKind::Retired, plugin: status, steps: Vec::new(), by: None });
            }
        }
    }

    /// Tells everybody, with the steps that led to it. Under the lock, so that changes are told in their order.
    fn tell(&self, changes: Vec<PluginChange>) {
        for mut change in changes {
            change.steps = self.history.take_untold(&change.plugin.id);
            // Nobody listening is fine.
            let _ = self.changes.send(change);
        }
    }
}
