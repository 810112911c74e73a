//! What people see on a terminal: colours, tables that fit, and the bare program.

use serde_json::json;

use super::shell::{Shell, on_terminal, typed};
use crate::program::program;

/// Escapes as something that can be read.
fn readable(shell: &Shell, seen: &str) -> String {
    shell.steady(&seen.replace('\u{1b}', "␛"))
}

async fn busy_day() -> Shell {
    let shell = Shell::new();
    let client = shell.client();
    let card = json!({"id": "claude-1", "label": "日本語のレビュー", "status": "busy", "ready": true, "machine": "host-a",
        "tags": ["docs", "frontend", "a tag that is far longer than anybody would have it"], "capabilities": ["review"]});
    client.register(card).await;
    client.register(json!({"id": "codex-1", "status": "idle"})).await;
    client
        .patch("/api/agents/codex-1/condition", json!({"kind": "dialog", "detail": "Trust it?"}))
        .await
        .expect::<serde_json::Value>(200);
    shell.run(&["tasks", "new", "Which branch?", "--kind", "question", "--option", "main", "--as", "claude-1"]).done();
    shell
}

#[tokio::test]
async fn the_bare_program_shows_what_waits_and_what_can_be_typed() {
    let shell = busy_day().await;
    let (code, seen) = shell.on_terminal(100, &[]);
    assert_eq!(code, Some(0), "{seen}");
    insta::assert_snapshot!("overview", readable(&shell, &seen));
    // Whoever pipes it asked for nothing.
    let piped = shell.run(&[]);
    assert_eq!((piped.code, piped.out.as_str()), (Some(2), ""));
    assert!(piped.err.contains("Usage: agent-relay"), "{piped:?}");
    // Nor is there anything to show where no relay runs.
    let home = tempfile::tempdir().expect("a temporary directory");
    let mut alone = program(home.path());
    alone.env("AGENT_RELAY_URL", "http://127.0.0.1:1");
    let (code, seen) = on_terminal(&mut alone, 100);
    assert!(code == Some(2) && seen.contains("Usage:"), "{seen}");
}

#[tokio::test]
async fn colours_and_widths_are_for_terminals() {
    let shell = busy_day().await;
    let (_, seen) = shell.on_terminal(70, &["agents"]);
    insta::assert_snapshot!("agents-narrow", readable(&shell, &seen));
    for line in anstream::adapter::strip_str(&seen).to_string().lines() {
        assert!(unicode_width::UnicodeWidthStr::width(line) <= 70, "{line}");
    }
    let plain = |variable: (&str, &str)| {
        let mut command = shell.command();
        command.arg("agents").env(variable.0, variable.1);
        on_terminal(&mut command, 200).1
    };
    assert!(!plain(("NO_COLOR", "1")).contains('\u{1b}'));
    assert!(!plain(("CLICOLOR", "0")).contains('\u{1b}'));
    assert!(plain(("CLICOLOR", "1")).contains('\u{1b}'));
    let piped = shell.run(&["agents"]).done();
    assert!(!piped.contains('\u{1b}') && piped.contains("a tag that is far longer than anybody would have it"));
    let forced = typed(shell.command().arg("agents").env("CLICOLOR_FORCE", "1"), None).done();
    assert!(forced.contains('\u{1b}'));
    let (_, json) = shell.on_terminal(70, &["agents", "--json"]);
    assert!(!json.contains('\u{1b}') && json.starts_with('['), "{json}");
    insta::assert_snapshot!("attention-terminal", readable(&shell, &shell.on_terminal(100, &["attention"]).1));
}
