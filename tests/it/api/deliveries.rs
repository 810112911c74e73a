//! Deliveries: how far messages have come into sessions, as whoever runs these reports it and others see it.

mod causes;
mod limits;
mod parked;
mod told;

use serde_json::{Value, json};

use crate::server::{Answer, Client, Server};

/// Has the orchestrator `far` run sessions of these agents, each told apart by its number.
pub(super) async fn runs(client: &Client, agents: &[(&str, i64)]) {
    let registration = json!({"id": "far", "hostname": "h", "baseDir": "/"});
    client.post("/api/orchestrators", registration).await.expect::<Value>(201);
    let agent = |(id, pid): &(&str, i64)| json!({"agentId": id, "provider": "claude", "tmuxSession": id, "cwd": "/", "pid": pid});
    let agents: Vec<Value> = agents.iter().map(agent).collect();
    client.patch("/api/orchestrators/far/agents", json!({"agents": agents})).await.expect::<Value>(200);
}

/// A relay where `far` runs a session of `bob`, who has the tag `t`.
pub(super) async fn with_bob() -> Server {
    let server = Server::start().await;
    server.client.register(json!({"id": "bob", "tags": ["t"]})).await;
    runs(&server.client, &[("bob", 1)]).await;
    server
}

/// What is to be shown to `bob` now.
pub(super) async fn due(client: &Client) -> Value {
    client.get("/api/agents/bob/notice").await.expect(200)
}

/// The messages of a notice that is to be shown.
pub(super) fn ids(due: &Value) -> Vec<i64> {
    let ids = due["notice"]["messageIds"].as_array().unwrap_or_else(|| panic!("no notice in {due}"));
    ids.iter().map(|id| id.as_i64().expect("an id")).collect()
}

/// Reports what became of a notice to `bob`.
pub(super) async fn report(client: &Client, ids: &[i64], state: &str, more: Value) -> Answer {
    let mut report = json!({"messageIds": ids, "state": state});
    report.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    client.post("/api/agents/bob/notice", report).await
}

/// Shows what is due to `bob`, as far as this state.
pub(super) async fn show(client: &Client, ids: &[i64], state: &str) {
    report(client, ids, "trying", json!({"text": "[agent-relay] a line"})).await.expect::<Value>(200);
    let more = match state {
        "offered" => json!({"how": "typed"}),
        "presented" => json!({"how": "typed", "evidence": "a turn began"}),
        "failed" => json!({"reason": "nothing took it"}),
        other => panic!("{other}"),
    };
    report(client, ids, state, more).await.expect::<Value>(200);
}

/// How far a message has come, by agent.
pub(super) async fn deliveries(client: &Client, id: i64) -> Vec<Value> {
    client.get(&format!("/api/messages/{id}/deliveries")).await.expect(200)
}

/// How far a message to `bob` has come, and why it is there.
pub(super) async fn state(client: &Client, id: i64) -> (String, Option<String>) {
    let all = deliveries(client, id).await;
    let [delivery] = &all[..] else { panic!("{all:?}") };
    assert_eq!(delivery["agentId"], "bob");
    let text = |member: &str| delivery[member].as_str().map(str::to_owned);
    (text("state").expect("a state"), text("reason"))
}

pub(super) async fn send(client: &Client, from: &str, to: &str, more: Value) -> i64 {
    let mut draft = json!({"from": from, "to": to, "body": "b"});
    draft.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    client.send(draft).await.id.get()
}

#[tokio::test]
async fn a_message_comes_into_a_session_step_by_step_and_everybody_concerned_hears_of_it() {
    let server = with_bob().await;
    let client = &server.client;
    client.register_all(&["ada", "eve"]).await;
    let types = "types=message.delivery";
    let mut heard = Vec::new();
    for query in ["agent=bob&", "agent=ada&", "agent=orchestrator-far&", ""] {
        heard.push(client.follow(&format!("{query}{types}")).await);
    }
    let mut not_heard = client.follow("agent=eve&types=message.delivery,message.deleted").await;
    let id = send(client, "ada", "bob", json!({"subject": "tests are red"})).await;
    let first = deliveries(client, id).await;
    let at = first[0]["updatedAt"].as_i64().expect("a time");
    // Written out, so that a field that appears, vanishes or changes its name is noticed.
    assert_eq!(first, [json!({"agentId": "bob", "state": "stored", "attempts": 0, "updatedAt": at})]);

    let text = format!("[agent-relay] message {id} from ada: tests are red");
    let notice = json!({"id": id, "messageIds": [id], "text": text, "interrupt": false, "start": false});
    assert_eq!(due(client).await, json!({"notice": notice}));

    report(client, &[id], "waiting", json!({"reason": "busy"})).await.expect::<Value>(200);
    assert_eq!(state(client, id).await, ("waiting".to_owned(), Some("busy".to_owned())));
    report(client, &[id], "waiting", json!({"reason": "busy"})).await.expect::<Value>(200);
    report(client, &[id], "trying", json!({"text": text})).await.expect::<Value>(200);
    let tried = due(client).await;
    assert_eq!(tried["notice"], Value::Null, "one at a time");
    assert_eq!(tried["tried"], json!([{"messageIds": [id], "text": text}]), "it may be there already");
    report(client, &[id], "offered", json!({"how": "queue"})).await.expect::<Value>(200);
    assert_eq!(state(client, id).await, ("offered".to_owned(), None));
    report(client, &[id], "presented", json!({"evidence": "its transcript has it"})).await.expect::<Value>(200);
    assert_eq!(due(client).await, json!({"notice": null}));
    let shown = deliveries(client, id).await;
    let at = shown[0]["updatedAt"].as_i64().expect("a time");
    let expected = json!({
        "agentId": "bob", "state": "presented", "how": "queue", "evidence": "its transcript has it", "attempts": 1,
        "updatedAt": at,
    });
    assert_eq!(shown, [expected]);
    // A host says what it likes; what was seen stays seen.
    for (state, more) in [("offered", json!({"how": "typed"})), ("failed", json!({"reason": "r"}))] {
        assert_eq!(report(client, &[id], state, more).await.expect::<Value>(200), json!([]));
    }
    client.post(&format!("/api/messages/{id}/read"), json!({"agentId": "bob"})).await.expect::<Value>(200);
    assert_eq!(state(client, id).await, ("read".to_owned(), None));
    for stream in &mut heard {
        let mut states = Vec::new();
        for _ in 0..5 {
            let frame = stream.next().await;
            assert_eq!((&frame.data["messageId"], &frame.data["agentId"]), (&json!(id), &json!("bob")));
            states.push(frame.text("state").to_owned());
        }
        assert_eq!(states, ["stored", "waiting", "offered", "presented", "read"]);
    }
    let of_eve = send(client, "ada", "eve", json!({})).await;
    client.delete(&format!("/api/messages/{of_eve}")).await.expect::<Value>(200);
    assert_eq!(not_heard.next().await.event, "message.deleted", "nothing came before");
    assert_eq!(deliveries_of_nobody(client, of_eve).await, 404);
}

