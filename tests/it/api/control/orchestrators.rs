//! Orchestrators: registering, being heard from, what they run, and going.

use agent_relay::domain::agent::Agent;
use agent_relay::domain::control::orchestrator::Orchestrator;
use agent_relay::domain::time::Timestamp;
use serde_json::{Value, json};

use super::{entry, manages, orchestrator};
use crate::server::Server;

#[tokio::test]
async fn registering_is_answered_with_201_each_time() {
    let server = Server::start().await;
    let client = &server.client;
    let mut stream = client.follow("types=orchestrator.status,orchestrator.removed").await;
    let before = Timestamp::now();
    let registration = json!({
        "id": " far ", "hostname": "h1", "baseDir": "/base", "providers": ["codex"], "envKeys": ["OPENAI_API_KEY"],
        "meta": {"k": [1]},
    });
    let answer: Value = client.post("/api/orchestrators", registration).await.expect(201);
    let first: Orchestrator = serde_json::from_value(answer.clone()).expect("an orchestrator");
    let expected = json!({
        "id": "far", "hostname": "h1", "status": "online", "agentId": "orchestrator-far", "providers": ["codex"],
        "baseDir": "/base", "envKeys": ["OPENAI_API_KEY"], "meta": {"k": [1]}, "managedAgents": [],
        "lastSeen": first.last_seen, "createdAt": first.created_at,
    });
    assert_eq!(answer, expected);
    assert!(first.created_at >= before);
    assert_eq!(stream.next().await.data, answer);
    let agent: Agent = client.get("/api/agents/orchestrator-far").await.expect(200);
    assert_eq!((agent.status.as_str(), agent.machine.as_deref()), ("online", Some("h1")));
    manages(client, "far", 1).await;

    let again = orchestrator(client, "far", "/other").await;
    assert_eq!(again["createdAt"], json!(first.created_at));
    assert_eq!(again["providers"], json!(["claude", "codex"]), "all that are loaded, when none is named");
    assert_eq!(again["managedAgents"][0]["agentId"], "far-0", "what runs goes on running");
    assert_eq!((&again["hostname"], &again["baseDir"]), (&json!("host-of-far"), &json!("/other")));
    assert_eq!(client.get("/api/orchestrators/far").await.expect::<Value>(200)["baseDir"], "/other");
    orchestrator(client, "a", "/").await;
    let listed: Vec<Orchestrator> = client.get("/api/orchestrators").await.expect(200);
    assert_eq!(listed.iter().map(|one| one.id.as_str()).collect::<Vec<_>>(), ["a", "far"]);

    let entries = client.activity("kind=state").await;
    let registered: Vec<_> = entries.iter().filter(|entry| entry.title == "Orchestrator registered").collect();
    assert_eq!(registered.len(), 3);
    let entry = registered[2];
    assert!(entry.client_id.starts_with("server-orchestrator-register-far-"), "{entry:?}");
    assert_eq!((entry.body.as_deref(), entry.meta.as_deref()), (Some("h1"), Some("far")));
    assert_eq!((entry.icon.as_deref(), entry.view.as_deref()), (Some("ti-server-2"), Some("orchestrators")));
    let metadata = entry.metadata.as_ref().map(|metadata| metadata.value());
    assert_eq!(metadata, Some(json!({"orchestratorId": "far", "providers": ["codex"]})));
}

#[tokio::test]
async fn a_registration_names_what_is_wrong() {
    let server = Server::start().await;
    let client = &server.client;
    let good = json!({"id": "far", "hostname": "h", "baseDir": "/base"});
    for (member, value, text) in [
        ("id", json!(" "), "id required"),
        ("id", json!("x".repeat(121)), "id must have at most 120 characters"),
        ("hostname", json!(null), "hostname required"),
        ("hostname", json!("x".repeat(121)), "hostname must have at most 120 characters"),
        ("baseDir", json!(""), "baseDir required"),
        ("baseDir", json!("base"), "baseDir must be an absolute path"),
        ("baseDir", json!(format!("/{}", "x".repeat(500))), "baseDir must have at most 500 characters"),
        ("providers", json!(["codex", "aider"]), "invalid provider: aider. Must be one of: claude, codex"),
        ("providers", json!("codex"), "providers"),
        ("envKeys", json!([1]), "invalid type"),
        ("meta", json!([]), "invalid type"),
        ("meta", json!({"k": "x".repeat(17_000)}), "meta"),
    ] {
        let mut registration = good.clone();
        registration[member] = value;
        let answer = client.post("/api/orchestrators", registration).await;
        assert_eq!(answer.status, 400, "{member}: {answer:?}");
        if member != "providers" || text.starts_with("invalid provider") {
            answer.invalid(text);
        }
    }
    for body in [json!([]), json!("far"), json!(null)] {
        let problem = client.post("/api/orchestrators", body).await.problem(400, "invalid_request");
        assert_eq!(problem["detail"], "body required");
    }
    assert_eq!(client.get("/api/orchestrators").await.expect::<Value>(200), json!([]));
}

