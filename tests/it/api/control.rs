//! Control requests: what is asked, answered, sent and recorded.

mod actions;
mod commands;
mod directories;
mod limits;
mod orchestrators;
mod plugins;
mod scopes;
mod through;

use agent_relay::domain::activity::Activity;
use serde_json::{Value, json};

use crate::server::Client;

pub(super) use self::scopes::with_tokens;

/// Registers an orchestrator of which nothing matters but where it works.
async fn orchestrator(client: &Client, id: &str, base: &str) -> Value {
    let registration = json!({"id": id, "hostname": format!("host-of-{id}"), "baseDir": base});
    client.post("/api/orchestrators", registration).await.expect(201)
}

/// Has an orchestrator run this many agents: `ID-0` and so on.
async fn manages(client: &Client, id: &str, count: usize) {
    let agent =
        |number| json!({"agentId": format!("{id}-{number}"), "provider": "claude", "tmuxSession": "s", "cwd": "/"});
    let agents: Vec<Value> = (0..count).map(agent).collect();
    client.patch(&format!("/api/orchestrators/{id}/agents"), json!({"agents": agents})).await.expect::<Value>(200);
}

/// The one entry of the activity log with this id.
async fn entry(client: &Client, client_id: &str) -> Activity {
    let entries = client.activity("").await;
    let found: Vec<&Activity> = entries.iter().filter(|entry| entry.client_id == client_id).collect();
    let [entry] = &found[..] else { panic!("{} entries {client_id} in {entries:#?}", found.len()) };
    (*entry).clone()
}

/// A message without what differs each time: its id, its time, and when it was asked for.
fn without_times(message: &Value, control: &str) -> Value {
    let mut message = message.clone();
    for member in ["id", "threadId", "createdAt", "expiresAt"] {
        assert!(message[member].is_i64(), "no {member} in {message}");
        message.as_object_mut().expect("an object").remove(member);
    }
    let details = message["meta"][control].as_object_mut().expect("what is asked for");
    assert!(details.remove("requestedAt").is_some_and(|at| at.is_i64()));
    assert!(message["meta"].as_object_mut().expect("an object").remove("commandId").is_some_and(|id| id.is_i64()));
    message
}
