//! Whether a session was shown a notice that was handed over: a text in a file or on the screen that was not there
//! before, or a turn that begins.

use std::fs::File;
use std::os::unix::fs::MetadataExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::granted::{open_file, read_from};
use super::look::Look;
use super::{Launcher, off_the_reactor};
use crate::domain::control::courier::{Attempt, Carrier, Sign};
use crate::domain::control::observation::Doing;
use crate::plugins::{Glob, PluginSet};
use crate::sessions::{Screen, SessionName};

/// The most of a file that is searched, in bytes: what was written since.
const SEARCHED_BYTES_MAX: usize = 4 * 1024 * 1024;
/// The most of a file that is searched for what it held before, in bytes: its end.
const BEFORE_BYTES_MAX: usize = 1024 * 1024;

/// A notice that was handed over and of which nobody knows yet whether it was shown.
#[derive(Clone, Debug)]
pub struct Pending {
    /// The session.
    pub name: SessionName,
    /// The rung that handed it over.
    pub rung: String,
    /// Which kind of way that was.
    pub carrier: Carrier,
    signs: Arc<Vec<Awaited>>,
    /// Whether the session was seen without a turn since: only then a turn can begin.
    was_without_turn: Arc<AtomicBool>,
}

/// A sign, and what there was of it before.
#[derive(Debug)]
enum Awaited {
    File { globs: Vec<Glob>, path: String, text: String, before: Option<Before> },
    Screen { text: String, times: usize },
    Turn,
}

/// A file as it was before.
#[derive(Clone, Copy, Debug)]
struct Before {
    id: (u64, u64),
    length: u64,
    /// How often its end held the text.
    times: usize,
}

impl Pending {
    /// Notes how things are before an attempt is made. Asks the file system: not for a thread that answers requests.
    pub(super) fn before(name: &SessionName, attempt: &Attempt, look: &Look, readable: &[Glob]) -> Self {
        let signs = attempt.evidence.iter().map(|sign| match sign {
            Sign::File { path, text } => {
                let before = open_file(readable, path).and_then(|file| Before::of(&file, text));
                Awaited::File { globs: readable.to_vec(), path: path.clone(), text: text.clone(), before }
            }
            Sign::Screen(text) => Awaited::Screen { text: text.clone(), times: look.shown.count_of(text) },
            Sign::Turn => Awaited::Turn,
        });
        Self {
            name: name.clone(),
            rung: attempt.rung.clone(),
            carrier: attempt.carrier,
            signs: Arc::new(signs.collect()),
            was_without_turn: Arc::new(AtomicBool::new(look.observation.doing != Doing::Busy)),
        }
    }

    /// Whether anything could ever show that it was taken.
    pub(super) fn awaits_anything(&self) -> bool {
        !self.signs.is_empty()
    }
}

impl Launcher {
    /// What shows that a session was shown a notice that was handed over before, in words; nothing while there is no
    /// such sign. May be asked again at any time.
    pub async fn evidence(&self, plugins: &PluginSet, pending: &Pending) -> Option<String> {
        let signs = Arc::clone(&pending.signs);
        if let Some(found) = off_the_reactor(move || signs.iter().find_map(in_file)).await {
            return Some(found);
        }
        // The screen is looked at only where a sign is on it, and a turn is seen by looking as well.
        if !pending.signs.iter().any(|sign| matches!(sign, Awaited::Screen { .. } | Awaited::Turn)) {
            return None;
        }
        let look = self.look(plugins, &pending.name).await?;
        let is_busy = look.is_observed && look.observation.doing == Doing::Busy;
        let began = is_busy && pending.was_without_turn.load(Ordering::Relaxed);
        if !is_busy {
            pending.was_without_turn.store(true, Ordering::Relaxed);
        }
        pending.signs.iter().find_map(|sign| match sign {
            Awaited::Turn if began => Some("a turn began".to_owned()),
            Awaited::Screen { text, times } => {
                is_shown(&look.shown, text, *times).then(|| "it is on the screen".to_owned())
            }
            Awaited::Turn | Awaited::File { .. } => None,
        })
    }
}

/// Whether a text is on a screen more often than before, and not only in the input.
fn is_shown(screen: &Screen, text: &str, times: usize) -> bool {
    let in_input = usize::from(screen.has_at_cursor(text));
    screen.count_of(text) > times + in_input
}

fn in_file(sign: &Awaited) -> Option<String> {
    let Awaited::File { globs, path, text, before } = sign else { return None };
    let file = open_file(globs, path)?;
    let now = file.metadata().ok()?;
    let found = match before {
        // What was appended. A text that was half there before is not new.
        Some(before) if before.id == (now.dev(), now.ino()) && now.len() >= before.length => {
            now.len() > before.length && times_in(&read_from(&file, before.length, SEARCHED_BYTES_MAX)?, text) > 0
        }
        // Written anew: what is there may have been there before.
        Some(before) => Before::of(&file, text)?.times > before.times,
        None => times_in(&read_from(&file, 0, SEARCHED_BYTES_MAX)?, text) > 0,
    };
    found.then(|| format!("it is in {path}"))
}

impl Before {
    fn of(file: &File, text: &str) -> Option<Self> {
        let found = file.metadata().ok()?;
        let start = found.len().saturating_sub(BEFORE_BYTES_MAX as u64);
        let times = times_in(&read_from(file, start, BEFORE_BYTES_MAX)?, text);
        Some(Self { id: (found.dev(), found.ino()), length: found.len(), times })
    }
}

/// How often a text stands in these bytes.
fn times_in(bytes: &[u8], text: &str) -> usize {
    String::from_utf8_lossy(bytes).matches(text).count()
}

#[cfg(test)]
mod tests;
