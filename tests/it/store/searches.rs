//! Whatever a filter asks for: the pages of a list hold just what matches, each message once and in order.

use agent_relay::domain::agent::SessionGuard;
use agent_relay::domain::id::MessageId;
use agent_relay::domain::message::{Message, MessageFilter, MessageType, NewMessage};
use agent_relay::domain::page::Limit;
use agent_relay::domain::time::Timestamp;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::{Bench, ENGINES};

/// Whoever sends and reads; `a` and `b` have the tag `t`.
const AGENTS: [&str; 3] = ["a", "b", "x"];
const TARGETS: [&str; 4] = ["a", "x", "tag:t", "broadcast"];

#[derive(Clone, Debug)]
enum Step {
    Send { from: usize, to: usize, system: bool, channel: bool, reply: Option<prop::sample::Index>, expired: bool },
    Read { message: prop::sample::Index, reader: usize },
    Delete(prop::sample::Index),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let index = any::<prop::sample::Index>;
    let send = (
        0..3_usize,
        0..4_usize,
        prop::bool::weighted(0.2),
        prop::bool::weighted(0.3),
        prop::option::of(index()),
        prop::bool::weighted(0.1),
    )
        .prop_map(|(from, to, system, channel, reply, expired)| Step::Send {
            from,
            to,
            system,
            channel,
            reply,
            expired,
        });
    let read = (index(), 0..3_usize).prop_map(|(message, reader)| Step::Read { message, reader });
    prop::collection::vec(prop_oneof![4 => send, 5 => read, 1 => index().prop_map(Step::Delete)], 1..90)
}

/// Every page of a list.
async fn pages(bench: &Bench, filter: &MessageFilter) -> Vec<Message> {
    let (mut filter, mut all) = (filter.clone(), Vec::new());
    loop {
        let page = bench.store.messages(filter.clone()).await.expect("a page");
        assert!(page.entries.len() <= filter.limit.get());
        all.extend(page.entries);
        match page.next {
            None => return all,
            Some(next) => {
                assert!(next > filter.since, "it goes on");
                filter.since = next;
            }
        }
    }
}

async fn run(steps: Vec<Step>, limit: i64) {
    let bench = Bench::new(&ENGINES[0]);
    for agent in AGENTS {
        bench.register(agent, if agent == "x" { &[] } else { &["t"] }).await;
    }
    let mut sent: Vec<MessageId> = Vec::new();
    for step in steps {
        match step {
            Step::Send { from, to, system, channel, reply, expired } => {
                let new = NewMessage {
                    kind: if system { MessageType::System } else { MessageType::Message },
                    channel: channel.then(|| "c".to_owned()),
                    reply_to: reply.filter(|_| !sent.is_empty()).map(|index| *index.get(&sent)),
                    expires_at: expired.then_some(Timestamp::from_ms(1)),
                    ..NewMessage::plain(AGENTS[from].into(), TARGETS[to], "m")
                };
                let json = bench.store.send(new, None).await.expect("sent").json;
                sent.push(json.value().expect("a message").id);
            }
            Step::Read { message, reader } if !sent.is_empty() => {
                let agent = AGENTS[reader].into();
                // What does not reach the reader is refused.
                let _ = bench.store.mark_read(*message.get(&sent), agent, SessionGuard::default()).await;
            }
            Step::Delete(message) if !sent.is_empty() => {
                let id = sent.remove(message.index(sent.len()));
                bench.store.delete_message(id).await.expect("deleted");
            }
            Step::Read { .. } | Step::Delete(_) => {}
        }
    }
    let mut all = Vec::new();
    for id in &sent {
        all.push(bench.store.message(*id).await.expect("it is there"));
    }
    let stats = bench.store.stats().await.expect("figures");
    assert_eq!(stats.messages, all.len() as i64);
    let limit = Limit::parse(Some(limit)).expect("a limit");
    let now = Timestamp::now();
    let thread = all.iter().find_map(|message| message.reply_to.map(|_| message.thread_id));
    for reader in [None, Some("a"), Some("x")] {
        let routes = match reader {
            Some(agent) => Some(bench.store.routes(agent.into()).await.expect("routes")),
            None => None,
        };
        for bits in 0..64_u32 {
            let asked = |bit: u32| bits & 1 << bit != 0;
            let filter = MessageFilter {
                reaching: reader.map(Into::into),
                unread: asked(0),
                from: asked(1).then(|| "b".into()),
                to: asked(2).then(|| "tag:t".to_owned()),
                channel: asked(3).then(|| "c".to_owned()),
                thread: thread.filter(|_| asked(4)),
                kind: asked(5).then_some(MessageType::System),
                limit,
                ..MessageFilter::default()
            };
            if filter.unread && reader.is_none() {
                continue;
            }
            let wanted = all.iter().filter(|message| {
                routes.as_ref().is_none_or(|routes| {
                    routes.reach(&message.to, &message.from, message.id.into())
                        && message.is_deliverable(now)
                        && !(filter.unread && message.read_by.contains(&routes.agent))
                }) && filter.from.as_ref().is_none_or(|from| message.from == *from)
                    && filter.to.as_ref().is_none_or(|to| message.to == *to)
                    && filter.channel.as_ref().is_none_or(|channel| message.channel.as_ref() == Some(channel))
                    && filter.thread.is_none_or(|thread| message.thread_id == thread)
                    && filter.kind.is_none_or(|kind| message.kind == kind)
            });
            let wanted: Vec<_> = wanted.cloned().collect();
            assert_eq!(pages(&bench, &filter).await, wanted, "{filter:?}");
        }
    }
    // What was kept while it happened is what a start counts.
    let bench = bench.reopened().await;
    let again = bench.store.stats().await.expect("figures");
    assert_eq!((again.messages, again.events), (stats.messages, stats.events));
    bench.store.close().await;
}

#[test]
fn the_pages_of_a_list_hold_just_what_matches() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let mut runner = TestRunner::new(Config { cases: 12, failure_persistence: None, ..Config::default() });
    runner
        .run(&(steps(), 1..7_i64), |(steps, limit)| {
            runtime.block_on(run(steps, limit));
            Ok(())
        })
        .expect("no failure");
}
