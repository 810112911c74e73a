//! Plugins: WebAssembly components that decide whether control actions may happen (policies) and
//! how agents are started (providers), replaced while the relay runs.
//!
//! A plugin is a pure function of what it is given. It runs in a fresh instance for each call,
//! with a deadline, a memory limit and nothing to hold on to, and what it answers is checked
//! before anybody acts on it. Nothing a plugin does may stop, slow or grow the relay.
//!
//! The way of a candidate: `folder` reads it, `manifest` says what it wants, `candidate` takes it
//! through the stages, `registry` decides what it replaces, and `set` is what a request works
//! with. `engine`, `sandbox` and `threads` are the runtime; `watch` notices changes; `history` is what happened.
//! `choices` and `generations` outlive the relay: what was decided about plugins, and what they were
//! before.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use sha2::{Digest, Sha256};
use tokio::sync::{Mutex, Notify, Semaphore, broadcast, mpsc};
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

mod bindings;
mod cache;
mod candidate;
mod choices;
mod embedded;
mod engine;
mod figures;
mod folder;
mod generations;
mod grants;
mod guest_log;
mod history;
mod host;
mod limits;
mod manifest;
mod plan_check;
mod plugin;
mod policy;
mod private;
mod provider;
mod quarantine;
mod registry;
mod samples;
mod sandbox;
mod set;
mod signed;
mod threads;
mod track;
mod watch;
pub mod workbench;

pub use embedded::EMBEDDED;
pub use history::Step;
pub use limits::{CALLS_MAX, DEADLINE_MS_MAX, INPUT_KB_MAX, LOG_LINES_MAX, Limits, MEMORY_MB_MAX, OUTPUT_KB_MAX};
pub use manifest::{AllowedGrants, Grants, LimitsWanted, PluginConfig, PluginKind};
pub use plan_check::CheckedPlan;
pub use plugin::{Origin, PluginState, PluginStatus, Rejection, Stage};
pub use provider::{PlanRefusal, PluginError};
pub use quarantine::Pauses;
pub use sandbox::CallError;
pub use set::PluginSet;
pub use signed::check_public_key;

use cache::Cache;
use candidate::Workshop;
use choices::Choices;
use engine::Engine;
use history::History;
use registry::{Candidate, Look, Registry};
use sandbox::Trouble;

/// Changes that a slow listener may be behind before it misses some.
const CHANGES_MAX: usize = 256;
/// Plugins in trouble at once that are remembered; more of them report again.
const TROUBLES_MAX: usize = 16;

/// Plugins loaded at once: with a full directory, more would be in the way of requests.
const LOADS_MAX: usize = 8;

/// What [`Plugins::open`] needs to know.
#[derive(Clone, Debug)]
pub struct Options {
    /// The directory that holds a folder for each plugin. It may come and go.
    pub directory: Option<PathBuf>,
    /// Where compiled components are kept. It is made if need be, and must be the relay's own.
    pub cache_directory: PathBuf,
    /// Where it is kept what operators decide, and the latest generations of each plugin. It is made if
    /// need be, and must be the relay's own. Without one all of that ends with the relay.
    pub state_directory: Option<PathBuf>,
    /// What a call may use where neither manifest nor operator says.
    pub limits: Limits,
    /// How long a plugin that failed too often is left alone.
    pub pauses: Pauses,
    /// What the operator says about single plugins, by id.
    pub plugins: BTreeMap<String, PluginConfig>,
    /// Policies without which every control is refused.
    pub required: Vec<String>,
    /// Whether changes of the directory are noticed without [`Plugins::reload`].
    pub watch: bool,
    /// Plugins in the binary.
    pub embedded: Vec<Embedded>,
}

/// A plugin in the relay's binary. It runs in the same sandbox as any other, and gives way to a
/// folder of its id.
#[derive(Clone, Copy, Debug)]
pub struct Embedded {
    /// Its `plugin.toml`.
    pub manifest: &'static str,
    /// Its `plugin.wasm`.
    pub wasm: &'static [u8],
}

/// The plugins of this relay. Cheap to clone; the last clone ends the watching.
#[derive(Clone)]
pub struct Plugins(Arc<Handle>);

struct Handle {
    shared: Arc<Shared>,
    _stop: DropGuard,
}

