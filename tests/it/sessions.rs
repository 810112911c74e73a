//! Agent processes, started for real: in tmux where it is installed, and always detached.

mod start;
mod stop;
mod typing;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use agent_relay::domain::control::ApprovalMode;
use agent_relay::domain::control::plan::{
    EnvValue, EnvVar, Plan, Presentation, PromptDelivery, Readiness, SessionFile, StopPlan,
};
use agent_relay::domain::control::spawn::SpawnSpec;
use agent_relay::sessions::{
    Ending, Exit, LOG_BYTES_MAX, Launch, Mode, Options, Place, SessionName, SessionState, Sessions, StartError,
    Started, StopError, TmuxChoice, TypeError, environment,
};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};

use crate::program::PATIENCE;

const SECRET: &str = "ar_secret-that-must-stay-one";

/// Sessions in a directory of their own; nothing of them is left when the test ends, however it ends.
pub(crate) struct Bench {
    pub(crate) sessions: Sessions,
    directory: TempDir,
}

impl Bench {
    pub(crate) async fn new(tmux: TmuxChoice) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let sessions = open(&directory.path().join("sessions"), tmux).await;
        Self { sessions, directory }
    }

    /// A new folder of the test's own, resolved.
    pub(crate) fn folder(&self, name: &str) -> PathBuf {
        let folder = self.directory.path().join(name);
        fs::create_dir_all(&folder).expect("a folder");
        folder.canonicalize().expect("a folder")
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.directory.path().join("sessions")
    }

    fn cwd(&self) -> String {
        let path = self.directory.path().canonicalize().expect("a directory");
        path.to_str().expect("a plain path").to_owned()
    }

    /// A launch of `sh -c SCRIPT`.
    pub(crate) fn script(&self, script: &str) -> Launch {
        self.program("sh", &["-c", script])
    }

    pub(crate) fn program(&self, program: &str, args: &[&str]) -> Launch {
        Launch {
            spec: SpawnSpec {
                agent_id: "docs".into(),
                provider: "shell".to_owned(),
                approval_mode: ApprovalMode::Guarded,
                cwd: self.cwd(),
                label: Some("Docs".to_owned()),
                prompt: None,
                again: None,
            },
            plan: Plan {
                program: program.to_owned(),
                args: args.iter().map(|argument| (*argument).to_owned()).collect(),
                env: Vec::new(),
                cwd: self.cwd(),
                files: Vec::new(),
                prompt: PromptDelivery::InArguments,
                ready: Readiness { screen_texts: Vec::new(), settle_ms: 0 },
                resumed: false,
            },
            place: Place::open(Path::new(&self.cwd())).expect("a directory"),
            variables: Vec::new(),
        }
    }

    pub(crate) async fn start(&self, launch: Launch) -> Result<Started, StartError> {
        let label = launch.spec.label.clone().unwrap_or_default();
        let reservation = self.sessions.reserve(&launch.spec.provider, &label)?;
        self.sessions.start(reservation, launch).await
    }

    pub(crate) async fn started(&self, launch: Launch) -> Started {
        self.start(launch).await.expect("the program starts")
    }

    pub(crate) async fn sees(&self, name: &SessionName, text: &str) {
        sees(&self.sessions, name, text).await;
    }

    async fn stopped(&self, name: &SessionName, grace_ms: u32) -> Exit {
        let plan = StopPlan { keys: Vec::new(), grace_ms };
        self.sessions.stop(name, &plan).await.expect("the session ends")
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        end_all(&self.sessions, &self.path());
    }
}

/// Waits until `text` is on the screen, and fails with what is there instead.
pub(crate) async fn sees(sessions: &Sessions, name: &SessionName, text: &str) {
    let seen = async {
        let mut beat = tokio::time::interval(Duration::from_millis(50));
        while !sessions.screen(name).await.contains(text) {
            beat.tick().await;
        }
    };
    if tokio::time::timeout(PATIENCE, seen).await.is_err() {
        panic!("{text:?} is not on the screen:\n{}", sessions.screen(name).await);
    }
}

/// Ends what runs in a directory of sessions, and its tmux, by force.
pub(crate) fn end_all(sessions: &Sessions, directory: &Path) {
    for session in sessions.list() {
        if let SessionState::Running { pid } = session.state {
            kill_group(pid);
        }
    }
    let socket = directory.join("tmux.sock");
    if socket.exists() {
        _ = Command::new("tmux").arg("-S").arg(socket).arg("kill-server").stderr(Stdio::null()).status();
    }
}

pub(crate) async fn open(directory: &Path, tmux: TmuxChoice) -> Sessions {
    let host_program = PathBuf::from(env!("CARGO_BIN_EXE_agent-relay"));
    let options = Options { directory: directory.to_owned(), tmux, host_program };
    Sessions::open(options).await.expect("the sessions open")
}

/// Whether tmux is installed. Where it is not, says so for everybody to see.
pub(crate) fn has_tmux(test: &str) -> bool {
    let found = Command::new("tmux").arg("-V").stdout(Stdio::null()).status().is_ok_and(|status| status.success());
    if !found {
        eprintln!("SKIPPED in tmux: {test}: no tmux on PATH");
    }
    found
}

/// Where a test runs: detached, and in tmux if that is installed.
pub(crate) fn choices(test: &str) -> Vec<TmuxChoice> {
    let mut choices = vec![TmuxChoice::Never];
    if has_tmux(test) {
        choices.push(TmuxChoice::Auto);
    }
    choices
}

pub(crate) fn kill_group(pid: u32) {
    let group = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw).expect("a process id");
    _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
}

/// Whether the process runs: neither gone nor a zombie.
pub(crate) fn runs(pid: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = status.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
    state.is_some_and(|state| !matches!(state, 'Z' | 'X'))
}

/// The number a program printed behind `word` on its screen.
fn number_behind(screen: &str, word: &str) -> u32 {
    let number = screen.split(word).nth(1).and_then(|rest| rest.split_whitespace().next());
    number.and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("no {word} in {screen:?}"))
}

/// The names of what is in a sessions directory, tmux's socket aside.
pub(crate) fn folders(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).expect("a directory");
    let names = entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned());
    names.filter(|name| name.starts_with("ar-")).collect()
}

/// The processes whose file `what` below /proc holds `text`.
pub(crate) fn processes_with(what: &str, text: &str) -> Vec<u32> {
    let entries = fs::read_dir("/proc").expect("the processes");
    let ids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    ids.filter(|id: &u32| {
        let contents = fs::read(format!("/proc/{id}/{what}")).unwrap_or_default();
        contents.windows(text.len()).any(|window| window == text.as_bytes())
    })
    .collect()
}

fn files_below(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).expect("a directory").map(|entry| entry.expect("an entry"));
    entries
        .flat_map(|entry| match entry.file_type().expect("a type") {
            kind if kind.is_dir() => files_below(&entry.path()),
            kind if kind.is_file() => vec![entry.path()],
            _ => Vec::new(),
        })
        .collect()
}
