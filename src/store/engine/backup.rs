//! Backups: a data directory as one file, which is a database by itself. What lies beside the database is in a table of
//! it, so that what comes back decides as before: plugins, what was decided about them, the secret of callbacks.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Component, Path, PathBuf};

use rusqlite::{OpenFlags, params};

use super::migrations;
use super::sqlite::Connection;
use crate::domain::time::Timestamp;
use crate::store::StoreError;

/// The database in a data directory.
const DATABASE: &str = "relay.db";
/// What is made anew by itself, belongs to one host, or is the database.
const LEFT_OUT: [&str; 5] = ["cache", "lock", "orchestrator", "running.json", "sessions"];
/// The most that lies beside a database: in files, and in bytes of all of them.
const FILES_MAX: usize = 10_000;
const BYTES_MAX: u64 = 1 << 30;

/// What a backup holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backup {
    /// The size of the file, in bytes.
    pub bytes: u64,
    /// How many files beside the database are in it.
    pub files: usize,
    /// Those that are not, with the reason: links and what is no file.
    pub left_out: Vec<String>,
}

/// Writes the data directory as it is at one moment into a file that must not be there, while its relay runs or not.
///
/// # Errors
///
/// When there is no database, it is damaged, or the file cannot be written. Then there is no file.
pub fn back_up(data_dir: &Path, file: &Path) -> Result<Backup, StoreError> {
    let database = data_dir.join(DATABASE);
    if !database.is_file() {
        return Err(unusable(format!("there is no database in {}", data_dir.display())));
    }
    if file.exists() {
        return Err(unusable(format!("{} is there already; name a file that is not", file.display())));
    }
    let made = beside(file, ".part");
    let written = write(data_dir, &database, &made).and_then(|backup| {
        fs::rename(&made, file).map_err(|error| unusable(format!("cannot write {}: {error}", file.display())))?;
        Ok(backup)
    });
    if written.is_err() {
        let _ = fs::remove_file(&made);
    }
    written
}

fn write(data_dir: &Path, database: &Path, made: &Path) -> Result<Backup, StoreError> {
    let failed = |error: rusqlite::Error| unusable(format!("cannot back up {}: {error}", database.display()));
    let of_file = |error: io::Error| unusable(format!("cannot write {}: {error}", made.display()));
    // Made first, so that nobody else may ever read it.
    OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(made).map_err(of_file)?;
    let source = open(database, OpenFlags::SQLITE_OPEN_READ_ONLY).map_err(failed)?;
    let name = made.to_str().ok_or_else(|| unusable("the name of a backup must be UTF-8".to_owned()))?;
    source.execute("VACUUM INTO ?1", params![name]).map_err(failed)?;
    let copy = open(made, OpenFlags::SQLITE_OPEN_READ_WRITE).map_err(failed)?;
    check(&copy).map_err(|problem| unusable(format!("the database is damaged: {problem}")))?;
    copy.execute_batch(
        "CREATE TABLE backup_file (path TEXT PRIMARY KEY, mode INTEGER NOT NULL, content BLOB NOT NULL) STRICT;",
    )
    .map_err(failed)?;
    let (files, left_out) = list(data_dir)?;
    let mut bytes = 0;
    copy.execute_batch("BEGIN").map_err(failed)?;
    for path in &files {
        let content = read(&data_dir.join(path), BYTES_MAX - bytes)?;
        bytes += content.len() as u64;
        let mode = fs::metadata(data_dir.join(path)).map_or(0o600, |file| file.permissions().mode() & 0o777);
        let name = path.to_string_lossy();
        copy.execute("INSERT INTO backup_file (path, mode, content) VALUES (?1, ?2, ?3)", params![name, mode, content])
            .map_err(failed)?;
    }
    copy.execute_batch("COMMIT").map_err(failed)?;
    drop(copy);
    let synced = File::open(made).and_then(|file| {
        file.sync_all()?;
        file.metadata()
    });
    Ok(Backup { bytes: synced.map_err(of_file)?.len(), files: files.len(), left_out })
}

