//! Reading a plugin's folder without trusting what lies in it.

use std::collections::BTreeSet;
use std::fs::{File, Metadata, OpenOptions};
use std::io::Read;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use super::mount::{is_read_only, is_read_only_at};
use super::names::check_id;
use super::signature::MINISIG_BYTES_MAX;

/// Bytes of a component.
pub(crate) const WASM_BYTES_MAX: u64 = 64 << 20;
/// Bytes of a manifest.
pub(crate) const MANIFEST_BYTES_MAX: u64 = 64 << 10;
/// Plugins in one directory.
pub(crate) const FOLDERS_MAX: usize = 256;

/// Times that the links of a folder may be exchanged while it is read.
const EXCHANGES_MAX: usize = 4;

/// The files of a plugin, as they were read.
pub(crate) struct Files {
    pub(crate) manifest: String,
    pub(crate) wasm: Vec<u8>,
    /// Of a plugin that has to be signed, if it is.
    pub(crate) minisig: Option<String>,
}

/// What lies in a plugin directory.
pub(crate) struct Listed {
    /// The folders by name, sorted.
    pub(crate) folders: Vec<(String, PathBuf)>,
    /// Whether there are more, which are not looked at.
    pub(crate) more: bool,
}

/// The folders of a plugin directory, sorted by name. None when the directory is not there. Of more than
/// [`FOLDERS_MAX`], those that are `in_use` come first, then those with a manifest: what is new or
/// empty pushes nothing out.
///
/// Names beginning with a dot are left alone, so that a folder can be prepared beside the others
/// and renamed into place.
pub(crate) fn list(root: &Path, in_use: &BTreeSet<String>) -> std::io::Result<Listed> {
    let entries = match std::fs::read_dir(root) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Ok(Listed { folders: Vec::new(), more: false });
        }
        Err(error) => return Err(error),
    };
    let mut folders = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if !name.starts_with('.') && path.is_dir() {
            folders.push((name, path));
        }
    }
    folders.sort();
    let more = folders.len() > FOLDERS_MAX;
    if more {
        folders.sort_by_key(|(name, path)| (!in_use.contains(name), !path.join("plugin.toml").is_file()));
        folders.truncate(FOLDERS_MAX);
        folders.sort();
    }
    Ok(Listed { folders, more })
}

/// Reads a folder, with the signature if it has to be signed. The error names the file and what to do
/// about it.
pub(crate) fn read(root: &Path, folder: &Path, signed: bool) -> Result<Files, String> {
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    check_id(&name).map_err(|problem| format!("the folder's name {problem}"))?;
    let real_root = resolve(root)?;
    check_directory(&real_root)?;
    // Links may be exchanged between two reads, as a volume of Kubernetes is updated. So where the files lie is found
    // out first, and they are read from there: all of one state.
    for _ in 0..EXCHANGES_MAX {
        let real_folder = inside(&real_root, folder)?;
        check_directory(&real_folder)?;
        let found = find_files(&real_root, &real_folder, signed)?;
        if found.wasm.parent() != found.manifest.parent() && share_a_link(&real_folder) {
            continue;
        }
        let files = read_files(&found);
        // What went away while it was read is looked for again.
        if files.is_ok() || (found.manifest.exists() && found.wasm.exists()) {
            return files;
        }
    }
    Err(format!("{} changes faster than it can be read", folder.display()))
}

/// Where the files of a folder really lie.
#[derive(PartialEq, Eq)]
struct Found {
    manifest: PathBuf,
    wasm: PathBuf,
    minisig: Option<PathBuf>,
}

fn find_files(real_root: &Path, folder: &Path, signed: bool) -> Result<Found, String> {
    let minisig = folder.join("plugin.wasm.minisig");
    let minisig = (signed && minisig.symlink_metadata().is_ok()).then(|| inside(real_root, &minisig)).transpose()?;
    let [manifest, wasm] = ["plugin.toml", "plugin.wasm"].map(|name| inside(real_root, &folder.join(name)));
    Ok(Found { manifest: manifest?, wasm: wasm?, minisig })
}

/// Whether manifest and component are links through one and the same directory, which then is in one place.
fn share_a_link(folder: &Path) -> bool {
    let through = |name: &str| folder.join(name).read_link().ok()?.parent().map(Path::to_owned);
    let manifest = through("plugin.toml");
    manifest.is_some() && manifest == through("plugin.wasm")
}

fn read_files(found: &Found) -> Result<Files, String> {
    let manifest = read_file(&found.manifest, MANIFEST_BYTES_MAX)?;
    let manifest = String::from_utf8(manifest).map_err(|_| "plugin.toml is not UTF-8".to_owned())?;
    let wasm = read_file(&found.wasm, WASM_BYTES_MAX)?;
    let minisig = match &found.minisig {
        Some(path) => Some(
            String::from_utf8(read_file(path, MINISIG_BYTES_MAX)?).map_err(|_| "plugin.wasm.minisig is not UTF-8")?,
        ),
        None => None,
    };
    Ok(Files { manifest, wasm, minisig })
}

