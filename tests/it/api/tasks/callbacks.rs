//! Callbacks: what happens to a task is told to the address that it names: signed, in order, at least once.

mod addresses;
mod failures;
mod receiver;
mod secure;

use agent_relay::domain::task::Task;
use agent_relay::domain::task::callback::{Callback, CallbackStatus};
use agent_relay::jobs::deliver::SigningSecret;
use serde_json::{Value, json};

use crate::server::{Client, Server, eventually};

use receiver::{NEW_SECRET, SECRET};
pub(crate) use receiver::{Receiver, local};

const HOUR_MS: i64 = 60 * 60 * 1000;

/// A task whose changes go to this address.
pub(crate) async fn create(client: &Client, url: &str) -> Task {
    client.post("/api/tasks", json!({"title": "Tell me", "callbackUrl": url})).await.expect(201)
}

async fn claim(client: &Client, task: &Task) {
    client.register(json!({"id": "a"})).await;
    client.post(&format!("/api/tasks/{}/claim", task.id), json!({"agentId": "a"})).await.expect::<Task>(200);
}

async fn finish(client: &Client, task: &Task) {
    let done = json!({"agentId": "a", "status": "done", "result": {"sum": 3}});
    client.patch(&format!("/api/tasks/{}/status", task.id), done).await.expect::<Task>(200);
}

/// The callbacks of a query, newest first.
pub(crate) async fn callbacks(client: &Client, query: &str) -> Vec<Callback> {
    client.get(&format!("/api/callbacks?{query}")).await.expect(200)
}

/// The only callback of a task, once it is as wanted.
async fn once(client: &Client, task: &Task, what: &str, is_so: impl Fn(&Callback) -> bool) -> Callback {
    eventually(what, async || {
        let mut found = callbacks(client, &format!("taskId={}", task.id)).await;
        found.pop().filter(|callback| is_so(callback))
    })
    .await
}

async fn retry(client: &Client, callback: &Callback) -> Callback {
    client.post(&format!("/api/callbacks/{}/retry", callback.id), json!({})).await.expect(200)
}