/// Makes a data directory of a backup. Whoever calls holds the directory, so that no relay runs on it. What is there
/// already is moved aside into a folder of its own if that is wanted, which is answered; otherwise it is in the way.
///
/// # Errors
///
/// When the file is no backup, is one of a newer version, or something is in the way. Then nothing is changed, unless the
/// disk fails on the way.
pub fn restore(file: &Path, data_dir: &Path, move_aside: bool) -> Result<Option<PathBuf>, StoreError> {
    let failed = |error: rusqlite::Error| unusable(format!("{} is no backup: {error}", file.display()));
    let of_disk = |error: io::Error| unusable(format!("cannot write into {}: {error}", data_dir.display()));
    {
        let backup = open(file, OpenFlags::SQLITE_OPEN_READ_ONLY).map_err(failed)?;
        let is_one: i64 = backup
            .query_row("SELECT count(*) FROM sqlite_schema WHERE name IN ('backup_file', 'meta')", [], |row| row.get(0))
            .map_err(failed)?;
        if is_one != 2 {
            return Err(unusable(format!("{} is no backup of a relay", file.display())));
        }
        check(&backup).map_err(|problem| unusable(format!("{} is damaged: {problem}", file.display())))?;
        let version: i64 = backup.query_row("PRAGMA user_version", [], |row| row.get(0)).map_err(failed)?;
        if usize::try_from(version).map_or(true, |version| version > migrations::count()) {
            return Err(unusable(format!(
                "{} is of a newer version than this program: restore it with the one that wrote it",
                file.display()
            )));
        }
    }
    let there: Vec<_> = present(data_dir).map_err(of_disk)?;
    if !there.is_empty() && !move_aside {
        let names: Vec<_> = there.iter().take(3).map(|name| name.to_string_lossy()).collect();
        return Err(unusable(format!(
            "{} is not empty: it has {}; name an empty directory, or move what is there aside with --force",
            data_dir.display(),
            names.join(", ")
        )));
    }
    let made = data_dir.join("relay.db.part");
    let restored = unpack(file, data_dir, &made, &there);
    if restored.is_err() {
        let _ = fs::remove_file(&made);
    }
    restored
}

fn unpack(file: &Path, data_dir: &Path, made: &Path, there: &[PathBuf]) -> Result<Option<PathBuf>, StoreError> {
    let failed = |error: rusqlite::Error| unusable(format!("cannot restore {}: {error}", file.display()));
    let of_disk = |error: io::Error| unusable(format!("cannot write into {}: {error}", data_dir.display()));
    let mut from = File::open(file).map_err(of_disk)?;
    let mut to = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(made).map_err(of_disk)?;
    io::copy(&mut from, &mut to).map_err(of_disk)?;
    drop(to);
    let mut files = Vec::new();
    {
        let copy = open(made, OpenFlags::SQLITE_OPEN_READ_WRITE).map_err(failed)?;
        let mut statement =
            copy.prepare("SELECT path, mode, content FROM backup_file ORDER BY path").map_err(failed)?;
        let mut rows = statement.query([]).map_err(failed)?;
        while let Some(row) = rows.next().map_err(failed)? {
            let (path, mode): (String, u32) = (row.get(0).map_err(failed)?, row.get(1).map_err(failed)?);
            let content: Vec<u8> = row.get(2).map_err(failed)?;
            files.push((inside(&path)?, mode & 0o777, content));
        }
        drop(rows);
        drop(statement);
        copy.execute_batch("DROP TABLE backup_file; VACUUM;").map_err(failed)?;
    }
    // Whoever followed the events of before must begin anew.
    migrations::begin_epoch(&Connection::open_writable(made)?)?;
    let aside = set_aside(data_dir, there).map_err(of_disk)?;
    for (path, mode, content) in files {
        put(&data_dir.join(path), mode, &content).map_err(of_disk)?;
    }
    // Last, in one step: a directory without it is none of a relay.
    fs::rename(made, data_dir.join(DATABASE)).map_err(of_disk)?;
    for suffix in ["-wal", "-shm"] {
        let _ = fs::remove_file(beside(made, suffix));
    }
    let _ = File::open(data_dir).and_then(|folder| folder.sync_all());
    Ok(aside)
}

fn set_aside(data_dir: &Path, there: &[PathBuf]) -> io::Result<Option<PathBuf>> {
    if there.is_empty() {
        return Ok(None);
    }
    let folder = data_dir.join(format!("before-restore-{}", Timestamp::now()));
    fs::DirBuilder::new().mode(0o700).create(&folder)?;
    for name in there {
        fs::rename(data_dir.join(name), folder.join(name))?;
    }
    Ok(Some(folder))
}

