//! Files of a session's program that its provider was granted, read for it, and sockets that may be written to.
//!
//! Each component below the directory that a pattern begins with is looked up in the open one above it, and no link is
//! followed: what is opened is what was granted, whatever is exchanged meanwhile. Only regular files and sockets of our
//! own user count.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
#[cfg(target_os = "linux")]
use std::os::fd::AsRawFd as _;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat, fstat, openat, statat};

use crate::domain::control::observation::GrantedFile;
use crate::plugins::Glob;
use crate::sessions::SessionName;

/// The most files that are read for one session, the newest.
const FILES_MAX: usize = 16;
/// The most of a file that is read, in bytes: its end.
const FILE_BYTES_MAX: usize = 64 * 1024;
/// The most of all files together, in bytes of their JSON: with it a question still fits into what a plugin may be asked.
const TOTAL_BYTES_MAX: usize = 768 * 1024;
/// The most names that are looked at for one session.
const NAMES_MAX: usize = 4_000;
/// The most that is kept of all sessions, in bytes.
const KEPT_BYTES_MAX: usize = 32 * 1024 * 1024;

/// What a directory is opened with to be gone through: reading it takes no part.
#[cfg(target_os = "linux")]
const HELD: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
#[cfg(not(target_os = "linux"))]
const HELD: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// The files as they were read last: a file that has not changed is not read again.
#[derive(Default)]
pub(super) struct GrantedFiles(Mutex<HashMap<SessionName, Vec<Kept>>>);

/// A file that was read.
#[derive(Clone)]
struct Kept {
    state: State,
    file: GrantedFile,
    bytes: usize,
}

/// Which file it is, and in which state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct State {
    id: (u64, u64),
    length: i64,
    modified: (i64, i64),
}

/// A file that is there.
struct Found {
    directory: Arc<OwnedFd>,
    name: String,
    path: String,
    state: State,
}

impl GrantedFiles {
    /// The newest files that these patterns stand for, the newest first.
    pub(super) fn read(&self, session: &SessionName, globs: &[Glob]) -> Vec<GrantedFile> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(session).unwrap_or_default();
        let (mut kept, mut total) = (Vec::new(), 0);
        for found in newest(globs) {
            let same = known.iter().find(|kept| kept.state == found.state && kept.file.path == found.path);
            let Some(read) = same.cloned().or_else(|| read(&found)) else { continue };
            if total + read.bytes > TOTAL_BYTES_MAX {
                continue;
            }
            total += read.bytes;
            kept.push(read);
        }
        let files = kept.iter().map(|kept| kept.file.clone()).collect();
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let others: usize = all.values().flatten().map(|kept| kept.bytes).sum();
        if others + total > KEPT_BYTES_MAX {
            all.clear();
        }
        all.insert(session.clone(), kept);
        files
    }
}

/// The newest files, the newest first, each once.
fn newest(globs: &[Glob]) -> Vec<Found> {
    let (mut found, mut names_left) = (Vec::new(), NAMES_MAX);
    for glob in globs {
        if let Some(base) = open_base(glob) {
            let base_path = glob.base().to_string_lossy().trim_end_matches('/').to_owned();
            find(glob, 0, &Arc::new(base), &base_path, &mut names_left, &mut found);
        }
    }
    if names_left == 0 {
        tracing::debug!("more than {NAMES_MAX} names fit the granted patterns of a session; some are not looked at");
    }
    found.sort_by(|one, other| (other.state.modified, &one.path).cmp(&(one.state.modified, &other.path)));
    let mut seen = HashSet::new();
    found.retain(|found| seen.insert(found.state.id));
    found.truncate(FILES_MAX);
    found
}

/// Looks for the rest of a pattern in an open directory.
fn find(glob: &Glob, depth: usize, directory: &Arc<OwnedFd>, path: &str, left: &mut usize, found: &mut Vec<Found>) {
    let names: Vec<String> = match glob.name_at(depth) {
        Some(only) => vec![only.to_owned()],
        None => list(directory, left).into_iter().filter(|name| glob.has_name_at(depth, name)).collect(),
    };
    for name in names {
        let path = format!("{path}/{name}");
        if depth + 1 < glob.depth() {
            if let Ok(below) = openat(directory, &name, HELD | OFlags::NOFOLLOW, Mode::empty()) {
                find(glob, depth + 1, &Arc::new(below), &path, left, found);
            }
        } else if let Ok(stat) = statat(directory, &name, AtFlags::SYMLINK_NOFOLLOW)
            && is_ours(&stat, FileType::RegularFile)
        {
            found.push(Found { directory: Arc::clone(directory), name, path, state: State::of(&stat) });
        }
    }
}

