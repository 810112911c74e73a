//! SQLite: one file in write-ahead mode, one connection that writes, a few that read.

use std::borrow::Cow;
use std::fs::{OpenOptions, Permissions};
use std::ops::ControlFlow;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{CachedStatement, ErrorCode, OpenFlags, StatementStatus};

use super::EngineError;
use super::row::{Columns, Read, Stored, Values, columns_of};
use super::value::{FromSql, Mismatch, ToSql, Value};
use crate::store::StoreError;

/// Statements kept prepared for each connection: more than there are verbs.
const STATEMENTS_MAX: usize = 256;

/// A database up to this size is written anew at a start in less than a second.
const REWRITTEN_BYTES_MAX: i64 = 64 << 20;

/// What verbs prepared so far, on any connection of this process.
#[cfg(debug_assertions)]
static PREPARED: std::sync::Mutex<std::collections::BTreeSet<String>> =
    std::sync::Mutex::new(std::collections::BTreeSet::new());

/// Every statement that verbs prepared so far, so that a test can have another engine prepare it too.
#[cfg(debug_assertions)]
pub fn prepared_statements() -> Vec<String> {
    PREPARED.lock().unwrap_or_else(std::sync::PoisonError::into_inner).iter().cloned().collect()
}

/// A connection to the database.
pub(in crate::store) struct Connection {
    pub(super) inner: rusqlite::Connection,
    /// How many steps the statements of all connections of this store took, so that a test can tell what an
    /// operation costs without a clock. Counted in debug builds alone.
    steps: Arc<AtomicU64>,
}

impl Connection {
    /// The one that writes. Makes the file when it is not there; nobody but its owner may read it.
    pub(in crate::store) fn open_writable(path: &Path) -> Result<Self, StoreError> {
        keep_to_its_owner(path)
            .map_err(|error| StoreError::Unusable(format!("cannot open database {}: {error}", path.display())))?;
        let connection = rusqlite::Connection::open(path)
            .map_err(|error| StoreError::Unusable(format!("cannot open database {}: {error}", path.display())))?;
        // A new database can give pages back; `give_back` says how. An old one has its way, and saying it again would
        // write to a file that may be a newer version's.
        let is_new = std::fs::metadata(path).is_ok_and(|file| file.len() == 0);
        // FULL: an answered write survives a power cut. The checkpoint comes so seldom that a page which changes with
        // every commit is copied once for many of them, and so often that the log stays small - 12 MiB - and is
        // overwritten in place, which syncs in about half the time of growing it. Where a long read of another program
        // let it grow all the same, it is cut to 16 MiB afterwards.
        connection
            .execute_batch(if is_new { "PRAGMA auto_vacuum = INCREMENTAL" } else { "" })
            .and_then(|()| {
                connection.execute_batch(
                    "PRAGMA journal_mode = WAL;
                 PRAGMA synchronous = FULL;
                 PRAGMA foreign_keys = ON;
                 PRAGMA busy_timeout = 5000;
                 PRAGMA wal_autocheckpoint = 3000;
                 PRAGMA journal_size_limit = 16777216;
                 PRAGMA temp_store = MEMORY;
                 PRAGMA cache_size = -8192;",
                )
            })
            .map_err(|error| {
                let path = path.display();
                StoreError::Unusable(format!(
                    "{path} is not a usable database: {error}. Restore it from a backup, or recover what is left of it \
                     with sqlite3 {path} .recover"
                ))
            })?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
        Ok(Self { inner: connection, steps: Arc::default() })
    }

