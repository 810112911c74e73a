//! The real agent programs with the relay's tools: what the shipped providers put into a session works, goes on when
//! the relay is started anew, and keeps no program from starting when there is none.

use std::path::Path;

use agent_relay::domain::control::plan::{Presentation, Readiness, SessionFile};
use agent_relay::sessions::{SessionName, TmuxChoice};
use serde_json::{Value, json};

use super::main_job::{Site, prepare, with_path};
use super::model::{Answer, Model};
use super::{Cli, TURN_MS, claude, codex, every_installed, launch};
use crate::server::eventually;
use crate::sessions::{Bench, has_tmux};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn claude_code_uses_the_relays_tools_before_and_after_a_restart() {
    if has_tmux("the relay's tools with the real claude") {
        for program in every_installed("claude") {
            use_tools("claude", |model, home, cwd| Some(Cli { program, ..claude(model, home, cwd)? })).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn codex_uses_the_relays_tools_before_and_after_a_restart() {
    if has_tmux("the relay's tools with the real codex") {
        use_tools("codex", codex).await;
    }
}

/// Starts an agent through the relay, lets its model call a tool, and once more after the relay was killed.
async fn use_tools(provider: &str, cli: impl FnOnce(&Model, &Path, &Path) -> Option<Cli>) {
    let model = Model::start().await;
    let (home, project) = prepare();
    let Some(cli) = cli(&model, home.path(), &project) else { return };
    let mut site = Site::start_in(home, &with_path(cli)).await;
    let (id, session) = site.begin(provider).await;
    // It is told of nothing but by this test.
    let quiet = json!({"attention": "dnd"});
    site.client.patch(&format!("/api/agents/{id}/attention"), quiet).await.expect::<Value>(200);

    let (room, tool) = tool_of(&site, &model, &session).await;
    for round in 0..2 {
        let asked = site.client.send(json!({"from": "user", "to": id, "body": format!("round {round}")})).await;
        let turn = 3 + 2 * round;
        let input = json!({"id": asked.id.get()});
        model.will(Answer::Call { room: room.clone(), tool: tool.clone(), input });
        prompt(&site, &session, &format!("read message {}", asked.id)).await;
        let after = model.turn(turn + 1).await.to_string();
        assert!(after.contains(&format!("message {} from", asked.id)), "{after}");
        assert!(after.contains(&format!("> round {round}")), "{after}");
        crate::sessions::sees(&site.host.sessions, &session, &format!("relay test answer {}", turn + 1)).await;
        let read: Vec<Value> = site.client.get(&format!("/api/messages?for={id}")).await.expect(200);
        let read = read.iter().find(|message| message["id"] == json!(asked.id)).expect("the message");
        assert_eq!(read["readBy"], json!([id]), "read as the agent that the token belongs to");
        if round == 0 {
            site.restart().await;
        }
    }
    site.client.delete(&format!("/api/agents/{id}")).await;
}

/// Types a prompt.
async fn prompt(site: &Site, session: &SessionName, text: &str) {
    let presentation = Presentation { keys_before: Vec::new(), text: text.to_owned(), submit: true };
    site.host.sessions.type_text(session, &presentation).await.expect("it is typed");
}

/// The name by which the program offers the tool `read` to its model, in its second turn: as soon as it has asked the
/// relay for its tools.
async fn tool_of(site: &Site, model: &Model, session: &SessionName) -> (Option<String>, String) {
    eventually("its server was asked for its tools", async || {
        let metrics = site.client.get("/metrics").await.text;
        let count = |line: &str| line.rsplit(' ').next().and_then(|count| count.parse::<f64>().ok()).unwrap_or(0.0);
        let asked =
            |line: &&str| line.starts_with("agent_relay_http_request_seconds_count") && line.contains("\"/mcp\"");
        (metrics.lines().filter(asked).map(count).sum::<f64>() >= 2.0).then_some(())
    })
    .await;
    prompt(site, session, "which tools are there?").await;
    crate::sessions::sees(&site.host.sessions, session, "relay test answer 2").await;
    let turn = model.turn(2).await;
    let tools = turn["tools"].as_array().expect("tools");
    let is_named = |tool: &Value, name: &str| tool["name"].as_str() == Some(name);
    // Claude Code has one name for a tool, Codex a name within a room.
    if tools.iter().any(|tool| is_named(tool, "mcp__relay__read")) {
        return (None, "mcp__relay__read".to_owned());
    }
    let room = tools.iter().find(|tool| is_named(tool, "mcp__relay")).and_then(|room| room["tools"].as_array());
    let is_there = room.is_some_and(|tools| tools.iter().any(|tool| is_named(tool, "read")));
    assert!(is_there, "the relay's tools are not among {tools:?}");
    (Some("mcp__relay".to_owned()), "read".to_owned())
}

#[tokio::test]
async fn without_a_relay_claude_code_starts_all_the_same() {
    let server = json!({"mcpServers": {"relay": {"type": "http", "url": "http://127.0.0.1:1/mcp"}}}).to_string();
    if has_tmux("the real claude without a relay") {
        starts_anyway(claude, |_| vec!["--mcp-config".to_owned(), server, "--strict-mcp-config".to_owned()]).await;
    }
}

#[tokio::test]
async fn without_a_relay_codex_starts_all_the_same() {
    if has_tmux("the real codex without a relay") {
        let config = |setting: &str| ["-c".to_owned(), format!("mcp_servers.relay.{setting}")];
        let url = config("url=\"http://127.0.0.1:1/mcp\"");
        let token = config("bearer_token_env_var=\"AGENT_RELAY_TOKEN\"");
        starts_anyway(codex, |_| [url, token].concat()).await;
    }
}

/// Starts a program whose server is not there, and sees that it answers.
async fn starts_anyway(cli: fn(&Model, &Path, &Path) -> Option<Cli>, args: impl FnOnce(&Path) -> Vec<String>) {
    let model = Model::start().await;
    let bench = Bench::new(TmuxChoice::Auto).await;
    let cwd = bench.folder("project");
    let Some(cli) = cli(&model, &bench.folder("home"), &cwd) else { return };
    let ready = Readiness { screen_texts: Vec::new(), settle_ms: TURN_MS };
    let mut launch = launch(&cli, &cwd, "is anybody there?", ready);
    let place = launch.plan.args.len() - 1;
    launch.plan.args.splice(place..place, args(&cwd));
    launch.plan.files = Vec::<SessionFile>::new();
    let started = bench.start(launch).await.expect("it starts");
    bench.sees(&started.name, "relay test answer 1").await;
    assert!(model.turn(1).await.to_string().contains("is anybody there?"));
}
