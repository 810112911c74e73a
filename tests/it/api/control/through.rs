//! Control through orchestrators: who is chosen, what it is sent, and where its agents may work.

use agent_relay::domain::activity::ActivityKind;
use agent_relay::domain::control::command::Command;
use serde_json::{Value, json};

use super::{entry, manages, orchestrator, without_times};
use crate::server::Server;

#[tokio::test]
async fn a_spawn_is_sent_to_the_orchestrator() {
    let server = Server::start().await;
    let client = &server.client;
    orchestrator(client, "far", "/base").await;
    let mut stream = client.follow("agent=orchestrator-far&types=message.new,command.updated").await;
    let ask = json!({
        "provider": "claude", "cwd": "a/./b/../c", "label": " L ", "approvalMode": "read-only", "prompt": " say\n",
    });
    let answer: Value = client.post("/api/orchestrators/far/spawn", ask).await.expect(202);
    let agent = answer["command"]["request"]["agentId"].as_str().expect("the id that the agent gets");
    assert!(agent.starts_with("claude-"), "{agent}");
    let request = json!({
        "action": "spawn", "provider": "claude", "cwd": "/base/a/c", "label": "L", "approvalMode": "read-only",
        "prompt": " say\n", "agentId": agent,
    });
    assert_eq!((&answer["ok"], &answer["orchestratorId"]), (&json!(true), &json!("far")));
    assert_eq!(answer.as_object().map(serde_json::Map::len), Some(4), "{answer}");
    let message = without_times(&answer["message"], "orchestratorControl");
    let body: Value = serde_json::from_str(message["body"].as_str().expect("a body")).expect("JSON");
    assert_eq!(body, request);
    let mut details = request.clone();
    details["requestedBy"] = json!("dashboard");
    let expected = json!({
        "from": "system", "to": "orchestrator-far", "type": "system", "subject": "Spawn agent", "body": message["body"],
        "claimable": false, "claimGeneration": 0, "readBy": [], "readCount": 0,
        "sender": {"as": "system", "verified": true, "via": "relay"},
        "meta": {"orchestratorControl": details, "delivery": "interrupt", "priority": "urgent"},
    });
    assert_eq!(message, expected);
    assert_eq!(stream.next_event("message.new").await.data, answer["message"]);

    let command: Command = serde_json::from_value(answer["command"].clone()).expect("a command");
    assert_eq!((command.kind.as_str(), command.target.as_str()), ("spawn", "orchestrator-far"));
    assert_eq!((command.status.as_str(), &command.request), ("pending", &request));
    let asked: Vec<&str> = command.decision.iter().map(|record| record.plugin.as_str()).collect();
    assert_eq!(asked, ["containment", "control-guard"]);
    let entry = entry(client, &format!("server-orchestrator-spawn-far-{}", command.id)).await;
    assert_eq!((entry.kind, entry.title.as_str()), (ActivityKind::Control, "Spawn claude agent requested"));
    assert_eq!((entry.body.as_deref(), entry.meta.as_deref()), (Some("/base/a/c"), Some("far")));
    assert_eq!((entry.icon.as_deref(), entry.view.as_deref()), (Some("ti-plus"), Some("orchestrators")));
    assert_eq!(entry.message_id, command.message_id);
    let metadata = entry.metadata.expect("metadata").value();
    let expected = json!({"orchestratorId": "far", "provider": "claude", "approvalMode": "read-only", "label": "L"});
    assert_eq!(metadata, expected);

    // What is left out stays out, but for the directory and the mode.
    let answer: Value = client.post("/api/orchestrators/far/spawn", json!({"provider": "codex"})).await.expect(202);
    let body: Value = serde_json::from_str(answer["message"]["body"].as_str().expect("a body")).expect("JSON");
    let agent = &answer["command"]["request"]["agentId"];
    let expected =
        json!({"action": "spawn", "provider": "codex", "cwd": "/base", "approvalMode": "guarded", "agentId": agent});
    assert_eq!(body, expected);
}

