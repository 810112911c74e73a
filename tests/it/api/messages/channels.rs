//! Channels: what makes them, which way they go, and that their counts are right.

use agent_relay::domain::message::{Channel, Direction};
use serde_json::{Value, json};

use crate::server::{Client, Server};

async fn channels(client: &Client) -> Vec<Channel> {
    let (mut found, mut path) = (Vec::new(), Some("/api/channels?limit=2".to_owned()));
    while let Some(page) = path {
        let answer = client.get(&page).await;
        path = answer.next_page();
        found.extend(answer.expect::<Vec<Channel>>(200));
    }
    found
}

/// Name, messages and subscribers of each.
async fn counts(client: &Client) -> Vec<(String, i64, i64)> {
    channels(client).await.into_iter().map(|channel| (channel.name, channel.messages, channel.subscribers)).collect()
}

fn count(name: &str, messages: i64, subscribers: i64) -> (String, i64, i64) {
    (name.to_owned(), messages, subscribers)
}

#[tokio::test]
async fn a_message_makes_its_channel_and_is_counted() {
    let server = Server::start().await;
    let client = &server.client;
    client.say("x", "a", "no channel").await;
    assert_eq!(client.get("/api/channels").await.expect::<Value>(200), json!([]));
    let first = client.send(json!({"from": "x", "to": "a", "body": "1", "channel": "news"})).await;
    let expected = json!([{
        "name": "news", "direction": "both", "messages": 1, "subscribers": 0, "lastMessageAt": first.created_at,
    }]);
    assert_eq!(client.get("/api/channels").await.expect::<Value>(200), expected);
    let second = client.say("x", "channel:news", "2").await;
    client.say("x", "channel:dev", "3").await;
    client.say("x", "broadcast", "4").await;
    assert_eq!(counts(client).await, [count("dev", 1, 0), count("news", 2, 0)]);
    assert_eq!(channels(client).await[1].last_message_at, Some(second.created_at));
    let listed = client.messages("channel=news").await;
    assert_eq!(listed.iter().map(|message| message.body.as_str()).collect::<Vec<_>>(), ["1", "2"]);
    // A repeat is no message more.
    for _ in 0..2 {
        let draft = json!({"from": "x", "to": "channel:dev", "body": "5", "idempotencyKey": "k"});
        let answer = client.post("/api/messages", draft).await;
        assert!(matches!(answer.status, 200 | 201));
    }
    // Nor is one that was refused.
    let refused = json!({"from": "x", "to": "channel:dev", "body": "6", "replyTo": 999_999});
    client.post("/api/messages", refused).await.problem(404, "not_found");
    assert_eq!(counts(client).await, [count("dev", 2, 0), count("news", 2, 0)]);
    client.delete(&format!("/api/messages/{}", first.id)).await.expect::<Value>(200);
    assert_eq!(counts(client).await[1], count("news", 1, 0));
    let server = Server::start_in(server.stop(), |_| {}).await;
    assert_eq!(counts(&server.client).await, [count("dev", 2, 0), count("news", 1, 0)]);
}

#[tokio::test]
async fn a_channel_is_declared_once_and_its_direction_may_change() {
    let server = Server::start().await;
    let client = &server.client;
    let declare = async |body: Value| client.post("/api/channels", body).await;
    let new: Value = declare(json!({"name": " mail ", "direction": "inbound"})).await.expect(201);
    assert_eq!(new, json!({"name": "mail", "direction": "inbound", "messages": 0, "subscribers": 0}));
    let again: Channel = declare(json!({"name": "mail"})).await.expect(200);
    assert_eq!(again.direction, Direction::Inbound, "kept when nothing is said");
    let changed: Channel = declare(json!({"name": "mail", "direction": "outbound"})).await.expect(200);
    assert_eq!(changed.direction, Direction::Outbound);
    assert_eq!(declare(json!({"name": "free"})).await.expect::<Channel>(201).direction, Direction::Both);
    // Messages go either way, and leave the direction as it is.
    let message = client.say("x", "channel:mail", "in or out").await;
    assert_eq!(channels(client).await[1].direction, Direction::Outbound);
    declare(json!({"direction": "both"})).await.invalid("name required");
    declare(json!({"name": "mail", "direction": "sideways"})).await.invalid("inbound, outbound, both");
    declare(json!({"name": "x".repeat(121)})).await.invalid("name");

    // What was declared stays without messages; what a message made goes with its last one.
    let only = client.say("x", "channel:passing", "hello").await;
    assert_eq!(counts(client).await, [count("free", 0, 0), count("mail", 1, 0), count("passing", 1, 0)]);
    for id in [message.id, only.id] {
        client.delete(&format!("/api/messages/{id}")).await.expect::<Value>(200);
    }
    assert_eq!(counts(client).await, [count("free", 0, 0), count("mail", 0, 0)]);
}

#[tokio::test]
async fn subscribers_are_those_whom_it_reaches() {
    let server = Server::start().await;
    let client = &server.client;
    client.register(json!({"id": "early", "tags": ["channel:news"]})).await;
    client.say("x", "channel:news", "1").await;
    client.post("/api/channels", json!({"name": "dev"})).await.expect::<Value>(201);
    assert_eq!(counts(client).await, [count("dev", 0, 0), count("news", 1, 1)], "counted when it is made");
    client.register(json!({"id": "a", "meta": {"channels": ["dev", "news", "unheard of"]}})).await;
    client.register(json!({"id": "b", "tags": ["channel:dev"], "meta": {"channels": ["dev"]}})).await;
    assert_eq!(counts(client).await, [count("dev", 0, 2), count("news", 1, 2)], "b is one, however it said so");
    client.register(json!({"id": "a"})).await;
    client.patch("/api/agents/b/tags", json!({"tags": []})).await.expect::<Value>(200);
    assert_eq!(counts(client).await[0], count("dev", 0, 2), "b still says it in its meta");
    client.register(json!({"id": "b", "meta": null})).await;
    assert_eq!(counts(client).await[0], count("dev", 0, 1));
    client.say("x", "channel:news", "2").await;
    assert_eq!(client.inbox("a").await, ["2"]);
    assert_eq!(client.inbox("b").await, Vec::<String>::new());
    client.delete("/api/agents/a").await.expect::<Value>(200);
    client.delete("/api/agents/early").await.expect::<Value>(200);
    assert_eq!(counts(client).await, [count("dev", 0, 0), count("news", 2, 0)]);
}