#[tokio::test]
async fn silence_makes_it_offline_and_a_heartbeat_brings_it_back() {
    // Far below the beat of the relay's own reaper, so that only the one that is asked for finds it.
    let server = Server::start_with(|config| config.agents.offline_after = std::time::Duration::from_millis(400)).await;
    let client = &server.client;
    let registered = orchestrator(client, "far", "/base").await;
    manages(client, "far", 1).await;
    let mut stream = client.follow("types=orchestrator.status").await;
    let seen = client.get("/api/orchestrators/far").await.expect::<Orchestrator>(200).last_seen;
    assert!(seen.as_ms() >= registered["lastSeen"].as_i64().expect("a time"));
    crate::server::until(seen + 401).await;
    client.post("/api/system/reap", json!({})).await.expect::<Value>(200);
    let told = stream.next().await;
    assert_eq!((told.text("id"), told.text("status")), ("far", "offline"));

    // A body that is no use comes after this, a missing orchestrator before.
    let spawn = client.post("/api/orchestrators/far/spawn", json!([])).await.problem(409, "orchestrator_offline");
    assert_eq!(spawn["detail"], "orchestrator is offline");
    let act = json!({"action": "restart", "agentID": "x"});
    client.post("/api/orchestrators/far/actions", act).await.problem(409, "orchestrator_offline");
    client.post("/api/orchestrators/far/actions", json!({})).await.invalid("action required");
    client.post("/api/orchestrators/nowhere/spawn", json!([])).await.problem(404, "not_found");
    assert!(client.commands("").await.is_empty());

    let request = client.request(reqwest::Method::POST, "/api/orchestrators/far/heartbeat");
    let answer: Value = client.call(request.header("Content-Type", "text/plain").body("whatever")).await.expect(200);
    assert_eq!(answer, json!({"ok": true}));
    assert_eq!(stream.next().await.data["status"], "online");
    // A daemon that ends says so; the next sign of it brings it back.
    let status = async || {
        let all: Value = client.get("/api/orchestrators/far").await.expect(200);
        let agent: Value = client.get("/api/agents/orchestrator-far").await.expect(200);
        (all["status"].clone(), agent["status"].clone())
    };
    for (said, status_then) in
        [("?status=offline", "offline"), ("", "online"), ("?status=offline", "offline"), ("?status=online", "online")]
    {
        client.post(&format!("/api/orchestrators/far/heartbeat{said}"), json!({})).await.expect::<Value>(200);
        assert_eq!(status().await, (json!(status_then), json!(status_then)), "{said}");
    }
    let wrong = client.post("/api/orchestrators/far/heartbeat?status=away", json!({})).await;
    wrong.invalid("status must be one of: online, offline");
    let problem = client.post("/api/orchestrators/nowhere/heartbeat", json!({})).await.problem(404, "not_found");
    assert_eq!(problem["detail"], "orchestrator not found");
    let problem = client.get("/api/orchestrators/nowhere").await.problem(404, "not_found");
    assert_eq!(problem["detail"], "orchestrator not found");
}

