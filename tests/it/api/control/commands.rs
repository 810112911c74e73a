//! Commands: who may report on them, which way they go, and what time does to them.

use std::time::Duration;

use agent_relay::domain::control::command::{Command, CommandStatus};
use agent_relay::domain::message::Message;
use serde_json::{Value, json};

use super::orchestrator;
use crate::server::{Answer, Client, Server, until};

/// Sends an action to an agent; its command.
async fn act(client: &Client, agent: &str, action: &str) -> Command {
    let answer = client.post(&format!("/api/agents/{agent}/actions"), json!({"action": action})).await;
    let answer: Value = answer.expect(202);
    serde_json::from_value(answer["command"].clone()).expect("a command")
}

async fn report(client: &Client, command: &Command, body: Value) -> Answer {
    client.patch(&format!("/api/commands/{}", command.id), body).await
}

#[tokio::test]
async fn reports_go_forward_and_are_told() {
    let server = Server::start().await;
    let client = &server.client;
    client.register_all(&["ada"]).await;
    let command = act(client, "ada", "restart").await;
    let mut stream = client.follow("types=command.updated").await;
    for (status, extra) in [
        ("accepted", json!({})),
        ("running", json!({"result": {"step": 1}})),
        ("succeeded", json!({"result": {"step": 2}})),
    ] {
        let mut body = extra.clone();
        body["status"] = json!(status);
        let answer: Value = report(client, &command, body).await.expect(200);
        assert_eq!(answer["status"], status);
        assert_eq!(stream.next().await.data, answer);
        let stored: Value = client.get(&format!("/api/commands/{}", command.id)).await.expect(200);
        assert_eq!(stored, answer);
    }
    assert_eq!(client.outcome(command.id).await.result, Some(json!({"step": 2}).into()));

    // Steps may be left out; none is taken back, and the end is the end.
    for (path, end) in
        [(&["accepted", "failed"][..], "failed"), (&["succeeded"], "succeeded"), (&["running", "failed"], "failed")]
    {
        let command = act(client, "ada", "shutdown").await;
        for status in path {
            report(client, &command, json!({"status": status, "error": "because"})).await.expect::<Value>(200);
            for back in ["pending", "denied", "expired", *status] {
                let problem =
                    report(client, &command, json!({"status": back})).await.problem(409, "illegal_transition");
                assert_eq!(problem["detail"], json!(format!("a command cannot go from \"{status}\" to \"{back}\"")));
            }
        }
        for late in ["accepted", "running", "succeeded", "failed"] {
            report(client, &command, json!({"status": late})).await.problem(409, "illegal_transition");
        }
        let command = client.outcome(command.id).await;
        assert_eq!((command.status.as_str(), command.error.as_deref()), (end, Some("because")));
    }
}

#[tokio::test]
async fn a_report_has_bounds() {
    let server = Server::start().await;
    let client = &server.client;
    client.register_all(&["ada"]).await;
    let command = act(client, "ada", "restart").await;
    for (body, text) in [
        (json!({}), "status required"),
        (json!({"status": "done"}), "status must be one of: denied, pending, accepted, running, succeeded"),
        (json!({"status": "failed", "error": "x".repeat(4_001)}), "error must have at most 4000"),
        (json!({"status": "running", "result": {"r": "x".repeat(17_000)}}), "result must have at most"),
    ] {
        report(client, &command, body).await.invalid(text);
    }
    client.patch("/api/commands/999", json!({"status": "running"})).await.problem(404, "not_found");
    client.get("/api/commands/999").await.problem(404, "not_found");
    client.get("/api/commands/x").await.problem(400, "invalid_request");
    let stored: Command = client.get(&format!("/api/commands/{}", command.id)).await.expect(200);
    assert_eq!(stored, command);
}

