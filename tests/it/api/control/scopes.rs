//! Who may control: the administrator, credentials with the scope for it, and agents not at all.

use agent_relay::domain::control::command::Command;
use agent_relay::domain::message::Message;
use agent_relay::sessions::TmuxChoice;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{manages, orchestrator};
use crate::server::{Client, Server, database};
use crate::spawn::{Bench, UP, cmdline, environ};

const TOKEN: &str = "ar_the-administrator";

/// A relay with tokens beside the administrator's, each with its name, scopes and agent, and clients that send them.
pub(in crate::api) async fn with_tokens<const N: usize>(
    tokens: [(&str, &str, Option<&str>); N],
) -> (Server, [Client; N]) {
    let home = Server::start_with_token(TOKEN).await.stop();
    let connection = rusqlite::Connection::open(database(&home)).expect("the database");
    for (name, scopes, agent) in tokens {
        let hash = Sha256::digest(name);
        connection
            .execute(
                "INSERT INTO tokens (name, hash, scopes, agent_id, created_at) VALUES (?1, ?2, ?3, ?4, 0)",
                rusqlite::params![name, &hash[..], scopes, agent],
            )
            .expect("a token");
    }
    drop(connection);
    let secret = agent_relay::config::Secret::parse("test", TOKEN).expect("a token");
    let server = Server::start_in(home, |config| config.token = Some(secret)).await;
    let clients = tokens.map(|(name, ..)| server.client.with_token(Some(name)));
    (server, clients)
}

#[tokio::test]
async fn control_needs_its_scope() {
    let (server, [reader, controller]) =
        with_tokens([("a-reader", "read send agent", None), ("a-controller", "control", None)]).await;
    let admin = &server.client;
    admin.register_all(&["ada"]).await;
    orchestrator(admin, "far", "/base").await;
    manages(admin, "far", 1).await;
    let action = json!({"action": "restart"});
    let supposed = json!({"kind": "restart", "target": "ada", "as": "ada"});
    let problem = controller.post("/api/plugins/evaluate", supposed.clone()).await.problem(403, "not_allowed");
    assert_eq!(problem["detail"], "only an administrator may evaluate as somebody else");
    admin.post("/api/plugins/evaluate", supposed).await.expect::<Value>(200);
    for (path, body, status) in [
        ("/api/agents/ada/actions", action.clone(), 202),
        ("/api/agents/spawn", json!({"provider": "claude", "cwd": "/base"}), 202),
        ("/api/orchestrators/far/spawn", json!({"provider": "claude"}), 202),
        ("/api/orchestrators/far/actions", json!({"action": "restart", "agentId": "far-0"}), 202),
        ("/api/plugins/evaluate", json!({"kind": "restart", "target": "ada"}), 200),
        ("/api/plugins/claude/plan", json!({}), 200),
    ] {
        let problem = reader.post(path, body.clone()).await.problem(403, "not_allowed");
        assert_eq!(problem["detail"], "this needs a credential with scope control", "{path}");
        let answer: Value = controller.post(path, body).await.expect(status);
        if status == 202 {
            assert_eq!(answer["command"]["requestedBy"], "a-controller", "{path}");
            let meta = &answer["message"]["meta"];
            let control = meta.get("agentControl").or(meta.get("orchestratorControl")).expect("what is asked for");
            assert_eq!(control["requestedBy"], "a-controller", "{path}");
        }
    }
    reader.get("/api/agents/spawn/directories").await.expect::<Value>(200);
    for path in ["/api/orchestrators", "/api/orchestrators/far/heartbeat"] {
        let body = json!({"id": "x", "hostname": "h", "baseDir": "/"});
        controller.post(path, body).await.problem(403, "not_allowed");
    }
    for client in [&reader, &controller] {
        client.post("/api/plugins/reload", json!({})).await.problem(403, "not_allowed");
        client.get("/api/commands").await.expect::<Value>(200);
        client.get("/api/plugins").await.expect::<Value>(200);
    }
    // The shipped policy leaves everybody at once to the administrator.
    let all = json!({"action": "shutdown", "all": true});
    let path = "/api/orchestrators/far/actions";
    let problem = controller.post(path, all.clone()).await.problem(403, "policy_denied");
    assert_eq!(problem["policy"], "control-guard");
    admin.post(path, all).await.expect::<Value>(202);
}

