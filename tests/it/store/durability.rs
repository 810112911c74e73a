//! What was answered is there, and what was refused left no trace.

use agent_relay::domain::agent::{AgentFilter, AgentPatch, SessionGuard};
use agent_relay::domain::id::MessageId;
use agent_relay::domain::message::{MessageFilter, NewMessage};
use agent_relay::domain::page::Limit;
use agent_relay::domain::retention::Retention;
use agent_relay::store::allow_commits_on_this_thread;
use tokio::task::JoinSet;

use super::{Bench, ENGINES, sqlite_file};

#[tokio::test]
async fn what_was_answered_is_there_when_the_store_is_opened_again() {
    for engine in &ENGINES {
        let bench = Bench::new(engine);
        let card = bench.register("a", &["t"]).await;
        let (first, second) = (bench.send("x", "a", "1").await, bench.send("x", "tag:t", "2").await);
        bench.store.mark_read(first.id, "a".into(), SessionGuard::default()).await.expect("read");
        let epoch = bench.store.epoch().to_owned();
        let range = bench.store.event_range().await.expect("a range");

        let bench = bench.reopened().await;
        assert_eq!(bench.store.epoch(), epoch);
        assert_eq!(bench.store.event_range().await.expect("a range"), range);
        assert_eq!(bench.store.agent("a".into()).await.expect("its card"), card);
        assert_eq!(bench.store.message(first.id).await.expect("the first").read_by, ["a"]);
        assert_eq!(bench.store.message(second.id).await.expect("the second"), second);
        let third = bench.send("x", "a", "3").await;
        assert!(third.id > range.latest.get(), "no number is given twice");
        assert_eq!(bench.inbox("a").await, ["1", "2", "3"]);
        bench.store.close().await;
    }
}

/// Many jobs fall into few commits; each of them is done or undone by itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_refused_write_leaves_no_trace_among_those_it_was_committed_with() {
    for engine in &ENGINES {
        let bench = Bench::new(engine);
        let mut sends = JoinSet::new();
        for n in 0..200 {
            let store = bench.store.clone();
            let mut message = NewMessage::plain("x".into(), "a", format!("{n}"));
            // An answer to what is not there.
            message.reply_to = (n % 3 == 0).then(|| MessageId::new(1_000_000));
            sends.spawn(async move { (n, store.send(message, None).await.is_ok()) });
        }
        let mut sent: Vec<_> = sends.join_all().await.into_iter().filter(|(_, sent)| *sent).map(|(n, _)| n).collect();
        sent.sort_unstable();
        assert_eq!(sent, (0..200).filter(|n| n % 3 != 0).collect::<Vec<_>>());
        let told = bench.told();
        assert_eq!(told.len(), sent.len(), "what was refused was not told");
        assert!(told.is_sorted_by(|one, other| one.seq < other.seq), "told in commit order");
        let stats = bench.store.stats().await.expect("figures");
        assert_eq!((stats.messages, stats.events), (sent.len() as i64, sent.len() as i64));
        bench.store.close().await;
    }
}

#[tokio::test]
async fn agents_are_found_by_what_their_card_says_now() {
    for engine in &ENGINES {
        let bench = Bench::new(engine);
        bench.register("a", &["one", ",", "tag\"quoted"]).await;
        bench.register("b", &["one,", ",two"]).await;
        let tagged = async |tag: &str| -> Vec<String> {
            let filter = AgentFilter { tag: Some(tag.to_owned()), limit: Limit::MAX, ..AgentFilter::default() };
            let page = bench.store.agents(filter).await.expect("agents");
            page.entries.into_iter().map(|agent| agent.id.into_string()).collect()
        };
        assert_eq!(tagged("one").await, ["a"]);
        assert_eq!(tagged(",").await, ["a"], "and not whose list only has one between its tags");
        assert_eq!(tagged("tag\"quoted").await, ["a"]);
        let tags = AgentPatch::Tags(vec!["two".to_owned()]);
        bench.store.patch_agent("a".into(), SessionGuard::default(), tags).await.expect("changed");
        assert_eq!((tagged("one").await, tagged("two").await), (Vec::new(), vec!["a".to_owned()]));
        bench.store.remove_agent("a".into(), SessionGuard::default()).await.expect("removed");
        assert_eq!(tagged("two").await, Vec::<String>::new());

        let filter = AgentFilter { text: Some("100%_\\".to_owned()), ..AgentFilter::default() };
        assert!(bench.store.agents(filter.clone()).await.expect("agents").entries.is_empty());
        bench.register("c", &["x100%_\\y"]).await;
        let quoted = bench.store.agents(AgentFilter { text: Some("00%_".to_owned()), ..filter }).await;
        assert_eq!(quoted.expect("agents").entries.len(), 1, "text is found as it is, whatever it means in a pattern");
        bench.store.close().await;
    }
}

