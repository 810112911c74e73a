//! The store: what is on disk, and in which order it got there.
//!
//! One writer commits for everybody who is waiting, with one synced write (group commit). A verb's
//! answer means its row is on disk, and an event means so too: events are rows of the transaction
//! that caused them, numbered in commit order, and handed to `on_commit` before anybody is answered.
//! Readers have connections of their own and never wait for the writer.
//!
//! A verb is a method here, and each is one whole transaction: it loads rows, has a function of
//! [`crate::domain`] say what changes, and writes. Verbs stand in one file per noun, once, over
//! [`tx::Tx`] and [`tx::Snapshot`], in SQL that SQLite and PostgreSQL both take; `engine` alone knows which
//! of them runs it. What is stored as what stays below this border: no row, statement or connection leaves it. It
//! knows nothing of HTTP or plugins.

mod activity;
mod agents;
mod attention;
mod control;
mod engine;
mod events;
mod fitness;
mod messages;
mod pairs;
mod readers;
mod reaper;
mod retention;
mod stats;
mod tasks;
mod tokens;
mod tx;
mod writer;

use std::collections::HashMap;
use std::marker::PhantomData;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::Notify;

use self::engine::{Connection, migrations};
use self::fitness::{Opened, Scrubbing, Witness};
use self::messages::deliveries::Waking;
use self::messages::similar::SimilarCache;
use self::readers::{Readers, Size};
use self::tokens::TokenCache;
use self::tx::{Numbers, Snapshot, Tx};
use self::writer::{Committer, Writer};
use crate::domain::agent::Routes;
use crate::domain::audit;
use crate::domain::event::Event;
use crate::domain::id::{AgentId, TokenId};
use crate::domain::refusal::Refusal;
use crate::domain::time::{Clock, Moment, Timestamp};

pub use self::attention::PluginsAttention;
pub use self::control::commands::{NewCommand, Recorded};
#[cfg(debug_assertions)]
pub use self::engine::prepared_statements;
pub use self::engine::{Backup, EngineError, Fault, back_up, restore};
pub use self::events::{EventPage, EventRange};
pub use self::fitness::{Fitness, Loss, Scrubbed};
pub use self::messages::deliveries::Wake;
pub use self::messages::{Posted, Posting};
pub use self::retention::Step;
pub use self::stats::Stats;
pub use self::tasks::Due;
pub use self::tasks::integrations::Taken;
pub use self::tokens::TokenMaker;
pub use self::writer::allow_commits_on_this_thread;

/// How the store is opened.
#[derive(Clone, Debug)]
pub struct Options {
    /// The database file; made when it is not there.
    pub path: PathBuf,
    /// Read connections; each serves one reader at a time.
    pub readers: usize,
    /// What time it is.
    pub clock: Clock,
}

