//! Restart and shutdown of agents.

use agent_relay::domain::activity::ActivityKind;
use agent_relay::domain::control::command::Command;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::{entry, without_times};
use crate::server::{Answer, Client, Server};

async fn act(client: &Client, agent: &str, body: Value) -> Answer {
    client.post(&format!("/api/agents/{agent}/actions"), body).await
}

#[tokio::test]
async fn checks_come_in_the_known_order() {
    let server = Server::start().await;
    let client = &server.client;
    client.register(json!({"id": "slack", "meta": {"kind": "channel"}})).await;
    client.register(json!({"id": "mail", "tags": ["x", "channel"]})).await;
    // The body first, whoever it is for.
    for agent in ["nobody", "user", "slack"] {
        for body in
            [json!([]), json!("restart"), json!(null), json!({}), json!({"action": " "}), json!({"action": null})]
        {
            let problem = act(client, agent, body).await.problem(400, "invalid_request");
            assert_eq!(problem["detail"], "action required");
        }
        for action in [json!("reboot"), json!("Restart"), json!(7), json!(["restart"])] {
            act(client, agent, json!({"action": action})).await.invalid("action must be one of: restart, shutdown");
        }
        act(client, agent, json!({"action": "restart", "agentID": "x"})).await.invalid("unknown field \"agentID\"");
    }
    let problem = act(client, "nobody", json!({"action": "restart"})).await.problem(404, "not_found");
    assert_eq!(problem["detail"], "agent not found");
    for agent in ["user", "system", "slack", "mail"] {
        let problem = act(client, agent, json!({"action": "shutdown"})).await.problem(400, "not_controllable");
        assert_eq!(problem["detail"], "agent does not support dashboard control actions");
    }
    assert!(client.commands("").await.is_empty() && client.messages("").await.is_empty());
    assert!(client.activity("kind=control").await.is_empty());
}

#[tokio::test]
async fn an_action_is_a_message_a_command_and_an_entry() {
    let server = Server::start().await;
    let client = &server.client;
    client.register(json!({"id": "ada", "label": "one"})).await;
    // It need not be online to be told.
    client.patch("/api/agents/ada/status", json!({"status": "offline"})).await.expect::<Value>(200);
    let mut stream = client.follow("agent=ada").await;
    for (action, subject, said, icon) in [
        (
            "restart",
            "Agent restart requested",
            "Dashboard requested that this agent restart its relay-managed session now.",
            "ti-refresh",
        ),
        (
            "shutdown",
            "Agent shutdown requested",
            "Dashboard requested that this agent shut down its relay-managed session now.",
            "ti-power",
        ),
    ] {
        let answer: Value = act(client, "ada", json!({"action": action})).await.expect(202);
        assert_eq!((&answer["ok"], &answer["action"]), (&json!(true), &json!(action)));
        let message = without_times(&answer["message"], "agentControl");
        let expected = json!({
            "from": "system", "to": "ada", "type": "system", "subject": subject, "body": said, "claimable": false,
            "claimGeneration": 0, "readBy": [], "readCount": 0,
            "sender": {"as": "system", "verified": true, "via": "relay"},
            "meta": {
                "agentControl": {"action": action, "requestedBy": "dashboard"}, "delivery": "interrupt", "priority": "urgent",
            },
        });
        assert_eq!(message, expected);
        assert_eq!(stream.next_event("message.new").await.data, answer["message"]);
        let id = answer["message"]["id"].as_i64().expect("a message");
        assert_eq!(client.get(&format!("/api/messages/{id}")).await.expect::<Value>(200), answer["message"]);

        let command: Command = serde_json::from_value(answer["command"].clone()).expect("a command");
        assert_eq!(client.get(&format!("/api/commands/{}", command.id)).await.expect::<Command>(200), command);
        assert_eq!((command.kind.as_str(), command.target.as_str()), (action, "ada"));
        assert_eq!((command.status.as_str(), command.message_id), ("pending", Some(id.into())));
        assert_eq!(command.request, json!({"action": action, "agentId": "ada"}));
        assert_eq!(command.requested_by, "dashboard");
        assert_eq!(command.expires_at, command.created_at + 600_000);
        assert_eq!(answer["message"]["meta"]["commandId"], command.id);
        assert_eq!(answer["message"]["expiresAt"], command.expires_at.as_ms(), "the message goes with its command");
        let asked: Vec<&str> = command.decision.iter().map(|record| record.plugin.as_str()).collect();
        assert_eq!(asked, ["control-guard"], "containment has no say in this");

        let entry = entry(client, &format!("server-agent-ada-action-{action}-{id}")).await;
        assert_eq!((entry.kind, entry.title.as_str()), (ActivityKind::Control, subject));
        assert_eq!((entry.body.as_deref(), entry.meta.as_deref()), (Some(action), Some("ada")));
        assert_eq!((entry.icon.as_deref(), entry.view.as_deref()), (Some(icon), Some("agents")));
        assert_eq!((entry.message_id, entry.agent_id.as_deref()), (Some(id.into()), Some("ada")));
        assert_eq!(entry.metadata.map(|metadata| metadata.value()), Some(json!({"action": action})));
    }
    assert_eq!(client.inbox("ada").await.len(), 2);
}

#[tokio::test]
async fn a_repeated_action_is_sent_once() {
    let server = Server::start().await;
    let client = &server.client;
    client.register_all(&["ada"]).await;
    let request = |body: Value| {
        client.request(Method::POST, "/api/agents/ada/actions").header("Idempotency-Key", "k").json(&body)
    };
    let mut repeats = JoinSet::new();
    for _ in 0..8 {
        let (client, request) = (client.clone(), request(json!({"action": "restart"})));
        repeats.spawn(async move { client.call(request).await });
    }
    let answers = repeats.join_all().await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 202).count(), 1, "{answers:?}");
    let first: Value = answers[0].parse();
    for answer in answers {
        assert_eq!(answer.header("idempotency-replayed"), (answer.status == 200).then_some("true"), "{answer:?}");
        assert_eq!(answer.parse::<Value>(), first);
    }
    client.call(request(json!({"action": "shutdown"}))).await.problem(422, "idempotency_key_reused");
    assert_eq!(client.inbox("ada").await.len(), 1);
    assert_eq!(client.commands("target=ada").await.len(), 1);
    assert_eq!(client.activity("kind=control").await.len(), 1);
}
