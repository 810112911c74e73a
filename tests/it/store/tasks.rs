//! A task and its message through both doors, whatever is asked in whatever order; and what finding tasks costs.

mod integrations;
mod outbox;

use std::collections::BTreeMap;

use agent_relay::domain::agent::SessionGuard;
use agent_relay::domain::id::{AgentId, TaskId};
use agent_relay::domain::message::Message;
use agent_relay::domain::page::Limit;
use agent_relay::domain::refusal::Refusal;
use agent_relay::domain::retention::Retention;
use agent_relay::domain::task::{EVENTS_KEPT, NewTask, Report, Severity, Task, TaskEventKind, TaskFilter, TaskStatus};
use agent_relay::store::{Options, Store, StoreError};
use proptest::prelude::*;
use tokio::runtime::Runtime;

use super::growth::grown;
use super::{Bench, ENGINES, sqlite_file};
use crate::server::TestClock;

/// What somebody does, by one of two doors where there are two.
#[derive(Clone, Debug)]
enum Step {
    Claim { by_message: bool },
    Renew { by_message: bool, generation: i64 },
    Release { by_message: bool, generation: i64 },
    Complete { generation: i64 },
    Report { status: TaskStatus, generation: Option<i64> },
    Pass { ms: i64 },
    Reap,
    DeleteMessage,
}

fn step() -> impl Strategy<Value = (u8, Step)> {
    let (door, generation) = (any::<bool>(), 0..4_i64);
    let held = (door, generation.clone());
    let status = proptest::sample::select(TaskStatus::ALL.to_vec());
    let step = prop_oneof![
        6 => door.prop_map(|by_message| Step::Claim { by_message }),
        3 => held.clone().prop_map(|(by_message, generation)| Step::Renew { by_message, generation }),
        2 => held.prop_map(|(by_message, generation)| Step::Release { by_message, generation }),
        1 => generation.clone().prop_map(|generation| Step::Complete { generation }),
        4 => (status, proptest::option::of(generation)).prop_map(|(status, generation)| {
            Step::Report { status, generation }
        }),
        3 => (100..1_000_i64).prop_map(|ms| Step::Pass { ms }),
        2 => Just(Step::Reap),
        1 => Just(Step::DeleteMessage),
    ];
    (0..3_u8, step)
}

/// A store by a clock of its own, with one task for the agents `0`, `1` and `2`.
struct Scene {
    runtime: Runtime,
    store: Store,
    clock: TestClock,
    task: Task,
    _folder: tempfile::TempDir,
}

