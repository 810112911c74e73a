//! Agents on the relay's own host: started, watched, restarted and ended for real. A shell script stands in for the
//! program that the shipped provider `claude` plans.

mod crash;
mod deliveries;
mod exchange;
mod hang_up;
mod life;
mod orchestrator;
mod policies;
mod reboot;
mod refused;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command as Process;

use agent_relay::config::Config;
use agent_relay::domain::agent::Agent;
use agent_relay::domain::control::command::Command;
use agent_relay::sessions::{SessionInfo, SessionName, SessionState, Sessions, TmuxChoice};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::program::{Serving, program};
use crate::server::{Answer, Client, Server, eventually};
use crate::sessions::{end_all, open, processes_with, runs};

/// A program that is up at once and stays.
pub(crate) const UP: &str = "echo '(shift+tab to cycle)'; exec sleep 1000";

/// The sessions of a relay, looked at from outside. Dropping it ends them all: drop it before their directory goes.
pub(crate) struct Host {
    pub(crate) sessions: Sessions,
    directory: PathBuf,
}

impl Host {
    pub(crate) async fn at(data_dir: &Path, tmux: TmuxChoice) -> Self {
        let directory = data_dir.join("sessions");
        Self { sessions: open(&directory, tmux).await, directory }
    }

    /// What runs.
    pub(crate) fn running(&self) -> Vec<SessionInfo> {
        let mut sessions = self.sessions.list();
        sessions.retain(|session| matches!(session.state, SessionState::Running { .. }));
        sessions
    }

    /// Leaves of every session what a machine that ends leaves: no process, and files of another boot. Whoever runs the
    /// sessions must be gone by then.
    async fn end_with_the_machine(&self) {
        let (mut folders, mut all) = (Vec::new(), Vec::new());
        for session in self.running() {
            let SessionState::Running { pid } = session.state else { panic!("{session:?}") };
            let folder = self.directory.join(session.name.as_str());
            all.push(pid);
            all.extend(processes_with("cmdline", folder.to_str().expect("a plain path")));
            folders.push(folder);
        }
        // At once: none of them sees another end, and notes it.
        for signal in [Signal::STOP, Signal::KILL] {
            for pid in &all {
                let pid = Pid::from_raw(i32::try_from(*pid).expect("a process id")).expect("a process id");
                kill_process(pid, signal).ok();
            }
        }
        eventually("nothing of it runs", async || (!all.iter().any(|pid| runs(*pid))).then_some(())).await;
        for folder in folders {
            let state = folder.join("state.json");
            let mut written: Value = serde_json::from_slice(&fs::read(&state).expect("a state")).expect("JSON");
            assert!(written["bootId"].as_str().is_some_and(|id| id.len() == 36), "{written}");
            written["bootId"] = "00000000-0000-0000-0000-000000000000".into();
            fs::write(state, written.to_string()).expect("a state");
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        end_all(&self.sessions, &self.directory);
    }
}

/// A relay of its own, on whose host agents are started.
pub(crate) struct Bench {
    /// First, because what it ends lies in the directory that goes with the server.
    pub(crate) host: Host,
    pub(crate) server: Server,
    /// The base directory, with every symlink followed. `project` is in it.
    pub(crate) base: PathBuf,
}

impl Bench {
    /// `script` is what stands in for Claude Code.
    pub(crate) async fn start(tmux: TmuxChoice, script: &str) -> Self {
        Self::start_with(tmux, script, |_| {}).await
    }

    pub(crate) async fn start_with(tmux: TmuxChoice, script: &str, change: impl FnOnce(&mut Config)) -> Self {
        let home = tempfile::tempdir().expect("a temporary directory");
        let path = home.path().canonicalize().expect("the directory");
        let base = path.join("base");
        fs::create_dir_all(base.join("project")).expect("a project");
        let program = fake(&path, script);
        let server = Server::start_in(home, |config| {
            config.base_dir.clone_from(&base);
            config.sessions.tmux = tmux;
            use_program(config, &program);
            change(config);
        })
        .await;
        Self { host: Host::at(&path.join("data"), tmux).await, server, base }
    }

    pub(crate) fn client(&self) -> &Client {
        &self.server.client
    }

    pub(crate) async fn spawn(&self, ask: Value) -> Answer {
        let mut ask = ask;
        ask["provider"] = json!("claude");
        self.client().post("/api/agents/spawn", ask).await
    }

    /// Starts an agent that must come up.
    pub(crate) async fn agent(&self, ask: Value) -> Running {
        let running = Running::read(&self.spawn(ask).await.expect(202));
        let command = self.client().outcome(running.command).await;
        assert_eq!(command.status.as_str(), "succeeded", "{command:?}");
        running
    }

    pub(crate) async fn card(&self, agent: &Running) -> Agent {
        card(self.client(), &agent.id).await
    }

