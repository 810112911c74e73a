//! Group commit: everybody who waits is committed with one synced write.
//!
//! Writes queue up. Whoever holds the connection takes all that are queued, runs each in a savepoint,
//! commits once, hands the events on, and then answers. That is usually the writer thread, but a
//! lone write on a quiet store is committed by its own caller: handing it to another thread and
//! back would cost more than the statements do.

use std::cell::Cell;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, TryLockError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::engine::{Connection, EngineError};
use super::fitness::{Opened, Witness};
use super::tx::{Counts, Numbers, Tx};
use super::{Batch, OnCommit, StoreError, reaper, tokens};
use crate::domain::time::{Clock, Moment};
use crate::telemetry::metric;

/// Jobs of one commit: enough to amortise the sync, few enough to bound a job's wait.
const BATCH_MAX: usize = 512;
/// Queued jobs at most: at the measured rate about half a second of work.
const QUEUE_MAX: usize = 8_192;
/// The writer waits at most this long for callers that were just answered to come back with more: what
/// it takes to answer and to ask again. It waits for half of what a commit takes, if that is less.
const GATHER_MAX: Duration = Duration::from_micros(250);
/// A caller commits by itself only while commits are quicker than this: a usual one takes a tenth of it.
const INLINE_COMMIT_US_MAX: u64 = 2_000;

thread_local! {
    /// Whether a lone write may be committed on this thread.
    static MAY_BLOCK: Cell<bool> = const { Cell::new(false) };
}

/// Says that this thread may be blocked for as long as a commit takes: a lone write that it waits for is
/// then committed by it. Said by whoever starts a thread with a runtime of its own, where what one request
/// waits for holds up this thread's connections at most. A thread whose runtime is shared must not be
/// blocked, so all others hand their writes to the writer's thread.
pub fn allow_commits_on_this_thread() {
    MAY_BLOCK.set(true);
}

pub(super) struct Writer {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    queue: Mutex<Queue>,
    work: Condvar,
    /// Held while committing.
    connection: Mutex<Committer>,
    open: AtomicBool,
    /// How much there is, as of the last commit.
    counts: Mutex<Counts>,
    /// By how much the wall clock was set, of which the records know.
    followed_steps_ms: AtomicI64,
    /// For how long nobody was here, of which they know.
    followed_pauses_ms: AtomicI64,
    /// Whether the latest commit found no room on the disk.
    without_room: AtomicBool,
    /// How many jobs the next commit can have if everybody comes back: those that were answered and
    /// those that waited meanwhile; 0 after a lone one. Callers that come together are gathered by the
    /// thread. Without waiting for those just answered, they fall into two halves of which each waits for
    /// the sync of the other.
    expected: AtomicUsize,
    /// How long the last commit took, in microseconds. A slow disk is waited for by the thread.
    last_commit_us: AtomicU64,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Box<dyn Job>>,
    /// At how many jobs the thread wants to be woken, while it gathers.
    gathering: Option<usize>,
    closed: bool,
}

pub(super) struct Committer {
    pub(super) connection: Connection,
    pub(super) numbers: Numbers,
    pub(super) witness: Witness,
    /// Which file is written.
    pub(super) opened: Opened,
    pub(super) epoch: String,
    pub(super) on_commit: OnCommit,
    pub(super) clock: Clock,
    /// The moment up to which the records follow the clock.
    pub(super) followed: Moment,
}

