//! Who is connected, what each keeps in memory, and who has to go when there is no place for another.
//!
//! A connection that waits for its client runs up a debt: the time since it began to wait, less what it moved
//! meanwhile at a rate that every network has. Whoever has the greatest debt goes first. So a client that
//! sends a byte now and then is told from one that is on a slow line, and one that just came from one that stays.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, Semaphore};
use tokio::time::timeout;

use crate::http::Limits;
use crate::telemetry::metric;

/// What a client moves that is not slow.
const BYTES_A_SECOND_MIN: u64 = 32 << 10;
/// With less debt than this, nobody is ended for the memory that it keeps, or while it takes an answer or an event.
const DEBT_MIN: Duration = Duration::from_secs(1);
/// What is smaller than this is not counted: every connection may have it.
pub(in crate::http) const UNCOUNTED_BYTES_MAX: usize = 16 << 10;
/// How long somebody waits for room in memory.
const ROOM_WAIT_MAX: Duration = Duration::from_secs(5);
/// How many wait for room with an answer in their hands, at most.
const ANSWERS_WAITING_MAX: usize = 8;
/// Connections beyond the limit, for those who ask how the relay is.
const RESERVE: usize = 32;
/// That a limit was reached is said once in this time.
const TOLD_EVERY: Duration = Duration::from_secs(60);

/// What a connection is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(in crate::http) enum Doing {
    /// Waits for the head of a request.
    Head,
    /// Waits for the body of one.
    Body,
    /// Waits for its answer to be taken.
    Answer,
    /// Works for its client.
    Work,
    /// Tells events.
    Stream,
    /// Waits for an event to be taken.
    Untaken,
}

impl Doing {
    const ALL: [Self; 6] = [Self::Head, Self::Body, Self::Answer, Self::Work, Self::Stream, Self::Untaken];

    fn waits_for_client(self) -> bool {
        !matches!(self, Self::Work | Self::Stream)
    }

    /// Whether its client is just being told something: that takes everybody a moment.
    fn takes(self) -> bool {
        matches!(self, Self::Answer | Self::Untaken)
    }
}

/// All connections.
#[derive(Clone)]
pub(super) struct Connections(Arc<Shared>);

struct Shared {
    limits: Limits,
    /// Times are milliseconds since then.
    begun: Instant,
    open: Mutex<Open>,
    /// KiB that bodies and answers may still take up.
    room: Semaphore,
    answers_waiting: Semaphore,
}

#[derive(Default)]
struct Open {
    seats: HashMap<u64, Arc<State>>,
    by_address: HashMap<IpAddr, usize>,
    next: u64,
    /// Of `seats`, how many were told to go.
    leaving: usize,
    /// When a limit was last told of, and how many connections it ended since.
    told: Option<Instant>,
    untold: u64,
}

struct State {
    address: IpAddr,
    doing: AtomicU8,
    /// Since when it does that.
    since_ms: AtomicU64,
    /// Bytes that it moved since then.
    moved: AtomicU64,
    /// When the first byte of the request came.
    request_ms: AtomicU64,
    /// KiB that it keeps in memory.
    held_kib: AtomicUsize,
    leaving: AtomicU8,
    leave: Notify,
}

/// Why there is no place.
#[derive(Clone, Copy, Debug)]
enum Limit {
    Connections,
    Address,
    Memory,
}

impl Limit {
    fn name(self) -> &'static str {
        match self {
            Self::Connections => "connections",
            Self::Address => "connections_per_address",
            Self::Memory => "buffers_mb",
        }
    }
}

/// One connection's place. Dropping it gives the place back.
pub(in crate::http) struct Seat {
    shared: Arc<Shared>,
    state: Arc<State>,
    id: u64,
    /// Taken beyond the limit: for a request about how the relay is, and no other.
    pub(in crate::http) is_reserve: bool,
}

/// So much memory that is counted. Dropping it gives it back.
#[derive(Debug)]
pub(in crate::http) struct Room {
    kib: usize,
    of: Option<(Arc<Shared>, Arc<State>)>,
}

/// There is no room in memory.
#[derive(Debug)]
pub(in crate::http) struct NoRoom;

impl Connections {
    pub(super) fn new(limits: Limits) -> Self {
        Self(Arc::new(Shared {
            room: Semaphore::new(limits.buffers_bytes >> 10),
            answers_waiting: Semaphore::new(ANSWERS_WAITING_MAX),
            limits,
            begun: Instant::now(),
            open: Mutex::default(),
        }))
    }

