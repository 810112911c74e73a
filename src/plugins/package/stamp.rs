//! Whether a folder may have changed since it was last read, without reading it again.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A file changed again so soon after the last time may keep every number of its metadata.
const CONCLUSIVE_AFTER: Duration = Duration::from_secs(2);

/// Numbers of a folder's metadata that change when its contents or its owner do. Equal and
/// conclusive means that reading it again would give the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    numbers: Vec<[i64; 6]>,
    conclusive: bool,
}

impl Stamp {
    /// Whether nothing can have changed since `earlier` was taken.
    pub(crate) fn is_still(&self, earlier: &Self) -> bool {
        earlier.conclusive && self.numbers == earlier.numbers
    }

    /// Whether the last change is long enough ago for another one to show.
    pub(crate) fn is_conclusive(&self) -> bool {
        self.conclusive
    }
}

/// The stamp of a folder. Files that are not there count as such.
pub(crate) fn stamp(root: &Path, folder: &Path) -> Stamp {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut numbers = Vec::new();
    let mut newest = 0;
    let files = ["plugin.toml", "plugin.wasm", "plugin.wasm.minisig"].map(|name| folder.join(name));
    for path in [root, folder, &files[0], &files[1], &files[2]] {
        let Ok(metadata) = std::fs::metadata(path) else {
            numbers.push([0; 6]);
            continue;
        };
        newest = newest.max(metadata.ctime());
        // The root's times change with every other plugin.
        let (modified, changed) = if path == root {
            (0, 0)
        } else {
            (nanoseconds(metadata.mtime(), metadata.mtime_nsec()), nanoseconds(metadata.ctime(), metadata.ctime_nsec()))
        };
        numbers.push([
            metadata.ino().cast_signed(),
            i64::from(metadata.uid()) << 32 | i64::from(metadata.mode()),
            metadata.dev().cast_signed(),
            metadata.len().cast_signed() * i64::from(metadata.is_file()),
            modified,
            changed,
        ]);
    }
    let conclusive = Duration::from_secs(newest.cast_unsigned()) + CONCLUSIVE_AFTER < now;
    Stamp { numbers, conclusive }
}

fn nanoseconds(seconds: i64, nanoseconds: i64) -> i64 {
    seconds.wrapping_mul(1_000_000_000).wrapping_add(nanoseconds)
}
