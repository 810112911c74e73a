//! The relay is killed while it shows things: nothing is lost, and nothing is shown twice.

use std::fs;
use std::path::Path;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};

use super::{Moments, can_run, reaches, script, told_of, took};
use crate::program::{Serving, program};
use crate::server::{Client, DEADLINE_MS, SHIPPED};
use crate::spawn::{Host, Running, fake};
use agent_relay::sessions::TmuxChoice;

const KILLS: usize = 6;

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

#[tokio::test]
async fn what_is_shown_when_the_relay_is_killed_is_shown_once() {
    if !can_run("kills while something is shown") {
        return;
    }
    let home = tempfile::tempdir().expect("a temporary directory");
    let path = home.path().canonicalize().expect("the directory");
    let project = path.join("base");
    fs::create_dir_all(&project).expect("a base directory");
    let program = fake(&path, &script());
    let deadlines = SHIPPED.map(|id| format!("[plugin.{id}]\nlimits.deadline_ms = {DEADLINE_MS}\n")).concat();
    let configuration = deadlines.replace(
        "[plugin.claude]\n",
        &format!("[plugin.claude]\ngrants.executables = [{program:?}]\nsettings.executable = {program:?}\n"),
    );
    fs::write(path.join("relay.toml"), configuration).expect("a configuration");
    let (mut serving, mut client) = start(&path);
    let _host = Host::at(&path.join("data"), TmuxChoice::Auto).await;
    let ask = json!({"provider": "claude"});
    let agent = Running::read(&client.post("/api/agents/spawn", ask).await.expect(202));
    assert_eq!(client.outcome(agent.command).await.status.as_str(), "succeeded");
    let mut moments = Moments(7);
    let mut ids = Vec::new();
    for round in 0..=KILLS {
        for _ in 0..3 {
            let sent = client.send(json!({"from": "ada", "to": agent.id, "body": "b"})).await;
            ids.push(sent.id.get());
        }
        if round < KILLS {
            // At any moment of showing: being looked at, pasted, submitted, seen, written down.
            tokio::time::sleep(Duration::from_millis(moments.below(900))).await;
            serving.signal(Signal::KILL);
            drop(serving);
            (serving, client) = start(&path);
        }
    }
    for id in &ids {
        reaches(&client, *id, "presented").await;
    }
    let lines = took(&project);
    assert_eq!(lines.iter().map(|line| told_of(line)).sum::<usize>(), ids.len(), "{lines:#?}");
    let none: Vec<Value> = client.get("/api/attention").await.expect(200);
    assert!(none.is_empty(), "{none:?}");
    drop(serving);
}
