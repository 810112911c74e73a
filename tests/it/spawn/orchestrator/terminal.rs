//! Programs with a terminal, through the daemon: a dialog is not up.

use std::fs;
use std::path::Path;
use std::process::Command;

use agent_relay::domain::agent::{ConditionKind, ConditionSource};
use agent_relay::domain::control::command::CommandStatus;
use agent_relay::sessions::TmuxChoice;
use serde_json::{Value, json};

use super::{SCRIPT, Site};
use crate::plugins::{guest, provider, put};
use crate::server::eventually;
use crate::sessions::has_tmux;
use crate::spawn::install;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dialog_is_not_up_until_somebody_answers_it() {
    let has_python = Command::new("python3").arg("--version").output().is_ok_and(|output| output.status.success());
    if !has_python || !has_tmux("a dialog through the daemon") {
        eprintln!("SKIPPED: a dialog through the daemon: it needs tmux and python3");
        return;
    }
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/terminal/program.py");
    let site = Site::start_with(TmuxChoice::Auto, SCRIPT, "", &[]).await;
    install(&site.path(), "sleeper", &format!("exec python3 {}", program.display()));
    // A provider that is put there is offered at once, if the relay has it too.
    put(&site.path().join("relay/plugins/misplan"), &provider("misplan", ""), &guest("misplan"));
    eventually("the relay has it", async || {
        let plugin: Option<Value> = match site.client.get("/api/plugins/misplan").await {
            answer if answer.status == 200 => Some(answer.parse()),
            _ => None,
        };
        plugin.filter(|plugin| plugin["state"] == "active")
    })
    .await;
    put(&site.path().join("far/plugins/misplan"), &provider("misplan", ""), &guest("misplan"));
    eventually("it is offered", async || {
        site.orchestrator().await?.providers.contains(&"misplan".to_owned()).then_some(())
    })
    .await;
    let dialog = json!({"dialog": ["Do you trust this folder?", "> 1. Yes", "  2. No"], "footer": ""});
    fs::write(site.project().join("rules.json"), dialog.to_string()).expect("rules");
    let spawned = site.ask(json!({"provider": "misplan", "label": "docs"})).await;
    let waits = eventually("the command says what it waits for", async || {
        let command = site.command_of(spawned.command).await;
        assert!(!command.status.is_final(), "{command:?}");
        command.result.map(|result| result.value()).filter(|result| result["seen"] == "dialog")
    })
    .await;
    assert!(waits["screen"].as_str().is_some_and(|screen| screen.contains("Do you trust")), "{waits}");
    assert!(waits["next"].as_str().is_some_and(|next| next.contains("attach-session")), "{waits}");
    assert_eq!(waits["agentId"], spawned.agent.as_str(), "what was known before still is");
    let card = site.card_is(&spawned.agent, "it is in a dialog", |card| {
        card.condition.as_ref().is_some_and(|condition| condition.kind == ConditionKind::Dialog)
    });
    let card = card.await;
    assert!(!card.ready);
    assert_eq!(card.condition.expect("a condition").source, ConditionSource::Orchestrator);

    let session = waits["session"].as_str().expect("a session");
    let socket = site.path().join("far/sessions/tmux.sock");
    let mut press = Command::new("tmux");
    press.arg("-S").arg(socket).args(["send-keys", "-t", &format!("={session}:"), "Enter"]);
    assert!(press.status().expect("tmux").success());
    let done = site.client.outcome(spawned.command).await;
    assert_eq!(done.status, CommandStatus::Succeeded, "{done:?}");
    let result = done.result.expect("a result").value();
    assert!(result["seen"].is_null() && result["screen"].is_null(), "{result}");
    let card = site.card(&spawned.agent).await;
    assert!(card.ready && card.condition.is_none(), "{card:?}");
}
