//! Starting, looking at, restarting and ending agents from the command line. A script stands in for Claude Code.

use std::path::{Path, PathBuf};

use agent_relay::sessions::TmuxChoice;
use serde_json::{Value, json};

use super::shell::{Shell, on_terminal, typed};
use crate::server::eventually;
use crate::sessions::has_tmux;
use crate::spawn::{Host, UP, install};

/// A shell whose relay finds this script as `claude`. Dropping the host ends what was started: it comes first.
pub(super) async fn with_claude(script: &str, variables: &[(&str, &str)]) -> (Host, Shell) {
    let home = tempfile::tempdir().expect("a temporary directory");
    install(home.path(), "claude", script);
    std::fs::create_dir_all(home.path().join("base/project")).expect("a project");
    let path = path_with(&home.path().join("bin"));
    let base = home.path().join("base");
    let own = [("PATH", path.as_str()), ("AGENT_RELAY_BASE_DIR", base.to_str().expect("a plain path"))];
    let shell = Shell::at(home, &[&own[..], variables].concat());
    (Host::at(&data_dir(&shell), TmuxChoice::Auto).await, shell)
}

fn path_with(folder: &Path) -> String {
    format!("{}:{}", folder.display(), std::env::var("PATH").unwrap_or_default())
}

fn data_dir(shell: &Shell) -> PathBuf {
    shell.home.path().join(".local/share/agent-relay")
}

#[tokio::test]
async fn an_agent_is_started_looked_at_restarted_and_ended() {
    let (host, shell) = with_claude(UP, &[]).await;
    assert_eq!(shell.run(&["sessions"]).done(), "no sessions on this host\n");
    let project = shell.home.path().join("base/project");
    let mut spawn = shell.command();
    // Where the shell is, not where the relay begins.
    spawn.args(["spawn", "claude", "--cwd", "project", "--label", "Docs"]).current_dir(shell.home.path().join("base"));
    let (code, seen) = on_terminal(&mut spawn, 120);
    assert_eq!(code, Some(0), "{seen}");
    let [session] = &host.running()[..] else { panic!("{:?}", host.running()) };
    let (agent, name) = (session.identity.agent_id.clone(), session.name.to_string());
    assert!(Path::new(&session.identity.cwd).ends_with("base/project"), "{:?}", session.identity);
    assert!(project.is_dir() && seen.contains("spawn:") && seen.contains("running"), "its steps: {seen:?}");
    assert!(seen.contains(&format!("session {name}")) && seen.contains(&agent), "{seen:?}");
    assert!(seen.trim_end().lines().last().is_some_and(|line| line.contains("is") && line.contains("up")), "{seen:?}");

    let listed = shell.run(&["sessions", "list", "--json"]).json();
    assert_eq!((&listed[0]["name"], &listed[0]["state"]), (&json!(name), &json!("running")));
    assert!(shell.run(&["sessions"]).done().contains(&agent));
    for by in [&agent, &name] {
        let screen = shell.run(&["sessions", "screen", by]).done();
        assert!(screen.contains("(shift+tab to cycle)"), "{screen}");
    }
    let said = shell.run(&["sessions", "screen", &agent, "--json"]).json();
    assert_eq!((&said["name"], &said["agentId"]), (&json!(name), &json!(agent)));
    assert!(shell.run(&["sessions", "logs", "nobody"]).failed(1).contains("agent-relay sessions"));

    let said = shell.run(&["restart", &agent]);
    assert!(said.err.is_empty(), "nobody looks on: {said:?}");
    assert!(said.done().starts_with(&format!("agent {agent} is up again")));
    let unknown = shell.run(&["shutdown", &agent[..agent.len() - 1]]).failed(1);
    assert!(unknown.contains(&format!("did you mean {agent}?")), "{unknown}");
    let ended = shell.run(&["shutdown", &agent, "--json"]).json();
    assert_eq!((&ended["status"], &ended["kind"]), (&json!("succeeded"), &json!("shutdown")));
    assert!(host.running().is_empty(), "{:?}", host.running());
    assert!(shell.run(&["sessions", "logs", &agent]).done().contains("(shift+tab to cycle)"));
    assert!(shell.run(&["sessions", "attach", &agent]).failed(1).contains("has ended"));
    let drawn = shell.run(&["command", &ended["id"].to_string()]).done();
    assert!(drawn.contains(&format!("shutdown of {agent}, asked for by cli")), "{drawn}");
    assert!(drawn.contains("status: succeeded") && drawn.contains("POLICY"), "{drawn}");
}

