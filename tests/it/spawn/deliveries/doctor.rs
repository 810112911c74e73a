//! What `doctor` says of an agent whose session runs: whether it can be woken, and how it was.

use serde_json::{Value, json};

use super::{Desk, can_run};
use crate::cli::doctor::{finding, findings};
use crate::cli::shell::typed;

impl Desk {
    /// What is said of the agent now.
    fn diagnosis(&self) -> Value {
        let found = findings(&typed(&mut self.command(&["doctor", "--json"]), None));
        finding(&found, &format!("agent {}", self.agent.id)).clone()
    }
}

#[tokio::test]
async fn how_an_agent_is_woken_is_said_by_what_was_seen() {
    if !can_run("a diagnosis") {
        return;
    }
    let desk = Desk::start(json!({})).await;
    let session = &desk.agent.session;
    let woken = |way: &str| format!("woken in its session {session} on the relay's host{way}");
    assert_eq!(desk.diagnosis()["detail"], woken(""));
    let id = desk.send("one").await;
    desk.reaches(id, "presented").await;
    let detail = desk.diagnosis()["detail"].as_str().expect("words").to_owned();
    assert!(detail.starts_with(&woken(&format!("; message {id} came by typed "))), "{detail}");

    let path = format!("/api/agents/{}/attention", desk.agent.id);
    desk.client().patch(&path, json!({"attention": "dnd"})).await.expect::<Value>(200);
    let quiet = desk.send("two").await;
    desk.waits(quiet, "do-not-disturb").await;
    let detail = desk.diagnosis()["detail"].as_str().expect("words").to_owned();
    let ends = format!("; message {quiet} waits: do-not-disturb; nothing but what interrupts");
    assert!(detail.contains(&format!("message {id} came by typed")) && detail.ends_with(&ends), "{detail}");

    desk.client().patch(&path, json!({"attention": "open"})).await.expect::<Value>(200);
    desk.reaches(quiet, "presented").await;
    desk.ask(true).await;
    let held = desk.send("three").await;
    desk.waits(held, "dialog").await;
    let told = desk.diagnosis();
    let detail = told["detail"].as_str().expect("words");
    assert!(detail.starts_with("not woken while it waits in its terminal (dialog: "), "{told}");
    assert!(detail.contains("Do you trust this folder?"), "{told}");
    assert_eq!(told["fix"], format!("agent-relay sessions attach {}", desk.agent.id));
}
