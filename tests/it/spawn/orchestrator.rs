//! The daemon of another host: the built program beside a built relay, with a wire between them that can be cut. A shell
//! script stands in for the program that the shipped provider `claude` plans.

mod crash;
mod cut;
mod limits;
mod policies;
mod reboot;
mod survivors;
mod systemd;
mod takeover;
mod terminal;
mod typed;
mod units;
mod work;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command as Process, Stdio};

use agent_relay::domain::agent::Agent;
use agent_relay::domain::control::command::{Command, CommandStatus};
use agent_relay::domain::control::orchestrator::Orchestrator;
use agent_relay::sessions::TmuxChoice;
use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::cli::shell::{Said, typed};
use crate::client::forwarder::Forwarder;
use crate::program::{Running as Daemon, Serving, program};
use crate::server::{Client, DEADLINE_MS, SHIPPED, eventually};
use crate::sessions::runs;
use crate::spawn::{Host, card, environ, install};

const TOKEN: &str = "an-administrator";

/// Up once there is a file of its label where it works. It has a child in a session of its own, which says so.
const SCRIPT: &str = "setsid sleep 1000 & echo $! > \"child-$AGENT_RELAY_LABEL\"\n\
                      while [ ! -e \"$AGENT_RELAY_LABEL\" ]; do sleep 0.02; done\n\
                      echo \"$$\" >> \"starts-$AGENT_RELAY_LABEL\"\n\
                      echo '(shift+tab to cycle)'; exec sleep 1000";

/// A relay, and a daemon beside it. What runs is ended with it.
struct Site {
    /// First, because what it ends lies in the directory that goes with the site.
    host: Host,
    daemon: Option<Daemon>,
    serving: Option<Serving>,
    wire: Forwarder,
    /// Asks the relay as an administrator, beside the wire.
    client: Client,
    home: TempDir,
    flags: Vec<String>,
    /// What starts the daemon, before its own name.
    through: Vec<String>,
}

impl Site {
    async fn start() -> Self {
        Self::start_with(TmuxChoice::Never, SCRIPT, "", &[]).await
    }

    /// `script` stands in for Claude Code, `settings` are the daemon's own, and `flags` as well.
    async fn start_with(tmux: TmuxChoice, script: &str, settings: &str, flags: &[&str]) -> Self {
        Self::start_through(&[], tmux, script, settings, flags).await
    }

    /// The same with a daemon that another program starts.
    async fn start_through(through: &[&str], tmux: TmuxChoice, script: &str, settings: &str, flags: &[&str]) -> Self {
        let home = tempfile::tempdir().expect("a temporary directory");
        let path = home.path().canonicalize().expect("the directory");
        fs::create_dir_all(path.join("base/project")).expect("a project");
        let program = install(&path, "claude", script);
        let choice = if tmux == TmuxChoice::Auto { "auto" } else { "never" };
        let shipped = |of_claude: &str, of_guard: &str| {
            let section = |id: &&str| match *id {
                "claude" => format!("[plugin.claude]\nlimits.deadline_ms = {DEADLINE_MS}\n{of_claude}"),
                "control-guard" => format!("[plugin.control-guard]\nlimits.deadline_ms = {DEADLINE_MS}\n{of_guard}"),
                id => format!("[plugin.{id}]\nlimits.deadline_ms = {DEADLINE_MS}\n"),
            };
            SHIPPED.iter().map(section).collect::<String>()
        };
        let own = format!("grants.executables = [{program:?}]\nsettings.executable = {program:?}\n");
        let daemons = format!("[spawn]\ntmux = '{choice}'\n{}", shipped(&own, settings));
        fs::write(path.join("daemon.toml"), daemons).expect("settings");
        fs::write(path.join("relay.toml"), shipped("", "")).expect("settings");
        let wire = Forwarder::start().await;
        let serving = serve(&path);
        wire.lead_to(serving.address());
        let client = Client::new(&serving.url, Some(TOKEN));
        let token = json!({"name": "far", "scopes": ["orchestrator"], "agentId": "orchestrator-far"});
        let token: Value = client.post("/api/tokens", token).await.expect(201);
        fs::write(path.join("token"), token["token"].as_str().expect("a token")).expect("a file");
        let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        let (flags, through) = (owned(flags), owned(through));
        let host = Host::at(&path.join("far"), tmux).await;
        let mut site = Self { host, daemon: None, serving: Some(serving), wire, client, home, flags, through };
        site.start_daemon().await;
        site
    }

