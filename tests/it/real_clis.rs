//! The real agent programs against a scripted model: what a provider plans and the host types must work with
//! them, not with what we remember of them. Where they are not installed the tests say so and prove nothing;
//! `AGENT_RELAY_TEST_CLIS=FOLDER:FOLDER` names the folders they are in when those are not on the PATH. What differs between
//! versions is tried with each that is found in one of these folders.

mod interrupt;
mod main_job;
pub(crate) mod model;
mod together;
mod tools;
mod wake;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use agent_relay::domain::control::ApprovalMode;
use agent_relay::domain::control::plan::{EnvValue, EnvVar, Plan, Presentation, PromptDelivery, Readiness, StopPlan};
use agent_relay::domain::control::spawn::SpawnSpec;
use agent_relay::sessions::{Ending, Evidence, Launch, Place, Seen, SessionState, TmuxChoice};

use self::model::{Model, for_claude, for_codex};
use crate::server::eventually;
use crate::sessions::{Bench, has_tmux, processes_with};

/// How long a real program may take for a turn: the machine may be busy.
const TURN_MS: u32 = 60_000;

/// A real program, ready to ask a scripted model in a home of its own.
pub(crate) struct Cli {
    pub(crate) program: PathBuf,
    /// What it is told before the prompt.
    pub(crate) args: &'static [&'static str],
    /// What its environment needs beside what every session gets.
    pub(crate) variables: Vec<(String, String)>,
    /// The keys that ask it to end.
    pub(crate) exit_keys: &'static [&'static str],
}

/// Claude Code, or none where it is not installed, which is said for everybody to see.
pub(crate) fn claude(model: &Model, home: &Path, cwd: &Path) -> Option<Cli> {
    let program = installed("claude")?;
    let variables = for_claude(model.url(), home, cwd);
    Some(Cli { program, args: &[], variables, exit_keys: &["C-c", "C-c"] })
}

/// Codex, or none where it is not installed, which is said for everybody to see.
pub(crate) fn codex(model: &Model, home: &Path, cwd: &Path) -> Option<Cli> {
    let program = installed("codex")?;
    let variables = for_codex(model.url(), home, cwd);
    // Without the flag it hands the work to a server in the background, which serves all sessions with the environment, token
    // included, of the first, and goes on when the session ends.
    Some(Cli {
        program,
        args: &["--no-daemon"],
        variables,
        // In the moment after an answer the first one ends the turn, the second the program.
        exit_keys: &["C-c", "C-c"],
    })
}

/// Where a program is: in `AGENT_RELAY_TEST_CLIS`, or on the PATH.
pub(crate) fn installed(program: &str) -> Option<PathBuf> {
    every_installed(program).into_iter().next()
}

/// Each version of a program that is in `AGENT_RELAY_TEST_CLIS`, or else the one on the PATH. None is said for everybody
/// to see.
pub(crate) fn every_installed(program: &str) -> Vec<PathBuf> {
    let variable = |name| std::env::var_os(name).unwrap_or_default();
    let (given, path) = (variable("AGENT_RELAY_TEST_CLIS"), variable("PATH"));
    let found = |folders: &OsStr| -> Vec<PathBuf> {
        let places =
            std::env::split_paths(folders).filter(|folder| folder.is_absolute()).map(|folder| folder.join(program));
        places.filter(|place| place.is_file()).collect()
    };
    let mut all = found(&given);
    if all.is_empty() {
        all.extend(found(&path).into_iter().next());
    }
    if all.is_empty() {
        eprintln!("SKIPPED with the real {program}: it is neither in AGENT_RELAY_TEST_CLIS nor on the PATH");
    }
    all
}

#[tokio::test]
async fn claude_code_answers_its_prompt_and_what_is_typed() {
    if has_tmux("the real claude") {
        converse(claude).await;
    }
}

#[tokio::test]
async fn codex_answers_its_prompt_and_what_is_typed() {
    if has_tmux("the real codex") {
        converse(codex).await;
    }
}

