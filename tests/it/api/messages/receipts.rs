//! Whoever sends a message may wait for what becomes of it.

use agent_relay::domain::message::Message;
use serde_json::{Value, json};

use crate::server::{Client, Server};

/// A message that is sent in the background, while something becomes of it.
fn sending(client: &Client, draft: Value, wait: u64) -> tokio::task::JoinHandle<Value> {
    let client = client.clone();
    tokio::spawn(async move { client.post(&format!("/api/messages?wait={wait}"), draft).await.expect(201) })
}

async fn act(client: &Client, id: i64, what: &str, body: Value) -> Message {
    client.post(&format!("/api/messages/{id}/{what}"), body).await.expect(200)
}

#[tokio::test]
async fn the_answer_comes_once_it_has_happened() {
    let server = Server::start().await;
    let client = &server.client;
    client.register(json!({"id": "ada", "tags": ["t"]})).await;
    client.register(json!({"id": "bob", "tags": ["t"]})).await;
    for to in ["ada", "tag:t"] {
        for receipt in ["read", "claimed", "completed"] {
            let mut stream = client.follow("agent=ada&types=message.new").await;
            let draft = json!({"from": "boss", "to": to, "body": "b", "claimable": true, "receipt": receipt});
            // Nobody waits this long: it is answered because it happened.
            let sending = sending(client, draft, 60);
            let id = stream.next().await.data["id"].as_i64().expect("an id");
            // What becomes of another message is no receipt of this one.
            let other =
                client.send(json!({"from": "boss", "to": "ada", "body": "o", "claimable": true})).await.id.get();
            for id in [other, id] {
                act(client, id, "read", json!({"agentId": "ada"})).await;
                let claim = act(client, id, "claim", json!({"agentId": "ada"})).await;
                let held = json!({"agentId": "ada", "claimGeneration": claim.claim_generation});
                act(client, id, "claim/complete", held).await;
            }
            let sent = sending.await.expect("an answer");
            assert_eq!((&sent["id"], &sent["receipt"]), (&json!(id), &json!(receipt)), "{sent}");
            let stored: Value = client.get(&format!("/api/messages/{id}")).await.expect(200);
            assert_eq!(stored.get("receipt"), None, "it belongs to the answer");
        }
    }
}

#[tokio::test]
async fn when_the_time_is_over_it_says_how_far_the_message_has_come() {
    let server = Server::start().await;
    let client = &server.client;
    client.register_all(&["ada"]).await;
    let draft =
        |receipt: &str| json!({"from": "boss", "to": "ada", "body": "b", "claimable": true, "receipt": receipt});
    // Who does not wait is told at once.
    for path in ["/api/messages", "/api/messages?wait=0"] {
        let sent: Value = client.post(path, draft("read")).await.expect(201);
        assert_eq!(sent["receipt"], "stored");
    }
    let mut stream = client.follow("agent=ada&types=message.new").await;
    let sending = sending(client, draft("completed"), 1);
    let id = stream.next().await.data["id"].as_i64().expect("an id");
    act(client, id, "read", json!({"agentId": "ada"})).await;
    let sent = sending.await.expect("an answer");
    assert_eq!(sent["receipt"], "read", "and not what was wanted");
}

#[tokio::test]
async fn who_asks_again_under_the_same_key_hears_of_the_same_message() {
    let server = Server::start().await;
    let client = &server.client;
    client.register_all(&["ada"]).await;
    let draft = json!({"from": "boss", "to": "ada", "body": "b", "receipt": "read", "idempotencyKey": "k"});
    let first: Value = client.post("/api/messages", draft.clone()).await.expect(201);
    assert_eq!(first["receipt"], "stored");
    // It happened before anybody waited.
    act(client, first["id"].as_i64().expect("an id"), "read", json!({"agentId": "ada"})).await;
    let again: Value = client.post("/api/messages?wait=60", draft).await.expect(200);
    assert_eq!((&again["id"], &again["receipt"]), (&first["id"], &json!("read")));
    assert_eq!(client.inbox("ada").await.len(), 1);
}

#[tokio::test]
async fn a_claim_that_was_given_back_was_one() {
    let server = Server::start().await;
    let client = &server.client;
    client.register_all(&["ada"]).await;
    let mut stream = client.follow("agent=ada&types=message.new").await;
    let draft = json!({"from": "boss", "to": "ada", "body": "b", "claimable": true, "receipt": "claimed",
                       "idempotencyKey": "k"});
    let sending = sending(client, draft.clone(), 60);
    let id = stream.next().await.data["id"].as_i64().expect("an id");
    let claim = act(client, id, "claim", json!({"agentId": "ada"})).await;
    let held = json!({"agentId": "ada", "claimGeneration": claim.claim_generation});
    act(client, id, "claim/release", held).await;
    assert_eq!(sending.await.expect("an answer")["receipt"], "claimed");
    let again: Value = client.post("/api/messages", draft).await.expect(200);
    assert_eq!(again["receipt"], "claimed");
}

#[tokio::test]
async fn a_drain_ends_the_waiting_and_the_message_is_there() {
    let server = Server::start().await;
    let client = &server.client;
    client.register_all(&["ada"]).await;
    let mut stream = client.follow("agent=ada&types=message.new").await;
    let sending = sending(client, json!({"from": "boss", "to": "ada", "body": "b", "receipt": "read"}), 60);
    stream.next().await;
    server.drain();
    assert_eq!(sending.await.expect("an answer")["receipt"], "stored");
    let server = Server::start_in(server.stop(), |_| {}).await;
    assert_eq!(server.client.inbox("ada").await, ["b"]);
}

#[tokio::test]
async fn what_cannot_happen_is_not_waited_for() {
    let server = Server::start().await;
    let client = &server.client;
    let draft = |receipt: Value| json!({"from": "boss", "to": "ada", "body": "b", "receipt": receipt});
    for receipt in ["claimed", "completed"] {
        client.post("/api/messages?wait=60", draft(json!(receipt))).await.invalid("claimable");
    }
    client
        .post("/api/messages", draft(json!("seen")))
        .await
        .invalid("receipt must be one of: read, claimed, completed");
    client.post("/api/messages", draft(json!("stored"))).await.invalid("receipt must be one of");
    client.post("/api/messages?wait=61", draft(json!("read"))).await.invalid("wait");
    client.post("/api/messages?wait=-1", draft(json!("read"))).await.invalid("wait");
    assert!(client.messages("").await.is_empty());
}
