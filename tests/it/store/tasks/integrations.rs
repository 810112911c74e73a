//! Events of integrations: what each meaning does, how long ids are remembered, and that a crash leaves all or nothing.

use std::collections::BTreeMap;

use agent_relay::domain::integration::{Delivery, IntegrationName, Integrations, Meaning, REPLAYS_COUNT, REPLAYS_MS};
use agent_relay::domain::message::{Sender, SenderKind};
use agent_relay::domain::retention::Retention;
use agent_relay::domain::task::{NewTask, Task, TaskFilter, TaskStatus};
use agent_relay::domain::time::Timestamp;
use agent_relay::store::{Store, Taken};

use crate::store::{Bench, ENGINES, sqlite_file};

fn delivery(id: Option<&str>) -> Delivery {
    Delivery {
        integration: IntegrationName::parse("ci").expect("a name"),
        id: id.map(str::to_owned),
        sender: Sender { r#as: SenderKind::Integration, verified: true, via: "ci".to_owned() },
        headers: BTreeMap::new(),
        body: b"{}".to_vec(),
    }
}

fn task(key: &str) -> Meaning {
    let new = NewTask { title: "t".to_owned(), dedupe_key: Some(key.to_owned()), ..NewTask::default() };
    Meaning::Task(Box::new(new))
}

fn resolved(key: &str) -> Meaning {
    Meaning::Resolved { dedupe_key: key.to_owned(), note: Some("it is green again".to_owned()) }
}

async fn take(store: &Store, id: Option<&str>, meaning: Meaning) -> Taken {
    store.take_event(delivery(id), meaning, Integrations::default()).await.expect("taken")
}

async fn tasks(store: &Store) -> Vec<Task> {
    store.tasks(TaskFilter::default()).await.expect("tasks").entries
}

#[tokio::test]
async fn what_an_event_means_is_done() {
    for engine in &ENGINES {
        let bench = Bench::new(engine);
        let store = &bench.store;
        let Taken::Ignored(_) = take(store, None, resolved("k")).await else { panic!("nothing has ended") };
        let Taken::Created(json) = take(store, Some("1"), task("k")).await else { panic!("a task") };
        let made = json.value().expect("a task");
        let Taken::Raised(json) = take(store, Some("2"), task("k")).await else { panic!("the same task") };
        assert_eq!(json.value().expect("a task").occurrences, 2);
        let Taken::Resolved(json) = take(store, Some("3"), resolved("k")).await else { panic!("its end") };
        let ended = json.value().expect("a task");
        assert_eq!((ended.id, ended.status.is_final()), (made.id, true));
        let Taken::Replayed(Some(json)) = take(store, Some("1"), task("k")).await else { panic!("it came before") };
        assert_eq!(json.value().expect("a task"), ended, "as it is now");
        let Taken::Ignored(reason) = take(store, Some("4"), Meaning::Ignored("a ping".to_owned())).await else {
            panic!("ignored")
        };
        assert_eq!(reason, "a ping");
        let Taken::Replayed(None) = take(store, Some("4"), task("other")).await else { panic!("it came before") };
        let [source] = &store.integrations().await.expect("integrations")[..] else { panic!("one") };
        let counts = &source.counts;
        assert_eq!((counts.events, counts.created, counts.raised, counts.resolved), (7, 1, 1, 1));
        assert_eq!((counts.ignored, counts.replayed, counts.unreadable), (2, 2, 0));
        let bench = bench.reopened().await;
        let Taken::Replayed(Some(_)) = take(&bench.store, Some("1"), task("k")).await else { panic!("remembered") };
        assert_eq!(tasks(&bench.store).await.len(), 1);
    }
}

#[tokio::test]
async fn an_end_is_told_of_a_task_that_somebody_holds() {
    for engine in &ENGINES {
        let bench = Bench::new(engine);
        bench.register("a", &[]).await;
        let Taken::Created(json) = take(&bench.store, None, task("k")).await else { panic!("a task") };
        let made = json.value().expect("a task");
        bench.store.claim_task(made.id, "a".into(), Default::default(), None).await.expect("claimed");
        let Taken::Resolved(json) = take(&bench.store, None, resolved("k")).await else { panic!("its end") };
        let ended = json.value().expect("a task");
        assert_eq!((ended.status, ended.claimed_by.as_deref()), (TaskStatus::Done, Some("a")));
        let told = bench.told();
        let last = told.iter().rfind(|event| event.name.as_str() == "task.updated").expect("it is told");
        assert!(last.data().contains("\"status\":\"done\""), "{}", last.data());
    }
}

#[tokio::test]
async fn ids_of_deliveries_are_forgotten_when_they_are_old_or_too_many() {
    let bench = Bench::new(&ENGINES[0]);
    let store = &bench.store;
    let keep = Retention {
        events_count: i64::MAX,
        events_ms: i64::MAX,
        messages_count: i64::MAX,
        messages_ms: i64::MAX,
        records_ms: i64::MAX,
    };
    for id in ["old", "new", "newest"] {
        take(store, Some(id), task(id)).await;
    }
    let database = rusqlite::Connection::open(sqlite_file(bench.folder.path())).expect("the database");
    let old = Timestamp::now() - REPLAYS_MS - 1_000;
    database
        .execute("UPDATE done_deliveries SET at = ?1 WHERE delivery_id = 'old'", [old.as_ms()])
        .expect("an old one");
    store.retain_step(keep, 100).await.expect("a step");
    let ids = || {
        let mut ids = database.prepare("SELECT delivery_id FROM done_deliveries ORDER BY id").expect("a statement");
        let ids = ids.query_map([], |row| row.get::<_, String>(0)).expect("ids");
        ids.collect::<Result<Vec<_>, _>>().expect("ids")
    };
    assert_eq!(ids(), ["new", "newest"]);
    database
        .execute("UPDATE done_deliveries SET id = id + ?1 WHERE delivery_id = 'newest'", [REPLAYS_COUNT])
        .expect("as if many had come between");
    store.retain_step(keep, 100).await.expect("a step");
    assert_eq!(ids(), ["newest"]);
    let Taken::Created(_) = take(store, Some("old"), task("again")).await else { panic!("it is forgotten") };
    // What is kept unread goes by age, as other records do.
    take(store, None, Meaning::Unreadable("no".to_owned())).await;
    store.retain_step(Retention { records_ms: -1_000, ..keep }, 100).await.expect("a step");
    let left: i64 = database.query_row("SELECT count(*) FROM kept_deliveries", [], |row| row.get(0)).expect("a count");
    assert_eq!(left, 0);
}