    /// A place for a connection from this address. Where there is none, whoever keeps one without need has to go;
    /// `None` when nobody does.
    pub(super) fn admit(&self, address: IpAddr) -> Option<Seat> {
        let shared = &self.0;
        let limits = &shared.limits;
        let mut open = shared.open();
        let of_address = open.by_address.get(&address).copied().unwrap_or(0);
        let mut has_place = true;
        if of_address >= limits.connections_per_address {
            has_place = open.end_slowest(shared, Limit::Address, |state| state.address == address) > 0;
        } else if open.seats.len() - open.leaving >= limits.connections {
            has_place = open.end_slowest(shared, Limit::Connections, |_| true) > 0;
        }
        if !has_place && open.seats.len() - open.leaving >= limits.connections + RESERVE {
            return None;
        }
        let state = Arc::new(State {
            address,
            doing: AtomicU8::new(Doing::Head as u8),
            since_ms: AtomicU64::new(shared.now_ms()),
            moved: AtomicU64::new(0),
            request_ms: AtomicU64::new(0),
            held_kib: AtomicUsize::new(0),
            leaving: AtomicU8::new(0),
            leave: Notify::new(),
        });
        let id = open.next;
        open.next += 1;
        open.seats.insert(id, state.clone());
        *open.by_address.entry(address).or_default() += 1;
        Some(Seat { shared: shared.clone(), state, id, is_reserve: !has_place })
    }

    /// Ends those that keep connections without need: the system has no more for us.
    pub(super) fn make_place(&self) {
        self.0.open().end_slowest(&self.0, Limit::Connections, |_| true);
    }
}

impl Shared {
    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

impl Open {
    /// Ends those of the greatest debt, several at once where many have one: a flood should not cost a look at
    /// all for each that comes. Answers how many.
    fn end_slowest(&mut self, shared: &Shared, limit: Limit, may_end: impl Fn(&State) -> bool) -> usize {
        let now = shared.now_ms();
        let mut debtors: Vec<(Duration, &Arc<State>)> = self
            .seats
            .values()
            .filter(|state| state.leaving.load(Ordering::Relaxed) == 0 && may_end(state))
            .filter_map(|state| Some((state.debt(now)?, state)))
            .filter(|(debt, state)| !state.doing().takes() || *debt >= DEBT_MIN)
            .collect();
        let several = (debtors.len() / 64).max(1);
        if debtors.len() > several {
            debtors.select_nth_unstable_by_key(several - 1, |(debt, _)| std::cmp::Reverse(*debt));
        }
        debtors.truncate(several);
        debtors.sort_by_key(|(debt, _)| std::cmp::Reverse(*debt));
        let patient = |debt: Duration| debt < DEBT_MIN;
        let least = usize::from(!matches!(limit, Limit::Memory));
        let count = debtors.iter().filter(|(debt, _)| !patient(*debt)).count().max(least).min(debtors.len());
        for (_, state) in &debtors[..count] {
            state.leaving.store(1, Ordering::Relaxed);
            state.leave.notify_one();
        }
        self.leaving += count;
        metrics::counter!(metric::CONNECTIONS_ENDED, "limit" => limit.name()).increment(count as u64);
        self.untold += count as u64;
        if !(matches!(limit, Limit::Memory) && count == 0) && self.told.is_none_or(|at| at.elapsed() >= TOLD_EVERY) {
            self.told = Some(Instant::now());
            tracing::warn!(
                open = self.seats.len(),
                ended = std::mem::take(&mut self.untold),
                "limits.{} is reached: whoever keeps a connection waiting longest has to go",
                limit.name()
            );
        }
        count
    }
}

impl State {
    fn doing(&self) -> Doing {
        Doing::ALL[usize::from(self.doing.load(Ordering::Relaxed))]
    }

    /// For how long it has been kept waiting without need; `None` while it is not its client that it waits for.
    fn debt(&self, now_ms: u64) -> Option<Duration> {
        if !self.doing().waits_for_client() {
            return None;
        }
        let waited = now_ms.saturating_sub(self.since_ms.load(Ordering::Relaxed));
        let earned = self.moved.load(Ordering::Relaxed).saturating_mul(1_000) / BYTES_A_SECOND_MIN;
        Some(Duration::from_millis(waited.saturating_sub(earned)))
    }
}

impl Seat {
    pub(in crate::http) fn limits(&self) -> &Limits {
        &self.shared.limits
    }

    /// Says what the connection does from now on.
    pub(in crate::http) fn begin(&self, doing: Doing) {
        self.state.since_ms.store(self.shared.now_ms(), Ordering::Relaxed);
        self.state.moved.store(0, Ordering::Relaxed);
        self.state.doing.store(doing as u8, Ordering::Relaxed);
    }

