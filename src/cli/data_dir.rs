//! The data directory belongs to one relay at a time.

use std::fs::{DirBuilder, File, Permissions, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// A data directory that this process alone serves, until it is dropped.
#[derive(Debug)]
pub(super) struct DataDir {
    /// The kernel gives the lock up when this is closed, by whatever end the process comes to.
    _lock: File,
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
        Ok(Self { _lock: lock })
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
