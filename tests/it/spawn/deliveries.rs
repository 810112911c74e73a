//! Messages brought into sessions for real: a relay, a terminal, and a program that notes what it took.

mod doctor;
mod following;
mod kills;
mod moments;
mod random;

use std::fs;
use std::path::{Path, PathBuf};

use agent_relay::sessions::TmuxChoice;
use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{Host, Running, act, install, serve_beside};
use crate::plugins::{guest, provider, put};
use crate::program::{Serving, program};
use crate::server::{Client, eventually};
use crate::sessions::has_tmux;

/// Whether the program can be run. Where it cannot, says so for everybody to see.
fn can_run(test: &str) -> bool {
    let python = std::process::Command::new("python3").arg("--version").output();
    let has_python = python.is_ok_and(|output| output.status.success());
    if !has_python {
        eprintln!("SKIPPED: {test}: no python3 on PATH");
    }
    has_python && has_tmux(test)
}

/// A relay with one agent, of a provider that does not know what its program does: the screen says what it can.
struct Desk {
    agent: Running,
    project: PathBuf,
    /// First of what ends, because what it ends lies in the directory.
    _host: Host,
    serving: Option<Serving>,
    client: Client,
    home: TempDir,
}

impl Desk {
    /// Its program has these settings.
    async fn start(settings: Value) -> Self {
        let home = tempfile::tempdir().expect("a temporary directory");
        let path = home.path().canonicalize().expect("the directory");
        let project = path.join("base");
        fs::create_dir_all(&project).expect("a base directory");
        fs::write(project.join("agent.json"), settings.to_string()).expect("settings");
        put(&path.join("plugins/misplan"), &provider("misplan", ""), &guest("misplan"));
        let agent = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/spawn/deliveries/agent.py");
        install(&path, "sleeper", &format!("exec python3 {}", agent.display()));
        let (serving, client) = serve_beside(&path);
        let host = Host::at(&path.join("data"), TmuxChoice::Auto).await;
        let spawned = client.post("/api/agents/spawn", json!({"provider": "misplan"})).await;
        let agent = Running::read(&spawned.expect(202));
        let command = client.outcome(agent.command).await;
        assert_eq!(command.status.as_str(), "succeeded", "{command:?}");
        Self { agent, project, _host: host, serving: Some(serving), client, home }
    }

    fn client(&self) -> &Client {
        &self.client
    }

    /// Kills the relay, and starts it again on what it left.
    fn kill(&mut self) {
        let serving = self.serving.take().expect("a relay");
        serving.signal(Signal::KILL);
        drop(serving);
        let (serving, client) = serve_beside(&self.home.path().canonicalize().expect("the directory"));
        (self.serving, self.client) = (Some(serving), client);
    }

    /// Sends the agent a message, and answers its id.
    async fn send(&self, subject: &str) -> i64 {
        let draft = json!({"from": "ada", "to": self.agent.id, "subject": subject, "body": "/exit"});
        self.client().send(draft).await.id.get()
    }

    /// Waits until a message has come so far.
    async fn reaches(&self, id: i64, state: &str) -> Value {
        reaches(self.client(), id, state).await
    }

    /// Waits until a message waits for this. Before, it may wait for the moment in which nobody has looked yet.
    async fn waits(&self, id: i64, reason: &str) {
        let path = format!("/api/messages/{id}/deliveries");
        eventually(&format!("message {id} waits: {reason}"), async || {
            let all: Vec<Value> = self.client().get(&path).await.expect(200);
            (all[0]["state"] == "waiting" && all[0]["reason"] == reason).then_some(())
        })
        .await;
    }

    /// Has the program show a dialog, or go on.
    async fn ask(&self, whether: bool) {
        let (path, event) = (self.project.join("ask"), if whether { "asks" } else { "goes on" });
        let before = noted(&self.project, event).len();
        if whether {
            fs::write(path, "").expect("a file");
        } else {
            fs::remove_file(path).expect("a file");
        }
        eventually(event, async || (noted(&self.project, event).len() > before).then_some(())).await;
    }

    /// The program, typed beside the relay.
    fn command(&self, args: &[&str]) -> std::process::Command {
        let mut command = program(self.home.path());
        command.args(args).env("AGENT_RELAY_URL", &self.serving.as_ref().expect("a relay").url);
        command
    }

    /// The lines that the program took.
    fn took(&self) -> Vec<String> {
        took(&self.project)
    }
}

async fn reaches(client: &Client, id: i64, state: &str) -> Value {
    let path = format!("/api/messages/{id}/deliveries");
    eventually(&format!("message {id} is {state}"), async || {
        let all: Vec<Value> = client.get(&path).await.expect(200);
        let [delivery] = &all[..] else { panic!("{all:?}") };
        (delivery["state"] == state).then(|| delivery.clone())
    })
    .await
}

/// What a program noted of one kind.
fn noted(project: &Path, event: &str) -> Vec<Value> {
    let log = fs::read_to_string(project.join("agent.log")).unwrap_or_default();
    let notes = log.lines().map(|line| serde_json::from_str::<Value>(line).expect("a note"));
    notes.filter(|note| note["event"] == event).collect()
}

fn took(project: &Path) -> Vec<String> {
    noted(project, "took").iter().map(|note| note["text"].as_str().expect("a text").to_owned()).collect()
}

/// How many messages a notice tells of.
fn told_of(line: &str) -> usize {
    let words = line.strip_prefix("[agent-relay] ").unwrap_or_else(|| panic!("no notice: {line:?}"));
    if words.starts_with("message ") {
        return 1;
    }
    words.split(' ').next().and_then(|count| count.parse().ok()).unwrap_or_else(|| panic!("no count in {line:?}"))
}

/// Numbers that look like chance and are the same each time.
struct Moments(u64);

impl Moments {
    /// Lets up to so many milliseconds pass.
    async fn pass(&mut self, end_ms: u64) {
        let ms = i64::try_from(self.below(end_ms)).expect("a short while");
        crate::server::until(agent_relay::domain::time::Timestamp::now() + ms).await;
    }

    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end
    }
}
