//! Whether the store works, found out by working it: a commit, a read at a place picked at random, and whether the
//! database at its path is still the file that was opened.

mod witness;

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::engine::{Connection, Scrub};
use super::messages::load_near;
use super::{Store, StoreError, events, reaper};
use crate::domain::id::EventSeq;

pub use self::witness::Loss;
pub(super) use self::witness::Witness;

/// What was found.
#[derive(Clone, Debug)]
pub struct Fitness {
    /// Whether a write is on disk once it is answered.
    pub write: Result<(), String>,
    /// Whether what was written can be read.
    pub read: Result<(), String>,
    /// Whether the file at the database's path is the one that is written to.
    pub file: Result<(), String>,
    /// How many bytes may still be written to its disk, as far as that is known.
    pub free_bytes: Option<u64>,
    /// The size of the log in front of the database.
    pub log_bytes: u64,
}

/// How far the whole database has been read, in small steps.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scrubbed {
    /// Rows so far.
    pub rows: u64,
    /// Whole passes so far.
    pub passes: u64,
    /// What was wrong, the latest of it.
    pub finding: Option<String>,
}

/// Where that stands: the one is held for as long as a step takes, the other is for whoever asks.
#[derive(Debug, Default)]
pub(super) struct Scrubbing {
    scrub: Mutex<Scrub>,
    done: Mutex<Scrubbed>,
}

/// Which file was opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Opened {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl Opened {
    pub(super) fn at(path: &Path) -> io::Result<Self> {
        let found = path.metadata()?;
        Ok(Self { path: path.to_owned(), device: found.dev(), inode: found.ino() })
    }

    pub(super) fn is_in_place(&self) -> Result<(), String> {
        let path = self.path.display();
        match Self::at(&self.path) {
            Ok(found) if found == *self => Ok(()),
            Ok(_) => {
                Err(format!("another file is at {path}: what would be written goes to the one that was there before"))
            }
            Err(error) => {
                Err(format!("{path} is not there any more, and what would be written would be lost: {error}"))
            }
        }
    }

    fn log_bytes(&self) -> u64 {
        let mut log = self.path.clone().into_os_string();
        log.push("-wal");
        std::fs::metadata(log).map_or(0, |file| file.len())
    }

    fn free_bytes(&self) -> Option<u64> {
        let disk = rustix::fs::statvfs(self.path.parent()?).ok()?;
        Some(disk.f_bavail.saturating_mul(disk.f_frsize))
    }
}

/// After a write found no room, this much has to be free before another is tried: one that is small may find a
/// place where others do not.
const ROOM: u64 = 8 << 20;

impl Store {
    /// Tries it: one small commit and one read. `echo` is handed on with the commit, in [`super::Batch::echoes`].
    pub async fn examine(&self, echo: u64) -> Fitness {
        let opened = self.inner.opened.clone();
        let looked = self.read(move |snapshot| {
            let place = random_between(events::range(snapshot)?.latest);
            load_near(snapshot, place.into())?;
            events::load_near(snapshot, place)?;
            Ok((opened.is_in_place(), opened.free_bytes()))
        });
        let (read, file, free_bytes) = match looked.await {
            Ok((file, free)) => (Ok(()), file, free),
            Err(error) => (Err(error.to_string()), Ok(()), self.inner.opened.free_bytes()),
        };
        let read = read.and_then(|()| match (self.scrubbed().finding, self.is_damaged()) {
            (Some(finding), _) => Err(finding),
            (None, true) => Err("an earlier read found the database damaged".to_owned()),
            (None, false) => Ok(()),
        });
        let write = if self.is_without_room() && free_bytes.is_some_and(|free| free < ROOM) {
            Err(StoreError::DiskFull)
        } else {
            let clock = self.inner.clock.clone();
            let commit = self.write(move |tx| {
                tx.echo(echo);
                reaper::keep_mark(tx, &clock)
            });
            commit.await
        };
        Fitness { write: write.map_err(|error| error.to_string()), read, file, free_bytes, log_bytes: self.log_bytes() }
    }

    /// Whether the database is where it was opened; while it is not, nothing is written.
    pub fn is_in_place(&self) -> bool {
        self.inner.opened.is_in_place().is_ok()
    }

    /// The size of the log in front of the database, in bytes.
    pub fn log_bytes(&self) -> u64 {
        self.inner.opened.log_bytes()
    }

    /// How many bytes may still be written to the disk of the database, as far as that is known.
    pub fn free_bytes(&self) -> Option<u64> {
        self.inner.opened.free_bytes()
    }

    /// How far the whole database has been read.
    pub fn scrubbed(&self) -> Scrubbed {
        self.inner.scrubbing.done.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads the next small part of the database whole, on a connection of its own so that no reader waits for it,
    /// and answers how long to wait before the one after it so that all of it takes about a day.
    pub async fn scrub_step(&self) -> Result<Duration, StoreError> {
        let inner = self.inner.clone();
        let task = tokio::task::spawn_blocking(move || {
            let mut scrub = inner.scrubbing.scrub.lock().unwrap_or_else(PoisonError::into_inner);
            let connection = Connection::open_readable(&inner.opened.path)?;
            let found = connection.scrub(&mut scrub);
            let mut done = inner.scrubbing.done.lock().unwrap_or_else(PoisonError::into_inner);
            (done.rows, done.passes) = (scrub.rows, scrub.passes);
            match &found {
                Ok(Some(finding)) => done.finding = Some(finding.clone()),
                Err(error) if error.is_damage() => done.finding = Some(error.to_string()),
                Ok(None) | Err(_) => {}
            }
            drop(done);
            found?;
            Ok(connection.size_bytes()?)
        });
        let size: Result<i64, StoreError> = task.await.map_err(|_| StoreError::Closed)?;
        let steps = size?.unsigned_abs() / STEP_BYTES;
        Ok((PASS / u32::try_from(steps).unwrap_or(u32::MAX).max(1)).clamp(STEP_EVERY_MIN, STEP_EVERY_MAX))
    }
}

/// How long reading all of it should take, and what one step reads of a database of short messages.
const PASS: Duration = Duration::from_secs(24 * 60 * 60);
const STEP_BYTES: u64 = 256 << 10;
/// A step takes some milliseconds, so that even in a huge database it is a hundredth of one core.
const STEP_EVERY_MIN: Duration = Duration::from_millis(500);
const STEP_EVERY_MAX: Duration = Duration::from_secs(60);

/// A place from the first to this one.
fn random_between(last: EventSeq) -> EventSeq {
    let mut bytes = [0; 8];
    // Any place does.
    let _ = getrandom::fill(&mut bytes);
    let random = i64::from_ne_bytes(bytes).unsigned_abs();
    let last = last.get().max(1).unsigned_abs();
    EventSeq::new(i64::try_from(random % last).unwrap_or(0))
}
