//! The main job on real input: the built relay starts the real agent programs under policies that are replaced while
//! it works. The programs ask a scripted model; where one is not installed its test says so and proves nothing.

mod exchange;
mod rule;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use agent_relay::domain::agent::Agent;
use agent_relay::domain::control::VerdictKind;
use agent_relay::domain::control::command::{Command, CommandStatus};
use agent_relay::sessions::{SessionName, TmuxChoice};
use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::program::{Serving, program};
use crate::real_clis::model::Model;
use crate::real_clis::{Cli, claude, codex};
use crate::server::{Client, DEADLINE_MS, SHIPPED, Stream, eventually};
use crate::sessions::{has_tmux, runs};
use crate::spawn::{Host, cmdline, environ};

/// What each approval mode must look like on the command line, seen in the process that runs.
type Flags = fn(&str) -> &'static [&'static str];

/// The tests do not run as another user than they are, and as root Claude Code has no other way to be open.
fn claude_flags(mode: &str) -> &'static [&'static str] {
    match mode {
        "open" if rustix::process::geteuid().is_root() => &["--permission-mode", "dontAsk"],
        "open" => &["--dangerously-skip-permissions"],
        "guarded" => &["--permission-mode", "acceptEdits"],
        _ => &["--permission-mode", "dontAsk", "--tools"],
    }
}