/// Reads a file at its real path.
fn read_file(path: &Path, bytes_max: u64) -> Result<Vec<u8>, String> {
    let failed = |what: &str, error: std::io::Error| format!("cannot {what} {}: {error}", path.display());
    // All checks are on the open file. A pipe put in its place must not block the open either.
    let file = OpenOptions::new()
        .read(true)
        .custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed())
        .open(path)
        .map_err(|error| failed("open", error))?;
    let metadata = file.metadata().map_err(|error| failed("look at", error))?;
    if !metadata.is_file() {
        return Err(format!("{} is not a regular file", path.display()));
    }
    check_trusted(path, &metadata, is_read_only_at(&file))?;
    let too_large = || format!("{} is larger than {bytes_max} bytes", path.display());
    if metadata.len() > bytes_max {
        return Err(too_large());
    }
    let bytes = read_at_most(&file, bytes_max).map_err(|error| failed("read", error))?;
    bytes.ok_or_else(too_large)
}

/// The whole file, or nothing when it has grown beyond the maximum since it was looked at.
fn read_at_most(file: &File, bytes_max: u64) -> std::io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    file.take(bytes_max + 1).read_to_end(&mut bytes)?;
    Ok((bytes.len() as u64 <= bytes_max).then_some(bytes))
}

/// Resolves a path whose target must lie in the plugin directory, wherever symlinks lead.
fn inside(real_root: &Path, path: &Path) -> Result<PathBuf, String> {
    let real = resolve(path)?;
    if real.starts_with(real_root) {
        Ok(real)
    } else {
        Err(format!("{} leads out of the plugin directory, to {}", path.display(), real.display()))
    }
}

fn resolve(path: &Path) -> Result<PathBuf, String> {
    path.canonicalize().map_err(|error| format!("cannot find {}: {error}", path.display()))
}

fn check_directory(path: &Path) -> Result<(), String> {
    let metadata = path.metadata().map_err(|error| format!("cannot look at {}: {error}", path.display()))?;
    check_trusted(path, &metadata, is_read_only(path))
}

/// Whoever can write a plugin decides what the relay may do, so only the relay's own user and root may. Where a mount
/// lets nobody write, modes say nothing.
fn check_trusted(path: &Path, metadata: &Metadata, is_read_only: bool) -> Result<(), String> {
    let own = rustix::process::geteuid().as_raw();
    if metadata.uid() != own && metadata.uid() != 0 {
        return Err(format!(
            "{} belongs to user {}, not to the relay's user {own} or root",
            path.display(),
            metadata.uid()
        ));
    }
    if metadata.mode() & 0o022 != 0 && !is_read_only {
        return Err(format!(
            "{0} can be written by others; run: chmod go-w {0} (or mount it read-only, where its mode cannot be changed)",
            path.display()
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[test]
    fn what_others_could_write_is_trusted_only_through_a_mount_where_nobody_can() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        for mode in [0o777, 0o2777, 0o1777, 0o775] {
            std::fs::set_permissions(directory.path(), Permissions::from_mode(mode)).expect("our own");
            let metadata = directory.path().metadata().expect("it is there");
            let refused = check_trusted(directory.path(), &metadata, false).expect_err("others can write there");
            assert!(refused.contains("can be written by others; run: chmod go-w "), "{refused}");
            assert_eq!(check_trusted(directory.path(), &metadata, true), Ok(()));
        }
        std::fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).expect("our own");
        assert_eq!(check_trusted(directory.path(), &directory.path().metadata().expect("it is there"), false), Ok(()));
    }

    /// A folder whose files are links through `..data`, which is exchanged all the while: never a manifest of one state
    /// with a component of another.
    #[test]
    fn files_behind_links_that_are_exchanged_are_read_of_one_state() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let folder = directory.path().join("guard");
        for state in ["one", "two"] {
            let data = folder.join(format!("..{state}"));
            std::fs::create_dir_all(&data).expect("made");
            for name in ["plugin.toml", "plugin.wasm"] {
                std::fs::write(data.join(name), state).expect("written");
                std::fs::set_permissions(data.join(name), Permissions::from_mode(0o644)).expect("our own");
            }
        }
        for path in [directory.path(), &folder] {
            std::fs::set_permissions(path, Permissions::from_mode(0o755)).expect("our own");
        }
        let exchange = |state: &str| {
            let next = folder.join("..next");
            symlink(format!("..{state}"), &next).expect("a link");
            std::fs::rename(next, folder.join("..data")).expect("renamed");
        };
        exchange("one");
        for name in ["plugin.toml", "plugin.wasm"] {
            symlink(format!("..data/{name}"), folder.join(name)).expect("a link");
        }
        let done = AtomicBool::new(false);
        let read = || read(directory.path(), &folder, false);
        let all: Vec<Result<Files, String>> = std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    ["two", "one"].iter().for_each(|state| exchange(state));
                }
            });
            let all = (0..500).map(|_| read()).collect();
            done.store(true, Ordering::Relaxed);
            all
        });
        for read in all {
            match read {
                Ok(files) => assert_eq!(files.manifest.as_bytes(), files.wasm, "of two states"),
                Err(problem) => assert!(problem.contains("changes faster"), "{problem}"),
            }
        }
        exchange("two");
        assert_eq!(read().expect("it is quiet").manifest, "two");
    }
}
