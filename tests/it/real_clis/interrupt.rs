//! A message that may interrupt breaks into a turn of the real programs, and nothing else does.

use std::path::Path;

use serde_json::{Value, json};

use super::main_job::{Site, prepare, with_path};
use super::model::{Answer, Model};
use super::{Cli, claude, codex, every_installed};
use crate::server::eventually;
use crate::sessions::has_tmux;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_interrupting_message_ends_a_turn_of_claude_code() {
    if has_tmux("interrupting the real claude") {
        for program in every_installed("claude") {
            interrupt("claude", |model, home, cwd| Some(Cli { program, ..claude(model, home, cwd)? })).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_interrupting_message_ends_a_turn_of_codex() {
    if has_tmux("interrupting the real codex") {
        interrupt("codex", codex).await;
    }
}

/// One message begins a turn that would never end, one waits for its end, and one ends it.
async fn interrupt(provider: &str, cli: impl FnOnce(&Model, &Path, &Path) -> Option<Cli>) {
    let model = Model::start().await;
    let (home, project) = prepare();
    let Some(cli) = cli(&model, home.path(), &project) else { return };
    let site = Site::start_in(home, &with_path(cli)).await;
    let (id, _) = site.begin(provider).await;
    let send = async |delivery: Option<&str>| {
        let message = json!({"from": "user", "to": id, "body": "do it", "delivery": delivery});
        site.client.send(message).await.id.get()
    };
    let delivery = async |message: i64| {
        let rows: Vec<Value> = site.client.get(&format!("/api/messages/{message}/deliveries")).await.expect(200);
        rows.into_iter().next().expect("a delivery")
    };
    let is_presented = |row: &Value| row["state"] == "presented" && row["evidence"].is_string();

    model.will(Answer::Held("I begin.".to_owned()));
    let first = send(None).await;
    assert!(model.turn(2).await.to_string().contains(&format!("message {first} from")));
    eventually("it was shown", async || is_presented(&delivery(first).await).then_some(())).await;
    let second = send(None).await;
    eventually("what may not interrupt waits", async || {
        let row = delivery(second).await;
        (row["state"] == "waiting" && row["reason"] == "busy").then_some(())
    })
    .await;
    assert_eq!(model.turns(), 2);

    let third = send(Some("interrupt")).await;
    let turn = model.turn(3).await.to_string();
    assert!(turn.contains(&format!("message {third} from")), "{turn}");
    assert!(!turn.contains(&format!("message {second} from")), "{turn}");
    eventually("it was shown too", async || is_presented(&delivery(third).await).then_some(())).await;
    // That turn ended, so what waited is shown.
    assert!(model.turn(4).await.to_string().contains(&format!("message {second} from")));
    eventually("so was what waited", async || is_presented(&delivery(second).await).then_some(())).await;
    assert_eq!(model.turns(), 4, "each once");
    site.client.delete(&format!("/api/agents/{id}")).await;
}