#[tokio::test]
async fn checks_of_a_spawn_come_in_the_known_order() {
    let server = Server::start().await;
    let client = &server.client;
    let problem = client.post("/api/orchestrators/far/spawn", json!([])).await.problem(404, "not_found");
    assert_eq!(problem["detail"], "orchestrator not found");
    let registration = json!({"id": "far", "hostname": "h", "baseDir": "/base", "providers": ["codex"]});
    client.post("/api/orchestrators", registration).await.expect::<Value>(201);
    for (body, text) in [
        (json!([]), "body required"),
        (json!({"cwd": "/etc"}), "provider required"),
        (json!({"provider": "claude", "cwd": "x".repeat(501)}), "cwd must have at most 500 characters"),
        (
            json!({"provider": "claude", "approvalMode": "yolo"}),
            "approvalMode must be one of: open, guarded, read-only",
        ),
        (json!({"provider": "claude", "prompt": "x".repeat(4_001)}), "prompt must have at most 4000 characters"),
        (json!({"provider": "claude", "lable": "x"}), "unknown field \"lable\""),
        // Before the policies, which would have refused the directory.
        (json!({"provider": "claude", "cwd": "/etc"}), "orchestrator does not support provider: claude"),
    ] {
        client.post("/api/orchestrators/far/spawn", body).await.invalid(text);
    }
    assert!(client.commands("").await.is_empty());
}

#[tokio::test]
async fn where_it_may_work_is_decided_by_whole_components() {
    let server = Server::start().await;
    let client = &server.client;
    orchestrator(client, "far", "/base/dir").await;
    let spawn =
        async |cwd: &str| client.post("/api/orchestrators/far/spawn", json!({"provider": "claude", "cwd": cwd})).await;
    for (cwd, resolved) in [
        ("/base/dir", "/base/dir"),
        ("/base/dir/", "/base/dir"),
        ("/base/dir/x/../y", "/base/dir/y"),
        ("/other/../base/dir//z", "/base/dir/z"),
        ("x", "/base/dir/x"),
        ("./x/.", "/base/dir/x"),
        ("../dir/x", "/base/dir/x"),
        (" ", "/base/dir"),
    ] {
        let answer: Value = spawn(cwd).await.expect(202);
        assert_eq!(answer["command"]["request"]["cwd"], resolved, "{cwd}");
    }
    let allowed = client.inbox("orchestrator-far").await.len();
    let outside = ["/", "/base", "/base/dir-evil", "/base/dir/../x", "..", "../dir-evil", "x/../../y", "/Base/dir"];
    for cwd in outside {
        let problem = spawn(cwd).await.problem(403, "policy_denied");
        assert_eq!(problem["detail"], "cwd must be within orchestrator base directory: /base/dir", "{cwd}");
        let id = problem["commandId"].as_i64().expect("a command");
        let command: Command = client.get(&format!("/api/commands/{id}")).await.expect(200);
        assert_eq!((command.status.as_str(), command.message_id), ("denied", None));
        assert_eq!(entry(client, &format!("server-command-{id}-denied")).await.title, "Spawn denied");
    }
    assert_eq!(client.inbox("orchestrator-far").await.len(), allowed, "what is denied is not sent");
    assert_eq!(client.commands("status=denied&target=orchestrator-far").await.len(), outside.len());
}

#[tokio::test]
async fn the_one_with_the_fewest_agents_that_has_the_directory_is_chosen() {
    let server = Server::start().await;
    let client = &server.client;
    for (id, base, count) in [("b", "/base", 1), ("a", "/base", 2), ("c", "/base", 1), ("d", "/else", 0)] {
        orchestrator(client, id, base).await;
        manages(client, id, count).await;
    }
    let registration = json!({"id": "e", "hostname": "h", "baseDir": "/base", "providers": ["codex"]});
    client.post("/api/orchestrators", registration).await.expect::<Value>(201);
    let chosen = async |ask: Value| -> Value {
        let answer: Value = client.post("/api/agents/spawn", ask).await.expect(202);
        assert_eq!((&answer["ok"], &answer["message"]["type"]), (&json!(true), &json!("system")), "{answer}");
        answer
    };
    for (ask, id) in [
        (json!({"provider": "claude", "cwd": "/base/x"}), "b"),
        (json!({"provider": "claude", "cwd": "/else/x"}), "d"),
        (json!({"provider": "claude", "cwd": "/base/../else"}), "d"),
        (json!({"provider": "claude"}), "d"),
        (json!({"provider": "claude", "cwd": "x"}), "d"),
        (json!({"provider": "codex", "cwd": "/base"}), "e"),
    ] {
        let answer = chosen(ask.clone()).await;
        assert_eq!((&answer["orchestratorId"], &answer["provider"]), (&json!(id), &ask["provider"]), "{ask}");
    }
    manages(client, "b", 5).await;
    let answer = chosen(json!({"provider": "claude", "cwd": "/base/x", "approvalMode": "open"})).await;
    assert_eq!(answer["orchestratorId"], "c");
    let entry = entry(client, &format!("server-agent-spawn-claude-{}", answer["command"]["id"])).await;
    assert_eq!(entry.title, "claude agent spawn requested (via c)");
    assert_eq!((entry.body.as_deref(), entry.meta.as_deref()), (Some("/base/x"), Some("c")));
    assert_eq!((entry.icon.as_deref(), entry.view.as_deref()), (Some("ti-plus"), Some("agents")));
    let metadata = entry.metadata.expect("metadata").value();
    assert_eq!((&metadata["orchestratorId"], &metadata["approvalMode"]), (&json!("c"), &json!("open")));
    // Nobody has this directory: the relay's own host is asked, and has it neither.
    let ask = json!({"provider": "claude", "cwd": "/nowhere"});
    let problem = client.post("/api/agents/spawn", ask).await.problem(403, "policy_denied");
    assert!(!problem["detail"].as_str().expect("a reason").contains("/base"), "{problem}");
}

