//! Launching agents on one host: plan, check, start, watch, deliver, stop.
//!
//! The launcher puts plugins and sessions together and knows nothing else: no database, no HTTP. Whoever
//! uses it is told what happens through [`Reports`]: a relay writes that into its store, an orchestrator
//! sends it to a relay.
//!
//! The order is always the same: **the record first, the process second, the outcome third.** Reports are
//! told of a session before its process is started, and whatever ends the launcher in between, the next
//! start finds the record and looks at the session.
//!
//! - `site`, `directories`: where an agent may start. `launch` plans, starts and ends, `follow` sees to a session from
//!   the process that runs to its end.
//! - `look` is one look at a session that runs, with what its provider makes of it; `granted` reads the files that it
//!   was granted. `offer` shows a notice there by the ways that its provider names, through `socket` where one is
//!   written to; `evidence` is what shows that it was taken.
//! - `turns`, `zone`: one request at a time for each agent; what the clocks on the wall show.
//!
//! File calls are made on threads that may wait, never on those that answer requests.

mod attend;
mod directories;
mod evidence;
mod follow;
mod granted;
mod launch;
mod look;
mod offer;
mod prepare;
mod pulse;
mod site;
mod socket;
mod told;
mod turns;
mod zone;

use std::path::PathBuf;
use std::sync::Arc;

use self::look::Watch;
use self::pulse::Pulse;
use self::turns::Turns;
use crate::sessions::{Exit, SessionInfo, SessionName, SessionState, Sessions, Started};

pub use attend::Notices;
pub use directories::{ENTRIES_MAX, Listing};
pub use evidence::Pending;
pub use follow::{Follow, Undelivered, Waiting};
pub use launch::{LaunchError, Launched, NewSession, PlanRecord, Reports, ended, reserved_log};
pub use look::{Look, SCREEN_BYTES_MAX};
pub use offer::Offered;
pub use prepare::Prepared;
pub use told::{WAITING_MEMBERS, tags_of};
pub use turns::Turn;

/// The variable in which a started agent finds its own token.
pub const TOKEN_VARIABLE: &str = "AGENT_RELAY_TOKEN";

/// What a host needs to know to start agents.
#[derive(Clone, Debug)]
pub struct Host {
    /// The directories in which agents may work, at least one; the first is the default. Resolved.
    pub roots: Vec<PathBuf>,
    /// The home directory of the user that agents run as.
    pub home: PathBuf,
    /// The name of this host.
    pub hostname: String,
    /// The orchestrator that this host's daemon is; none is the relay's own host.
    pub orchestrator: Option<String>,
    /// Where started agents find the relay.
    pub relay_url: String,
    /// Plan and record, but start nothing.
    pub dry_run: bool,
}

/// Starts and ends the agents of one host. Cheap to clone.
#[derive(Clone)]
pub struct Launcher(Arc<Parts>);

struct Parts {
    host: Host,
    /// Whether the first of the host's roots was there, and so resolved, when the launcher was made.
    has_base: bool,
    sessions: Sessions,
    turns: Turns,
    watch: Watch,
    pulse: Pulse,
}

impl Launcher {
    /// A launcher for this host. Looks whether its base directory is there, so it is not for a thread that
    /// must not wait.
    pub fn new(host: Host, sessions: Sessions) -> Self {
        let has_base = host.roots[0].is_dir();
        Self(Arc::new(Parts {
            host,
            has_base,
            sessions,
            turns: Turns::default(),
            watch: Watch::default(),
            pulse: Pulse::default(),
        }))
    }

    /// The host it starts agents on.
    pub fn host(&self) -> &Host {
        &self.0.host
    }

    /// Waits until nobody else ends or restarts this agent, so that two requests never leave two
    /// processes behind.
    pub async fn turn(&self, agent: &str) -> Turn {
        self.0.turns.of(agent).await
    }

    /// What has become of a session.
    pub async fn state(&self, name: &SessionName) -> SessionState {
        self.0.sessions.state_of(name).await
    }

    /// A session as it is found on this host, when its program was ever started.
    pub async fn find(&self, name: &SessionName) -> Option<SessionInfo> {
        let (launcher, name) = (self.clone(), name.clone());
        off_the_reactor(move || launcher.sessions().find(&name)).await
    }

    /// A session whose program runs, as it was when it was started.
    pub async fn started(&self, name: &SessionName) -> Option<Started> {
        let SessionInfo { name, state, log_path, attach_command, mode, .. } = self.find(name).await?;
        let SessionState::Running { pid } = state else { return None };
        Some(Started { name, pid, log_path, attach_command, mode })
    }

    /// Every session of this host, ended ones included, in the order they were started.
    pub async fn list(&self) -> Vec<SessionInfo> {
        let launcher = self.clone();
        off_the_reactor(move || launcher.sessions().list()).await
    }

    /// How a session ended. Waits while it runs.
    pub async fn exit(&self, name: &SessionName) -> Exit {
        self.sessions().exited(name).await
    }

    /// Makes sure that an interrupted start comes to nothing, if it still can: false when its program was started.
    pub async fn withdraw(&self, name: &SessionName) -> std::io::Result<bool> {
        self.sessions().withdraw(name).await
    }

    /// What the program's own conversation was last seen to be called in a session, ended ones included: what a restart
    /// goes on with.
    pub async fn conversation(&self, name: &SessionName) -> Option<String> {
        self.0.sessions.conversation(name).await
    }

    fn sessions(&self) -> &Sessions {
        &self.0.sessions
    }
}

/// Runs file calls on a thread that may wait.
///
/// # Panics
///
/// When `work` panics: with its panic.
async fn off_the_reactor<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}