#[tokio::test]
async fn the_list_of_what_it_runs_is_replaced() {
    let server = Server::start().await;
    let client = &server.client;
    let path = "/api/orchestrators/far/agents";
    // Missing is missing, whatever the body.
    client.patch(path, json!([])).await.problem(404, "not_found");
    orchestrator(client, "far", "/base").await;
    manages(client, "far", 3).await;
    let good = json!({"agentId": "a", "provider": "codex", "tmuxSession": "t", "cwd": "/base/x"});
    for (body, text) in [
        (json!([]), "body required"),
        (json!({}), "agents must be an array"),
        (json!({"agents": {}}), "agents must be an array"),
        (json!({"agents": [good, "b"]}), "each agent must be an object"),
        (json!({"agents": [{"provider": "p", "tmuxSession": "t", "cwd": "/"}]}), "agentId required"),
        (json!({"agents": [{"agentId": "a", "tmuxSession": "t", "cwd": "/"}]}), "provider required"),
        (json!({"agents": [{"agentId": "a", "provider": "p", "cwd": "/"}]}), "tmuxSession required"),
        (json!({"agents": [{"agentId": "a", "provider": "p", "tmuxSession": "t"}]}), "cwd required"),
        (json!({"agents": vec![good.clone(); 1001]}), "agents must have at most 1000 entries"),
    ] {
        client.patch(path, body).await.invalid(text);
    }
    let mut wrong = good.clone();
    wrong["approvalMode"] = json!("yolo");
    client
        .patch(path, json!({"agents": [wrong]}))
        .await
        .invalid("approvalMode must be one of: open, guarded, read-only");

    let before = Timestamp::now();
    let mut second = good.clone();
    for (member, value) in [
        ("agentId", json!("b")),
        ("label", json!("L")),
        ("approvalMode", json!("open")),
        ("pid", json!(7)),
        ("startedAt", json!(5)),
    ] {
        second[member] = value;
    }
    let mut odd = good.clone();
    odd["pid"] = json!(1.5);
    odd["startedAt"] = json!("now");
    let answer: Value = client.patch(path, json!({"agents": [odd, second]})).await.expect(200);
    let started = answer["managedAgents"][0]["startedAt"].as_i64().expect("a time");
    assert!(started >= before.as_ms());
    let mut first = good;
    first["approvalMode"] = json!("guarded");
    first["startedAt"] = json!(started);
    assert_eq!(answer["managedAgents"], json!([first, second]));
    assert_eq!(
        client.get("/api/orchestrators/far").await.expect::<Value>(200)["managedAgents"],
        answer["managedAgents"]
    );
}

#[tokio::test]
async fn removing_it_fails_what_it_was_to_do() {
    let server = Server::start().await;
    let client = &server.client;
    orchestrator(client, "far", "/base").await;
    manages(client, "far", 1).await;
    let spawn: Value = client.post("/api/orchestrators/far/spawn", json!({"provider": "claude"})).await.expect(202);
    let act = json!({"action": "shutdown", "all": true});
    let act: Value = client.post("/api/orchestrators/far/actions", act).await.expect(202);
    let done = act["command"]["id"].as_i64().expect("a command");
    let status = json!({"status": "succeeded"});
    client.patch(&format!("/api/commands/{done}"), status).await.expect::<Value>(200);
    let mut stream = client.follow("types=orchestrator.removed").await;
    assert_eq!(client.delete("/api/orchestrators/far").await.expect::<Value>(200), json!({"ok": true}));
    let frame = stream.next().await;
    assert_eq!((frame.event.as_str(), frame.data), ("orchestrator.removed", json!({"id": "far"})));
    let failed = client.outcome(spawn["command"]["id"].as_i64().expect("a command")).await;
    assert_eq!((failed.status.as_str(), failed.error.as_deref()), ("failed", Some("the orchestrator was removed")));
    assert_eq!(client.outcome(done).await.status.as_str(), "succeeded", "what was done stays done");
    let agent: Agent = client.get("/api/agents/orchestrator-far").await.expect(200);
    assert_eq!(agent.status.as_str(), "offline");
    client.delete("/api/orchestrators/far").await.problem(404, "not_found");
    let entries = client.activity("kind=state").await;
    assert!(entries.iter().any(|entry| entry.title == "Orchestrator removed"), "{entries:?}");
    entry(client, &format!("server-command-{}-failed", failed.id)).await;
}

#[tokio::test]
async fn what_an_orchestrator_runs_is_of_a_known_provider() {
    let server = Server::start().await;
    let client = &server.client;
    orchestrator(client, "far", "/base").await;
    let agent = json!({"agentId": "w", "provider": "aider", "tmuxSession": "s", "cwd": "/base"});
    let answer = client.patch("/api/orchestrators/far/agents", json!({"agents": [agent]})).await;
    answer.invalid("invalid provider: aider. Must be one of: claude, codex");
    let listed: Value = client.get("/api/orchestrators/far").await.expect(200);
    assert_eq!(listed["managedAgents"], json!([]));
}
