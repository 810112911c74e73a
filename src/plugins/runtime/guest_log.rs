//! What guests write to the relay's log: bounded for each call, and unable to forge a line.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, PoisonError};

/// Bytes a line may have; the rest of it is cut off.
pub(crate) const LINE_BYTES_MAX: usize = 2 * 1024;

/// How much a line matters, by the guest's own judgement.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Level {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
}

/// Bytes and lines that are remembered of what a guest warned of, to explain how it ended.
const LAST_WORDS_BYTES_MAX: usize = 1024;
const LAST_WORDS_MAX: usize = 8;

/// The log of one call. Cheap to clone: clones share the call's allowance.
#[derive(Clone)]
pub(crate) struct GuestLog {
    plugin: Arc<str>,
    lines: Arc<AtomicU32>,
    /// The latest warnings and errors. A language prints there why it gives up.
    last_words: Arc<Mutex<VecDeque<String>>>,
    /// Lines the call may write.
    lines_max: u32,
}

impl GuestLog {
    pub(crate) fn new(plugin: Arc<str>, lines_max: u32) -> Self {
        Self { plugin, lines: Arc::new(AtomicU32::new(0)), last_words: Arc::default(), lines_max }
    }

    /// What the guest warned of last, on one line.
    pub(crate) fn last_words(&self) -> Option<String> {
        let words = self.last_words.lock().unwrap_or_else(PoisonError::into_inner);
        let clean: Vec<String> = words.iter().map(|words| clean(words)).filter(|words| !words.is_empty()).collect();
        (!clean.is_empty()).then(|| clean.join(" / "))
    }

    /// Cheap, since it is done for every line of a flood: only the last are made fit to be shown.
    fn remember(&self, text: &str) {
        let text = &text[..text.floor_char_boundary(LAST_WORDS_BYTES_MAX)];
        // Rust's advice, which nobody can follow here.
        if text.trim().is_empty() || text.starts_with("note: run with `RUST_BACKTRACE=1`") {
            return;
        }
        let mut words = self.last_words.lock().unwrap_or_else(PoisonError::into_inner);
        words.push_back(text.trim_end().to_owned());
        while words.len() > LAST_WORDS_MAX || words.iter().map(String::len).sum::<usize>() > LAST_WORDS_BYTES_MAX {
            words.pop_front();
        }
    }

    /// Writes one line, or drops it when the call has used up its allowance.
    pub(crate) fn line(&self, level: Level, text: &str) {
        if matches!(level, Level::Warn | Level::Error) {
            self.remember(text);
        }
        if self.lines.fetch_add(1, Ordering::Relaxed) >= self.lines_max {
            return;
        }
        let (plugin, text) = (&*self.plugin, clean(text));
        match level {
            Level::Trace => tracing::trace!(target: "plugin", { plugin.id = plugin }, "{text}"),
            Level::Debug => tracing::debug!(target: "plugin", { plugin.id = plugin }, "{text}"),
            Level::Info => tracing::info!(target: "plugin", { plugin.id = plugin }, "{text}"),
            Level::Warn => tracing::warn!(target: "plugin", { plugin.id = plugin }, "{text}"),
            Level::Error => tracing::error!(target: "plugin", { plugin.id = plugin }, "{text}"),
        }
    }

    /// Lines that were dropped so far.
    pub(crate) fn dropped(&self) -> u32 {
        self.lines.load(Ordering::Relaxed).saturating_sub(self.lines_max)
    }
}

/// One line of at most [`LINE_BYTES_MAX`], without control characters: a guest must neither start
/// a line of its own nor send escape sequences to the terminal of whoever reads the log.
pub(crate) fn clean(text: &str) -> String {
    // A text of a mebibyte that is all control characters is not read to its end for a line that stays
    // empty: meanwhile nobody else would have this thread.
    let text = &text[..text.floor_char_boundary(4 * LINE_BYTES_MAX)];
    let mut line = String::with_capacity(text.len().min(LINE_BYTES_MAX));
    for character in text.chars().filter(|character| !character.is_control()) {
        if line.len() + character.len_utf8() > LINE_BYTES_MAX {
            break;
        }
        line.push(character);
    }
    line
}

/// Standard output or error of a guest that has such things, as lines of its log.
#[derive(Clone)]
pub(crate) struct LineWriter {
    log: GuestLog,
    level: Level,
    begun: Arc<Mutex<Vec<u8>>>,
}

impl LineWriter {
    pub(crate) fn new(log: GuestLog, level: Level) -> Self {
        Self { log, level, begun: Arc::default() }
    }

    /// Takes bytes; whole lines go to the log at once.
    pub(crate) fn write(&self, bytes: &[u8]) {
        let mut begun = self.begun.lock().unwrap_or_else(PoisonError::into_inner);
        for &byte in bytes {
            if byte == b'\n' {
                self.log.line(self.level, &String::from_utf8_lossy(&begun));
                begun.clear();
            } else if begun.len() < LINE_BYTES_MAX {
                begun.push(byte);
            }
        }
    }

    /// Sends what is left of an unfinished line: there will be no more of it.
    pub(crate) fn end(&self) {
        let mut begun = self.begun.lock().unwrap_or_else(PoisonError::into_inner);
        if !begun.is_empty() {
            self.log.line(self.level, &String::from_utf8_lossy(&begun));
            begun.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lines_beyond_the_allowance_are_counted() {
        let log = GuestLog::new("noisy".into(), 10);
        for _ in 0..15 {
            log.line(Level::Trace, "hello");
        }
        assert_eq!(log.dropped(), 5);
    }

    #[test]
    fn what_it_warned_of_last_is_remembered_whatever_its_allowance() {
        let log = GuestLog::new("panicking".into(), 1);
        assert_eq!(log.last_words(), None);
        log.line(Level::Info, "all is well");
        assert_eq!(log.last_words(), None);
        for text in ["thread '<unnamed>' panicked at src/lib.rs:1:2:", "no\x1b[31m budget", "  "] {
            log.line(Level::Warn, text);
        }
        log.line(Level::Error, "note: run with `RUST_BACKTRACE=1` environment variable to display a backtrace");
        let said = "thread '<unnamed>' panicked at src/lib.rs:1:2: / no[31m budget";
        assert_eq!(log.last_words().as_deref(), Some(said));
        for number in 0..100 {
            log.line(Level::Warn, &format!("{number} {}", "é".repeat(300)));
        }
        let words = log.last_words().expect("words");
        assert!(words.starts_with("99 ") && words.len() <= LAST_WORDS_BYTES_MAX, "{words}");
    }

    #[test]
    fn output_is_cut_into_lines() {
        let log = GuestLog::new("printer".into(), 10);
        let writer = LineWriter::new(log.clone(), Level::Trace);
        writer.write(b"one\ntwo\nthr");
        writer.write(b"ee");
        assert_eq!(log.lines.load(Ordering::Relaxed), 2);
        writer.end();
        writer.end();
        assert_eq!(log.lines.load(Ordering::Relaxed), 3);
    }

    #[test]
    fn what_lies_far_behind_control_characters_is_not_looked_for() {
        assert_eq!(clean(&format!("{}seen", "\0".repeat(LINE_BYTES_MAX))), "seen");
        assert_eq!(clean(&format!("{}unseen", "\0".repeat(4 * LINE_BYTES_MAX))), "");
    }

    proptest! {
        #[test]
        fn a_clean_line_is_short_and_printable(text in any::<String>()) {
            let line = clean(&text);
            prop_assert!(line.len() <= LINE_BYTES_MAX);
            prop_assert!(!line.chars().any(char::is_control));
        }
    }
}