/// The names in a directory that are text, the last by the alphabet first: that is the order of dates.
fn list(directory: &OwnedFd, left: &mut usize) -> Vec<String> {
    let again = openat(directory, ".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
    let entries = again.and_then(Dir::new).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().to_str().ok().map(str::to_owned));
    let mut names: Vec<String> = names.take(*left).filter(|name| !matches!(name.as_str(), "." | "..")).collect();
    *left -= names.len().min(*left);
    names.sort_unstable_by(|one, other| other.cmp(one));
    names
}

fn read(found: &Found) -> Option<Kept> {
    let file = open_regular(&found.directory, &found.name)?;
    // It may be longer by now: what is read belongs to the state that is told.
    let state = State::of(&fstat(&file).ok()?);
    let length = u64::try_from(state.length).unwrap_or(0);
    let start = length.saturating_sub(FILE_BYTES_MAX as u64);
    let bytes = read_from(&file, start, FILE_BYTES_MAX)?;
    let text = String::from_utf8_lossy(&bytes);
    let contents = match text.split_once('\n') {
        Some((_, whole)) if start > 0 => whole.to_owned(),
        _ => text.into_owned(),
    };
    let escaped = contents.bytes().filter(|byte| matches!(byte, b'"' | b'\\') || byte.is_ascii_control()).count();
    let (seconds, nanoseconds) = state.modified;
    let modified_ms = u64::try_from(seconds * 1_000 + nanoseconds / 1_000_000).unwrap_or(0);
    // A control character is six of JSON.
    let bytes = contents.len() + 5 * escaped + found.path.len() + 100;
    Some(Kept { state, bytes, file: GrantedFile { path: found.path.clone(), contents, cut: start > 0, modified_ms } })
}

/// At most so many bytes of a file from there.
pub(super) fn read_from(mut file: &File, start: u64, most: usize) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(start)).ok()?;
    file.take(most as u64).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

/// Opens a file that one of these patterns stands for; nothing where there is none of ours.
pub(super) fn open_file(globs: &[Glob], path: &str) -> Option<File> {
    let (directory, name) = open_above(globs, path)?;
    open_regular(&directory, name)
}

/// A socket to connect to.
pub(super) struct Socket {
    /// A path that leads to it, and to no other while this lives.
    pub(super) path: PathBuf,
    _held: OwnedFd,
}

/// The socket that is at a path which one of these patterns stands for; nothing where there is none of ours.
pub(super) fn open_socket(globs: &[Glob], path: &str) -> Option<Socket> {
    let (directory, name) = open_above(globs, path)?;
    #[cfg(target_os = "linux")]
    {
        let held = openat(&directory, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty()).ok()?;
        let is_ours = is_ours(&fstat(&held).ok()?, FileType::Socket);
        is_ours.then(|| Socket { path: format!("/proc/self/fd/{}", held.as_raw_fd()).into(), _held: held })
    }
    #[cfg(not(target_os = "linux"))]
    {
        let stat = statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
        is_ours(&stat, FileType::Socket).then(|| Socket { path: path.into(), _held: directory })
    }
}

/// The open directory that holds a granted path, and the path's name in it.
fn open_above<'a>(globs: &[Glob], path: &'a str) -> Option<(OwnedFd, &'a str)> {
    let (glob, names) = globs.iter().find_map(|glob| Some((glob, glob.below(path)?)))?;
    let (name, above) = names.split_last()?;
    let mut directory = open_base(glob)?;
    for part in above {
        directory = openat(&directory, *part, HELD | OFlags::NOFOLLOW, Mode::empty()).ok()?;
    }
    Some((directory, name))
}

/// The directory that a pattern begins with, wherever links lead: it is the session's.
fn open_base(glob: &Glob) -> Option<OwnedFd> {
    openat(CWD, glob.base(), HELD, Mode::empty()).ok()
}

fn open_regular(directory: &OwnedFd, name: &str) -> Option<File> {
    // A pipe in its place would be waited for.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(openat(directory, Path::new(name), flags, Mode::empty()).ok()?);
    is_ours(&fstat(&file).ok()?, FileType::RegularFile).then_some(file)
}

fn is_ours(stat: &Stat, kind: FileType) -> bool {
    FileType::from_raw_mode(stat.st_mode) == kind && stat.st_uid == rustix::process::geteuid().as_raw()
}

impl State {
    #[expect(clippy::useless_conversion, reason = "the types differ between systems")]
    fn of(stat: &Stat) -> Self {
        Self {
            id: (u64::try_from(stat.st_dev).unwrap_or_default(), u64::try_from(stat.st_ino).unwrap_or_default()),
            length: i64::try_from(stat.st_size).unwrap_or_default(),
            modified: (
                i64::try_from(stat.st_mtime).unwrap_or_default(),
                i64::try_from(stat.st_mtime_nsec).unwrap_or_default(),
            ),
        }
    }
}

#[cfg(test)]
mod tests;
