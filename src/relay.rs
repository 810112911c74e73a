//! The relay: one operation for each thing a caller can ask, whichever front door it comes through.
//!
//! An operation is `fn(&self, &Caller, input) -> Result<output, Error>`. Who may, idempotency, policies, the
//! verb of the store and the audit entry are inside it. HTTP parses, calls one and answers; jobs call those
//! that need no caller; nobody else calls the store.
//!
//! - [`scopes`]: which scopes open which operation, one line each.
//! - `access`, `tickets`: who is calling.
//! - `agents`, `messages`, `pairs`, `channels`, `tasks`, `integrations`, `callbacks`, `events`, `orchestrators`,
//!   `commands`, `plugins`, `activity`, `attention`, `system`: the operations, by noun.
//! - [`control`]: one pipeline for every request to start, restart or shut down.
//! - `sessions`, `settle`: the agents of the relay's own host, from the launcher's reports to the store.

pub mod access;
mod activity;
pub mod agents;
mod attention;
pub mod callbacks;
mod channels;
pub mod control;
mod error;
pub mod events;
pub mod integrations;
pub mod messages;
pub mod pairs;
pub mod plugins;
pub mod scopes;
pub mod system;
pub mod tasks;
mod tickets;

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::sync::{broadcast, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::access::Access;
use self::activity::RefusedCredentials;
use self::system::Examined;
use self::tickets::Tickets;
use crate::domain::integration::Integrations;
use crate::domain::retention::Retention;
use crate::domain::task::callback::address::Allowed;
use crate::launcher::Launcher;
use crate::plugins::{PluginChange, Plugins};
use crate::store::Store;
use crate::stream::Hub;

pub use control::LeftOpen;
pub use error::Error;

// What operations take and give that is the store's own, so that a front door needs to know no store.
pub use crate::store::{Created, Idempotency, Taken, allow_commits_on_this_thread};

/// What the operator decided, as far as the relay's operations need it.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Silence after which an agent or orchestrator counts as offline.
    pub offline_after: Duration,
    /// Silence after which an agent is removed.
    pub prune_after: Duration,
    /// How long a command may wait to be taken up.
    pub command_lifetime: Duration,
    /// How long records are kept.
    pub retention: Retention,
    /// Replies by agents that a thread may have within ten minutes; 0 is no limit.
    pub thread_replies: usize,
    /// Whose events are signed.
    pub integrations: Integrations,
    /// Addresses beside those of the internet that callbacks may reach.
    pub callbacks_allow: Allowed,
    /// Streams open at once.
    pub streams_max: usize,
    /// Over how long the streams are ended at shutdown.
    pub drain: Duration,
    /// The kind of network file system that the data directory lies on, if it lies on one.
    pub network_file_system: Option<&'static str>,
}

/// What a relay is made of.
pub struct Ingredients {
    /// What is on disk.
    pub store: Store,
    /// The open streams.
    pub hub: Hub,
    /// Policies and providers.
    pub plugins: Plugins,
    /// The agents of this host.
    pub launcher: Launcher,
    /// Who may call.
    pub access: Access,
    /// What the operator decided.
    pub settings: Settings,
}

/// The handle to everything. Cheap to clone.
#[derive(Clone)]
pub struct Relay(Arc<Parts>);

/// What a relay consists of: for the operations alone.
pub struct Parts {
    store: Store,
    hub: Hub,
    plugins: Plugins,
    launcher: Launcher,
    access: Access,
    /// One-time credentials for streams of browsers.
    tickets: Tickets,
    settings: Settings,
    /// Cancelled when the relay begins to drain: no new work that waits, streams end.
    draining: CancellationToken,
    /// Work that outlives the request that began it.
    tasks: TaskTracker,
    /// Where that work runs: requests are answered on threads that should not carry it.
    runtime: Handle,
    started: Instant,
    /// Permits for control requests: each may run plugins and start a process.
    control_permits: Arc<Semaphore>,
    refused_credentials: RefusedCredentials,
    /// What the latest look at the store found.
    examined: Examined,
}

impl std::ops::Deref for Relay {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

/// Control requests under way at once. People and agents make a few a minute; more is a mistake.
const CONTROLS_MAX: usize = 128;

impl Relay {
    /// Puts the parts together, on the runtime that work in the background is to run on.
    pub fn new(ingredients: Ingredients, draining: CancellationToken) -> Self {
        let Ingredients { store, hub, plugins, launcher, access, settings } = ingredients;
        Self(Arc::new(Parts {
            store,
            hub,
            plugins,
            launcher,
            access,
            tickets: Tickets::default(),
            settings,
            draining,
            tasks: TaskTracker::new(),
            runtime: Handle::current(),
            started: Instant::now(),
            control_permits: Arc::new(Semaphore::new(CONTROLS_MAX)),
            refused_credentials: RefusedCredentials::default(),
            examined: Examined::default(),
        }))
    }

    /// How callers are told apart.
    pub fn access(&self) -> &Access {
        &self.access
    }

    /// Cancelled when the relay begins to drain.
    pub fn draining(&self) -> &CancellationToken {
        &self.draining
    }

    /// Over how long the streams are ended at shutdown.
    pub fn drain_time(&self) -> Duration {
        self.settings.drain
    }

    /// Work that outlives the request that began it.
    pub fn tasks(&self) -> &TaskTracker {
        &self.tasks
    }

    /// Marked each time that another set of plugins is current.
    pub fn plugin_sets(&self) -> watch::Receiver<()> {
        self.plugins.sets()
    }

    /// What happens to plugins, from now on.
    pub fn plugin_changes(&self) -> broadcast::Receiver<PluginChange> {
        self.plugins.changes()
    }
}
