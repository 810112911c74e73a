//! Whether a program has asked to be told what is pasted (bracketed paste).

use std::fs;
use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::OFlags;
use rustix::pty::OpenptFlags;
use rustix::termios::Winsize;
use tokio::io::AsyncReadExt as _;

use super::{ANSWER_BYTES_MAX, COMMAND_DEADLINE, Tmux, TmuxError};

/// What a terminal is sent to have it bracket what is pasted.
const BRACKET: &[u8] = b"\x1b[?2004h";
/// How the line begins in which tmux shows the name of a session: ours all begin like this.
const STATUS_BEGINNING: &[u8] = b"[ar-";

impl Tmux {
    /// Whether the program of a pane wants to be told what is pasted. Newer versions say so; an older one only does for
    /// a terminal it is shown on, in the state that terminal gets.
    pub(in crate::sessions) async fn is_bracketed(&self, pane: &str) -> Result<bool, TmuxError> {
        let facts = "#{bracket_paste_flag} #{window_width} #{window_height} #{session_name}";
        let facts = self.run(&["display-message", "-p", "-t", pane, facts], None).await?;
        let mut facts = facts.trim_end().split(' ');
        let (flag, mut size) = (facts.next(), facts.by_ref().take(2).map(|cells| cells.parse().unwrap_or(0)));
        match (flag, size.next(), size.next(), facts.next()) {
            (Some("1"), ..) => Ok(true),
            (Some("0"), ..) => Ok(false),
            (_, Some(width), Some(height), Some(session)) => self.shows_bracketed(session, (width, height)).await,
            _ => Ok(false),
        }
    }

    /// Whether a terminal on which a session is shown is told to bracket what is pasted.
    async fn shows_bracketed(&self, session: &str, size: (u16, u16)) -> Result<bool, TmuxError> {
        let failed_to_run = |source| TmuxError::Run { program: self.program.clone(), source };
        let (mut terminal, side) = viewer(size).map_err(failed_to_run)?;
        let session = format!("={session}");
        let mut command = self.command(&["attach-session", "-r", "-f", "ignore-size", "-t", &session]);
        command.env("TERM", "screen-256color");
        command.stdin(side.try_clone().map_err(failed_to_run)?).stdout(side.try_clone().map_err(failed_to_run)?);
        command.stderr(side).kill_on_drop(true);
        let mut client = command.spawn().map_err(failed_to_run)?;
        drop(command);
        let shown = async {
            let (mut shown, mut buffer) = (Vec::new(), [0; 4096]);
            loop {
                match terminal.read(&mut buffer).await {
                    // The client has ended; this is how the other end of a terminal says so.
                    Ok(0) | Err(_) => return false,
                    Ok(count) => shown.extend_from_slice(&buffer[..count]),
                }
                let has = |sequence: &[u8]| shown.windows(sequence.len()).any(|window| window == sequence);
                if has(BRACKET) {
                    return true;
                }
                // The state of the terminal is set before anything is drawn; the line with the session's name is last.
                if has(STATUS_BEGINNING) || shown.len() as u64 > ANSWER_BYTES_MAX {
                    return false;
                }
            }
        };
        let bracketed = tokio::time::timeout(COMMAND_DEADLINE, shown).await;
        _ = client.kill().await;
        bracketed.map_err(|_| TmuxError::TimedOut { command: "attach-session".to_owned() })
    }
}

/// A terminal to be shown something on: what is shown there is read at one end, the other is for who shows it.
fn viewer((width, height): (u16, u16)) -> io::Result<(tokio::fs::File, OwnedFd)> {
    let terminal = rustix::pty::openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
    rustix::pty::grantpt(&terminal)?;
    rustix::pty::unlockpt(&terminal)?;
    let name = rustix::pty::ptsname(&terminal, Vec::new())?;
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let side = rustix::fs::open(name, flags, rustix::fs::Mode::empty())?;
    // With room for the line that tmux adds, or the session would be made smaller.
    let size = Winsize { ws_row: height + 1, ws_col: width, ws_xpixel: 0, ws_ypixel: 0 };
    rustix::termios::tcsetwinsize(&side, size)?;
    Ok((tokio::fs::File::from_std(fs::File::from(terminal)), side))
}
