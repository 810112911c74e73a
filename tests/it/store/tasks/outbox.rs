//! The outbox: each task's callbacks in their order, whatever becomes of them; and what it costs to find what is due.

use std::collections::BTreeMap;

use agent_relay::domain::agent::SessionGuard;
use agent_relay::domain::id::{CallbackId, TaskId};
use agent_relay::domain::page::Limit;
use agent_relay::domain::retention::Retention;
use agent_relay::domain::task::callback::{Attempt, Callback, CallbackFilter, CallbackStatus, Next};
use agent_relay::domain::task::{EVENTS_KEPT, NewTask, Report, Task, TaskStatus};
use agent_relay::domain::time::Timestamp;
use agent_relay::store::{Due, Options, Store};
use proptest::prelude::*;
use tokio::runtime::Runtime;

use crate::server::{BLINK_MS, TestClock};
use crate::store::growth::grown;
use crate::store::{Bench, ENGINES, sqlite_file};

/// A task that is told at this address. The same key asks for it again.
fn told_at(url: &str, key: &str) -> NewTask {
    NewTask {
        source: "s".to_owned(),
        title: "t".to_owned(),
        dedupe_key: Some(key.to_owned()),
        callback_url: Some(url.to_owned()),
        ..NewTask::default()
    }
}

async fn ask(store: &Store, url: &str, key: &str) -> Task {
    store.create_task(told_at(url, key), None).await.expect("made").json.value().expect("a task")
}

/// All that is due, whoever has how much on its way.
async fn due(store: &Store) -> Due {
    store.due_outgoing(1_000, 1_000, |_, _| 1_000).await.expect("what is due")
}

fn attempt(status: u16) -> Attempt {
    Attempt::new(Timestamp::now(), Some(status), 1, b"answer", None)
}

async fn all(store: &Store) -> Vec<Callback> {
    let filter = CallbackFilter { limit: Limit::MAX, ..CallbackFilter::default() };
    store.callbacks(filter).await.expect("callbacks").entries
}

/// What happens, to one of three tasks at two receivers.
#[derive(Clone, Copy, Debug)]
enum Step {
    Occurs,
    /// An attempt at what is due of the task, if something is.
    Attempt(Next),
    /// Somebody has one of its callbacks tried again.
    Retry(usize),
    /// An attempt at one that was due when it began, and may not be any more.
    Late(usize, Next),
}

fn step() -> impl Strategy<Value = (usize, Step)> {
    let next = prop_oneof![
        2 => Just(Next::Delivered),
        2 => Just(Next::Again { after_ms: 0 }),
        1 => Just(Next::Again { after_ms: 1_000_000 }),
        2 => Just(Next::Dead),
    ];
    let step = prop_oneof![
        3 => Just(Step::Occurs),
        4 => next.clone().prop_map(Step::Attempt),
        2 => (0..10_usize).prop_map(Step::Retry),
        1 => ((0..10_usize), next).prop_map(|(at, next)| Step::Late(at, next)),
    ];
    (0..3_usize, step)
}

const URLS: [&str; 3] = ["http://a.test/", "http://a.test/other", "https://b.test/"];

async fn take(store: &Store, task: usize, step: Step) {
    let of_task = |callback: &&Callback| callback.url == URLS[task];
    let nth = async |at: usize| all(store).await.iter().rev().filter(of_task).nth(at).map(|callback| callback.id);
    match step {
        Step::Occurs => drop(ask(store, URLS[task], URLS[task]).await),
        Step::Attempt(next) => {
            let due = due(store).await.outgoing;
            if let Some(outgoing) = due.iter().find(|outgoing| outgoing.url == URLS[task]) {
                store.note_attempt(outgoing.id, attempt(500), next).await.expect("noted");
            }
        }
        Step::Retry(at) => {
            if let Some(id) = nth(at).await {
                // One that was delivered is refused.
                store.retry_callback(id, "somebody".to_owned()).await.ok();
            }
        }
        Step::Late(at, next) => {
            if let Some(id) = nth(at).await {
                store.note_attempt(id, attempt(500), next).await.expect("noted, or too late");
            }
        }
    }
}

