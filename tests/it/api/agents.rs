//! Agents: registering, sessions, finding, changing, silence.

mod condition;

use std::time::Duration;

use agent_relay::domain::agent::{Agent, AgentStatus};
use agent_relay::domain::time::Timestamp;
use reqwest::Method;
use serde_json::{Value, json};

use crate::server::{Server, until};

#[tokio::test]
async fn a_card_is_answered_as_it_was_given() {
    let server = Server::start().await;
    let client = &server.client;
    let card = json!({
        "id": "ada", "name": "Ada", "label": "Lead", "tags": ["ops", " ops ", ""], "capabilities": ["review"],
        "machine": "m1", "rig": "claude", "instanceId": "i1", "meta": {"cwd": "/x"}, "unknown": true,
    });
    let first: Value = client.post("/api/agents", card.clone()).await.expect(201);
    let created = first["createdAt"].as_i64().expect("a time");
    let expected = json!({
        "id": "ada", "name": "Ada", "label": "Lead", "tags": ["ops"], "capabilities": ["review"], "machine": "m1",
        "rig": "claude", "status": "online", "ready": false, "instanceId": "i1", "epoch": 1, "meta": {"cwd": "/x"},
        "attention": "open", "lastSeen": created, "createdAt": created,
    });
    assert_eq!(first, expected);
    assert_eq!(client.get("/api/agents/ada").await.expect::<Value>(200), first);
    let again: Value = client.post("/api/agents", card).await.expect(200);
    assert_eq!((&again["epoch"], &again["createdAt"]), (&json!(1), &json!(created)));

    let minimal: Value = client.post("/api/agents", json!({"id": "bob"})).await.expect(201);
    assert_eq!((&minimal["name"], &minimal["meta"], &minimal["tags"]), (&json!("bob"), &json!({}), &json!([])));
    assert!(["label", "machine", "rig", "instanceId"].iter().all(|absent| minimal.get(absent).is_none()));
}

#[tokio::test]
async fn registering_again_keeps_what_is_left_out_and_clears_what_is_null() {
    let server = Server::start().await;
    let client = &server.client;
    let full = json!({"id": "a", "name": "A", "label": "l", "tags": ["t"], "capabilities": ["c"], "machine": "m",
        "rig": "r", "meta": {"k": 1}, "status": "busy", "ready": true});
    client.register(full).await;
    let kept = client.register(json!({"id": "a"})).await;
    assert_eq!((kept.name.as_str(), kept.label.as_deref(), kept.machine.as_deref()), ("A", Some("l"), Some("m")));
    assert_eq!((kept.status, kept.ready), (AgentStatus::Busy, true));
    assert_eq!((kept.tags.len(), kept.capabilities.len(), kept.meta.len()), (1, 1, 1));
    let nulls = json!({"id": "a", "label": null, "tags": null, "capabilities": null, "machine": null,
        "rig": null, "meta": null});
    let cleared = client.register(nulls).await;
    assert_eq!((cleared.label, cleared.machine, cleared.rig), (None, None, None));
    assert!(cleared.tags.is_empty() && cleared.capabilities.is_empty() && cleared.meta.is_empty());
}

#[tokio::test]
async fn a_new_session_wins_and_the_old_one_is_turned_away() {
    let server = Server::start().await;
    let client = &server.client;
    let old = client.register(json!({"id": "a", "instanceId": "i1", "ready": true, "status": "busy"})).await;
    assert_eq!(old.epoch, 1);
    let new = client.register(json!({"id": "a", "instanceId": "i2"})).await;
    assert_eq!((new.epoch, new.status, new.ready), (2, AgentStatus::Online, false));
    let unnamed = client.register(json!({"id": "a"})).await;
    assert_eq!((unnamed.epoch, unnamed.instance_id.as_deref()), (2, Some("i2")), "the session stays as it is");

    let message = client.send(json!({"from": "x", "to": "a", "body": "b", "claimable": true})).await;
    let with = |guard: &Value, fields: Value| {
        let mut body = fields;
        body.as_object_mut().expect("an object").extend(guard.as_object().expect("an object").clone());
        body
    };
    for stale in [json!({"instanceId": "i1"}), json!({"epoch": 1}), json!({"instanceId": "i2", "epoch": 1})] {
        for (path, field) in [
            ("status", json!({"status": "idle"})),
            ("ready", json!({"ready": true})),
            ("label", json!({"label": "l"})),
            ("tags", json!({"tags": []})),
        ] {
            let path = format!("/api/agents/a/{path}");
            client.patch(&path, with(&stale, field)).await.problem(409, "stale_session");
        }
        client.post("/api/agents/a/heartbeat", stale.clone()).await.problem(409, "stale_session");
        for route in ["read", "claim"] {
            let body = with(&stale, json!({"agentId": "a"}));
            client.post(&format!("/api/messages/{}/{route}", message.id), body).await.problem(409, "stale_session");
        }
        client
            .call(client.request(reqwest::Method::DELETE, "/api/agents/a").json(&stale))
            .await
            .problem(409, "stale_session");
    }
    client.delete("/api/agents/a?epoch=1").await.problem(409, "stale_session");
    let current = json!({"instanceId": "i2", "epoch": 2, "status": "idle"});
    let card: Agent = client.patch("/api/agents/a/status", current).await.expect(200);
    assert_eq!(card.status, AgentStatus::Idle);
    client.delete("/api/agents/a?instanceId=i2&epoch=2").await.expect::<Value>(200);
}

