//! The activity log.

use agent_relay::domain::activity::{Activity, ActivityKind};
use serde_json::{Value, json};

use crate::server::{Client, Server};

async fn write(client: &Client, id: &str, kind: &str, agent: &str) -> Activity {
    let entry = json!({"clientId": id, "kind": kind, "title": format!("about {id}"), "agentId": agent});
    client.post("/api/activity", entry).await.expect(201)
}

#[tokio::test]
async fn an_entry_is_answered_as_it_was_given_and_told() {
    let server = Server::start().await;
    let client = &server.client;
    let mut stream = client.follow("agent=ada&types=activity.new").await;
    let entry = json!({
        "clientId": "c1", "kind": "task", "title": " Title ", "body": "body\n", "meta": "note", "icon": "ti-plus",
        "view": "agents", "messageId": 7, "agentId": "ada", "taskId": 8, "metadata": {"k": 1},
    });
    let made: Value = client.post("/api/activity", entry.clone()).await.expect(201);
    let mut expected = entry.clone();
    expected["title"] = json!("Title");
    expected["id"] = made["id"].clone();
    expected["createdAt"] = made["createdAt"].clone();
    assert!(made["id"].is_i64() && made["createdAt"].is_i64());
    assert_eq!(made, expected);
    assert_eq!(stream.next().await.data, made);
    // A repeat is ignored, whatever else it says.
    let mut again = entry;
    again["title"] = json!("Another");
    assert_eq!(client.post("/api/activity", again).await.expect::<Value>(200), made);
    write(client, "c2", "task", "ada").await;
    assert_eq!(stream.next().await.text("clientId"), "c2", "the repeat was no news");
}

#[tokio::test]
async fn entries_are_listed_newest_first_filtered_and_paged() {
    let server = Server::start().await;
    let client = &server.client;
    let mut ids = Vec::new();
    for n in 0..9 {
        let (kind, agent) = (["message", "pair", "control"][n % 3], ["a", "b"][n % 2]);
        ids.push(write(client, &format!("c{n}"), kind, agent).await.id.get());
    }
    let list = async |query: &str| -> Vec<i64> {
        let entries: Vec<Activity> = client.get(&format!("/api/activity?{query}")).await.expect(200);
        entries.into_iter().map(|entry| entry.id.get()).collect()
    };
    let expected = |matches: &dyn Fn(usize) -> bool| -> Vec<i64> {
        (0..9).rev().filter(|n| matches(*n)).map(|n| ids[n]).collect()
    };
    assert_eq!(list("kind=pair").await, expected(&|n| n % 3 == 1));
    assert_eq!(list("agent=a").await, expected(&|n| n % 2 == 0));
    assert_eq!(list("agent=b&kind=control").await, expected(&|n| n % 2 == 1 && n % 3 == 2));
    assert_eq!(list(&format!("since={}", ids[4])).await, expected(&|n| n > 4));
    let (mut seen, mut path) = (Vec::new(), Some("/api/activity?agent=a&limit=2".to_owned()));
    while let Some(page) = path {
        let answer = client.get(&page).await;
        path = answer.next_page();
        seen.extend(answer.expect::<Vec<Activity>>(200).into_iter().map(|entry| entry.id.get()));
    }
    assert_eq!(seen, expected(&|n| n % 2 == 0));
    client.get("/api/activity?kind=weather").await.invalid("kind must be one of");
}

#[tokio::test]
async fn what_is_missing_or_forged_is_refused() {
    let server = Server::start().await;
    let client = &server.client;
    let good = json!({"clientId": "c", "kind": "state", "title": "t"});
    for field in ["clientId", "kind", "title"] {
        let mut entry = good.clone();
        entry.as_object_mut().expect("an object").remove(field);
        client.post("/api/activity", entry).await.invalid(&format!("{field} required"));
    }
    let mut entry = good.clone();
    entry["kind"] = json!("weather");
    client.post("/api/activity", entry).await.invalid("kind must be one of");
    let mut entry = good;
    entry["clientId"] = json!("server-agent-a-action-restart-1");
    client.post("/api/activity", entry).await.invalid("server-");
}

#[tokio::test]
async fn sessions_are_written_down_by_the_relay() {
    let server = Server::start().await;
    let client = &server.client;
    for instance in ["i1", "i1", "i2"] {
        client.register(json!({"id": "ada", "instanceId": instance})).await;
    }
    let entries: Vec<Activity> = client.get("/api/activity?agent=ada").await.expect(200);
    let titles: Vec<_> = entries.iter().map(|entry| entry.title.as_str()).collect();
    assert_eq!(titles, ["Agent session started", "Agent registered"], "the same session again is no news");
    assert!(entries.iter().all(|entry| entry.kind == ActivityKind::State));
}
