//! Plugins: WebAssembly components that decide whether control actions may happen (policies) and
//! how agents are started (providers), replaced while the relay runs.
//!
//! A plugin is a pure function of what it is given. It runs in a fresh instance for each call,
//! with a deadline, a memory limit and nothing to hold on to, and what it answers is checked
//! before anybody acts on it. Nothing a plugin does may stop, slow or grow the relay.
//!
//! - `package`: a plugin as files: its folder, its manifest, and what both say before any of its code runs.
//! - `runtime`: running guests within limits, and accounting for it.
//! - `kinds`: what the relay knows of each kind of plugin.
//! - `registry`: what is loaded, what was tried, and what follows from changes, decisions and failures.
//! - [`workbench`]: one plugin on its author's desk, without a relay.
//!
//! Each room imports only rooms before it in this list; a test reads the `use` lines and holds this, and that
//! no files of a room import each other in a circle.
//!
//! The way of a candidate: `package::folder` reads it, `package::terms` is what holds for it,
//! `registry::loader` takes it through the stages, `registry` decides what it replaces, and
//! [`PluginSet`] is what a request works with.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::{broadcast, mpsc, watch};
use tokio_util::sync::{CancellationToken, DropGuard};

mod kinds;
mod package;
mod registry;
mod runtime;
pub mod workbench;

pub use kinds::provider::{CheckedPlan, PlanRefusal, PluginError};
pub use kinds::{Rejection, Stage};
pub use package::{
    AllowedGrants, CALLS_MAX, DEADLINE_MS_MAX, EMBEDDED, Embedded, Glob, Grants, INPUT_KB_MAX, LOG_LINES_MAX, Limits,
    LimitsWanted, MEMORY_MB_MAX, OUTPUT_KB_MAX, Origin, PluginConfig, PluginKind, check_public_key,
    network_file_system,
};
// For the table of bounds.
pub(crate) use package::{FOLDERS_MAX, make_directory, open_private, write_durably};
pub use registry::{Action, ActionError, ChangeKind, PluginChange, PluginSet, PluginState, PluginStatus, Step};
pub use runtime::{CallError, Pauses};

use registry::{Loader, Look, OperatorStates, Probe, Registry, keep_up_to_date};
use runtime::{Cache, Engine, Supervision};

/// Reports of plugins that fail too often which wait to be dealt with; who finds no room reports again.
const FAILURE_REPORTS_MAX: usize = 16;

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

/// The plugins of this relay. Cheap to clone; the last clone ends the watching.
#[derive(Clone)]
pub struct Plugins(Arc<Handle>);

struct Handle {
    registry: Arc<Registry>,
    _stop: DropGuard,
}

/// Why there are no plugins at all. A single broken plugin is never the reason.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The WebAssembly engine does not start on this machine.
    #[error("failed to start the plugin engine: {0}")]
    Engine(String),
}

impl Plugins {
    /// Loads what is embedded and what lies in the directory. A plugin that cannot be loaded is
    /// listed as rejected and stops nothing.
    ///
    /// # Errors
    /// Only when the engine itself does not start.
    pub async fn open(options: Options) -> Result<Self, OpenError> {
        let engine = Engine::new().map_err(|error| OpenError::Engine(format!("{error:#}")))?;
        let (failure_reports, failures_seen) = mpsc::channel(FAILURE_REPORTS_MAX);
        // A relative path has no parent to watch while the directory is not there.
        let directory = options.directory.map(|path| std::path::absolute(&path).unwrap_or(path));
        let loader = Loader {
            cache: Arc::new(Cache::open(&options.cache_directory, &engine)),
            engine,
            defaults: options.limits,
            configs: options.plugins,
            supervision: Supervision { failure_reports, pauses: options.pauses },
            compilers: registry::compilers(),
            probe: Probe::Asked,
        };
        let states = OperatorStates::open(options.state_directory.as_deref());
        let registry = Arc::new(Registry::new(loader, states, directory.clone(), options.required, options.embedded));
        // What is required and not there is missing from the start.
        registry.publish(None);
        // To its end, since what lies in the directory may take the place of what is in the binary.
        registry.look_at_all_built_in(Look::Changed, None).await;
        registry.loads_done(None).await;
        let again = registry.look(Look::Changed, None).await;
        registry.loads_done(None).await;
        if directory.is_some() {
            registry.note_losses_since_the_last_run().await;
        }
        let stop = CancellationToken::new();
        let watched = directory.filter(|_| options.watch);
        registry.spawn(keep_up_to_date(Arc::clone(&registry), watched, again, failures_seen, stop.clone()));
        Ok(Self(Arc::new(Handle { registry, _stop: stop.drop_guard() })))
    }

    /// The plugins that are active now, as one set that never changes.
    pub fn current(&self) -> Arc<PluginSet> {
        self.0.registry.current()
    }

    /// Looks at every plugin now, those that were rejected included, and answers how things are
    /// then. What an operator disabled or set aside stays that. A caller that goes away does not
    /// stop it.
    pub async fn reload(&self, by: Option<String>) -> Vec<PluginStatus> {
        let registry = Arc::clone(&self.0.registry);
        let look = self.0.registry.spawn(async move {
            registry.look(Look::Everything, by.as_deref()).await;
            registry.loads_done(None).await;
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
        let (registry, of_task) = (Arc::clone(&self.0.registry), id.to_owned());
        let acted = self.0.registry.spawn(async move { registry.act(&of_task, action, by.as_deref()).await });
        acted.await.map_err(|error| ActionError::NotKept(format!("the action failed: {error}")))??;
        self.list().into_iter().find(|status| status.id == id).ok_or(ActionError::Unknown)
    }

    /// Every plugin, those that are not in use included, by id.
    pub fn list(&self) -> Vec<PluginStatus> {
        self.current().statuses()
    }

    /// Whether a plugin of this id is on its way to being active.
    pub fn is_loading(&self, id: &str) -> bool {
        use PluginState::{Compiled, Inspected, Probed, Staged};
        let on_its_way = |state| matches!(state, Staged | Inspected | Compiled | Probed);
        self.list().iter().any(|plugin| plugin.id == id && on_its_way(plugin.state))
    }

    /// The latest steps in the life of a plugin, the oldest first.
    pub fn history(&self, id: &str) -> Vec<Step> {
        self.0.registry.history_of(id)
    }

    /// Marked each time that another set is the current one.
    pub fn sets(&self) -> watch::Receiver<()> {
        self.0.registry.sets()
    }

    /// Notes again that a policy is not obeyed any more though nobody decided that, if that is still so.
    pub fn lose_again(&self, id: &str) {
        self.0.registry.lose_again(id);
    }

    /// Somebody knows that a policy is not obeyed any more.
    pub async fn acknowledge_loss(&self, id: &str, by: &str) {
        self.0.registry.acknowledge_losses(Some(id), by).await;
    }

    /// What happens to plugins from now on.
    pub fn changes(&self) -> broadcast::Receiver<PluginChange> {
        self.0.registry.changes()
    }
}