/// What is in the way of another database. Sessions go on, and what was set aside before stays.
fn present(data_dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(data_dir)? {
        let name = entry?.file_name();
        let text = name.to_string_lossy();
        if !LEFT_OUT.contains(&&*text) && !text.starts_with("before-restore-") {
            names.push(PathBuf::from(name));
        }
    }
    names.sort();
    Ok(names)
}

/// The files beside the database, as paths in the directory, and those that are left out.
fn list(data_dir: &Path) -> Result<(Vec<PathBuf>, Vec<String>), StoreError> {
    let failed = |error: io::Error| unusable(format!("cannot read {}: {error}", data_dir.display()));
    let mut files = Vec::new();
    let mut left_out = Vec::new();
    let mut folders: Vec<PathBuf> = Vec::new();
    for name in present(data_dir).map_err(failed)? {
        if name.to_string_lossy().starts_with(DATABASE) {
            continue;
        }
        sort_in(data_dir, name, &mut files, &mut folders, &mut left_out).map_err(failed)?;
    }
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(data_dir.join(&folder)).map_err(failed)? {
            let name = folder.join(entry.map_err(failed)?.file_name());
            sort_in(data_dir, name, &mut files, &mut folders, &mut left_out).map_err(failed)?;
        }
        if files.len() + folders.len() > FILES_MAX {
            return Err(unusable(format!("more than {FILES_MAX} files lie beside the database")));
        }
    }
    files.sort();
    Ok((files, left_out))
}

fn sort_in(
    data_dir: &Path,
    name: PathBuf,
    files: &mut Vec<PathBuf>,
    folders: &mut Vec<PathBuf>,
    left_out: &mut Vec<String>,
) -> io::Result<()> {
    let kind = fs::symlink_metadata(data_dir.join(&name))?.file_type();
    match name.to_str() {
        Some(_) if kind.is_dir() => folders.push(name),
        Some(_) if kind.is_file() => files.push(name),
        Some(text) => left_out.push(format!("{text}: a link, or no file")),
        None => left_out.push(format!("{}: its name is not UTF-8", name.display())),
    }
    Ok(())
}

fn read(path: &Path, bytes_max: u64) -> Result<Vec<u8>, StoreError> {
    let mut content = Vec::new();
    let read = File::open(path).and_then(|file| file.take(bytes_max + 1).read_to_end(&mut content));
    read.map_err(|error| unusable(format!("cannot read {}: {error}", path.display())))?;
    if content.len() as u64 > bytes_max {
        return Err(unusable(format!(
            "more than {BYTES_MAX} bytes lie beside the database; {} is too much",
            path.display()
        )));
    }
    Ok(content)
}

fn put(path: &Path, mode: u32, content: &[u8]) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    file.set_permissions(Permissions::from_mode(mode))?;
    file.write_all(content)?;
    file.sync_all()
}

/// A path that leads nowhere else.
fn inside(path: &str) -> Result<PathBuf, StoreError> {
    let path = PathBuf::from(path);
    let is_inside = path.components().all(|part| matches!(part, Component::Normal(_))) && path.components().count() > 0;
    if is_inside {
        Ok(path)
    } else {
        Err(unusable(format!("the backup holds a path that leads elsewhere: {}", path.display())))
    }
}

fn open(path: &Path, flags: OpenFlags) -> rusqlite::Result<rusqlite::Connection> {
    let connection = rusqlite::Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(std::time::Duration::from_secs(5))?;
    Ok(connection)
}

fn check(connection: &rusqlite::Connection) -> Result<(), String> {
    let found: String =
        connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)).map_err(|error| error.to_string())?;
    if found == "ok" { Ok(()) } else { Err(found) }
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn unusable(problem: String) -> StoreError {
    StoreError::Unusable(problem)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backup_leads_nowhere_else() {
        for path in ["/etc/passwd", "../x", "a/../../x", "", "."] {
            assert!(inside(path).is_err(), "{path}");
        }
        assert_eq!(inside("plugins/mine/plugin.wasm").unwrap(), Path::new("plugins/mine/plugin.wasm"));
    }
}