async fn deliveries_of_nobody(client: &Client, id: i64) -> u16 {
    client.get(&format!("/api/messages/{id}/deliveries")).await.status
}

#[tokio::test]
async fn what_came_meanwhile_is_one_notice_and_whoever_has_no_session_has_no_delivery() {
    let server = with_bob().await;
    let client = &server.client;
    client.register(json!({"id": "ada", "tags": ["t"]})).await;
    assert_eq!(due(client).await, json!({"notice": null}), "it has nothing to begin with");
    report(client, &[], "presented", json!({"evidence": "e", "start": true})).await.expect::<Value>(200);
    let nobody = send(client, "bob", "ada", json!({})).await;
    assert_eq!(deliveries(client, nobody).await, Vec::<Value>::new());
    let mut sent = Vec::new();
    for to in ["bob", "tag:t", "broadcast"] {
        sent.push(send(client, "ada", to, json!({"subject": "s"})).await);
    }
    // What it sends to its own group does not come back to it.
    assert_eq!(deliveries(client, send(client, "bob", "tag:t", json!({})).await).await, Vec::<Value>::new());
    let found = due(client).await;
    assert_eq!(ids(&found), sent);
    assert_eq!(found["notice"]["text"], format!("[agent-relay] 3 messages, newest {} from ada", sent[2]));
    show(client, &sent[..2], "presented").await;
    assert_eq!(ids(&due(client).await), sent[2..]);
}

#[tokio::test]
async fn a_session_that_begins_is_told_once_what_its_agent_has() {
    let server = Server::start().await;
    let client = &server.client;
    client.register(json!({"id": "bob", "tags": ["t"]})).await;
    let work = send(client, "ada", "tag:t", json!({"claimable": true})).await;
    client.post(&format!("/api/messages/{work}/claim"), json!({"agentId": "bob"})).await.expect::<Value>(200);
    client.post(&format!("/api/messages/{work}/read"), json!({"agentId": "bob"})).await.expect::<Value>(200);
    let unread = [send(client, "ada", "bob", json!({})).await, send(client, "eve", "bob", json!({})).await];
    assert_eq!(deliveries(client, unread[0]).await, Vec::<Value>::new(), "nobody runs a session");
    runs(client, &[("bob", 1)]).await;
    let text = |rest: &str| format!("[agent-relay] you are bob: 1 open claim ({work}){rest}");
    let found = due(client).await;
    assert_eq!(ids(&found), unread);
    assert_eq!(found["notice"]["text"], text(&format!("; 2 unread messages, newest {} from eve", unread[1])));
    report(client, &unread, "trying", json!({"text": found["notice"]["text"], "start": true})).await;
    report(client, &unread, "presented", json!({"evidence": "e", "start": true})).await.expect::<Value>(200);
    assert_eq!(due(client).await, json!({"notice": null}));
    // The same session, told of again.
    runs(client, &[("bob", 1)]).await;
    assert_eq!(due(client).await, json!({"notice": null}));
    // Another one knows nothing of it; what was shown stays shown.
    client.post(&format!("/api/messages/{}/read", unread[1]), json!({"agentId": "bob"})).await.expect::<Value>(200);
    runs(client, &[("bob", 2)]).await;
    let found = due(client).await;
    assert_eq!(found["notice"]["text"], text(&format!("; 1 unread message, newest {} from ada", unread[0])));
    assert_eq!((ids(&found), state(client, unread[0]).await.0.as_str()), (vec![], "presented"));
    // It is shown what comes besides, and is told it once more only if this could not be shown.
    report(client, &[], "failed", json!({"reason": "r", "start": true})).await.expect::<Value>(200);
    assert!(due(client).await["retryInMs"].as_i64().is_some_and(|ms| (1..=5_000).contains(&ms)));
    // Its session has ended: there is nobody to show anything to.
    runs(client, &[]).await;
    client.get("/api/agents/bob/notice").await.problem(404, "not_found");
}
