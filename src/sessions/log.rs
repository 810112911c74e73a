//! The output of a session's program: kept on disk within bounds, and shown as plain text.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// The most a log holds. When it is full, its older half is dropped.
pub const LOG_BYTES_MAX: u64 = 1024 * 1024;
/// How much of its output is kept with how a program ended.
pub const LAST_OUTPUT_BYTES_MAX: usize = 4 * 1024;

/// A file that never grows beyond [`LOG_BYTES_MAX`] and always holds at least the last half of that.
pub(super) struct Log {
    file: File,
    length: u64,
}

impl Log {
    /// A new, empty log.
    pub(super) fn create(path: &Path) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(true).mode(0o600);
        Ok(Self { file: options.open(path)?, length: 0 })
    }

    pub(super) fn append(&mut self, mut output: &[u8]) -> io::Result<()> {
        let half = LOG_BYTES_MAX / 2;
        if output.len() as u64 > half {
            output = &output[output.len() - half as usize..];
        }
        if self.length + output.len() as u64 > LOG_BYTES_MAX {
            self.drop_older(half)?;
        }
        self.file.write_all(output)?;
        self.length += output.len() as u64;
        Ok(())
    }

    /// Keeps the last `kept` bytes, in place: who follows the file keeps the same one open.
    fn drop_older(&mut self, kept: u64) -> io::Result<()> {
        let kept = kept.min(self.length);
        self.file.seek(SeekFrom::Start(self.length - kept))?;
        let mut tail = Vec::new();
        self.file.read_to_end(&mut tail)?;
        self.file.set_len(0)?;
        self.file.seek(SeekFrom::Start(0))?;
        self.file.write_all(&tail)?;
        self.length = tail.len() as u64;
        Ok(())
    }
}

/// The last `bytes` of a log as plain text; empty when there is none.
pub(super) fn tail(path: &Path, bytes: usize) -> String {
    let read = || -> io::Result<Vec<u8>> {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(bytes as u64)))?;
        let mut tail = Vec::new();
        file.take(bytes as u64).read_to_end(&mut tail)?;
        Ok(tail)
    };
    plain(&String::from_utf8_lossy(&read().unwrap_or_default()))
}

/// The last `bytes` of `text` at most, from the beginning of a character, without the empty lines a screen ends with.
pub(super) fn last(text: &str, bytes: usize) -> String {
    let text = text.trim_end();
    let start = text.ceil_char_boundary(text.len().saturating_sub(bytes));
    text[start..].to_owned()
}

/// `text` without terminal sequences and control characters, so that showing it moves no cursor and changes no colour.
pub(super) fn plain(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text.chars().peekable();
    while let Some(character) = rest.next() {
        match character {
            '\u{1b}' => match rest.next() {
                // A control sequence ends with its first letter.
                Some('[') => while rest.next().is_some_and(|next| !('@'..='~').contains(&next)) {},
                // A command to the terminal (a title, a link) ends with BEL or ESC \.
                Some(']' | 'P' | '_' | '^') => {
                    while let Some(next) = rest.next() {
                        if next == '\u{7}' || (next == '\u{1b}' && rest.next_if_eq(&'\\').is_some()) {
                            break;
                        }
                    }
                }
                _ => {}
            },
            '\n' | '\t' => shown.push(character),
            _ if character.is_control() => {}
            _ => shown.push(character),
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_log_drops_its_older_half_and_keeps_the_end() -> io::Result<()> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("log");
        let mut log = Log::create(&path)?;
        for line in 0..400_000 {
            log.append(format!("line {line}\n").as_bytes())?;
        }
        let length = std::fs::metadata(&path)?.len();
        assert!((LOG_BYTES_MAX / 2..=LOG_BYTES_MAX).contains(&length), "{length}");
        assert!(tail(&path, 100).ends_with("line 399999\n"));
        log.append(&vec![b'x'; 5 * 1024 * 1024])?;
        assert!(std::fs::metadata(&path)?.len() <= LOG_BYTES_MAX);
        Ok(())
    }

    #[test]
    fn plain_text_moves_nothing() {
        assert_eq!(plain("a\u{1b}[1;31mred\u{1b}[0m\r\n\u{1b}]0;title\u{7}b\u{1b}]8;;x\u{1b}\\c\u{8}"), "ared\nbc");
        assert_eq!(plain("\u{1b}[31"), "");
        assert_eq!(plain("\u{1b}]never ended"), "");
    }

    #[test]
    fn the_last_of_a_text_begins_at_a_character() {
        assert_eq!(last("žluť  \n\n", 3), "uť");
        assert_eq!(last("žluť", 2), "ť");
        assert_eq!(last("ab", 100), "ab");
    }
}
