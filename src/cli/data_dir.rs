//! The data directory belongs to one relay at a time, which says in it where it listens.

use std::fs::{DirBuilder, File, Permissions, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use serde::{Deserialize, Serialize};

/// The file that says which relay runs.
const RUNNING: &str = "running.json";
/// The most of it that is read.
const RUNNING_BYTES_MAX: u64 = 64 * 1024;

/// A data directory that this process alone serves, until it is dropped.
#[derive(Debug)]
pub(super) struct DataDir {
    path: PathBuf,
    /// The kernel gives the lock up when this is closed, by whatever end the process comes to.
    _lock: File,
    /// What was announced, locked as well.
    announced: OnceLock<File>,
}

/// What a relay says in its data directory while it runs. Nothing of it is secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Running {
    /// Where it listens, as processes of this host reach it.
    pub(super) url: String,
    /// The file that its administrator's token was read from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) token_file: Option<PathBuf>,
    /// Its process.
    pub(super) pid: u32,
}

impl Running {
    /// The relay that serves this data directory now: it holds the lock of what it announced.
    pub(super) fn of(data_dir: &Path) -> Option<Self> {
        let mut text = String::new();
        let mut file = File::open(data_dir.join(RUNNING)).ok()?;
        (&mut file).take(RUNNING_BYTES_MAX).read_to_string(&mut text).ok()?;
        let running = serde_json::from_str(&text).ok()?;
        matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)).then_some(running)
    }
}

impl DataDir {
    /// Makes the directory, for this user alone, if it is not there, and locks it.
    pub(super) fn claim(path: &Path) -> Result<Self, String> {
        let shown = path.display();
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|error| {
            format!("failed to make the data directory {shown}: {error}; choose another with --data-dir")
        })?;
        let mode = path.metadata().map_or(0, |metadata| metadata.permissions().mode());
        if mode & 0o002 != 0 {
            return Err(format!(
                "every user of this host may write to the data directory {shown}: chmod 700 {shown}, or choose another with --data-dir"
            ));
        }
        if mode & 0o077 != 0 {
            tracing::warn!("other users may look into the data directory {shown}: chmod 700 {shown}");
        }
        let file = path.join("lock");
        let mut lock = File::options()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .mode(0o600)
            .open(&file)
            .map_err(|error| format!("failed to open {}: {error}", file.display()))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(format!(
                    "the data directory {shown} is in use by another agent-relay{}; stop that one, or choose another with --data-dir",
                    holder(&mut lock)
                ));
            }
            Err(TryLockError::Error(error)) => {
                return Err(format!("failed to lock {}: {error}", file.display()));
            }
        }
        // One that an earlier version made may be readable by others.
        let _ = lock.set_permissions(Permissions::from_mode(0o600));
        // Only for people who look: the lock counts, not the number.
        let _ = lock.set_len(0).and_then(|()| lock.rewind()).and_then(|()| writeln!(lock, "{}", std::process::id()));
        Ok(Self { path: path.to_owned(), _lock: lock, announced: OnceLock::new() })
    }

    /// Says where the relay of this directory listens, for commands of the same user.
    pub(super) fn announce(&self, running: &Running) {
        let text = serde_json::to_string(running).unwrap_or_default();
        let new = self.path.join(format!("{RUNNING}.new"));
        let _ = std::fs::remove_file(&new);
        let announced = File::options().create_new(true).write(true).mode(0o600).open(&new).and_then(|mut file| {
            file.lock()?;
            writeln!(file, "{text}")?;
            std::fs::rename(&new, self.path.join(RUNNING))?;
            Ok(file)
        });
        match announced {
            // Held to the end: whoever reads it sees by that that it is true.
            Ok(file) => drop(self.announced.set(file)),
            Err(error) => tracing::warn!(%error, "commands on this host have to be told where this relay listens"),
        }
    }
}

impl Drop for DataDir {
    fn drop(&mut self) {
        // One that was not removed says nothing: nobody holds its lock.
        let _ = std::fs::remove_file(self.path.join(RUNNING));
    }
}

fn holder(lock: &mut File) -> String {
    let mut text = String::new();
    let read = lock.take(20).read_to_string(&mut text);
    match (read, text.trim().parse::<u32>()) {
        (Ok(_), Ok(pid)) => format!(" (process {pid})"),
        _ => String::new(),
    }
}
