//! Typing into a session, as a careful person at its terminal would: looking before each key.
//!
//! Nothing is pressed but what an input is seen for. The text is pasted, Enter waits until the input shows it, and
//! it counts as taken once the input has let go of it. A dialog that comes up in between gets nothing.

use std::fmt;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::name::SessionName;
use super::screen::{Screen, Seen};
use super::tmux::{Tmux, TmuxError};
use super::{SessionState, Sessions, TYPING_LOCKS, off_the_reactor};
use crate::domain::control::plan::Presentation;

/// The longest text that is typed, in bytes. More is for a file, or for the agent to fetch.
pub const TEXT_BYTES_MAX: usize = 64 * 1024;
/// The most keys pressed at once.
const KEYS_MAX: usize = 16;
/// How long a program is left alone between keys, text and Enter: an Escape followed at once by more is another key.
const PAUSE: Duration = Duration::from_millis(150);
/// How long a pasted text is waited for in the input, and then an Enter to be taken. Programs that are busy take their
/// time to read, and an Enter that comes before they have is lost or becomes part of the text.
const SHOWN_DEADLINE: Duration = Duration::from_mins(1);
const TAKEN_DEADLINE: Duration = Duration::from_secs(15);
/// The shortest and the longest pause between two looks at a screen: tmux tells nobody what appears on one.
const LOOK_INTERVALS: (Duration, Duration) = (Duration::from_millis(75), Duration::from_millis(600));
/// The key that empties a line of an input, how often it is pressed at most, and how often in vain.
const CLEAR_KEY: &str = "C-u";
const CLEAR_PRESSES_MAX: usize = 64;
const CLEAR_IN_VAIN_MAX: usize = 3;

/// A text that was not typed.
#[derive(Debug, thiserror::Error)]
pub enum TypeError {
    /// The session is detached.
    #[error("session {0} has no terminal to type into; send the agent a message instead")]
    NoTerminal(SessionName),
    /// It does not run.
    #[error("session {0} is not running")]
    NotRunning(SessionName),
    /// The text is too long.
    #[error("the text has {bytes} bytes; {TEXT_BYTES_MAX} is the most that is typed")]
    TooLong {
        /// What it has.
        bytes: usize,
    },
    /// There are too many keys.
    #[error("{keys} keys; {KEYS_MAX} is the most that are pressed at once")]
    TooManyKeys {
        /// How many there are.
        keys: usize,
    },
    /// There is no such key.
    #[error("unknown key {0:?}; keys are named like Escape, Enter, Up, F1, C-c or M-x")]
    UnknownKey(String),
    /// A dialog waits on its screen. Nothing was typed.
    #[error("a dialog waits on its screen, which is for a person to answer")]
    Dialog,
    /// No input is seen on its screen. Nothing was typed.
    #[error("no input is seen on its screen")]
    NoInput,
    /// The input did not show the pasted text. Enter was not pressed.
    #[error("its input did not show the text in time, so Enter was not pressed; {left}")]
    NotShown {
        /// What became of the text.
        left: Left,
    },
    /// A dialog came up once the text was pasted. Enter was not pressed.
    #[error("a dialog came up while the text was typed, so Enter was not pressed; {}", Left::There)]
    Interrupted,
    /// The input kept the text after Enter.
    #[error("its input did not take Enter within {} s; {left}", TAKEN_DEADLINE.as_secs())]
    NotTaken {
        /// What became of the text.
        left: Left,
    },
    /// tmux did not do it.
    #[error(transparent)]
    Tmux(#[from] TmuxError),
}

impl TypeError {
    /// Whether nothing was typed because nothing is there to type into, which may change.
    pub fn is_for_want_of_input(&self) -> bool {
        matches!(self, Self::Dialog | Self::NoInput)
    }

    /// Whether its input is as it was before, free for another text.
    pub fn left_it_clean(&self) -> bool {
        let cleared = matches!(self, Self::NotShown { left: Left::Cleared } | Self::NotTaken { left: Left::Cleared });
        cleared
            || matches!(
                self,
                Self::NoTerminal(_) | Self::TooLong { .. } | Self::TooManyKeys { .. } | Self::UnknownKey(_)
            )
    }
}

/// What became of a text that was pasted and not submitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// The input was cleared of it.
    Cleared,
    /// It may be in the input, or turn up in it.
    There,
}

impl fmt::Display for Left {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cleared => "the input was cleared again",
            Self::There => "the text may still be in the input, or turn up there",
        })
    }
}

impl Sessions {
    /// Presses the keys, pastes the text and presses Enter if so told, each only into an input that is seen. Returns once the
    /// text is in it, and after Enter once it has been taken. The text is only ever text: control characters in it, with which it
    /// could press keys of its own, are left out, and it becomes one line for a program that does not ask to be told what is pasted.
    /// Texts typed at the same time follow each other whole.
    pub async fn type_text(&self, name: &SessionName, presentation: &Presentation) -> Result<(), TypeError> {
        self.type_within(name, presentation, SHOWN_DEADLINE).await
    }

