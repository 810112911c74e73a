//! Whether the store works, found out by working it: a commit, a read at a place picked at random, and whether the
//! database at its path is still the file that was opened.

mod witness;

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::messages::load_near;
use super::{Store, StoreError, events};
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

    fn is_in_place(&self) -> Result<(), String> {
        let path = self.path.display();
        match Self::at(&self.path) {
            Ok(found) if found == *self => Ok(()),
            Ok(_) => Err(format!("another file is at {path}: what is written goes to the one that was there before")),
            Err(error) => Err(format!("{path} is not there any more, and what is written will be lost: {error}")),
        }
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
    /// Tries it: one small commit and one read.
    pub async fn examine(&self) -> Fitness {
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
        let read = read.and_then(|()| match self.is_damaged() {
            true => Err("an earlier read found the database damaged".to_owned()),
            false => Ok(()),
        });
        let write = if self.is_without_room() && free_bytes.is_some_and(|free| free < ROOM) {
            Err(StoreError::DiskFull)
        } else {
            self.keep_time().await
        };
        Fitness { write: write.map_err(|error| error.to_string()), read, file, free_bytes }
    }
}

/// A place from the first to this one.
fn random_between(last: EventSeq) -> EventSeq {
    let mut bytes = [0; 8];
    // Any place does.
    let _ = getrandom::fill(&mut bytes);
    let random = i64::from_ne_bytes(bytes).unsigned_abs();
    let last = last.get().max(1).unsigned_abs();
    EventSeq::new(i64::try_from(random % last).unwrap_or(0))
}
