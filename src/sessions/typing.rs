//! Typing into a session, as a person at its terminal would.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::name::SessionName;
use super::tmux::{Tmux, TmuxError};
use super::{SessionState, Sessions, TYPING_LOCKS, off_the_reactor};
use crate::domain::control::plan::Presentation;

/// The longest text that is typed, in bytes. More is for a file, or for the agent to fetch.
pub const TEXT_BYTES_MAX: usize = 64 * 1024;
/// The most keys pressed at once.
const KEYS_MAX: usize = 16;
/// How long a program is left alone between keys, text and Enter: an Escape followed at once by more is another key.
const PAUSE: Duration = Duration::from_millis(150);
/// How long a pasted text is waited for on the screen. Programs that are busy take their time to read it, and an Enter that
/// comes before they have is lost or becomes part of the text. Those that never show it, or not as it is, get their Enter after this.
const SHOWN_DEADLINE: Duration = Duration::from_secs(2);
/// How much of the end of a text is looked for on the screen, in characters: little enough not to be wrapped.
const SHOWN_CHARACTERS: usize = 12;

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
    /// tmux did not do it.
    #[error(transparent)]
    Tmux(#[from] TmuxError),
}

impl Sessions {
    /// Presses the keys, pastes the text and presses Enter if so told. The text is only ever text: control characters in it, with
    /// which it could press keys of its own, are left out. Texts typed at the same time follow each other whole.
    pub async fn type_text(&self, name: &SessionName, presentation: &Presentation) -> Result<(), TypeError> {
        let Presentation { keys_before, text, submit } = presentation;
        if text.len() > TEXT_BYTES_MAX {
            return Err(TypeError::TooLong { bytes: text.len() });
        }
        let keys: Vec<&str> = keys_before.iter().map(String::as_str).collect();
        check_keys(&keys)?;
        let pane = self.pane(name).await?;
        let Some(tmux) = &self.shared.tmux else {
            return Err(TypeError::NoTerminal(name.clone()));
        };
        let _whole = self.shared.typing[lock_of(name)].lock().await;
        if !keys.is_empty() {
            tmux.press(&pane, &keys).await?;
            sleep(PAUSE).await;
        }
        let text = typeable(text);
        if !text.is_empty() {
            let end = end_of(&text);
            let before = tmux.screen(&pane).await?;
            tmux.paste(&pane, name.as_str(), &text).await?;
            if *submit {
                // Whether it was shown in time changes nothing: Enter is pressed all the same.
                _ = timeout(SHOWN_DEADLINE, shown(tmux, &pane, &end, &before)).await;
                sleep(PAUSE).await;
            }
        }
        if *submit {
            tmux.press(&pane, &["Enter"]).await?;
        }
        Ok(())
    }

    /// Presses keys in order.
    pub(super) async fn press(&self, name: &SessionName, keys: &[&str]) -> Result<(), TypeError> {
        check_keys(keys)?;
        let pane = self.pane(name).await?;
        let Some(tmux) = &self.shared.tmux else {
            return Err(TypeError::NoTerminal(name.clone()));
        };
        let _whole = self.shared.typing[lock_of(name)].lock().await;
        // One at a time: a program that asks "press again to exit" does not take two in one moment for an answer.
        for (index, key) in keys.iter().enumerate() {
            if index > 0 {
                sleep(PAUSE).await;
            }
            tmux.press(&pane, &[key]).await?;
        }
        Ok(())
    }

    async fn pane(&self, name: &SessionName) -> Result<String, TypeError> {
        let (sessions, name) = (self.clone(), name.clone());
        off_the_reactor(move || {
            if !matches!(sessions.state(&name), SessionState::Running { .. }) {
                return Err(TypeError::NotRunning(name));
            }
            let state = sessions.folder(&name).state();
            state.and_then(|state| state.pane).ok_or(TypeError::NoTerminal(name))
        })
        .await
    }
}

/// Returns once the end of a text is on the screen more often than it was before.
async fn shown(tmux: &Tmux, pane: &str, end: &str, before: &str) {
    let times = |screen: &str| without_spaces(screen).matches(end).count();
    while let Ok(screen) = tmux.screen(pane).await {
        if times(&screen) > times(before) {
            return;
        }
        sleep(PAUSE / 2).await;
    }
}

/// The end of a text as it is looked for on a screen, where the spaces may be others.
fn end_of(text: &str) -> String {
    let text = without_spaces(text);
    let skipped = text.chars().count().saturating_sub(SHOWN_CHARACTERS);
    text.chars().skip(skipped).collect()
}

fn without_spaces(text: &str) -> String {
    text.chars().filter(|character| !character.is_whitespace()).collect()
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
