//! Channels: whatever is sent, deleted, declared and subscribed to, their counts are what counting would find.

use std::collections::BTreeMap;

use agent_relay::domain::agent::{NewRegistration, SessionGuard};
use agent_relay::domain::id::MessageId;
use agent_relay::domain::message::{ChannelFilter, Direction, Message, NewMessage};
use agent_relay::domain::retention::Retention;
use proptest::prelude::*;

use super::{Bench, ENGINES, sqlite_file};

const NAMES: [&str; 3] = ["dev", "mail", "news"];

/// What somebody does.
#[derive(Clone, Copy, Debug)]
enum Act {
    /// A message of a channel, by its field or as its target.
    Send(usize, bool),
    SendElsewhere,
    /// The message that was sent as the so-and-so many-th.
    Delete(usize),
    Declare(usize, usize),
    /// An agent says which channels it is subscribed to, one bit for each, by tags or in its meta.
    Subscribe(usize, usize, bool),
    Leave(usize),
    /// Only so many messages are kept.
    Retain(i64),
    Reopen,
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let (name, agent) = (0..NAMES.len(), 0..3_usize);
    let act = prop_oneof![
        6 => (name.clone(), any::<bool>()).prop_map(|(name, target)| Act::Send(name, target)),
        1 => Just(Act::SendElsewhere),
        2 => (0..20_usize).prop_map(Act::Delete),
        1 => (name, 0..3_usize).prop_map(|(name, direction)| Act::Declare(name, direction)),
        4 => (agent.clone(), 0..8_usize, any::<bool>()).prop_map(|(who, what, tags)| Act::Subscribe(who, what, tags)),
        1 => agent.prop_map(Act::Leave),
        1 => (1..6_i64).prop_map(Act::Retain),
        1 => Just(Act::Reopen),
    ];
    prop::collection::vec(act, 1..50)
}

async fn act(bench: Bench, act: Act, sent: &mut Vec<MessageId>, declared: &mut BTreeMap<String, Direction>) -> Bench {
    let store = &bench.store;
    match act {
        Act::Send(name, as_target) => {
            let name = NAMES[name];
            let to = if as_target { format!("channel:{name}") } else { "a".to_owned() };
            let channel = (!as_target).then(|| name.to_owned());
            let message = NewMessage { channel, ..NewMessage::plain("x".into(), to, "text") };
            let message: Message = store.send(message, None).await.expect("sent").json.value().expect("a message");
            assert_eq!(message.channel.as_deref(), Some(name));
            sent.push(message.id);
        }
        Act::SendElsewhere => sent.push(bench.send("x", "a", "text").await.id),
        Act::Delete(number) => {
            if let Some(id) = sent.get(number) {
                // It may be gone already.
                let _ = store.delete_message(*id).await;
            }
        }
        Act::Declare(name, direction) => {
            let (name, direction) = (NAMES[name].to_owned(), Direction::ALL[direction]);
            store.declare_channel(name.clone(), Some(direction), None).await.expect("declared");
            declared.insert(name, direction);
        }
        Act::Subscribe(who, what, by_tags) => {
            let of_bits = NAMES.iter().enumerate().filter(|(bit, _)| what & (1 << bit) != 0).map(|(_, name)| *name);
            let (mut tags, mut meta) = (Vec::new(), agent_relay::domain::text::json::Object::default());
            if by_tags {
                tags.extend(of_bits.map(|name| format!("channel:{name}")));
            } else {
                meta.insert("channels", of_bits.collect::<Vec<_>>());
            }
            let id = format!("agent-{who}").as_str().into();
            let card = NewRegistration { tags: Some(Some(tags)), meta: Some(Some(meta)), ..NewRegistration::of(id) };
            store.register(card, None).await.expect("registered");
        }
        Act::Leave(who) => {
            let _ = store.remove_agent(format!("agent-{who}").as_str().into(), SessionGuard::default()).await;
        }
        Act::Retain(messages_count) => {
            let forever = i64::MAX;
            let keep = Retention {
                events_count: forever,
                events_ms: forever,
                messages_count,
                messages_ms: forever,
                records_ms: forever,
            };
            // In steps smaller than what there is.
            while store.retain_step(keep, 2).await.expect("a step").more {}
        }
        Act::Reopen => return bench.reopened().await,
    }
    bench
}

/// Each channel's messages and subscribers, counted.
fn counted(bench: &Bench, declared: &BTreeMap<String, Direction>) -> BTreeMap<String, (i64, i64)> {
    let database = rusqlite::Connection::open(sqlite_file(bench.folder.path())).expect("the database");
    let count = |sql: &str, name: &str| database.query_row(sql, [name], |row| row.get::<_, i64>(0)).expect("a count");
    let mut counts = BTreeMap::new();
    for name in NAMES {
        let messages = count("SELECT count(*) FROM messages WHERE channel = ?1", name);
        let subscribers = count("SELECT count(*) FROM agent_targets WHERE target = 'channel:' || ?1", name);
        if messages > 0 || declared.contains_key(name) {
            counts.insert(name.to_owned(), (messages, subscribers));
        }
    }
    counts
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn counts_that_are_kept_are_what_counting_finds(acts in acts()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a thread");
        runtime.block_on(async {
            for engine in &ENGINES {
                let (mut bench, mut sent, mut declared) = (Bench::new(engine), Vec::new(), BTreeMap::new());
                for one in acts.clone() {
                    bench = act(bench, one, &mut sent, &mut declared).await;
                    let kept = bench.store.channels(ChannelFilter::default()).await.expect("channels").entries;
                    for channel in &kept {
                        let direction = declared.get(&channel.name).copied().unwrap_or(Direction::Both);
                        assert_eq!(channel.direction, direction, "{one:?}");
                    }
                    let kept: BTreeMap<_, _> =
                        kept.into_iter().map(|channel| (channel.name, (channel.messages, channel.subscribers))).collect();
                    assert_eq!(kept, counted(&bench, &declared), "after {one:?}");
                }
                bench.store.close().await;
            }
        });
    }
}