    /// The same for a text that its input shows within this time or that is done without.
    pub async fn type_within(
        &self,
        name: &SessionName,
        presentation: &Presentation,
        shown: Duration,
    ) -> Result<(), TypeError> {
        let Presentation { keys_before, text, submit } = presentation;
        if text.len() > TEXT_BYTES_MAX {
            return Err(TypeError::TooLong { bytes: text.len() });
        }
        let keys: Vec<&str> = keys_before.iter().map(String::as_str).collect();
        check_keys(&keys)?;
        let (pane, known) = self.pane(name).await?;
        let Some(tmux) = &self.shared.tmux else {
            return Err(TypeError::NoTerminal(name.clone()));
        };
        let _whole = self.shared.typing[lock_of(name)].lock().await;
        let terminal = Terminal { tmux, pane: &pane, known: &known };
        let mut before = terminal.input().await?;
        if !keys.is_empty() {
            tmux.press(&pane, &keys).await?;
            sleep(PAUSE).await;
            before = terminal.input().await?;
        }
        let mut text = typeable(text);
        if text.contains(['\n', '\t']) && !tmux.is_bracketed(&pane).await? {
            // Each of its lines would be sent by itself, and a tab would complete something.
            text = text.split(['\n', '\t']).map(str::trim_end).collect::<Vec<_>>().join(" ").trim_end().to_owned();
        }
        if !text.is_empty() {
            tmux.paste(&pane, name.as_str(), &text).await?;
            terminal.wait_until_shown(&text, &before, shown).await?;
        }
        if *submit { terminal.submit(&text, &before).await } else { Ok(()) }
    }

    /// Presses keys in order.
    pub(super) async fn press(&self, name: &SessionName, keys: &[&str]) -> Result<(), TypeError> {
        check_keys(keys)?;
        let (pane, _) = self.pane(name).await?;
        let Some(tmux) = &self.shared.tmux else {
            return Err(TypeError::NoTerminal(name.clone()));
        };
        let _whole = self.shared.typing[lock_of(name)].lock().await;
        let was_raw = tmux.is_raw(&pane).await;
        // One at a time: a program that asks "press again to exit" does not take two in one moment for an answer.
        for (index, key) in keys.iter().enumerate() {
            if index > 0 {
                sleep(PAUSE).await;
                // It gave its terminal back because it ends. What is pressed now would be a signal to it, and make of
                // an orderly end a killed program.
                if was_raw == Some(true) && tmux.is_raw(&pane).await == Some(false) {
                    break;
                }
            }
            tmux.press(&pane, &[key]).await?;
        }
        Ok(())
    }

    /// The pane of a session that runs, and the texts by which its input is known.
    async fn pane(&self, name: &SessionName) -> Result<(String, Vec<String>), TypeError> {
        let (sessions, name) = (self.clone(), name.clone());
        off_the_reactor(move || {
            if !matches!(sessions.state(&name), SessionState::Running { .. }) {
                return Err(TypeError::NotRunning(name));
            }
            let state = sessions.folder(&name).state();
            let found = state.and_then(|state| Some((state.pane?, state.opening.ready.screen_texts)));
            found.ok_or(TypeError::NoTerminal(name))
        })
        .await
    }
}

/// A terminal while something is typed into it.
struct Terminal<'a> {
    tmux: &'a Tmux,
    pane: &'a str,
    /// The texts by which its program's input is known.
    known: &'a [String],
}