#[tokio::test]
async fn a_command_is_reported_on_by_its_target_alone() {
    let (server, [ada, bob, far, controller]) = with_tokens([
        ("of-ada", "agent", Some("ada")),
        ("of-bob", "agent", Some("bob")),
        ("of-far", "orchestrator agent", Some("orchestrator-far")),
        ("a-controller", "control", None),
    ])
    .await;
    let admin = &server.client;
    admin.register_all(&["ada", "bob"]).await;
    let registration = json!({"id": "far", "hostname": "h", "baseDir": "/base"});
    bob.post("/api/orchestrators", registration.clone()).await.problem(403, "not_allowed");
    far.post("/api/orchestrators", json!({"id": "near", "hostname": "h", "baseDir": "/"}))
        .await
        .problem(403, "wrong_identity");
    far.post("/api/orchestrators", registration).await.expect::<Value>(201);

    let answer: Value = admin.post("/api/agents/ada/actions", json!({"action": "restart"})).await.expect(202);
    let path = format!("/api/commands/{}", answer["command"]["id"]);
    let accepted = json!({"status": "accepted"});
    for stranger in [&bob, &far] {
        stranger.patch(&path, accepted.clone()).await.problem(403, "wrong_identity");
        stranger.get(&path).await.problem(403, "wrong_identity");
        stranger.get("/api/commands?target=ada").await.problem(403, "wrong_identity");
        assert_eq!(stranger.get("/api/commands").await.expect::<Value>(200), json!([]), "each sees its own");
    }
    controller.patch(&path, accepted.clone()).await.problem(403, "not_allowed");
    ada.patch(&path, accepted.clone()).await.expect::<Value>(200);
    assert_eq!(ada.get("/api/commands").await.expect::<Vec<Command>>(200).len(), 1);

    let answer: Value = admin.post("/api/orchestrators/far/spawn", json!({"provider": "claude"})).await.expect(202);
    let path = format!("/api/commands/{}", answer["command"]["id"]);
    ada.patch(&path, accepted.clone()).await.problem(403, "wrong_identity");
    far.patch(&path, accepted).await.expect::<Value>(200);
    for request in ["/api/orchestrators/near/heartbeat", "/api/orchestrators/near/agents"] {
        let method = if request.ends_with("agents") { reqwest::Method::PATCH } else { reqwest::Method::POST };
        far.call(far.request(method, request).json(&json!({"agents": []}))).await.problem(403, "wrong_identity");
    }
}

#[tokio::test]
async fn an_orchestrator_speaks_for_itself_and_what_it_runs_and_decides_nothing() {
    let (server, [far]) = with_tokens([("of-far", "orchestrator", Some("orchestrator-far"))]).await;
    let admin = &server.client;
    admin.register_all(&["ada"]).await;
    orchestrator(admin, "far", "/base").await;
    orchestrator(admin, "near", "/base").await;
    manages(admin, "far", 1).await;
    far.post("/api/orchestrators/far/heartbeat", json!({})).await.expect::<Value>(200);
    // Another's, and agents that are not its own.
    far.post("/api/orchestrators/near/heartbeat", json!({})).await.problem(403, "wrong_identity");
    far.delete("/api/orchestrators/near").await.problem(403, "wrong_identity");
    let entry = |id: &str, agent: &str| json!({"clientId": id, "kind": "state", "title": "t", "agentId": agent});
    far.post("/api/activity", entry("own", "far-0")).await.expect::<Value>(201);
    for stranger in ["ada", "near-0", "orchestrator-near"] {
        far.post("/api/activity", entry(stranger, stranger)).await.problem(403, "wrong_identity");
    }
    let work = admin.send(json!({"from": "x", "to": "ada", "body": "work", "claimable": true})).await;
    for path in ["/api/messages?for=ada", "/api/events?agent=ada", "/api/events/log?agent=ada"] {
        far.get(path).await.problem(403, "wrong_identity");
    }
    assert_eq!(far.get("/api/messages").await.expect::<Value>(200), json!([]), "its own, where it does not say whose");
    assert_eq!(far.get(&format!("/api/messages/{}", work.id)).await.status, 403);
    // What an administrator, a controller or an agent does.
    for (path, body) in [
        ("/api/agents/spawn".to_owned(), json!({"provider": "claude"})),
        ("/api/orchestrators/far/spawn".to_owned(), json!({"provider": "claude"})),
        ("/api/agents/ada/actions".to_owned(), json!({"action": "shutdown"})),
        ("/api/plugins/reload".to_owned(), json!({})),
        ("/api/plugins/evaluate".to_owned(), json!({"kind": "restart", "target": "ada"})),
        ("/api/messages".to_owned(), json!({"from": "ada", "to": "x", "body": "b"})),
        ("/api/agents".to_owned(), json!({"id": "ada"})),
        (format!("/api/messages/{}/claim", work.id), json!({"agentId": "ada"})),
        ("/api/system/broadcast".to_owned(), json!({"body": "b"})),
        ("/api/system/reap".to_owned(), json!({})),
    ] {
        far.post(&path, body).await.problem(403, "not_allowed");
    }
    for path in ["/api/agents", "/api/activity", "/api/plugins", "/api/stats", "/metrics"] {
        far.get(path).await.problem(403, "not_allowed");
    }
    far.delete("/api/agents/ada").await.problem(403, "not_allowed");
}

