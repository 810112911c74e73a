//! Replay, then live, without a hole or a repeat, while many write and streams come and go.

use agent_relay::domain::message::Message;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::server::{Client, Frame, Server};

/// Reproducible randomness: a failure names its seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        // xorshift64
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % end as u64).expect("below a usize")
    }
}

const WRITERS: usize = 6;
const MESSAGES_EACH: usize = 50;
const TARGETS: [&str; 6] = ["ada", "bob", "broadcast", "tag:ops", "cap:review", "nobody"];
const LAST: &str = "the last one";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_that_come_and_go_miss_nothing_and_repeat_nothing() {
    let mut seed = [0; 8];
    getrandom::fill(&mut seed).expect("randomness");
    let seed = u64::from_le_bytes(seed) | 1;
    println!("seed {seed}");

    let server = Server::start().await;
    let client = &server.client;
    client.register(json!({"id": "ada", "tags": ["ops"]})).await;
    client.register(json!({"id": "bob", "tags": ["ops"], "capabilities": ["review"]})).await;
    let start = client.open_stream("", None).await.ready().await.text("from").to_owned();

    let queries =
        ["", "types=message.new", "agent=ada", "agent=bob&types=message.new,message.read", "agent=nobody", ""];
    let mut followers = JoinSet::new();
    for (index, query) in queries.into_iter().enumerate() {
        let (client, start) = (client.clone(), start.clone());
        let dice = Dice(seed.wrapping_add(index as u64 * 7919) | 1);
        followers.spawn(async move { (query, follow_restlessly(client, query, &start, dice).await) });
    }
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        writers.spawn(write(client.clone(), writer, Dice(seed.wrapping_mul(writer as u64 + 3) | 1)));
    }
    let mut sent: Vec<i64> = writers.join_all().await.into_iter().flatten().collect();
    // To the id that one follower listens to, and to everybody.
    for target in ["nobody", "broadcast"] {
        sent.push(client.say("x", target, LAST).await.id.get());
    }
    sent.sort_unstable();

    while let Some(followed) = followers.join_next().await {
        let (query, seen) = followed.expect("a follower that met what it expected");
        assert_eq!(seen, history(client, query, &start, seen.last()).await, "{query}, seed {seed}");
        assert!(seen.is_sorted_by(|a, b| a.seq() < b.seq()), "{query}");
        if query.is_empty() {
            let new = seen.iter().filter(|frame| frame.event == "message.new");
            let told: Vec<i64> = new.map(|frame| frame.data["id"].as_i64().expect("an id")).collect();
            assert_eq!(told, sent, "every message once, in the order of its id");
        }
    }
}

async fn write(client: Client, writer: usize, mut dice: Dice) -> Vec<i64> {
    let from = format!("writer-{writer}");
    let mut sent = Vec::new();
    for n in 0..MESSAGES_EACH {
        let target = TARGETS[dice.below(TARGETS.len())];
        let message = client.say(&from, target, &format!("{writer}/{n}")).await;
        if target == "bob" {
            let path = format!("/api/messages/{}/read", message.id);
            client.post(&path, json!({"agentId": "bob"})).await.expect::<Message>(200);
        }
        sent.push(message.id.get());
    }
    sent
}

/// Follows until the last message, hanging up at random and coming back at the last event seen, or
/// at an earlier one: then what it saw must come again, event by event.
async fn follow_restlessly(client: Client, query: &str, start: &str, mut dice: Dice) -> Vec<Frame> {
    let mut seen: Vec<Frame> = Vec::new();
    loop {
        let mut at = if dice.below(3) == 0 { dice.below(seen.len() + 1) } else { seen.len() };
        let position = match at {
            0 => start.to_owned(),
            at => seen[at - 1].id.clone().expect("an id"),
        };
        let mut stream = client.open_stream(query, Some(&position)).await;
        assert_eq!(stream.ready().await.text("from"), position);
        for _ in 0..=dice.below(40) {
            let frame = stream.next().await;
            match seen.get(at) {
                Some(earlier) => assert_eq!(&frame, earlier, "after {position}"),
                None => seen.push(frame),
            }
            at += 1;
            let last = &seen[at - 1];
            let is_last = last.data["body"] == LAST && (query.contains("nobody") || last.data["to"] == "broadcast");
            if is_last && at == seen.len() {
                return seen;
            }
        }
    }
}

/// The same page by page, up to the last one seen.
async fn history(client: &Client, query: &str, start: &str, last: Option<&Frame>) -> Vec<Frame> {
    let mut history = Vec::new();
    let mut path = Some(format!("/api/events/log?{query}&since={start}&limit=37"));
    while let Some(page) = path {
        let answer = client.get(&page).await;
        path = answer.next_page();
        for entry in answer.expect::<Vec<Value>>(200) {
            let text = |member: &str| entry[member].as_str().map(str::to_owned);
            let event = text("event").expect("a name");
            history.push(Frame { id: text("id"), event, data: entry["data"].clone() });
        }
    }
    let end = history.iter().position(|frame| Some(frame) == last).map_or(0, |index| index + 1);
    history.truncate(end);
    history
}
