//! How the relay knows who sent a message: it alone says so, and says so everywhere.

use agent_relay::domain::message::Message;
use agent_relay::domain::task::Task;
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

#[tokio::test]
async fn the_message_of_a_task_says_how_its_asker_was_known_and_that_of_an_answer_who_answered() {
    let later = (Timestamp::now() + 3_600_000).as_ms();
    let (server, [ada, any, _, chief]) = with_tokens([
        ("agent", Some("ada"), later),
        ("send", None, later),
        ("agent", Some("bob"), later),
        ("admin", None, later),
    ])
    .await;
    let admin = &server.client;
    let first: Task = admin.post("/api/tasks", json!({"title": "first"})).await.expect(201);
    let of_ada = json!({"as": "agent", "verified": true, "via": "name-0"});
    for (client, from, expected) in [
        (&ada, json!(null), of_ada.clone()),
        (&any, json!("ada"), json!({"as": "agent", "verified": false, "via": "name-1"})),
        (admin, json!("ada"), json!({"as": "agent", "verified": false, "via": "admin"})),
        (&chief, json!("user"), json!({"as": "user", "verified": true, "via": "name-3"})),
        // Nobody asks: the relay sends it, and vouches for nothing that is in it.
        (&any, json!(null), json!({"as": "system", "verified": false, "via": "name-1"})),
    ] {
        for depends_on in [json!([]), json!([first.id])] {
            let draft = json!({
                "from": from, "title": "t", "kind": "question", "target": "bob", "dependsOn": depends_on,
            });
            let task: Task = client.post("/api/tasks", draft).await.expect(201);
            assert_eq!(task.message_id.is_none(), depends_on != json!([]), "what waits is sent later");
            if let Some(id) = task.message_id {
                let sent: Value = admin.get(&format!("/api/messages/{id}")).await.expect(200);
                assert_eq!(sent["sender"], expected, "{from}");
            }
        }
    }
    // By another's hand, after a restart, and the sender is still the asker's.
    let home = server.stop();
    let secret = agent_relay::config::Secret::parse("test", TOKEN).expect("a token");
    let server = Server::start_in(home, |config| config.token = Some(secret)).await;
    let relay = &server.client;
    let [ada, any, bob] = [0, 1, 2].map(|index| relay.with_token(Some(&format!("token-{index}"))));
    let claimed: Task =
        relay.post(&format!("/api/tasks/{}/claim", first.id), json!({"agentId": "x"})).await.expect(200);
    let done = json!({"agentId": "x", "status": "done", "claimGeneration": claimed.claim_generation});
    relay.patch(&format!("/api/tasks/{}/status", first.id), done).await.expect::<Value>(200);
    let questions: Vec<Task> = relay.get("/api/tasks?target=bob&limit=1000").await.expect(200);
    let waited = questions.iter().rev().find(|task| !task.depends_on.is_empty()).expect("the first that waited");
    let sent: Value = relay.get(&format!("/api/messages/{}", waited.message_id.expect("sent"))).await.expect(200);
    assert_eq!(sent["sender"], of_ada);
    // Answers: by whom they are for, by the human, and by somebody who says to be bob.
    let mut of_ada = questions.iter().filter(|task| task.from.as_deref() == Some("ada"));
    for (client, body, expected) in [
        (&bob, json!({"answer": "x"}), json!({"as": "agent", "verified": true, "via": "name-2"})),
        (relay, json!({"answer": "x"}), json!({"as": "user", "verified": true, "via": "admin"})),
        (relay, json!({"answer": "x", "agentId": "bob"}), json!({"as": "agent", "verified": false, "via": "admin"})),
    ] {
        let task = of_ada.next().expect("another question");
        client.post(&format!("/api/tasks/{}/answer", task.id), body).await.expect::<Value>(200);
        let inbox: Vec<Value> = relay.get("/api/messages?for=ada&limit=1000").await.expect(200);
        assert_eq!(inbox.last().expect("an answer")["sender"], expected);
    }
    // Nobody but an administrator asks, answers or pairs as the human, and nobody as the relay.
    for (client, from) in [(&any, "user"), (&any, "system"), (relay, "system")] {
        let refused = client.post("/api/tasks", json!({"title": "t", "from": from})).await.problem(403, "not_allowed");
        let sent = client.post("/api/messages", json!({"from": from, "to": "bob", "body": "b"})).await;
        assert_eq!(sent.problem(403, "not_allowed")["detail"], refused["detail"], "in the same words");
    }
    ada.post("/api/tasks", json!({"title": "t", "from": "user"})).await.problem(403, "wrong_identity");
}

#[tokio::test]
async fn what_is_said_in_a_pair_says_who_said_it() {
    let later = (Timestamp::now() + 3_600_000).as_ms();
    let (server, [ada]) = with_tokens([("agent", Some("ada"), later)]).await;
    let admin = &server.client;
    admin.register_all(&["ada", "bob"]).await;
    let pair: Value = ada.post("/api/pairs", json!({"targetId": "bob"})).await.expect(201);
    let path = format!("/api/pairs/{}", pair["id"]);
    admin.post(&format!("{path}/accept"), json!({"agentId": "bob"})).await.expect::<Value>(200);
    for (client, from, expected) in [
        (&ada, json!(null), json!({"as": "agent", "verified": true, "via": "name-0"})),
        (admin, json!("bob"), json!({"as": "agent", "verified": false, "via": "admin"})),
    ] {
        let said = json!({"from": from, "body": "b"});
        let message: Value = client.post(&format!("{path}/messages"), said).await.expect(201);
        assert_eq!(message["sender"], expected);
    }
}
