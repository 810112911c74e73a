//! Lists of tasks, and who sees and does what.

use agent_relay::domain::task::Task;
use agent_relay::domain::time::Timestamp;
use serde_json::{Value, json};

use super::super::access::with_tokens;
use super::{agents, claim, create, history, report};
use crate::server::Client;

async fn ids(client: &Client, query: &str) -> Vec<i64> {
    let tasks: Vec<Task> = client.get(&format!("/api/tasks{query}")).await.expect(200);
    tasks.into_iter().map(|task| task.id.get()).collect()
}

#[tokio::test]
async fn tasks_are_found_by_everything_they_are_filtered_by() {
    let server = agents().await;
    let client = &server.client;
    let one = create(client, json!({"from": "x", "title": "1", "target": "a"})).await.id.get();
    let two = create(client, json!({"from": "a", "title": "2", "target": "b", "severity": "critical"})).await.id.get();
    let three = create(client, json!({"title": "3"})).await;
    let four =
        create(client, json!({"from": "y", "title": "4", "target": "tag:t", "severity": "warning"})).await.id.get();
    let five = create(client, json!({"from": "y", "title": "5", "target": "tag:u"})).await.id.get();
    claim(client, &three, "a").await.expect::<Task>(200);
    let three = three.id.get();
    for (query, expected) in [
        ("", vec![five, four, three, two, one]),
        ("?status=open", vec![five, four, two, one]),
        ("?status=claimed", vec![three]),
        ("?source=api&severity=critical", vec![two]),
        ("?source=other", vec![]),
        ("?severity=info&status=open", vec![five, one]),
        ("?target=tag:t", vec![four]),
        ("?agent=a", vec![four, three, two, one]),
        ("?agent=a&status=open", vec![four, two, one]),
        ("?agent=b&severity=warning", vec![four]),
        ("?agent=y", vec![five, four]),
        ("?agent=nobody", vec![]),
    ] {
        assert_eq!(ids(client, query).await, expected, "{query}");
        // The same in pages of one.
        let sign = if query.is_empty() { "?" } else { "&" };
        let (mut paged, mut next) = (Vec::new(), Some(format!("/api/tasks{query}{sign}limit=1")));
        while let Some(path) = next {
            let answer = client.get(&path).await;
            next = answer.next_page();
            paged.extend(answer.expect::<Vec<Task>>(200).into_iter().map(|task| task.id.get()));
        }
        assert_eq!(paged, expected, "{query}");
    }
    for wrong in ["?status=asleep", "?severity=high", "?limit=0", "?limit=1001"] {
        client.get(&format!("/api/tasks{wrong}")).await.problem(400, "invalid_request");
    }
}

#[tokio::test]
async fn the_history_is_answered_in_pages_newest_first() {
    let server = agents().await;
    let client = &server.client;
    let task = create(client, json!({"title": "t"})).await;
    claim(client, &task, "a").await.expect::<Task>(200);
    for step in 0..8 {
        let note = json!({"agentId": "a", "status": "in_progress", "note": step.to_string()});
        report(client, &task, note).await.expect::<Task>(200);
    }
    let (mut notes, mut next) = (Vec::new(), Some(format!("/api/tasks/{}?limit=3", task.id)));
    while let Some(path) = next {
        let answer = client.get(&path).await;
        next = answer.next_page();
        let mut events = history(answer).events;
        assert!(events.is_sorted_by_key(|event| event.id) && events.len() <= 3);
        events.extend(std::mem::take(&mut notes));
        notes = events;
    }
    let bodies: Vec<_> = notes.iter().filter_map(|event| event.body.as_deref()).collect();
    assert_eq!((notes.len(), bodies.join("")), (10, "01234567".to_owned()));
}