#[tokio::test]
async fn each_part_of_a_card_can_be_changed() {
    let server = Server::start().await;
    let client = &server.client;
    client.register_all(&["a"]).await;
    let mut stream = client.follow("agent=a&types=agent.status,agent.removed").await;
    for (path, body, member, value) in [
        ("status", json!({"status": "busy"}), "status", json!("busy")),
        ("ready", json!({"ready": true}), "ready", json!(true)),
        ("label", json!({"label": " L "}), "label", json!("L")),
        ("label", json!({"label": null}), "label", Value::Null),
        ("tags", json!({"tags": ["x", "y"]}), "tags", json!(["x", "y"])),
    ] {
        let card: Value = client.patch(&format!("/api/agents/a/{path}"), body.clone()).await.expect(200);
        assert_eq!(card[member], value);
        assert_eq!(stream.next().await.data, card, "the event carries the card");
        client.patch(&format!("/api/agents/nobody/{path}"), body).await.problem(404, "not_found");
        client.patch(&format!("/api/agents/a/{path}"), json!({})).await.invalid(&format!("{path} required"));
    }
    client.patch("/api/agents/a/status", json!({"status": "asleep"})).await.invalid("online, idle, busy, offline");
    assert_eq!(client.delete("/api/agents/a").await.expect::<Value>(200), json!({"ok": true}));
    let removed = stream.next().await;
    assert_eq!((removed.event.as_str(), removed.data), ("agent.removed", json!({"id": "a"})));
    client.delete("/api/agents/a").await.problem(404, "not_found");
    client.get("/api/agents/a").await.problem(404, "not_found");
    client.post("/api/agents/a/heartbeat", json!({})).await.problem(404, "not_found");
}

#[tokio::test]
async fn user_and_system_always_exist_and_reserved_ids_are_refused() {
    let server = Server::start().await;
    let client = &server.client;
    for id in ["user", "system"] {
        client.get(&format!("/api/agents/{id}")).await.expect::<Agent>(200);
    }
    for id in ["user", "system", "broadcast", "tag:x", "cap:x", "label:x", "channel:x"] {
        client.post("/api/agents", json!({"id": id})).await.problem(400, "reserved_id");
        client.delete(&format!("/api/agents/{id}")).await.problem(400, "reserved_id");
    }
    client.post("/api/agents", json!({"name": "x"})).await.invalid("id required");
}

#[tokio::test]
async fn an_id_may_hold_anything_but_control_characters() {
    let server = Server::start().await;
    let client = &server.client;
    let id = "team/ada b?c#d%41 é\u{1F600}&x=1";
    client.register(json!({"id": id})).await;
    let encoded = percent_encoding::utf8_percent_encode(id, percent_encoding::NON_ALPHANUMERIC).to_string();
    assert_eq!(client.get(&format!("/api/agents/{encoded}")).await.expect::<Agent>(200).id, id);
    client.say("x", id, "hello").await;
    assert_eq!(client.inbox(&encoded).await, ["hello"]);
    client.post("/api/agents", json!({"id": "a\u{7}b"})).await.invalid("control characters");
}

#[tokio::test]
async fn lists_are_by_id_filtered_and_paged() {
    let server = Server::start().await;
    let client = &server.client;
    for (id, card) in [
        ("c", json!({"label": "L", "tags": ["t", "u"], "status": "busy"})),
        ("a", json!({"label": "l", "tags": ["t"], "machine": "m1", "ready": true})),
        ("b", json!({"capabilities": ["Rust"], "status": "offline"})),
    ] {
        let mut card = card;
        card["id"] = json!(id);
        client.register(card).await;
    }
    let ids = async |path: &str| -> Vec<String> {
        let agents: Vec<Agent> = client.get(path).await.expect(200);
        agents.into_iter().map(|agent| agent.id.into_string()).collect()
    };
    assert_eq!(ids("/api/agents").await, ["a", "b", "c", "system", "user"]);
    for (query, expected) in [
        ("tag=t", vec!["a", "c"]),
        ("tag=T", vec![]),
        ("capability=Rust", vec!["b"]),
        ("label=L", vec!["c"]),
        ("machine=m1", vec!["a"]),
        ("status=offline", vec!["b"]),
        ("tag=t&status=busy", vec!["c"]),
        ("tag=t&ready=true", vec!["a"]),
        ("ready=false", vec!["b", "c"]),
    ] {
        assert_eq!(ids(&format!("/api/agents?{query}")).await, expected, "{query}");
        assert_eq!(ids(&format!("/api/agents/find?{query}")).await.len(), expected.len(), "find {query}");
    }
    assert_eq!(ids("/api/agents/find").await, ["a", "c", "system", "user", "b"], "live ones first");
    assert_eq!(ids("/api/agents/find?q=rust").await, ["b"]);
    for query in ["status=asleep", "ready=maybe", "limit=0", "limit=1001", "limit=x"] {
        client.get(&format!("/api/agents?{query}")).await.problem(400, "invalid_request");
    }
    for route in ["/api/agents", "/api/agents/find"] {
        let all = ids(route).await;
        let (mut seen, mut path) = (Vec::new(), Some(format!("{route}?limit=2")));
        while let Some(page) = path {
            let answer = client.get(&page).await;
            path = answer.next_page();
            seen.extend(answer.expect::<Vec<Agent>>(200).into_iter().map(|agent| agent.id));
        }
        assert_eq!(seen, all, "{route}");
    }
}

