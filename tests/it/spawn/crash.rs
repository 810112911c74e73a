//! The relay is killed: what it started goes on, and the next one finds it.

use std::fs;
use std::path::Path;

use agent_relay::domain::control::command::CommandStatus;
use agent_relay::sessions::TmuxChoice;
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::{Value, json};

use super::{Host, Running, act, card, environ, fake};
use crate::program::{Serving, program};
use crate::server::{Client, DEADLINE_MS, SHIPPED, eventually};
use crate::sessions::{has_tmux, runs};

/// Up once there is a file of its label where it works.
const SCRIPT: &str = "while [ ! -e \"$AGENT_RELAY_LABEL\" ]; do sleep 0.02; done\n\
                      echo '(shift+tab to cycle)'; exec sleep 1000";

fn start(home: &Path) -> (Serving, Client) {
    let serving = Serving::start(
        program(home)
            .env("AGENT_RELAY_DATA_DIR", home.join("data"))
            .env("AGENT_RELAY_BASE_DIR", home.join("base"))
            .env("AGENT_RELAY_CONFIG", home.join("relay.toml")),
    );
    let client = Client::new(&serving.url, None);
    (serving, client)
}

async fn spawn(client: &Client, label: &str) -> Running {
    let ask = json!({"provider": "claude", "label": label});
    Running::read(&client.post("/api/agents/spawn", ask).await.expect(202))
}

#[tokio::test]
async fn agents_outlive_the_relay_and_are_found_again() {
    for tmux in [TmuxChoice::Never, TmuxChoice::Auto] {
        if tmux == TmuxChoice::Never || has_tmux("a killed relay") {
            outlive(tmux).await;
        }
    }
}

async fn outlive(tmux: TmuxChoice) {
    let home = tempfile::tempdir().expect("a temporary directory");
    let path = home.path().canonicalize().expect("the directory");
    fs::create_dir_all(path.join("base")).expect("a base directory");
    let program = fake(&path, SCRIPT);
    let deadlines = SHIPPED.map(|id| format!("[plugin.{id}]\nlimits.deadline_ms = {DEADLINE_MS}\n")).concat();
    let choice = if tmux == TmuxChoice::Auto { "auto" } else { "never" };
    let configuration = format!(
        "[spawn]\ntmux = '{choice}'\n{}",
        deadlines.replace(
            "[plugin.claude]\n",
            &format!("[plugin.claude]\ngrants.executables = [{program:?}]\nsettings.executable = {program:?}\n")
        )
    );
    fs::write(path.join("relay.toml"), configuration).expect("a configuration");
    let (serving, client) = start(&path);
    let host = Host::at(&path.join("data"), tmux).await;
    for label in ["up", "doomed"] {
        fs::write(path.join("base").join(label), "").expect("a sign");
    }
    let up = spawn(&client, "up").await;
    let doomed = spawn(&client, "doomed").await;
    for agent in [&up, &doomed] {
        assert_eq!(client.outcome(agent.command).await.status, CommandStatus::Succeeded);
    }
    let coming = spawn(&client, "coming").await;
    let command: Value = client.get(&format!("/api/commands/{}", coming.command)).await.expect(200);
    assert_eq!(command["status"], "running");
    let token = environ(doomed.pid, "AGENT_RELAY_TOKEN").expect("a token");
    client.with_token(Some(&token)).get("/api/agents").await.expect::<Value>(200);

    serving.signal(Signal::KILL);
    drop(serving);
    assert!(runs(up.pid) && runs(coming.pid), "they go on");
    let group = Pid::from_raw(i32::try_from(doomed.pid).expect("a process id")).expect("a process id");
    kill_process_group(group, Signal::KILL).expect("a living process");
    host.sessions.exited(&doomed.session).await;

    let (serving, client) = start(&path);
    eventually("the end of what ended meanwhile is noticed", async || {
        (card(&client, &doomed.id).await.status.as_str() == "offline").then_some(())
    })
    .await;
    client.with_token(Some(&token)).get("/api/agents").await.problem(401, "unauthorized");
    let still: Value = client.get(&format!("/api/commands/{}", coming.command)).await.expect(200);
    assert_eq!(still["status"], "running", "having outlived the relay does not make it up: {still}");
    assert!(!card(&client, &coming.id).await.ready);
    fs::write(path.join("base").join("coming"), "").expect("a sign");
    let settled = client.outcome(coming.command).await;
    assert_eq!(settled.status, CommandStatus::Succeeded, "{settled:?}");
    for agent in [&up, &coming] {
        eventually("the agent is ready", async || card(&client, &agent.id).await.ready.then_some(())).await;
        assert_eq!(card(&client, &agent.id).await.status.as_str(), "online");
    }
    let command = act(&client, &coming, "shutdown").await;
    assert_eq!(command.status, CommandStatus::Succeeded, "{command:?}");
    assert!(!runs(coming.pid));

    // An orderly end leaves them alone as well.
    serving.signal(Signal::TERM);
    assert_eq!(serving.ended().0, Some(0));
    assert!(runs(up.pid));
    let (_serving, client) = start(&path);
    let command = act(&client, &up, "restart").await;
    assert_eq!(command.status, CommandStatus::Succeeded, "{command:?}");
    assert!(!runs(up.pid));
    let [again] = &host.running()[..] else { panic!("{:?}", host.running()) };
    assert_eq!(again.identity.agent_id, up.id);
}
