//! What is dated, when the clock is set or nobody was there.

use agent_relay::domain::agent::SessionGuard;
use agent_relay::domain::event::EventTypes;
use agent_relay::domain::id::EventSeq;
use agent_relay::domain::message::NewMessage;
use agent_relay::domain::retention::Retention;
use agent_relay::store::{Idempotency, Options, Store};
use tempfile::TempDir;

use super::sqlite_file;
use crate::server::{BLINK_MS, TestClock};

const DAY: i64 = 24 * 60 * 60 * 1000;

/// Everything for thirty days, however much it is.
const THIRTY_DAYS: Retention = Retention {
    events_count: i64::MAX,
    events_ms: 30 * DAY,
    messages_count: i64::MAX,
    messages_ms: 30 * DAY,
    records_ms: 30 * DAY,
};

fn open(folder: &TempDir, clock: &TestClock) -> Store {
    let options = Options { path: sqlite_file(folder.path()), readers: 1, clock: clock.clock() };
    Store::open(&options, Box::new(drop)).expect("a store")
}

async fn retain(store: &Store) {
    while store.retain_step(THIRTY_DAYS, 500).await.expect("a step").done > 0 {}
}

fn key() -> Idempotency {
    Idempotency { scope: "x POST /api/messages".to_owned(), key: "k".to_owned(), fingerprint: [1; 32] }
}

async fn send(store: &Store, body: &str, key: Option<Idempotency>) -> bool {
    store.send(NewMessage::plain("x".into(), "a", body), key).await.expect("sent").replayed
}

async fn count(store: &Store) -> (usize, usize) {
    let messages = store.stats().await.expect("figures").messages;
    let events =
        store.events_after(EventSeq::default(), None, EventTypes::ALL, 1_000, usize::MAX).await.expect("events");
    (usize::try_from(messages).expect("a count"), events.events.len())
}

/// A store that runs for so long.
fn run(store: &Store, clock: &TestClock, ms: i64) {
    for _ in 0..ms / BLINK_MS {
        clock.pass(BLINK_MS);
        store.clock().look();
    }
}

#[tokio::test]
async fn a_clock_far_ahead_deletes_nothing_until_it_ran_for_a_day() {
    let clock = TestClock::default();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut store = open(&folder, &clock);
    send(&store, "1", Some(key())).await;
    let kept = count(&store).await;
    clock.set_forward(400 * DAY);
    retain(&store).await;
    assert_eq!(count(&store).await, kept);
    // Nor does it when the relay is started by such a clock.
    for back in [false, true] {
        store.close().await;
        clock.set_forward(if back { -400 * DAY } else { 0 });
        store = open(&folder, &clock);
        retain(&store).await;
        assert_eq!(count(&store).await, kept);
        assert!(send(&store, "1", Some(key())).await, "the key is known, so nothing is sent twice");
        clock.set_forward(if back { 400 * DAY } else { 0 });
    }
    run(&store, &clock, DAY - 60_000);
    retain(&store).await;
    assert_eq!(count(&store).await, kept);
    // It was not put right for a day, so it is right.
    run(&store, &clock, 120_000);
    retain(&store).await;
    assert_eq!(count(&store).await, (0, 0));
    assert!(!send(&store, "1", Some(key())).await);
    store.close().await;
}

#[tokio::test]
async fn what_is_dated_by_a_wrong_clock_takes_nothing_along_that_is_not_old() {
    let clock = TestClock::default();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let store = open(&folder, &clock);
    send(&store, "in time", None).await;
    // A machine that began in 1970, and was put right.
    clock.set_forward(-20_000 * DAY);
    send(&store, "in 1970", None).await;
    clock.set_forward(20_000 * DAY);
    let kept = count(&store).await;
    run(&store, &clock, DAY + 60_000);
    retain(&store).await;
    assert_eq!(count(&store).await, kept);
    // One a year ahead is as old as what comes after it.
    clock.set_forward(365 * DAY);
    send(&store, "from the future", None).await;
    clock.set_forward(-365 * DAY);
    send(&store, "in time as well", None).await;
    clock.pass(31 * DAY);
    store.clock().look();
    send(&store, "new", None).await;
    retain(&store).await;
    assert_eq!(count(&store).await, (1, 1));
    store.close().await;
}

#[tokio::test]
async fn a_restart_prolongs_a_lease_by_what_it_took_and_at_most_to_a_whole_one() {
    let clock = TestClock::default();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut store = open(&folder, &clock);
    let work = NewMessage { claimable: true, ..NewMessage::plain("boss".into(), "a", "work") };
    let id = store.send(work, None).await.expect("sent").json.value().expect("a message").id;
    let guard = SessionGuard::default;
    store.claim(id, "a".into(), guard(), Some(60_000)).await.expect("claimed");
    run(&store, &clock, 20_000);
    store.close().await;
    for (step, gap) in [(0, 1_000), (0, 3 * DAY), (-DAY, 60_000), (DAY, 60_000)] {
        clock.pass(gap);
        clock.set_forward(step);
        store = open(&folder, &clock);
        let until = store.message(id).await.expect("kept").claim_expires_at.expect("a lease");
        let left = until - clock.now();
        assert!((25_000..=40_000).contains(&left), "{left} of 40 s after {step} and {gap}");
        store.close().await;
    }
    store = open(&folder, &clock);
    run(&store, &clock, 42_000);
    let refused = store.complete_claim(id, "a".into(), guard(), 1).await;
    assert!(refused.is_err(), "it ended");
    store.close().await;
}