    fn path(&self) -> PathBuf {
        self.home.path().canonicalize().expect("the directory")
    }

    fn project(&self) -> PathBuf {
        self.path().join("base/project")
    }

    /// The command that is the daemon, with this data directory.
    fn command(&self, data: &str) -> Process {
        let path = self.path();
        let mut command = program(&path);
        let others = std::env::var_os("PATH").unwrap_or_default();
        let paths = std::iter::once(path.join("bin")).chain(std::env::split_paths(&others));
        command.env("PATH", std::env::join_paths(paths).expect("a PATH"));
        command.args(["orchestrator", "--id", "far", "--relay-url", &self.wire.url]);
        command.arg("--base-dir").arg(path.join("base")).arg("--data-dir").arg(path.join(data));
        command.arg("--token-file").arg(path.join("token")).arg("--config").arg(path.join("daemon.toml"));
        command.args(&self.flags);
        let [starter, before @ ..] = &self.through[..] else { return command };
        let mut through = Process::new(starter);
        through.args(before).arg(command.get_program()).args(command.get_args()).env_clear();
        through.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?)))).stdin(Stdio::null());
        through
    }

    /// What somebody types beside the relay, as an administrator.
    fn types(&self, args: &[&str]) -> Said {
        let mut command = program(&self.path());
        let url = &self.serving.as_ref().expect("a relay").url;
        typed(command.args(args).env("AGENT_RELAY_URL", url).env("AGENT_RELAY_TOKEN", TOKEN), None)
    }

    /// Starts the daemon, and waits until it is registered and listens.
    async fn start_daemon(&mut self) {
        let before = self.orchestrator().await.map_or(0, |orchestrator| orchestrator.epoch);
        let daemon = Daemon::start(&mut self.command("far"));
        daemon.said("registered as far");
        self.daemon = Some(daemon);
        eventually("it is registered", async || {
            self.orchestrator().await.filter(|orchestrator| orchestrator.epoch > before)
        })
        .await;
    }

    fn kill_daemon(&mut self) {
        let daemon = self.daemon.take().expect("a daemon");
        daemon.signal(Signal::KILL);
        daemon.ended();
    }

    fn kill_relay(&mut self) {
        let serving = self.serving.take().expect("a relay");
        serving.signal(Signal::KILL);
        serving.ended();
        self.wire.sever();
    }

    /// The relay again, on what the last one left.
    fn start_relay(&mut self) {
        let serving = serve(&self.path());
        self.wire.lead_to(serving.address());
        self.client = Client::new(&serving.url, Some(TOKEN));
        self.serving = Some(serving);
    }

    async fn orchestrator(&self) -> Option<Orchestrator> {
        let answer = self.client.get("/api/orchestrators/far").await;
        if answer.status == 404 { None } else { Some(answer.expect(200)) }
    }

    /// Has an agent of this label started; it is up once there is a file of that name.
    async fn spawn(&self, label: &str) -> Spawned {
        self.ask(json!({"label": label})).await
    }

    /// The same, up.
    async fn agent(&self, label: &str) -> Spawned {
        self.sign(label);
        let spawned = self.spawn(label).await;
        let command = self.client.outcome(spawned.command).await;
        assert_eq!(command.status, CommandStatus::Succeeded, "{command:?}");
        spawned
    }

    async fn ask(&self, ask: Value) -> Spawned {
        let mut ask = ask;
        if ask["provider"].is_null() {
            ask["provider"] = json!("claude");
        }
        if ask["cwd"].is_null() {
            ask["cwd"] = json!("project");
        }
        let answer: Value = self.client.post("/api/orchestrators/far/spawn", ask).await.expect(202);
        let agent = answer["command"]["request"]["agentId"].as_str().expect("an id").to_owned();
        Spawned { agent, command: answer["command"]["id"].as_i64().expect("a number") }
    }

    /// Lets the program of this label come up.
    fn sign(&self, label: &str) {
        fs::write(self.project().join(label), "").expect("a sign");
    }

    async fn command_of(&self, id: i64) -> Command {
        self.client.get(&format!("/api/commands/{id}")).await.expect(200)
    }

    /// Asks for something to be done to an agent, by its own route.
    async fn asked(&self, agent: &str, action: &str) -> i64 {
        let path = format!("/api/agents/{agent}/actions");
        let answer: Value = self.client.post(&path, json!({"action": action})).await.expect(202);
        answer["command"]["id"].as_i64().expect("a command")
    }

    /// Has it done.
    async fn act(&self, agent: &str, action: &str) -> Command {
        let command = self.asked(agent, action).await;
        self.client.outcome(command).await
    }

    async fn card(&self, agent: &str) -> Agent {
        card(&self.client, agent).await
    }

    /// Waits until the card says so.
    async fn card_is(&self, agent: &str, what: &str, is: impl Fn(&Agent) -> bool) -> Agent {
        eventually(what, async || {
            let answer = self.client.get(&format!("/api/agents/{agent}")).await;
            if answer.status == 404 {
                return None;
            }
            Some(answer.expect::<Agent>(200)).filter(|card| is(card))
        })
        .await
    }

    /// The process of an agent that runs here.
    fn pid(&self, agent: &str) -> u32 {
        self.try_pid(agent).unwrap_or_else(|| panic!("{agent} does not run: {:?}", self.host.running()))
    }

    fn try_pid(&self, agent: &str) -> Option<u32> {
        let running = self.host.running();
        let mut of_agent = running.iter().filter(|session| session.identity.agent_id == agent);
        let found = of_agent.next()?;
        assert!(of_agent.next().is_none(), "{agent} runs twice: {running:?}");
        match found.state {
            agent_relay::sessions::SessionState::Running { pid } => Some(pid),
            _ => None,
        }
    }

    /// The child that the program of this label has in a session of its own.
    fn child(&self, label: &str) -> u32 {
        let text = fs::read_to_string(self.project().join(format!("child-{label}"))).expect("a child");
        text.trim().parse().expect("a process id")
    }

    /// How often the program of this label came up.
    fn starts(&self, label: &str) -> usize {
        fs::read_to_string(self.project().join(format!("starts-{label}"))).unwrap_or_default().lines().count()
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        // It would start what is ended here again.
        self.daemon = None;
    }
}

/// An agent that was asked for.
#[derive(Clone, Debug)]
struct Spawned {
    agent: String,
    command: i64,
}

fn serve(home: &Path) -> Serving {
    Serving::start(
        program(home)
            .env("AGENT_RELAY_TOKEN", TOKEN)
            .env("AGENT_RELAY_DATA_DIR", home.join("relay"))
            .env("AGENT_RELAY_BASE_DIR", home.join("base"))
            .env("AGENT_RELAY_CONFIG", home.join("relay.toml")),
    )
}

/// The token with which the program of this process calls the relay.
fn token_of(pid: u32) -> String {
    environ(pid, "AGENT_RELAY_TOKEN").expect("a token")
}

/// Waits until this process is gone.
async fn gone(pid: u32) {
    eventually(&format!("process {pid} is gone"), async || (!runs(pid)).then_some(())).await;
}
