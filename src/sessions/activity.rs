//! What can be known of sessions that run: which of them anything happened in, asked of all at once, and what one of
//! them shows and consists of.

use std::collections::BTreeMap;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher as _};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

use super::name::SessionName;
use super::screen::Screen;
use super::{Identity, Opening, SCREEN_BYTES_MAX, SessionState, Sessions, log, now_ms, off_the_reactor, process};

/// tmux knows the second in which a program last wrote: for so long after it, more may have been written unnoticed.
const UNSETTLED_MS: u64 = 2_000;

/// Changes whenever something may have changed on a screen: the same mark twice means that there is nothing new to
/// look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark(u64);

/// What a session shows at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// Its screen.
    pub screen: Screen,
    /// The title that its program gave its window.
    pub title: String,
    /// When the program last wrote anything, in seconds since the Unix epoch; unknown without a terminal.
    pub written_at_s: Option<u64>,
}

/// What a session that runs consists of.
#[derive(Clone, Debug)]
pub struct Facts {
    /// What it is about.
    pub identity: Identity,
    /// How its program is called up.
    pub opening: Opening,
    /// The directory that its plan's files are in.
    pub files_directory: PathBuf,
    /// Its program's process id, then those of what that has started; at most 64.
    pub pids: Vec<u32>,
    /// What its program's own conversation was last seen to be called.
    pub conversation: Option<String>,
    pane: Option<String>,
}

impl Sessions {
    /// A mark for each session, asked of all at once: by one command of tmux, and a look at the logs of those without a
    /// terminal.
    pub async fn activity(&self) -> BTreeMap<SessionName, Mark> {
        let sessions = self.clone();
        let mut marks = off_the_reactor(move || sessions.log_marks()).await;
        if let Some(tmux) = &self.shared.tmux {
            let now = now_ms();
            marks.extend(tmux.panes().await.into_iter().map(|(name, facts)| {
                let is_settled = facts.written_at_s * 1_000 + 1_000 + UNSETTLED_MS < now;
                (name, mark(&(facts.written_at_s, facts.rest, if is_settled { 0 } else { now })))
            }));
        }
        marks
    }

    fn log_marks(&self) -> BTreeMap<SessionName, Mark> {
        let names = self.names().into_iter();
        let marks = names.filter_map(|name| {
            let found = fs::metadata(self.folder(&name).log()).ok()?;
            Some((name, mark(&(found.len(), found.mtime(), found.mtime_nsec()))))
        });
        marks.collect()
    }

    /// What a session consists of; nothing when it does not run.
    pub async fn facts(&self, name: &SessionName) -> Option<Facts> {
        let (sessions, name) = (self.clone(), name.clone());
        off_the_reactor(move || {
            let SessionState::Running { pid } = sessions.state(&name) else { return None };
            let folder = sessions.folder(&name);
            let state = folder.state()?;
            Some(Facts {
                identity: state.identity,
                opening: state.opening,
                files_directory: folder.files(),
                pids: process::tree(pid, folder.path()),
                conversation: folder.conversation(),
                pane: state.pane,
            })
        })
        .await
    }

    /// What a session shows at this moment: the screen of its terminal, or for a detached one the end of its log.
    pub async fn view(&self, name: &SessionName, facts: &Facts) -> View {
        if let (Some(tmux), Some(pane)) = (&self.shared.tmux, &facts.pane) {
            // A terminal that cannot be looked at shows nothing that anybody could know.
            return tmux.view(pane).await.unwrap_or_default();
        }
        let log = self.folder(name).log();
        let screen = off_the_reactor(move || log::tail(&log, SCREEN_BYTES_MAX)).await;
        View { screen: Screen::new(&screen, None), ..View::default() }
    }

    /// What the program's own conversation was last seen to be called in a session, ended ones included.
    pub async fn conversation(&self, name: &SessionName) -> Option<String> {
        let folder = self.folder(name);
        off_the_reactor(move || folder.conversation()).await
    }

    /// Keeps what the program's own conversation is called.
    ///
    /// # Errors
    ///
    /// When the session's folder cannot be written to.
    pub async fn keep_conversation(&self, name: &SessionName, conversation: String) -> io::Result<()> {
        let folder = self.folder(name);
        off_the_reactor(move || folder.put_conversation(&conversation)).await
    }

    /// The environment that the program of this process id was started with; nothing where the system does not say.
    pub async fn environment_of(&self, pid: u32) -> Option<BTreeMap<String, String>> {
        off_the_reactor(move || process::environment(pid)).await
    }
}

fn mark(of: &impl Hash) -> Mark {
    let mut hasher = DefaultHasher::new();
    of.hash(&mut hasher);
    Mark(hasher.finish())
}
