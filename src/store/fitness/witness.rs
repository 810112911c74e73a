//! The witness: a small file beside the database that holds the newest number that anybody may have seen.
//!
//! A database cannot tell by itself that it is not the one it was: that its log was taken away with what had been
//! answered, that an older copy lies in its place, or that it begins anew. The witness can. It is written after each
//! commit, before anybody hears of it, so the two differ only where something was lost. It is not synced: after a
//! power cut it may be behind, and then it says nothing.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use crate::domain::id::EventSeq;
use crate::domain::time::Timestamp;

/// The open file, and what it said when it was opened.
pub(in crate::store) struct Witness {
    file: File,
    said: Option<Said>,
    /// What was written last. The same is not written again.
    written: EventSeq,
    /// A log that was found without its database, and where it is kept.
    log_kept: Option<PathBuf>,
}

/// What the witness says.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Said {
    epoch: String,
    newest: EventSeq,
}

/// What is not there any more that was there before.
#[derive(Clone, Debug)]
pub struct Loss {
    /// What was found, and what it means.
    pub detail: String,
    /// Numbers go on above this one: none is given twice.
    pub(in crate::store) above: EventSeq,
    /// Whether the same database is there as before, with less in it. Whoever follows its events must begin anew.
    pub(in crate::store) is_shorter: bool,
}

impl Witness {
    /// Opens the witness of the database at this path, before that is opened: the engine deletes a log that has no
    /// database, and it may hold all that is left.
    pub(in crate::store) fn open(database: &Path) -> io::Result<Self> {
        let log_kept = keep_orphaned_log(database)?;
        let path = beside(database, "-newest");
        let mut file = File::options().create(true).truncate(false).read(true).write(true).mode(0o600).open(&path)?;
        file.set_permissions(std::fs::Permissions::from_mode(0o600))?;
        let mut text = String::new();
        // Whatever else is in it says nothing.
        let read = (&mut file).take(2 * LINE as u64).read_to_string(&mut text);
        let said = read.ok().and_then(|_| Said::parse(&text));
        if said.is_none() && !text.is_empty() {
            tracing::warn!(path = %path.display(), "the witness of the newest number cannot be read; it begins anew");
        }
        Ok(Self { file, said, written: EventSeq::default(), log_kept })
    }

    /// What was lost, as far as the witness knows, of a database that has this epoch and comes up to this number.
    pub(in crate::store) fn loss(&self, epoch: &str, latest: EventSeq) -> Option<Loss> {
        let kept = self
            .log_kept
            .as_ref()
            .map(|log| format!("; there was no database but a log of one, which is kept as {}", log.display()));
        let kept = kept.unwrap_or_default();
        match &self.said {
            Some(Said { epoch: before, newest }) if before != epoch => Some(Loss {
                detail: format!(
                    "another database is in the place of the one that was here, which had come to number {newest}{kept}"
                ),
                above: latest.max(*newest),
                is_shorter: false,
            }),
            Some(Said { newest, .. }) if latest < *newest => Some(Loss {
                detail: format!(
                    "the database ends at number {latest}, and number {newest} had been given: what was stored between \
                     them is gone. Its log was removed, or an older copy was put in its place, while the relay was stopped"
                ),
                above: *newest,
                is_shorter: true,
            }),
            Some(_) => None,
            None if self.log_kept.is_some() => {
                Some(Loss { detail: format!("the database is gone{kept}"), above: latest, is_shorter: false })
            }
            None => None,
        }
    }

    /// Notes the newest number of this epoch. Nobody hears of it before.
    pub(in crate::store) fn note(&mut self, epoch: &str, newest: EventSeq) {
        if newest <= self.written {
            return;
        }
        let line = Said { epoch: epoch.to_owned(), newest }.line();
        match self.file.write_all_at(line.as_bytes(), 0) {
            Ok(()) => self.written = newest,
            // What is stored is stored; a loss of it might go unnoticed.
            Err(error) => tracing::warn!(%error, "cannot note the newest number beside the database"),
        }
    }

    /// Has what was noted survive a power cut.
    pub(in crate::store) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}

/// The length of the file: always the same, so that it is written in place.
const LINE: usize = 54;

impl Said {
    fn line(&self) -> String {
        format!("{:<32} {:020}\n", self.epoch, self.newest.get())
    }

    fn parse(text: &str) -> Option<Self> {
        let (epoch, newest) = text.strip_suffix('\n').filter(|_| text.len() == LINE)?.rsplit_once(' ')?;
        let epoch = epoch.trim_end();
        let is_word = !epoch.is_empty() && epoch.bytes().all(|byte| byte.is_ascii_alphanumeric());
        Some(Self { epoch: epoch.to_owned(), newest: EventSeq::new(newest.parse().ok()?) }).filter(|_| is_word)
    }
}

/// Keeps the log of a database that is not there, or is empty, under another name.
fn keep_orphaned_log(database: &Path) -> io::Result<Option<PathBuf>> {
    let is_there = |path: &Path| path.metadata().is_ok_and(|file| file.len() > 0);
    let log = beside(database, "-wal");
    if is_there(database) || !is_there(&log) {
        return Ok(None);
    }
    let kept = beside(database, &format!("-wal-of-a-lost-database-{}", Timestamp::now()));
    std::fs::rename(&log, &kept)?;
    Ok(Some(kept))
}

fn beside(database: &Path, suffix: &str) -> PathBuf {
    let mut path = database.as_os_str().to_owned();
    path.push(suffix);
    path.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_nothing_else_is() {
        let said = Said { epoch: "ab12cd34".to_owned(), newest: EventSeq::new(7_000_000_000) };
        assert_eq!(said.line().len(), LINE);
        assert_eq!(Said::parse(&said.line()), Some(said));
        for wrong in ["", "\n", "ab12 7\n", &format!("{:<32} {:020}\n", "", 7), &format!("{:<32} {:>20}\n", "ab", "x")]
        {
            assert_eq!(Said::parse(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn only_a_database_that_ends_too_early_or_is_another_has_lost_something() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("relay.db");
        let mut witness = Witness::open(&path).unwrap();
        assert!(witness.loss("e", EventSeq::default()).is_none(), "a first start");
        witness.note("e", EventSeq::new(9));
        witness.note("e", EventSeq::new(8));
        let again = Witness::open(&path).unwrap();
        assert!(again.loss("e", EventSeq::new(9)).is_none());
        assert!(again.loss("e", EventSeq::new(10)).is_none(), "killed between the commit and the note");
        let shorter = again.loss("e", EventSeq::new(8)).unwrap();
        assert_eq!((shorter.above.get(), shorter.is_shorter), (9, true));
        let other = again.loss("f", EventSeq::new(20)).unwrap();
        assert_eq!((other.above.get(), other.is_shorter), (20, false));
    }
}
