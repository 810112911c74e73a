//! Watching a session and ending it.

use std::fs;
use std::io;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::time::{Instant, sleep, timeout};

use super::folder::StateFile;
use super::name::SessionName;
use super::{
    Ending, Exit, LAST_OUTPUT_BYTES_MAX, Opening, SCREEN_BYTES_MAX, Screen, Seen, SessionState, Sessions, log, now_ms,
    off_the_reactor, process,
};
use crate::domain::control::plan::StopPlan;

/// The longest a plan may let a program take to end.
const GRACE_MAX: Duration = Duration::from_mins(1);
/// How long the kernel may take to end what cannot refuse, and its host to take note.
const FORCED_END_DEADLINE: Duration = Duration::from_secs(10);

/// How often a program without a host is looked at while it is ended.
const UNHOSTED_INTERVAL: Duration = Duration::from_millis(20);

/// A program that ended before it was up.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the program {how} before it was up{output}", how = exit.how, output = shown(&exit.last_output))]
pub struct Died {
    /// How it ended, with its last output.
    pub exit: Exit,
}

/// A session that is not ended.
#[derive(Debug, thiserror::Error)]
pub enum StopError {
    /// The kernel has not ended it within 10 s of a forced end.
    #[error("process {pid} of session {name} is still there 10 s after it was ended by force; look at it on its host")]
    StillRunning {
        /// The session.
        name: SessionName,
        /// The program.
        pid: u32,
    },
    /// It cannot be watched, so nobody can say that it has ended.
    #[error("failed to watch session {name}: {source}")]
    Unwatchable {
        /// The session.
        name: SessionName,
        /// What the system said.
        source: io::Error,
    },
    /// Only what has ended can be removed.
    #[error("session {name} is running; stop it first")]
    Running {
        /// The session.
        name: SessionName,
    },
    /// Its folder cannot be removed.
    #[error("failed to remove the folder of session {name}: {source}")]
    Folder {
        /// The session.
        name: SessionName,
        /// What the system said.
        source: io::Error,
    },
}

impl Sessions {
    /// How the program of a session is called up; none when there is no such session.
    pub async fn opening(&self, name: &SessionName) -> Option<Opening> {
        let folder = self.folder(name);
        off_the_reactor(move || folder.state()).await.map(|state| state.opening)
    }

    /// Whether its prompt was handed over before, or may have been.
    pub async fn is_prompted(&self, name: &SessionName) -> bool {
        let folder = self.folder(name);
        off_the_reactor(move || folder.is_prompted()).await
    }

    /// Notes that the prompt of a session is about to be handed over, or that it was not.
    pub async fn mark_prompted(&self, name: &SessionName, is_prompted: bool) -> io::Result<()> {
        let folder = self.folder(name);
        off_the_reactor(move || folder.mark_prompted(is_prompted)).await
    }

    /// What a session shows at this moment: the screen of its terminal, or for a detached one the end of its log.
    pub async fn look(&self, name: &SessionName) -> Screen {
        let (sessions, wanted) = (self.clone(), name.clone());
        let pane = off_the_reactor(move || sessions.running_pane(&wanted)).await;
        if let (Some(tmux), Some(pane)) = (&self.shared.tmux, pane) {
            // A terminal that cannot be looked at shows nothing that anybody could know.
            return tmux.look(&pane).await.unwrap_or_default();
        }
        let log = self.folder(name).log();
        Screen::new(&off_the_reactor(move || log::tail(&log, SCREEN_BYTES_MAX)).await, None)
    }

    fn running_pane(&self, name: &SessionName) -> Option<String> {
        match self.state(name) {
            SessionState::Running { .. } => self.folder(name).state()?.pane,
            SessionState::Exited(_) | SessionState::Gone => None,
        }
    }