impl Scene {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let folder = tempfile::tempdir().expect("a temporary folder");
        let clock = TestClock::default();
        let options = Options { path: sqlite_file(folder.path()), readers: 1, clock: clock.clock() };
        let store = Store::open(&options, Box::new(drop)).expect("a store");
        let new = NewTask {
            source: "s".to_owned(),
            title: "t".to_owned(),
            target: Some("tag:t".to_owned()),
            ..NewTask::default()
        };
        let task = runtime.block_on(async {
            for agent in ["0", "1", "2"] {
                let card = agent_relay::domain::agent::NewRegistration {
                    tags: Some(Some(vec!["t".to_owned()])),
                    ..agent_relay::domain::agent::NewRegistration::of(agent.into())
                };
                store.register(card, None).await.expect("registered");
            }
            store.create_task(new, None).await.expect("made").json.value().expect("a task")
        });
        Self { runtime, store, clock, task, _folder: folder }
    }

    fn now(&self) -> Task {
        self.runtime.block_on(self.store.task(self.task.id)).expect("the task")
    }

    fn message(&self) -> Option<Message> {
        self.runtime.block_on(self.store.message(self.task.message_id.expect("a message"))).ok()
    }

    /// Does it, and answers whether it was refused.
    fn take(&self, agent: &AgentId, step: &Step) -> Result<(), StoreError> {
        let (task, message) = (self.task.id, self.task.message_id.expect("a message"));
        let (store, agent, open) = (&self.store, agent.clone(), SessionGuard::default());
        self.runtime.block_on(async {
            match step.clone() {
                Step::Claim { by_message: true } => store.claim(message, agent, open, Some(1_000)).await.map(drop),
                Step::Claim { by_message: false } => store.claim_task(task, agent, open, Some(1_000)).await.map(drop),
                Step::Renew { by_message: true, generation } => {
                    store.renew_claim(message, agent, open, generation, None).await.map(drop)
                }
                Step::Renew { by_message: false, generation } => {
                    store.renew_task(task, agent, open, generation, None).await.map(drop)
                }
                Step::Release { by_message: true, generation } => {
                    store.release_claim(message, agent, open, generation).await.map(drop)
                }
                Step::Release { by_message: false, generation } => {
                    store.release_task(task, agent, open, generation).await.map(drop)
                }
                Step::Complete { generation } => store.complete_claim(message, agent, open, generation).await.map(drop),
                Step::Report { status, generation } => {
                    let report =
                        Report { agent, is_administrator: false, status, generation, note: None, result: None };
                    store.report_task(task, report, open).await.map(drop)
                }
                Step::Pass { ms } => {
                    self.clock.pass(ms);
                    self.store.clock().look();
                    Ok(())
                }
                Step::Reap => store.reap(Vec::new(), i64::MAX, i64::MAX, false).await.map(drop),
                Step::DeleteMessage => store.delete_message(message).await,
            }
        })
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// One holder at a time, whichever door is used; the task and its message never differ; an end is final.
    #[test]
    fn a_task_and_its_message_are_one_claim(steps in proptest::collection::vec(step(), 1..40)) {
        let scene = Scene::new();
        for (agent, step) in steps {
            let agent = AgentId::from(agent.to_string());
            let before = scene.now();
            let begun = scene.clock.now();
            let outcome = scene.take(&agent, &step);
            let ended = scene.clock.now();
            let after = scene.now();
            let is_holder = before.claimed_by.as_ref() == Some(&agent);
            let is_free_at = |at| before.claim_expires_at.is_none_or(|until| until <= at);
            match (&outcome, &step) {
                (Ok(()), Step::Claim { .. }) => {
                    prop_assert!(is_holder || is_free_at(ended));
                    prop_assert_eq!(after.claimed_by.as_ref(), Some(&agent));
                }
                (Ok(()), Step::Renew { generation, .. } | Step::Release { generation, .. }) => {
                    prop_assert!(is_holder && !is_free_at(begun) && *generation == before.claim_generation);
                }
                (Ok(()), Step::Complete { generation }) => {
                    prop_assert!(is_holder && *generation == before.claim_generation);
                    prop_assert_eq!(after.status, TaskStatus::Done);
                }
                (Ok(()), Step::Report { status, generation }) => {
                    prop_assert!(!before.status.is_final());
                    prop_assert!(generation.is_none_or(|generation| generation == before.claim_generation));
                    prop_assert!(is_holder || (*status == TaskStatus::Claimed && is_free_at(ended)));
                    prop_assert_eq!(after.status, *status);
                }
                (Err(StoreError::Refused(Refusal::AlreadyClaimed { .. })), _) => {
                    prop_assert!(!is_holder && !is_free_at(begun));
                    prop_assert_eq!(&after, &before);
                }
                (Err(StoreError::Refused(_)), _) => prop_assert_eq!(&after, &before),
                (Err(error), _) => prop_assert!(false, "{error}"),
                (Ok(()), Step::Pass { .. } | Step::DeleteMessage) => prop_assert_eq!(&after, &before),
                (Ok(()), Step::Reap) => {
                    let is_same = after == before;
                    prop_assert!(is_same || (is_free_at(ended) && after.status == TaskStatus::Open));
                }
            }
            prop_assert!(!before.status.is_final() || after == before, "an end is final");
            prop_assert!((0..=1).contains(&(after.claim_generation - before.claim_generation)));
            if let Some(message) = scene.message() {
                prop_assert_eq!(&message.claimed_by, &after.claimed_by);
                prop_assert_eq!(message.claimed_at, after.claimed_at);
                prop_assert_eq!(message.claim_expires_at, after.claim_expires_at);
                prop_assert_eq!(message.claim_generation, after.claim_generation);
                let is_completed = matches!(after.status, TaskStatus::Done | TaskStatus::Failed);
                prop_assert_eq!(message.completed_at.is_some(), is_completed);
                prop_assert_eq!(message.expires_at.is_some(), after.status == TaskStatus::Canceled);
            }
        }
        scene.runtime.block_on(scene.store.close());
    }
}

