//! `agent-relay send`, which shows how the message is brought, and stops showing where it should.

use rustix::process::Signal;
use serde_json::{Value, json};

use super::{Desk, can_run};
use crate::cli::shell::{on_terminal, typed};
use crate::program::Running;
use crate::server::eventually;

/// The only message from this sender.
async fn sent(desk: &Desk, from: &str) -> i64 {
    eventually("it is sent", async || {
        let messages = desk.client().messages(&format!("from={from}")).await;
        (!messages.is_empty()).then(|| {
            assert_eq!(messages.len(), 1, "{messages:?}");
            messages[0].id.get()
        })
    })
    .await
}

#[tokio::test]
async fn whoever_sends_sees_it_presented() {
    if !can_run("a message that is followed") {
        return;
    }
    let desk = Desk::start(json!({})).await;
    let agent = desk.agent.id.as_str();
    let said = typed(&mut desk.command(&["send", agent, "one", "--as", "ann"]), None);
    let id = sent(&desk, "ann").await;
    assert_eq!(said.err, "", "no steps where nobody looks on");
    let told = format!("message {id} is stored, and reaches 1 agent\n  {agent}: presented by typed\n");
    assert_eq!(said.done(), told);
    assert_eq!(desk.took().len(), 1);

    let answer = typed(&mut desk.command(&["reply", &id.to_string(), "x", "--json"]), None).json();
    assert_eq!((&answer["to"], &answer["deliveries"]), (&json!("ann"), &json!([])));
    let answer = typed(&mut desk.command(&["send", agent, "two", "--json"]), None).json();
    let delivery = &answer["deliveries"][0];
    assert_eq!((&delivery["agentId"], &delivery["state"]), (&json!(agent), &json!("presented")));
    assert_eq!(answer["body"], "two");

    desk.ask(true).await;
    let said = typed(&mut desk.command(&["send", agent, "three", "--no-wait"]), None);
    assert_eq!(said.done().lines().count(), 1);
    let answer = typed(&mut desk.command(&["send", agent, "four", "--no-wait", "--json"]), None).json();
    assert!(answer.get("deliveries").is_none(), "{answer}");
}

#[tokio::test]
async fn what_is_held_back_is_said_to_be_and_whoever_leaves_takes_nothing_with_them() {
    if !can_run("a message that is held back") {
        return;
    }
    let desk = Desk::start(json!({})).await;
    let agent = desk.agent.id.as_str();
    desk.ask(true).await;
    let said = typed(&mut desk.command(&["send", agent, "one", "--as", "ann", "--timeout", "2s"]), None).done();
    let first = sent(&desk, "ann").await;
    assert!(said.contains(&format!("\n  {agent}: waiting, ")) && said.contains(", after 2s\n"), "{said}");
    assert!(said.contains(&format!("it goes on being brought; `agent-relay read {first} --peek` shows")), "{said}");
    assert!(!said.contains("presented") && !said.contains("offered"), "{said}");

    let following = Running::start(&mut desk.command(&["send", agent, "two", "--as", "bob", "--timeout", "10m"]));
    let second = sent(&desk, "bob").await;
    following.said(&format!("message {second} is stored"));
    desk.waits(second, "dialog").await;
    following.signal(Signal::INT);
    let (code, complaints) = following.ended();
    assert_eq!(code, Some(130), "{complaints:?}");
    assert!(complaints[0].starts_with(&format!("message {second} stays stored")), "{complaints:?}");
    desk.ask(false).await;
    desk.reaches(first, "presented").await;
    desk.reaches(second, "presented").await;
    assert_eq!(desk.client().messages("from=bob").await.len(), 1, "it was sent once");
}

#[tokio::test]
async fn its_steps_are_shown_to_whoever_looks_on() {
    if !can_run("steps on a terminal") {
        return;
    }
    let desk = Desk::start(json!({})).await;
    let agent = desk.agent.id.clone();
    for (who, wait_for) in [("ann", &["--timeout", "10m"]), ("bob", &["--wait-for", "read"])] {
        desk.ask(true).await;
        let mut command = desk.command(&["send", &agent, "one", "--as", who]);
        command.args(wait_for).env("NO_COLOR", "1");
        let following = std::thread::spawn(move || on_terminal(&mut command, 100));
        let id = sent(&desk, who).await;
        desk.waits(id, "dialog").await;
        desk.ask(false).await;
        desk.reaches(id, "presented").await;
        let reads = json!({"agentId": agent});
        desk.client().post(&format!("/api/messages/{id}/read"), reads).await.expect::<Value>(200);
        let (code, seen) = following.join().expect("its end");
        assert_eq!(code, Some(0), "{seen}");
        assert!(seen.starts_with(&format!("message {id} is stored, and reaches 1 agent")), "{seen}");
        let at = |state: &str| seen.find(&format!("  {agent}: {state}"));
        assert!(at("waiting").is_some(), "{seen}");
        let end = at("presented").or(at("read"));
        assert!(end.is_some_and(|end| Some(end) > at("waiting")), "{seen}");
        assert_eq!(seen.contains("is read by"), who == "bob", "{seen}");
    }
}

#[tokio::test]
async fn a_relay_that_is_away_is_no_end_of_what_is_stored() {
    if !can_run("a relay that is away") {
        return;
    }
    let mut desk = Desk::start(json!({})).await;
    let agent = desk.agent.id.clone();
    desk.ask(true).await;
    let following = Running::start(&mut desk.command(&["send", &agent, "one", "--as", "ann", "--timeout", "4s"]));
    let id = sent(&desk, "ann").await;
    following.said(&format!("message {id} is stored"));
    desk.waits(id, "dialog").await;
    let serving = desk.serving.take().expect("a relay");
    serving.signal(Signal::KILL);
    drop(serving);
    following.said("it goes on being brought");
    assert_eq!(following.ended().0, Some(0));
}
