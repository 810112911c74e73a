//! Tasks: from being asked for to an end that is told, by whichever door they are claimed.

mod callbacks;
mod dependencies;
mod doors;
mod integrations;
mod questions;
mod seen;

use agent_relay::domain::message::Message;
use agent_relay::domain::task::{Task, TaskEvent, TaskEventKind, TaskHistory, TaskStatus};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::server::{Answer, Client, Server};

/// A relay with agents `a`, `b` and `c` of tag `t`.
async fn agents() -> Server {
    let server = Server::start().await;
    for id in ["a", "b", "c"] {
        server.client.register(json!({"id": id, "tags": ["t"]})).await;
    }
    server
}

async fn create(client: &Client, draft: Value) -> Task {
    client.post("/api/tasks", draft).await.expect(201)
}

/// A task for everybody of tag `t`.
async fn work(client: &Client) -> Task {
    create(client, json!({"from": "boss", "title": "Do it", "target": "tag:t"})).await
}

async fn get(client: &Client, task: &Task) -> TaskHistory {
    history(client.get(&format!("/api/tasks/{}", task.id)).await)
}

fn history(answer: Answer) -> TaskHistory {
    #[derive(Deserialize)]
    struct Events {
        events: Vec<TaskEvent>,
    }
    let Events { events } = answer.parse();
    TaskHistory { task: answer.expect(200), events }
}

/// What happened to a task, in its order.
async fn kinds(client: &Client, task: &Task) -> Vec<TaskEventKind> {
    get(client, task).await.events.into_iter().map(|event| event.kind).collect()
}

async fn claim(client: &Client, task: &Task, agent: &str) -> Answer {
    client.post(&format!("/api/tasks/{}/claim", task.id), json!({"agentId": agent})).await
}

async fn report(client: &Client, task: &Task, body: Value) -> Answer {
    client.patch(&format!("/api/tasks/{}/status", task.id), body).await
}

async fn message_of(client: &Client, task: &Task) -> Message {
    client.get(&format!("/api/messages/{}", task.message_id.expect("a message"))).await.expect(200)
}

#[tokio::test]
async fn a_task_is_asked_for_and_comes_with_a_message() {
    let server = agents().await;
    let client = &server.client;
    let task = create(
        client,
        json!({
            "from": "boss", "title": " Fix the build ", "body": "  it is red\n", "severity": "critical", "target": "tag:t",
            "metadata": {"run": 17}, "callbackUrl": "https://example.org/hook", "dedupeKey": "build",
        }),
    )
    .await;
    assert_eq!((task.source.as_str(), task.status, task.occurrences), ("api", TaskStatus::Open, 1));
    assert_eq!((task.title.as_str(), task.body.as_deref()), ("Fix the build", Some("  it is red\n")));
    assert_eq!((task.claim_generation, &task.claimed_by, &task.result), (0, &None, &None));
    assert_eq!(task.metadata.get("run"), Some(json!(17)));
    let message = message_of(client, &task).await;
    assert!(message.claimable);
    assert_eq!((&*message.from, message.to.as_str(), message.body.as_str()), ("boss", "tag:t", "  it is red\n"));
    assert_eq!(message.subject.as_deref(), Some("Fix the build"));
    assert_eq!(message.meta.get("taskId"), Some(json!(task.id)));
    assert_eq!(client.inbox("b").await, ["  it is red\n"]);
    let history = get(client, &task).await;
    assert_eq!(history.task, task);
    let [created] = &history.events[..] else { panic!("{:?}", history.events) };
    assert_eq!(
        (created.kind, created.task_id, created.agent_id.as_deref()),
        (TaskEventKind::Created, task.id, Some("boss"))
    );

    let silent = create(client, json!({"title": "For anybody"})).await;
    assert_eq!((silent.target, silent.message_id, silent.from), (None, None, None));
    let system = create(client, json!({"title": "For a", "target": "a"})).await;
    let message = message_of(client, &system).await;
    assert_eq!((&*message.from, message.body.as_str()), ("system", "For a"));
    client.get("/api/tasks/999").await.problem(404, "not_found");
}