impl Terminal<'_> {
    /// The screen, when an input waits on it.
    async fn input(&self) -> Result<Screen, TypeError> {
        let screen = self.tmux.look(self.pane).await?;
        match screen.read(self.known) {
            Seen::Input(_) => Ok(screen),
            Seen::Dialog => Err(TypeError::Dialog),
            Seen::Unknown => Err(TypeError::NoInput),
        }
    }

    /// Waits until the input shows a text that was just pasted.
    async fn wait_until_shown(&self, text: &str, before: &Screen, time: Duration) -> Result<(), TypeError> {
        let is_shown = |screen: &Screen| screen.has_at_cursor(text) && screen.at_cursor() != before.at_cursor();
        let (last, is_there) = self.look_until(time, |screen| self.asks(screen, text) || is_shown(screen)).await?;
        if self.asks(&last, text) {
            return Err(TypeError::Interrupted);
        }
        if is_there {
            return Ok(());
        }
        // A program that showed nothing at all reads nothing: a key for it would be pressed into what nobody sees.
        let nothing_came = last.at_cursor() == before.at_cursor();
        let left = if nothing_came { Left::There } else { self.clear(text, before).await? };
        Err(TypeError::NotShown { left })
    }

    /// Presses Enter, and waits until the input has let go of the text.
    async fn submit(&self, text: &str, before: &Screen) -> Result<(), TypeError> {
        sleep(PAUSE).await;
        let shown = self.tmux.look(self.pane).await?;
        if self.asks(&shown, text) {
            return Err(TypeError::Interrupted);
        }
        if !text.is_empty() && !shown.has_at_cursor(text) {
            // Somebody else types, or the program does something else with it.
            return Err(TypeError::NotShown { left: Left::There });
        }
        self.tmux.press(self.pane, &["Enter"]).await?;
        if text.is_empty() {
            return Ok(());
        }
        // A program that only echoes leaves the text where it is, and shows it again.
        let is_taken = |screen: &Screen| !screen.has_at_cursor(text) || screen.count(text) > shown.count(text);
        let (_, is_taken) = self.look_until(TAKEN_DEADLINE, is_taken).await?;
        if is_taken { Ok(()) } else { Err(TypeError::NotTaken { left: self.clear(text, before).await? }) }
    }

    /// Whether a dialog waits, whatever a text in the input looks like.
    fn asks(&self, screen: &Screen, text: &str) -> bool {
        screen.without(text).read(self.known) == Seen::Dialog
    }

    /// Empties the input of a text that is not to stay there.
    async fn clear(&self, text: &str, before: &Screen) -> Result<Left, TypeError> {
        let (mut last, mut in_vain) = (self.tmux.look(self.pane).await?, 0);
        for _ in 0..CLEAR_PRESSES_MAX {
            if last.is_at_prompt() || last.at_cursor() == before.at_cursor() {
                return Ok(Left::Cleared);
            }
            if in_vain == CLEAR_IN_VAIN_MAX || self.asks(&last, text) {
                break;
            }
            self.tmux.press(self.pane, &[CLEAR_KEY]).await?;
            sleep(PAUSE).await;
            let screen = self.tmux.look(self.pane).await?;
            in_vain = if screen == last { in_vain + 1 } else { 0 };
            last = screen;
        }
        Ok(Left::There)
    }

    /// Looks at the screen until it is as wanted, at most for `time`. Answers the last one, and whether it is.
    async fn look_until(
        &self,
        time: Duration,
        is_wanted: impl Fn(&Screen) -> bool,
    ) -> Result<(Screen, bool), TypeError> {
        let deadline = Instant::now() + time;
        let (mut interval, longest) = LOOK_INTERVALS;
        loop {
            let screen = self.tmux.look(self.pane).await?;
            if is_wanted(&screen) {
                return Ok((screen, true));
            }
            if Instant::now() > deadline {
                return Ok((screen, false));
            }
            sleep(interval).await;
            interval = (interval * 2).min(longest);
        }
    }
}

/// `text` without what a terminal would take for keys: an end-of-paste sequence in a message must not let the rest of it press any.
fn typeable(text: &str) -> String {
    let kept = |character: &char| !character.is_control() || matches!(character, '\n' | '\t');
    text.replace("\r\n", "\n").replace('\r', "\n").chars().filter(kept).collect()
}

fn check_keys(keys: &[&str]) -> Result<(), TypeError> {
    if keys.len() > KEYS_MAX {
        return Err(TypeError::TooManyKeys { keys: keys.len() });
    }
    match keys.iter().find(|key| !is_key(key)) {
        Some(unknown) => Err(TypeError::UnknownKey(unknown.chars().take(40).collect())),
        None => Ok(()),
    }
}

/// Whether tmux knows this key. What it does not know it would type as text, and a semicolon would end its command.
fn is_key(key: &str) -> bool {
    const NAMES: [&str; 20] = [
        "BSpace", "BTab", "DC", "Delete", "Down", "End", "Enter", "Escape", "Home", "IC", "Insert", "Left", "NPage",
        "PPage", "PageDown", "PageUp", "Right", "Space", "Tab", "Up",
    ];
    let mut name = key;
    while let Some(rest) = ["C-", "M-", "S-"].iter().find_map(|prefix| name.strip_prefix(prefix)) {
        name = rest;
    }
    let is_function = name.strip_prefix('F').is_some_and(|number| (1..=12).any(|each| each.to_string() == number));
    let is_character = name.len() == 1 && name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b';');
    key.len() <= 16 && (is_character || is_function || NAMES.contains(&name))
}

fn lock_of(name: &SessionName) -> usize {
    let mut hasher = DefaultHasher::new();
    name.hash(&mut hasher);
    usize::try_from(hasher.finish() % TYPING_LOCKS as u64).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_keys_are_keys() {
        for key in ["Escape", "C-c", "M-x", "C-M-Left", "F1", "F12", "Enter", "y", "1", "PageUp", "S-Tab", "?"] {
            assert!(is_key(key), "{key}");
        }
        for key in ["", ";", "C-;", "rm -rf", "F13", "F0", "Escapee", "C-", "é", "\u{3}", "-X", "M-M-M-M-M-M-M-M-x"] {
            assert!(!is_key(key), "{key}");
        }
    }

    #[test]
    fn a_text_can_press_no_keys() {
        let hostile = "hi\u{1b}[201~\u{3}\r\nthere\u{9b}201~\u{7f}\ttab\rx\u{0}";
        assert_eq!(typeable(hostile), "hi[201~\nthere201~\ttab\nx");
    }
}