    pub(super) fn doing(&self) -> Doing {
        self.state.doing()
    }

    /// Counts bytes that came or went.
    pub(super) fn moved(&self, bytes: usize) {
        if self.doing() == Doing::Head && self.state.moved.load(Ordering::Relaxed) == 0 {
            let now = self.shared.now_ms();
            self.state.since_ms.store(now, Ordering::Relaxed);
            self.state.request_ms.store(now, Ordering::Relaxed);
        }
        self.state.moved.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Whether a head has begun to come.
    pub(super) fn has_begun(&self) -> bool {
        self.doing() == Doing::Head && self.state.moved.load(Ordering::Relaxed) > 0
    }

    /// How much longer its client may let it wait.
    pub(super) fn patience(&self) -> Duration {
        let debt = self.state.debt(self.shared.now_ms()).unwrap_or_default();
        self.shared.limits.stall.saturating_sub(debt)
    }

    /// When the request must be here as a whole.
    pub(in crate::http) fn request_deadline(&self) -> Instant {
        self.shared.begun
            + Duration::from_millis(self.state.request_ms.load(Ordering::Relaxed))
            + self.shared.limits.request
    }

    /// Whether it has to go, for others.
    pub(in crate::http) fn is_leaving(&self) -> bool {
        self.state.leaving.load(Ordering::Relaxed) > 0
    }

    /// Waits until the connection has to go, for others.
    pub(in crate::http) async fn must_leave(&self) {
        self.state.leave.notified().await;
    }

    /// Room for a body of so many bytes. Waits a while, during which those go who keep room without need.
    pub(in crate::http) async fn room(&self, bytes: usize) -> Result<Room, NoRoom> {
        match self.room_at_once(bytes) {
            Ok(room) => Ok(room),
            Err(NoRoom) => self.wait_for_room(bytes).await,
        }
    }

    /// The same for an answer, which takes up memory while it waits: few may.
    pub(in crate::http) async fn room_for_answer(&self, bytes: usize) -> Result<Room, NoRoom> {
        if let Ok(room) = self.room_at_once(bytes) {
            return Ok(room);
        }
        let _waiting = self.shared.answers_waiting.try_acquire().map_err(|_| NoRoom)?;
        self.wait_for_room(bytes).await
    }

    fn room_at_once(&self, bytes: usize) -> Result<Room, NoRoom> {
        if bytes <= UNCOUNTED_BYTES_MAX {
            return Ok(Room { kib: 0, of: None });
        }
        let kib = bytes.div_ceil(1 << 10);
        self.shared.room.try_acquire_many(kib as u32).map_err(|_| NoRoom)?.forget();
        Ok(self.took(kib))
    }

    async fn wait_for_room(&self, bytes: usize) -> Result<Room, NoRoom> {
        let kib = bytes.div_ceil(1 << 10);
        let mut acquiring = std::pin::pin!(self.shared.room.acquire_many(kib as u32));
        let end = Instant::now() + ROOM_WAIT_MAX;
        while Instant::now() < end {
            self.shared
                .open()
                .end_slowest(&self.shared, Limit::Memory, |state| state.held_kib.load(Ordering::Relaxed) > 0);
            // Whoever was patient a moment ago may not be any more.
            if let Ok(permit) = timeout(DEBT_MIN / 4, &mut acquiring).await {
                permit.map_err(|_| NoRoom)?.forget();
                return Ok(self.took(kib));
            }
        }
        Err(NoRoom)
    }

    fn took(&self, kib: usize) -> Room {
        self.state.held_kib.fetch_add(kib, Ordering::Relaxed);
        metrics::gauge!(metric::BUFFERS).increment((kib << 10) as f64);
        Room { kib, of: Some((self.shared.clone(), self.state.clone())) }
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let Some((shared, state)) = &self.of else { return };
        state.held_kib.fetch_sub(self.kib, Ordering::Relaxed);
        shared.room.add_permits(self.kib);
        metrics::gauge!(metric::BUFFERS).decrement((self.kib << 10) as f64);
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut open = self.shared.open();
        open.seats.remove(&self.id);
        open.leaving -= usize::from(self.state.leaving.load(Ordering::Relaxed));
        if let Some(count) = open.by_address.get_mut(&self.state.address) {
            *count -= 1;
            if *count == 0 {
                open.by_address.remove(&self.state.address);
            }
        }
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State").field("doing", &self.doing()).finish_non_exhaustive()
    }
}
