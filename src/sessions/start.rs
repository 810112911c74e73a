//! Starting a session: a name and a folder first, then, when there is a plan, the program.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use tokio::time::timeout;

use super::environment::{self, environment};
use super::folder::{Folder, LaunchFile, write_private};
use super::name::SessionName;
use super::place::Place;
use super::tmux::TmuxError;
use super::{Ending, Identity, Mode, Opening, SessionState, Sessions, off_the_reactor};
use crate::domain::control::plan::{Plan, SessionFile};
use crate::domain::control::spawn::SpawnSpec;

/// The most sessions a directory holds, ended ones included. Room is made by removing the ones that ended first.
pub const SESSIONS_MAX: usize = 256;
/// The most a launch may hold altogether, in bytes: arguments, environment and files.
const LAUNCH_BYTES_MAX: usize = 1024 * 1024;
/// How long the start of a program may take, up to the moment it runs.
const START_DEADLINE: Duration = Duration::from_secs(10);
/// How often another name is tried when one is taken.
const NAME_TRIES: usize = 8;

/// What is started.
pub struct Launch {
    /// What was approved.
    pub spec: SpawnSpec,
    /// The plan, checked.
    pub plan: Plan,
    /// The approved directory. The program starts in this very one or not at all.
    pub place: Place,
    /// The relay's own variables for the program, its token among them: not printed, not logged, in no argument list.
    pub variables: Vec<(String, String)>,
}

/// A program that runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Started {
    /// The session's name.
    pub name: SessionName,
    /// The program's process id.
    pub pid: u32,
    /// The file its output is kept in: written all along when detached, at its end in tmux.
    pub log_path: PathBuf,
    /// What a person types to look at it; none without a terminal.
    pub attach_command: Option<String>,
    /// Where it runs.
    pub mode: Mode,
}

