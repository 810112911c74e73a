//! Conditions: what keeps an agent from working, who may say so, and what becomes of `ready`.

use agent_relay::domain::agent::{Agent, ConditionKind, ConditionSource};
use serde_json::{Value, json};

use crate::api::control::with_tokens;
use crate::server::{Answer, Client, Server, until};

async fn set(client: &Client, agent: &str, body: Value) -> Answer {
    client.patch(&format!("/api/agents/{agent}/condition"), body).await
}

#[tokio::test]
async fn a_condition_is_on_the_card_and_every_change_is_an_event() {
    let server = Server::start().await;
    let client = &server.client;
    let before = client.register(json!({"id": "a", "status": "busy", "ready": true})).await;
    assert_eq!(before.condition, None);
    let mut stream = client.follow("agent=a&types=agent.status").await;
    let later = before.created_at.as_ms() + 3_600_000;
    let body = json!({"kind": "limit", "until": later, "detail": " weekly limit\nsee /usage "});
    let card: Value = set(client, "a", body).await.expect(200);
    let since = card["condition"]["since"].as_i64().expect("a time");
    let expected = json!({
        "kind": "limit", "since": since, "until": later, "detail": "weekly limit\nsee /usage", "source": "user",
    });
    assert_eq!((&card["condition"], &card["ready"], &card["status"]), (&expected, &json!(false), &json!("busy")));
    assert_eq!(card["lastSeen"], json!(before.last_seen), "what others say of it is no sign of life");
    assert_eq!(stream.next().await.data, card);
    assert_eq!(client.get("/api/agents/a").await.expect::<Value>(200), card);
    until(before.created_at + 50).await;
    // The same kind again is the same condition; another is another.
    let card: Value = set(client, "a", json!({"kind": "limit"})).await.expect(200);
    assert_eq!(card["condition"], json!({"kind": "limit", "since": since, "source": "user"}));
    assert_eq!(stream.next().await.data, card);
    let card: Agent = set(client, "a", json!({"kind": "input"})).await.expect(200);
    let condition = card.condition.expect("a condition");
    assert!(condition.kind == ConditionKind::Input && condition.since.as_ms() > since);
    assert!(card.ready, "who asks its user something takes work all the same");
    stream.next().await;
    let card: Value = set(client, "a", json!({"kind": null, "detail": "ignored"})).await.expect(200);
    assert_eq!((&card["condition"], &card["ready"]), (&Value::Null, &json!(true)));
    assert_eq!(stream.next().await.data, card);
}

#[tokio::test]
async fn ready_comes_back_as_it_was_or_as_it_was_said_meanwhile() {
    let server = Server::start().await;
    let client = &server.client;
    for kind in ["dialog", "limit"] {
        for (before, meanwhile) in [(true, None), (false, None), (true, Some(false)), (false, Some(true))] {
            client.register(json!({"id": "a", "ready": before})).await;
            assert!(!set(client, "a", json!({"kind": kind})).await.expect::<Agent>(200).ready);
            if let Some(ready) = meanwhile {
                let card: Agent = client.patch("/api/agents/a/ready", json!({"ready": ready})).await.expect(200);
                assert!(!card.ready, "it is in a {kind} still");
            }
            let listed = async |ready: bool| {
                let agents: Vec<Agent> = client.get(&format!("/api/agents?ready={ready}")).await.expect(200);
                agents.iter().any(|agent| agent.id == "a")
            };
            assert!(listed(false).await && !listed(true).await);
            let after: Agent = set(client, "a", json!({"kind": null})).await.expect(200);
            assert_eq!(after.ready, meanwhile.unwrap_or(before), "{kind} {before} {meanwhile:?}");
        }
    }
}

#[tokio::test]
async fn a_new_session_is_in_no_condition_and_the_same_one_stays_in_it() {
    let server = Server::start().await;
    let client = &server.client;
    client.register(json!({"id": "a", "instanceId": "i1"})).await;
    set(client, "a", json!({"kind": "crashed"})).await.expect::<Agent>(200);
    assert!(client.register(json!({"id": "a", "instanceId": "i1"})).await.condition.is_some());
    let new = client.register(json!({"id": "a", "instanceId": "i2", "ready": true})).await;
    assert!(new.condition.is_none() && new.ready);
    for stale in [json!({"kind": "limit", "instanceId": "i1"}), json!({"kind": null, "epoch": 1})] {
        set(client, "a", stale).await.problem(409, "stale_session");
    }
    set(client, "a", json!({"kind": "limit", "instanceId": "i2", "epoch": 2})).await.expect::<Agent>(200);
}

#[tokio::test]
async fn what_is_no_condition_is_refused() {
    let server = Server::start().await;
    let client = &server.client;
    client.register_all(&["a"]).await;
    set(client, "a", json!({})).await.invalid("kind required, or null");
    set(client, "a", json!({"until": 5, "detail": "x"})).await.invalid("kind required, or null");
    set(client, "a", json!({"kind": "asleep"}))
        .await
        .invalid("starting, input, approval, dialog, limit, stalled, crashed");
    set(client, "a", json!({"kind": "any"})).await.invalid("kind must be one of");
    set(client, "a", json!({"kind": "limit", "until": -1})).await.invalid("until");
    set(client, "a", json!({"kind": "limit", "detail": "x".repeat(1_001)})).await.invalid("detail");
    set(client, "a", json!({"kind": "limit", "detail": "\u{1b}[2J"})).await.invalid("detail");
    set(client, "nobody", json!({"kind": "limit"})).await.problem(404, "not_found");
    assert_eq!(client.get("/api/agents/a").await.expect::<Agent>(200).condition, None);
}

