//! A tmux server of our own: its socket lies in a private directory and it reads no configuration, so the
//! user's own tmux is neither touched nor able to change what we rely on.

mod bracketed;

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use rustix::termios::LocalModes;
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;
use tokio::time::sleep;

use crate::domain::text::hex::hex;

use super::activity::View;
use super::folder::{Terminal, private_directory};
use super::name::SessionName;
use super::screen::Screen;
use super::{environment, log, off_the_reactor};

/// The longest any command to tmux may take.
const COMMAND_DEADLINE: Duration = Duration::from_secs(5);
/// The most that is read of a command's answer: the whole history of a pane fits.
const ANSWER_BYTES_MAX: u64 = 2 * 1024 * 1024;
/// The most that is read of a command's complaint.
const COMPLAINT_BYTES_MAX: u64 = 4 * 1024;
/// The oldest version whose commands are all known to do what is relied on here.
const OLDEST_VERSION: (u32, u32) = (3, 0);
/// A socket's path must fit into the kernel's 108 bytes with its final zero.
const SOCKET_BYTES_MAX: usize = 100;
/// How often a session is tried to be started, and the pause between two tries.
const START_TRIES: usize = 4;
const START_PAUSE: Duration = Duration::from_millis(50);
/// Lines of output a pane remembers.
const HISTORY_LINES: &str = "2000";
/// Characters of a window's title that are told.
const TITLE_MAX: usize = 500;
/// The size of a screen nobody looks at.
const SCREEN_SIZE: (&str, &str) = ("200", "50");

/// A command to tmux that did not work.
#[derive(Debug, thiserror::Error)]
pub enum TmuxError {
    /// The program could not be run.
    #[error("could not run {program}: {source}", program = program.display())]
    Run {
        /// The tmux program.
        program: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It took longer than 5 s.
    #[error("tmux {command} took longer than 5 s and was ended")]
    TimedOut {
        /// The command.
        command: String,
    },
    /// It refused.
    #[error("tmux {command} failed: {complaint}")]
    Failed {
        /// The command.
        command: String,
        /// What tmux said.
        complaint: String,
    },
}

/// What tmux knows of a pane without its screen.
pub(super) struct PaneFacts {
    /// When its program last wrote anything, in seconds since the Unix epoch.
    pub(super) written_at_s: u64,
    /// Its cursor, size and title.
    pub(super) rest: String,
}

/// The tmux server of one sessions directory.
#[derive(Clone, Debug)]
pub(super) struct Tmux {
    program: PathBuf,
    socket: PathBuf,
}

impl Tmux {
    pub(super) fn at(terminal: &Terminal) -> Self {
        Self { program: terminal.tmux.clone(), socket: terminal.socket.clone() }
    }

    /// The server for sessions in `directory`, when a usable tmux is installed. It is started with the first session.
    pub(super) async fn find(directory: &Path) -> io::Result<Option<Self>> {
        let path = environment::own().remove("PATH").unwrap_or_default();
        let Some(program) = environment::find_program("tmux", &path) else {
            tracing::info!("no tmux on PATH: sessions run detached, with a log and no terminal");
            return Ok(None);
        };
        let socket = socket_for(directory)?;
        let tmux = Self { program, socket };
        let version = match tmux.run(&["-V"], None).await {
            Ok(version) => version,
            Err(error) => {
                tracing::warn!(%error, "tmux does not work: sessions run detached, with a log and no terminal");
                return Ok(None);
            }
        };
        if !is_recent(&version) {
            let (major, minor) = OLDEST_VERSION;
            tracing::warn!(version = version.trim(), "tmux is older than {major}.{minor}: sessions run detached");
            return Ok(None);
        }
        Ok(Some(tmux))
    }

    pub(super) fn terminal(&self) -> Terminal {
        Terminal { tmux: self.program.clone(), socket: self.socket.clone() }
    }

