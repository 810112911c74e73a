//! The clock that the relay goes by. There is one, and a test may hand in another.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::time::{ClockId, clock_gettime};

use super::timeline::Timeline;
use super::{Jump, Mark, Moment, Reading, Steadiness, Timestamp};

/// Jumps that nobody has asked about yet: more than a sane machine has in a year.
const NEWS_MAX: usize = 16;

/// What time it is, and whether that can be relied on. Cheap to clone; all clones are one clock.
#[derive(Clone)]
pub struct Clock(Arc<Shared>);

struct Shared {
    read: Box<dyn Fn() -> Reading + Send + Sync>,
    /// The start of the machine that its readings belong to.
    boot: String,
    seen: Mutex<Seen>,
}

struct Seen {
    timeline: Timeline,
    news: Vec<Jump>,
}

impl Clock {
    /// The clocks of this machine.
    pub fn host() -> Self {
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        Self::reading(boot.trim(), read_host)
    }

    /// Clocks read by this function, since the start of a machine with this name.
    pub fn reading(boot: &str, read: impl Fn() -> Reading + Send + Sync + 'static) -> Self {
        let seen = Seen { timeline: Timeline::new(read()), news: Vec::new() };
        Self(Arc::new(Shared { read: Box::new(read), boot: boot.to_owned(), seen: Mutex::new(seen) }))
    }

    /// The wall clock.
    pub fn now(&self) -> Timestamp {
        (self.0.read)().wall
    }

    /// Milliseconds since the machine was started, by which one can measure.
    pub fn elapsed_ms(&self) -> i64 {
        (self.0.read)().elapsed_ms
    }

    /// The wall clock as it is now, at the moment when so many milliseconds had passed.
    pub fn wall_at(&self, elapsed_ms: i64) -> Timestamp {
        let Reading { wall, elapsed_ms: now } = (self.0.read)();
        wall - (now - elapsed_ms)
    }

    /// Looks at both clocks, and notes what happened to them.
    pub fn look(&self) -> Moment {
        let mut seen = self.seen();
        // Read under the lock, so that looks come in order.
        if let Some(jump) = seen.timeline.see((self.0.read)())
            && seen.news.len() < NEWS_MAX
        {
            seen.news.push(jump);
        }
        seen.timeline.moment()
    }

    /// Goes on where an earlier run left off: `newest` is the latest time in the records, for where no mark was kept.
    pub fn resume(&self, mark: Option<&Mark>, newest: Option<Timestamp>) -> Moment {
        let mut seen = self.seen();
        seen.timeline = Timeline::resume((self.0.read)(), &self.0.boot, mark, newest);
        seen.news = seen.timeline.steadiness().step.into_iter().collect();
        seen.timeline.moment()
    }

    /// For how long the relay has been here since it started, or since the last time that it was not.
    pub fn present_ms(&self) -> i64 {
        self.seen().timeline.present_ms()
    }

    /// How far the clocks can be relied on.
    pub fn steadiness(&self) -> Steadiness {
        self.seen().timeline.steadiness()
    }

    /// What happened to the clocks since this was asked last.
    pub fn news(&self) -> Vec<Jump> {
        std::mem::take(&mut self.seen().news)
    }

    /// What the next start has to know.
    pub fn mark(&self) -> Mark {
        self.seen().timeline.mark(&self.0.boot)
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.0.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}

/// Reads both clocks as one. Whoever is stopped between two calls must not take that for a clock that was set.
fn read_host() -> Reading {
    loop {
        let before = elapsed_ms();
        let wall = Timestamp::now();
        let elapsed_ms = elapsed_ms();
        if elapsed_ms - before < 100 {
            return Reading { wall, elapsed_ms };
        }
    }
}

fn elapsed_ms() -> i64 {
    // Linux' monotonic clock stands still while the machine sleeps; this one does not.
    #[cfg(target_os = "linux")]
    let id = ClockId::Boottime;
    #[cfg(not(target_os = "linux"))]
    let id = ClockId::Monotonic;
    let time = clock_gettime(id);
    time.tv_sec * 1_000 + time.tv_nsec / 1_000_000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clocks_of_this_machine_agree() {
        let clock = Clock::host();
        let moment = clock.look();
        assert_eq!((moment.stepped_ms, clock.news()), (0, Vec::new()));
        let at = clock.elapsed_ms();
        assert!((clock.wall_at(at) - clock.now()).abs() < 60_000);
    }
}
