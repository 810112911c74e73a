//! Who may see and say what of deliveries, and how much.

use serde_json::{Value, json};

use super::{deliveries, report, send, show, with_bob};
use crate::api::access::with_tokens;

#[tokio::test]
async fn a_host_says_what_it_saw_and_nothing_else() {
    let server = with_bob().await;
    let client = &server.client;
    let id = send(client, "ada", "bob", json!({})).await;
    for state in ["read", "dropped", "stored", "parked"] {
        report(client, &[id], state, json!({})).await.invalid("state must be one of");
    }
    report(client, &[id], "trying", json!({})).await.invalid("text required");
    report(client, &[id], "trying", json!({"text": "x".repeat(301)})).await.invalid("text must have at most 300");
    report(client, &[id], "waiting", json!({})).await.invalid("reason required");
    report(client, &[id], "waiting", json!({"reason": "asleep"})).await.invalid("reason must be one of: busy");
    report(client, &[id], "offered", json!({})).await.invalid("how required");
    report(client, &[id], "offered", json!({"how": "pigeon"})).await.invalid("how must be one of");
    report(client, &[id], "presented", json!({"how": "queue"})).await.invalid("evidence required");
    report(client, &[id], "presented", json!({"evidence": "x".repeat(501)})).await.invalid("evidence must have");
    report(client, &[id; 1_001], "failed", json!({"reason": "r"})).await.invalid("messageIds must have at most 1000");
    client.post("/api/agents/bob/notice", json!({"messageIds": [id]})).await.invalid("state required");
    client.get("/api/agents/ada/notice").await.problem(404, "not_found");
    assert_eq!(deliveries(client, id).await[0]["attempts"], 0, "none of that is written down");
    // What there is no delivery of is passed over.
    assert_eq!(report(client, &[999_999], "failed", json!({"reason": "r"})).await.expect::<Value>(200), json!([]));
}

#[tokio::test]
async fn each_sees_what_is_its_own() {
    let far = i64::MAX;
    let (server, [far, near, bob, ada, cat, control]) = with_tokens([
        ("orchestrator", Some("orchestrator-far"), far),
        ("orchestrator", Some("orchestrator-near"), far),
        ("agent", Some("bob"), far),
        ("agent", Some("ada"), far),
        ("agent", Some("cat"), far),
        ("control", None, far),
    ])
    .await;
    let client = &server.client;
    for id in ["bob", "cat"] {
        client.register(json!({"id": id, "tags": ["t"]})).await;
    }
    super::runs(client, &[("bob", 1), ("cat", 1)]).await;
    let id = send(client, "ada", "tag:t", json!({})).await;
    let agents = |answer: Value| -> Vec<String> {
        let all = answer.as_array().expect("a list").iter();
        all.map(|delivery| delivery["agentId"].as_str().expect("an id").to_owned()).collect()
    };
    let path = format!("/api/messages/{id}/deliveries");
    assert_eq!(agents(client.get(&path).await.expect(200)), ["bob", "cat"]);
    assert_eq!(agents(ada.get(&path).await.expect(200)), ["bob", "cat"], "its sender");
    assert_eq!(agents(bob.get(&path).await.expect(200)), ["bob"]);
    let page = client.get(&format!("{path}?limit=1")).await;
    let next = page.next_page().expect("another page");
    assert_eq!(agents(client.get(&next).await.expect(200)), ["cat"]);
    let of_cat = send(client, "ada", "cat", json!({})).await;
    bob.get(&format!("/api/messages/{of_cat}/deliveries")).await.problem(403, "not_addressed");

    far.get("/api/agents/bob/notice").await.expect::<Value>(200);
    near.get("/api/agents/bob/notice").await.problem(403, "not_allowed");
    let seen = json!({"messageIds": [id], "state": "presented", "evidence": "e"});
    near.post("/api/agents/bob/notice", seen.clone()).await.problem(403, "not_allowed");
    bob.post("/api/agents/bob/notice", seen).await.problem(403, "not_allowed");
    show(client, &[id], "presented").await;

    let mode = json!({"attention": "focus"});
    bob.patch("/api/agents/bob/attention", mode.clone()).await.expect::<Value>(200);
    control.patch("/api/agents/bob/attention", mode.clone()).await.expect::<Value>(200);
    ada.patch("/api/agents/bob/attention", mode.clone()).await.problem(403, "wrong_identity");
    far.patch("/api/agents/bob/attention", mode).await.problem(403, "not_allowed");

    for (token, from) in [(&ada, "ada"), (&cat, "cat")] {
        for more in [json!({"delivery": "interrupt"}), json!({"meta": {"delivery": "interrupt"}})] {
            let mut draft = json!({"from": from, "to": "bob", "body": "b"});
            draft.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
            token.post("/api/messages", draft).await.problem(403, "not_allowed");
        }
    }
}
