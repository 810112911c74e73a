//! What a relay says of a program that is not up.

use std::fs;

use agent_relay::domain::agent::{ConditionKind, ConditionSource};
use agent_relay::domain::control::command::{Command, CommandStatus};
use agent_relay::sessions::{SessionState, TmuxChoice};
use rustix::process::Signal;
use serde_json::{Value, json};

use super::{can_run, press, received};
use crate::plugins::{guest, mislook, provider, put};
use crate::server::{Client, eventually};
use crate::spawn::{Host, Running, act, card, cmdline, install, serve_beside};

async fn spawn(client: &Client) -> Running {
    Running::read(&client.post("/api/agents/spawn", json!({"provider": "misplan"})).await.expect(202))
}

async fn command(client: &Client, id: i64) -> Command {
    client.get(&format!("/api/commands/{id}")).await.expect(200)
}

/// The result of the command once it says that its program waits in a dialog.
async fn waits(client: &Client, id: i64) -> Value {
    eventually("the command says what it waits for", async || {
        let command = command(client, id).await;
        assert!(!command.status.is_final(), "{command:?}");
        command.result.map(|result| result.value()).filter(|result| result["seen"] == "dialog")
    })
    .await
}

#[tokio::test]
async fn a_program_in_a_dialog_is_neither_a_success_nor_ready() {
    if !can_run("a dialog after a spawn") {
        return;
    }
    let home = tempfile::tempdir().expect("a temporary directory");
    let path = home.path().canonicalize().expect("the directory");
    let base = path.join("base");
    fs::create_dir_all(&base).expect("a base directory");
    put(&path.join("plugins/misplan"), &provider("misplan", ""), &guest("misplan"));
    install(&path, "sleeper", &format!("exec python3 {}", super::program().display()));
    let rules = json!({"dialog": ["Do you trust this folder?", "> 1. Yes", "  2. No"], "footer": ""});
    fs::write(base.join("rules.json"), rules.to_string()).expect("rules");
    let (serving, client) = serve_beside(&path);
    let host = Host::at(&path.join("data"), TmuxChoice::Auto).await;

    let agent = spawn(&client).await;
    let told = waits(&client, agent.command).await;
    assert_eq!(told["screen"], "Do you trust this folder?\n> 1. Yes\n  2. No");
    let attach = told["attach"].as_str().expect("how to attach");
    assert!(attach.contains("attach-session") && attach.contains(agent.session.as_str()), "{attach}");
    assert!(told["next"].as_str().is_some_and(|next| next.contains(attach)), "{told}");
    let of_agent = card(&client, &agent.id).await;
    assert!(!of_agent.ready);
    let condition = of_agent.condition.expect("a condition");
    assert_eq!((condition.kind, condition.source), (ConditionKind::Dialog, ConditionSource::Relay));
    assert_eq!(condition.detail.as_deref(), told["screen"].as_str());
    let ended = spawn(&client).await;
    waits(&client, ended.command).await;

    // Having outlived its relay is no sign of being up either.
    serving.signal(Signal::KILL);
    drop(serving);
    let (_serving, client) = serve_beside(&path);
    let command_after = act(&client, &ended, "shutdown").await;
    assert_eq!(command_after.status, CommandStatus::Succeeded, "{command_after:?}");
    let of_ended = card(&client, &ended.id).await;
    assert_eq!((of_ended.status.as_str(), of_ended.condition), ("offline", None), "its end was asked for");
    let failed = client.outcome(ended.command).await;
    assert_eq!(failed.status, CommandStatus::Failed);
    assert!(failed.error.is_some_and(|error| error.contains("before it was up")));
    assert_eq!(command(&client, agent.command).await.status, CommandStatus::Running);
    assert!(!card(&client, &agent.id).await.ready);
    assert_eq!(received(&base), Vec::<Value>::new(), "nobody answered for the user");

    press(&path.join("data/sessions"), &agent.session, &["1"]);
    let done = client.outcome(agent.command).await;
    assert_eq!(done.status, CommandStatus::Succeeded, "{done:?}");
    let result = done.result.expect("a result").value();
    assert!(result["screen"].is_null() && result["next"].is_null() && result["seen"].is_null(), "{result}");
    assert_eq!(result["attach"], told["attach"]);
    let of_agent = card(&client, &agent.id).await;
    assert!(of_agent.ready && of_agent.condition.is_none(), "{of_agent:?}");
    assert_eq!(received(&base), [json!({"dialog": "31"})]);

    // The same again for a restart: it runs, and is not done.
    let path_of_actions = format!("/api/agents/{}/actions", agent.id);
    let answer: Value = client.post(&path_of_actions, json!({"action": "restart"})).await.expect(202);
    let restart = answer["command"]["id"].as_i64().expect("a command");
    let told = waits(&client, restart).await;
    assert!(!card(&client, &agent.id).await.ready);
    let [again] = &host.running()[..] else { panic!("{:?}", host.running()) };
    // Its agent says so itself: that counts, whatever the screen shows.
    let token = crate::spawn::environ(
        u32::try_from(told["pid"].as_u64().expect("a process")).expect("an id"),
        "AGENT_RELAY_TOKEN",
    );
    let own = client.with_token(token.as_deref());
    own.patch(&format!("/api/agents/{}/ready", agent.id), json!({"ready": true})).await.expect::<Value>(200);
    assert_eq!(client.outcome(restart).await.status, CommandStatus::Succeeded);
    let of_agent = card(&client, &agent.id).await;
    assert!(of_agent.ready && of_agent.condition.is_none(), "{of_agent:?}");
    assert_eq!(again.identity.agent_id, agent.id);
}

