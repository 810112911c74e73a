//! Spawns that come to nothing: they say why, and leave nothing behind.

use std::fs;
use std::os::unix::fs::symlink;

use agent_relay::domain::control::command::CommandStatus;
use agent_relay::sessions::TmuxChoice;
use serde_json::{Value, json};

use super::{Bench, Running, UP};
use crate::sessions::choices;

#[tokio::test]
async fn a_program_that_is_not_there_fails_the_command() {
    for tmux in choices("a missing program") {
        let bench = Bench::start(tmux, UP).await;
        fs::remove_file(bench.base.with_file_name("bin").join("claude")).expect("removed");
        let problem = bench.spawn(json!({})).await.problem(502, "provider_failed");
        assert_eq!(problem["provider"], "claude");
        let id = problem["commandId"].as_i64().expect("a command");
        let command = bench.client().outcome(id).await;
        assert_eq!(command.status, CommandStatus::Failed);
        let error = command.error.expect("a reason");
        assert!(error.contains("no executable") && error.contains("bin/claude"), "{error}");
        assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains(&error)), "{problem}");
        bench.assert_nothing_started().await;
        let entries = bench.client().activity("kind=control").await;
        assert!(entries.iter().any(|entry| entry.title == "Command spawn failed"), "{entries:?}");
    }
}

#[tokio::test]
async fn a_program_that_dies_at_once_fails_the_command_with_its_last_words() {
    for tmux in choices("an early death") {
        let bench = Bench::start(tmux, "echo 'no account here' >&2; exit 3").await;
        let answer: Value = bench.spawn(json!({})).await.expect(202);
        let agent = Running::read(&answer);
        let command = bench.client().outcome(agent.command).await;
        assert_eq!(command.status, CommandStatus::Failed);
        let error = command.error.expect("a reason");
        assert!(error.contains("exited with code 3") && error.contains("no account here"), "{error}");
        let card = bench.gone(&agent).await;
        assert!(!card.ready);
        assert!(bench.host.running().is_empty());
    }
}

#[tokio::test]
async fn a_directory_that_is_not_there_is_a_mistake_and_no_decision() {
    let bench = Bench::start(TmuxChoice::Never, UP).await;
    fs::write(bench.base.join("file"), "").expect("a file");
    symlink("nowhere", bench.base.join("dangling")).expect("a link");
    for cwd in ["nowhere", "project/nowhere", "file", "dangling", "project/../nowhere"] {
        bench.spawn(json!({"cwd": cwd})).await.invalid(&format!("cwd is not a directory: {cwd}"));
    }
    assert!(bench.client().commands("").await.is_empty());
    bench.assert_nothing_started().await;
}

#[tokio::test]
async fn outside_of_the_base_directory_nothing_is_started() {
    for tmux in choices("outside") {
        let bench = Bench::start(tmux, UP).await;
        let outside = bench.base.with_file_name("outside");
        let evil = bench.base.with_file_name("base-evil");
        for folder in [&outside, &evil] {
            fs::create_dir(folder).expect("a folder");
        }
        symlink(&outside, bench.base.join("link")).expect("a link");
        symlink(bench.base.join("link"), bench.base.join("link-to-link")).expect("a link");
        symlink("../../outside", bench.base.join("project/relative")).expect("a link");
        let known = format!("cwd must be within orchestrator base directory: {}", bench.base.display());
        let evil = evil.to_str().expect("a plain path");
        let ways = [
            "/",
            "/etc",
            "..",
            "../outside",
            "../nowhere",
            "project/../../outside",
            "link",
            "link/",
            "link-to-link",
            "link/..",
            "project/relative",
            "/nowhere",
            evil,
        ];
        for cwd in ways {
            let problem = bench.spawn(json!({"cwd": cwd, "prompt": "get out"})).await.problem(403, "policy_denied");
            assert_eq!(problem["detail"], json!(known), "{cwd}");
            assert_eq!(
                (&problem["policy"], &problem["policyCode"]),
                (&json!("containment"), &json!("cwd_outside_base"))
            );
            let id = problem["commandId"].as_i64().expect("a command");
            let command = bench.client().outcome(id).await;
            assert_eq!((command.status, command.error.as_deref()), (CommandStatus::Denied, Some(known.as_str())));
            assert_eq!(command.decision[0].reason.as_deref(), Some(known.as_str()));
        }
        bench.assert_nothing_started().await;
        let entries = bench.client().activity("kind=control").await;
        assert_eq!(entries.len(), ways.len());
        for entry in entries {
            assert_eq!((entry.title.as_str(), entry.body.as_deref()), ("Spawn denied", Some(known.as_str())));
            assert_eq!(entry.meta.as_deref(), Some("containment"));
        }
        // A link that stays inside is as good as the directory it leads to.
        symlink("project", bench.base.join("inside")).expect("a link");
        let agent = bench.agent(json!({"cwd": "inside"})).await;
        let directory = fs::read_link(format!("/proc/{}/cwd", agent.pid)).expect("its directory");
        assert_eq!(directory, bench.base.join("project"));
    }
}

