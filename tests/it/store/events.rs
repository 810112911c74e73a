//! The history is what was told, in the order of the commits.

use std::sync::Arc;

use agent_relay::domain::agent::{AgentPatch, AgentStatus, Routes, SessionGuard};
use agent_relay::domain::event::{Event, EventTypes};
use agent_relay::domain::id::EventSeq;
use tokio::task::JoinSet;

use super::{Bench, ENGINES};

/// Everything that is replayed, in pages of this size.
async fn replay(bench: &Bench, routes: Option<Routes>, page: usize) -> Vec<Arc<Event>> {
    let (mut events, mut after) = (Vec::new(), EventSeq::default());
    loop {
        let found =
            bench.store.events_after(after, routes.clone(), EventTypes::ALL, page, 1 << 20).await.expect("a page");
        events.extend(found.events);
        after = found.scanned_to;
        if !found.more {
            return events;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_is_replayed_is_what_was_told() {
    for engine in &ENGINES {
        let bench = Bench::new(engine);
        bench.register("a", &["t"]).await;
        bench.register("b", &[]).await;
        let mut writers = JoinSet::new();
        for writer in 0..8 {
            let store = bench.store.clone();
            writers.spawn(async move {
                for n in 0..25 {
                    let to = ["a", "b", "tag:t", "broadcast"][(writer + n) % 4];
                    let message =
                        agent_relay::domain::message::NewMessage::plain("a".into(), to, format!("{writer}/{n}"));
                    let sent = store.send(message, None).await.expect("sent").json.value().expect("a message");
                    if to == "a" {
                        store.mark_read(sent.id, "a".into(), SessionGuard::default()).await.expect("read");
                    }
                    let status = AgentPatch::Status([AgentStatus::Busy, AgentStatus::Idle][n % 2]);
                    store.patch_agent("b".into(), SessionGuard::default(), status).await.expect("changed");
                }
            });
        }
        writers.join_all().await;

        let told = bench.told();
        assert!(told.is_sorted_by(|one, other| one.seq < other.seq), "numbers grow in commit order");
        let frames = |events: &[Arc<Event>]| events.iter().map(|event| event.frame.clone()).collect::<Vec<_>>();
        assert_eq!(frames(&replay(&bench, None, 7).await), frames(&told));
        for agent in ["a", "b", "nobody"] {
            let routes = bench.store.routes(agent.into()).await.expect("routes");
            let concerned: Vec<_> =
                told.iter().filter(|event| event.audience.concerns(&routes, event.seq)).cloned().collect();
            assert_eq!(frames(&replay(&bench, Some(routes), 7).await), frames(&concerned), "for {agent}");
        }
        let bench = bench.reopened().await;
        assert_eq!(frames(&replay(&bench, None, 1_000).await), frames(&told));
        bench.store.close().await;
    }
}

#[tokio::test]
async fn groups_reach_members_from_their_registration_on_and_never_the_sender() {
    for engine in &ENGINES {
        let bench = Bench::new(engine);
        bench.register("a", &["t"]).await;
        bench.register("b", &[]).await;
        for (from, to) in [("b", "tag:t"), ("a", "tag:t"), ("b", "broadcast"), ("x", "a"), ("x", "tag:other")] {
            bench.send(from, to, &format!("{from} to {to}")).await;
        }
        assert_eq!(bench.inbox("a").await, ["b to tag:t", "b to broadcast", "x to a"]);
        assert_eq!(bench.inbox("b").await, Vec::<String>::new());
        assert_eq!(bench.inbox("unregistered").await, Vec::<String>::new());
        bench.store.close().await;
    }
}
