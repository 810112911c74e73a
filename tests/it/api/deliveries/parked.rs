//! What is tried in vain is given up, and whoever sent it hears of it.

use agent_relay::domain::message::Message;
use serde_json::{Value, json};

use super::{due, ids, report, runs, send, show, state, with_bob};
use crate::server::{BLINK_MS, Client, Server, TestClock};

/// Lets so much time pass, with somebody here all along.
async fn pass(client: &Client, clock: &TestClock, ms: i64) {
    for _ in 0..ms / BLINK_MS + 1 {
        clock.pass(BLINK_MS);
        client.get("/api/agents/bob/notice").await.expect::<Value>(200);
    }
}

async fn reap(client: &Client) {
    client.post("/api/system/reap", json!({})).await.expect::<Value>(200);
}

#[tokio::test]
async fn four_tries_in_vain_are_enough() {
    let clock = TestClock::default();
    let home = tempfile::tempdir().expect("a temporary directory");
    let server = Server::start_by(clock.clock(), home, |_| {}).await;
    let client = &server.client;
    client.register(json!({"id": "bob", "tags": ["t"]})).await;
    runs(client, &[("bob", 1)]).await;
    report(client, &[], "presented", json!({"evidence": "e", "start": true})).await.expect::<Value>(200);
    let (direct, group) = (send(client, "ada", "bob", json!({})).await, send(client, "ada", "tag:t", json!({})).await);
    let both = [direct, group];
    for (round, wait) in [5_000, 30_000, 120_000, 600_000].into_iter().enumerate() {
        assert_eq!(ids(&due(client).await), both, "round {round}");
        show(client, &both, if round % 2 == 0 { "failed" } else { "offered" }).await;
        let found = due(client).await;
        assert_eq!(found["notice"], Value::Null);
        if round < 3 {
            assert!(found["retryInMs"].as_i64().is_some_and(|ms| ms > wait - 60_000 && ms <= wait), "{found}");
        }
        reap(client).await;
        assert_eq!(state(client, direct).await.0, if round == 0 { "waiting" } else { "offered" });
        pass(client, &clock, wait).await;
    }
    let none: Vec<Value> = client.get("/api/attention").await.expect(200);
    assert!(none.iter().all(|item| item["kind"] != "delivery"), "{none:?}");
    reap(client).await;
    for id in both {
        let (state, reason) = state(client, id).await;
        assert_eq!(state, "parked");
        assert!(reason.is_some_and(|reason| reason.starts_with("tried 4 times in vain: ")));
    }
    assert_eq!(due(client).await, json!({"notice": null}));
    let items: Vec<Value> = client.get("/api/attention").await.expect(200);
    let items: Vec<&Value> = items.iter().filter(|item| item["kind"] == "delivery").collect();
    let [item] = &items[..] else { panic!("{items:?}") };
    assert_eq!((&item["agentId"], &item["messageId"]), (&json!("bob"), &json!(group)));
    assert!(item["title"].as_str().is_some_and(|title| title.contains("2 messages")), "{item}");
    let told: Vec<Message> = client.messages("for=ada&type=system").await;
    let [bounce] = &told[..] else { panic!("{told:?}") };
    let expected = json!({"messageId": direct, "messageIds": [direct], "to": "bob", "reason": "parked"});
    assert_eq!(bounce.meta.value()["bounce"], expected, "of what others may have, nobody hears");
    assert!(bounce.body.contains("tried 4 times in vain"), "{}", bounce.body);
    reap(client).await;
    assert_eq!(client.messages("for=ada&type=system").await.len(), 1);

    // Whoever reads it by itself, or begins anew, needs nobody to see to it.
    client.post(&format!("/api/messages/{direct}/read"), json!({"agentId": "bob"})).await.expect::<Value>(200);
    assert_eq!(state(client, direct).await.0, "read");
    let items: Vec<Value> = client.get("/api/attention").await.expect(200);
    assert!(items.iter().any(|item| item["kind"] == "delivery"), "the other is still parked");
    runs(client, &[("bob", 2)]).await;
    assert_eq!(ids(&due(client).await), [group]);
    let items: Vec<Value> = client.get("/api/attention").await.expect(200);
    assert!(items.iter().all(|item| item["kind"] != "delivery"), "{items:?}");
}

#[tokio::test]
async fn a_clock_that_is_set_parks_nothing() {
    let clock = TestClock::default();
    let home = tempfile::tempdir().expect("a temporary directory");
    let server = Server::start_by(clock.clock(), home, |_| {}).await;
    let client = &server.client;
    client.register(json!({"id": "bob"})).await;
    runs(client, &[("bob", 1)]).await;
    report(client, &[], "presented", json!({"evidence": "e", "start": true})).await.expect::<Value>(200);
    let id = send(client, "ada", "bob", json!({})).await;
    for _ in 0..4 {
        show(client, &[id], "offered").await;
    }
    for ms in [3_600_000, -7_200_000] {
        clock.set_forward(ms);
        reap(client).await;
        assert_eq!(state(client, id).await.0, "offered");
    }
    let server = with_bob().await;
    assert_eq!(due(&server.client).await, json!({"notice": null}));
}
