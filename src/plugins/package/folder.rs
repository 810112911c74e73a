//! Reading a plugin's folder without trusting what lies in it.

use std::collections::BTreeSet;
use std::fs::{File, Metadata, OpenOptions};
use std::io::Read;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use super::names::check_id;
use super::signature::MINISIG_BYTES_MAX;

/// Bytes of a component.
pub(crate) const WASM_BYTES_MAX: u64 = 64 << 20;
/// Bytes of a manifest.
pub(crate) const MANIFEST_BYTES_MAX: u64 = 64 << 10;
/// Plugins in one directory.
pub(crate) const FOLDERS_MAX: usize = 256;

/// The files of a plugin, as they were read.
pub(crate) struct Files {
    pub(crate) manifest: String,
    pub(crate) wasm: Vec<u8>,
    /// Of a plugin that has to be signed, if it is.
    pub(crate) minisig: Option<String>,
}

/// The folders of a plugin directory, sorted by name. None when the directory is not there. Of more than
/// [`FOLDERS_MAX`], those that are `in_use` come first, then those with a manifest: what is new or
/// empty pushes nothing out.
///
/// Names beginning with a dot are left alone, so that a folder can be prepared beside the others
/// and renamed into place.
pub(crate) fn list(root: &Path, in_use: &BTreeSet<String>) -> std::io::Result<Vec<(String, PathBuf)>> {
    let entries = match std::fs::read_dir(root) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
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
    if folders.len() > FOLDERS_MAX {
        tracing::warn!(path = %root.display(), "more than {FOLDERS_MAX} plugin folders; the rest is ignored");
        folders.sort_by_key(|(name, path)| (!in_use.contains(name), !path.join("plugin.toml").is_file()));
        folders.truncate(FOLDERS_MAX);
        folders.sort();
    }
    Ok(folders)
}

/// Reads a folder, with the signature if it has to be signed. The error names the file and what to do
/// about it.
pub(crate) fn read(root: &Path, folder: &Path, signed: bool) -> Result<Files, String> {
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    check_id(&name).map_err(|problem| format!("the folder's name {problem}"))?;
    let real_root = resolve(root)?;
    check_trusted(&real_root, &metadata(&real_root)?)?;
    let real_folder = inside(&real_root, folder)?;
    check_trusted(&real_folder, &metadata(&real_folder)?)?;
    let manifest = read_file(&real_root, &folder.join("plugin.toml"), MANIFEST_BYTES_MAX)?;
    let manifest = String::from_utf8(manifest).map_err(|_| "plugin.toml is not UTF-8".to_owned())?;
    let wasm = read_file(&real_root, &folder.join("plugin.wasm"), WASM_BYTES_MAX)?;
    let path = folder.join("plugin.wasm.minisig");
    let minisig = if signed && path.symlink_metadata().is_ok() {
        let text = read_file(&real_root, &path, MINISIG_BYTES_MAX)?;
        Some(String::from_utf8(text).map_err(|_| "plugin.wasm.minisig is not UTF-8".to_owned())?)
    } else {
        None
    };
    Ok(Files { manifest, wasm, minisig })
}

fn read_file(real_root: &Path, path: &Path, bytes_max: u64) -> Result<Vec<u8>, String> {
    let failed = |what: &str, error: std::io::Error| format!("cannot {what} {}: {error}", path.display());
    let real = inside(real_root, path)?;
    // All checks are on the open file. A pipe put in its place must not block the open either.
    let file = OpenOptions::new()
        .read(true)
        .custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed())
        .open(&real)
        .map_err(|error| failed("open", error))?;
    let metadata = file.metadata().map_err(|error| failed("look at", error))?;
    if !metadata.is_file() {
        return Err(format!("{} is not a regular file", path.display()));
    }
    check_trusted(&real, &metadata)?;
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

fn metadata(path: &Path) -> Result<Metadata, String> {
    path.metadata().map_err(|error| format!("cannot look at {}: {error}", path.display()))
}

/// Whoever can write a plugin decides what the relay may do, so only the relay's own user and
/// root may.
fn check_trusted(path: &Path, metadata: &Metadata) -> Result<(), String> {
    let own = rustix::process::geteuid().as_raw();
    if metadata.uid() != own && metadata.uid() != 0 {
        return Err(format!(
            "{} belongs to user {}, not to the relay's user {own} or root",
            path.display(),
            metadata.uid()
        ));
    }
    if metadata.mode() & 0o022 != 0 {
        return Err(format!("{0} can be written by others; run: chmod go-w {0}", path.display()));
    }
    Ok(())
}
