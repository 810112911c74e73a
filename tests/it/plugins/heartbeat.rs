//! Whatever a guest does, other tasks of the very same thread go on: a heartbeat of one millisecond is
//! never late by more than [`LATE_MAX`] because of it. A guest that may have little memory runs on the
//! heartbeat's own thread, one that may have much on another: both are tried.
//!
//! A machine that is busy with other things makes heartbeats late, too. So what the machine does to
//! anybody is measured at the same time and does not count: how long the kernel had the thread wait for a
//! processor, and how late a heartbeat on a thread of its own was, which nothing of the relay runs on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use agent_relay::domain::control::{Context, Outcome};
use agent_relay::plugins::PluginState;

use super::{Home, context, guest, handmade, policy, spawn, status};

const BEAT: Duration = Duration::from_millis(1);
/// How long a guest may keep others waiting.
const LATE_MAX: Duration = Duration::from_millis(20);
/// How often a guest is given the chance to show that it was the machine and not it.
const ROUNDS: usize = 10;

/// Two heartbeats: one beside the guests, and one as the measure of the machine.
struct Heartbeat {
    stop: Arc<AtomicBool>,
    beside: tokio::task::JoinHandle<Vec<Beat>>,
    machine: std::thread::JoinHandle<Vec<Beat>>,
}

/// From one beat to the next.
#[derive(Clone, Copy, Debug)]
struct Beat {
    from: Instant,
    to: Instant,
    /// For how much of that the thread was ready and had no processor.
    starved: Duration,
}

impl Heartbeat {
    fn start() -> Self {
        let stop = Arc::<AtomicBool>::default();
        // From now on, and not only once it is its turn.
        let mut beats = Beats::start();
        let beside = tokio::spawn({
            let stop = Arc::clone(&stop);
            async move {
                let mut interval = tokio::time::interval(BEAT);
                loop {
                    // Whether this is the last one is asked before it, so that nothing goes unseen.
                    let last = stop.load(Ordering::Relaxed);
                    interval.tick().await;
                    beats.note();
                    if last {
                        return beats.late;
                    }
                }
            }
        });
        let machine = std::thread::spawn({
            let stop = Arc::clone(&stop);
            move || {
                let mut beats = Beats::start();
                while !stop.load(Ordering::Relaxed) {
                    std::thread::park_timeout(BEAT);
                    beats.note();
                }
                beats.late
            }
        });
        Self { stop, beside, machine }
    }

    /// The longest that a beat waited for what runs beside it, and the longest that it waited at all.
    async fn stop(self) -> (Duration, Duration) {
        self.stop.store(true, Ordering::Relaxed);
        let beside = self.beside.await.expect("no panic");
        let machine = self.machine.join().expect("no panic");
        let waited = |beat: &Beat| beat.to - beat.from;
        let own = |beat: &Beat| {
            let meanwhile = machine.iter().filter(|other| other.from < beat.to && beat.from < other.to);
            let noise = meanwhile.map(|other| other.to.min(beat.to) - other.from.max(beat.from)).max();
            waited(beat).saturating_sub(noise.unwrap_or_default().max(beat.starved))
        };
        (beside.iter().map(own).max().unwrap_or_default(), beside.iter().map(waited).max().unwrap_or_default())
    }
}

struct Beats {
    last: Instant,
    starved: Duration,
    late: Vec<Beat>,
}

impl Beats {
    fn start() -> Self {
        Self { last: Instant::now(), starved: starved(), late: Vec::new() }
    }

    /// Keeps only the beats that were late.
    fn note(&mut self) {
        let (from, starved_before) = (self.last, self.starved);
        (self.last, self.starved) = (Instant::now(), starved());
        if self.last - from > 2 * BEAT {
            self.late.push(Beat { from, to: self.last, starved: self.starved.saturating_sub(starved_before) });
        }
    }
}