/// What holds after every step.
async fn check(store: &Store) -> Result<(), TestCaseError> {
    let (callbacks, found) = (all(store).await, due(store).await);
    let now = store.now();
    let mut wanted = Vec::new();
    for url in URLS {
        let pending: Vec<_> =
            callbacks.iter().rev().filter(|it| it.url == url && it.status == CallbackStatus::Pending).collect();
        for (at, callback) in pending.iter().enumerate() {
            prop_assert_eq!(callback.next_attempt_at.is_some(), at == 0, "the first has a turn: {:?}", pending);
            wanted.extend(callback.next_attempt_at.filter(|at| *at <= now).map(|_| callback.id));
        }
    }
    for callback in &callbacks {
        prop_assert!(callback.status == CallbackStatus::Pending || callback.next_attempt_at.is_none());
    }
    let mut ids: Vec<CallbackId> = found.outgoing.iter().map(|outgoing| outgoing.id).collect();
    ids.sort_unstable();
    wanted.sort_unstable();
    prop_assert_eq!(ids, wanted, "what is due is found");
    let next = callbacks.iter().filter_map(|callback| callback.next_attempt_at).filter(|at| *at > now).min();
    prop_assert_eq!(found.wait_ms.is_some(), next.is_some());
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn of_each_task_the_first_that_is_pending_has_its_turn(steps in prop::collection::vec(step(), 1..40)) {
        let runtime = Runtime::new().expect("a runtime");
        let bench = Bench::new(&ENGINES[0]);
        for (task, step) in steps {
            runtime.block_on(take(&bench.store, task, step));
            runtime.block_on(check(&bench.store))?;
        }
        runtime.block_on(bench.store.close());
    }
}

#[tokio::test]
async fn a_task_goes_with_its_callbacks_and_nothing_of_it_is_due_any_more() {
    let bench = Bench::new(&ENGINES[0]);
    let store = &bench.store;
    let mut tasks = Vec::new();
    for key in ["gone", "stays"] {
        for _ in 0..5 {
            tasks.push(ask(store, "http://a.test/", key).await);
        }
    }
    let canceled = Report {
        agent: "a".into(),
        is_administrator: true,
        status: TaskStatus::Canceled,
        generation: None,
        note: None,
        result: None,
    };
    store.report_task(tasks[0].id, canceled, SessionGuard::default()).await.expect("canceled");
    let first = due(store).await.outgoing[0].id;
    store.note_attempt(first, attempt(410), Next::Dead).await.expect("noted");
    let keep = i64::MAX;
    let old =
        Retention { events_count: keep, events_ms: keep, messages_count: keep, messages_ms: keep, records_ms: -1_000 };
    while store.retain_step(old, 2).await.expect("a step").done > 0 {}
    let left = all(store).await;
    assert_eq!((left.len(), left.iter().all(|callback| callback.task_id == tasks[5].id)), (5, true));
    let due = due(store).await.outgoing;
    assert_eq!(due.iter().map(|outgoing| outgoing.line.clone()).collect::<Vec<_>>(), [format!("task:{}", tasks[5].id)]);
    // Whoever sent one meanwhile is not disturbed.
    store.note_attempt(first, attempt(200), Next::Delivered).await.expect("too late");
    bench.store.close().await;
}

#[tokio::test]
async fn of_a_task_that_is_told_without_end_the_newest_are_kept() {
    let bench = Bench::new(&ENGINES[0]);
    let store = &bench.store;
    let mut asking = tokio::task::JoinSet::new();
    let task = ask(store, "http://a.test/", "k").await;
    for _ in 0..EVENTS_KEPT + 9 {
        let store = store.clone();
        asking.spawn(async move { ask(&store, "http://a.test/", "k").await });
    }
    asking.join_all().await;
    let left = all(store).await;
    assert_eq!((left.len(), left.last().expect("the oldest").id), (1_000, CallbackId::new(11)));
    assert_eq!(due(store).await.outgoing[0].id, CallbackId::new(11), "the first that is left");
    let said = store.activity(Default::default()).await.expect("entries").entries;
    let told: Vec<_> = said.iter().filter(|entry| entry.title == "Callbacks dropped").collect();
    assert_eq!((told.len(), told[0].task_id), (1, Some(task.id)), "told once");
    bench.store.close().await;
}