    /// What a person types to look at a session.
    pub(super) fn attach_command(&self, name: &SessionName) -> String {
        let program = quoted(&self.program);
        let socket = quoted(&self.socket);
        format!("{program} -S {socket} attach-session -t ={name}")
    }

    /// Starts a session that runs `program` with `args`. tmux runs more than one word without a shell.
    pub(super) async fn new_session(
        &self,
        name: &SessionName,
        program: &Path,
        args: [&str; 2],
    ) -> Result<(), TmuxError> {
        let program = program.to_string_lossy();
        let (width, height) = SCREEN_SIZE;
        #[rustfmt::skip]
        let words = [
            "start-server", ";",
            // The entry for this terminal is part of every ncurses installation.
            "set-option", "-g", "default-terminal", "screen-256color", ";",
            "set-option", "-g", "history-limit", HISTORY_LINES, ";",
            "set-option", "-g", "remain-on-exit", "off", ";",
            // An Escape that is typed must not be kept back as the beginning of another key.
            "set-option", "-s", "escape-time", "0", ";",
            "new-session", "-d", "-s", name.as_str(), "-x", width, "-y", height, "--", &program, args[0], args[1],
        ];
        let mut tries = 0;
        loop {
            tries += 1;
            match self.run(&words, None).await {
                // A server ends with its last session, and one that is about to takes no new one. The next try starts another;
                // that it could start the program twice is impossible, for there is one launch file.
                Err(TmuxError::Failed { .. }) if tries < START_TRIES => sleep(START_PAUSE).await,
                outcome => return outcome.map(drop),
            }
        }
    }

    pub(super) async fn kill_session(&self, name: &SessionName) -> Result<(), TmuxError> {
        self.run(&["kill-session", "-t", &format!("={name}")], None).await.map(drop)
    }

    /// The text now on the screen of a pane. Lines that were wrapped are whole again.
    pub(super) async fn screen(&self, pane: &str) -> Result<String, TmuxError> {
        self.run(&["capture-pane", "-p", "-J", "-t", pane], None).await
    }

    /// The screen of a pane as it is, with its cursor.
    pub(super) async fn look(&self, pane: &str) -> Result<Screen, TmuxError> {
        self.view(pane).await.map(|view| view.screen)
    }

    /// The same, with its title and when the program last wrote anything.
    pub(super) async fn view(&self, pane: &str) -> Result<View, TmuxError> {
        let facts = "#{cursor_x} #{cursor_y} #{window_activity} #{pane_title}";
        let facts = ["display-message", "-p", "-t", pane, facts, ";"];
        let answer = self.run(&[&facts[..], &["capture-pane", "-p", "-t", pane]].concat(), None).await?;
        let (facts, text) = answer.split_once('\n').unwrap_or((&answer, ""));
        let mut facts = facts.splitn(4, ' ');
        let mut number = || facts.next().and_then(|fact| fact.parse::<u64>().ok());
        let cursor = number().and_then(|x| Some((usize::try_from(x).ok()?, usize::try_from(number()?).ok()?)));
        let written_at_s = number();
        let title: String = log::plain(facts.next().unwrap_or_default()).chars().take(TITLE_MAX).collect();
        Ok(View { screen: Screen::new(&log::plain(text), cursor), title, written_at_s })
    }

    /// What tells of every session whether anything was written to its terminal, by one command. None while no server
    /// runs: then there are no sessions.
    pub(super) async fn panes(&self) -> Vec<(SessionName, PaneFacts)> {
        let format =
            "#{session_name} #{window_activity} #{cursor_x} #{cursor_y} #{pane_width} #{pane_height} #{pane_title}";
        let listed = self.run(&["list-panes", "-a", "-F", format], None).await.unwrap_or_default();
        let panes = listed.lines().filter_map(|line| {
            let (name, facts) = line.split_once(' ')?;
            let (written_at_s, rest) = facts.split_once(' ')?;
            let facts = PaneFacts { written_at_s: written_at_s.parse().ok()?, rest: rest.to_owned() };
            Some((SessionName::parse(name).ok()?, facts))
        });
        panes.collect()
    }

