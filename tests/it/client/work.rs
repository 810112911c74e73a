//! Tasks, pairs, channels, what waits for a person, callbacks and integrations, by typed requests.

use agent_relay::client::messages::Claimant;
use agent_relay::client::messages::pairs::PairQuery;
use agent_relay::client::tasks::callbacks::CallbackQuery;
use agent_relay::client::tasks::integrations::Taken;
use agent_relay::client::tasks::{TaskProgress, TaskQuery};
use agent_relay::domain::agent::SessionGuard;
use agent_relay::domain::message::{ChannelDeclaration, Direction};
use agent_relay::domain::pair::{PairRequest, PairStatus, PairStep};
use agent_relay::domain::task::callback::CallbackStatus;
use agent_relay::domain::task::{DraftAnswer, Severity, TaskDraft, TaskEventKind, TaskKind, TaskStatus};
use serde_json::{Value, json};

use super::agent;
use crate::server::Server;

fn text(text: &str) -> Option<String> {
    Some(text.to_owned())
}

#[tokio::test]
async fn tasks_are_asked_for_claimed_and_done() {
    let server = Server::start().await;
    let client = &server.client.relay;
    client.agents().register(&agent("ann", &["work"])).send().await.expect("a card");
    let tasks = client.tasks();
    let metadata = serde_json::from_str(r#"{"exact": 10000000000000000000000.10}"#).expect("an object");
    let draft = TaskDraft {
        title: text("Build it"),
        target: text("tag:work"),
        severity: text("warning"),
        metadata: Some(metadata),
        callback_url: text("http://nowhere.invalid/"),
        ..TaskDraft::default()
    };
    let task = tasks.create(&draft).idempotency_key("k").send().await.expect("a task");
    assert_eq!((task.status, task.severity, task.kind), (TaskStatus::Open, Severity::Warning, TaskKind::Work));
    let ann = Claimant::agent("ann");
    let held = tasks.claim(task.id, &ann, Some(60_000)).send().await.expect("a claim");
    let renewed = tasks.renew(task.id, &ann, held.claim_generation, None).send().await.expect("a claim");
    assert!(renewed.claim_expires_at >= held.claim_expires_at);
    let half = TaskProgress { note: text("half"), ..TaskProgress::to(TaskStatus::InProgress) };
    tasks.report(task.id, &ann, &half).send().await.expect("a task");
    tasks.release(task.id, &ann, held.claim_generation).send().await.expect("a task");
    tasks.claim(task.id, &ann, None).send().await.expect("a claim");
    let all = TaskProgress { result: Some(json!({"ok": true}).into()), ..TaskProgress::to(TaskStatus::Done) };
    let done = tasks.report(task.id, &ann, &all).send().await.expect("a task");
    assert_eq!((done.status, done.result.expect("a result").value()), (TaskStatus::Done, json!({"ok": true})));
    let history = tasks.get(task.id).send().await.expect("a history");
    assert_eq!(history.task.metadata, draft.metadata.clone().expect("an object"), "kept to the letter");
    let kinds: Vec<_> = history.events.iter().map(|event| event.kind).collect();
    let (first, last) = (kinds.first(), kinds.last());
    assert_eq!((first, last), (Some(&TaskEventKind::Created), Some(&TaskEventKind::Done)));

    let question = TaskDraft { title: text("Why?"), kind: text("question"), from: text("ann"), ..TaskDraft::default() };
    let question = tasks.create(&question).send().await.expect("a task");
    let waiting = client.attention().list(Some(10)).first().await.expect("a page");
    let asked = waiting.iter().find(|item| item.task_id == Some(question.id)).expect("it waits");
    assert!(client.attention().dismiss(asked.id).send().await.expect("an answer").ok);
    let answer = DraftAnswer { answer: text("because"), note: None, agent_id: text("user") };
    assert_eq!(tasks.answer(question.id, &answer).send().await.expect("a task").status, TaskStatus::Done);
    let query = TaskQuery { status: Some(TaskStatus::Done), limit: Some(1), ..TaskQuery::default() };
    let found = tasks.list(&query).collect(10).await.expect("tasks");
    assert_eq!(found.iter().map(|task| task.id).collect::<Vec<_>>(), [question.id, task.id]);
    let raw = tasks.list(&query).untyped().collect(10).await.expect("tasks");
    assert!(raw[1].get().contains("10000000000000000000000.10"), "as it came: {}", raw[1].get());

    let callbacks = client.callbacks();
    let query = CallbackQuery { task: Some(task.id), ..CallbackQuery::default() };
    let told = callbacks.list(&query).collect(100).await.expect("callbacks");
    assert!(told.iter().all(|callback| callback.task_id == task.id) && told.len() >= 5, "{told:?}");
    let pending = CallbackQuery { status: Some(CallbackStatus::Delivered), ..query };
    assert!(callbacks.list(&pending).first().await.expect("a page").is_empty());
    let again = callbacks.retry(told[0].id).send().await.expect("a callback");
    assert_eq!(again.status, CallbackStatus::Pending);
}

#[tokio::test]
async fn pairs_and_channels_are_made_and_found() {
    let server = Server::start().await;
    let client = &server.client.relay;
    for id in ["ann", "bob"] {
        client.agents().register(&agent(id, &[])).send().await.expect("a card");
    }
    let pairs = client.pairs();
    let request = PairRequest { requester_id: text("ann"), target_id: text("bob"), ..PairRequest::default() };
    let pair = pairs.create(&request).send().await.expect("a pair");
    let accepted = pairs.step(pair.id, PairStep::Accept, &Claimant::agent("bob")).send().await.expect("a pair");
    assert_eq!(accepted.status, PairStatus::Active);
    let said = pairs.say(pair.id, Some("bob"), "hello", &SessionGuard::default()).send().await.expect("a message");
    assert_eq!((said.to.as_str(), said.body.as_str()), ("ann", "hello"));
    let ended = pairs.step(pair.id, PairStep::End, &Claimant::agent("ann")).send().await.expect("a pair");
    assert_eq!(ended, pairs.get(pair.id).send().await.expect("a pair"));
    let query = PairQuery { agent: text("ann"), status: Some(PairStatus::Ended), ..PairQuery::default() };
    assert_eq!(pairs.list(&query).first().await.expect("a page"), [ended]);

    let declared = ChannelDeclaration { name: text("chat"), direction: text("inbound") };
    let channel = client.channels().declare(&declared).send().await.expect("a channel");
    assert_eq!(channel.direction, Direction::Inbound);
    assert_eq!(client.channels().list(None).first().await.expect("a page"), [channel]);
}

#[tokio::test]
async fn events_from_outside_become_tasks_or_are_kept() {
    let server = Server::start().await;
    let integrations = server.client.relay.integrations();
    let event = json!({"type": "build.failed", "title": "Main is red", "dedupeKey": "main"});
    let Taken::Task(task) = integrations.send("ci", Some("1"), &event).send().await.expect("taken") else {
        panic!("no task");
    };
    assert_eq!((task.source.as_str(), task.title.as_str()), ("ci", "Main is red"));
    let refused = integrations.send("ci", None, &json!({"nothing": 1})).send().await;
    assert!(refused.is_err_and(|error| error.problem().is_some_and(|problem| problem.status == 422)));
    let kept = integrations.deliveries("ci", None).first().await.expect("a page");
    assert_eq!((kept.len(), kept[0].tries), (1, 1));
    assert!(integrations.retry("ci", kept[0].id).send().await.is_err());
    let sources = integrations.list(None).first().await.expect("a page");
    assert_eq!((sources[0].name.as_str(), sources[0].counts.created), ("ci", 1));
    let value: Value = serde_json::from_str(&serde_json::to_string(&sources).expect("JSON")).expect("JSON");
    assert_eq!(value[0]["counts"]["unreadable"], 2);
}
