//! Agents that answer each other in a loop are stopped.

use agent_relay::domain::message::Message;
use serde_json::{Value, json};

use crate::server::{Answer, Client, Server, TestClock};

async fn reply(client: &Client, from: &str, parent: &Message) -> Answer {
    let to = if from == "ada" { "bob" } else { "ada" };
    client.post("/api/messages", json!({"from": from, "to": to, "body": "b", "replyTo": parent.id})).await
}

/// A relay that allows three replies, by this clock.
async fn start(clock: &TestClock, home: tempfile::TempDir) -> Server {
    Server::start_by(clock.clock(), home, |config| config.thread_replies = 3).await
}

async fn warnings(client: &Client) -> usize {
    let entries = client.activity("kind=security").await;
    entries.iter().filter(|entry| entry.title == "Loop suspected").count()
}

#[tokio::test]
async fn agents_that_answer_each_other_without_end_are_stopped_and_persons_are_not() {
    let clock = TestClock::default();
    let server = start(&clock, tempfile::tempdir().expect("a temporary directory")).await;
    let client = &server.client;
    let first = client.say("ada", "bob", "1").await;
    let other = client.say("ada", "bob", "another thread").await;
    // What a person says in between does not count.
    for from in ["bob", "user", "ada", "user", "bob"] {
        reply(client, from, &first).await.expect::<Message>(201);
    }
    let stored = client.messages("").await.len();
    for from in ["ada", "bob", "eve"] {
        let answer = reply(client, from, &first).await;
        let wait: u64 = answer.header("retry-after").expect("a time").parse().expect("seconds");
        assert!((1..=600).contains(&wait), "{wait}");
        assert_eq!(answer.problem(429, "loop_suspected")["threadId"], json!(first.id));
        assert_eq!(warnings(client).await, 1, "once for a thread and window");
    }
    assert_eq!(client.messages("").await.len(), stored, "nothing was stored");
    reply(client, "user", &first).await.expect::<Message>(201);
    reply(client, "ada", &other).await.expect::<Message>(201);
    client.say("ada", "bob", "something new").await;
    // It is known after a restart, and not written again.
    let server = start(&clock, server.stop()).await;
    let client = &server.client;
    reply(client, "ada", &first).await.problem(429, "loop_suspected");
    assert_eq!(warnings(client).await, 1);
    // Ten minutes later the thread is free again.
    clock.set_forward(601_000);
    for from in ["bob", "ada", "bob"] {
        reply(client, from, &first).await.expect::<Message>(201);
    }
    reply(client, "ada", &first).await.problem(429, "loop_suspected");
    assert_eq!(warnings(client).await, 2);
}

#[tokio::test]
async fn a_repeat_of_what_was_sent_before_is_no_reply() {
    let server = Server::start_with(|config| config.thread_replies = 1).await;
    let client = &server.client;
    let first = client.say("ada", "bob", "1").await;
    let draft = json!({"from": "bob", "to": "ada", "body": "b", "replyTo": first.id, "idempotencyKey": "k"});
    let sent: Value = client.post("/api/messages", draft.clone()).await.expect(201);
    let again: Value = client.post("/api/messages", draft).await.expect(200);
    assert_eq!(sent["id"], again["id"]);
    reply(client, "bob", &first).await.problem(429, "loop_suspected");
    // One that was refused is not counted, and no key is bound to it.
    let late = json!({"from": "bob", "to": "ada", "body": "c", "replyTo": first.id, "idempotencyKey": "l"});
    client.post("/api/messages", late).await.problem(429, "loop_suspected");
    assert_eq!(client.messages("from=bob").await.len(), 1);
}

#[tokio::test]
async fn the_guard_can_be_turned_off() {
    let server = Server::start_with(|config| config.thread_replies = 0).await;
    let client = &server.client;
    let first = client.say("ada", "bob", "1").await;
    for _ in 0..250 {
        reply(client, "bob", &first).await.expect::<Message>(201);
    }
    assert_eq!(client.messages("from=bob&limit=1000").await.len(), 250);
    assert_eq!(warnings(client).await, 0);
}
