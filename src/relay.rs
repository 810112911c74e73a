//! The relay: what every handler and job works with, and the operations that touch more than one
//! part. Plain reads and writes are verbs of the store, called where they are needed.

pub mod access;
pub mod control;
pub mod directories;
mod ending;
mod reap;
mod settle;
pub mod spawn;
pub mod tickets;

use std::net::IpAddr;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::access::Access;
use self::ending::Turns;
use self::spawn::Host;
use self::tickets::Tickets;
use crate::domain::audit;
use crate::domain::event::EventTypes;
use crate::domain::refusal::Refusal;
use crate::domain::retention::Retention;
use crate::domain::time::Timestamp;
use crate::plugins::{PluginState, Plugins};
use crate::sessions::Sessions;
use crate::store::{Store, StoreError};
use crate::stream::{Hub, Listen, Subscription, TooManyStreams};

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
    /// Streams open at once.
    pub streams_max: usize,
    /// Over how long the streams are ended at shutdown.
    pub drain: Duration,
}

/// The handle to everything. Cheap to clone.
#[derive(Clone)]
pub struct Relay(Arc<Parts>);

/// What a relay consists of.
pub struct Parts {
    /// What is on disk.
    pub store: Store,
    /// The open streams.
    pub hub: Hub,
    /// Policies and providers.
    pub plugins: Plugins,
    /// The agent processes of this host.
    pub sessions: Sessions,
    /// What this host needs to know to start agents.
    pub host: Host,
    /// Who may call.
    pub access: Access,
    /// One-time credentials for streams of browsers.
    pub tickets: Tickets,
    /// What the operator decided.
    pub settings: Settings,
    /// Cancelled when the relay begins to drain: no new work that waits, streams end.
    pub draining: CancellationToken,
    /// Work that outlives the request that began it.
    pub tasks: TaskTracker,
    /// Where that work runs: requests are answered on threads that should not carry it.
    pub runtime: Handle,
    /// When it started.
    pub started: Instant,
    /// Places for control requests: each may run plugins and start a process.
    control_places: Arc<Semaphore>,
    /// Whose session is being ended or restarted.
    ending: Turns,
    /// When a refused credential was last written down, and how many were not since.
    refused: Mutex<(Option<Instant>, u64)>,
}

impl Deref for Relay {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

/// What a relay is made of.
pub struct Ingredients {
    /// What is on disk.
    pub store: Store,
    /// The open streams.
    pub hub: Hub,
    /// Policies and providers.
    pub plugins: Plugins,
    /// The agent processes of this host.
    pub sessions: Sessions,
    /// What this host needs to know to start agents.
    pub host: Host,
    /// Who may call.
    pub access: Access,
    /// What the operator decided.
    pub settings: Settings,
}

/// Control requests under way at once. People and agents make a few a minute; more is a mistake.
const CONTROLS_MAX: usize = 128;

/// Refused credentials written to the activity log at most once in this time: a guessing client
/// must not fill the disk.
const REFUSED_EVERY: Duration = Duration::from_secs(10);

impl Relay {
    /// Puts the parts together, on the runtime that work in the background is to run on.
    pub fn new(ingredients: Ingredients, draining: CancellationToken) -> Self {
        let Ingredients { store, hub, plugins, sessions, host, access, settings } = ingredients;
        Self(Arc::new(Parts {
            store,
            hub,
            plugins,
            sessions,
            host,
            access,
            tickets: Tickets::default(),
            settings,
            draining,
            tasks: TaskTracker::new(),
            runtime: Handle::current(),
            started: Instant::now(),
            control_places: Arc::new(Semaphore::new(CONTROLS_MAX)),
            ending: Turns::default(),
            refused: Mutex::new((None, 0)),
        }))
    }

    /// Takes a place for a control request, unless too many are under way.
    fn begin_control(&self) -> Result<OwnedSemaphorePermit, Refusal> {
        self.control_places.clone().try_acquire_owned().map_err(|_| Refusal::Overloaded)
    }

    /// Runs work that must not end halfway when the caller hangs up: what was written down is also
    /// done.
    async fn to_its_end<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, StoreError>> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.tasks.spawn_on(work, &self.runtime).await.map_err(|_| StoreError::Closed)?
    }

    /// Opens a stream, unless there are too many.
    pub fn subscribe(&self, listen: Listen, types: EventTypes) -> Result<Subscription, TooManyStreams> {
        self.hub.subscribe(listen, types, self.settings.streams_max)
    }

    /// Why requests should go elsewhere, if they should.
    pub fn unready_reason(&self) -> Option<&'static str> {
        if self.draining.is_cancelled() {
            return Some("draining\n");
        }
        (!self.store.is_writable()).then_some("the store takes no writes\n")
    }

    /// What health says of the plugins: one status and text each that needs attention.
    pub fn plugin_checks(&self) -> Vec<(&'static str, String)> {
        let plugins = self.plugins.current();
        let missing = plugins.missing().map(|(id, reason)| {
            ("error", format!("required policy {id} is not loaded, so every control is refused: {reason}"))
        });
        let rejected = plugins.statuses().into_iter().filter_map(|plugin| {
            let what = match plugin.state {
                PluginState::Rejected => "was rejected",
                PluginState::Quarantined => "is quarantined",
                _ => return None,
            };
            Some(("warn", format!("plugin {} {what}: {}", plugin.id, plugin.error?.reason)))
        });
        let warnings = plugins.warnings().iter().map(|warning| ("warn", warning.clone()));
        let mut checks: Vec<_> = missing.chain(rejected).chain(warnings).collect();
        if checks.is_empty() {
            let active = plugins.statuses().iter().filter(|plugin| plugin.state == PluginState::Active).count();
            checks.push(("ok", format!("{active} active")));
        }
        checks
    }

    /// Writes a refused credential to the activity log, with those that came since the last time.
    pub async fn note_refused_credential(&self, peer: Option<IpAddr>, loopback: bool) {
        let count = {
            let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
            refused.1 += 1;
            if refused.0.is_some_and(|at| at.elapsed() < REFUSED_EVERY) {
                return;
            }
            refused.0 = Some(Instant::now());
            std::mem::take(&mut refused.1)
        };
        let address = peer.map_or_else(|| "unknown".to_owned(), |address| address.to_string());
        let entry = audit::credentials_refused(count, &address, loopback, Timestamp::now());
        if let Err(error) = self.store.add_activity(entry, None).await {
            tracing::warn!(%error, "cannot record a refused credential");
        }
    }
}