#[tokio::test]
async fn silence_makes_an_agent_offline_and_any_sign_of_life_brings_it_back() {
    // What counts is told apart by seconds, and is over before the reaper comes by itself.
    let server = Server::start_with(|config| config.agents.offline_after = Duration::from_secs(6)).await;
    let client = &server.client;
    client.register_all(&["silent", "beating", "sending", "listening"]).await;
    let silent: Agent = client.get("/api/agents/silent").await.expect(200);
    let _open = client.follow("agent=listening").await;
    until(silent.last_seen + 5_000).await;
    client.post("/api/agents/beating/heartbeat", json!({})).await.expect::<Value>(200);
    client.say("sending", "x", "still here").await;
    until(silent.last_seen + 6_010).await;
    let reaped: Value = client.post("/api/system/reap", json!({})).await.expect(200);
    assert_eq!(reaped["reapedAgentIds"], json!(["silent"]));
    for (id, status) in
        [("silent", AgentStatus::Offline), ("beating", AgentStatus::Online), ("sending", AgentStatus::Online)]
    {
        assert_eq!(client.get(&format!("/api/agents/{id}")).await.expect::<Agent>(200).status, status, "{id}");
    }
    let mut stream = client.follow("types=agent.status&agent=silent").await;
    client.post("/api/agents/silent/heartbeat", json!({})).await.expect::<Value>(200);
    assert_eq!(stream.next().await.text("status"), "online");
    let back: Agent = client.get("/api/agents/silent").await.expect(200);
    assert_eq!(back.status, AgentStatus::Online);
    assert!(back.last_seen > silent.last_seen && back.last_seen <= Timestamp::now());
}

#[tokio::test]
async fn an_agent_that_stays_away_is_forgotten_and_its_messages_are_not() {
    let server = Server::start_with(|config| {
        config.agents.offline_after = Duration::from_millis(1);
        config.agents.prune_after = Duration::from_millis(2);
    })
    .await;
    let client = &server.client;
    let mut stream = client.follow("types=agent.removed").await;
    let card = client.register(json!({"id": "a"})).await;
    client.say("b", "a", "1").await;
    until(card.last_seen + 50).await;
    client.post("/api/system/reap", json!({})).await.expect::<Value>(200);
    assert_eq!(stream.next().await.data, json!({"id": "a"}));
    client.post("/api/agents/a/heartbeat", json!({})).await.problem(404, "not_found");
    assert_eq!(client.inbox("a").await, ["1"]);
    for id in ["user", "system"] {
        assert_eq!(client.get(&format!("/api/agents/{id}")).await.expect::<Agent>(200).status, AgentStatus::Online);
    }
}

#[tokio::test]
async fn a_malformed_guard_removes_nobody() {
    let server = Server::start().await;
    let client = &server.client;
    client.register(json!({"id": "a", "instanceId": "i"})).await;
    for guard in [json!({"epoch": "3"}), json!({"instanceId": 1}), json!([]), json!({"epoch": 1.5})] {
        let request = client.request(Method::DELETE, "/api/agents/a").json(&guard);
        client.call(request).await.invalid("body is not what this route takes");
    }
    let request = client.request(Method::DELETE, "/api/agents/a").json(&json!({"epoch": 3}));
    client.call(request).await.problem(409, "stale_session");
    let request = client.request(Method::DELETE, "/api/agents/a").json(&json!({"instanceId": "i", "epoch": 1}));
    client.call(request).await.expect::<Value>(200);
}

#[tokio::test]
async fn an_id_looks_like_what_it_is() {
    let server = Server::start().await;
    let client = &server.client;
    for (id, text) in [
        (".", "id must not be"),
        (" .. ", "id must not be"),
        ("ali\u{200b}ce", "id must not contain invisible characters, found \\u{200b}"),
        ("\u{202e}ecila", "id must not contain invisible characters"),
        ("alice\u{feff}", "id must not contain invisible characters"),
        ("\u{3164}", "id must not contain invisible characters"),
    ] {
        client.post("/api/agents", json!({"id": id})).await.invalid(text);
    }
    for id in ["...", "alice.bob", "\u{e9}l\u{e8}ve", "\u{65e5}\u{672c}"] {
        client.register(json!({"id": id})).await;
    }
}