/// A program that does not run.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// There are too many sessions, and all of them run.
    #[error("{SESSIONS_MAX} sessions are running, which is the most; stop one first")]
    TooMany,
    /// The program is not there.
    #[error("no executable {program:?} on the PATH {path:?}; install it or extend the PATH")]
    NotFound {
        /// The program, as the plan names it.
        program: String,
        /// The PATH that was searched.
        path: String,
    },
    /// The plan is for another directory than the one that was opened.
    #[error("the working directory {cwd:?} of the plan is not the one that was approved")]
    Cwd {
        /// The directory.
        cwd: String,
    },
    /// The plan has something that no process can be given.
    #[error("{what} cannot be passed to a program")]
    Invalid {
        /// What it is.
        what: String,
    },
    /// The plan is too large.
    #[error("arguments, environment and files take {bytes} bytes; {LAUNCH_BYTES_MAX} is the most")]
    TooLarge {
        /// What they take.
        bytes: usize,
    },
    /// The system refused to run the program.
    #[error("failed to run {program:?}: {reason}")]
    Refused {
        /// The program, as the plan names it.
        program: String,
        /// What the system said.
        reason: String,
    },
    /// tmux did not start the session.
    #[error(transparent)]
    Tmux(#[from] TmuxError),
    /// The process that hosts the session ended, or was not heard of for 10 s.
    #[error("the host of session {name} did not start the program: {reason}")]
    Host {
        /// The session.
        name: SessionName,
        /// What is known.
        reason: String,
    },
    /// A file of the session could not be written.
    #[error("failed to write {path}: {source}", path = path.display())]
    Files {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// A name and a folder for a session to come: a plan is made for them. Dropped unused, they are gone.
#[derive(Debug)]
pub struct Reservation {
    name: SessionName,
    folder: Folder,
    used: bool,
}

impl Reservation {
    /// The session's name.
    pub fn name(&self) -> &SessionName {
        &self.name
    }

    /// The directory the plan's files will be in: the session directory that providers are told of.
    pub fn files_directory(&self) -> PathBuf {
        self.folder.files()
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if !self.used
            && let Err(error) = fs::remove_dir_all(self.folder.path())
        {
            tracing::warn!(session.name = %self.name, %error, "could not remove the folder of a session that never was");
        }
    }
}

impl Sessions {
    /// Takes a new name, which says the provider and the label, and makes its folder. Makes room first where
    /// there is none left. It asks the file system: not for a thread that answers requests.
    pub fn reserve(&self, provider: &str, label: &str) -> Result<Reservation, StartError> {
        self.make_room()?;
        let mut tries = 0;
        loop {
            let mut random = [0; 4];
            let path = &self.shared.directory;
            getrandom::fill(&mut random)
                .map_err(|error| StartError::Files { path: path.clone(), source: io::Error::other(error) })?;
            let name = SessionName::make(provider, label, random);
            let path = path.join(name.as_str());
            tries += 1;
            match Folder::create(&path) {
                Ok(folder) => {
                    return Ok(Reservation { name, folder, used: false });
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && tries < NAME_TRIES => {}
                Err(source) => return Err(StartError::Files { path, source }),
            }
        }
    }

    /// Starts the program of a plan in the reserved session. Returns once it really runs; whether it comes up is to be
    /// seen by [`Sessions::look`]. When it does not run, nothing of the session is left.
    pub async fn start(&self, mut reservation: Reservation, launch: Launch) -> Result<Started, StartError> {
        let folder = reservation.folder.clone();
        let program = launch.plan.program.clone();
        // Open until the program runs: as long no other directory can be taken for it.
        let _open = launch.place.clone();
        let (sessions, written) = (self.clone(), folder.clone());
        off_the_reactor(move || {
            write_files(&written, &launch.plan.files)?;
            sessions.write_launch(&written, launch)
        })
        .await?;
        let outcome = self.host(&reservation.name, &folder).await;
        let left = folder.clone();
        let (exit, state) = off_the_reactor(move || {
            left.forget_launch();
            (left.exit(), left.state())
        })
        .await;
        if let Err(error) = outcome {
            self.abandon(&reservation.name).await;
            return Err(error);
        }
        if let Some(Ending::NotStarted(reason)) = exit.map(|exit| exit.how) {
            return Err(StartError::Refused { program, reason });
        }
        let Some(state) = state else {
            let reason = "it ended before the program ran".to_owned();
            return Err(StartError::Host { name: reservation.name.clone(), reason });
        };
        reservation.used = true;
        let name = reservation.name.clone();
        let attach_command = self.shared.tmux.as_ref().map(|tmux| tmux.attach_command(&name));
        tracing::info!(session.name = %name, agent.id = state.identity.agent_id, pid = state.pid, "session started");
        Ok(Started { name, pid: state.pid, log_path: folder.log(), attach_command, mode: self.mode() })
    }

    /// Refuses a plan whose program is not there.
    pub fn require_program(&self, plan: &Plan) -> Result<(), StartError> {
        let env = environment(std::env::vars_os(), &plan.env, &[]);
        let path = env.get("PATH").map_or("", String::as_str);
        match environment::find_program(&plan.program, path) {
            Some(_) => Ok(()),
            None => Err(StartError::NotFound { program: plan.program.clone(), path: path.to_owned() }),
        }
    }

    fn make_room(&self) -> Result<(), StartError> {
        let names = self.names();
        if names.len() < SESSIONS_MAX {
            return Ok(());
        }
        let ended = names.iter().filter_map(|name| match self.state(name) {
            SessionState::Exited(exit) => Some((exit.at_ms, name)),
            SessionState::Gone if self.folder(name).state().is_some() => Some((0, name)),
            SessionState::Running { .. } | SessionState::Gone => None,
        });
        let (_, oldest) = ended.min().ok_or(StartError::TooMany)?;
        let folder = self.folder(oldest);
        fs::remove_dir_all(folder.path()).map_err(|source| StartError::Files { path: folder.path().to_owned(), source })
    }

    fn write_launch(&self, folder: &Folder, launch: Launch) -> Result<(), StartError> {
        let Launch { spec, plan, place, variables } = launch;
        let env = environment(std::env::vars_os(), &plan.env, &variables);
        refuse_impossible(&plan, &env)?;
        if Path::new(&plan.cwd) != place.path() {
            return Err(StartError::Cwd { cwd: plan.cwd });
        }
        let path = env.get("PATH").map_or("", String::as_str);
        let Some(program) = environment::find_program(&plan.program, path) else {
            return Err(StartError::NotFound { program: plan.program, path: path.to_owned() });
        };
        let launch = LaunchFile {
            identity: Identity { cwd: plan.cwd, ..Identity::from(spec) },
            opening: Opening { ready: plan.ready, prompt: plan.prompt },
            place: place.id(),
            program,
            called: plan.program,
            args: plan.args,
            env,
            terminal: self.shared.tmux.as_ref().map(super::tmux::Tmux::terminal),
        };
        folder.put_launch(&launch).map_err(|source| StartError::Files { path: folder.path().to_owned(), source })
    }

    /// Runs the host and waits until it knows what came of the program.
    async fn host(&self, name: &SessionName, folder: &Folder) -> Result<(), StartError> {
        let failed = |reason: String| StartError::Host { name: name.clone(), reason };
        let outcome = folder.outcome().map_err(|error| failed(error.to_string()))?;
        let late = |_| failed(format!("nothing was heard of it for {} s", START_DEADLINE.as_secs()));
        let host = &self.shared.host_program;
        if let Some(tmux) = &self.shared.tmux {
            let folder = folder.path().to_string_lossy();
            tmux.new_session(name, host, ["session-host", &folder]).await?;
            let known = timeout(START_DEADLINE, outcome.known()).await.map_err(late)?;
            return known.map_err(|error| failed(error.to_string()));
        }
        let mut command = Command::new(host);
        command.arg("session-host").arg(folder.path());
        command.env_clear().envs(environment::own()).current_dir("/");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().map_err(|error| failed(error.to_string()))?;
        let known = timeout(START_DEADLINE, async {
            tokio::select! {
                known = outcome.known() => known,
                _ = child.wait() => Ok(()),
            }
        });
        match known.await {
            Ok(known) => known.map_err(|error| failed(error.to_string()))?,
            Err(elapsed) => {
                // It has not begun, or it hangs: either way nothing of it may come up later.
                _ = child.start_kill();
                return Err(late(elapsed));
            }
        }
        // Whoever starts a process takes note of its end, or it stays on as a zombie.
        tokio::spawn(async move { child.wait().await });
        Ok(())
    }

    /// Makes sure that nothing of a failed start comes up later.
    async fn abandon(&self, name: &SessionName) {
        if let Some(tmux) = &self.shared.tmux {
            // Usually there is no such session: that is why the start failed.
            _ = tmux.kill_session(name).await;
        }
    }
}

fn write_files(folder: &Folder, files: &[SessionFile]) -> Result<(), StartError> {
    for SessionFile { name, contents } in files {
        let is_plain = !matches!(name.as_str(), "" | "." | "..") && !name.contains(['/', '\0']);
        if !is_plain {
            return Err(StartError::Invalid { what: format!("the file name {name:?}") });
        }
        let path = folder.files().join(name);
        write_private(&path, contents.as_bytes()).map_err(|source| StartError::Files { path, source })?;
    }
    Ok(())
}

fn refuse_impossible(plan: &Plan, env: &BTreeMap<String, String>) -> Result<(), StartError> {
    let invalid = |what: String| Err(StartError::Invalid { what });
    if plan.program.contains('\0') {
        return invalid("a program name with a NUL".to_owned());
    }
    if let Some(index) = plan.args.iter().position(|argument| argument.contains('\0')) {
        return invalid(format!("argument {} with a NUL", index + 1));
    }
    for (name, value) in env {
        // The value may be a secret: only the name is told.
        if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
            return invalid(format!("the environment variable {name:?}"));
        }
    }
    let args = plan.args.iter().map(String::len).sum::<usize>();
    let env = env.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>();
    let files = plan.files.iter().map(|file| file.contents.len()).sum::<usize>();
    let bytes = args + env + files;
    if bytes > LAUNCH_BYTES_MAX { Err(StartError::TooLarge { bytes }) } else { Ok(()) }
}