struct Shared {
    workshop: Arc<Workshop>,
    registry: Mutex<Registry>,
    current: ArcSwap<PluginSet>,
    history: History,
    /// Loads at once.
    turns: Semaphore,
    changes: broadcast::Sender<PluginChange>,
    /// Told when the last request that uses some earlier set has ended.
    unused: Arc<Notify>,
}

/// Why there are no plugins at all. A single broken plugin is never the reason.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The WebAssembly engine does not start on this machine.
    #[error("failed to start the plugin engine: {0}")]
    Engine(String),
}

/// Something happened to a plugin.
#[derive(Clone, Debug)]
pub struct PluginChange {
    /// What.
    pub kind: ChangeKind,
    /// The plugin it happened to, as it is shown from now on.
    pub plugin: PluginStatus,
    /// What led to it, since the change before it.
    pub steps: Vec<Step>,
    /// Who asked for it, if somebody did.
    pub by: Option<String>,
}

/// What can happen to a plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    /// It is asked from now on.
    Activated,
    /// It was not loaded, or is no longer asked because it failed too often. What was active
    /// before it still is, or is again.
    Rejected,
    /// It is no longer asked, because the manifest or the operator says so.
    Disabled,
    /// Its folder is gone.
    Removed,
    /// An operator went back to this generation of it.
    RolledBack,
    /// It failed too often, and nothing was there before it: its calls are refused.
    Quarantined,
    /// The last request that used this generation has ended, some time after it was replaced.
    Retired,
}

/// What an operator does to one plugin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Goes back to the generation before the active one. What is in the folder is not loaded again
    /// until it changes, or until the plugin is enabled.
    RollBack,
    /// Undoes [`Action::Disable`], or else [`Action::RollBack`], and tries again what was rejected
    /// or failed too often.
    Enable,
    /// Loads it no more, neither from its folder nor from the binary.
    Disable,
    /// Accepts that it asks for more than its predecessor.
    Allow {
        /// That of the rejection which lists what it asks for.
        digest: String,
    },
}

/// Why an operator's action was not done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ActionError {
    /// There is no plugin of this id, loaded or not.
    #[error("plugin not found")]
    Unknown,
    /// The plugin's state does not allow it. The text says what to do instead.
    #[error("{0}")]
    Conflict(String),
    /// It cannot be kept on disk, so nothing was done.
    #[error("{0}")]
    NotKept(String),
}

impl ChangeKind {
    /// The name for activity and events.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Activated => "activated",
            Self::Rejected => "rejected",
            Self::Disabled => "disabled",
            Self::Removed => "removed",
            Self::RolledBack => "rolled-back",
            Self::Quarantined => "quarantined",
            Self::Retired => "retired",
        }
    }
}

impl Plugins {
    /// Loads what is embedded and what lies in the directory. A plugin that cannot be loaded is
    /// listed as rejected and stops nothing.
    ///
    /// # Errors
    /// Only when the engine itself does not start.
    pub async fn open(options: Options) -> Result<Self, OpenError> {
        let engine = Engine::new().map_err(|error| OpenError::Engine(format!("{error:#}")))?;
        let (troubles, troubles_seen) = mpsc::channel(TROUBLES_MAX);
        // A relative path has no parent to watch while the directory is not there.
        let directory = options.directory.map(|path| std::path::absolute(&path).unwrap_or(path));
        let workshop = Arc::new(Workshop {
            cache: Arc::new(Cache::open(&options.cache_directory, &engine)),
            engine,
            defaults: options.limits,
            configs: options.plugins,
            troubles,
            pauses: options.pauses,
            compilers: candidate::compilers(),
        });
        let choices = Choices::open(options.state_directory.as_deref());
        let history = History::default();
        let registry = Registry::new(
            Arc::clone(&workshop),
            choices,
            history.clone(),
            directory.clone(),
            options.required,
            options.embedded,
        );
        let shared = Arc::new(Shared {
            workshop,
            registry: Mutex::new(registry),
            current: ArcSwap::default(),
            history,
            turns: Semaphore::new(LOADS_MAX),
            changes: broadcast::channel(CHANGES_MAX).0,
            unused: Arc::default(),
        });
        shared.look_at_embedded().await;
        let again = shared.look(Look::Changed, None).await;
        shared.settled(None).await;
        let stop = CancellationToken::new();
        let watched = directory.filter(|_| options.watch);
        shared.spawn(watch::keep(Arc::clone(&shared), watched, again, troubles_seen, stop.clone()));
        Ok(Self(Arc::new(Handle { shared, _stop: stop.drop_guard() })))
    }