/// What tasks cost beside so many that are finished.
async fn costs(finished: i64) -> BTreeMap<&'static str, u64> {
    let bench = Bench::new(&ENGINES[0]).reopened().await;
    bench.store.close().await;
    let now = agent_relay::domain::time::Timestamp::now().as_ms();
    rusqlite::Connection::open(sqlite_file(bench.folder.path()))
        .expect("a database")
        .execute_batch(&format!(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {finished})
                 INSERT INTO tasks (id, source, kind, title, severity, status, target, asker, occurrences, claimed_by,
                     claim_generation, options, metadata, depends_on, blocked_by, created_at, updated_at, finished_at,
                     claim_lease_ms, event_count)
                 SELECT i, 's', 'work', 't', 'info', 'done', 'a', 'x', 1, 'a', 1, '[]', '{{}}', '[]', '[]', {now}, {now},
                     {now}, 1, 1 FROM n;
             INSERT INTO task_events (task_id, id, type, created_at) SELECT id, id, 'created', {now} FROM tasks;"
        ))
        .expect("a filled database");
    let bench = Bench::in_folder(&ENGINES[0], bench.folder);
    let store = &bench.store;
    let (mut costs, mut before) = (BTreeMap::new(), store.steps_taken());
    let mut note = |name| {
        let steps = store.steps_taken();
        costs.insert(name, steps - std::mem::replace(&mut before, steps));
    };
    let every = TaskFilter::default;
    for (name, filter) in [
        ("status", TaskFilter { status: Some(TaskStatus::Open), ..every() }),
        ("status of a source", TaskFilter { status: Some(TaskStatus::Open), source: Some("s".to_owned()), ..every() }),
        (
            "severity of a target",
            TaskFilter { severity: Some(Severity::Critical), target: Some("a".to_owned()), ..every() },
        ),
        ("status of an agent", TaskFilter { status: Some(TaskStatus::Open), agent: Some("a".into()), ..every() }),
        (
            "what an agent may see",
            TaskFilter { status: Some(TaskStatus::Open), agent: Some("a".into()), or_for_anybody: true, ..every() },
        ),
    ] {
        let page = store.tasks(filter).await.expect("tasks");
        assert!(page.entries.is_empty() && page.next.is_none(), "{name} is looked at to the end");
        note(name);
    }
    assert_eq!(store.tasks(every()).await.expect("tasks").entries.len(), 100);
    note("all");
    let new = NewTask {
        source: "s".to_owned(),
        title: "t".to_owned(),
        target: Some("a".to_owned()),
        dedupe_key: Some("k".to_owned()),
        ..NewTask::default()
    };
    let task: Task = store.create_task(new.clone(), None).await.expect("made").json.value().expect("a task");
    assert_eq!(task.id.get(), finished + 1);
    note("create");
    store.create_task(new, None).await.expect("raised");
    note("raise");
    let held = store.claim(task.message_id.expect("a message"), "a".into(), SessionGuard::default(), None).await;
    assert_eq!(held.expect("claimed").claim_generation, 1);
    note("claim");
    let report = Report {
        agent: "a".into(),
        is_administrator: false,
        status: TaskStatus::Done,
        generation: None,
        note: None,
        result: None,
    };
    store.report_task(task.id, report, SessionGuard::default()).await.expect("done");
    note("done");
    store.reap(Vec::new(), 1_000_000, 1_000_000, false).await.expect("nobody");
    note("reap");
    let keep = Retention {
        events_count: i64::MAX,
        events_ms: i64::MAX,
        messages_count: i64::MAX,
        messages_ms: i64::MAX,
        records_ms: 1_000_000,
    };
    assert_eq!(store.retain_step(keep, 500).await.expect("nothing to do").done, 0);
    note("retention with nothing to do");
    store.close().await;
    costs
}

#[tokio::test]
async fn what_a_task_costs_does_not_grow_with_those_that_are_finished() {
    let grown = grown(&costs(5_000).await, &costs(20_000).await);
    assert!(grown.is_empty(), "{grown:#?}");
}

#[tokio::test]
async fn what_is_finished_is_forgotten_with_its_history_and_no_number_is_given_twice() {
    let bench = Bench::new(&ENGINES[0]);
    let store = &bench.store;
    let new =
        || NewTask { source: "s".to_owned(), title: "t".to_owned(), from: Some("a".into()), ..NewTask::default() };
    let mut tasks = Vec::new();
    for _ in 0..3 {
        let task: Task = store.create_task(new(), None).await.expect("made").json.value().expect("a task");
        tasks.push(task.id);
    }
    let report = |status| Report {
        agent: "a".into(),
        is_administrator: false,
        status,
        generation: None,
        note: None,
        result: None,
    };
    for id in [tasks[0], tasks[2]] {
        store.report_task(id, report(TaskStatus::Canceled), SessionGuard::default()).await.expect("canceled");
    }
    let all = Retention {
        events_count: i64::MAX,
        events_ms: i64::MAX,
        messages_count: i64::MAX,
        messages_ms: i64::MAX,
        records_ms: -1_000,
    };
    while store.retain_step(all, 1).await.expect("a step").done > 0 {}
    let gone = store.task(tasks[0]).await;
    assert!(matches!(gone, Err(StoreError::Refused(Refusal::NotFound("task")))), "{gone:?}");
    let events = store.task_events(tasks[0], None, Limit::MAX).await.expect("events");
    assert!(events.entries.is_empty());
    assert_eq!(store.task(tasks[1]).await.expect("it is not finished").status, TaskStatus::Open);
    let next: Task = store.create_task(new(), None).await.expect("made").json.value().expect("a task");
    assert!(next.id > tasks[2]);
    bench.store.close().await;
}

#[tokio::test]
async fn of_a_task_that_goes_on_the_newest_events_are_kept() {
    let bench = Bench::new(&ENGINES[0]);
    let store = &bench.store;
    let new = NewTask {
        source: "s".to_owned(),
        title: "t".to_owned(),
        dedupe_key: Some("k".to_owned()),
        ..NewTask::default()
    };
    let times = EVENTS_KEPT + 5;
    for _ in 0..times {
        store.create_task(new.clone(), None).await.expect("once more");
    }
    let task = store.task(TaskId::new(1)).await.expect("the task");
    assert_eq!(task.occurrences, times);
    let page = store.task_events(task.id, None, Limit::MAX).await.expect("events");
    assert_eq!(i64::try_from(page.entries.len()).expect("a count"), EVENTS_KEPT);
    assert!(page.entries.iter().all(|event| event.kind == TaskEventKind::Occurred), "the first are gone");
    let before = store.task_events(task.id, page.next, Limit::MAX).await.expect("events");
    assert!(before.entries.is_empty());
    bench.store.close().await;
}
