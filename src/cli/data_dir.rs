//! The data directory belongs to one relay at a time, which says in it where it listens.

use std::fs::{DirBuilder, File, Permissions, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The file that says which relay runs.
const RUNNING: &str = "running.json";
/// The most of it that is read.
const RUNNING_BYTES_MAX: u64 = 64 * 1024;
/// A command that asks whether a relay runs holds the lock for a moment.
const ASKED_FOR: Duration = Duration::from_millis(100);

/// A data directory that this process alone serves, until it is dropped.
#[derive(Debug)]
pub(super) struct DataDir {
    path: PathBuf,
    /// The kernel gives the lock up when this is closed, by whatever end the process comes to.
    _lock: File,
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
    /// The relay that serves this data directory now, whose lock nobody else can hold.
    pub(super) fn of(data_dir: &Path) -> Option<Self> {
        let mut text = String::new();
        File::open(data_dir.join(RUNNING)).ok()?.take(RUNNING_BYTES_MAX).read_to_string(&mut text).ok()?;
        let running: Self = serde_json::from_str(&text).ok()?;
        let lock = File::open(data_dir.join("lock")).ok()?;
        matches!(lock.try_lock_shared(), Err(TryLockError::WouldBlock)).then_some(running)
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
        let mut locked = lock.try_lock();
        if matches!(locked, Err(TryLockError::WouldBlock)) {
            std::thread::sleep(ASKED_FOR);
            locked = lock.try_lock();
        }
        match locked {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(format!(
                    "the data directory {shown} is in use by another relay{}; stop that one, or choose another with --data-dir",
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
        Ok(Self { path: path.to_owned(), _lock: lock })
    }

    /// Says where the relay of this directory listens, for commands of the same user.
    pub(super) fn announce(&self, running: &Running) {
        let text = serde_json::to_string(running).unwrap_or_default();
        let new = self.path.join(format!("{RUNNING}.new"));
        let _ = std::fs::remove_file(&new);
        let file = File::options().create_new(true).write(true).mode(0o600).open(&new);
        let written = file.and_then(|mut file| writeln!(file, "{text}"));
        if let Err(error) = written.and_then(|()| std::fs::rename(&new, self.path.join(RUNNING))) {
            tracing::warn!(%error, "commands on this host have to be told where this relay listens");
        }
    }
}

impl Drop for DataDir {
    fn drop(&mut self) {
        // One that was not removed says nothing: nobody holds the lock.
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