/// How long this thread was ready to run and had no processor, since it began. Linux alone tells.
fn starved() -> Duration {
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanoseconds = told.split_ascii_whitespace().nth(1).and_then(|word| word.parse().ok());
    Duration::from_nanos(nanoseconds.unwrap_or_default())
}

/// A policy that is well until it is asked one question, and a candidate that is not even well when it
/// is probed.
struct Hostile {
    what: &'static str,
    active: (String, Vec<u8>),
    candidate: (String, Vec<u8>),
    label: &'static str,
    /// How both fail, if they do.
    code: Option<&'static str>,
}

/// MiB with which a guest is called on the thread that asks.
const LITTLE: u32 = 16;
/// MiB with which it is not.
const MUCH: u32 = 512;

impl Hostile {
    fn guest(wish: &'static str, code: Option<&'static str>, memory_mb: u32) -> Self {
        let manifest = |settings: &str| manifest(settings, code, memory_mb);
        Self {
            what: wish,
            active: (manifest(""), guest("misbehave")),
            candidate: (manifest(&format!("decide = '{wish}'")), guest("misbehave")),
            label: wish,
            code,
        }
    }

    /// `body` is what it does, as text.
    fn handmade(what: &'static str, body: &str, code: &'static str, memory_mb: u32) -> Self {
        // The probe is asked by the clock, and the tests ask at the beginning of time.
        let well = "(if (i64.ne (i64.load offset=NOW (local.get $parameters)) (i64.const 0))
            (then (return (i32.const 128))))";
        let manifest = manifest("", Some(code), memory_mb);
        Self {
            what,
            active: (manifest.clone(), handmade::policy(&format!("{well} {body}"))),
            candidate: (manifest, handmade::policy(body)),
            label: "",
            code: Some(code),
        }
    }

    /// Has it do its worst beside a heartbeat, in a call and as a candidate. Answers how long it kept
    /// the heartbeat waiting, and how long that waited at all.
    async fn round(&self) -> (Duration, Duration) {
        let home = Home::new();
        home.put("guard", &self.active.0, &self.active.1);
        let plugins = home.open().await;
        let ask = async |label, now| plugins.current().decide(spawn(label), &Context { now, ..context() }).await;
        home.put("guard", &self.candidate.0, &self.candidate.1);

        let heartbeat = Heartbeat::start();
        let decision = ask(self.label, 0).await;
        plugins.reload(None).await;
        let late = heartbeat.stop().await;

        let code = decision.verdicts[0].code.as_deref();
        assert_eq!(code, self.code, "{}: {decision:?}", self.what);
        let active = status(&plugins, "guard", PluginState::Active);
        if self.code.is_some() {
            let error = status(&plugins, "guard", PluginState::Rejected).error.expect("a reason");
            assert_eq!(
                (error.stage.as_str(), active.generation),
                ("probe", Some(1)),
                "{}: {}",
                self.what,
                error.reason
            );
        } else {
            assert_eq!((active.generation, plugins.list().len()), (Some(2), 1), "{}", self.what);
        }
        let decision = ask("another", 1).await;
        assert!(matches!(decision.outcome, Outcome::Allowed(_)), "{}: {decision:?}", self.what);
        late
    }

    /// What a guest does to the heartbeat it does every time, and what else is on the machine does not.
    async fn keeps_nobody_waiting(&self) {
        let mut rounds = Vec::new();
        while rounds.len() < ROUNDS {
            let (own, waited) = self.round().await;
            if own <= LATE_MAX {
                return;
            }
            rounds.push(format!("{own:?} of {waited:?}"));
        }
        panic!("{} kept a heartbeat waiting every time: {rounds:?}", self.what);
    }
}

fn manifest(settings: &str, code: Option<&str>, memory_mb: u32) -> String {
    let manifest = policy("guard", settings).replace("[limits]", &format!("[limits]\nmemory_mb = {memory_mb}"));
    // Whoever runs into the deadline does so soon, and whoever does not has time on a busy machine.
    if code == Some("deadline") { manifest.replace("5000", "500") } else { manifest }
}