    /// The text of a pane with all that has scrolled off it.
    pub(super) async fn history(&self, pane: &str) -> Result<String, TmuxError> {
        self.run(&["capture-pane", "-p", "-J", "-S", "-", "-E", "-", "-t", pane], None).await
    }

    pub(super) async fn title(&self, pane: &str) -> Result<String, TmuxError> {
        let title = self.run(&["display-message", "-p", "-t", pane, "#{pane_title}"], None).await?;
        Ok(title.trim_end().to_owned())
    }

    /// Whether the program of a pane reads key by key: then keys are its to understand. Otherwise the terminal turns C-c
    /// into a signal by itself. None where nobody can tell.
    pub(super) async fn is_raw(&self, pane: &str) -> Option<bool> {
        let device = self.run(&["display-message", "-p", "-t", pane, "#{pane_tty}"], None).await.ok()?;
        off_the_reactor(move || {
            let flags = OFlags::RDONLY | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
            let terminal = rustix::fs::open(device.trim_end(), flags, Mode::empty()).ok()?;
            let modes = rustix::termios::tcgetattr(terminal).ok()?;
            Some(!modes.local_modes.contains(LocalModes::ICANON))
        })
        .await
    }

    /// Presses keys, by tmux's names.
    pub(super) async fn press(&self, pane: &str, keys: &[&str]) -> Result<(), TmuxError> {
        let mut words = vec!["send-keys", "-t", pane, "--"];
        words.extend(keys);
        self.run(&words, None).await.map(drop)
    }

    /// Pastes `text`, marked as pasted for programs that asked to be told. It travels on standard input: no shell, no
    /// argument list that other users could read.
    pub(super) async fn paste(&self, pane: &str, buffer: &str, text: &str) -> Result<(), TmuxError> {
        let words = ["load-buffer", "-b", buffer, "-", ";", "paste-buffer", "-p", "-d", "-b", buffer, "-t", pane];
        self.run(&words, Some(text.as_bytes())).await.map(drop)
    }

    /// A command. The environment is the one sessions may have, because the first command starts the server, which
    /// keeps it: our own credentials must not live on in there.
    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        // -u: text is UTF-8 whatever the locale says.
        command.args(["-u", "-f", "/dev/null", "-S"]).arg(&self.socket).args(words);
        command.env_clear().envs(environment::own()).current_dir("/");
        command
    }

    /// Runs one command and answers what it printed.
    async fn run(&self, words: &[&str], input: Option<&[u8]>) -> Result<String, TmuxError> {
        let name = || words.iter().find(|word| !word.starts_with('-')).unwrap_or(&"").to_string();
        let failed_to_run = |source| TmuxError::Run { program: self.program.clone(), source };
        let mut command = self.command(words);
        command.stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() });
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().map_err(failed_to_run)?;
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let feed = async {
            if let (Some(mut stdin), Some(input)) = (stdin, input) {
                // A command that fails early does not read it all; its complaint says more than a broken pipe.
                _ = stdin.write_all(input).await;
            }
        };
        let exchange = async {
            let (mut answer, mut complaint) = (Vec::new(), Vec::new());
            let (mut stdout, mut stderr) =
                (stdout.map(|it| it.take(ANSWER_BYTES_MAX)), stderr.map(|it| it.take(COMPLAINT_BYTES_MAX)));
            let read_answer = async {
                match &mut stdout {
                    Some(stdout) => stdout.read_to_end(&mut answer).await,
                    None => Ok(0),
                }
            };
            let read_complaint = async {
                match &mut stderr {
                    Some(stderr) => stderr.read_to_end(&mut complaint).await,
                    None => Ok(0),
                }
            };
            let ((), answered, complained) = tokio::join!(feed, read_answer, read_complaint);
            answered.and(complained)?;
            drop((stdout, stderr));
            io::Result::Ok((child.wait().await?, answer, complaint))
        };
        let (status, answer, complaint) = tokio::time::timeout(COMMAND_DEADLINE, exchange)
            .await
            .map_err(|_| TmuxError::TimedOut { command: name() })?
            .map_err(failed_to_run)?;
        if !status.success() {
            let complaint = String::from_utf8_lossy(&complaint).trim().to_owned();
            return Err(TmuxError::Failed { command: name(), complaint });
        }
        Ok(String::from_utf8_lossy(&answer).into_owned())
    }
}

