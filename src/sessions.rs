//! Starting, watching, typing into and ending agent processes: in tmux, where people can look on and type too, or,
//! where there is none, detached with a log.
//!
//! Nothing is kept in memory. Each session is a private folder and a small process of our own that hosts the program
//! ([`host_main`]) and outlives the relay, even a `kill -9`; a relay that starts anew opens the same directory and
//! finds them all. Secrets reach the program through a file that is removed as soon as it is read: never through
//! an argument list.
//!
//! Plans are carried out as they are: whether one may be is decided elsewhere, before.

mod activity;
mod beside;
mod control;
mod environment;
mod folder;
mod host;
mod log;
mod name;
mod place;
mod process;
mod screen;
mod start;
mod tmux;
mod typing;

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use self::folder::{Folder, StateFile, private_directory};
use self::tmux::Tmux;
use crate::domain::control::ApprovalMode;
use crate::domain::control::plan::{PromptDelivery, Readiness};
use crate::domain::control::spawn::{SpawnSpec, Survivor};
use crate::domain::time::Timestamp;

pub use self::activity::{Facts, Mark, View};
pub use self::control::{Died, StopError};
pub use self::environment::environment;
pub use self::host::host_main;
pub use self::log::{LAST_OUTPUT_BYTES_MAX, LOG_BYTES_MAX};
pub use self::name::{InvalidSessionName, SESSION_NAME_BYTES_MAX, SessionName};
pub use self::place::{Place, PlaceError, PlaceId};
pub use self::screen::{Evidence, Screen, Seen};
pub use self::start::{Launch, Reservation, SESSIONS_MAX, StartError, Started};
pub use self::tmux::TmuxError;
pub use self::typing::{Left, TEXT_BYTES_MAX, TypeError};

/// How old a start that came to nothing must be before its secrets are removed: it may be another relay's, just under way.
const ABANDONED_AFTER: Duration = Duration::from_secs(60);
/// The most of a log that is shown as the screen of a detached session.
const SCREEN_BYTES_MAX: usize = 64 * 1024;
/// Sessions that are typed into share this many locks.
const TYPING_LOCKS: usize = 16;

/// How [`Sessions`] are opened.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where sessions are kept. Made when it is not there, and closed to everybody else.
    pub directory: PathBuf,
    /// Whether they may run in tmux.
    pub tmux: TmuxChoice,
    /// The program that hosts a session when called as `PROGRAM session-host FOLDER`: the relay's own.
    pub host_program: PathBuf,
}

/// Whether sessions run in tmux.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TmuxChoice {
    /// When a usable one is installed.
    #[default]
    Auto,
    /// Never: always detached.
    Never,
}

/// The agent processes of one directory. Cheap to clone.
#[derive(Clone)]
pub struct Sessions {
    shared: Arc<Shared>,
}

struct Shared {
    directory: PathBuf,
    tmux: Option<Tmux>,
    host_program: PathBuf,
    /// Taken while a text is typed, so that two texts never mix.
    typing: [Mutex<()>; TYPING_LOCKS],
}

/// A directory that cannot hold sessions.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The directory cannot be made, read or closed to others.
    #[error("failed to open the sessions directory {directory}: {source}", directory = directory.display())]
    Directory {
        /// The directory.
        directory: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It belongs to another user, who could read the secrets in it.
    #[error("the sessions directory {directory} belongs to another user; choose one of your own", directory = directory.display())]
    NotOurs {
        /// The directory.
        directory: PathBuf,
    },
    /// The program that hosts sessions is not there.
    #[error("the session host {program} is no executable file", program = program.display())]
    HostProgram {
        /// The program.
        program: PathBuf,
    },
}

/// What a session is about: known before it starts, kept with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Identity {
    /// The agent that runs in it.
    pub agent_id: String,
    /// The provider that planned it.
    pub provider: String,
    /// A human name.
    pub label: Option<String>,
    /// What the agent may do by itself.
    pub approval_mode: ApprovalMode,
    /// The directory it works in.
    pub cwd: String,
}

/// How a session's program is called up, kept with it: a relay that starts anew meanwhile goes on where the last one was.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Opening {
    /// By what it is seen to be up.
    pub ready: Readiness,
    /// How its prompt reaches it then.
    pub prompt: PromptDelivery,
}

impl From<SpawnSpec> for Identity {
    fn from(spec: SpawnSpec) -> Self {
        let SpawnSpec { agent_id, provider, approval_mode, cwd, label, prompt: _, again: _ } = spec;
        Self { agent_id: agent_id.into_string(), provider, label, approval_mode, cwd }
    }
}

/// Where a session runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// In a tmux of the relay's own.
    Tmux,
    /// With no terminal; its output goes to a log.
    Detached,
}

/// How a program ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "camelCase")]
pub enum Ending {
    /// By itself, with this code.
    #[error("exited with code {0}")]
    Code(i32),
    /// By this signal.
    #[error("was ended by signal {0}")]
    Signal(i32),
    /// It never ran.
    #[error("could not be started: {0}")]
    NotStarted(String),
    /// Nobody saw it: its host was killed.
    #[error("ended unseen")]
    Lost,
    /// The machine ended or restarted under it.
    #[error("ended with the machine")]
    WithMachine,
}