#[tokio::test]
async fn the_terminal_of_an_agent_can_be_entered() {
    if !has_tmux("entering a terminal") {
        return;
    }
    let (host, shell) = with_claude(UP, &[]).await;
    let spawned = shell.run(&["spawn", "claude", "--json"]).json();
    let agent = spawned["result"]["agentId"].as_str().expect("an agent").to_owned();
    let said = shell.run(&["sessions", "attach", &agent]).done();
    assert!(said.contains("attach-session"), "for whoever has no terminal: {said}");
    let mut attach = shell.command();
    attach.args(["sessions", "attach", &agent]);
    let inside = std::thread::spawn(move || on_terminal(&mut attach, 100));
    let socket = data_dir(&shell).join("sessions/tmux.sock");
    eventually("somebody looks on", async || {
        let clients = std::process::Command::new("tmux").arg("-S").arg(&socket).args(["list-clients"]).output();
        clients.is_ok_and(|clients| !clients.stdout.is_empty()).then_some(())
    })
    .await;
    shell.run(&["shutdown", &agent]).done();
    let (_, seen) = inside.join().expect("its end");
    assert!(seen.contains("(shift+tab to cycle)"), "{seen:?}");
    drop(host);
}

#[tokio::test]
async fn what_does_not_come_up_is_no_success() {
    let (_host, shell) = with_claude("echo out of luck; exit 3", &[]).await;
    let failed = shell.run(&["spawn", "claude"]).failed(1);
    assert!(failed.contains("failed") && failed.contains("code 3") && failed.contains("out of luck"), "{failed}");
    let said = shell.run(&["spawn", "claude", "--json"]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert_eq!(serde_json::from_str::<Value>(&said.out).expect("JSON")["status"], "failed");
    let denied = shell.run(&["spawn", "claude", "--cwd", "/"]).failed(1);
    assert!(denied.contains("403") && denied.contains("cwd must be within"), "{denied}");
    let unknown = shell.run(&["spawn", "aider"]).failed(1);
    assert!(unknown.contains("no orchestrator available for provider: aider"), "{unknown}");
    assert!(unknown.contains("`agent-relay plugin list`"), "hints are commands: {unknown}");
    assert!(shell.run(&["spawn", "claude", "--approval-mode", "all"]).failed(2).contains("guarded"));
}

#[tokio::test]
async fn who_does_not_wait_for_it_is_told_that_it_goes_on() {
    let (_host, shell) = with_claude("exec sleep 1000", &[]).await;
    let late = shell.run(&["spawn", "claude", "--timeout", "1s"]).failed(1);
    assert!(late.contains("command 1 is still running after 1s; `agent-relay command 1`"), "{late}");
    assert_eq!(shell.run(&["spawn", "claude", "--no-wait"]).done(), "command 2 starts it\n");
    let begun = shell.run(&["spawn", "claude", "--detach", "--json"]).json();
    assert_eq!((&begun["ok"], &begun["command"]["id"]), (&json!(true), &json!(3)));
}

#[tokio::test]
async fn a_planned_agent_is_not_said_to_be_there() {
    let (_host, shell) = with_claude(UP, &[("AGENT_RELAY_SPAWN_DRY_RUN", "1")]).await;
    let said = shell.run(&["spawn", "claude", "--prompt", "hello"]).done();
    assert_eq!(said, "planned, and not started: this relay starts nothing\n");
}

#[tokio::test]
async fn agents_of_other_hosts_go_through_their_daemons() {
    let shell = Shell::new();
    assert!(shell.run(&["orchestrators"]).done().starts_with("no orchestrators"));
    let client = shell.client();
    client
        .post("/api/orchestrators", json!({"id": "far", "hostname": "h", "baseDir": "/base"}))
        .await
        .expect::<Value>(201);
    let managed = json!({"agents": [{"agentId": "far-0", "provider": "claude", "tmuxSession": "s", "cwd": "/base",
        "approvalMode": "guarded", "startedAt": 1}]});
    client.patch("/api/orchestrators/far/agents", managed).await.expect::<Value>(200);
    let drawn = shell.run(&["orchestrators"]).done();
    assert!(drawn.contains("far") && drawn.contains("online") && drawn.contains("claude codex"), "{drawn}");
    assert_eq!(shell.run(&["orchestrators", "--json"]).json()[0]["agentId"], "orchestrator-far");
    let told = shell.run(&["shutdown", "far-0", "--no-wait", "--json"]).json();
    assert_eq!((&told["command"]["target"], &told["action"]), (&json!("orchestrator-far"), &json!("shutdown")));
    let spawn = ["spawn", "claude", "--orchestrator", "far", "--cwd", "/base", "--json", "--timeout", "30s"];
    let mut spawning = shell.command();
    spawning.args(spawn);
    let spawning = std::thread::spawn(move || typed(&mut spawning, None));
    let command = eventually("it is asked for", async || {
        let commands = client.commands("kind=spawn").await;
        commands.first().map(|command| command.id)
    })
    .await;
    let report = json!({"status": "succeeded", "result": {"agentId": "far-1"}});
    client.patch(&format!("/api/commands/{command}"), report).await.expect::<Value>(200);
    let followed = spawning.join().expect("its end").json();
    assert_eq!((&followed["status"], &followed["result"]["agentId"]), (&json!("succeeded"), &json!("far-1")));
}
