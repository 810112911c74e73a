//! What is loaded, and what it would say if it were asked.

use std::collections::BTreeSet;
use std::fs;

use serde_json::{Value, json};

use super::{manages, orchestrator};
use crate::plugins::{guest, handmade, policy, put};
use crate::server::{Client, SHIPPED, Server};

fn members(value: &Value) -> BTreeSet<&str> {
    value.as_object().expect("an object").keys().map(String::as_str).collect()
}

#[tokio::test]
async fn every_plugin_is_listed_with_what_it_may_do_and_what_it_did() {
    let server = Server::start().await;
    let client = &server.client;
    let listed: Vec<Value> = client.get("/api/plugins").await.expect(200);
    assert_eq!(listed.iter().map(|plugin| plugin["id"].as_str().expect("an id")).collect::<Vec<_>>(), SHIPPED);
    for plugin in &listed {
        let expected = [
            "calls",
            "digest",
            "generation",
            "grants",
            "id",
            "interface",
            "kind",
            "limits",
            "loadedAt",
            "origin",
            "p50Micros",
            "p99Micros",
            "required",
            "since",
            "state",
            "traps",
            "version",
        ];
        let mut expected: BTreeSet<&str> = expected.into();
        // Verdicts are obeyed or not; a provider gives none.
        expected.extend((plugin["kind"] == "policy").then_some("mode"));
        assert_eq!(members(plugin), expected);
        assert_eq!((&plugin["state"], &plugin["origin"]), (&json!("active"), &json!("built-in")));
        assert_eq!(plugin["digest"].as_str().map(str::len), Some(64));
        assert_eq!(
            members(&plugin["limits"]),
            ["calls", "deadlineMs", "inputKb", "logLines", "memoryMb", "outputKb"].into()
        );
        assert_eq!(members(&plugin["grants"]), ["env", "executables", "files", "reads", "sockets"].into());
        let kind = if matches!(plugin["id"].as_str(), Some("claude" | "codex")) { "provider" } else { "policy" };
        assert_eq!(plugin["kind"], kind);
        let interface = plugin["interface"].as_str().expect("an interface");
        assert!(interface.contains(kind), "{interface}");
        let one: Value =
            client.get(&format!("/api/plugins/{}", plugin["id"].as_str().expect("an id"))).await.expect(200);
        assert_eq!(one["digest"], plugin["digest"]);
    }
    assert_eq!(listed[0]["grants"]["executables"], json!(["claude"]));
    let before = listed[2]["calls"].as_u64().expect("a number");
    client.post("/api/plugins/evaluate", json!({"kind": "spawn", "provider": "claude"})).await.expect::<Value>(200);
    let containment: Value = client.get("/api/plugins/containment").await.expect(200);
    assert_eq!(containment["calls"], before + 1);
    assert!(containment["p50Micros"].as_u64() > Some(0) && containment["traps"] == 0, "{containment}");
    let problem = client.get("/api/plugins/nothing").await.problem(404, "not_found");
    assert_eq!(problem["detail"], "plugin not found");
}

#[tokio::test]
async fn reloading_shows_how_things_are_then_and_tells_it() {
    let (server, directory) = Server::start_unwatched().await;
    let client = &server.client;
    let mut stream = client.follow("types=plugin.updated,activity.new").await;
    put(&directory.join("guard"), &policy("guard", "marker = 'no'"), &guest("misbehave"));
    let listed: Vec<Value> = client.post("/api/plugins/reload", json!({})).await.expect(202);
    let guard = listed.iter().find(|plugin| plugin["id"] == "guard").expect("the new one");
    assert_eq!((&guard["state"], &guard["origin"]), (&json!("active"), &json!("directory")));
    let told = stream.next_event("plugin.updated").await;
    assert_eq!((told.text("id"), told.text("change")), ("guard", "activated"));
    let entry = stream.next_event("activity.new").await;
    assert_eq!((entry.text("title"), entry.text("meta"), entry.text("kind")), ("Plugin activated", "guard", "plugin"));

    fs::write(directory.join("guard/plugin.toml"), "id = 'guard'\nkind = 'polcy'\n").expect("a manifest");
    let listed: Vec<Value> = client.post("/api/plugins/reload", json!({})).await.expect(202);
    let states: Vec<&Value> =
        listed.iter().filter(|plugin| plugin["id"] == "guard").map(|plugin| &plugin["state"]).collect();
    assert_eq!(states, ["active", "rejected"]);
    let rejected = listed.iter().find(|plugin| plugin["state"] == "rejected").expect("the broken one");
    assert_eq!(rejected["error"]["stage"], "manifest");
    assert!(rejected["error"]["reason"].as_str().is_some_and(|reason| reason.contains("polcy")), "{rejected}");
    assert_eq!(client.get("/api/plugins/guard").await.expect::<Value>(200)["state"], "active");
    let health: Value = client.get("/api/health").await.expect(200);
    assert_eq!(health["status"], "warn", "{health}");

    fs::remove_dir_all(directory.join("guard")).expect("removed");
    // An empty place is looked at twice, for it may be one that is being filled.
    crate::server::eventually("it is gone", async || {
        let listed: Vec<Value> = client.post("/api/plugins/reload", json!({})).await.expect(202);
        listed.iter().all(|plugin| plugin["id"] != "guard").then_some(())
    })
    .await;
    client.get("/api/plugins/guard").await.problem(404, "not_found");
}