/// Whether `version`, as `tmux -V` prints it, is recent enough. Development versions (`tmux next-3.5`, `tmux master`) are.
fn is_recent(version: &str) -> bool {
    let Some(number) = version.trim().strip_prefix("tmux ") else {
        return false;
    };
    let number = number.trim_start_matches(|character: char| !character.is_ascii_digit());
    let mut parts = number.split('.').map(|part| {
        let digits: String = part.chars().take_while(char::is_ascii_digit).collect();
        digits.parse::<u32>().unwrap_or(0)
    });
    number.is_empty() || (parts.next().unwrap_or(0), parts.next().unwrap_or(0)) >= OLDEST_VERSION
}

/// Where the socket for `directory` is: in it, or when that path is too long for the kernel, in a private
/// directory elsewhere whose name is made from it.
fn socket_for(directory: &Path) -> io::Result<PathBuf> {
    let inside = directory.join("tmux.sock");
    if inside.as_os_str().len() <= SOCKET_BYTES_MAX {
        return Ok(inside);
    }
    let digest = Sha256::digest(directory.as_os_str().as_encoded_bytes());
    let hash = hex(&digest[..8]);
    let user = rustix::process::getuid().as_raw();
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let short = runtime
        .filter(|path| path.is_absolute() && path.is_dir() && path.as_os_str().len() < 50)
        .unwrap_or_else(|| PathBuf::from("/tmp"));
    let private = short.join(format!("agent-relay-{user}-{hash}"));
    match private_directory().create(&private) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    // In /tmp somebody else may have been first.
    let found = fs::symlink_metadata(&private)?;
    if !found.is_dir() || found.uid() != user || found.permissions().mode() & 0o077 != 0 {
        let private = private.display();
        return Err(io::Error::other(format!("{private} is not a private directory of ours; remove it")));
    }
    Ok(private.join("tmux.sock"))
}

/// `path` as one word of a shell command, for people to copy.
fn quoted(path: &Path) -> String {
    let text = path.to_string_lossy();
    let plain = |character: char| character.is_ascii_alphanumeric() || "/._-".contains(character);
    if text.chars().all(plain) { text.into_owned() } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_by_number() {
        for version in ["tmux 3.0", "tmux 3.3a\n", "tmux 3.0-rc", "tmux 10.1", "tmux next-3.5", "tmux master"] {
            assert!(is_recent(version), "{version}");
        }
        for version in ["tmux 2.9a", "tmux 1.8", "screen 4", ""] {
            assert!(!is_recent(version), "{version}");
        }
    }

    #[test]
    fn a_socket_path_fits_the_kernel_and_is_private() -> io::Result<()> {
        let short = Path::new("/srv/relay/sessions");
        assert_eq!(socket_for(short)?, short.join("tmux.sock"));
        let long = PathBuf::from(format!("/srv/{}", "x".repeat(300)));
        let socket = socket_for(&long)?;
        assert!(socket.as_os_str().len() <= SOCKET_BYTES_MAX, "{}", socket.display());
        let private = socket.parent().map(fs::metadata).transpose()?;
        assert_eq!(private.map(|found| found.permissions().mode() & 0o777), Some(0o700));
        assert_eq!(socket_for(&long)?, socket, "the same one next time");
        socket.parent().map_or(Ok(()), fs::remove_dir)
    }

    #[test]
    fn quoting_keeps_one_word() {
        assert_eq!(quoted(Path::new("/usr/bin/tmux")), "/usr/bin/tmux");
        assert_eq!(quoted(Path::new("/a b/it's")), r"'/a b/it'\''s'");
    }
}
