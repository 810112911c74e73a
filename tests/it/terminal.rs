//! Programs that have a whole screen to themselves: when they count as up, and what is typed into them. A script of our
//! own stands in for them, which notes every byte it gets.

mod notices;
mod relay;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use agent_relay::domain::agent::NewCondition;
use agent_relay::domain::control::observation::Doing;
use agent_relay::domain::control::plan::{PromptDelivery, Readiness};
use agent_relay::domain::id::MessageId;
use agent_relay::domain::message::notice::{Due, NoticeOutcome};
use agent_relay::launcher::{Host, Launcher, NewSession, Notices, Reports, Undelivered, Waiting};
use agent_relay::plugins::PluginSet;
use agent_relay::sessions::{Died, Launch, Place, SessionName, Started, TmuxChoice};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::sessions::{Bench, has_tmux};

/// What the program shows below its input.
const FOOTER: &str = "(shift+tab to cycle)";

/// Whether the program can be run. Where it cannot, says so for everybody to see.
fn can_run(test: &str) -> bool {
    let has_python = Command::new("python3").arg("--version").output().is_ok_and(|output| output.status.success());
    if !has_python {
        eprintln!("SKIPPED: {test}: no python3 on PATH");
    }
    has_python && has_tmux(test)
}

fn program() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/terminal/program.py")
}

/// What a program noted in the folder where it works.
fn received(folder: &Path) -> Vec<Value> {
    let notes = fs::read_to_string(folder.join("received.jsonl")).unwrap_or_default();
    notes.lines().map(|line| serde_json::from_str(line).expect("a note")).collect()
}

/// Presses keys in a session, as a person who attached to it would.
fn press(sessions: &Path, session: &SessionName, keys: &[&str]) {
    let mut command = Command::new("tmux");
    command.arg("-S").arg(sessions.join("tmux.sock")).args(["send-keys", "-t", &format!("={session}:")]).args(keys);
    assert!(command.status().expect("tmux").success());
}

/// What a session was reported to do.
#[derive(Clone, Debug, PartialEq)]
enum Told {
    Waiting(Waiting),
    Up(Result<(), Undelivered>),
    Died,
    Ended,
}

/// Keeps what is told.
struct Kept {
    told: watch::Sender<Vec<Told>>,
    says_ready: AtomicBool,
}

impl Reports for Kept {
    async fn beginning(&self, _: &NewSession) -> Result<String, String> {
        Ok("a token".to_owned())
    }

    async fn running(&self, _: &Started, _: Value) -> Result<(), String> {
        Ok(())
    }

    async fn waiting(&self, waiting: &Waiting) {
        self.told.send_modify(|told| told.push(Told::Waiting(waiting.clone())));
    }

    async fn says_ready(&self) -> bool {
        self.says_ready.load(Ordering::Relaxed)
    }

    async fn up(&self, prompt: Result<(), Undelivered>) {
        self.told.send_modify(|told| told.push(Told::Up(prompt)));
    }

    async fn died(&self, _: &Died) {
        self.told.send_modify(|told| told.push(Told::Died));
    }

    async fn ended(&self, _: &str) {
        self.told.send_modify(|told| told.push(Told::Ended));
    }

    fn alive(&self) {}

    async fn send_prompt(&self, _: &str) -> Result<(), String> {
        Ok(())
    }
}

/// There is nothing to be shown.
impl Notices for Kept {
    fn plugins(&self) -> Arc<PluginSet> {
        Arc::default()
    }

    async fn due(&self, _: bool) -> Result<Due, String> {
        Ok(Due::default())
    }

    async fn report(&self, _: NoticeOutcome) -> Result<Vec<MessageId>, String> {
        Ok(Vec::new())
    }

    async fn changed(&self) {
        std::future::pending::<()>().await;
    }

    async fn observed(&self, _: Option<NewCondition>) -> Result<(), String> {
        Ok(())
    }
}

/// A program that runs and is followed.
struct Site {
    bench: Bench,
    launcher: Launcher,
    /// Where the program works.
    folder: PathBuf,
    name: SessionName,
    kept: std::sync::Arc<Kept>,
}

impl Site {
    /// Starts the program under these rules. It is given `prompt`, to be typed.
    async fn start(rules: Value, prompt: Option<&str>) -> Self {
        let site = Self::alone(rules).await;
        site.follow(prompt).await;
        site
    }

    /// The same, with nobody who follows it yet.
    async fn alone(rules: Value) -> Self {
        let bench = Bench::new(TmuxChoice::Auto).await;
        let folder = bench.folder("project");
        fs::write(folder.join("rules.json"), rules.to_string()).expect("rules");
        let mut launch = bench.program("python3", &[program().to_str().expect("a plain path")]);
        launch.place = Place::open(&folder).expect("a directory");
        launch.plan.cwd = folder.to_str().expect("a plain path").to_owned();
        launch.plan.ready.screen_texts = vec![FOOTER.to_owned()];
        Self::begin(bench, launch).await
    }

