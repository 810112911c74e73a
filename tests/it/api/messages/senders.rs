//! How the relay knows who sent a message: it alone says so, and says so everywhere.

use agent_relay::domain::message::Message;
use agent_relay::domain::time::Timestamp;
use serde_json::{Value, json};

use crate::api::access::{TOKEN, with_tokens};
use crate::server::{Client, Server};

/// What is said of the sender of one message, the same wherever it is shown.
async fn said(client: &Client, reader: &Client, draft: Value) -> Value {
    let to = draft["to"].as_str().expect("a target").to_owned();
    let mut stream = reader.follow(&format!("agent={to}&types=message.new")).await;
    let sent: Value = client.post("/api/messages", draft).await.expect(201);
    let (id, sender) = (&sent["id"], sent["sender"].clone());
    assert_eq!(stream.next().await.data["sender"], sender, "live");
    let one: Value = reader.get(&format!("/api/messages/{id}")).await.expect(200);
    assert_eq!(one["sender"], sender);
    let since = id.as_i64().expect("a number") - 1;
    for path in [
        format!("/api/messages?since={since}"),
        format!("/api/messages?for={to}&since={since}"),
        format!("/api/messages/{id}/thread"),
    ] {
        let listed: Vec<Value> = reader.get(&path).await.expect(200);
        let found = listed.iter().find(|message| message["id"] == *id).unwrap_or_else(|| panic!("not in {path}"));
        assert_eq!(found["sender"], sender, "{path}");
    }
    let replayed: Vec<Value> = reader.get(&format!("/api/events/log?agent={to}&types=message.new")).await.expect(200);
    let found = replayed.iter().find(|event| event["data"]["id"] == *id).expect("a replay");
    assert_eq!(found["data"]["sender"], sender);
    let read: Value = reader.post(&format!("/api/messages/{id}/read"), json!({"agentId": to})).await.expect(200);
    assert_eq!(read["sender"], sender);
    sender
}

#[tokio::test]
async fn where_nobody_needs_a_token_nobody_is_verified() {
    let server = Server::start().await;
    let client = &server.client;
    for (from, kind) in [("ada", "agent"), ("user", "user"), ("orchestrator-o", "orchestrator")] {
        // What somebody says of itself is not heard.
        let claim = json!({"as": "system", "verified": true, "via": "admin"});
        let draft = json!({"from": from, "to": "bob", "body": "b", "sender": claim});
        let expected = json!({"as": kind, "verified": false, "via": "loopback"});
        assert_eq!(said(client, client, draft).await, expected, "{from}");
    }
    let all: Message = client.post("/api/system/broadcast", json!({"body": "to all"})).await.expect(201);
    assert_eq!(json!(all.sender), json!({"as": "system", "verified": true, "via": "loopback"}));
}

#[tokio::test]
async fn a_sender_is_verified_by_a_credential_of_its_own() {
    let later = (Timestamp::now() + 3_600_000).as_ms();
    let (server, [ada, any, chief, host, odd]) = with_tokens([
        ("agent", Some("ada"), later),
        ("send", None, later),
        ("admin", None, later),
        ("agent orchestrator", Some("orchestrator-o"), later),
        ("agent", Some("orchestrator-x"), later),
    ])
    .await;
    let admin = &server.client;
    assert_eq!(admin.with_token(Some(TOKEN)).get("/api/agents").await.status, 200);
    for (client, from, expected) in [
        (&ada, "ada", json!({"as": "agent", "verified": true, "via": "name-0"})),
        (&any, "ada", json!({"as": "agent", "verified": false, "via": "name-1"})),
        (admin, "ada", json!({"as": "agent", "verified": false, "via": "admin"})),
        (admin, "user", json!({"as": "user", "verified": true, "via": "admin"})),
        (&chief, "user", json!({"as": "user", "verified": true, "via": "name-2"})),
        (&chief, "ada", json!({"as": "agent", "verified": false, "via": "name-2"})),
        (&host, "orchestrator-o", json!({"as": "orchestrator", "verified": true, "via": "name-3"})),
        (&odd, "orchestrator-x", json!({"as": "agent", "verified": true, "via": "name-4"})),
        (&any, "orchestrator-o", json!({"as": "orchestrator", "verified": false, "via": "name-1"})),
    ] {
        let draft = json!({"from": from, "to": "bob", "body": "b"});
        assert_eq!(said(client, admin, draft).await, expected, "{from}");
    }
    any.post("/api/messages", json!({"from": "user", "to": "bob", "body": "b"})).await.problem(403, "not_allowed");
}

#[tokio::test]
async fn what_the_relay_sends_by_itself_is_its_own() {
    let server = Server::start().await;
    let client = &server.client;
    client.register_all(&["ada"]).await;
    let done: Value = client.post("/api/agents/ada/actions", json!({"action": "restart"})).await.expect(202);
    assert_eq!(done["message"]["sender"], json!({"as": "system", "verified": true, "via": "relay"}));
}
