//! Directories that programs start in, held open: a name may lead elsewhere a moment after it was approved.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{CWD, Dir, FileType, Mode, OFlags, Stat, openat, statat};
use serde::{Deserialize, Serialize};

/// A directory, open from when its name was checked. Cheap to clone.
#[derive(Clone)]
pub struct Place {
    path: PathBuf,
    open: Arc<OwnedFd>,
    id: PlaceId,
}

/// Which directory it is, whatever its name. No other has it while this one is held open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlaceId {
    device: u64,
    inode: u64,
}

/// A directory that is not the one its name was approved for.
#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    /// It cannot be opened without following a link, or not at all.
    #[error("{path} cannot be opened as the directory that it was: {source}", path = path.display())]
    Open {
        /// The path.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another one has its name.
    #[error("{path} is another directory than the one that was approved", path = path.display())]
    Exchanged {
        /// The path.
        path: PathBuf,
    },
}

impl Place {
    /// Opens the directory at an absolute path that was resolved before: where a part of it is a link by now, it is
    /// refused. Each part is looked up in the open one above it, so that nothing can be exchanged in between.
    ///
    /// # Errors
    ///
    /// [`PlaceError::Open`].
    pub fn open(path: &Path) -> Result<Self, PlaceError> {
        let failed = |source: io::Error| PlaceError::Open { path: path.to_owned(), source };
        let (open, id) = walk(path).map_err(failed)?;
        Ok(Self { path: path.to_owned(), open: Arc::new(open), id })
    }

    /// The same, when it is this very directory.
    ///
    /// # Errors
    ///
    /// As [`Self::open`], and [`PlaceError::Exchanged`].
    pub fn open_again(path: &Path, id: PlaceId) -> Result<Self, PlaceError> {
        let place = Self::open(path)?;
        if place.id == id { Ok(place) } else { Err(PlaceError::Exchanged { path: path.to_owned() }) }
    }

    /// Where it was when it was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Which one it is.
    pub fn id(&self) -> PlaceId {
        self.id
    }

    /// Makes it the working directory of this process, and so of those that it starts.
    pub(super) fn enter(&self) -> io::Result<()> {
        Ok(rustix::process::fchdir(&self.open)?)
    }

    /// The names of the directories in it, links to directories included, in no order.
    ///
    /// # Errors
    ///
    /// When it cannot be read.
    pub fn directories(&self) -> io::Result<Vec<String>> {
        let readable = openat(&self.open, ".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        let mut names = Vec::new();
        for entry in Dir::new(readable)? {
            let entry = entry?;
            let is_directory = |found: Stat| FileType::from_raw_mode(found.st_mode) == FileType::Directory;
            let is_one = match entry.file_type() {
                FileType::Directory => true,
                FileType::Symlink | FileType::Unknown => {
                    statat(&self.open, entry.file_name(), rustix::fs::AtFlags::empty()).is_ok_and(is_directory)
                }
                _ => false,
            };
            match entry.file_name().to_str() {
                Ok(name) if is_one && !matches!(name, "." | "..") => names.push(name.to_owned()),
                _ => {}
            }
        }
        Ok(names)
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Place").field("path", &self.path).field("id", &self.id).finish_non_exhaustive()
    }
}

/// What a directory is opened with to be held, entered and looked into: reading it takes no part.
#[cfg(target_os = "linux")]
const HELD: OFlags = OFlags::PATH;
#[cfg(not(target_os = "linux"))]
const HELD: OFlags = OFlags::RDONLY;

fn walk(path: &Path) -> io::Result<(OwnedFd, PlaceId)> {
    let flags = HELD | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut parts = path.components();
    if parts.next() != Some(Component::RootDir) {
        return Err(io::Error::other("it is not absolute"));
    }
    let mut open = openat(CWD, "/", flags, Mode::empty())?;
    for part in parts {
        let Component::Normal(name) = part else { return Err(io::Error::other("it is not resolved")) };
        open = openat(&open, name, flags, Mode::empty())?;
    }
    let open = File::from(open);
    let found = open.metadata()?;
    Ok((open.into(), PlaceId { device: found.dev(), inode: found.ino() }))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_path_with_a_link_in_it_is_no_place() -> io::Result<()> {
        let home = tempfile::tempdir()?;
        let base = home.path().canonicalize()?;
        fs::create_dir_all(base.join("x/y"))?;
        symlink("x", base.join("link"))?;
        symlink("y", base.join("x/last"))?;
        fs::write(base.join("file"), "")?;
        let place = Place::open(&base.join("x/y"));
        assert!(place.is_ok_and(|place| place.path() == base.join("x/y")));
        for path in ["link", "link/y", "x/last", "x/../x", "nowhere", "file", "file/x"] {
            assert!(Place::open(&base.join(path)).is_err(), "{path}");
        }
        assert!(Place::open(Path::new("x/y")).is_err(), "relative");
        assert!(Place::open(Path::new("/")).is_ok());
        Ok(())
    }

    #[test]
    fn another_directory_of_the_same_name_is_another_place() -> Result<(), Box<dyn std::error::Error>> {
        let home = tempfile::tempdir()?;
        let path = home.path().canonicalize()?.join("x");
        fs::create_dir(&path)?;
        let place = Place::open(&path)?;
        assert_eq!(Place::open_again(&path, place.id())?.id(), place.id());
        fs::rename(&path, path.with_file_name("moved"))?;
        fs::create_dir(&path)?;
        assert!(matches!(Place::open_again(&path, place.id()), Err(PlaceError::Exchanged { .. })));
        // What was opened is still the first one.
        fs::create_dir_all(path.with_file_name("moved").join("inside"))?;
        assert_eq!(place.directories()?, ["inside"]);
        Ok(())
    }
}
