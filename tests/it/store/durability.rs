//! What was answered is there, and what was refused left no trace.

use agent_relay::domain::agent::{AgentFilter, AgentPatch, SessionGuard};
use agent_relay::domain::id::MessageId;
use agent_relay::domain::message::NewMessage;
use agent_relay::domain::page::Limit;
use agent_relay::domain::retention::Retention;
use agent_relay::store::allow_commits_on_this_thread;
use tokio::task::JoinSet;

use super::{Bench, ENGINES};

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
        while bench.store.retain_step(retention, 3).await.expect("a step") > 0 {}
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