async fn evaluate(client: &Client, ask: Value) -> Value {
    client.post("/api/plugins/evaluate", ask).await.expect(200)
}

#[tokio::test]
async fn an_evaluation_asks_everybody_and_does_nothing() {
    let server = Server::start().await;
    let client = &server.client;
    client.register_all(&["ada"]).await;
    orchestrator(client, "far", "/base").await;
    manages(client, "far", 1).await;
    let before = client.activity("").await.len();
    let verdicts = |answer: &Value| -> Vec<String> {
        let records = answer["verdicts"].as_array().expect("verdicts");
        records.iter().map(|record| format!("{} {}", record["plugin"], record["verdict"]).replace('"', "")).collect()
    };
    let both = ["containment allow", "control-guard allow"];
    for (ask, asked) in [
        (json!({"kind": "spawn", "provider": "claude"}), &both[..]),
        (json!({"kind": "spawn", "provider": "claude", "target": "orchestrator-far", "cwd": "x"}), &both),
        (json!({"kind": "spawn", "provider": "claude", "target": "far", "cwd": "/base/x"}), &both),
        (json!({"kind": "restart", "target": "ada"}), &both[1..]),
        (json!({"kind": "shutdown", "target": "ada"}), &both[1..]),
        (json!({"kind": "shutdown", "target": "orchestrator-far", "agentId": "far-0"}), &both[1..]),
        (json!({"kind": "restart", "target": "orchestrator-far", "all": true}), &both[1..]),
    ] {
        let answer = evaluate(client, ask.clone()).await;
        assert_eq!(
            (&answer["outcome"], verdicts(&answer)),
            (&json!("allowed"), asked.iter().map(ToString::to_string).collect()),
            "{ask}"
        );
        let record = &answer["verdicts"][0];
        let expected = ["digest", "generation", "micros", "mode", "plugin", "verdict", "version"];
        assert_eq!(members(record), expected.into());
    }
    let ask = json!({"kind": "spawn", "provider": "claude", "target": "far", "cwd": "../x", "approvalMode": "open"});
    let answer = evaluate(client, ask).await;
    assert_eq!(verdicts(&answer), ["containment deny"]);
    let known = "cwd must be within orchestrator base directory: /base";
    assert_eq!((&answer["outcome"], &answer["reason"]), (&json!("denied"), &json!(known)));
    assert_eq!(
        (&answer["verdicts"][0]["reason"], &answer["verdicts"][0]["code"]),
        (&json!(known), &json!("cwd_outside_base"))
    );

    for (ask, text) in [
        (json!({}), "kind required"),
        (json!({"kind": "kill"}), "kind must be one of: spawn, restart, shutdown"),
        (json!({"kind": "spawn"}), "provider required"),
        (json!({"kind": "spawn", "provider": "claude", "lable": "x"}), "unknown field \"lable\""),
        (json!({"kind": "restart"}), "target required"),
        (json!({"kind": "restart", "target": "ada", "cwd": "/"}), "unknown field \"cwd\""),
        (json!({"kind": "restart", "target": "ada", "as": "nobody"}), "no token and no agent is called \"nobody\""),
        (json!({"kind": "restart", "target": "ada", "as": 7}), "as must be the name of a caller, or an object"),
        (json!({"kind": "restart", "target": "ada", "as": {"scopes": []}}), "as: missing field `name`"),
        (json!({"kind": "restart", "target": "ada", "as": {"name": "x", "scopes": ["god"]}}), "as.scopes: \"god\""),
        (json!({"kind": "restart", "target": "ada", "at": -1}), "at must be milliseconds since the epoch"),
        (json!({"kind": "restart", "target": "ada", "at": "noon"}), "at must be milliseconds since the epoch"),
    ] {
        client.post("/api/plugins/evaluate", ask).await.invalid(text);
    }
    for ask in [
        json!({"kind": "restart", "target": "nobody"}),
        json!({"kind": "spawn", "provider": "claude", "target": "nowhere"}),
    ] {
        client.post("/api/plugins/evaluate", ask).await.problem(404, "not_found");
    }
    assert!(client.commands("").await.is_empty() && client.messages("").await.is_empty());
    assert_eq!(client.activity("").await.len(), before, "what was only asked leaves no trace");
}