/// What its provider reads on the screen is told at once; and its program's own conversation outlives the restart.
#[tokio::test]
async fn a_restart_goes_on_with_the_programs_own_conversation() {
    if !can_run("a resumed conversation") {
        return;
    }
    let home = tempfile::tempdir().expect("a temporary directory");
    let path = home.path().canonicalize().expect("the directory");
    let base = path.join("base");
    fs::create_dir_all(&base).expect("a base directory");
    put(&path.join("plugins/mislook"), &mislook("program = 'sleeper'"), &guest("mislook"));
    install(&path, "sleeper", &format!("exec python3 {} \"$@\"", super::program().display()));
    let rules = json!({"dialog": ["Do you trust this folder?", "> 1. Yes", "  2. No"], "footer": ""});
    fs::write(base.join("rules.json"), rules.to_string()).expect("rules");
    let (_serving, client) = serve_beside(&path);
    let host = Host::at(&path.join("data"), TmuxChoice::Auto).await;

    let answer: Value = client.post("/api/agents/spawn", json!({"provider": "mislook"})).await.expect(202);
    let agent = Running::read(&answer);
    waits(&client, agent.command).await;
    let condition = card(&client, &agent.id).await.condition.expect("a condition");
    assert_eq!(condition.kind, ConditionKind::Dialog);
    assert_eq!(condition.detail.as_deref(), Some("Do you trust this folder?"), "what the provider read");
    let first = cmdline(agent.pid);
    assert!(first.contains(&"--conversation".to_owned()), "a fresh name for a new one: {first:?}");

    // Nothing has named a conversation yet: there is none to go on with.
    fs::write(base.join("rules.json"), json!({}).to_string()).expect("rules");
    let restarted = act(&client, &agent, "restart").await;
    let result = restarted.result.expect("a result").value();
    assert_eq!((restarted.status, &result["resumed"]), (CommandStatus::Succeeded, &json!(false)));

    fs::write(base.join("conversation"), "c-1\n").expect("its own record");
    act(&client, &agent, "restart").await;
    let resumed = act(&client, &agent, "restart").await;
    let result = resumed.result.expect("a result").value();
    assert_eq!(result["resumed"], json!(true));
    let [session] = &host.running()[..] else { panic!("{:?}", host.running()) };
    let SessionState::Running { pid } = session.state else { panic!("{session:?}") };
    let last = cmdline(pid);
    assert!(last.ends_with(&["--resume".to_owned(), "c-1".to_owned()]), "{last:?}");
}