    /// The plugins that are active now, as one set that never changes.
    pub fn current(&self) -> Arc<PluginSet> {
        self.0.shared.current.load_full()
    }

    /// Looks at every plugin now, those that were rejected included, and answers how things are
    /// then. What an operator disabled or set aside stays that. A caller that goes away does not
    /// stop it.
    pub async fn reload(&self, by: Option<String>) -> Vec<PluginStatus> {
        let shared = Arc::clone(&self.0.shared);
        let look = self.0.shared.spawn(async move {
            shared.look(Look::Everything, by).await;
            shared.settled(None).await;
        });
        if let Err(error) = look.await {
            tracing::error!("failed to reload plugins: {error}");
        }
        self.list()
    }

    /// Does something to one plugin for somebody, and answers how it is then. A caller that goes away
    /// does not stop it.
    ///
    /// # Errors
    /// When there is no such plugin, its state does not allow it, or it cannot be kept on disk.
    pub async fn act(&self, id: &str, action: Action, by: Option<String>) -> Result<PluginStatus, ActionError> {
        let (shared, of_task) = (Arc::clone(&self.0.shared), id.to_owned());
        let acted = self.0.shared.spawn(async move { shared.act(&of_task, action, by).await });
        acted.await.map_err(|error| ActionError::NotKept(format!("the action failed: {error}")))??;
        self.list().into_iter().find(|status| status.id == id).ok_or(ActionError::Unknown)
    }

    /// Every plugin, those that are not in use included, by id.
    pub fn list(&self) -> Vec<PluginStatus> {
        self.current().statuses()
    }

    /// The latest steps in the life of a plugin, the oldest first.
    pub fn history(&self, id: &str) -> Vec<Step> {
        self.0.shared.history.of(id)
    }

    /// What happens to plugins from now on.
    pub fn changes(&self) -> broadcast::Receiver<PluginChange> {
        self.0.shared.changes.subscribe()
    }
}

impl Shared {
    /// Loads what is in the binary, to its end: what lies in the directory may take its place.
    async fn look_at_embedded(self: &Arc<Self>) {
        let mut registry = self.registry.lock().await;
        registry.look_at_all_embedded(Look::Changed).await;
        self.publish(&mut registry);
        drop(registry);
        self.settled(None).await;
    }

    /// Looks at everything, and begins to load what is new. Answers when to look again, if anything is
    /// still in motion.
    async fn look(self: &Arc<Self>, look: Look, by: Option<String>) -> Option<Duration> {
        let mut registry = self.registry.lock().await;
        registry.on_behalf_of(by);
        let again = registry.look(look).await;
        self.publish(&mut registry);
        registry.on_behalf_of(None);
        again
    }

    async fn act(self: &Arc<Self>, id: &str, action: Action, by: Option<String>) -> Result<(), ActionError> {
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
    async fn settled(&self, only: Option<&str>) {
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
    async fn put_back(self: &Arc<Self>, trouble: &Trouble) -> Option<Duration> {
        let mut registry = self.registry.lock().await;
        let due = registry.put_back(trouble).await;
        self.publish(&mut registry);
        due
    }

    /// As [`Self::put_back`], for those whose pause is over.
    async fn probe(self: &Arc<Self>) -> Option<Duration> {
        let mut registry = self.registry.lock().await;
        let due = registry.probe_due().await;
        self.publish(&mut registry);
        due
    }

    /// Lets go of the generations that nobody uses any more.
    async fn retire(&self) {
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

    async fn load(self: Arc<Self>, candidate: Candidate) {
        let turn = self.turns.acquire().await;
        let built = candidate.build(&self.workshop).await;
        drop(turn);
        if let Some(built) = built {
            let mut registry = self.registry.lock().await;
            registry.settle(candidate, built).await;
            self.publish(&mut registry);
            registry.on_behalf_of(None);
        }
    }

    /// Does what may load a plugin where it holds up nobody.
    fn spawn<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
        self.workshop.engine.threads().spawn(work)
    }

    fn tell(&self, changes: Vec<PluginChange>) {
        for change in changes {
            // Nobody listening is fine.
            let _ = self.changes.send(change);
        }
    }
}

/// Milliseconds since the epoch.
fn now() -> i64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX)
}

/// SHA-256 in hexadecimal.
fn digest_of(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// Bytes in hexadecimal.
fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Runs work that blocks off the reactor. A panic goes on here.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
}