#[tokio::test]
async fn what_no_provider_offers_is_refused() {
    let bench = Bench::start(TmuxChoice::Never, UP).await;
    let client = bench.client();
    let ask = json!({"provider": "aider"});
    let problem = client.post("/api/agents/spawn", ask).await.problem(400, "no_orchestrator");
    assert_eq!(problem["detail"], "no orchestrator available for provider: aider");
    for (ask, text) in [
        (json!({}), "provider required"),
        (json!([]), "provider required"),
        (json!({"provider": " "}), "provider required"),
        (
            json!({"provider": "claude", "approvalMode": "yolo"}),
            "approvalMode must be one of: open, guarded, read-only",
        ),
        (json!({"provider": "claude", "cwd": "x".repeat(501)}), "cwd"),
        (json!({"provider": "claude", "label": "x".repeat(121)}), "label"),
        (json!({"provider": "claude", "prompt": "x".repeat(4001)}), "prompt must have at most 4000 characters"),
        (json!({"provider": "claude", "cwd": 7}), "cwd must be a string"),
        (json!({"provider": "claude", "aproval": "open"}), "unknown field \"aproval\""),
        (json!({"provider": "claude", "env": {"A": "1"}}), "unknown field \"env\""),
    ] {
        client.post("/api/agents/spawn", ask).await.invalid(text);
    }
    bench.assert_nothing_started().await;
    assert!(client.commands("").await.is_empty(), "what is malformed is no request");
}

#[tokio::test]
async fn a_prompt_is_text_and_nothing_else() {
    let bench = Bench::start(TmuxChoice::Never, UP).await;
    for prompt in ["a\u{0}b", "a\u{1b}[2J", "a\rb", "\u{7}"] {
        let text = "prompt must not contain control characters";
        bench.spawn(json!({"prompt": prompt})).await.invalid(text);
        bench.client().post("/api/plugins/claude/plan", json!({"prompt": prompt})).await.invalid(text);
    }
    bench.client().post("/api/plugins/claude/plan", json!({"prompt": "a\n\tb"})).await.expect::<Value>(200);
    bench.assert_nothing_started().await;
}

/// It would be ended, and could not be started again.
#[tokio::test]
async fn an_agent_whose_directory_is_gone_is_not_restarted() {
    let bench = Bench::start(TmuxChoice::Never, UP).await;
    let agent = bench.agent(json!({"cwd": "project"})).await;
    fs::rename(bench.base.join("project"), bench.base.join("elsewhere")).expect("moved");
    let path = format!("/api/agents/{}/actions", agent.id);
    bench.client().post(&path, json!({"action": "restart"})).await.invalid("its directory is gone");
    assert_eq!(bench.host.running().len(), 1, "it runs on");
    assert_eq!(bench.act(&agent, "shutdown").await.status, CommandStatus::Succeeded);
}
