//! Attention through crashes: what waits is what its causes say, and what was told of it leads there.

use std::collections::{BTreeMap, BTreeSet};

use agent_relay::domain::agent::Agent;
use agent_relay::domain::attention::Attention;
use agent_relay::domain::control::ControlKind;
use agent_relay::domain::control::command::{Command, CommandStatus};
use agent_relay::domain::task::Task;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::{killed_again_and_again, pages};
use crate::server::Client;

const ROUNDS: usize = 6;
const AGENTS: [&str; 4] = ["a0", "a1", "a2", "a3"];

/// Does with one agent whatever makes something wait or not wait any more, until the relay is gone.
async fn live(client: Client, me: &'static str, made: watch::Sender<usize>) {
    let ask = async |method: Method, path: String, body: Value| {
        let answer = client.try_call(client.request(method, &path).json(&body)).await.ok()?;
        // Others dismiss as well.
        assert!(matches!(answer.status, 200..=202 | 404), "{answer:?}");
        made.send_modify(|made| *made += 1);
        Some(answer.parse::<Value>())
    };
    let live = async || -> Option<()> {
        for turn in 0.. {
            let kind = ["dialog", "input", "stalled", "limit"][turn % 4];
            let condition = format!("/api/agents/{me}/condition");
            ask(Method::PATCH, condition.clone(), json!({"kind": kind, "detail": format!("turn {turn}")})).await?;
            let (asks, action) = (["question", "approval"][turn % 2], ["restart", "shutdown"][turn / 2 % 2]);
            let question = json!({"from": me, "title": "t", "kind": asks});
            let question = ask(Method::POST, "/api/tasks".to_owned(), question).await?;
            let command = ask(Method::POST, format!("/api/agents/{me}/actions"), json!({"action": action})).await?;
            let outcome = json!({"status": if turn % 3 == 2 { "succeeded" } else { "failed" }});
            ask(Method::PATCH, format!("/api/commands/{}", command["command"]["id"]), outcome).await?;
            if turn % 3 == 0 {
                let answer = json!({"answer": "yes"});
                ask(Method::POST, format!("/api/tasks/{}/answer", question["id"]), answer).await?;
            }
            let items = ask(Method::GET, "/api/attention?limit=5".to_owned(), json!({})).await?;
            if let Some(item) = items.get(turn % 5) {
                ask(Method::POST, format!("/api/attention/{}/dismiss", item["id"]), json!({})).await?;
            }
            if turn % 2 == 1 {
                ask(Method::PATCH, condition, json!({"kind": null})).await?;
            }
        }
        None
    };
    assert_eq!(live().await, None, "it ends when the relay is gone");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_is_what_its_causes_say_however_often_the_relay_is_killed() {
    let live = async |client: Client, _, made: watch::Sender<usize>| {
        client.register_all(&AGENTS).await;
        let mut clients = JoinSet::new();
        for me in AGENTS {
            clients.spawn(live(client.clone(), me, made.clone()));
        }
        clients
    };
    killed_again_and_again(ROUNDS, 128, account, live).await;
}

/// What an item is about.
fn cause(item: &Attention) -> String {
    match (item.task_id, item.command_id, &item.agent_id) {
        (Some(task), ..) => format!("task {task}"),
        (_, Some(command), _) => format!("command {command}"),
        (_, _, Some(agent)) => format!("{} {agent}", item.kind),
        _ => panic!("{item:?}"),
    }
}

async fn account(client: &Client) {
    let items: Vec<Attention> = pages(client, "/api/attention?limit=1000").await;
    assert!(items.is_sorted_by_key(|item| (item.kind.urgency(), item.since, item.id)));

    // What was told leads to it: each came once and went once at most.
    let (mut latest, mut present) = (BTreeMap::new(), BTreeSet::new());
    let log = "/api/events/log?types=attention.added,attention.removed&limit=1000";
    let dismissed: BTreeSet<i64> = pages::<Value>(client, "/api/activity?kind=state&limit=1000")
        .await
        .iter()
        .filter_map(|entry| entry["metadata"]["attentionId"].as_i64())
        .collect();
    for event in pages::<Value>(client, log).await {
        let id = event["data"]["id"].as_i64().expect("an id");
        if event["event"] == "attention.added" {
            let item: Attention = serde_json::from_value(event["data"].clone()).expect("an item");
            assert!(present.insert(id), "{id} was added twice");
            assert!(latest.insert(cause(&item), id).is_none_or(|before| before < id));
        } else {
            assert!(present.remove(&id), "{id} was removed twice, or before it was added");
        }
    }
    assert_eq!(present, items.iter().map(|item| item.id.get()).collect());

    let mut causes = BTreeSet::new();
    for agent in pages::<Agent>(client, "/api/agents?condition=any&limit=1000").await {
        causes.insert(format!("{} {}", agent.condition.expect("a condition").kind, agent.id));
    }
    for task in pages::<Task>(client, "/api/tasks?status=open&limit=1000").await {
        causes.insert(format!("task {}", task.id));
    }
    let mut failed = BTreeMap::new();
    // Newest first; one agent's are reported on in their order.
    for command in pages::<Command>(client, "/api/commands?limit=1000").await {
        assert_ne!(command.kind, ControlKind::Spawn);
        if command.status.is_final() {
            failed.entry((command.kind.as_str(), command.target.clone())).or_insert((command.id, command.status));
        }
    }
    let failed = failed.into_values().filter(|(_, status)| *status == CommandStatus::Failed);
    causes.extend(failed.map(|(id, _)| format!("command {id}")));

    let waiting: BTreeSet<String> = items.iter().map(cause).collect();
    assert!(waiting.is_subset(&causes), "{:?} waits for nothing", waiting.difference(&causes));
    for cause in causes.difference(&waiting) {
        let item = latest.get(cause).unwrap_or_else(|| panic!("{cause} never came on the list"));
        assert!(dismissed.contains(item), "{cause} is not on the list, and nobody dismissed {item}");
    }
}