#[tokio::test]
async fn retention_raises_the_floor_and_deletes_only_below_it() {
    for engine in &ENGINES {
        let bench = Bench::new(engine);
        let mut sent = Vec::new();
        for n in 0..20 {
            sent.push(bench.send("x", "a", &n.to_string()).await.id);
        }
        let forever = i64::MAX;
        let retention = Retention {
            events_count: 5,
            events_ms: forever,
            messages_count: 8,
            messages_ms: forever,
            records_ms: forever,
        };
        while bench.store.retain_step(retention, 3).await.expect("a step").more {}
        assert_eq!(bench.inbox("a").await, (12..20).map(|n| n.to_string()).collect::<Vec<_>>());
        let range = bench.store.event_range().await.expect("a range");
        assert_eq!((range.floor.get(), range.latest.get()), (sent[14].get(), sent[19].get()));
        let bench = bench.reopened().await;
        assert_eq!(bench.store.event_range().await.expect("a range"), range);
        assert!(bench.send("x", "a", "more").await.id > sent[19]);
        bench.store.close().await;
    }
}

/// A commit takes as long as the disk does, so a thread is blocked by one only if whoever started it said
/// that it may be.
#[test]
fn a_lone_write_is_committed_on_its_own_thread_only_where_that_is_allowed() {
    for engine in &ENGINES {
        for allowed in [false, true] {
            let committed_by = std::thread::spawn(move || {
                if allowed {
                    allow_commits_on_this_thread();
                }
                let folder = tempfile::tempdir().expect("a temporary folder");
                let (sender, committed) = std::sync::mpsc::sync_channel(2);
                let note = move |_| sender.send(std::thread::current().id()).expect("a listener");
                let store = (engine.open)(folder.path(), Box::new(note)).expect("a store");
                let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
                let message = NewMessage::plain("x".into(), "a", "alone");
                runtime.block_on(store.send(message, None)).expect("sent");
                runtime.block_on(store.close());
                committed.recv().expect("a commit") == std::thread::current().id()
            });
            assert_eq!(committed_by.join().expect("no panic"), allowed);
        }
    }
}

/// A program that reads for long, such as a backup, keeps the log from being folded in.
#[tokio::test]
async fn the_log_shrinks_again() {
    let bench = Bench::new(&ENGINES[0]);
    let path = bench.folder.path().join("relay.db");
    let log = || std::fs::metadata(path.with_extension("db-wal")).map_or(0, |file| file.len());
    let reader = rusqlite::Connection::open(&path).expect("the database");
    reader.execute_batch("BEGIN; SELECT count(*) FROM messages;").expect("a snapshot");
    let body = "x".repeat(200_000);
    for _ in 0..150 {
        bench.send("a", "b", &body).await;
    }
    assert!(log() > 24 << 20, "{}", log());
    reader.execute_batch("COMMIT").expect("its end");
    for _ in 0..3 {
        bench.send("a", "b", &body).await;
    }
    assert!(log() <= 16 << 20, "{}", log());
}