    /// Waits until the agent is known to have ended.
    pub(crate) async fn gone(&self, agent: &Running) -> Agent {
        eventually("the agent is offline", async || {
            Some(self.card(agent).await).filter(|card| card.status.as_str() == "offline")
        })
        .await
    }

    /// Asks an agent to restart or shut down, and waits for what came of it.
    pub(crate) async fn act(&self, agent: &Running, action: &str) -> Command {
        act(self.client(), agent, action).await
    }

    /// Nothing was started: no session, no process, no agent, no command but denied or failed ones.
    pub(crate) async fn assert_nothing_started(&self) {
        assert_eq!(crate::sessions::folders(&self.host.directory), Vec::<String>::new());
        let agents: Vec<Agent> = self.client().get("/api/agents?tag=spawned").await.expect(200);
        assert!(agents.is_empty(), "{agents:?}");
        for command in self.client().commands("").await {
            assert!(matches!(command.status.as_str(), "denied" | "failed"), "{command:?}");
        }
    }
}

/// An agent that was started.
#[derive(Clone, Debug)]
pub(crate) struct Running {
    pub(crate) id: String,
    pub(crate) session: SessionName,
    pub(crate) pid: u32,
    /// The command that started it.
    pub(crate) command: i64,
}

impl Running {
    /// From the answer to its spawn.
    pub(crate) fn read(answer: &Value) -> Self {
        let text = |member: &str| answer[member].as_str().unwrap_or_else(|| panic!("no {member} in {answer}"));
        Self {
            id: text("agentId").to_owned(),
            session: SessionName::parse(text("session")).expect("a session's name"),
            pid: answer["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok()).expect("a process id"),
            command: answer["command"]["id"].as_i64().expect("a command"),
        }
    }
}

pub(crate) async fn card(client: &Client, agent: &str) -> Agent {
    client.get(&format!("/api/agents/{agent}")).await.expect(200)
}

pub(crate) async fn act(client: &Client, agent: &Running, action: &str) -> Command {
    let path = format!("/api/agents/{}/actions", agent.id);
    let answer: Value = client.post(&path, json!({"action": action})).await.expect(202);
    client.outcome(answer["command"]["id"].as_i64().expect("a command")).await
}

/// A script under the name of Claude Code's program.
pub(crate) fn fake(home: &Path, script: &str) -> PathBuf {
    install(home, "claude", script)
}

/// A script under this name in `bin`.
pub(crate) fn install(home: &Path, name: &str, script: &str) -> PathBuf {
    let (draft, folder) = (home.join("draft"), home.join("bin"));
    fs::create_dir_all(&folder).expect("a folder");
    fs::write(&draft, format!("#!/bin/sh\n{script}\n")).expect("a script");
    let program = folder.join(name);
    // Another process writes it: were it open for writing in this one, a program that another test starts in this
    // moment would hold it open too, and a file that is being written cannot be run.
    let installed = Process::new("install").args(["-m", "755"]).arg(&draft).arg(&program).status().expect("install");
    assert!(installed.success());
    program
}

/// What an operator writes to have the shipped provider run this program.
fn use_program(config: &mut Config, program: &Path) {
    let path = program.to_str().expect("a plain path");
    let claude = config.plugins.plugins.entry("claude".to_owned()).or_default();
    claude.grants.executables = Some(vec![path.to_owned()]);
    claude.settings.insert("executable".to_owned(), path.into());
}

/// The arguments of a process, its program first.
pub(crate) fn cmdline(pid: u32) -> Vec<String> {
    words(&format!("/proc/{pid}/cmdline"))
}

/// A variable in the environment of a process.
pub(crate) fn environ(pid: u32, name: &str) -> Option<String> {
    let variables = words(&format!("/proc/{pid}/environ"));
    variables.into_iter().find_map(|variable| Some(variable.strip_prefix(name)?.strip_prefix('=')?.to_owned()))
}

fn words(path: &str) -> Vec<String> {
    let bytes = fs::read(path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let text = String::from_utf8(bytes).expect("text");
    text.split_terminator('\0').map(str::to_owned).collect()
}

/// A relay of the built program, with programs and plugins in folders of this home.
pub(crate) fn serve_beside(home: &Path) -> (Serving, Client) {
    let path = std::env::join_paths(
        std::iter::once(home.join("bin")).chain(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())),
    );
    let serving = Serving::start(
        program(home)
            .env("PATH", path.expect("a PATH"))
            .env("AGENT_RELAY_DATA_DIR", home.join("data"))
            .env("AGENT_RELAY_PLUGINS", home.join("plugins"))
            .env("AGENT_RELAY_BASE_DIR", home.join("base")),
    );
    let client = Client::new(&serving.url, None);
    (serving, client)
}
