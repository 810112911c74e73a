//! The right moment for a notice, and the wrong ones.

use agent_relay::domain::agent::Agent;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::{Desk, act, can_run, noted};
use crate::server::eventually;

#[tokio::test]
async fn an_idle_session_is_told_of_a_message_and_that_is_seen() {
    if !can_run("a notice") {
        return;
    }
    let desk = Desk::start(json!({})).await;
    let id = desk.send("!touch /tmp/x /exit").await;
    let delivery = desk.reaches(id, "presented").await;
    assert_eq!((&delivery["how"], &delivery["attempts"]), (&json!("typed"), &json!(1)));
    assert!(delivery["evidence"].as_str().is_some_and(|evidence| evidence.starts_with("typed: ")), "{delivery}");
    assert_eq!(desk.took(), [format!("[agent-relay] message {id} from ada: !touch /tmp/x /exit")]);
    let read = json!({"agentId": desk.agent.id});
    desk.client().post(&format!("/api/messages/{id}/read"), read).await.expect::<Value>(200);
    desk.reaches(id, "read").await;
    let next = desk.send("next").await;
    desk.reaches(next, "presented").await;
    assert_eq!(desk.took().len(), 2);
}

#[tokio::test]
async fn what_comes_during_a_turn_is_one_notice_after_it() {
    if !can_run("a busy session") {
        return;
    }
    let desk = Desk::start(json!({"turn": 4, "hides": true})).await;
    let first = desk.send("first").await;
    desk.reaches(first, "presented").await;
    let (second, third) = (desk.send("second").await, desk.send("third").await);
    let waiting = desk.reaches(third, "waiting").await;
    // Nothing that the program shows says what it does, and on that nothing is typed.
    assert_eq!((&waiting["reason"], &waiting["attempts"]), (&json!("unknown"), &json!(0)));
    desk.reaches(third, "presented").await;
    desk.reaches(second, "presented").await;
    assert_eq!(desk.took()[1..], [format!("[agent-relay] 2 messages, newest {third} from ada")]);
}

#[tokio::test]
async fn no_key_is_pressed_into_a_dialog() {
    if !can_run("a dialog") {
        return;
    }
    let desk = Desk::start(json!({})).await;
    let client = desk.client();
    desk.ask(true).await;
    let read = desk.send("read meanwhile").await;
    desk.waits(read, "dialog").await;
    let path = format!("/api/agents/{}", desk.agent.id);
    let card: Agent = eventually("the dialog is seen", async || {
        let card: Agent = client.get(&path).await.expect(200);
        card.condition.is_some().then_some(card)
    })
    .await;
    let condition = card.condition.expect("a condition");
    assert_eq!((condition.kind.as_str(), condition.source.as_str(), card.ready), ("dialog", "relay", false));
    assert!(condition.detail.is_some_and(|detail| detail.contains("Do you trust this folder?")));
    // Nor by what may interrupt.
    let urgent = json!({"from": "user", "to": desk.agent.id, "body": "now", "delivery": "interrupt"});
    let urgent = client.send(urgent).await.id.get();
    desk.waits(urgent, "dialog").await;
    // What is read by then is not shown after it.
    let reads = json!({"agentId": desk.agent.id});
    client.post(&format!("/api/messages/{read}/read"), reads).await.expect::<Value>(200);
    assert_eq!(desk.reaches(read, "dropped").await["reason"], "read");
    desk.ask(false).await;
    desk.reaches(urgent, "presented").await;
    assert_eq!(desk.took(), [format!("[agent-relay] message {urgent} from user")]);
    assert_eq!(noted(&desk.project, "key in a dialog"), Vec::<Value>::new());
    eventually("it is over", async || {
        let card: Agent = client.get(&path).await.expect(200);
        (card.condition.is_none() && card.ready).then_some(())
    })
    .await;
}

#[tokio::test]
async fn whoever_does_not_want_to_be_disturbed_is_told_afterwards() {
    if !can_run("do not disturb") {
        return;
    }
    let desk = Desk::start(json!({})).await;
    let path = format!("/api/agents/{}/attention", desk.agent.id);
    desk.client().patch(&path, json!({"attention": "dnd"})).await.expect::<Value>(200);
    let quiet = desk.send("quiet").await;
    desk.waits(quiet, "do-not-disturb").await;
    let urgent = json!({"from": "user", "to": desk.agent.id, "body": "now", "delivery": "interrupt"});
    let urgent = desk.client().send(urgent).await.id.get();
    desk.reaches(urgent, "presented").await;
    assert_eq!(desk.took(), [format!("[agent-relay] message {urgent} from user")]);
    desk.client().patch(&path, json!({"attention": "open"})).await.expect::<Value>(200);
    desk.reaches(quiet, "presented").await;
}

#[tokio::test]
async fn a_session_that_is_started_again_is_told_once_what_its_agent_has() {
    if !can_run("a restart") {
        return;
    }
    let desk = Desk::start(json!({})).await;
    let work = json!({"from": "ada", "to": desk.agent.id, "body": "do", "claimable": true});
    let work = desk.client().send(work).await.id.get();
    let by = json!({"agentId": desk.agent.id});
    desk.reaches(work, "presented").await;
    desk.client().post(&format!("/api/messages/{work}/claim"), by.clone()).await.expect::<Value>(200);
    desk.client().post(&format!("/api/messages/{work}/read"), by).await.expect::<Value>(200);
    let unread = desk.send("unread").await;
    desk.reaches(unread, "presented").await;
    let before = desk.took().len();
    let command = act(desk.client(), &desk.agent, "restart").await;
    assert_eq!(command.status.as_str(), "succeeded", "{command:?}");
    eventually("it is told", async || (desk.took().len() > before).then_some(())).await;
    let text = format!(
        "[agent-relay] you are {}: 1 open claim ({work}); 1 unread message, newest {unread} from ada",
        desk.agent.id
    );
    assert_eq!(desk.took()[before..], [text]);
    // The next is a notice as ever.
    let next = desk.send("next").await;
    desk.reaches(next, "presented").await;
    assert_eq!(desk.took()[before + 1..], [format!("[agent-relay] message {next} from ada: next")]);
}

#[tokio::test]
async fn a_terminal_server_that_hangs_holds_up_nobody_else() {
    if !can_run("a tmux that hangs") {
        return;
    }
    let desk = Desk::start(json!({})).await;
    let socket = desk.home.path().join("data/sessions/tmux.sock");
    let server = std::process::Command::new("tmux").arg("-S").arg(socket).args(["display", "-p", "#{pid}"]).output();
    let server = String::from_utf8(server.expect("tmux").stdout).expect("a number");
    let server = Pid::from_raw(server.trim().parse().expect("a process id")).expect("a process id");
    kill_process(server, Signal::STOP).expect("its server");
    let id = desk.send("while it hangs").await;
    let delivery: Vec<Value> = desk.client().get(&format!("/api/messages/{id}/deliveries")).await.expect(200);
    assert_ne!(delivery[0]["state"], "presented");
    let other = json!({"from": "ada", "to": "bob", "body": "b", "receipt": "read"});
    assert_eq!(desk.client().post("/api/messages", other).await.expect::<Value>(201)["receipt"], "stored");
    kill_process(server, Signal::CONT).expect("its server");
    desk.reaches(id, "presented").await;
    assert_eq!(desk.took(), [format!("[agent-relay] message {id} from ada: while it hangs")]);
}