#[tokio::test]
async fn a_command_that_nobody_took_up_is_not_delivered_any_more() {
    let lifetime = Duration::from_millis(1_500);
    let server = Server::start_with(|config| config.command_lifetime = lifetime).await;
    let client = &server.client;
    client.register_all(&["ada"]).await;
    let cursor: Value = client.get("/api/messages/cursor").await.expect(200);
    let mut stream = client.follow("agent=ada&types=message.new").await;
    let late = act(client, "ada", "shutdown").await;
    let taken = act(client, "ada", "restart").await;
    report(client, &taken, json!({"status": "accepted"})).await.expect::<Value>(200);
    assert_eq!(late.expires_at - late.created_at, 1_500);
    let told = stream.next().await;
    assert_eq!(told.data["meta"]["commandId"], late.id);
    let inbox = format!("for=ada&since={}", cursor["latestId"]);
    assert!(client.messages(&inbox).await.iter().any(|message| Some(message.id) == late.message_id), "it waits");

    let mut stream = client.follow("types=command.updated").await;
    until(taken.expires_at + 1).await;
    // Nobody has looked after it yet, and still it is gone: from lists, and from what a stream is told again.
    client.say("bob", "ada", "hello").await;
    let bodies: Vec<Message> = client.messages(&inbox).await;
    assert_eq!(bodies.iter().map(|message| message.body.as_str()).collect::<Vec<_>>(), ["hello"]);
    let before = told.id.as_deref().and_then(|id| id.rsplit_once('-')).expect("an id");
    let from = format!("{}-{}", before.0, told.seq() - 1);
    let mut replay = client.open_stream("agent=ada&types=message.new", Some(&from)).await;
    replay.ready().await;
    assert_eq!(replay.next().await.text("body"), "hello");

    client.post("/api/system/reap", json!({})).await.expect::<Value>(200);
    let frame = stream.next().await;
    assert_eq!((&frame.data["id"], &frame.data["status"]), (&json!(late.id), &json!("expired")));
    let expired = client.outcome(late.id).await;
    assert_eq!(expired.status, CommandStatus::Expired);
    assert!(expired.error.is_some_and(|error| error.contains("nobody took it up")));
    for status in ["accepted", "succeeded"] {
        report(client, &late, json!({"status": status})).await.problem(409, "illegal_transition");
    }
    report(client, &taken, json!({"status": "succeeded"})).await.expect::<Value>(200);
    let entries = client.activity("agent=ada&kind=control").await;
    assert!(entries.iter().any(|entry| entry.title == "Command shutdown expired"), "{entries:?}");
    // Whoever knows the number may still read what it was.
    client.get(&format!("/api/messages/{}", late.message_id.expect("a message"))).await.expect::<Message>(200);
}

#[tokio::test]
async fn commands_are_listed_newest_first_filtered_and_paged() {
    let server = Server::start().await;
    let client = &server.client;
    client.register_all(&["ada", "bob"]).await;
    orchestrator(client, "far", "/base").await;
    let mut ids = Vec::new();
    for number in 0..8 {
        let (agent, action) = (["ada", "bob"][number % 2], ["restart", "shutdown"][number / 4]);
        ids.push(act(client, agent, action).await.id.get());
    }
    client
        .post("/api/orchestrators/far/spawn", json!({"provider": "claude", "cwd": "/"}))
        .await
        .problem(403, "policy_denied");
    let denied = client.commands("status=denied").await;
    assert_eq!(denied.len(), 1);
    report(client, &denied[0], json!({"status": "succeeded"})).await.problem(409, "illegal_transition");
    let first = json!({"status": "failed"});
    client.patch(&format!("/api/commands/{}", ids[0]), first).await.expect::<Value>(200);

    let list = async |query: &str| -> Vec<i64> {
        client.commands(query).await.iter().map(|command| command.id.get()).collect()
    };
    let expected = |matches: &dyn Fn(usize) -> bool| -> Vec<i64> {
        (0..8).rev().filter(|n| matches(*n)).map(|n| ids[n]).collect()
    };
    assert_eq!(list("").await.len(), 9);
    assert!(list("").await.is_sorted_by(|a, b| a > b));
    assert_eq!(list("target=ada").await, expected(&|n| n % 2 == 0));
    assert_eq!(list("kind=shutdown").await, expected(&|n| n >= 4));
    assert_eq!(list("target=bob&kind=restart&status=pending").await, expected(&|n| n % 2 == 1 && n < 4));
    assert_eq!(list("status=failed").await, [ids[0]]);
    assert_eq!(list("target=nobody").await, Vec::<i64>::new());
    let (mut seen, mut path) = (Vec::new(), Some("/api/commands?target=ada&status=pending&limit=1".to_owned()));
    while let Some(page) = path {
        let answer = client.get(&page).await;
        path = answer.next_page();
        seen.extend(answer.expect::<Vec<Command>>(200).into_iter().map(|command| command.id));
    }
    assert_eq!(seen, expected(&|n| n % 2 == 0 && n > 0));
    for query in ["status=done", "kind=kill", "limit=0", "limit=1001", "before=x"] {
        client.get(&format!("/api/commands?{query}")).await.problem(400, "invalid_request");
    }
}