#[tokio::test]
async fn agents_are_found_by_their_condition() {
    let server = Server::start().await;
    let client = &server.client;
    for (id, kind) in [("a", "limit"), ("b", "dialog"), ("c", ""), ("d", "limit"), ("e", "starting")] {
        client.register(json!({"id": id, "tags": ["t"]})).await;
        if !kind.is_empty() {
            set(client, id, json!({"kind": kind})).await.expect::<Agent>(200);
        }
    }
    client.patch("/api/agents/a/status", json!({"status": "offline"})).await.expect::<Agent>(200);
    set(client, "e", json!({"kind": null})).await.expect::<Agent>(200);
    for (query, expected) in [
        ("condition=any", "a b d"),
        ("condition=limit", "a d"),
        ("condition=dialog", "b"),
        ("condition=starting", ""),
        ("condition=any&status=offline", "a"),
        ("condition=limit&tag=t&status=online", "d"),
        ("condition=any&ready=true", ""),
    ] {
        for (route, expected) in [
            ("/api/agents", expected.to_owned()),
            // Live ones come first.
            ("/api/agents/find", expected.replace("a b d", "b d a").replace("a d", "d a")),
        ] {
            let (mut found, mut path) = (Vec::new(), Some(format!("{route}?limit=1&{query}")));
            while let Some(page) = path {
                let answer = client.get(&page).await;
                path = answer.next_page();
                found.extend(answer.expect::<Vec<Agent>>(200).into_iter().map(|agent| agent.id.into_string()));
            }
            assert_eq!(found.join(" "), expected, "{route}?{query}");
        }
    }
    client.get("/api/agents?condition=none").await.invalid("any, starting, input");
}

#[tokio::test]
async fn a_condition_ends_at_its_time() {
    let server = Server::start().await;
    let client = &server.client;
    let card = client.register(json!({"id": "a", "ready": true})).await;
    client.register(json!({"id": "b", "ready": true})).await;
    let soon = card.created_at + 500;
    set(client, "b", json!({"kind": "limit", "until": soon.as_ms() + 3_600_000})).await.expect::<Agent>(200);
    set(client, "a", json!({"kind": "limit", "until": soon})).await.expect::<Agent>(200);
    let mut stream = client.follow("types=agent.status").await;
    until(soon + 10).await;
    client.post("/api/system/reap", json!({})).await.expect::<Value>(200);
    let ended = stream.next().await.data;
    assert_eq!((&ended["id"], &ended["condition"], &ended["ready"]), (&json!("a"), &Value::Null, &json!(true)));
    let other: Agent = client.get("/api/agents/b").await.expect(200);
    assert!(other.condition.is_some() && !other.ready);
}

#[tokio::test]
async fn who_says_so_is_known_and_others_may_not() {
    let (server, [a, far, near, free, reader, admin]) = with_tokens([
        ("of-a", "agent", Some("a")),
        ("of-far", "orchestrator", Some("orchestrator-far")),
        ("of-near", "orchestrator", Some("orchestrator-near")),
        ("free", "orchestrator", None),
        ("reader", "read send control", None),
        ("root", "admin", None),
    ])
    .await;
    let all = &server.client;
    all.register_all(&["a", "b"]).await;
    for id in ["far", "near"] {
        let registration = json!({"id": id, "hostname": id, "baseDir": "/"});
        all.post("/api/orchestrators", registration).await.expect::<Value>(201);
    }
    let managed = json!({"agentId": "b", "provider": "claude", "tmuxSession": "s", "cwd": "/"});
    all.patch("/api/orchestrators/far/agents", json!({"agents": [managed]})).await.expect::<Value>(200);
    let report = json!({"kind": "approval"});
    for (client, agent, source) in [
        (&a, "a", ConditionSource::Agent),
        (&far, "b", ConditionSource::Orchestrator),
        (&free, "b", ConditionSource::Orchestrator),
        (&admin, "a", ConditionSource::User),
        (all, "b", ConditionSource::User),
    ] {
        let card: Agent = set(client, agent, report.clone()).await.expect(200);
        assert_eq!(card.condition.map(|condition| condition.source), Some(source), "{agent}");
    }
    for (client, agent) in [(&a, "b"), (&far, "a"), (&near, "b")] {
        set(client, agent, json!({"kind": null})).await.problem(403, "wrong_identity");
    }
    set(&reader, "a", report.clone()).await.problem(403, "not_allowed");
    // Once it does not run it any more, it has no say.
    all.patch("/api/orchestrators/far/agents", json!({"agents": []})).await.expect::<Value>(200);
    set(&far, "b", report).await.problem(403, "wrong_identity");
}