#[tokio::test]
async fn a_loop_keeps_nobody_waiting() {
    for memory_mb in [LITTLE, MUCH] {
        Hostile::guest("loop", Some("deadline"), memory_mb).keeps_nobody_waiting().await;
    }
}

#[tokio::test]
async fn eating_memory_keeps_nobody_waiting() {
    for memory_mb in [LITTLE, MUCH] {
        Hostile::guest("hog", Some("memory"), memory_mb).keeps_nobody_waiting().await;
    }
}

#[tokio::test]
async fn recursion_keeps_nobody_waiting() {
    for memory_mb in [LITTLE, MUCH] {
        Hostile::guest("recurse", Some("trap"), memory_mb).keeps_nobody_waiting().await;
    }
}

#[tokio::test]
async fn a_flood_of_log_lines_keeps_nobody_waiting() {
    for memory_mb in [LITTLE, MUCH] {
        Hostile::guest("flood", None, memory_mb).keeps_nobody_waiting().await;
    }
}

#[tokio::test]
async fn large_answers_keep_nobody_waiting() {
    for memory_mb in [LITTLE, MUCH] {
        Hostile::guest("huge", Some("output"), memory_mb).keeps_nobody_waiting().await;
    }
    // A denial whose reason has 100 MiB. At 256 lies the answer: not an error, and the third verdict, with
    // a code of five bytes at 16 and a reason at 0.
    let answer = "(drop (memory.grow (i32.const 1600)))
        (i32.store8 offset=4 (i32.const 256) (i32.const 2))
        (i32.store offset=8 (i32.const 256) (i32.const 16))
        (i32.store offset=12 (i32.const 256) (i32.const 5))
        (i32.store offset=20 (i32.const 256) (i32.const 104857600))
        (return (i32.const 256))";
    Hostile::handmade("an answer of 100 MiB", answer, "output", MUCH).keeps_nobody_waiting().await;
}

#[tokio::test]
async fn large_log_lines_keep_nobody_waiting() {
    let line = "(drop (memory.grow (i32.const 1600)))
        (call $log (i32.const 4) (i32.const 0) (i32.const 104857600))";
    Hostile::handmade("a line of 100 MiB", line, "output", MUCH).keeps_nobody_waiting().await;
    // As long as a line may be, over and over, and all of it control characters.
    let lines = "(drop (memory.grow (i32.const 100)))
        (loop $again (call $log (i32.const 4) (i32.const 65536) (i32.const 1000000)) (br $again))";
    for memory_mb in [LITTLE, MUCH] {
        Hostile::handmade("lines of a megabyte", lines, "deadline", memory_mb).keeps_nobody_waiting().await;
    }
}

/// One instruction fills all the memory there is, and none can be interrupted.
#[tokio::test]
async fn filling_memory_keeps_nobody_waiting() {
    for memory_mb in [LITTLE, MUCH] {
        // Beside the first megabyte, in which the guest itself lies.
        let (pages, bytes) = ((memory_mb - 1) * 16, (memory_mb - 2) << 20);
        let fill = format!(
            "(drop (memory.grow (i32.const {pages})))
            (loop $again (memory.fill (i32.const 1048576) (i32.const 1) (i32.const {bytes})) (br $again))"
        );
        Hostile::handmade("filling memory", &fill, "deadline", memory_mb).keeps_nobody_waiting().await;
    }
}

/// What the rest of this file relies on: somebody who does not let go is found out.
#[tokio::test]
async fn the_heartbeat_shows_who_holds_the_thread() {
    let heartbeat = Heartbeat::start();
    tokio::task::yield_now().await;
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_millis(300) {
        std::hint::spin_loop();
    }
    let (own, waited) = heartbeat.stop().await;
    assert!(waited >= Duration::from_millis(300), "{waited:?}");
    assert!(own > LATE_MAX, "{own:?} of {waited:?}");
}
