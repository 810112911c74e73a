//! SQLite as the store: one file in write-ahead mode, one writer, a few readers.

pub(super) mod activity;
pub(super) mod agents;
mod claims;
pub(super) mod commands;
mod decisions;
pub(super) mod events;
pub(super) mod messages;
mod migrations;
mod orchestrators;
pub(super) mod reap;
pub(super) mod sessions;
pub(super) mod stats;
pub(super) mod tokens;
mod tx;
mod writer;

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::{Connection, OpenFlags};
use tokio::sync::Semaphore;

use self::tx::Tx;
use self::writer::Writer;
use super::{OnCommit, Options, StoreError};

/// The handle to the store. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    writer: Writer,
    readers: Readers,
    /// Agents heard from since the last flush. A sign of life is worth no synced write of its own:
    /// the reaper writes them down together, and a crash forgets at most one interval.
    signs_of_life: Mutex<HashMap<String, i64>>,
    epoch: String,
}

/// Statements kept prepared for each connection: more than there are verbs.
const STATEMENTS_MAX: usize = 256;

/// Signs of life remembered between two runs of the reaper: a bound on what a client that invents
/// senders can make us remember.
const SIGNS_MAX: usize = 100_000;

impl Store {
    /// Opens or makes the database, brings its schema up to date, and starts the writer.
    pub fn open(options: &Options, on_commit: OnCommit) -> Result<Self, StoreError> {
        let connection = open_writable(&options.path)?;
        migrations::apply(&connection)?;
        let epoch = migrations::seed(&connection)?;
        let readers = Readers::open(&options.path, options.readers.max(1))?;
        let writer = Writer::start(connection, epoch.clone(), on_commit)?;
        Ok(Self { inner: Arc::new(Inner { writer, readers, signs_of_life: Mutex::default(), epoch }) })
    }

    /// The epoch of this database's event numbers.
    pub fn epoch(&self) -> &str {
        &self.inner.epoch
    }

    /// Whether the writer takes work: false after a failure it cannot recover from.
    pub fn is_writable(&self) -> bool {
        self.inner.writer.is_open()
    }

    /// How many writes wait for the next commit.
    pub fn queue_len(&self) -> usize {
        self.inner.writer.queue_len()
    }

    /// Notes that an agent was heard from.
    pub fn touch(&self, agent: &str) {
        let mut signs = self.inner.signs_of_life.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = signs.get_mut(agent) {
            *at = super::now_ms();
        } else if signs.len() < SIGNS_MAX {
            signs.insert(agent.to_owned(), super::now_ms());
        }
    }

    /// When this agent was last heard from, if that is not yet written down.
    fn heard_from(&self, agent: &str) -> Option<i64> {
        let signs = self.inner.signs_of_life.lock().unwrap_or_else(PoisonError::into_inner);
        signs.get(agent).copied()
    }

    fn take_signs_of_life(&self) -> HashMap<String, i64> {
        std::mem::take(&mut *self.inner.signs_of_life.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Waits until everything queued is committed, then stops the writer and checkpoints.
    pub async fn close(&self) {
        let store = self.clone();
        let closed = tokio::task::spawn_blocking(move || store.inner.writer.close()).await;
        if closed.is_err() {
            tracing::error!("the writer panicked while closing");
        }
    }

    /// Runs one transaction and answers once it is on disk.
    async fn write<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Tx<'_>) -> Result<T, StoreError> + Send + 'static,
    {
        self.inner.writer.submit(work).await
    }

    /// Runs a read on a connection of its own.
    async fn read<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    {
        let permit = self.inner.readers.permits.clone().acquire_owned().await.map_err(|_| StoreError::Closed)?;
        let inner = self.inner.clone();
        let task = tokio::task::spawn_blocking(move || {
            let connection = inner.readers.take();
            let answer = work(&connection);
            inner.readers.put(connection);
            drop(permit);
            answer
        });
        task.await.map_err(|_| StoreError::Closed)?
    }
}

struct Readers {
    idle: Mutex<Vec<Connection>>,
    permits: Arc<Semaphore>,
}

impl Readers {
    fn open(path: &Path, count: usize) -> Result<Self, StoreError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut idle = Vec::with_capacity(count);
        for _ in 0..count {
            let connection = Connection::open_with_flags(path, flags)?;
            connection
                .execute_batch("PRAGMA query_only = ON; PRAGMA busy_timeout = 5000; PRAGMA cache_size = -1024;")?;
            connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
            idle.push(connection);
        }
        Ok(Self { idle: Mutex::new(idle), permits: Arc::new(Semaphore::new(count)) })
    }

    fn take(&self) -> Connection {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.pop().expect("a permit stands for an idle connection")
    }

    fn put(&self, connection: Connection) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
    }
}

fn open_writable(path: &Path) -> Result<Connection, StoreError> {
    let connection = Connection::open(path)
        .map_err(|error| StoreError::Unusable(format!("cannot open database {}: {error}", path.display())))?;
    // FULL: an answered write survives a power cut. The checkpoint comes often enough that the log
    // stays small and is overwritten in place, which syncs in about half the time of growing it.
    connection
        .execute_batch(
            "PRAGMA journal_mode = WAL;
             PRAGMA synchronous = FULL;
             PRAGMA foreign_keys = ON;
             PRAGMA busy_timeout = 5000;
             PRAGMA wal_autocheckpoint = 1000;
             PRAGMA temp_store = MEMORY;
             PRAGMA cache_size = -8192;",
        )
        .map_err(|error| StoreError::Unusable(format!("{} is not a usable database: {error}", path.display())))?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    Ok(connection)
}
