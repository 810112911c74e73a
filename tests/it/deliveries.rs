//! Messages brought into sessions for real: a relay, a terminal, and a program that notes what it took.

mod kills;
mod moments;
mod random;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use agent_relay::config::Config;
use agent_relay::sessions::TmuxChoice;
use serde_json::{Value, json};

use crate::server::{Client, eventually};
use crate::sessions::has_tmux;
use crate::spawn::{Bench, Running};

/// Whether the program can be run. Where it cannot, says so for everybody to see.
fn can_run(test: &str) -> bool {
    let has_python = Command::new("python3").arg("--version").output().is_ok_and(|output| output.status.success());
    if !has_python {
        eprintln!("SKIPPED: {test}: no python3 on PATH");
    }
    has_python && has_tmux(test)
}

/// What runs the program.
fn script() -> String {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/deliveries/agent.py");
    format!("exec python3 {}", program.display())
}

/// A relay with one agent, whose program has these settings.
struct Desk {
    agent: Running,
    project: PathBuf,
    bench: Bench,
}

impl Desk {
    async fn start(settings: Value) -> Self {
        Self::start_with(settings, |_| {}).await
    }

    async fn start_with(settings: Value, change: impl FnOnce(&mut Config)) -> Self {
        let bench = Bench::start_with(TmuxChoice::Auto, &script(), change).await;
        let project = bench.base.join("project");
        fs::write(project.join("agent.json"), settings.to_string()).expect("settings");
        let agent = bench.agent(json!({"cwd": "project"})).await;
        Self { agent, project, bench }
    }

    fn client(&self) -> &Client {
        self.bench.client()
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

    /// Has the program show a dialog, or go on.
    async fn ask(&self, whether: bool) {
        let (path, event) = (self.project.join("ask"), if whether { "asks" } else { "goes on" });
        let before = noted(&self.project, event).len();
        if whether {
            fs::write(path, "").expect("a file")
        } else {
            fs::remove_file(path).expect("a file")
        }
        eventually(event, async || (noted(&self.project, event).len() > before).then_some(())).await;
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
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end
    }
}