#[tokio::test]
async fn every_step_of_a_task_is_told_in_order_and_signed() {
    let server = Server::start_with(local(&[])).await;
    let client = &server.client;
    let mut receiver = Receiver::start().await;
    let mut events = client.follow("types=callback.updated").await;
    let task = create(client, &receiver.url()).await;
    // Nothing is told before it has been taken.
    claim(client, &task).await;
    finish(client, &task).await;
    let mut ids = Vec::new();
    for kind in ["created", "claimed", "done"] {
        let hook = receiver.next().await;
        assert_eq!(hook.told(), (task.id.get(), kind.to_owned()));
        let payload = hook.json();
        assert_eq!(payload["type"], "task.updated");
        assert!(payload["timestamp"] == payload["data"]["event"]["createdAt"], "{payload}");
        assert_eq!(hook.header("content-type"), "application/json");
        assert!(hook.is_signed(SECRET, &hook.body));
        assert!(!hook.is_signed(NEW_SECRET, &hook.body));
        assert!(!hook.is_signed(SECRET, &hook.body.replace("Tell", "Sell")), "not what was signed");
        assert!(!hook.id().contains('.') && !ids.contains(&hook.id()), "{}", hook.id());
        ids.push(hook.id());
        if kind == "done" {
            assert_eq!(payload["data"]["task"]["result"], json!({"sum": 3}));
        }
        hook.answer_with(202, &[], "thanks");
    }
    let all = eventually("delivered", async || {
        let all = callbacks(client, &format!("taskId={}", task.id)).await;
        all.iter().all(|callback| callback.status == CallbackStatus::Delivered).then_some(all)
    })
    .await;
    let told: Vec<_> = all.iter().rev().map(|callback| (callback.event.as_str(), &callback.webhook_id)).collect();
    assert_eq!(told, ["created", "claimed", "done"].into_iter().zip(&ids).collect::<Vec<_>>());
    for callback in &all {
        let [attempt] = &callback.attempts[..] else { panic!("{callback:?}") };
        assert_eq!((attempt.status, attempt.answer.as_str(), &attempt.error), (Some(202), "thanks", &None));
        assert_eq!((callback.url.as_str(), callback.next_attempt_at), (receiver.url().as_str(), None));
    }
    // Made, and delivered: two events each, with the callback as it is.
    let mut seen = Vec::new();
    while seen.len() < 6 {
        let callback: Callback =
            serde_json::from_value(events.next_event("callback.updated").await.data).expect("a callback");
        seen.push((callback.id, callback.status));
    }
    for callback in &all {
        let mut of_it = seen.iter().filter(|(id, _)| *id == callback.id).map(|(_, status)| *status);
        assert_eq!((of_it.next(), of_it.next()), (Some(CallbackStatus::Pending), Some(CallbackStatus::Delivered)));
    }
    assert!(receiver.is_idle());
    let silent: Task = client.post("/api/tasks", json!({"title": "Tell nobody"})).await.expect(201);
    assert_eq!(callbacks(client, &format!("taskId={}", silent.id)).await, []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn during_a_change_of_secrets_receivers_check_by_any() {
    let server = Server::start_with(|config| {
        local(&[])(config);
        config.callbacks.secrets.insert(0, SigningSecret::parse(NEW_SECRET).expect("a secret"));
    })
    .await;
    let mut receiver = Receiver::start().await;
    create(&server.client, &receiver.url()).await;
    let hook = receiver.next().await;
    assert!(hook.is_signed(SECRET, &hook.body) && hook.is_signed(NEW_SECRET, &hook.body));
    assert_eq!(hook.header("webhook-signature").split(' ').count(), 2);
    hook.answer(200);
    // Afterwards the old one is good for nothing.
    let home = server.stop();
    let server = Server::start_in(home, |config| {
        local(&[])(config);
        config.callbacks.secrets = vec![SigningSecret::parse(NEW_SECRET).expect("a secret")];
    })
    .await;
    create(&server.client, &receiver.url()).await;
    let hook = receiver.next().await;
    assert!(!hook.is_signed(SECRET, &hook.body) && hook.is_signed(NEW_SECRET, &hook.body));
    hook.answer(200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_chosen_secret_the_relay_makes_one_and_keeps_it() {
    let mut receiver = Receiver::start().await;
    let mut home = tempfile::tempdir().expect("a temporary directory");
    let path = home.path().join("data/callback-secret");
    let mut secrets = Vec::new();
    for _ in 0..2 {
        let server = Server::start_in(home, |config| {
            local(&[])(config);
            config.callbacks.secrets.clear();
        })
        .await;
        create(&server.client, &receiver.url()).await;
        let secret = std::fs::read_to_string(&path).expect("the secret").trim().to_owned();
        let hook = receiver.next().await;
        assert!(hook.is_signed(&secret, &hook.body));
        hook.answer(200);
        secrets.push(secret);
        home = server.stop();
    }
    assert_eq!(secrets[0], secrets[1]);
}

#[tokio::test]
async fn what_waits_for_one_task_keeps_no_other_waiting() {
    let server = Server::start_with(local(&[HOUR_MS])).await;
    let client = &server.client;
    let mut receiver = Receiver::start().await;
    let first = create(client, &receiver.url()).await;
    let refused = receiver.next().await;
    let id = refused.id();
    refused.answer(500);
    claim(client, &first).await;
    let failed = once(client, &first, "a failure", |callback| !callback.attempts.is_empty()).await;
    assert_eq!((failed.status, failed.attempts[0].status), (CallbackStatus::Pending, Some(500)));
    let second = create(client, &receiver.url()).await;
    assert_eq!(receiver.take().await, (second.id.get(), "created".to_owned()));
    // The second of the first task has no time of its own yet.
    let [waits, fails] = &callbacks(client, &format!("taskId={}", first.id)).await[..] else { panic!() };
    assert_eq!((waits.next_attempt_at, &waits.attempts), (None, &vec![]));
    assert!(fails.next_attempt_at.expect("a time") - fails.attempts[0].at >= HOUR_MS);
    // Somebody mended the receiver.
    let retried = retry(client, fails).await;
    assert_eq!((retried.status, retried.attempts.len()), (CallbackStatus::Pending, 1));
    let again = receiver.next().await;
    assert_eq!((again.told().1.as_str(), again.id()), ("created", id), "the same one again");
    again.answer(200);
    assert_eq!(receiver.take().await, (first.id.get(), "claimed".to_owned()));
    assert!(receiver.is_idle());
}

#[tokio::test]
async fn callbacks_are_listed_by_task_and_status_in_pages() {
    let server = Server::start_with(local(&[HOUR_MS])).await;
    let client = &server.client;
    let mut receiver = Receiver::start().await;
    let mut tasks = Vec::new();
    for n in 0..5 {
        tasks.push(create(client, &receiver.url()).await);
        receiver.next().await.answer(if n == 2 { 410 } else { 200 });
    }
    once(client, &tasks[2], "the dead one", |callback| callback.status == CallbackStatus::Dead).await;
    for task in &tasks {
        once(client, task, "its end", |callback| callback.status != CallbackStatus::Pending).await;
    }
    let ids = |found: &[Callback]| found.iter().map(|callback| callback.task_id).collect::<Vec<_>>();
    let newest: Vec<_> = tasks.iter().rev().map(|task| task.id).collect();
    assert_eq!(ids(&callbacks(client, "").await), newest);
    assert_eq!(ids(&callbacks(client, "status=dead").await), [tasks[2].id]);
    assert_eq!(callbacks(client, "status=pending").await, []);
    assert_eq!(callbacks(client, &format!("status=dead&taskId={}", tasks[0].id)).await, []);
    let page = client.get("/api/callbacks?status=delivered&limit=2").await;
    let rest = page.next_page().expect("another page");
    assert_eq!(ids(&page.expect::<Vec<Callback>>(200)), newest[..2]);
    assert_eq!(ids(&client.get(&rest).await.expect::<Vec<Callback>>(200)), [tasks[1].id, tasks[0].id]);
    for wrong in ["status=asleep", "limit=1001", "taskId=x"] {
        client.get(&format!("/api/callbacks?{wrong}")).await.problem(400, "invalid_request");
    }
}

#[tokio::test]
async fn what_is_too_long_is_left_out_and_said() {
    let server = Server::start_with(local(&[])).await;
    let mut receiver = Receiver::start().await;
    let draft = json!({"title": "t", "body": "x".repeat(256 * 1024), "callbackUrl": receiver.url()});
    let task: Task = server.client.post("/api/tasks", draft).await.expect(201);
    let hook = receiver.next().await;
    assert!(hook.body.len() <= 20_000, "{}", hook.body.len());
    let payload: Value = hook.json();
    assert_eq!((&payload["data"]["omitted"], &payload["data"]["task"]["id"]), (&json!(["task.body"]), &json!(task.id)));
    assert!(hook.is_signed(SECRET, &hook.body));
    hook.answer(200);
}
