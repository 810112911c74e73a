//! What the shipped providers see of the real programs at each moment, and by which of their ways a notice gets in.
//!
//! The relay's server of tools is one that never answers, in all of it: that must not keep a program from its work.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use agent_relay::domain::control::ApprovalMode;
use agent_relay::domain::control::courier::{Carrier, Notice};
use agent_relay::domain::control::observation::Doing;
use agent_relay::domain::control::plan::{EnvValue, EnvVar, LaunchSite, SpawnRequest, StopReason};
use agent_relay::domain::control::spawn::SpawnSpec;
use agent_relay::launcher::{Host, Launcher, Look, Offered, TOKEN_VARIABLE};
use agent_relay::plugins::Plugins;
use agent_relay::sessions::{Launch, Place, SessionName, TmuxChoice};
use serde_json::json;

use super::every_installed;
use super::model::{Answer, Model, for_claude, for_codex, with_account};
use crate::plugins::Home;
use crate::plugins::components::component;
use crate::server::{DEADLINE_MS, eventually};
use crate::sessions::{Bench, has_tmux};

/// The prompt that the session is started with.
const PROMPT: &str = "the first prompt";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn claude_code_is_woken_and_nothing_is_pressed_into_its_dialogs() {
    if has_tmux("waking the real claude") {
        for program in programs("claude") {
            wake(program).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn codex_is_woken_and_nothing_is_pressed_into_its_dialogs() {
    if has_tmux("waking the real codex") {
        for program in programs("codex") {
            wake(program).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn claude_code_says_when_its_limit_ends() {
    if has_tmux("a limit of the real claude") {
        for program in programs("claude") {
            limit(program).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn codex_says_when_its_limit_ends() {
    if has_tmux("a limit of the real codex") {
        for program in programs("codex") {
            limit(program).await;
        }
    }
}

/// A version of a program.
struct Program {
    provider: &'static str,
    place: PathBuf,
    version: String,
}

impl Program {
    /// The way into it that needs no keystroke.
    fn native(&self) -> Option<&'static str> {
        match (self.provider, self.version.as_str()) {
            ("claude", "2.1.332") => Some("inbox"),
            ("codex", "0.169.0") => Some("queue"),
            _ => None,
        }
    }

    /// A command that it asks a person about.
    fn asks(&self) -> Answer {
        let (tool, input) = match self.provider {
            "claude" => ("Bash", json!({ "command": "touch ../pressed", "description": "Make a file outside" })),
            _ => (
                "exec_command",
                json!({ "cmd": "touch ../pressed", "sandbox_permissions": "require_escalated", "justification": "Outside" }),
            ),
        };
        Answer::Call { room: None, tool: tool.to_owned(), input }
    }
}

fn programs(provider: &'static str) -> Vec<Program> {
    let with_version = |place: PathBuf| {
        let said = Command::new(&place).arg("--version").output().expect("its version").stdout;
        let said = String::from_utf8_lossy(&said).into_owned();
        let version = said.split_whitespace().find(|word| word.starts_with(|letter: char| letter.is_ascii_digit()));
        Program { provider, version: version.expect("a version").to_owned(), place }
    };
    every_installed(provider).into_iter().map(with_version).collect()
}

/// A host on which one program is started, and the model that it asks.
struct Site {
    program: Program,
    model: Model,
    /// Accepts connections, for the system does, and answers none.
    silent: TcpListener,
    launcher: Launcher,
    plugins: Plugins,
    variables: Vec<(String, String)>,
    cwd: PathBuf,
    home: PathBuf,
    bench: Bench,
    _plugins_home: Home,
}

impl Site {
    async fn prepare(program: Program) -> Self {
        let model = Model::start().await;
        let bench = Bench::new(TmuxChoice::Auto).await;
        let (home, cwd) = (bench.folder("home"), bench.folder("project"));
        let prepare = if program.provider == "claude" { for_claude } else { for_codex };
        let mut variables = prepare(model.url(), &home, &cwd);
        let folders = program.place.parent().map(Path::to_path_buf).into_iter();
        let path = std::env::var_os("PATH").unwrap_or_default();
        let path = std::env::join_paths(folders.chain(std::env::split_paths(&path))).expect("a PATH");
        variables.push(("PATH".to_owned(), path.into_string().expect("a plain PATH")));

        let plugins_home = Home::new();
        let folder = Path::new("plugins").join(program.provider);
        let manifest = std::fs::read_to_string(folder.join("plugin.toml")).expect("a manifest");
        let manifest = manifest.replace("deadline_ms = 100", &format!("deadline_ms = {DEADLINE_MS}"));
        plugins_home.put(program.provider, &manifest, &std::fs::read(component(&folder)).expect("a component"));
        let plugins = plugins_home.open().await;

        let host = Host {
            orchestrator: None,
            roots: vec![cwd.clone()],
            home: home.clone(),
            hostname: "here".to_owned(),
            relay_url: "http://127.0.0.1:9".to_owned(),
            dry_run: false,
        };
        let launcher = Launcher::new(host, bench.sessions.clone());
        let silent = TcpListener::bind("127.0.0.1:0").expect("a port on loopback");
        Self { program, model, silent, launcher, plugins, variables, cwd, home, bench, _plugins_home: plugins_home }
    }

    /// Starts the program as its provider plans it, with a prompt or going on with a conversation.
    async fn start(&self, prompt: Option<&str>, resume: Option<String>) -> SessionName {
        let provider = self.program.provider;
        let text = |path: &Path| path.to_str().expect("a plain path").to_owned();
        let reservation = self.bench.sessions.reserve(provider, "one").expect("a session");
        let resumes = resume.is_some();
        let request = SpawnRequest {
            agent_id: "one".to_owned(),
            approval_mode: ApprovalMode::Guarded,
            label: Some("one".to_owned()),
            prompt: prompt.map(str::to_owned),
            conversation: Some("4ad1ff10-0c3f-4b6e-9a43-0d7c3f6f2f11".to_owned()).filter(|_| !resumes),
            resume,
        };
        let site = LaunchSite {
            cwd: text(&self.cwd),
            home: text(&self.home),
            hostname: "here".to_owned(),
            session_dir: text(&reservation.files_directory()),
            relay_url: "http://127.0.0.1:9".to_owned(),
            token_variable: TOKEN_VARIABLE.to_owned(),
            mcp_url: Some(format!("http://{}/mcp", self.silent.local_addr().expect("its address"))),
            host_variables: Vec::new(),
            root: rustix::process::geteuid().is_root(),
        };
        let plan = self.plugins.current().plan("ada", provider, &request, &site).await.expect("a plan");
        let mut plan = plan.into_plan();
        assert_eq!(plan.resumed, resumes);
        plan.program = text(&self.program.place);
        let variables = self.variables.iter();
        plan.env.extend(
            variables.map(|(name, value)| EnvVar { name: name.clone(), value: EnvValue::Literal(value.clone()) }),
        );
        let launch = Launch {
            spec: SpawnSpec {
                agent_id: "one".into(),
                provider: provider.to_owned(),
                approval_mode: ApprovalMode::Guarded,
                cwd: text(&self.cwd),
                label: Some("one".to_owned()),
                prompt: prompt.map(str::to_owned),
                again: None,
            },
            plan,
            place: Place::open(&self.cwd).expect("a directory"),
            variables: vec![(TOKEN_VARIABLE.to_owned(), "ar_0123456789".to_owned())],
        };
        self.bench.sessions.start(reservation, launch).await.expect("it starts").name
    }

    /// Looks until the program does what it should, and never sees it wait for somebody meanwhile.
    async fn until(&self, name: &SessionName, what: &str, is_so: impl Fn(&Doing) -> bool) -> Look {
        eventually(what, async || {
            let look = self.launcher.look(&self.plugins.current(), name).await.expect("it runs");
            let doing = &look.observation.doing;
            if is_so(doing) {
                return Some(look);
            }
            let waits = matches!(doing, Doing::Dialog(_) | Doing::Approval(_) | Doing::Input(_) | Doing::Limit { .. });
            assert!(!waits, "{what}: {doing:?}\n{}", look.screen);
            None
        })
        .await
    }

    async fn idle(&self, name: &SessionName) -> Look {
        let look = self.until(name, "it is idle", |doing| *doing == Doing::Idle).await;
        assert!(look.is_observed && !look.observation.has_draft, "{look:?}");
        assert_eq!(look.observation.version.as_deref(), Some(self.program.version.as_str()), "{}", look.screen);
        look
    }

    async fn offer(&self, name: &SessionName, look: &Look, id: u64, interrupt: bool) -> Offered {
        let notice = Notice {
            id,
            text: format!("[agent-relay] message {id} from \"alice\" about \"it's <b>\""),
            interrupt,
            attempt_id: format!("0190163d-8694-439b-aea5-{id:012}"),
        };
        self.launcher.offer(&self.plugins.current(), name, &notice, look, None).await
    }

    /// The notice was handed over by the best way there is, and its being taken was seen.
    async fn shows(&self, offered: Offered, turn: usize, id: u64, rung: &str) {
        let Offered::HandedOver { rung: by, carrier, evidence, .. } = offered else { panic!("{offered:?}") };
        assert_eq!(by, rung);
        assert_eq!(carrier, if rung == "typed" { Carrier::Typed } else { Carrier::Queue });
        assert!(evidence.is_some(), "it was taken, and seen to be");
        let request = self.model.turn(turn).await.to_string();
        assert!(request.contains(&format!("[agent-relay] message {id} from ")), "turn {turn} has no message {id}");
    }

    async fn stop(&self, name: &SessionName) {
        let plan = self.plugins.current().stop(self.program.provider, StopReason::Restart).await.expect("a plan");
        self.bench.sessions.stop(name, &plan).await.expect("it ends");
    }
}

async fn wake(program: Program) {
    let site = Arc::new(Site::prepare(program).await);
    let native = site.program.native().unwrap_or("typed");
    eprintln!("{} {}: by {native}", site.program.provider, site.program.version);
    let name = site.start(Some(PROMPT), None).await;
    assert!(site.model.turn(1).await.to_string().contains(PROMPT));
    site.idle(&name).await;
    // Its files come a moment after its screen.
    let look = eventually("its conversation is named", async || {
        let look = site.idle(&name).await;
        look.observation.conversation.is_some().then_some(look)
    })
    .await;
    let conversation = look.observation.conversation.clone().expect("it is named");

    // Idle: woken, with evidence.
    let offered = site.offer(&name, &look, 11, false).await;
    site.shows(offered, 2, 11, native).await;
    let look = site.idle(&name).await;

    // During a turn: nothing is done, unless it may break in.
    site.model.will(Answer::Held("working\n\nand on".to_owned()));
    let offered = site.offer(&name, &look, 12, false).await;
    site.shows(offered, 3, 12, native).await;
    let look = site.until(&name, "it works", |doing| *doing == Doing::Busy).await;
    let offered = site.offer(&name, &look, 13, false).await;
    assert!(matches!(offered, Offered::NotNow { doing: Doing::Busy, .. }), "{offered:?}");
    if site.program.provider == "claude" {
        // Before a turn has said anything, Escape would put its prompt back.
        site.bench.sees(&name, "● working").await;
    }
    let offered = site.offer(&name, &look, 14, true).await;
    site.shows(offered, 4, 14, if native == "inbox" { native } else { "typed" }).await;
    site.idle(&name).await;
    assert_eq!(site.model.turns(), 4, "nobody was told of message 13");

    // In a dialog: no key, whoever sends.
    site.model.will(site.program.asks());
    let look = site.idle(&name).await;
    site.shows(site.offer(&name, &look, 15, false).await, 5, 15, native).await;
    let asks = |doing: &Doing| matches!(doing, Doing::Approval(text) if text.contains("touch ../pressed"));
    let look = site.until(&name, "it asks", asks).await;
    for interrupt in [false, true] {
        let offered = site.offer(&name, &look, 16, interrupt).await;
        assert!(matches!(offered, Offered::NotNow { doing: Doing::Approval(_), .. }), "{offered:?}");
    }
    site.until(&name, "it still asks", asks).await;
    assert_eq!(site.model.turns(), 5, "nobody answered");
    assert!(!site.cwd.with_file_name("pressed").exists(), "nobody said yes");

    // Ended and started again: the conversation goes on.
    site.stop(&name).await;
    let name = site.start(None, Some(conversation.clone())).await;
    // What was said before may be shown a moment after the input is.
    let look = eventually("the conversation goes on", async || {
        let look = site.idle(&name).await;
        (look.observation.conversation.as_ref() == Some(&conversation)).then_some(look)
    })
    .await;
    // The record of the turn in which it was ended may count for a moment.
    let offered = eventually("it is offered", async || {
        let offered = site.offer(&name, &look, 17, false).await;
        (!matches!(offered, Offered::NotNow { doing: Doing::Busy, .. })).then_some(offered)
    })
    .await;
    assert!(matches!(offered, Offered::HandedOver { evidence: Some(_), .. }), "{offered:?}");
    let request = site.model.turn(6).await.to_string();
    assert!(request.contains("[agent-relay] message 17 from ") && request.contains(PROMPT), "it remembers: {request}");
    site.stop(&name).await;
}

async fn limit(program: Program) {
    let mut site = Site::prepare(program).await;
    if site.program.provider == "claude" {
        site.variables = with_account(site.variables);
    }
    let now_s = i64::try_from(
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_secs(),
    );
    let until_s = now_s.expect("a moment") + 2 * 60 * 60;
    site.model.will(Answer::Limited { until_s });
    let name = site.start(Some(PROMPT), None).await;
    let is_limited = |doing: &Doing| matches!(doing, Doing::Limit { .. });
    let look = site.until(&name, "a limit is seen", is_limited).await;
    let Doing::Limit { until_ms, text } = &look.observation.doing else { panic!("{look:?}") };
    // Programs print the minute.
    assert_eq!(until_ms.map(|until_ms| until_ms / 60_000), u64::try_from(until_s / 60).ok(), "{text}");
    for interrupt in [false, true] {
        let offered = site.offer(&name, &look, 21, interrupt).await;
        assert!(matches!(offered, Offered::NotNow { doing: Doing::Limit { .. }, .. }), "{offered:?}");
    }
    site.stop(&name).await;
}