    async fn begin(bench: Bench, mut launch: Launch) -> Self {
        launch.plan.ready.settle_ms = 500;
        launch.plan.prompt = PromptDelivery::Typed;
        let folder = PathBuf::from(&launch.plan.cwd);
        let name = bench.started(launch).await.name;
        let host = Host {
            roots: vec![folder.clone()],
            home: folder.clone(),
            hostname: "here".to_owned(),
            orchestrator: None,
            relay_url: "http://127.0.0.1:1".to_owned(),
            dry_run: false,
        };
        let launcher = Launcher::new(host, bench.sessions.clone());
        let kept = Kept { told: watch::Sender::default(), says_ready: AtomicBool::new(false) };
        Self { bench, launcher, folder, name, kept: kept.into() }
    }

    async fn follow(&self, prompt: Option<&str>) {
        let follow = self.launcher.follow(&self.name, prompt.map(str::to_owned)).await;
        let kept = self.kept.clone();
        tokio::spawn(async move {
            let (kept, every) = (kept.as_ref(), Duration::from_secs(1));
            follow.run(kept, kept, every, &CancellationToken::new()).await;
        });
    }

    /// The next that is told, after `seen` others.
    async fn told(&self, seen: usize) -> Told {
        let mut told = self.kept.told.subscribe();
        let waiting = told.wait_for(|told| told.len() > seen);
        let waited = tokio::time::timeout(crate::program::PATIENCE, waiting).await;
        let Ok(told) = waited else { panic!("nothing is told:\n{}", self.bench.sessions.screen(&self.name).await) };
        told.expect("it is followed")[seen].clone()
    }

    /// The first that is told of a program that is not up, in a dialog or not, and how much was told with it.
    async fn waiting(&self, in_dialog: bool) -> (Waiting, usize) {
        for seen in 0.. {
            match self.told(seen).await {
                Told::Waiting(waiting)
                    if matches!(waiting.doing, Doing::Dialog(_) | Doing::Approval(_)) == in_dialog =>
                {
                    return (waiting, seen + 1);
                }
                Told::Waiting(_) => {}
                other => panic!("{other:?}"),
            }
        }
        unreachable!("there is no end of numbers")
    }

    /// What is told once it does not wait any more.
    async fn outcome(&self) -> (Told, usize) {
        for seen in 0.. {
            match self.told(seen).await {
                Told::Waiting(_) => {}
                other => return (other, seen + 1),
            }
        }
        unreachable!("there is no end of numbers")
    }

    async fn undelivered(&self) -> Undelivered {
        match self.outcome().await {
            (Told::Up(Err(undelivered)), _) => undelivered,
            (other, _) => panic!("{other:?}"),
        }
    }

    fn press(&self, keys: &[&str]) {
        press(&self.bench.path(), &self.name, keys);
    }

    fn received(&self) -> Vec<Value> {
        received(&self.folder)
    }
}

#[tokio::test]
async fn a_dialog_is_not_up_and_gets_no_key() {
    if !can_run("a dialog") {
        return;
    }
    let dialog = ["Do you trust this folder?", "> 1. Yes", "  2. No"];
    let site = Site::start(json!({"dialog": dialog, "footer": ""}), Some("hello\nthere")).await;
    let (waiting, _) = site.waiting(true).await;
    assert_eq!(waiting.screen, dialog.join("\n"));
    assert_eq!(site.received(), Vec::<Value>::new(), "nobody answered it");
    let typed = site
        .bench
        .sessions
        .type_text(
            &site.name,
            &agent_relay::domain::control::plan::Presentation {
                keys_before: vec!["Escape".to_owned()],
                text: "yes".to_owned(),
                submit: true,
            },
        )
        .await;
    assert!(typed.is_err_and(|error| error.is_for_want_of_input()));
    assert_eq!(site.received(), Vec::<Value>::new(), "not even an Escape");
    site.press(&["Enter"]);
    assert_eq!(site.outcome().await.0, Told::Up(Ok(())));
    assert_eq!(site.received(), [json!({"dialog": "0d"}), json!({"submit": "hello\nthere"})]);
}

#[tokio::test]
async fn a_dialog_gets_no_key_when_its_session_is_ended() {
    if !can_run("the end in a dialog") {
        return;
    }
    let site = Site::start(json!({"dialog": ["Overwrite it? [y/n]"]}), Some("hello")).await;
    site.waiting(true).await;
    let keys = ["Escape", "C-c"].map(str::to_owned).to_vec();
    let plan = agent_relay::domain::control::plan::StopPlan { keys, grace_ms: 20_000 };
    site.bench.sessions.stop(&site.name, &plan).await.expect("it ends");
    let (died, seen) = site.outcome().await;
    assert_eq!((died, site.told(seen).await), (Told::Died, Told::Ended));
    assert_eq!(site.received(), Vec::<Value>::new());
}

