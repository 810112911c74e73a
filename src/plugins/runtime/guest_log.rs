//! What guests write to the relay's log: bounded for each call, and unable to forge a line.

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

/// The log of one call. Cheap to clone: clones share the call's allowance.
#[derive(Clone)]
pub(crate) struct GuestLog {
    plugin: Arc<str>,
    lines: Arc<AtomicU32>,
    /// Lines the call may write.
    lines_max: u32,
}

impl GuestLog {
    pub(crate) fn new(plugin: Arc<str>, lines_max: u32) -> Self {
        Self { plugin, lines: Arc::new(AtomicU32::new(0)), lines_max }
    }

    /// Writes one line, or drops it when the call has used up its allowance.
    pub(crate) fn line(&self, level: Level, text: &str) {
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