impl Writer {
    pub(super) fn start(committer: Committer) -> Result<Self, StoreError> {
        let counts = Mutex::new(committer.numbers.counts);
        let followed_steps_ms = AtomicI64::new(committer.followed.stepped_ms);
        let followed_pauses_ms = AtomicI64::new(committer.followed.paused_ms);
        let shared = Arc::new(Shared {
            queue: Mutex::default(),
            work: Condvar::new(),
            connection: Mutex::new(committer),
            open: AtomicBool::new(true),
            counts,
            followed_steps_ms,
            followed_pauses_ms,
            without_room: AtomicBool::new(false),
            expected: AtomicUsize::new(0),
            last_commit_us: AtomicU64::new(0),
        });
        let of_thread = shared.clone();
        let thread = std::thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || of_thread.run())
            .map_err(|error| StoreError::Unusable(format!("cannot start the writer thread: {error}")))?;
        Ok(Self { shared, thread: Mutex::new(Some(thread)) })
    }

    pub(super) fn is_open(&self) -> bool {
        self.shared.open.load(Ordering::Acquire)
    }

    pub(super) fn is_without_room(&self) -> bool {
        self.shared.without_room.load(Ordering::Relaxed)
    }

    /// Whether what is dated lies where it belongs at this moment.
    pub(super) fn has_followed(&self, moment: Moment) -> bool {
        let followed = (&self.shared.followed_steps_ms, &self.shared.followed_pauses_ms);
        (moment.stepped_ms, moment.paused_ms)
            == (followed.0.load(Ordering::Acquire), followed.1.load(Ordering::Acquire))
    }

    /// By how much the wall clock was set in this run, up to the latest commit.
    pub(super) fn followed_steps_ms(&self) -> i64 {
        self.shared.followed_steps_ms.load(Ordering::Acquire)
    }

    pub(super) fn counts(&self) -> Counts {
        *self.shared.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn queue_len(&self) -> usize {
        self.shared.queue().jobs.len()
    }

    /// Queues a transaction and waits for its commit.
    pub(super) async fn submit<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Tx<'_>) -> Result<T, StoreError> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let job = Box::new(Pending { work: Some(work), outcome: None, answer });
        let (alone, gathered) = {
            let mut queue = self.shared.queue();
            if queue.closed {
                return Err(StoreError::Closed);
            }
            if queue.jobs.len() >= QUEUE_MAX {
                return Err(StoreError::Busy);
            }
            queue.jobs.push_back(job);
            let count = queue.jobs.len();
            (count == 1 && queue.gathering.is_none(), queue.gathering.is_some_and(|wanted| count >= wanted))
        };
        if gathered {
            self.shared.work.notify_one();
        }
        // Whoever finds the queue empty sees to it that it is emptied; the others are in good hands.
        if alone && !self.shared.commit_here() {
            self.shared.work.notify_one();
        }
        answered.await.map_err(|_| StoreError::Closed)?
    }

    /// Folds the log into the database as far as nobody is waited for.
    pub(super) fn checkpoint(&self) -> Result<(), EngineError> {
        self.shared.committer().connection.checkpoint()
    }

    /// Commits what is queued, refuses what comes later, and ends the thread.
    pub(super) fn close(&self) {
        self.shared.queue().closed = true;
        self.shared.work.notify_one();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread
            && thread.join().is_err()
        {
            tracing::error!("the writer thread panicked");
        }
        let committer = &mut *self.shared.committer();
        if let Err(error) = committer.numbers.keep(&committer.connection) {
            tracing::warn!(%error, "the counts were not written down; the next start counts what is new");
        }
        if let Err(error) = committer.witness.sync() {
            tracing::warn!(%error, "what is noted beside the database may not survive a power cut");
        }
        if let Err(error) = committer.connection.tidy() {
            tracing::warn!(%error, "checkpoint at close failed; the next start recovers from the log");
        }
    }
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn committer(&self) -> MutexGuard<'_, Committer> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The writer thread: wait for one job, take all.
    fn run(&self) {
        loop {
            {
                let mut queue = self.queue();
                while queue.jobs.is_empty() {
                    if queue.closed {
                        return;
                    }
                    queue = self.work.wait(queue).unwrap_or_else(PoisonError::into_inner);
                }
                self.gather(queue);
            }
            let mut committer = self.committer();
            self.commit_queued(&mut committer);
        }
    }

    /// Waits a moment for those who were answered last, if they are likely to come back.
    fn gather(&self, mut queue: MutexGuard<'_, Queue>) {
        let expected = self.expected.load(Ordering::Relaxed);
        let half = Duration::from_micros(self.last_commit_us.load(Ordering::Relaxed) / 2);
        let end = Instant::now() + half.min(GATHER_MAX);
        queue.gathering = Some(expected);
        while queue.jobs.len() < expected && !queue.closed {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            queue = self.work.wait_timeout(queue, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        queue.gathering = None;
    }

    /// Commits on the calling thread when the store is quiet. False: the thread must do it.
    fn commit_here(&self) -> bool {
        let quiet = self.expected.load(Ordering::Relaxed) == 0;
        let quick = self.last_commit_us.load(Ordering::Relaxed) <= INLINE_COMMIT_US_MAX;
        if !quiet || !quick || !MAY_BLOCK.get() {
            return false;
        }
        let mut committer = match self.connection.try_lock() {
            Ok(committer) => committer,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return false,
        };
        self.commit_queued(&mut committer);
        drop(committer);
        if !self.queue().jobs.is_empty() {
            self.work.notify_one();
        }
        true
    }

    fn commit_queued(&self, committer: &mut Committer) {
        let mut jobs: Vec<Box<dyn Job>> = {
            let mut queue = self.queue();
            let count = queue.jobs.len().min(BATCH_MAX);
            queue.jobs.drain(..count).collect()
        };
        if jobs.is_empty() {
            return;
        }
        metrics::histogram!(metric::COMMIT_WRITES).record(jobs.len() as f64);
        let started = Instant::now();
        let committed = committer.commit(&mut jobs);
        *self.counts.lock().unwrap_or_else(PoisonError::into_inner) = committer.numbers.counts;
        self.followed_steps_ms.store(committer.followed.stepped_ms, Ordering::Release);
        self.followed_pauses_ms.store(committer.followed.paused_ms, Ordering::Release);
        let took = started.elapsed();
        metrics::histogram!(metric::COMMIT_SECONDS).record(took.as_secs_f64());
        self.last_commit_us.store(u64::try_from(took.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
        let no_room = committed.as_ref().is_err_and(|failure| failure.kind == FailureKind::NoRoom);
        self.without_room.store(no_room, Ordering::Relaxed);
        if let Err(failure) = &committed
            && failure.kind == FailureKind::Fatal
        {
            // After a failed sync nobody knows what the disk holds: nothing limps on.
            tracing::error!(error = %failure.text, "commit failed; the store is closed");
            self.open.store(false, Ordering::Release);
            let mut queue = self.queue();
            queue.closed = true;
            jobs.extend(queue.jobs.drain(..));
        }
        let count = jobs.len();
        for job in jobs {
            job.answer(committed.as_ref().err());
        }
        let expected = if count > 1 { (count + self.queue().jobs.len()).min(BATCH_MAX) } else { 0 };
        self.expected.store(expected, Ordering::Relaxed);
    }
}

struct Failure {
    text: Arc<str>,
    kind: FailureKind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum FailureKind {
    /// There is no room on the disk. Nothing was written.
    NoRoom,
    /// The file that would be written is not the one at the database's path. Nothing was written.
    Misplaced,
    /// Anything else.
    Fatal,
}

impl From<EngineError> for Failure {
    fn from(error: EngineError) -> Self {
        let kind = if error.is_disk_full() { FailureKind::NoRoom } else { FailureKind::Fatal };
        Self { text: error.to_string().into(), kind }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Engine(error) => error.into(),
            other => Self { text: other.to_string().into(), kind: FailureKind::Fatal },
        }
    }
}

impl Committer {
    fn commit(&mut self, jobs: &mut [Box<dyn Job>]) -> Result<(), Failure> {
        // A look at a path takes a microsecond, and a commit a sync: nothing is acknowledged that goes where nobody
        // will find it.
        if let Err(problem) = self.opened.is_in_place() {
            return Err(Failure { text: problem.into(), kind: FailureKind::Misplaced });
        }
        let mut batch = Batch::default();
        let moment = self.clock.look();
        let counts = self.numbers.counts;
        let result = self.transaction(jobs, &mut batch, moment);
        if result.is_err() {
            self.numbers.counts = counts;
            self.numbers.remembered.forget();
        }
        // Left open only when the failure came from a statement of ours.
        if result.is_err()
            && self.connection.is_in_transaction()
            && let Err(error) = self.connection.roll_back()
        {
            tracing::error!(%error, "rollback failed");
        }
        result?;
        self.followed = moment;
        // Not the last number that was taken: what was undone is not missed.
        if let Some(newest) = batch.events.last() {
            self.witness.note(&self.epoch, newest.seq);
        }
        metrics::counter!(metric::EVENTS).increment(batch.events.len() as u64);
        (self.on_commit)(batch);
        Ok(())
    }

    fn transaction(&mut self, jobs: &mut [Box<dyn Job>], batch: &mut Batch, moment: Moment) -> Result<(), Failure> {
        self.connection.begin_write()?;
        // Before anybody compares the time with a record.
        let jumped = !moment.is_steady_since(self.followed);
        if jumped {
            reaper::follow(&self.connection, self.followed, moment)?;
            let mut tx = Tx::new(&self.connection, &mut self.numbers, &self.epoch, batch, moment);
            tokens::expire_before_step(&mut tx, moment.stepped_ms - self.followed.stepped_ms)?;
        }
        // A lone job needs no savepoint: when it refuses, the whole transaction is undone.
        let several = jobs.len() > 1 || jumped;
        let mut any_done = jumped;
        for job in jobs.iter_mut() {
            if several {
                self.connection.begin_part()?;
            }
            let (events, routes, tokens) = (batch.events.len(), batch.routes.len(), batch.tokens_ended.len());
            let counts = self.numbers.counts;
            let mut tx = Tx::new(&self.connection, &mut self.numbers, &self.epoch, batch, moment);
            let done = job.run(&mut tx);
            if !self.connection.is_in_transaction() {
                // The engine rolled everything back by itself (a full disk, an I/O error).
                return Err(job.failure());
            }
            any_done |= done;
            self.numbers.remembered.settle(done);
            if !done {
                batch.events.truncate(events);
                batch.routes.truncate(routes);
                batch.tokens_ended.truncate(tokens);
                self.numbers.counts = counts;
            }
            if several {
                self.connection.end_part(done)?;
            }
        }
        if any_done {
            if self.numbers.are_due() {
                self.numbers.keep(&self.connection)?;
            }
            self.connection.commit()?;
        } else {
            self.connection.roll_back()?;
        }
        Ok(())
    }
}

/// A queued transaction, whatever it answers.
trait Job: Send {
    /// Runs it; false when its changes must be undone.
    fn run(&mut self, tx: &mut Tx<'_>) -> bool;
    /// The failure that made the engine give the transaction up.
    fn failure(&mut self) -> Failure;
    /// Tells the caller; with a failure, whatever the job itself found.
    fn answer(self: Box<Self>, failure: Option<&Failure>);
}

struct Pending<T, F> {
    work: Option<F>,
    outcome: Option<Result<T, StoreError>>,
    answer: oneshot::Sender<Result<T, StoreError>>,
}

impl<T, F> Job for Pending<T, F>
where
    T: Send,
    F: FnOnce(&mut Tx<'_>) -> Result<T, StoreError> + Send,
{
    fn run(&mut self, tx: &mut Tx<'_>) -> bool {
        let Some(work) = self.work.take() else { return false };
        let outcome = work(tx);
        let done = outcome.is_ok();
        self.outcome = Some(outcome);
        done
    }

    fn failure(&mut self) -> Failure {
        match self.outcome.take() {
            Some(Err(StoreError::Engine(error))) => error.into(),
            _ => Failure { text: "the transaction was rolled back".into(), kind: FailureKind::Fatal },
        }
    }

    fn answer(self: Box<Self>, failure: Option<&Failure>) {
        let outcome = match (failure, self.outcome) {
            (None, Some(outcome)) => outcome,
            // What the rules refused would have been refused in any batch.
            (Some(_), Some(Err(StoreError::Refused(refusal)))) => Err(StoreError::Refused(refusal)),
            (Some(failure), _) => Err(match failure.kind {
                FailureKind::NoRoom => StoreError::DiskFull,
                FailureKind::Misplaced => StoreError::Misplaced(failure.text.clone()),
                FailureKind::Fatal => StoreError::CommitFailed(failure.text.clone()),
            }),
            (None, None) => Err(StoreError::Closed),
        };
        // A caller that went away no longer wants to know; its write is on disk all the same.
        drop(self.answer.send(outcome));
    }
}
