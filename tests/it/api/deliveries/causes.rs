//! What becomes of a message before it was shown.

use agent_relay::domain::time::Timestamp;
use serde_json::{Value, json};

use super::{due, ids, report, runs, send, show, state, with_bob};
use crate::server::{Client, until};

async fn claim(client: &Client, id: i64, agent: &str) -> i64 {
    let claim: Value = client.post(&format!("/api/messages/{id}/claim"), json!({"agentId": agent})).await.expect(200);
    claim["claimGeneration"].as_i64().expect("a generation")
}

fn dropped(reason: &str) -> (String, Option<String>) {
    ("dropped".to_owned(), Some(reason.to_owned()))
}

#[tokio::test]
async fn what_needs_nobody_any_more_is_not_shown() {
    let server = with_bob().await;
    let client = &server.client;
    client.register(json!({"id": "ada", "tags": ["t"]})).await;
    report(client, &[], "presented", json!({"evidence": "e", "start": true})).await.expect::<Value>(200);

    let read = send(client, "ada", "bob", json!({})).await;
    report(client, &[read], "waiting", json!({"reason": "dialog"})).await.expect::<Value>(200);
    client.post(&format!("/api/messages/{read}/read"), json!({"agentId": "bob"})).await.expect::<Value>(200);
    assert_eq!(state(client, read).await, dropped("read"));

    let work = send(client, "eve", "tag:t", json!({"claimable": true})).await;
    assert_eq!(ids(&due(client).await), [work]);
    let generation = claim(client, work, "ada").await;
    assert_eq!(state_of(client, work, "bob").await, dropped("claimed"));
    assert_eq!(due(client).await, json!({"notice": null}));
    // What is given back is there for everybody again.
    let held = json!({"agentId": "ada", "claimGeneration": generation});
    client.post(&format!("/api/messages/{work}/claim/release"), held).await.expect::<Value>(200);
    assert_eq!(state(client, work).await, ("stored".to_owned(), None));
    claim(client, work, "bob").await;
    assert_eq!(state(client, work).await, dropped("read"), "who claims it has seen it");

    let expires_at = Timestamp::now() + 300;
    let expired = send(client, "ada", "bob", json!({"expiresAt": expires_at})).await;
    assert_eq!(ids(&due(client).await), [expired]);
    until(expires_at).await;
    assert_eq!(due(client).await, json!({"notice": null}), "before anybody settled it");
    client.post("/api/system/reap", json!({})).await.expect::<Value>(200);
    assert_eq!(state(client, expired).await, dropped("expired"));

    let mut events = client.follow("agent=bob&types=message.delivery").await;
    let deleted = send(client, "ada", "bob", json!({})).await;
    client.delete(&format!("/api/messages/{deleted}")).await.expect::<Value>(200);
    assert_eq!(events.next().await.text("state"), "stored");
    let told = events.next().await;
    assert_eq!((told.text("state"), told.text("reason")), ("dropped", "deleted"));

    let question = json!({"title": "which?", "kind": "question", "target": "bob", "from": "ada", "source": "s"});
    let task: Value = client.post("/api/tasks", question).await.expect(201);
    let asked = task["messageId"].as_i64().expect("a message");
    assert_eq!(ids(&due(client).await), [asked]);
    let answer = json!({"answer": "this", "agentId": "bob"});
    client.post(&format!("/api/tasks/{}/answer", task["id"]), answer).await.expect::<Value>(200);
    assert_eq!(state(client, asked).await, dropped("answered"));

    let work = json!({"title": "do", "target": "tag:t", "from": "eve", "source": "s"});
    let task: Value = client.post("/api/tasks", work).await.expect(201);
    let brought = task["messageId"].as_i64().expect("a message");
    let path = format!("/api/tasks/{}", task["id"]);
    let claimed: Value = client.post(&format!("{path}/claim"), json!({"agentId": "ada"})).await.expect(200);
    assert_eq!(state(client, brought).await, dropped("claimed"));
    let held = json!({"agentId": "ada", "claimGeneration": claimed["claimGeneration"]});
    client.post(&format!("{path}/release"), held).await.expect::<Value>(200);
    assert_eq!(state(client, brought).await.0, "stored");
    client.patch(&format!("{path}/status"), json!({"status": "canceled", "agentId": "eve"})).await.expect::<Value>(200);
    assert_eq!(state(client, brought).await, dropped("answered"));

    let left = send(client, "ada", "bob", json!({})).await;
    client.delete("/api/agents/bob").await.expect::<Value>(200);
    assert_eq!(state(client, left).await, dropped("removed"));
    client.register(json!({"id": "bob"})).await;
    runs(client, &[("bob", 2)]).await;
    assert!(ids(&due(client).await).contains(&left), "who is there again gets what waits for it");
}

async fn state_of(client: &Client, id: i64, agent: &str) -> (String, Option<String>) {
    let all = super::deliveries(client, id).await;
    let delivery = all.iter().find(|delivery| delivery["agentId"] == agent).expect("a delivery");
    let text = |member: &str| delivery[member].as_str().map(str::to_owned);
    (text("state").expect("a state"), text("reason"))
}