#[tokio::test]
async fn a_bound_credential_acts_as_its_agent_and_sees_what_concerns_it() {
    let later = (Timestamp::now() + 3_600_000).as_ms();
    let (server, [a, b]) = with_tokens([("agent", Some("a"), later), ("agent", Some("b"), later)]).await;
    let (admin, a, b) = (&server.client, &a, &b);
    admin.register_all(&["a", "b"]).await;
    let task = create(a, json!({"title": "t", "target": "b"})).await;
    assert_eq!(task.from.as_deref(), Some("a"));
    a.post("/api/tasks", json!({"from": "b", "title": "t"})).await.problem(403, "wrong_identity");
    admin.post("/api/tasks", json!({"from": "system", "title": "t"})).await.problem(403, "not_allowed");
    let others = create(admin, json!({"from": "user", "title": "t", "target": "user", "kind": "approval"})).await;
    let anybodys = create(admin, json!({"title": "t"})).await;
    assert_eq!(ids(a, "").await, [anybodys.id.get(), task.id.get()]);
    assert_eq!(ids(b, "?agent=b").await, [task.id.get()]);
    b.get("/api/tasks?agent=a").await.problem(403, "wrong_identity");
    b.get(&format!("/api/tasks/{}", others.id)).await.problem(403, "not_addressed");
    b.get(&format!("/api/tasks/{}", task.id)).await.expect::<Task>(200);
    claim(b, &task, "a").await.problem(403, "wrong_identity");
    b.post(&format!("/api/tasks/{}/claim", task.id), json!({})).await.expect::<Task>(200);
    report(a, &task, json!({"status": "done"})).await.problem(409, "stale_claim");
    report(b, &anybodys, json!({"status": "canceled"})).await.problem(403, "not_allowed");
    report(a, &task, json!({"status": "canceled"})).await.expect::<Task>(200);
    let path = format!("/api/tasks/{}/answer", others.id);
    b.post(&path, json!({"answer": "yes"})).await.problem(403, "not_addressed");
    b.post(&path, json!({"answer": "yes", "agentId": "user"})).await.problem(403, "wrong_identity");
    let answered: Task = admin.post(&path, json!({"answer": "yes"})).await.expect(200);
    assert_eq!(answered.result.map(|result| result.value()), Some(json!({"answer": "yes"})));
}

#[tokio::test]
async fn a_tasks_fields_are_bounded() {
    let server = agents().await;
    let client = &server.client;
    let object = |bytes: usize| json!({"k": "x".repeat(bytes - r#"{"k":""}"#.len())});
    let text = |length: usize| "é".repeat(length);
    let address = |length: usize| format!("https://h/{}", "x".repeat(length - "https://h/".len()));
    let draft = |field: &str, value: Value| {
        let mut draft = json!({"title": "t", "kind": "question", "target": "user"});
        draft[field] = value;
        draft
    };
    let many = |count: usize| -> Value { (0..count).map(|n| n.to_string()).collect() };
    type Sized<'a> = (&'a str, usize, &'a dyn Fn(usize) -> Value);
    let table: [Sized<'_>; 8] = [
        ("title", 200, &|n| json!(text(n))),
        ("from", 240, &|n| json!(text(n))),
        ("target", 300, &|n| json!(text(n))),
        ("dedupeKey", 200, &|n| json!(text(n))),
        ("callbackUrl", 2_000, &|n| json!(address(n))),
        ("body", 256 * 1024, &|n| json!("x".repeat(n))),
        ("metadata", 16 * 1024, &|n| object(n)),
        ("options", 20, &|n| many(n)),
    ];
    for (field, most, value) in table {
        create(client, draft(field, value(most))).await;
        client.post("/api/tasks", draft(field, value(most + 1))).await.invalid(field);
    }
    create(client, draft("options", json!([text(200)]))).await;
    client.post("/api/tasks", draft("options", json!([text(201)]))).await.invalid("option");
    client.post("/api/tasks", draft("dependsOn", json!(vec![1; 65]))).await.invalid("dependsOn");
    client.post("/api/tasks", json!({"title": " "})).await.invalid("title required");
    client.post("/api/tasks", json!({"from": "tag:t", "title": "t"})).await.problem(400, "reserved_id");
    for wrong in ["ftp://h/", "https://u:p@h/", "h"] {
        client.post("/api/tasks", draft("callbackUrl", json!(wrong))).await.invalid("callbackUrl");
    }
    let task = create(client, json!({"title": "t"})).await;
    claim(client, &task, "a").await.expect::<Task>(200);
    let step = |field: &str, value: Value| {
        let mut step = json!({"agentId": "a", "status": "in_progress"});
        step[field] = value;
        step
    };
    report(client, &task, step("note", json!("x".repeat(16 * 1024)))).await.expect::<Task>(200);
    report(client, &task, step("note", json!("x".repeat(16 * 1024 + 1)))).await.invalid("note");
    report(client, &task, step("result", object(16 * 1024))).await.expect::<Task>(200);
    report(client, &task, step("result", object(16 * 1024 + 1))).await.invalid("result");
    report(client, &task, step("status", json!("paused"))).await.invalid("status");
    report(client, &task, json!({"agentId": "a"})).await.invalid("status required");
    report(client, &task, json!({"status": "done"})).await.invalid("agentId required");
}