/// Its input is on the screen, and it reads nothing yet.
#[tokio::test]
async fn enter_waits_until_the_text_is_seen() {
    if !can_run("a deaf program") {
        return;
    }
    let site = Site::start(json!({"deaf": 3, "swallow": true}), Some("one\ntwo")).await;
    assert_eq!(site.outcome().await.0, Told::Up(Ok(())));
    assert_eq!(site.received(), [json!({"submit": "one\ntwo"})]);
}

#[tokio::test]
async fn a_program_that_is_not_told_of_pastes_gets_one_line() {
    if !can_run("a plain program") {
        return;
    }
    for deaf in [0, 2] {
        let site =
            Site::start(json!({"plain": true, "deaf": deaf, "swallow": deaf > 0}), Some("one\ntwo\n\tthree")).await;
        assert_eq!(site.outcome().await.0, Told::Up(Ok(())));
        assert_eq!(site.received(), [json!({"submit": "one two  three"})]);
    }
}

/// What looks like a dialog in the input is the text itself.
#[tokio::test]
async fn a_prompt_may_look_like_choices() {
    if !can_run("a prompt of choices") {
        return;
    }
    let prompt = "1. Yes\n2. No\n\nEnter to confirm";
    let site = Site::start(json!({}), Some(prompt)).await;
    assert_eq!(site.outcome().await.0, Told::Up(Ok(())));
    assert_eq!(site.received(), [json!({"submit": prompt})]);
}

#[tokio::test]
async fn an_input_that_takes_no_enter_is_cleared_again() {
    if !can_run("a stubborn program") {
        return;
    }
    let site = Site::start(json!({"stubborn": true}), Some("one\ntwo")).await;
    let undelivered = site.undelivered().await;
    assert!(undelivered.reason.contains("did not take Enter"), "{undelivered}");
    assert!(undelivered.reason.contains("cleared again"), "{undelivered}");
    assert!(undelivered.is_ready, "its input is free again");
    assert_eq!(site.received().last(), Some(&json!({"left": ""})), "{:?}", site.received());
    let submitted = site.received().iter().filter(|note| !note["submit"].is_null()).count();
    assert_eq!(submitted, 0);
}

#[tokio::test]
async fn a_dialog_that_comes_up_while_typing_gets_no_enter() {
    if !can_run("a dialog in between") {
        return;
    }
    let dialog = ["Run this command?", "> 1. Yes", "  2. No"];
    let site = Site::start(json!({"on_paste": dialog}), Some("hello")).await;
    let undelivered = site.undelivered().await;
    assert!(undelivered.reason.contains("a dialog came up"), "{undelivered}");
    assert!(!undelivered.is_ready);
    assert_eq!(site.received(), Vec::<Value>::new(), "neither Enter nor a key that clears");
}

#[tokio::test]
async fn a_prompt_that_may_have_been_typed_is_not_typed_again() {
    if !can_run("a relay that ended while typing") {
        return;
    }
    let site = Site::alone(json!({"blank": true})).await;
    site.bench.sessions.mark_prompted(&site.name, true).await.expect("noted");
    site.follow(Some("hello")).await;
    fs::write(site.folder.join("go"), "").expect("a sign");
    let undelivered = site.undelivered().await;
    assert!(undelivered.reason.contains("the relay ended while it was typed"), "{undelivered}");
    assert_eq!(site.received(), Vec::<Value>::new());
}

#[tokio::test]
async fn what_nobody_can_know_is_not_up_until_it_shows_or_its_agent_says_so() {
    if !can_run("a blank screen") {
        return;
    }
    let site = Site::start(json!({"blank": true, "footer": "no text that is known"}), None).await;
    assert_eq!(site.waiting(false).await.0, Waiting { doing: Doing::Unknown, screen: String::new() });
    fs::write(site.folder.join("go"), "").expect("a sign");
    assert_eq!(site.outcome().await.0, Told::Up(Ok(())));

    for choice in crate::sessions::choices("its own word") {
        let bench = Bench::new(choice).await;
        let site = {
            let launch = bench.script("exec sleep 1000");
            Site::begin(bench, launch).await
        };
        site.follow(None).await;
        site.waiting(false).await;
        site.kept.says_ready.store(true, Ordering::Relaxed);
        assert_eq!(site.outcome().await.0, Told::Up(Ok(())));
    }
}

#[tokio::test]
async fn a_known_text_in_a_log_is_up() {
    let bench = Bench::new(TmuxChoice::Never).await;
    let mut launch = bench.script("while [ ! -e go ]; do sleep 0.02; done; echo all is up; exec sleep 1000");
    launch.plan.ready = Readiness { screen_texts: vec!["all is up".to_owned()], settle_ms: 0 };
    let site = Site::begin(bench, launch).await;
    site.follow(None).await;
    site.waiting(false).await;
    fs::write(site.folder.join("go"), "").expect("a sign");
    assert_eq!(site.outcome().await.0, Told::Up(Ok(())));
}