/// The end of a session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Exit {
    /// How the program ended.
    pub how: Ending,
    /// When, in milliseconds since the Unix epoch; when it was noticed if nobody saw it.
    pub at_ms: u64,
    /// The last of its output as plain text, at most [`LAST_OUTPUT_BYTES_MAX`].
    pub last_output: String,
    /// What it had started and could not be ended with it, at most 16.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub survivors: Vec<Survivor>,
}

/// What has become of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SessionState {
    /// Its program runs.
    Running {
        /// The program's process id, and its process group's.
        pid: u32,
    },
    /// Its program has ended.
    Exited(Exit),
    /// Nothing runs and nobody knows how it ended, or there is no such session.
    Gone,
}

/// A session as it is found on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionInfo {
    /// Its name.
    pub name: SessionName,
    /// What it is about.
    pub identity: Identity,
    /// Where it runs.
    pub mode: Mode,
    /// When its program started, in milliseconds since the Unix epoch.
    pub started_at_ms: u64,
    /// What has become of it.
    pub state: SessionState,
    /// The file its output is kept in: written all along when detached, at its end in tmux.
    pub log_path: PathBuf,
    /// What a person types to look at it; none without a terminal.
    pub attach_command: Option<String>,
}

impl Sessions {
    /// Opens the sessions of a directory: those that run go on, and what an interrupted start left behind loses its secrets.
    pub async fn open(options: Options) -> Result<Self, OpenError> {
        let Options { directory, tmux, host_program } = options;
        if environment::find_program(&host_program.to_string_lossy(), "").is_none() {
            return Err(OpenError::HostProgram { program: host_program });
        }
        let failed = |source| OpenError::Directory { directory: directory.clone(), source };
        private_directory().recursive(true).create(&directory).map_err(failed)?;
        let directory = directory.canonicalize().map_err(failed)?;
        let failed = |source| OpenError::Directory { directory: directory.clone(), source };
        let found = fs::metadata(&directory).map_err(failed)?;
        if found.uid() != rustix::process::getuid().as_raw() {
            return Err(OpenError::NotOurs { directory });
        }
        fs::set_permissions(&directory, fs::Permissions::from_mode(0o700)).map_err(failed)?;
        let tmux = match tmux {
            TmuxChoice::Auto => Tmux::find(&directory).await.map_err(failed)?,
            TmuxChoice::Never => None,
        };
        let typing = std::array::from_fn(|_| Mutex::new(()));
        let sessions = Self { shared: Arc::new(Shared { directory, tmux, host_program, typing }) };
        sessions.forget_abandoned_starts();
        Ok(sessions)
    }

    /// Where new sessions will run.
    pub fn mode(&self) -> Mode {
        if self.shared.tmux.is_some() { Mode::Tmux } else { Mode::Detached }
    }

    /// Every session there is, ended ones included, in the order they were started.
    pub fn list(&self) -> Vec<SessionInfo> {
        let mut found: Vec<SessionInfo> = self.names().iter().filter_map(|name| self.find(name)).collect();
        found.sort_by(|one, other| (one.started_at_ms, &one.name).cmp(&(other.started_at_ms, &other.name)));
        found
    }

    /// The session of this name, when its program was ever started.
    pub fn find(&self, name: &SessionName) -> Option<SessionInfo> {
        let folder = self.folder(name);
        let state = folder.state()?;
        let tmux = state.pane.as_ref().and(self.shared.tmux.as_ref());
        Some(SessionInfo {
            name: name.clone(),
            mode: if state.pane.is_some() { Mode::Tmux } else { Mode::Detached },
            started_at_ms: state.started_at_ms,
            state: self.state(name),
            log_path: folder.log(),
            attach_command: tmux.map(|tmux| tmux.attach_command(name)),
            identity: state.identity,
        })
    }

    /// As [`Sessions::state`], for a thread that answers requests: the file system is asked elsewhere.
    pub async fn state_of(&self, name: &SessionName) -> SessionState {
        let (sessions, name) = (self.clone(), name.clone());
        off_the_reactor(move || sessions.state(&name)).await
    }

    /// What has become of the session of this name.
    pub fn state(&self, name: &SessionName) -> SessionState {
        let folder = self.folder(name);
        // The order matters: the exit is written before the host ends.
        let alive = folder.is_alive();
        match (folder.exit(), folder.state()) {
            (Some(exit), _) => SessionState::Exited(exit),
            (None, Some(StateFile { pid, .. })) if alive => SessionState::Running { pid },
            (None, _) => SessionState::Gone,
        }
    }

    fn folder(&self, name: &SessionName) -> Folder {
        Folder::at(&self.shared.directory.join(name.as_str()))
    }

    /// The names of all sessions, those just being started included.
    fn names(&self) -> Vec<SessionName> {
        let entries = fs::read_dir(&self.shared.directory).into_iter().flatten().flatten();
        entries
            .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
            .filter_map(|entry| SessionName::parse(entry.file_name().to_str()?).ok())
            .collect()
    }

    fn forget_abandoned_starts(&self) {
        for name in self.names() {
            let folder = self.folder(&name);
            let age = fs::metadata(folder.path()).and_then(|found| found.modified()).map(|then| then.elapsed());
            let is_old = age.is_ok_and(|age| age.is_ok_and(|age| age > ABANDONED_AFTER));
            if is_old && !folder.is_alive() {
                folder.forget_launch();
            }
        }
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

/// Milliseconds since the Unix epoch, as the files of a session have them.
fn now_ms() -> u64 {
    u64::try_from(Timestamp::now().as_ms()).unwrap_or_default()
}
