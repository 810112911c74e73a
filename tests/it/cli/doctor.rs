//! What `doctor` finds, and what mends it.

use serde_json::Value;

use super::control::with_claude;
use super::shell::{Said, Shell, typed};
use crate::program::program;
use crate::spawn::{UP, install};

/// A stand-in that says its version, and otherwise is up.
const WITH_VERSION: &str = "[ \"$1\" = --version ] && { echo '9.9.9 (Stand-in)'; exit; };";

/// What it found, each with what mends it.
pub(crate) fn findings(said: &Said) -> Vec<Value> {
    let found: Value = serde_json::from_str(&said.out).expect("JSON");
    let found = found.as_array().expect("a list").clone();
    for finding in &found {
        assert!(finding["name"].is_string() && finding["detail"].is_string(), "{finding}");
        let status = finding["status"].as_str().expect("a status");
        assert!(["ok", "warn", "error"].contains(&status), "{finding}");
        assert_eq!(finding["fix"].is_string(), status != "ok", "what is wrong has what mends it: {finding}");
    }
    let is_broken = found.iter().any(|finding| finding["status"] == "error");
    assert_eq!(said.code, Some(i32::from(is_broken)), "{said:?}");
    found
}

#[track_caller]
pub(crate) fn finding<'f>(found: &'f [Value], name: &str) -> &'f Value {
    found.iter().find(|finding| finding["name"] == name).unwrap_or_else(|| panic!("no {name} in {found:?}"))
}

#[tokio::test]
async fn a_host_is_looked_at_and_each_agent() {
    let (_host, shell) = with_claude(&format!("{WITH_VERSION} {UP}"), &[]).await;
    install(shell.home.path(), "codex", "exit 7");
    shell.client().register_all(&["visitor"]).await;
    let spawned = shell.run(&["spawn", "claude", "--json"]).json();
    let agent = spawned["result"]["agentId"].as_str().expect("an agent");
    let said = shell.run(&["doctor", "--json"]);
    let found = findings(&said);
    let detail = |name: &str| finding(&found, name)["detail"].as_str().expect("words").to_owned();
    assert!(detail("relay").contains(&shell.serving.url), "{found:?}");
    assert!(detail("program claude").starts_with("9.9.9 (Stand-in), "), "{found:?}");
    let codex = finding(&found, "program codex");
    assert!(codex["status"] == "error" && codex["fix"] == "npm install -g @openai/codex", "{codex}");
    assert!(detail("base directory").ends_with("/base"), "{found:?}");
    assert_eq!(finding(&found, "trust claude")["status"], "ok", "a session came up there: {found:?}");
    assert!(detail("trust claude").starts_with("a session of it came up in "), "{found:?}");
    assert!(detail("trust codex").contains("is not known before its first session"), "{found:?}");
    assert_eq!(finding(&found, "trust codex")["status"], "warn");
    assert!(detail("data directory").contains("for this user alone"), "{found:?}");
    for name in ["tmux", "disk", "file system", "clock", "relay store", "relay writer"] {
        finding(&found, name);
    }
    assert!(detail("agent visitor").contains("it hears when it asks"), "{found:?}");
    let of_agent = finding(&found, &format!("agent {agent}"));
    if crate::sessions::has_tmux("waking") {
        assert!(
            of_agent["detail"].as_str().is_some_and(|detail| detail.starts_with("woken in its session")),
            "{of_agent}"
        );
    }
    let drawn = shell.run(&["doctor"]);
    assert_eq!(drawn.code, Some(1), "{drawn:?}");
    assert!(drawn.out.contains("error  program codex: ") && drawn.out.contains("mend it: npm install"), "{drawn:?}");
}

#[tokio::test]
async fn a_script_without_its_interpreter_is_found_without_a_spawn() {
    let (_host, shell) = with_claude(UP, &[]).await;
    let script = shell.home.path().join("bin/claude");
    std::fs::write(&script, "#!/usr/bin/env a-node-that-is-not-there\n").expect("a script");
    let folder = shell.home.path().join("base");
    std::fs::write(shell.home.path().join(".claude.json"), r#"{"projects": {}}"#).expect("a configuration");
    let found = findings(&shell.run(&["doctor", "--json"]));
    let claude = finding(&found, "program claude");
    assert_eq!(claude["status"], "error");
    let detail = claude["detail"].as_str().expect("words");
    assert!(detail.contains("a-node-that-is-not-there, which is not on the relay's PATH"), "{claude}");
    assert_eq!(finding(&found, "base directory")["status"], "ok");
    let trust = finding(&found, "trust claude");
    assert!(
        trust["status"] == "warn" && trust["fix"].as_str().is_some_and(|fix| fix.ends_with("for all below it")),
        "{trust}"
    );
    assert!(!found.iter().any(|finding| finding["name"] == "trust codex"), "nothing to start: {found:?}");
    let trusted = serde_json::json!({"projects": {folder.canonicalize().expect("a folder").to_str().expect("a plain path"):
        {"hasTrustDialogAccepted": true}}});
    std::fs::write(shell.home.path().join(".claude.json"), trusted.to_string()).expect("a configuration");
    assert_eq!(finding(&findings(&shell.run(&["doctor", "--json"])), "trust claude")["status"], "ok");
}

#[test]
fn a_relay_that_is_away_or_wants_a_token_is_an_error() {
    let home = tempfile::tempdir().expect("a temporary directory");
    let away = typed(program(home.path()).args(["doctor", "--json", "--url", "http://127.0.0.1:1"]), None);
    let found = findings(&away);
    let relay = finding(&found, "relay");
    assert!(relay["status"] == "error" && relay["fix"] == "agent-relay serve", "{relay}");
    let shell = Shell::with(&[("AGENT_RELAY_TOKEN", "ar_the-administrator")]);
    let found = findings(&shell.run(&["doctor", "--json"]));
    assert_eq!(
        (&finding(&found, "relay")["status"], &finding(&found, "token")["status"]),
        (&"ok".into(), &"error".into())
    );
}