    /// One that only reads.
    pub(in crate::store) fn open_readable(path: &Path) -> Result<Self, EngineError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = rusqlite::Connection::open_with_flags(path, flags)?;
        connection.execute_batch("PRAGMA query_only = ON; PRAGMA busy_timeout = 5000; PRAGMA cache_size = -1024;")?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
        Ok(Self { inner: connection, steps: Arc::default() })
    }

    /// Counts its steps as the other's from now on.
    pub(in crate::store) fn counted_with(self, other: &Self) -> Self {
        Self { steps: other.steps.clone(), ..self }
    }

    /// Runs a statement and answers how many rows it changed.
    pub(in crate::store) fn execute(&self, sql: &str, values: &[&dyn ToSql]) -> Result<usize, EngineError> {
        let mut statement = self.prepare(sql)?;
        bind(&mut statement, values)?;
        let changed = statement.raw_execute()?;
        self.count(&statement);
        Ok(changed)
    }

    /// Writes a row by a statement of its type.
    pub(in crate::store) fn execute_with(&self, sql: &str, row: &impl Stored) -> Result<(), EngineError> {
        let mut statement = self.prepare(sql)?;
        bind_row(&mut statement, row, 0)?;
        statement.raw_execute()?;
        self.count(&statement);
        Ok(())
    }

    /// Writes a row whose first column the database gives, and answers it.
    pub(in crate::store) fn insert_numbered<T: Stored>(&self, row: &T) -> Result<i64, EngineError> {
        let mut statement = self.prepare(T::insert_numbered())?;
        bind_row(&mut statement, row, 1)?;
        let mut rows = statement.raw_query();
        let row = rows.next()?.ok_or(rusqlite::Error::QueryReturnedNoRows)?;
        Ok(row.get(0)?)
    }

    /// Hands each row on until there are no more or it was enough.
    pub(in crate::store) fn each<T: Read>(
        &self,
        sql: &str,
        values: &[&dyn ToSql],
        mut take: impl FnMut(T) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        let mut statement = self.prepare(sql)?;
        debug_assert_eq!(statement.column_count(), columns_of::<T>().len(), "the columns of the type: {sql}");
        bind(&mut statement, values)?;
        let mut rows = statement.raw_query();
        while let Some(row) = rows.next().map_err(EngineError::from)? {
            let value = T::read(&mut Columns { row, table: T::TABLE, next: 0 })?;
            if take(value).is_break() {
                break;
            }
        }
        drop(rows);
        self.count(&statement);
        Ok(())
    }

    /// Hands the only column of each row on.
    pub(in crate::store) fn each_value<T: FromSql>(
        &self,
        sql: &str,
        values: &[&dyn ToSql],
        mut take: impl FnMut(T),
    ) -> Result<(), StoreError> {
        let mut statement = self.prepare(sql)?;
        bind(&mut statement, values)?;
        let mut rows = statement.raw_query();
        while let Some(row) = rows.next().map_err(EngineError::from)? {
            take(Columns { row, table: "(result)", next: 0 }.next("1")?);
        }
        drop(rows);
        self.count(&statement);
        Ok(())
    }

    /// Begins a transaction that may write; nobody else does meanwhile.
    pub(in crate::store) fn begin_write(&self) -> Result<(), EngineError> {
        self.run("BEGIN IMMEDIATE")
    }

    /// Begins a transaction whose reads all see the same moment.
    pub(in crate::store) fn begin_read(&self) -> Result<(), EngineError> {
        self.run("BEGIN DEFERRED")
    }

    /// Ends a read, if one was begun.
    pub(in crate::store) fn end_read(&self) -> Result<(), EngineError> {
        if self.is_in_transaction() { self.run("COMMIT") } else { Ok(()) }
    }

    /// Makes the transaction durable.
    pub(in crate::store) fn commit(&self) -> Result<(), EngineError> {
        self.run("COMMIT")
    }

    /// Undoes the transaction.
    pub(in crate::store) fn roll_back(&self) -> Result<(), EngineError> {
        self.run("ROLLBACK")
    }

    /// Begins a part of the transaction that can be undone by itself.
    pub(in crate::store) fn begin_part(&self) -> Result<(), EngineError> {
        self.run("SAVEPOINT part")
    }

    /// Ends it, after undoing what it did unless that is kept.
    pub(in crate::store) fn end_part(&self, keep: bool) -> Result<(), EngineError> {
        if !keep {
            self.run("ROLLBACK TO part")?;
        }
        self.run("RELEASE part")
    }

    /// Whether a transaction is open. It is not after SQLite rolled one back by itself, on a full disk or
    /// an I/O error.
    pub(in crate::store) fn is_in_transaction(&self) -> bool {
        !self.inner.is_autocommit()
    }

    /// How many migrations were applied to this database.
    pub(in crate::store) fn schema_version(&self) -> Result<usize, EngineError> {
        let version: u32 = self.inner.query_row("PRAGMA user_version", [], |row| row.get(0))?;
        Ok(usize::try_from(version).unwrap_or(usize::MAX))
    }

    /// Applies the migration with this number, counted from 1, whole or not at all.
    pub(in crate::store) fn migrate(&self, number: usize, migration: &str) -> Result<(), EngineError> {
        let batch = format!("BEGIN IMMEDIATE; {migration} PRAGMA user_version = {number}; COMMIT;");
        let applied = self.inner.execute_batch(&batch);
        if applied.is_err() && self.is_in_transaction() {
            self.roll_back()?;
        }
        Ok(applied?)
    }

    /// The size of the database, in bytes.
    pub(in crate::store) fn size_bytes(&self) -> Result<i64, EngineError> {
        let (pages, _) = self.pages()?;
        let page: i64 = self.inner.query_row("PRAGMA page_size", [], |row| row.get(0))?;
        Ok(pages * page)
    }

    /// Sees to it that the database can give pages back. One of an earlier version cannot, and is written anew for
    /// it: at once when it is small. Answers whether it can.
    pub(in crate::store) fn can_give_back(&self) -> Result<bool, EngineError> {
        let can = || self.inner.query_row("PRAGMA auto_vacuum", [], |row| row.get(0)).map(|mode: i64| mode == 2);
        if can()? {
            return Ok(true);
        }
        if self.size_bytes()? <= REWRITTEN_BYTES_MAX {
            self.inner.execute_batch("PRAGMA auto_vacuum = INCREMENTAL; VACUUM")?;
        }
        Ok(can()?)
    }

    /// How many pages the database has, and how many of them are free.
    pub(in crate::store) fn pages(&self) -> Result<(i64, i64), EngineError> {
        let count = |sql| self.inner.query_row(sql, [], |row| row.get(0));
        Ok((count("PRAGMA page_count")?, count("PRAGMA freelist_count")?))
    }

    /// Gives so many free pages back: what lies behind them moves into them, and the file is that much shorter
    /// after the next checkpoint. Part of the transaction that is open.
    pub(in crate::store) fn give_back(&self, pages: usize) -> Result<(), EngineError> {
        let mut statement = self.inner.prepare(&format!("PRAGMA incremental_vacuum({pages})"))?;
        // Each row that is asked for is one page.
        let mut rows = statement.query([])?;
        while rows.next()?.is_some() {}
        Ok(())
    }

    /// Folds into the database what can be folded in without waiting for anybody.
    pub(in crate::store) fn checkpoint(&self) -> Result<(), EngineError> {
        Ok(self.inner.execute_batch("PRAGMA wal_checkpoint(PASSIVE)")?)
    }

    /// Folds the log into the database, before the last connection closes. The planner gets no statistics: without
    /// them it takes the list that is named in full, and its plans are the same for every database.
    pub(in crate::store) fn tidy(&self) -> Result<(), EngineError> {
        Ok(self.inner.execute_batch("PRAGMA wal_checkpoint(TRUNCATE);")?)
    }

    /// How many steps the statements of this store took so far.
    #[cfg(debug_assertions)]
    pub(in crate::store) fn steps(&self) -> Arc<AtomicU64> {
        self.steps.clone()
    }

    /// Counts the steps that a statement took.
    fn count(&self, statement: &CachedStatement<'_>) {
        if cfg!(debug_assertions) {
            let steps = statement.reset_status(StatementStatus::VmStep);
            self.steps.fetch_add(u64::try_from(steps).unwrap_or(0), Ordering::Relaxed);
        }
    }

    fn run(&self, sql: &str) -> Result<(), EngineError> {
        self.inner.prepare_cached(sql)?.raw_execute()?;
        Ok(())
    }

    fn prepare(&self, sql: &str) -> Result<CachedStatement<'_>, EngineError> {
        let statement = self.inner.prepare_cached(sql)?;
        #[cfg(debug_assertions)]
        {
            // PostgreSQL goes by the number, SQLite by the order in which parameters first appear.
            for index in 1..=statement.parameter_count() {
                let name = statement.parameter_name(index);
                let wanted = format!("${index}");
                assert_eq!(name, Some(wanted.as_str()), "parameters are numbered by first appearance: {sql}");
            }
            let mut prepared = PREPARED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            if !prepared.contains(sql) {
                prepared.insert(sql.to_owned());
            }
        }
        Ok(statement)
    }
}

