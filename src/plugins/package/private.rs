//! Files that nobody but the relay's own user can have written or read.

use std::fs::{DirBuilder, File, Metadata, OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use rustix::fs::OFlags;

use crate::domain::text::hex::hex;

/// Makes a directory private, and makes it if need be.
pub(crate) fn make_directory(directory: &Path) -> std::io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    let metadata = std::fs::metadata(directory)?;
    if metadata.uid() != rustix::process::geteuid().as_raw() {
        return Err(std::io::Error::other("the directory belongs to another user"));
    }
    if metadata.mode() & 0o077 != 0 {
        std::fs::set_permissions(directory, Permissions::from_mode(0o700))?;
    }
    Ok(())
}

/// Opens a file that only this user can have written or read.
pub(crate) fn open_private(path: &Path) -> std::io::Result<(File, Metadata)> {
    let file = OpenOptions::new()
        .read(true)
        .custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed())
        .open(path)?;
    let metadata = file.metadata()?;
    let own = metadata.uid() == rustix::process::geteuid().as_raw();
    if metadata.is_file() && own && metadata.mode() & 0o077 == 0 {
        Ok((file, metadata))
    } else {
        Err(std::io::Error::other("not a private file of the relay's user"))
    }
}

/// Writes a file as a whole or not at all. After a loss of power it may be anything.
pub(crate) fn write_private(directory: &Path, path: &Path, parts: &[&[u8]]) -> std::io::Result<()> {
    replace(directory, path, parts, |_| Ok(()))
}

/// Writes a file as a whole or not at all. After a loss of power it may be the old one, but nothing
/// between the two.
pub(crate) fn write_whole(directory: &Path, path: &Path, parts: &[&[u8]]) -> std::io::Result<()> {
    replace(directory, path, parts, File::sync_data)
}

/// Writes a file as a whole or not at all, and returns when no loss of power can undo it.
pub(crate) fn write_durably(directory: &Path, path: &Path, parts: &[&[u8]]) -> std::io::Result<()> {
    write_whole(directory, path, parts)?;
    File::open(directory)?.sync_all()
}

fn replace(
    directory: &Path,
    path: &Path,
    parts: &[&[u8]],
    before_it_counts: impl FnOnce(&File) -> std::io::Result<()>,
) -> std::io::Result<()> {
    let mut number = [0; 8];
    getrandom::fill(&mut number).map_err(std::io::Error::other)?;
    let draft = directory.join(format!(".draft-{}", hex(&number)));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
    let written = parts
        .iter()
        .try_for_each(|part| file.write_all(part))
        .and_then(|()| before_it_counts(&file))
        .and_then(|()| std::fs::rename(&draft, path));
    if written.is_err() {
        let _ = std::fs::remove_file(&draft);
    }
    written
}