#[tokio::test]
async fn an_agent_with_the_scope_is_still_refused_by_the_shipped_policy() {
    let (server, [ada]) = with_tokens([("of-ada", "agent control", Some("ada"))]).await;
    server.client.register_all(&["ada", "bob"]).await;
    for path in ["/api/agents/bob/actions", "/api/agents/ada/actions"] {
        let problem = ada.post(path, json!({"action": "shutdown"})).await.problem(403, "policy_denied");
        assert_eq!(problem["policy"], "control-guard", "{path}");
    }
    ada.post("/api/agents/spawn", json!({"provider": "claude"})).await.problem(403, "policy_denied");
    let denied = server.client.commands("status=denied").await;
    assert_eq!(denied.len(), 3);
    assert!(denied.iter().all(|command| command.requested_by == "ada"), "{denied:?}");
}

#[tokio::test]
async fn a_started_agent_is_itself_and_nobody_else() {
    let secret = agent_relay::config::Secret::parse("test", TOKEN).expect("a token");
    let bench = Bench::start_with(TmuxChoice::Never, UP, |config| config.token = Some(secret)).await;
    let admin = bench.client();
    admin.register_all(&["bob"]).await;
    let agent = bench.agent(json!({"label": "one"})).await;
    let token = environ(agent.pid, "AGENT_RELAY_TOKEN").expect("a token");
    assert_ne!(token, TOKEN, "never the caller's");
    assert!(cmdline(agent.pid).iter().all(|argument| !argument.contains(&token)));
    let own = admin.with_token(Some(&token));

    let sent: Message = own.post("/api/messages", json!({"to": "bob", "body": "hi"})).await.expect(201);
    assert_eq!(sent.from, agent.id);
    admin.say("bob", &agent.id, "hello").await;
    let inbox: Vec<Message> = own.get(&format!("/api/messages?for={}", agent.id)).await.expect(200);
    assert_eq!(inbox.len(), 1);
    own.post("/api/messages", json!({"from": "bob", "to": "x", "body": "b"})).await.problem(403, "wrong_identity");
    own.get("/api/messages?for=bob").await.problem(403, "wrong_identity");
    own.post("/api/agents", json!({"id": "bob"})).await.problem(403, "wrong_identity");
    own.delete("/api/agents/bob").await.problem(403, "wrong_identity");
    own.patch("/api/agents/bob/status", json!({"status": "busy"})).await.problem(403, "wrong_identity");
    own.patch(&format!("/api/agents/{}/status", agent.id), json!({"status": "busy"})).await.expect::<Value>(200);
    for (path, body) in [
        ("/api/agents/spawn".to_owned(), json!({"provider": "claude"})),
        ("/api/agents/bob/actions".to_owned(), json!({"action": "shutdown"})),
        (format!("/api/agents/{}/actions", agent.id), json!({"action": "restart"})),
        ("/api/plugins/evaluate".to_owned(), json!({"kind": "spawn", "provider": "claude"})),
        ("/api/plugins/reload".to_owned(), json!({})),
        ("/api/orchestrators".to_owned(), json!({"id": "x", "hostname": "h", "baseDir": "/"})),
    ] {
        own.post(&path, body).await.problem(403, "not_allowed");
    }
    assert_eq!(own.get("/api/commands").await.expect::<Vec<Command>>(200)[0].id, agent.command);

    bench.act(&agent, "shutdown").await;
    own.post("/api/messages", json!({"to": "bob", "body": "hi"})).await.problem(401, "unauthorized");
}