/// A page ends before the message that would make it too long, and the next one goes on.
#[tokio::test]
async fn a_page_of_long_messages_is_short() {
    let bench = Bench::new(&ENGINES[0]);
    let body = "x".repeat(250_000);
    let mut sent = Vec::new();
    for _ in 0..40 {
        sent.push(bench.send("a", "b", &body).await.id);
    }
    let (mut found, mut filter) = (Vec::new(), MessageFilter::default());
    loop {
        let page = bench.store.messages(filter.clone()).await.expect("a page");
        assert!(page.entries.len() <= 16, "{}", page.entries.len());
        found.extend(page.entries.iter().map(|message| message.id));
        let Some(next) = page.next else { break };
        filter.since = next;
    }
    assert_eq!(found, sent);
    bench.store.close().await;
}

#[tokio::test]
async fn what_retention_deletes_is_given_back_to_the_disk() {
    let bench = Bench::new(&ENGINES[0]);
    let size = || std::fs::metadata(sqlite_file(bench.folder.path())).expect("the database").len();
    let body = "x".repeat(100_000);
    for _ in 0..120 {
        bench.send("a", "b", &body).await;
    }
    bench.store.shrink().await;
    assert!(size() > 10 << 20, "{}", size());
    let forever = i64::MAX;
    let retention = Retention {
        events_count: forever,
        events_ms: forever,
        messages_count: 3,
        messages_ms: forever,
        records_ms: forever,
    };
    while bench.store.retain_step(retention, 8).await.expect("a step").more {}
    let given = bench.store.give_back_step(64).await.expect("a step");
    assert!(
        given.more && (64..66).contains(&given.done),
        "as many as were asked for, and one that maps them: {given:?}"
    );
    // Others write meanwhile.
    while bench.store.give_back_step(64).await.expect("a step").more {
        bench.send("a", "c", "meanwhile").await;
    }
    bench.store.shrink().await;
    assert!(size() < 3 << 20, "{}", size());
    assert_eq!(bench.inbox("b").await, vec![body; 3], "what is kept is whole");
    let bench = bench.reopened().await;
    assert_eq!(bench.inbox("b").await.len(), 3);
    let database = rusqlite::Connection::open(sqlite_file(bench.folder.path())).expect("the database");
    let check: String = database.query_row("PRAGMA integrity_check", [], |row| row.get(0)).expect("an answer");
    assert_eq!(check, "ok");
    bench.store.close().await;
}

/// Deleting a message means deleting who read it, and that may be everybody.
#[tokio::test]
async fn a_step_of_retention_is_small_whoever_read_what_it_deletes() {
    let bench = Bench::new(&ENGINES[0]);
    let first = bench.send("a", "b", "read by many").await;
    let second = bench.send("a", "b", "read by one").await;
    let third = bench.send("a", "b", "kept").await;
    let database = rusqlite::Connection::open(sqlite_file(bench.folder.path())).expect("the database");
    database
        .execute_batch(&format!(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000)
                 INSERT INTO reads SELECT {}, 'reader-' || i, 1 FROM n;
             INSERT INTO reads VALUES ({}, 'b', 1);",
            first.id, second.id
        ))
        .expect("readers");
    let count = |sql: &str| database.query_row(sql, [], |row| row.get::<_, i64>(0)).expect("a count");
    let forever = i64::MAX;
    let retention = Retention {
        events_count: forever,
        events_ms: forever,
        messages_count: 1,
        messages_ms: forever,
        records_ms: forever,
    };
    let mut before = 1_004;
    loop {
        let more = bench.store.retain_step(retention, 100).await.expect("a step").more;
        let rows = count("SELECT (SELECT count(*) FROM reads) + (SELECT count(*) FROM messages)");
        assert!(before - rows <= 202, "{before} and then {rows}");
        before = rows;
        if !more {
            break;
        }
    }
    assert_eq!((count("SELECT count(*) FROM reads"), count("SELECT min(id) FROM messages")), (0, third.id.get()));
    bench.store.close().await;
}
