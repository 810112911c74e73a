//! How many, how often, how deep: what the shipped policy refuses with numbers, from facts of the relay.

use std::path::Path;

use serde_json::{Value, json};

use crate::server::{Client, Server};

/// A relay whose shipped guard has these settings, with an orchestrator that offers one provider.
async fn guarded(settings: &str) -> Server {
    let directory = tempfile::tempdir().expect("a directory");
    let wasm = crate::plugins::components::component(Path::new("plugins/control-guard"));
    let wasm = std::fs::read(&wasm).unwrap_or_else(|error| panic!("{}: {error}", wasm.display()));
    let manifest = format!(
        "id = 'control-guard'\nkind = 'policy'\norder = 20\n[limits]\ndeadline_ms = 5000\n[settings]\n{settings}\n"
    );
    let server = Server::start_in(directory, |config| {
        let plugins = config.plugins.directory.clone().expect("a directory of plugins");
        crate::plugins::put(&plugins.join("control-guard"), &manifest, &wasm);
        config.token = Some(agent_relay::config::Secret::parse("test", "of-the-administrator").expect("a token"));
    })
    .await;
    let far = json!({"id": "far", "hostname": "far", "baseDir": "/base", "providers": ["claude"]});
    server.client.post("/api/orchestrators", far).await.expect::<Value>(201);
    server
}

/// Asks for an agent, and answers the id that it gets.
async fn spawned(client: &Client) -> String {
    let answer: Value = client.post("/api/orchestrators/far/spawn", json!({"provider": "claude"})).await.expect(202);
    answer["command"]["request"]["agentId"].as_str().expect("an id").to_owned()
}

async fn refused(client: &Client) -> (String, String) {
    let answer = client.post("/api/orchestrators/far/spawn", json!({"provider": "claude"})).await;
    let problem = answer.problem(403, "policy_denied");
    let of = |name: &str| problem[name].as_str().expect(name).to_owned();
    (of("policyCode"), of("detail"))
}

/// A client that speaks for this agent and may start others.
async fn as_agent(server: &Server, agent: &str) -> Client {
    let token = json!({"name": format!("of-{agent}"), "scopes": ["agent", "control"], "agentId": agent});
    let token: Value = server.client.post("/api/tokens", token).await.expect(201);
    server.client.with_token(token["token"].as_str())
}

#[tokio::test]
async fn agents_start_agents_only_so_deep_whatever_becomes_of_those_between() {
    let server = guarded("agents_may_control = 'anyone'\nagents_may_widen = true\nmax_depth = 1").await;
    let admin = &server.client;
    let first = as_agent(&server, &spawned(admin).await).await;
    let child = spawned(&first).await;
    let second = as_agent(&server, &child).await;
    let (code, detail) = refused(&second).await;
    assert_eq!(code, "too_deep");
    assert!(detail.contains("2 agents would stand between a person and this one, and 1 is the most"), "{detail}");
    // Registering, and the end of the command that started it, change nothing.
    admin.register(json!({"id": child})).await;
    assert_eq!(refused(&second).await.0, "too_deep");
    // One that is gone is forgotten, and a new one of its name is nobody's child.
    admin.delete(&format!("/api/agents/{child}")).await.expect::<Value>(200);
    let again = as_agent(&server, &child).await;
    spawned(&again).await;
}

#[tokio::test]
async fn a_caller_starts_only_so_many_in_a_while() {
    let server = guarded("spawns_per_hour = 2").await;
    let admin = &server.client;
    spawned(admin).await;
    spawned(admin).await;
    let (code, detail) = refused(admin).await;
    assert_eq!(code, "spawn_rate_exceeded");
    assert!(detail.contains("has started 2 agents in the last hour, and 2 is the most (spawns_per_hour)"), "{detail}");
    assert!(detail.ends_with("the next may start in 60 min"), "{detail}");
    // What was refused does not count, and another caller has a count of its own.
    let token = json!({"name": "ci", "scopes": ["control"]});
    let token: Value = admin.post("/api/tokens", token).await.expect(201);
    let other = admin.with_token(token["token"].as_str());
    spawned(&other).await;
    assert_eq!(refused(admin).await.0, "spawn_rate_exceeded");
}

#[tokio::test]
async fn nothing_starts_on_an_account_at_its_limit_and_the_question_can_be_replayed() {
    let server = guarded("while_limited = 'deny'\nmax_running = 2").await;
    let admin = &server.client;
    let agent = |id: &str| json!({"agentId": id, "provider": "claude", "cwd": "/base", "tmuxSession": "s"});
    let managed = json!({"agents": [agent("a")]});
    admin.patch("/api/orchestrators/far/agents", managed).await.expect::<Value>(200);
    admin.register_all(&["a", "b"]).await;
    spawned(admin).await;
    let condition = json!({"kind": "limit", "until": 4_000_000_000_000_i64, "detail": "limit reached"});
    admin.patch("/api/agents/a/condition", condition).await.expect::<Value>(200);
    let (code, detail) = refused(admin).await;
    assert_eq!(code, "provider_limited");
    assert!(detail.contains("1 of 1 running claude agents there are at a usage limit, and it ends in "), "{detail}");
    // What the policy was told is kept with the decision.
    let decisions: Vec<Value> = admin.get("/api/plugins/decisions?limit=1").await.expect(200);
    let known = decisions[0]["question"]["context"]["extensions"].as_array().expect("what was known").clone();
    let conditions = known.iter().find(|known| known["name"] == "conditions").expect("the conditions");
    assert!(conditions["value"].as_str().is_some_and(|value| value.contains(r#""kind":"limit""#)), "{conditions}");
    admin.patch("/api/agents/a/condition", json!({"kind": null})).await.expect::<Value>(200);
    spawned(admin).await;
    let managed = json!({"agents": [agent("a"), agent("b")]});
    admin.patch("/api/orchestrators/far/agents", managed).await.expect::<Value>(200);
    assert_eq!(refused(admin).await.0, "too_many_running");
}