/// Starts a program with a prompt, types another, and ends it.
async fn converse(cli: fn(&Model, &Path, &Path) -> Option<Cli>) {
    let model = Model::start().await;
    let bench = Bench::new(TmuxChoice::Auto).await;
    let cwd = bench.folder("project");
    let Some(cli) = cli(&model, &bench.folder("home"), &cwd) else {
        return;
    };
    // Nothing is known of it beforehand: its input must be seen by how it looks.
    let ready = Readiness { screen_texts: Vec::new(), settle_ms: TURN_MS };
    let started = bench.start(launch(&cli, &cwd, "the first prompt", ready)).await.expect("it starts");
    bench.sees(&started.name, "relay test answer 1").await;
    eventually("its input is seen", async || {
        let seen = bench.sessions.look(&started.name).await.read(&[]);
        matches!(seen, Seen::Input(Evidence::Looks)).then_some(())
    })
    .await;
    assert!(model.turn(1).await.to_string().contains("the first prompt"));

    // Two lines, because a line's end must not send half of a message.
    let text = "the second prompt\n$(touch pwned) `id` \u{1b}[201~ ; \"ž\"".to_owned();
    let presentation = Presentation { keys_before: Vec::new(), text, submit: true };
    bench.sessions.type_text(&started.name, &presentation).await.expect("it is typed");
    bench.sees(&started.name, "relay test answer 2").await;
    let turn = model.turn(2).await.to_string();
    let typed = r#"the second prompt\n$(touch pwned) `id` [201~ ; \"ž\""#;
    assert!(turn.contains(typed), "{typed} is not in {turn}");
    assert_eq!(model.turns(), 2, "one turn for each prompt");

    let keys = cli.exit_keys.iter().map(|key| (*key).to_owned()).collect();
    let exit = bench.sessions.stop(&started.name, &StopPlan { keys, grace_ms: 60_000 }).await.expect("it ends");
    assert_eq!(exit.how, Ending::Code(0), "it ends by its own keys: {exit:?}");
    assert_eq!(bench.sessions.state(&started.name), SessionState::Exited(exit));
    let home = bench.folder("home");
    let left = processes_with("environ", home.to_str().expect("a plain path"));
    assert_eq!(left, Vec::<u32>::new(), "nothing of it goes on in the background");
}

/// The flags that the shipped providers use, so that a new version without one of them is noticed here first.
#[test]
fn the_flags_that_plans_use_are_still_there() {
    let flags: [(&str, &[&str]); 2] = [
        (
            "claude",
            &[
                "--add-dir",
                "--allowedTools",
                "--append-system-prompt",
                "--mcp-config",
                "--name",
                "--permission-mode",
                "--resume",
                "--session-id",
                "--settings",
                "--strict-mcp-config",
                "--tools",
            ],
        ),
        (
            "codex",
            &[
                "--add-dir",
                "--ask-for-approval",
                "--cd",
                "--config",
                "--dangerously-bypass-approvals-and-sandbox",
                "--no-daemon",
                "--sandbox",
                "  queue ",
                "  resume ",
            ],
        ),
    ];
    for (program, flags) in flags {
        for place in every_installed(program) {
            let home = tempfile::tempdir().expect("a home");
            let help = Command::new(&place).arg("--help").env("HOME", home.path()).output().expect("its help");
            let help = String::from_utf8_lossy(&help.stdout).into_owned();
            let missing: Vec<_> = flags.iter().filter(|flag| !help.contains(**flag)).collect();
            assert!(missing.is_empty(), "{} no longer has {missing:?}:\n{help}", place.display());
        }
    }
}

/// What a provider would plan for the program, by hand.
fn launch(cli: &Cli, cwd: &Path, prompt: &str, ready: Readiness) -> Launch {
    let program = cli.program.to_str().expect("a plain path").to_owned();
    let env = cli
        .variables
        .iter()
        .map(|(name, value)| EnvVar { name: name.clone(), value: EnvValue::Literal(value.clone()) });
    Launch {
        spec: SpawnSpec {
            agent_id: "real".into(),
            provider: "real".to_owned(),
            approval_mode: ApprovalMode::Guarded,
            cwd: cwd.to_str().expect("a plain path").to_owned(),
            label: None,
            prompt: Some(prompt.to_owned()),
            again: None,
        },
        plan: Plan {
            program,
            args: cli.args.iter().copied().chain([prompt]).map(str::to_owned).collect(),
            env: env.collect(),
            cwd: cwd.to_str().expect("a plain path").to_owned(),
            files: Vec::new(),
            prompt: PromptDelivery::InArguments,
            ready,
            resumed: false,
        },
        place: Place::open(cwd).expect("a directory"),
        variables: Vec::new(),
    }
}
