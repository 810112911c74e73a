//! The examples, and one policy in every language, as far as they are built: those in Rust and C are
//! committed, and with `AGENT_RELAY_TEST_PLUGINS` set all of them have to be there.

use std::fs;
use std::path::Path;

use agent_relay::domain::control::{ApprovalMode, Control, ControlTarget, Outcome, RunningAgent, Spawn};
use agent_relay::plugins::PluginState;

use super::{Home, context, denial, spawn, status};

/// The built component in `folder`. Those of interpreted languages are too large to be committed.
fn built(folder: &Path, committed: bool) -> Option<Vec<u8>> {
    let path = crate::plugins::components::component(folder);
    let wasm = fs::read(&path);
    if committed || std::env::var_os("AGENT_RELAY_TEST_PLUGINS").is_some() {
        return Some(wasm.unwrap_or_else(|error| panic!("{}: {error}; run .ci/build-examples", path.display())));
    }
    wasm.ok()
}

/// A manifest whose deadline is for a busy machine.
fn manifest(folder: &Path) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder).join("plugin.toml");
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let lines = text.lines().map(|line| if line.starts_with("deadline_ms") { "deadline_ms = 10000" } else { line });
    lines.collect::<Vec<_>>().join("\n")
}

#[tokio::test]
async fn every_example_goes_live() {
    let home = Home::new();
    let mut there = Vec::new();
    let examples =
        [("gemini", false), ("quota", true), ("two-person", true), ("working-hours", false), ("worktree", true)];
    for (id, committed) in examples {
        let folder = Path::new("examples/plugins").join(id);
        if let Some(wasm) = built(&folder, committed) {
            home.put(id, &manifest(&folder), &wasm);
            there.push(id);
        }
    }
    let plugins = home.open().await;
    for id in there {
        let status = status(&plugins, id, PluginState::Active);
        assert_eq!(status.error, None, "{id}");
    }
}

/// What is asked and what is answered must arrive whole, whatever a policy is written in.
#[tokio::test]
async fn every_language_is_told_the_same() {
    let parent = Path::new("tests/plugins/conformance");
    let mut answers = Vec::new();
    for (language, committed) in [("rust", true), ("c", true), ("js", false), ("python", false)] {
        if let Some(wasm) = built(&parent.join(language), committed) {
            let home = Home::new();
            home.put("conformance", &manifest(parent), &wasm);
            answers.push((language, answers_of(&home).await));
        }
    }
    let (_, first) = &answers[0];
    assert!(first[0].contains(r#"label="echo \"ä\" \\ 🦀""#), "{}", first[0]);
    assert!(first[0].contains("running=[{agent-id=\"a0\","), "{}", first[0]);
    for (language, answers) in &answers[1..] {
        assert_eq!(answers, first, "{language}");
    }
}

/// The whole question as the policy saw it, for a spawn and a restart of all, and what it made of a spawn.
async fn answers_of(home: &Home) -> Vec<String> {
    let plugins = home.open().await;
    let set = plugins.current();
    let running = (0..3).map(|number| RunningAgent {
        agent_id: format!("a{number}"),
        provider: "codex".into(),
        cwd: "/wörk".into(),
        label: (number == 1).then(|| "one".into()),
        approval_mode: ApprovalMode::ReadOnly,
        orchestrator: (number == 2).then(|| "far".into()),
        started_at: 1_700_000_000_000 + number,
    });
    let context = super::Context { running: running.collect(), ..context() };
    let Control::Spawn(asked) = spawn("echo \"ä\" \\ 🦀") else { unreachable!("a spawn is a spawn") };
    let restart = Control::Restart(ControlTarget::EveryAgentOf(asked.site.clone()));
    let mut answers = Vec::new();
    for control in [Control::Spawn(asked.clone()), restart] {
        let decision = set.decide(control, &context).await;
        let (code, line) = denial(&decision);
        assert_eq!(code, "echo");
        answers.push(line.to_owned());
    }
    for label in ["allow", "amend-cwd", "amend-mode", "amend-both", "error", "settings"] {
        let spawn = Spawn { label: Some(label.into()), ..asked.clone() };
        let decision = set.decide(Control::Spawn(spawn), &context).await;
        answers.push(match decision.outcome {
            Outcome::Allowed(Control::Spawn(spawn)) => {
                format!("{label}: {} {}", spawn.cwd.normalised, spawn.approval_mode.as_str())
            }
            other => format!("{label}: {other:?}"),
        });
    }
    answers
}