#[tokio::test]
async fn a_plan_is_shown_and_not_carried_out() {
    let mut sessions = None;
    let server = Server::start_with(|config| sessions = Some(config.sessions.directory.clone())).await;
    let client = &server.client;
    let home = sessions.as_ref().and_then(|path| path.parent()?.parent()?.canonicalize().ok()).expect("a home");
    let ask = json!({"prompt": "hello", "approvalMode": "read-only", "label": "L"});
    for (provider, flag) in [("claude", "dontAsk"), ("codex", "--no-daemon")] {
        let plan: Value = client.post(&format!("/api/plugins/{provider}/plan"), ask.clone()).await.expect(200);
        assert_eq!((&plan["program"], &plan["provider"]), (&json!(provider), &json!(provider)));
        assert_eq!(plan["cwd"], json!(home));
        let args = plan["args"].as_array().expect("arguments");
        assert!(args.contains(&json!(flag)) && args.last() == Some(&json!("hello")), "{plan}");
        assert_eq!(plan["sha256"].as_str().map(str::len), Some(64));
        let listed: Value = client.get(&format!("/api/plugins/{provider}")).await.expect(200);
        assert_eq!((&plan["digest"], &plan["version"]), (&listed["digest"], &listed["version"]));
    }
    for provider in ["aider", "containment"] {
        let answer = client.post(&format!("/api/plugins/{provider}/plan"), ask.clone()).await;
        answer.problem(404, "not_found");
    }
    let plan = "/api/plugins/claude/plan";
    client.post(plan, json!({"provider": "codex"})).await.invalid("provider must be the plugin of the path");
    client.post(plan, json!({"modle": "x"})).await.invalid("unknown field \"modle\"");
    client.post(plan, json!([])).await.invalid("body required");
    // What a provider refuses is its own word, with its reason.
    let problem =
        client.post("/api/plugins/codex/plan", json!({"prompt": "!ls"})).await.problem(400, "invalid_request");
    assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains("may not begin with !")), "{problem}");
    assert!(client.commands("").await.is_empty());
    assert_eq!(crate::sessions::folders(&sessions.expect("a directory")), Vec::<String>::new());
}

/// Denies what is asked at the epoch, and nothing else.
fn only_later() -> Vec<u8> {
    handmade::policy(
        "(if (i64.eqz (i64.load offset=NOW (local.get $parameters)))
           (then unreachable))",
    )
}

#[tokio::test]
async fn an_evaluation_may_suppose_another_caller_and_another_time() {
    let (server, directory) = Server::start_unwatched().await;
    let client = &server.client;
    client.register_all(&["ada"]).await;
    let manifest = "id = 'guard'\nkind = 'policy'\nmode = 'monitor'\n[limits]\ndeadline_ms = 5000\n";
    put(&directory.join("guard"), manifest, &only_later());
    client.post("/api/plugins/reload", json!({})).await.expect::<Value>(202);
    let listed: Value = client.get("/api/plugins/guard").await.expect(200);
    assert_eq!((&listed["state"], &listed["mode"]), (&json!("active"), &json!("monitor")));

    let spawn = json!({"kind": "spawn", "provider": "claude"});
    let with = |more: Value| {
        let mut ask = spawn.clone();
        ask.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        ask
    };
    let of = |answer: &Value, plugin: &str| {
        let verdicts = answer["verdicts"].as_array().expect("verdicts");
        verdicts.iter().find(|verdict| verdict["plugin"] == plugin).cloned().unwrap_or_default()
    };
    let now = evaluate(client, spawn.clone()).await;
    assert_eq!((&of(&now, "guard")["verdict"], &of(&now, "guard")["mode"]), (&json!("allow"), &json!("monitor")));
    let then = evaluate(client, with(json!({"at": 0}))).await;
    assert_eq!(of(&then, "guard")["verdict"], "error", "it was asked as at the epoch: {then}");

    // An agent may start nobody, whoever asks about it.
    let as_agent = evaluate(client, with(json!({"as": "ada"}))).await;
    assert_eq!(of(&as_agent, "control-guard")["code"], "agent_may_not_control", "{as_agent}");
    let described = json!({"as": {"name": "x", "agentId": "x", "scopes": ["agent"]}});
    assert_eq!(evaluate(client, with(described)).await["outcome"], "denied");
    assert_eq!(evaluate(client, with(json!({"as": "dashboard"}))).await["outcome"], "allowed");
}