/// Makes the file, and takes others' permissions away from what an earlier version made. The log and its index
/// get the permissions of the file when SQLite makes them.
fn keep_to_its_owner(path: &Path) -> std::io::Result<()> {
    let owner_only = || Permissions::from_mode(0o600);
    OpenOptions::new().create(true).append(true).mode(0o600).open(path)?.set_permissions(owner_only())?;
    for suffix in ["-wal", "-shm"] {
        let mut beside = path.as_os_str().to_owned();
        beside.push(suffix);
        match std::fs::set_permissions(&beside, owner_only()) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

fn bind(statement: &mut CachedStatement<'_>, values: &[&dyn ToSql]) -> Result<(), EngineError> {
    debug_assert_eq!(statement.parameter_count(), values.len(), "every parameter has its value");
    for (index, value) in values.iter().enumerate() {
        statement.raw_bind_parameter(index + 1, value.to_sql())?;
    }
    Ok(())
}

fn bind_row(statement: &mut CachedStatement<'_>, row: &impl Stored, skip: usize) -> Result<(), EngineError> {
    let mut bind = |index: usize, value: Value<'_>| Ok(statement.raw_bind_parameter(index, value)?);
    row.write(&mut Values { bind: &mut bind, given: 0, skip })
}

impl rusqlite::ToSql for Value<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Value::Null => ValueRef::Null,
            Value::Integer(number) => ValueRef::Integer(*number),
            Value::Real(number) => ValueRef::Real(*number),
            Value::Text(text) => ValueRef::Text(text.as_bytes()),
            Value::Blob(bytes) => ValueRef::Blob(bytes),
        }))
    }
}

impl<'a> TryFrom<ValueRef<'a>> for Value<'a> {
    type Error = Mismatch;

    fn try_from(value: ValueRef<'a>) -> Result<Self, Mismatch> {
        Ok(match value {
            ValueRef::Null => Self::Null,
            ValueRef::Integer(number) => Self::Integer(number),
            ValueRef::Real(number) => Self::Real(number),
            ValueRef::Text(bytes) => {
                let text = std::str::from_utf8(bytes).map_err(|_| Mismatch("the text is not UTF-8".to_owned()))?;
                Self::Text(Cow::Borrowed(text))
            }
            ValueRef::Blob(bytes) => Self::Blob(bytes),
        })
    }
}

impl From<rusqlite::Error> for EngineError {
    fn from(error: rusqlite::Error) -> Self {
        // A full disk can be emptied, and the transaction was rolled back whole.
        let is_disk_full = error.sqlite_error_code() == Some(ErrorCode::DiskFull);
        let is_damage = matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase));
        Self { text: error.to_string(), is_disk_full, is_damage }
    }
}