#[tokio::test]
async fn after_a_time_in_which_nobody_was_here_what_was_not_tried_is_due_and_what_was_waits_on() {
    let (clock, folder) = (TestClock::default(), tempfile::tempdir().expect("a temporary folder"));
    let open = |folder: &tempfile::TempDir| {
        let options = Options { path: sqlite_file(folder.path()), readers: 1, clock: clock.clock() };
        Store::open(&options, Box::new(drop)).expect("a store")
    };
    let hour = 60 * 60 * 1000;
    let store = open(&folder);
    // The time of the last mark lies before all of it, as it does when the relay was killed.
    store.keep_time().await.expect("a mark");
    clock.pass(BLINK_MS);
    ask(&store, "http://a.test/", "tried").await;
    let tried = due(&store).await.outgoing[0].id;
    store.note_attempt(tried, attempt(500), Next::Again { after_ms: hour }).await.expect("noted");
    ask(&store, "http://a.test/", "new").await;
    let copy = tempfile::tempdir().expect("a temporary folder");
    let killed = rusqlite::Connection::open(sqlite_file(folder.path())).expect("the database");
    killed.execute("VACUUM INTO ?1", [sqlite_file(copy.path()).to_str()]).expect("a copy");
    drop(killed);
    clock.pass(5 * hour);
    let again = open(&copy);
    let found = due(&again).await;
    assert_eq!(found.outgoing.iter().map(|outgoing| outgoing.tries).collect::<Vec<_>>(), [0], "{found:?}");
    assert!(found.wait_ms.is_some_and(|wait| wait > hour / 2 && wait <= hour + 2 * BLINK_MS), "{found:?}");
    for store in [store, again] {
        store.close().await;
    }
}

/// What is found, beside so many callbacks that wait at receivers that do not answer.
async fn costs(waiting: i64) -> BTreeMap<&'static str, u64> {
    let bench = Bench::new(&ENGINES[0]);
    bench.store.close().await;
    let now = Timestamp::now().as_ms() - 60_000;
    rusqlite::Connection::open(sqlite_file(bench.folder.path()))
        .expect("the database")
        .execute_batch(&format!(
            "BEGIN;
            WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {waiting})
                INSERT INTO outbox (kind, line, receiver, url, webhook_id, body, status, attempts, tries, next_at,
                    task_id, event_id, event, created_at, updated_at)
                SELECT 'callback', 'task:' || (i % 100), 'dead:' || (i % 10), 'http://dead/', 'msg_' || i, '{{}}',
                    CASE i % 2 WHEN 0 THEN 'pending' ELSE 'delivered' END, '[]', 1, CASE i % 2 WHEN 0 THEN {now} END,
                    i % 100, i, 'created', {now}, {now} FROM n;
            INSERT INTO outbox_receivers SELECT receiver, min(next_at), 1 FROM outbox WHERE next_at > 0 GROUP BY receiver;
            COMMIT;"
        ))
        .expect("callbacks");
    let bench = Bench::in_folder(&ENGINES[0], bench.folder);
    let store = &bench.store;
    let (mut costs, mut before) = (BTreeMap::new(), store.steps_taken());
    let mut note = |name: &'static str| {
        let steps = store.steps_taken();
        costs.insert(name, steps - std::mem::replace(&mut before, steps));
    };
    ask(store, "http://live.test/", "k").await;
    note("a step that is told");
    let found = store.due_outgoing(10, 20, |receiver, _| usize::from(!receiver.starts_with("dead")) * 4).await;
    let found = found.expect("what is due").outgoing;
    assert_eq!(found.len(), 1);
    note("what is due at one that answers");
    assert_eq!(store.due_outgoing(10, 20, |_, _| 4).await.expect("what is due").outgoing.len(), 1 + 5 * 4);
    note("what is due");
    store.note_attempt(found[0].id, attempt(200), Next::Delivered).await.expect("noted");
    note("a delivery");
    let of =
        |task: Option<i64>, status| CallbackFilter { task: task.map(TaskId::new), status, ..CallbackFilter::default() };
    for (name, filter, some) in [
        ("dead ones", of(None, Some(CallbackStatus::Dead)), false),
        ("dead ones of a task", of(Some(7), Some(CallbackStatus::Dead)), false),
        ("those of a task", of(Some(7), None), true),
        ("pending ones", of(None, Some(CallbackStatus::Pending)), true),
    ] {
        assert_eq!(!store.callbacks(filter).await.expect("callbacks").entries.is_empty(), some, "{name}");
        note(name);
    }
    bench.store.close().await;
    costs
}

#[tokio::test]
async fn what_is_due_is_found_however_much_waits_elsewhere() {
    let grown = grown(&costs(10_000).await, &costs(40_000).await);
    assert!(grown.is_empty(), "{grown:#?}");
}