#[tokio::test]
async fn what_was_offered_is_never_said_to_be_dropped() {
    let server = with_bob().await;
    let client = &server.client;
    client.register(json!({"id": "ada", "tags": ["t"]})).await;
    let work = send(client, "eve", "tag:t", json!({"claimable": true})).await;
    show(client, &[work], "offered").await;
    claim(client, work, "ada").await;
    assert_eq!(state(client, work).await, ("offered".to_owned(), Some("claimed".to_owned())));
    assert_eq!(due(client).await["notice"], Value::Null, "and it is not shown again");
    // That it was taken may still be seen.
    report(client, &[work], "presented", json!({"evidence": "a turn"})).await.expect::<Value>(200);
    assert_eq!(state(client, work).await.0, "presented");
    // While it is being shown, who reads it may have been shown it.
    let other = send(client, "ada", "bob", json!({})).await;
    report(client, &[other], "trying", json!({"text": "[agent-relay] t"})).await.expect::<Value>(200);
    client.post(&format!("/api/messages/{other}/read"), json!({"agentId": "bob"})).await.expect::<Value>(200);
    assert_eq!(state(client, other).await.0, "read");
}

#[tokio::test]
async fn an_agent_says_what_may_disturb_it() {
    let server = with_bob().await;
    let client = &server.client;
    report(client, &[], "presented", json!({"evidence": "e", "start": true})).await.expect::<Value>(200);
    let set = async |mode: &str| {
        let card: Value = client.patch("/api/agents/bob/attention", json!({"attention": mode})).await.expect(200);
        assert_eq!(card["attention"], mode);
    };
    client.patch("/api/agents/bob/attention", json!({"attention": "loud"})).await.invalid("open, focus, dnd");
    client.patch("/api/agents/bob/attention", json!({})).await.invalid("attention required");
    client.patch("/api/agents/nobody/attention", json!({"attention": "dnd"})).await.problem(404, "not_found");
    let before = send(client, "ada", "bob", json!({})).await;
    set("dnd").await;
    let held = ("waiting".to_owned(), Some("do-not-disturb".to_owned()));
    let direct = send(client, "ada", "bob", json!({})).await;
    let group = send(client, "ada", "tag:t", json!({})).await;
    for id in [before, direct, group] {
        assert_eq!(state(client, id).await, held);
    }
    assert_eq!(due(client).await, json!({"notice": null, "reason": "do-not-disturb"}));
    let urgent = send(client, "user", "tag:t", json!({"delivery": "interrupt"})).await;
    assert_eq!(ids(&due(client).await), [urgent]);
    show(client, &[urgent], "presented").await;
    set("focus").await;
    assert_eq!(ids(&due(client).await), [before, direct]);
    assert_eq!(state(client, group).await, held);
    set("open").await;
    assert_eq!(ids(&due(client).await), [before, direct, group]);
    assert_eq!(state(client, group).await.0, "stored");
}

#[tokio::test]
async fn what_may_interrupt_comes_alone_while_a_turn_runs() {
    let server = with_bob().await;
    let client = &server.client;
    report(client, &[], "presented", json!({"evidence": "e", "start": true})).await.expect::<Value>(200);
    let quiet = send(client, "ada", "bob", json!({})).await;
    let path = "/api/agents/bob/notice?interrupting=true";
    assert_eq!(client.get(path).await.expect::<Value>(200), json!({"notice": null}));
    // In `meta` it means the same.
    let first = send(client, "user", "bob", json!({"meta": {"delivery": "interrupt"}})).await;
    let second = send(client, "user", "bob", json!({"delivery": "interrupt"})).await;
    let found: Value = client.get(path).await.expect(200);
    assert_eq!((ids(&found), &found["notice"]["interrupt"]), (vec![first, second], &json!(true)));
    let message: Value = client.get(&format!("/api/messages/{second}")).await.expect(200);
    assert_eq!(message["meta"], json!({"delivery": "interrupt"}));
    assert_eq!(ids(&due(client).await), [quiet, first, second]);
    let draft = json!({"from": "user", "to": "bob", "body": "b", "delivery": "loud"});
    client.post("/api/messages", draft).await.invalid("delivery must be one of: interrupt");
}

#[tokio::test]
async fn a_command_is_carried_out_by_its_host_and_not_typed() {
    let server = with_bob().await;
    let client = &server.client;
    let answer: Value = client.post("/api/agents/bob/actions", json!({"action": "shutdown"})).await.expect(202);
    let id = answer["message"]["id"].as_i64().expect("a message");
    assert_eq!(state(client, id).await, dropped("carried out by its host"));
}

#[tokio::test]
async fn whoever_waits_for_a_receipt_hears_how_far_it_came_into_the_session() {
    let server = with_bob().await;
    let client = &server.client;
    let mut events = client.follow("agent=bob&types=message.delivery").await;
    let waiting = {
        let client = client.clone();
        let draft = json!({"from": "ada", "to": "bob", "body": "b", "receipt": "read"});
        tokio::spawn(async move { client.post("/api/messages?wait=2", draft).await.expect::<Value>(201) })
    };
    let id = events.next().await.data["messageId"].as_i64().expect("an id");
    show(client, &[id], "presented").await;
    assert_eq!(waiting.await.expect("an answer")["receipt"], "presented");
}
