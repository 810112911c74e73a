//! How many agents a message reaches, and what somebody may have meant who wrote to nobody.

use agent_relay::domain::message::Message;
use serde_json::{Value, json};

use crate::server::{Client, Server};

async fn send(client: &Client, from: &str, to: &str) -> Value {
    client.post("/api/messages", json!({"from": from, "to": to, "body": "b"})).await.expect(201)
}

#[tokio::test]
async fn the_answer_says_how_many_agents_a_message_reaches() {
    let server = Server::start().await;
    let client = &server.client;
    client.register(json!({"id": "ada", "tags": ["ops"], "label": "Lead", "meta": {"channels": ["dev"]}})).await;
    client.register(json!({"id": "bob", "tags": ["ops", "channel:dev"], "capabilities": ["review"]})).await;
    client.patch("/api/agents/bob/status", json!({"status": "offline"})).await.expect::<Value>(200);
    for (from, to, recipients) in [
        ("ada", "bob", 1),
        ("ada", "user", 1),
        ("ada", "nobody", 0),
        ("ada", "broadcast", 1),
        ("x", "broadcast", 2),
        ("user", "broadcast", 2),
        ("x", "tag:ops", 2),
        ("ada", "tag:ops", 1),
        ("bob", "cap:review", 0),
        ("x", "label:Lead", 1),
        ("x", "label:lead", 0),
        ("x", "channel:dev", 2),
        ("x", "tag:none", 0),
    ] {
        let sent = send(client, from, to).await;
        assert_eq!(sent["recipients"], recipients, "{from} to {to}: {sent}");
        assert_eq!(sent.get("similar").is_some(), recipients == 0, "{sent}");
        assert_eq!(sent.get("receipt"), None);
        // It is said of the moment, and of no other.
        let stored: Value = client.get(&format!("/api/messages/{}", sent["id"])).await.expect(200);
        assert_eq!((stored.get("recipients"), stored.get("similar")), (None, None));
    }
}

/// Beyond a few, how many are in a group is remembered: it is right all the same.
#[tokio::test]
async fn a_large_group_is_counted_right_as_agents_come_and_go() {
    let server = Server::start().await;
    let client = &server.client;
    let card = |n: usize| json!({"id": format!("a{n}"), "tags": ["many"]});
    for n in 0..70 {
        client.register(card(n)).await;
    }
    let count = async |to: &str| send(client, "x", to).await["recipients"].as_i64().expect("a number");
    for to in ["tag:many", "broadcast"] {
        assert_eq!((count(to).await, count(to).await), (70, 70), "{to}");
    }
    client.register(card(70)).await;
    assert_eq!((count("tag:many").await, count("broadcast").await), (71, 71));
    client.patch("/api/agents/a3/tags", json!({"tags": []})).await.expect::<Value>(200);
    assert_eq!((count("tag:many").await, count("broadcast").await), (70, 71));
    client.delete("/api/agents/a4").await.expect::<Value>(200);
    assert_eq!((count("tag:many").await, count("broadcast").await), (69, 70));
    // Registered again, it is no other; and a refused registration changes nothing.
    client.register(card(5)).await;
    client.register(json!({"id": "a6", "instanceId": "one"})).await;
    client.post("/api/agents", json!({"id": "a6", "epoch": 9, "tags": []})).await;
    assert_eq!((count("tag:many").await, count("broadcast").await), (69, 70));
    assert_eq!(send(client, "a5", "tag:many").await["recipients"], 68, "without the sender");
}

#[tokio::test]
async fn who_writes_to_nobody_is_told_who_may_be_meant() {
    let server = Server::start().await;
    let client = &server.client;
    client.register(json!({"id": "reviewer", "tags": ["frontend"]})).await;
    client.register(json!({"id": "codex-7f3a", "name": "Builder", "label": "Night shift"})).await;
    client.register_all(&["tester-1", "tester-2", "tester-3", "tester-4", "other"]).await;
    let similar = async |to: &str| send(client, "x", to).await["similar"].clone();
    assert_eq!(similar("revewer").await, json!(["reviewer"]));
    assert_eq!(similar("Reviewer").await, json!(["reviewer"]), "the case counts");
    assert_eq!(similar("bulider").await, json!(["codex-7f3a"]), "by its name");
    assert_eq!(similar("night-shift").await, json!(["codex-7f3a"]), "by its label");
    assert_eq!(similar("frontend").await, json!(["tag:frontend"]), "a group without its prefix");
    assert_eq!(similar("tag:fronted").await, json!(["tag:frontend"]));
    assert_eq!(similar("brodcast").await, json!(["broadcast"]));
    assert_eq!(similar("tester").await.as_array().map(Vec::len), Some(3), "three at most");
    assert_eq!(similar("zzz").await, json!([]));
    assert_eq!(similar("sytem").await, json!([]), "nobody writes to the relay");
    let own = client.post("/api/messages", json!({"from": "other", "to": "oter", "body": "b"})).await;
    assert_eq!(own.expect::<Value>(201)["similar"], json!([]), "not the sender itself");
    // What was answered before does not outlive what it was about.
    client.register_all(&["zzzz"]).await;
    assert_eq!(similar("zzz").await, json!(["zzzz"]));
    client.delete("/api/agents/zzzz").await.expect::<Value>(200);
    assert_eq!(similar("zzz").await, json!([]));
}

#[tokio::test]
async fn a_strict_message_that_reaches_nobody_is_not_stored() {
    let server = Server::start().await;
    let client = &server.client;
    client.register(json!({"id": "bob", "tags": ["t"]})).await;
    let strict = |from: &str, to: &str| json!({"from": from, "to": to, "body": "b", "strict": true});
    let problem = client.post("/api/messages", strict("x", "bbo")).await.problem(404, "no_recipient");
    assert_eq!(problem["similar"], json!(["bob"]));
    let problem = client.post("/api/messages", strict("x", "tag:none")).await.problem(404, "no_recipient");
    assert_eq!(problem["similar"], json!([]));
    client.post("/api/messages", strict("bob", "tag:t")).await.problem(404, "no_recipient");
    assert!(client.messages("").await.is_empty());
    assert!(client.inbox("bbo").await.is_empty());
    // The refusal binds no key: once there is somebody, it is sent.
    let keyed = json!({"from": "x", "to": "late", "body": "b", "strict": true, "idempotencyKey": "k"});
    client.post("/api/messages", keyed.clone()).await.problem(404, "no_recipient");
    client.register_all(&["late"]).await;
    let first: Value = client.post("/api/messages", keyed.clone()).await.expect(201);
    let again = client.post("/api/messages", keyed).await;
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    assert_eq!(again.expect::<Value>(200), first);
    let sent: Message = client.post("/api/messages", strict("x", "tag:t")).await.expect(201);
    assert_eq!(client.inbox("bob").await, [sent.body]);
    client.post("/api/messages", json!({"from": "x", "to": "bob", "body": "b", "strict": 1})).await.invalid("strict");
}