/// What one commit changed, in commit order. Handed over after it is on disk.
#[derive(Debug, Default)]
pub struct Batch {
    /// The events of all its transactions.
    pub events: Vec<Arc<Event>>,
    /// Agents whose routes changed, with the new ones; `None` for an agent that is gone.
    pub routes: Vec<(AgentId, Option<Routes>)>,
    /// What tries whether commits are told: see [`Store::examine`].
    pub echoes: Vec<u64>,
    /// Whether an agent came, went, or was named anew.
    pub(in crate::store) names_changed: bool,
    /// Whether a token was added or removed.
    pub(in crate::store) tokens_changed: bool,
    /// Whether what is to be sent to others, or when, is different.
    pub(in crate::store) outgoing_changed: bool,
    /// The tokens that ended.
    pub(in crate::store) tokens_ended: Vec<TokenId>,
    /// Agents for whose sessions there may be something to do.
    pub(in crate::store) woken: Vec<AgentId>,
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
    /// The database is not at its path any more: what is written would be lost. Nothing was written; it works again
    /// once the file is back.
    #[error("{0}")]
    Misplaced(Arc<str>),
    /// The writer has stopped after a failure, or the relay is shutting down.
    #[error("the store is closed")]
    Closed,
    /// A row holds what this program never writes there. Other rows are read as ever.
    #[error("the database holds something unknown: {0}")]
    Fault(#[from] Fault),
    /// The database engine failed.
    #[error("sqlite failed: {0}")]
    Engine(#[from] EngineError),
    /// The batch this was part of could not be committed.
    #[error("commit failed: {0}")]
    CommitFailed(Arc<str>),
    /// The database cannot be opened.
    #[error("{0}")]
    Unusable(String),
}

/// The JSON of a `T`, made once: the event that tells it and the answer have the same.
#[derive(Debug, PartialEq, Eq)]
pub struct Json<T> {
    text: String,
    of: PhantomData<fn() -> T>,
}

impl<T> Clone for Json<T> {
    fn clone(&self) -> Self {
        Self { text: self.text.clone(), of: PhantomData }
    }
}

impl<T> Json<T> {
    /// Text that is the JSON of a `T`.
    pub fn from_text(text: String) -> Self {
        Self { text, of: PhantomData }
    }

    /// The JSON, on one line.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The text itself.
    pub fn into_string(self) -> String {
        self.text
    }
}

impl<T> Json<T> {
    /// The same object with these members after its own.
    pub(crate) fn joined<U>(mut self, members: &impl Serialize) -> Json<U> {
        let more = tx::json(members);
        if let Some(more) = more.strip_prefix('{').filter(|more| *more != "}") {
            self.text.pop();
            self.text.push(',');
            self.text.push_str(more);
        }
        Json::from_text(self.text)
    }
}

impl<T: Serialize> Json<T> {
    /// The JSON of this value.
    pub fn of(value: &T) -> Self {
        Self::from_text(tx::json(value))
    }
}

impl<T: DeserializeOwned> Json<T> {
    /// The value again.
    pub fn value(&self) -> serde_json::Result<T> {
        serde_json::from_str(&self.text)
    }
}

/// A first answer, or the same one again.
#[derive(Clone, Debug)]
pub struct Created<T> {
    /// What is, or was, answered.
    pub json: Json<T>,
    /// Whether it is the answer to an earlier request with the same key.
    pub replayed: bool,
    /// Whether something was made, as against found.
    pub created: bool,
}

impl<T> Created<T> {
    /// The first answer about something new.
    pub(in crate::store) fn new(json: Json<T>) -> Self {
        Self { json, replayed: false, created: true }
    }
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

/// The handle to the store. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    writer: Writer,
    readers: Readers,
    tokens: Arc<TokenCache>,
    similar: Arc<SimilarCache>,
    outgoing_changed: Arc<Notify>,
    waking: Arc<Waking>,
    /// Agents heard from since the last flush. A sign of life is worth no synced write of its own:
    /// the reaper writes them down together, and a crash forgets at most one interval.
    /// When that was is kept as [`Clock::elapsed_ms`] has it, so that it stays right when the wall clock is set.
    signs_of_life: Mutex<HashMap<AgentId, i64>>,
    clock: Clock,
    epoch: String,
    /// Which file the database is.
    opened: Opened,
    /// What was found lost when it was opened.
    loss: Option<Loss>,
    /// Whether anything was found that only a damaged disk or another program leaves.
    damaged: AtomicBool,
    #[cfg(debug_assertions)]
    steps: Arc<std::sync::atomic::AtomicU64>,
    /// Where reading the whole database stands, and what that found.
    scrubbing: Scrubbing,
}

/// Signs of life remembered between two runs of the reaper: a bound on what a client that invents
/// senders can make us remember.
const SIGNS_MAX: usize = 100_000;

/// Goes on above what was given before, tells everybody who follows the events to begin anew, and writes down what
/// is gone. Answers the epoch from now on.
fn record_loss(
    connection: &Connection,
    numbers: &mut Numbers,
    epoch: String,
    loss: &Loss,
    moment: Moment,
) -> Result<String, StoreError> {
    tracing::error!("{}", loss.detail);
    let mut batch = Batch::default();
    connection.begin_write()?;
    let epoch = if loss.is_shorter { migrations::begin_epoch(connection)? } else { epoch };
    numbers.last = loss.above;
    let mut tx = Tx::new(connection, numbers, &epoch, &mut batch, moment);
    activity::insert(&mut tx, audit::records_lost(&loss.detail, moment.now))?;
    connection.commit()?;
    Ok(epoch)
}

/// Ends the tokens that expired before the clock was set back, if it was set while nobody was here.
fn expire_tokens(
    connection: &Connection,
    numbers: &mut Numbers,
    epoch: &str,
    moment: Moment,
) -> Result<(), StoreError> {
    if moment.stepped_ms >= 0 {
        return Ok(());
    }
    let mut batch = Batch::default();
    connection.begin_write()?;
    tokens::expire_before_step(&mut Tx::new(connection, numbers, epoch, &mut batch, moment), moment.stepped_ms)?;
    Ok(connection.commit()?)
}

impl Store {
    /// Opens or makes the database, brings its schema up to date, and starts the writer.
    pub fn open(options: &Options, on_commit: OnCommit) -> Result<Self, StoreError> {
        let mut witness = Witness::open(&options.path).map_err(|error| {
            StoreError::Unusable(format!("cannot open the files beside {}: {error}", options.path.display()))
        })?;
        let connection = Connection::open_writable(&options.path)?;
        migrations::apply(&connection)?;
        migrations::make_room_returnable(&connection, &options.path);
        let clock = options.clock.clone();
        let mut epoch = migrations::seed(&connection, clock.now())?;
        let followed = reaper::resume(&connection, &clock)?;
        let mut numbers = Numbers::load(&connection)?;
        let loss = witness.loss(&epoch, numbers.last);
        if let Some(loss) = &loss {
            epoch = record_loss(&connection, &mut numbers, epoch, loss, followed)?;
        }
        expire_tokens(&connection, &mut numbers, &epoch, followed)?;
        witness.note(&epoch, numbers.last);
        let readers = Readers::open(&connection, &options.path, options.readers.max(1))?;
        let tokens = Arc::new(TokenCache::default());
        let similar = Arc::new(SimilarCache::default());
        let outgoing_changed = Arc::new(Notify::new());
        let waking = Arc::new(Waking::default());
        let of_commit = (tokens.clone(), similar.clone(), outgoing_changed.clone(), waking.clone());
        let on_commit: OnCommit = Box::new(move |batch| {
            let (tokens, similar, outgoing_changed, waking) = &of_commit;
            if batch.tokens_changed {
                tokens.forget();
            }
            if batch.names_changed {
                similar.forget();
            }
            tokens.end(&batch.tokens_ended);
            if batch.outgoing_changed {
                outgoing_changed.notify_one();
            }
            waking.wake(&batch.woken);
            on_commit(batch);
        });
        #[cfg(debug_assertions)]
        let steps = connection.steps();
        let opened = Opened::at(&options.path)
            .map_err(|error| StoreError::Unusable(format!("{} is gone: {error}", options.path.display())))?;
        let committer = Committer {
            connection,
            numbers,
            witness,
            opened: opened.clone(),
            epoch: epoch.clone(),
            on_commit,
            clock: clock.clone(),
            followed,
        };
        let writer = Writer::start(committer)?;
        let (signs_of_life, damaged, scrubbing) = (Mutex::default(), AtomicBool::new(false), Scrubbing::default());
        Ok(Self {
            inner: Arc::new(Inner {
                writer,
                readers,
                tokens,
                similar,
                outgoing_changed,
                waking,
                signs_of_life,
                clock,
                epoch,
                opened,
                loss,
                damaged,
                #[cfg(debug_assertions)]
                steps,
                scrubbing,
            }),
        })
    }

    /// How many steps the engine took so far, so that a test can tell what an operation costs without a clock.
    #[cfg(debug_assertions)]
    pub fn steps_taken(&self) -> u64 {
        self.inner.steps.load(Ordering::Relaxed)
    }

    /// What was there before and was not when this was opened.
    pub fn loss(&self) -> Option<&Loss> {
        self.inner.loss.as_ref()
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

    /// The time, as records have it.
    pub fn now(&self) -> Timestamp {
        self.inner.clock.now()
    }

    /// The clock that all of it goes by.
    pub fn clock(&self) -> &Clock {
        &self.inner.clock
    }

    /// Notes that an agent was heard from.
    pub fn touch(&self, agent: &str) {
        let now = self.inner.clock.elapsed_ms();
        let mut signs = self.inner.signs_of_life.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = signs.get_mut(agent) {
            *at = now;
        } else if signs.len() < SIGNS_MAX {
            signs.insert(agent.into(), now);
        }
    }

    /// When this agent was last heard from, if that is not yet written down.
    fn heard_from(&self, agent: &AgentId) -> Option<Timestamp> {
        let signs = self.inner.signs_of_life.lock().unwrap_or_else(PoisonError::into_inner);
        signs.get(agent).map(|at| self.inner.clock.wall_at(*at))
    }

    fn take_signs_of_life(&self) -> HashMap<AgentId, i64> {
        std::mem::take(&mut *self.inner.signs_of_life.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Waits until everything queued is committed, then stops the writer and checkpoints.
    pub async fn close(&self) {
        if let Err(error) = self.keep_time().await {
            tracing::warn!(%error, "the time of the end was not kept; the next start goes by an earlier one");
        }
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
        self.noting_damage(self.inner.writer.submit(work).await)
    }

    /// Reads a row, or a few, on a connection of its own. All its statements see the same moment.
    async fn read<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Snapshot<'_>) -> Result<T, StoreError> + Send + 'static,
    {
        self.read_sized(Size::Rows, work).await
    }

    /// Reads a page in the same way. Those who want rows do not wait for those who want pages.
    async fn read_page<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Snapshot<'_>) -> Result<T, StoreError> + Send + 'static,
    {
        self.read_sized(Size::Page, work).await
    }

    async fn read_sized<T, F>(&self, size: Size, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Snapshot<'_>) -> Result<T, StoreError> + Send + 'static,
    {
        let _place = self.inner.readers.place().await?;
        let permit = self.inner.readers.permit(size).await?;
        let inner = self.inner.clone();
        let task = tokio::task::spawn_blocking(move || {
            let connection = inner.readers.lend(permit);
            connection.begin_read()?;
            work(&Snapshot::new(&connection))
        });
        self.noting_damage(task.await.map_err(|_| StoreError::Closed)?)
    }

    /// Remembers that the database is damaged, for whoever asks how the relay is.
    fn noting_damage<T>(&self, outcome: Result<T, StoreError>) -> Result<T, StoreError> {
        if let Err(StoreError::Engine(error)) = &outcome
            && error.is_damage()
        {
            self.inner.damaged.store(true, Ordering::Relaxed);
        }
        outcome
    }

    /// Whether the database was found damaged since it was opened.
    fn is_damaged(&self) -> bool {
        self.inner.damaged.load(Ordering::Relaxed)
    }

    /// Whether the latest write found no room on the disk.
    pub fn is_without_room(&self) -> bool {
        self.inner.writer.is_without_room()
    }
}