fn codex_flags(mode: &str) -> &'static [&'static str] {
    match mode {
        "open" => &["--ask-for-approval", "never", "--sandbox", "danger-full-access"],
        "guarded" => &["--ask-for-approval", "on-request", "--sandbox", "workspace-write"],
        _ => &["--ask-for-approval", "never", "--sandbox", "read-only"],
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn claude_code_is_started_under_policies_that_change() {
    if has_tmux("the main job with the real claude") {
        main_job("claude", claude, claude_flags).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn codex_is_started_under_policies_that_change() {
    if has_tmux("the main job with the real codex") {
        main_job("codex", codex, codex_flags).await;
    }
}

/// The same without a real program: what is asked and answered does not depend on one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rule_is_replaced_while_everybody_works() {
    let site = Site::start(&[]).await;
    rule::replace(&site, "claude").await;
}

async fn main_job(provider: &'static str, cli: fn(&Model, &Path, &Path) -> Option<Cli>, flags: Flags) {
    let model = Model::start().await;
    let (home, project) = prepare();
    let Some(cli) = cli(&model, home.path(), &project) else { return };
    let site = Site::start_in(home, &with_path(cli)).await;
    let mut stream = site.client.follow("types=command.updated").await;

    let mut last = None;
    for (number, mode) in (1..).zip(["open", "guarded", "read-only"]) {
        if let Some(agent) = last {
            site.shut_down(&agent).await;
        }
        let agent = site.start_agent(&mut stream, provider, mode, flags(mode)).await;
        crate::sessions::sees(&site.host.sessions, &agent.session, &format!("relay test answer {number}")).await;
        let turn = model.turn(number).await.to_string();
        assert!(turn.contains(&format!("a first prompt, {mode}")), "the prompt is not in {turn}");
        last = Some(agent);
    }
    let last = last.expect("an agent");
    site.outside_is_denied(provider).await;
    rule::replace(&site, provider).await;
    assert!(runs(last.pid), "what runs goes on under whatever rule");
    site.shut_down(&last).await;
}

/// What a program needs in its environment, with the PATH on which it is found.
pub(super) fn with_path(cli: Cli) -> Vec<(String, String)> {
    let folder = cli.program.parent().expect("a folder").to_owned();
    let path = std::env::join_paths(
        std::iter::once(folder).chain(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())),
    );
    let mut variables = cli.variables;
    variables.push(("PATH".to_owned(), path.expect("a PATH").into_string().expect("a plain PATH")));
    variables
}

/// The built relay with its directories, and everything its agents may work with or must not.
pub(super) struct Site {
    /// First, because what it ends lies in the directory that goes with `home`.
    pub(super) host: Host,
    pub(super) client: Client,
    /// The base directory, with every symlink followed.
    base: PathBuf,
    home: TempDir,
    variables: Vec<(String, String)>,
    serving: Serving,
}

/// An agent that was started.
struct Running {
    id: String,
    session: SessionName,
    pid: u32,
}

/// A home with a base directory and a project in it. Below the base directory `link` leads outside.
pub(super) fn prepare() -> (TempDir, PathBuf) {
    let home = tempfile::tempdir().expect("a temporary directory");
    let project = home.path().join("base/project");
    for folder in ["base/project", "base-evil", "outside", "plugins", "data"] {
        fs::create_dir_all(home.path().join(folder)).expect("a folder");
    }
    symlink(home.path().join("outside"), home.path().join("base/link")).expect("a link");
    let deadlines = SHIPPED.map(|id| format!("[plugin.{id}]\nlimits.deadline_ms = {DEADLINE_MS}\n"));
    fs::write(home.path().join("relay.toml"), deadlines.concat()).expect("a configuration");
    let project = project.canonicalize().expect("a project");
    (home, project)
}

/// The relay's program, with everything it keeps in this directory.
fn relay(home: &Path, variables: &[(String, String)]) -> std::process::Command {
    let mut command = program(home);
    command
        .env("AGENT_RELAY_CONFIG", home.join("relay.toml"))
        .env("AGENT_RELAY_DATA_DIR", home.join("data"))
        .env("AGENT_RELAY_PLUGINS", home.join("plugins"))
        .env("AGENT_RELAY_BASE_DIR", home.join("base"))
        .envs(variables.iter().map(|(name, value)| (name, value)));
    command
}

impl Site {
    async fn start(variables: &[(String, String)]) -> Self {
        Self::start_in(prepare().0, variables).await
    }

    pub(super) async fn start_in(home: TempDir, variables: &[(String, String)]) -> Self {
        let path = |name: &str| home.path().join(name);
        let serving = Serving::start(&mut relay(home.path(), variables));
        let client = Client::new(&serving.url, None);
        let host = Host::at(&path("data"), TmuxChoice::Auto).await;
        let base = path("base").canonicalize().expect("a base directory");
        Self { host, client, base, home, variables: variables.to_vec(), serving }
    }

    /// Kills the relay, and starts another where it was.
    pub(super) async fn restart(&mut self) {
        let address = self.serving.address().to_owned();
        self.serving.signal(Signal::KILL);
        self.serving.wait();
        self.serving = Serving::start_at(&mut relay(self.home.path(), &self.variables), &address);
        self.client = Client::new(&self.serving.url, None);
    }

    /// Starts an agent with a prompt, and waits until its model has answered that: its id and its session.
    pub(super) async fn begin(&self, provider: &str) -> (String, SessionName) {
        let ask = json!({"provider": provider, "approvalMode": "guarded", "cwd": "project", "prompt": "begin"});
        let answer: Value = self.client.post("/api/agents/spawn", ask).await.expect(202);
        let session = SessionName::parse(answer["session"].as_str().expect("a session")).expect("a name");
        self.client.outcome(answer["command"]["id"].as_i64().expect("a command")).await;
        crate::sessions::sees(&self.host.sessions, &session, "relay test answer 1").await;
        (answer["agentId"].as_str().expect("an agent").to_owned(), session)
    }

    /// The folder of the policy that is replaced.
    fn rule(&self) -> PathBuf {
        self.home.path().join("plugins/containment")
    }

    /// Starts an agent with a prompt, and follows its command from the decision to the end.
    async fn start_agent(&self, stream: &mut Stream, provider: &str, mode: &str, flags: &[&str]) -> Running {
        let ask = json!({
            "provider": provider, "approvalMode": mode, "cwd": "project", "label": format!("{mode} one"),
            "prompt": format!("a first prompt, {mode}"),
        });
        let answer: Value = self.client.post("/api/agents/spawn", ask).await.expect(202);
        let project = self.base.join("project");
        assert_eq!(answer["ok"], true, "{answer}");
        assert_eq!(answer["provider"], provider, "{answer}");
        assert_eq!(answer["approvalMode"], mode, "{answer}");
        assert_eq!(answer["cwd"], json!(project), "{answer}");
        assert_eq!(answer["label"], json!(format!("{mode} one")), "{answer}");
        assert_eq!(answer["dryRun"], false, "{answer}");
        let id = answer["agentId"].as_str().expect("an agent").to_owned();
        let session = SessionName::parse(answer["session"].as_str().expect("a session")).expect("a name");
        let pid = u32::try_from(answer["pid"].as_u64().expect("a process")).expect("a process id");

        let command: Command = serde_json::from_value(answer["command"].clone()).expect("a command");
        assert_decided(&command);
        assert_eq!(command.target, id);
        let mut steps = Vec::new();
        while steps.last() != Some(&CommandStatus::Succeeded) {
            let step: Command = serde_json::from_value(stream.next().await.data).expect("a command");
            if step.id == command.id {
                assert_ne!(
                    step.status,
                    CommandStatus::Failed,
                    "{step:?}\n{}",
                    self.host.sessions.screen(&session).await
                );
                steps.push(step.status);
            }
        }
        assert_eq!(steps, [CommandStatus::Accepted, CommandStatus::Running, CommandStatus::Succeeded]);
        let done = self.client.outcome(command.id).await.result.expect("a result").value();
        assert_eq!(done["plan"]["provider"], provider, "{done}");
        assert_eq!(done["plan"]["sha256"].as_str().map(str::len), Some(64), "{done}");

        let arguments = cmdline(pid);
        assert!(arguments.windows(flags.len()).any(|window| window == flags), "no {flags:?} in {arguments:?}");
        let prompt = format!("a first prompt, {mode}");
        assert_eq!(arguments.last(), Some(&prompt), "{arguments:?}");
        assert_eq!(fs::read_link(format!("/proc/{pid}/cwd")).expect("its directory"), project);
        let token = environ(pid, "AGENT_RELAY_TOKEN").expect("a token of its own");
        assert!(arguments.iter().all(|argument| !argument.contains(&token)), "a token in an argument list");
        assert_eq!(environ(pid, "AGENT_RELAY_AGENT_ID").as_ref(), Some(&id));

        let card = eventually("the agent is ready", async || {
            let card: Agent = self.client.get(&format!("/api/agents/{id}")).await.expect(200);
            card.ready.then_some(card)
        })
        .await;
        assert_eq!(card.status.as_str(), "online");
        assert_eq!(card.label, Some(format!("{mode} one")));
        assert_eq!(card.meta.value()["session"], json!(session));
        Running { id, session, pid }
    }

    /// Asks an agent to end, and sees that it did.
    async fn shut_down(&self, agent: &Running) {
        let path = format!("/api/agents/{}/actions", agent.id);
        let answer: Value = self.client.post(&path, json!({"action": "shutdown"})).await.expect(202);
        let command = self.client.outcome(answer["command"]["id"].as_i64().expect("a command")).await;
        assert_eq!(command.status, CommandStatus::Succeeded, "{command:?}");
        assert!(!runs(agent.pid), "its program has ended");
        let card: Agent = self.client.get(&format!("/api/agents/{}", agent.id)).await.expect(200);
        assert_eq!((card.status.as_str(), card.ready), ("offline", false));
    }

    /// Every way to a directory outside is refused with the policy's own words, recorded, and starts nothing.
    async fn outside_is_denied(&self, provider: &str) {
        let before = self.host.sessions.list().len();
        let evil = self.home.path().join("base-evil");
        let evil = evil.to_str().expect("a plain path");
        for cwd in ["/", "/etc", "..", "../outside", "project/../../outside", "link", "link/..", evil] {
            let ask = json!({"provider": provider, "cwd": cwd, "prompt": "get out"});
            let problem = self.client.post("/api/agents/spawn", ask).await.problem(403, "policy_denied");
            let known = format!("cwd must be within orchestrator base directory: {}", self.base.display());
            assert_eq!(problem["detail"], json!(known), "{cwd}");
            assert_eq!(problem["policy"], "containment", "{cwd}");
            let id = problem["commandId"].as_i64().expect("a command");
            let command: Command = self.client.get(&format!("/api/commands/{id}")).await.expect(200);
            assert_eq!((command.status, command.error), (CommandStatus::Denied, Some(known)), "{cwd}");
            let verdicts: Vec<VerdictKind> = command.decision.iter().map(|record| record.verdict).collect();
            assert_eq!(verdicts, [VerdictKind::Deny], "nobody is asked after a denial");
        }
        assert_eq!(self.host.sessions.list().len(), before, "nothing was started");
    }
}

/// Both shipped policies were asked and said yes, and the record says which ones they were.
fn assert_decided(command: &Command) {
    let asked: Vec<&str> = command.decision.iter().map(|record| record.plugin.as_str()).collect();
    assert_eq!(asked, ["containment", "control-guard"], "{command:?}");
    for record in &command.decision {
        assert_eq!(record.verdict, VerdictKind::Allow, "{record:?}");
        assert!(!record.version.is_empty() && record.digest.len() == 64 && record.micros > 0, "{record:?}");
    }
}