#[tokio::test]
async fn an_action_is_for_one_agent_or_for_all_of_them_in_so_many_words() {
    let server = Server::start().await;
    let client = &server.client;
    let path = "/api/orchestrators/far/actions";
    let problem = client.post(path, json!([])).await.problem(404, "not_found");
    assert_eq!(problem["detail"], "orchestrator not found");
    orchestrator(client, "far", "/base").await;
    manages(client, "far", 2).await;
    for (body, text) in [
        (json!([]), "body required"),
        (json!("restart"), "body required"),
        (json!({}), "action required"),
        (json!({"agentId": "far-0"}), "action required"),
        (json!({"action": "reboot", "all": true}), "action must be one of: restart, shutdown"),
        (json!({"action": "restart"}), "name one agent with agentId, or all of them"),
        (json!({"action": "restart", "agentId": " "}), "name one agent with agentId, or all of them"),
        (json!({"action": "restart", "all": false}), "name one agent with agentId, or all of them"),
        (json!({"action": "restart", "all": "true"}), "name one agent with agentId, or all of them"),
        (json!({"action": "restart", "agentId": "far-0", "all": true}), "name one agent with agentId, or all of them"),
        (json!({"action": "restart", "agentId": "far-0", "all": false}), "name one agent with agentId, or all of them"),
        (json!({"action": "shutdown", "agentID": "far-0"}), "unknown field \"agentID\""),
        (json!({"action": "shutdown", "agent_id": "far-0", "all": true}), "unknown field \"agent_id\""),
        (json!({"action": "shutdown", "agentId": ["far-0"]}), "agentId must be a string"),
    ] {
        client.post(path, body).await.invalid(text);
    }
    let stranger = json!({"action": "restart", "agentId": "far-9"});
    let problem = client.post(path, stranger).await.problem(404, "not_found");
    assert_eq!(problem["detail"], "managed agent not found");
    assert!(client.commands("").await.is_empty() && client.inbox("orchestrator-far").await.is_empty());

    for (ask, subject, icon, title, whom) in [
        (
            json!({"action": "restart", "agentId": "far-1"}),
            "Restart agent",
            "ti-refresh",
            "Agent restart requested",
            "far-1",
        ),
        (
            json!({"action": "shutdown", "agentId": "far-0"}),
            "Shutdown agent",
            "ti-power",
            "Agent shutdown requested",
            "far-0",
        ),
        (json!({"action": "restart", "all": true}), "Restart agent", "ti-refresh", "Agent restart requested", "all"),
        (json!({"action": "shutdown", "all": true}), "Shutdown agent", "ti-power", "Agent shutdown requested", "all"),
    ] {
        let answer: Value = client.post(path, ask.clone()).await.expect(202);
        assert_eq!((&answer["ok"], &answer["action"]), (&json!(true), &ask["action"]));
        let message = without_times(&answer["message"], "orchestratorControl");
        assert_eq!((&message["to"], &message["subject"]), (&json!("orchestrator-far"), &json!(subject)));
        let body: Value = serde_json::from_str(message["body"].as_str().expect("a body")).expect("JSON");
        assert_eq!(body, ask);
        let mut details = ask.clone();
        details["requestedBy"] = json!("dashboard");
        assert_eq!(message["meta"]["orchestratorControl"], details);
        let command: Command = serde_json::from_value(answer["command"].clone()).expect("a command");
        assert_eq!((command.target.as_str(), command.status.as_str()), ("orchestrator-far", "pending"));
        assert_eq!((json!(command.kind.as_str()), &command.request), (ask["action"].clone(), &ask));
        let id = format!("server-orchestrator-action-far-{}-{}", command.kind.as_str(), command.id);
        let entry = entry(client, &id).await;
        assert_eq!(
            (entry.title.as_str(), entry.body.as_deref(), entry.meta.as_deref()),
            (title, Some(whom), Some("far"))
        );
        assert_eq!((entry.icon.as_deref(), entry.view.as_deref()), (Some(icon), Some("orchestrators")));
    }
}
