//! The store: what is on disk, and in which order it got there.
//!
//! One writer commits for everybody who is waiting, with one synced write (group commit). A verb's
//! answer means its row is on disk, and an event means so too: events are rows of the transaction
//! that caused them, numbered in commit order, and handed to `on_commit` before anybody is answered.
//! Readers have connections of their own and never wait for the writer.
//!
//! A verb is a method here, and each is one whole transaction. What is stored as what stays below
//! this border: no row, statement or connection leaves it. It knows nothing of HTTP or plugins.

mod sqlite;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::domain::agent::Routes;
use crate::domain::event::Event;
use crate::domain::refusal::Refusal;

pub use sqlite::Store;
pub use sqlite::activity::ActivityFilter;
pub use sqlite::agents::{AgentFilter, AgentPatch};
pub use sqlite::commands::{CommandFilter, NewCommand, Recorded};
pub use sqlite::events::{EventPage, EventRange};
pub use sqlite::messages::MessageFilter;
pub use sqlite::reap::{Reaped, Retention};
pub use sqlite::sessions::{SessionRow, SessionStart};
pub use sqlite::stats::Stats;
pub use sqlite::tokens::NewToken;

/// How the store is opened.
#[derive(Clone, Debug)]
pub struct Options {
    /// The database file; made when it is not there.
    pub path: PathBuf,
    /// Read connections; each serves one reader at a time.
    pub readers: usize,
}

/// What one commit changed, in commit order. Handed over after it is on disk.
#[derive(Debug, Default)]
pub struct Batch {
    /// The events of all its transactions.
    pub events: Vec<Arc<Event>>,
    /// Agents whose routes changed, with the new ones; `None` for an agent that is gone.
    pub routes: Vec<(String, Option<Routes>)>,
}

/// Called with each committed batch, on the thread that committed it: it must be quick and must not
/// call the store.
pub type OnCommit = Box<dyn Fn(Batch) + Send + Sync>;

/// Why a verb did nothing.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The rules say no.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// More work is queued than the writer can promise to do soon.
    #[error("the write queue is full")]
    Busy,
    /// The disk is full. Nothing was written; it works again once there is room.
    #[error("the disk is full")]
    DiskFull,
    /// The writer has stopped after a failure, or the relay is shutting down.
    #[error("the store is closed")]
    Closed,
    /// SQLite failed.
    #[error("sqlite failed: {0}")]
    Fault(#[from] rusqlite::Error),
    /// The batch this was part of could not be committed.
    #[error("commit failed: {0}")]
    CommitFailed(Arc<str>),
    /// The database cannot be opened.
    #[error("{0}")]
    Unusable(String),
}

/// A first answer, or the same one again.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The JSON that was, or is, answered.
    pub json: String,
    /// Whether it is the answer to an earlier request with the same key.
    pub replayed: bool,
    /// Whether something was made, as against found.
    pub created: bool,
}

/// An idempotency key with what it is bound to.
#[derive(Clone, Debug)]
pub struct Idempotency {
    /// Caller and route: the same key elsewhere is another key.
    pub scope: String,
    /// The client's key.
    pub key: String,
    /// SHA-256 of the request's JSON value.
    pub fingerprint: [u8; 32],
}

/// Milliseconds since the Unix epoch.
pub fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