#[tokio::test]
async fn the_same_key_while_it_is_not_finished_makes_no_other_task() {
    let server = agents().await;
    let client = &server.client;
    let draft = json!({"title": "Alert", "target": "a", "dedupeKey": "disk"});
    let first = create(client, draft.clone()).await;
    for times in 2..=3 {
        let again: Task = client.post("/api/tasks", draft.clone()).await.expect(200);
        assert_eq!((again.id, again.occurrences, again.message_id), (first.id, times, first.message_id));
    }
    assert_eq!(client.inbox("a").await.len(), 1, "told once");
    use TaskEventKind::{Created, Occurred};
    assert_eq!(kinds(client, &first).await, [Created, Occurred, Occurred]);
    let other = create(client, json!({"title": "Alert", "target": "a", "dedupeKey": "memory"})).await;
    assert_ne!(other.id, first.id);
    claim(client, &first, "a").await.expect::<Task>(200);
    client.post("/api/tasks", draft.clone()).await.expect::<Task>(200);
    report(client, &first, json!({"agentId": "a", "status": "done"})).await.expect::<Task>(200);
    let next = create(client, draft).await;
    assert_eq!((next.id > first.id, next.occurrences), (true, 1), "a finished one is over");
}

#[tokio::test]
async fn work_goes_from_a_claim_to_its_end_with_words_and_a_result() {
    let server = agents().await;
    let client = &server.client;
    let task = work(client).await;
    let held: Task = claim(client, &task, "a").await.expect(200);
    assert_eq!((held.status, held.claimed_by.as_deref(), held.claim_generation), (TaskStatus::Claimed, Some("a"), 1));
    let step = |status: &str, note: &str| json!({"agentId": "a", "claimGeneration": 1, "status": status, "note": note});
    report(client, &task, step("in_progress", "half")).await.expect::<Task>(200);
    report(client, &task, step("in_progress", "more")).await.expect::<Task>(200);
    let blocked: Task = report(client, &task, step("blocked", "no disk")).await.expect(200);
    assert_eq!((blocked.status, blocked.claimed_by.as_deref()), (TaskStatus::Blocked, Some("a")));
    // Another generation, another agent, or one that says nothing of a claim it does not hold.
    for (wrong, code) in [
        (json!({"agentId": "a", "claimGeneration": 2, "status": "done"}), "stale_claim"),
        (json!({"agentId": "b", "claimGeneration": 1, "status": "done"}), "stale_claim"),
        (json!({"agentId": "b", "status": "done"}), "stale_claim"),
        (json!({"agentId": "b", "status": "claimed"}), "already_claimed"),
    ] {
        report(client, &task, wrong).await.problem(409, code);
    }
    let mut last = step("done", "at last");
    last["result"] = json!({"commit": "abc", "n": 1.0});
    let done: Task = report(client, &task, last.clone()).await.expect(200);
    assert_eq!((done.status, done.claim_expires_at, done.claimed_by.as_deref()), (TaskStatus::Done, None, Some("a")));
    assert_eq!(done.result.as_ref().map(|result| result.as_str()), Some(r#"{"commit":"abc","n":1.0}"#));
    assert!(done.finished_at.is_some());
    report(client, &task, last).await.problem(409, "illegal_transition");
    claim(client, &task, "b").await.problem(409, "already_completed");
    let events = get(client, &task).await.events;
    let told: Vec<_> = events.iter().map(|event| (event.kind.as_str(), event.body.as_deref())).collect();
    assert_eq!(
        told,
        [
            ("created", None),
            ("claimed", None),
            ("in_progress", Some("half")),
            ("in_progress", Some("more")),
            ("blocked", Some("no disk")),
            ("done", Some("at last")),
        ]
    );
}

#[tokio::test]
async fn every_step_is_taken_if_it_is_legal_and_refused_if_not() {
    let server = agents().await;
    let client = &server.client;
    use TaskStatus::{Blocked, Canceled, Claimed, Done, Failed, InProgress, Open};
    for from in TaskStatus::ALL {
        for to in TaskStatus::ALL {
            let task = create(client, json!({"from": "a", "title": "t"})).await;
            if !matches!(from, Open | Canceled) {
                claim(client, &task, "a").await.expect::<Task>(200);
            }
            if !matches!(from, Open | Claimed) {
                report(client, &task, json!({"agentId": "a", "status": from.as_str()})).await.expect::<Task>(200);
            }
            let answer = report(client, &task, json!({"agentId": "a", "status": to.as_str()})).await;
            let is_legal = match from {
                Open => matches!(to, Claimed | Canceled),
                Claimed | InProgress | Blocked => true,
                Done | Failed | Canceled => false,
            };
            if is_legal {
                assert_eq!(answer.expect::<Task>(200).status, to, "{from} to {to}");
            } else {
                answer.problem(409, "illegal_transition");
                assert_eq!(get(client, &task).await.task.status, from, "{from} to {to}");
            }
        }
    }
}

#[tokio::test]
async fn what_is_not_wanted_any_more_is_shown_to_nobody() {
    let server = agents().await;
    let client = &server.client;
    let task = work(client).await;
    claim(client, &task, "a").await.expect::<Task>(200);
    let canceled: Task =
        report(client, &task, json!({"agentId": "boss", "status": "canceled", "note": "never mind"})).await.expect(200);
    assert_eq!((canceled.status, canceled.claimed_by), (TaskStatus::Canceled, None));
    let message = message_of(client, &task).await;
    assert_eq!((message.claimed_by, message.completed_at), (None, None), "it was not done");
    assert!(client.inbox("b").await.is_empty() && client.inbox("a").await.is_empty());
    let path = format!("/api/messages/{}/claim", message.id);
    client.post(&path, json!({"agentId": "b"})).await.problem(409, "not_claimable");
    claim(client, &task, "b").await.problem(409, "illegal_transition");
    report(client, &task, json!({"agentId": "a", "claimGeneration": 1, "status": "done"}))
        .await
        .problem(409, "illegal_transition");
    let path = format!("/api/tasks/{}/renew", task.id);
    client.post(&path, json!({"agentId": "a", "claimGeneration": 1})).await.problem(409, "stale_claim");
    assert_eq!(
        get(client, &task).await.events.last().and_then(|event| event.body.clone()).as_deref(),
        Some("never mind")
    );
}

#[tokio::test]
async fn the_stream_tells_each_step_with_the_whole_task_to_those_it_concerns() {
    let server = agents().await;
    let client = &server.client;
    client.register(json!({"id": "boss"})).await;
    client.register(json!({"id": "stranger"})).await;
    let mut asker = client.follow("agent=boss&types=task.created,task.updated").await;
    let mut worker = client.follow("agent=a&types=task.created,task.updated").await;
    let mut stranger = client.follow("agent=stranger&types=task.created,task.updated").await;
    let task = create(client, json!({"from": "boss", "title": "t", "target": "a"})).await;
    let held: Task = claim(client, &task, "a").await.expect(200);
    let done: Task = report(client, &task, json!({"agentId": "a", "status": "done"})).await.expect(200);
    for stream in [&mut asker, &mut worker] {
        for (name, expected) in [("task.created", &task), ("task.updated", &held), ("task.updated", &done)] {
            let frame = stream.next().await;
            assert_eq!(frame.event, name);
            assert_eq!(frame.data, serde_json::to_value(expected).expect("JSON"));
        }
    }
    // For anybody: who asked for it and who holds it are told.
    let free = create(client, json!({"title": "free"})).await;
    claim(client, &free, "stranger").await.expect::<Task>(200);
    let frame = stranger.next().await;
    assert_eq!((frame.event.as_str(), &frame.data["id"]), ("task.updated", &json!(free.id)), "and of nothing before");
}

#[tokio::test]
async fn the_activity_has_what_is_asked_of_somebody_and_what_failed_and_names_it() {
    let server = agents().await;
    let client = &server.client;
    let task = work(client).await;
    claim(client, &task, "a").await.expect::<Task>(200);
    report(client, &task, json!({"agentId": "a", "status": "failed", "note": "no"})).await.expect::<Task>(200);
    let done = work(client).await;
    claim(client, &done, "a").await.expect::<Task>(200);
    report(client, &done, json!({"agentId": "a", "status": "done"})).await.expect::<Task>(200);
    let asked = create(client, json!({"from": "a", "kind": "question", "title": "Which?"})).await;
    let entries = client.activity("kind=task").await;
    let told: Vec<_> =
        entries.iter().map(|entry| (entry.title.as_str(), entry.task_id, entry.body.as_deref())).collect();
    assert_eq!(told, [("Task created", Some(asked.id), Some("Which?")), ("Task failed", Some(task.id), Some("Do it"))]);
}