    /// Waits for the end of a session, and answers at once when it has ended or there is none.
    pub async fn exited(&self, name: &SessionName) -> Exit {
        let folder = self.folder(name);
        if let Err(error) = folder.ended().await
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::error!(session.name = %name, %error, "cannot watch a session");
        }
        self.exit_of(name).await
    }

    /// What is on the screen of a session, or for a detached one the end of its log: plain text, at most 64 KiB. For a session
    /// that has ended, its last output.
    pub async fn screen(&self, name: &SessionName) -> String {
        let (sessions, wanted) = (self.clone(), name.clone());
        let pane = off_the_reactor(move || sessions.running_pane(&wanted)).await;
        if let (Some(tmux), Some(pane)) = (&self.shared.tmux, pane)
            && let Ok(screen) = tmux.screen(&pane).await
        {
            return log::last(&log::plain(&screen), SCREEN_BYTES_MAX);
        }
        let log = self.folder(name).log();
        off_the_reactor(move || log::last(&log::tail(&log, SCREEN_BYTES_MAX), SCREEN_BYTES_MAX)).await
    }

    /// Ends a session and answers how it ended: first by its keys, after half of the grace by SIGTERM to its process group, after all
    /// of it by SIGKILL. In a dialog no key is pressed, for it would be an answer that nobody gave. What it runs in the background ends with it. Returns when the program is confirmed to have ended; one that has is left alone.
    pub async fn stop(&self, name: &SessionName, plan: &StopPlan) -> Result<Exit, StopError> {
        let SessionState::Running { pid } = self.state_of(name).await else {
            self.end_unhosted(name).await?;
            return Ok(self.exited(name).await);
        };
        let grace = Duration::from_millis(plan.grace_ms.into()).min(GRACE_MAX);
        let deadline = Instant::now() + grace;
        let folder = self.folder(name);
        if let Err(error) = off_the_reactor(move || folder.mark_stopping()).await {
            tracing::warn!(session.name = %name, %error, "background processes of this session may go on");
        }
        let keys: Vec<&str> = plan.keys.iter().map(String::as_str).collect();
        let known = self.opening(name).await.unwrap_or_default().ready.screen_texts;
        if !keys.is_empty() && self.look(name).await.read(&known) != Seen::Dialog {
            match self.press(name, &keys).await {
                Ok(()) => {
                    if let Some(exit) = self.exit_within(name, grace / 2).await? {
                        return Ok(exit);
                    }
                }
                Err(error) => {
                    tracing::debug!(session.name = %name, %error, "stopping without keys");
                }
            }
        }
        self.signal(name, pid, Signal::TERM);
        // A stopped process takes note of nothing.
        self.signal(name, pid, Signal::CONT);
        if let Some(exit) = self.exit_within(name, deadline - Instant::now()).await? {
            return Ok(exit);
        }
        tracing::info!(session.name = %name, pid, "session did not end in time and is ended by force");
        self.signal(name, pid, Signal::KILL);
        let exit = self.exit_within(name, FORCED_END_DEADLINE).await?;
        exit.ok_or_else(|| StopError::StillRunning { name: name.clone(), pid })
    }

    /// Makes sure that a start which was interrupted comes to nothing, if it still can. False when its program was
    /// started all the same.
    pub async fn withdraw(&self, name: &SessionName) -> io::Result<bool> {
        let folder = self.folder(name);
        let taken = folder.clone();
        if off_the_reactor(move || taken.take_back_launch()).await? {
            return Ok(true);
        }
        match timeout(FORCED_END_DEADLINE, folder.started()).await {
            Ok(Err(error)) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
            Ok(waited) => waited?,
            Err(_) => return Err(io::Error::other("its host does not say whether its program runs")),
        }
        Ok(off_the_reactor(move || folder.state()).await.is_none())
    }

    /// Removes all that is left of an ended session, its log included. One that is gone already is fine. It asks
    /// the file system: not for a thread that answers requests.
    pub fn remove(&self, name: &SessionName) -> Result<(), StopError> {
        if let SessionState::Running { .. } = self.state(name) {
            return Err(StopError::Running { name: name.clone() });
        }
        match fs::remove_dir_all(self.folder(name).path()) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(StopError::Folder { name: name.clone(), source })
            }
            _ => Ok(()),
        }
    }

    async fn exit_within(&self, name: &SessionName, time: Duration) -> Result<Option<Exit>, StopError> {
        let folder = self.folder(name);
        match timeout(time, folder.ended()).await {
            Ok(Ok(())) => Ok(Some(self.exit_of(name).await)),
            Ok(Err(source)) => Err(StopError::Unwatchable { name: name.clone(), source }),
            Err(_) => Ok(None),
        }
    }

    /// Sends a signal to the program's process group, while its host keeps the id from being given to another.
    fn signal(&self, name: &SessionName, pid: u32, signal: Signal) {
        let group = i32::try_from(pid).ok().and_then(Pid::from_raw);
        if let (Some(group), true) = (group, self.folder(name).is_alive()) {
            // It may have ended in this moment; whether it has is seen by its host alone.
            _ = kill_process_group(group, signal);
        }
    }

    /// Ends a program whose host was killed: it can be told from a later process with its id by when it began.
    async fn end_unhosted(&self, name: &SessionName) -> Result<(), StopError> {
        let folder = self.folder(name);
        let known = off_the_reactor(move || (folder.exit(), folder.state())).await;
        let (None, Some(StateFile { pid, birth: Some(birth), boot_id, .. })) = known else {
            return Ok(());
        };
        if of_another_boot(boot_id.as_deref()) {
            return Ok(());
        }
        let Some(id) = i32::try_from(pid).ok().and_then(Pid::from_raw) else {
            return Ok(());
        };
        let deadline = Instant::now() + FORCED_END_DEADLINE;
        // The kernel tells the end of a process only to its parent, which is not us.
        while process::birth(id) == Some(birth) {
            if Instant::now() > deadline {
                return Err(StopError::StillRunning { name: name.clone(), pid });
            }
            // First what is away from its group, while it can still be found.
            off_the_reactor(move || process::end_tree(id, birth)).await;
            _ = kill_process_group(id, Signal::KILL);
            sleep(UNHOSTED_INTERVAL).await;
        }
        Ok(())
    }

    /// How an ended session ended, as its host wrote it down; lost when nobody did.
    async fn exit_of(&self, name: &SessionName) -> Exit {
        let folder = self.folder(name);
        match off_the_reactor(move || folder.exit()).await {
            Some(exit) => exit,
            None => self.lost(name).await,
        }
    }

    async fn lost(&self, name: &SessionName) -> Exit {
        let folder = self.folder(name);
        off_the_reactor(move || {
            let log = folder.log();
            let last_output = log::last(&log::tail(&log, LAST_OUTPUT_BYTES_MAX), LAST_OUTPUT_BYTES_MAX);
            let of_another_boot = folder.state().is_some_and(|state| of_another_boot(state.boot_id.as_deref()));
            let how = if of_another_boot { Ending::WithMachine } else { Ending::Lost };
            Exit { how, at_ms: now_ms(), last_output, survivors: Vec::new() }
        })
        .await
    }
}

/// Whether what was noted under this boot id was so in an earlier run of the machine.
fn of_another_boot(boot_id: Option<&str>) -> bool {
    let now = process::boot_id();
    boot_id.zip(now.as_deref()).is_some_and(|(then, now)| then != now)
}

/// The last lines of output as part of a sentence.
fn shown(output: &str) -> String {
    if output.is_empty() { ", without a word".to_owned() } else { format!("; its last words: {output}") }
}
