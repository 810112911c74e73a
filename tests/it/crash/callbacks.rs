//! Callbacks through crashes: none is lost, and none comes under another id.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, PoisonError};

use agent_relay::domain::task::Task;
use agent_relay::domain::task::callback::{Callback, CallbackStatus};
use axum::Router;
use axum::http::HeaderMap;
use reqwest::Method;
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::pages;
use crate::program::{Serving, program};
use crate::server::{Client, PATIENCE, database, eventually};

const ROUNDS: usize = 6;
const AGENTS: [&str; 4] = ["c0", "c1", "c2", "c3"];

/// What came, in its order: the id of the request, the task, the event.
pub(super) type Came = Arc<Mutex<Vec<(String, i64, i64)>>>;

fn start(home: &tempfile::TempDir, proxy: &str) -> Serving {
    let config = home.path().join("relay.toml");
    std::fs::write(&config, "[callbacks]\nallow = [\"127.0.0.1/32\"]\n").expect("settings");
    let mut command = program(home.path());
    command.env("AGENT_RELAY_DATA_DIR", home.path().join("data")).env("AGENT_RELAY_CONFIG", config);
    for name in ["http_proxy", "HTTP_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"] {
        command.env(name, proxy);
    }
    Serving::start(&mut command)
}

/// Asks for tasks and ends them, until the relay is gone. Notes those that were acknowledged.
async fn live(client: Client, agent: &'static str, url: String, tasks: Arc<Mutex<BTreeSet<i64>>>) {
    let ask = async |method: Method, path: String, body: Value| {
        let answer = client.try_call(client.request(method, &path).json(&body)).await.ok()?;
        assert!(matches!(answer.status, 200 | 201), "{answer:?}");
        Some(answer.parse::<Task>())
    };
    loop {
        let draft = json!({"title": "t", "target": agent, "callbackUrl": url});
        let Some(task) = ask(Method::POST, "/api/tasks".to_owned(), draft).await else { return };
        tasks.lock().unwrap_or_else(PoisonError::into_inner).insert(task.id.get());
        let path = format!("/api/tasks/{}", task.id);
        let claim = json!({"agentId": agent, "leaseMs": 3_600_000});
        let done = json!({"agentId": agent, "status": "done"});
        for (method, path, body) in
            [(Method::POST, format!("{path}/claim"), claim), (Method::PATCH, format!("{path}/status"), done)]
        {
            if ask(method, path, body).await.is_none() {
                return;
            }
        }
    }
}

/// Somebody who takes callbacks: where, what came, and a count that goes up with each.
pub(super) async fn receiver() -> (String, Came, watch::Receiver<usize>) {
    let came = Came::default();
    let (count, counted) = watch::channel(0_usize);
    let of_receiver = came.clone();
    let take = move |headers: HeaderMap, body: String| {
        let payload: Value = serde_json::from_str(&body).expect("JSON");
        let number = |value: &Value| value.as_i64().expect("a number");
        let id = headers["webhook-id"].to_str().expect("text").to_owned();
        let told = (id, number(&payload["data"]["task"]["id"]), number(&payload["data"]["event"]["id"]));
        of_receiver.lock().unwrap_or_else(PoisonError::into_inner).push(told);
        count.send_modify(|count| *count += 1);
        std::future::ready("taken")
    };
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
    let url = format!("http://{}/", listener.local_addr().expect("an address"));
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(take)).await });
    (url, came, counted)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_callback_is_lost_or_comes_under_another_id_however_often_the_relay_is_killed() {
    let home = tempfile::tempdir().expect("a temporary directory");
    let tasks = Arc::<Mutex<BTreeSet<i64>>>::default();
    let (url, came, mut counted) = receiver().await;
    // Whoever connects here was sent by a variable that does not count.
    let proxy = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
    let proxied = format!("http://{}", proxy.local_addr().expect("an address"));
    for round in 0..=ROUNDS {
        let serving = start(&home, &proxied);
        let client = Client::new(&serving.url, None);
        if round == ROUNDS {
            account(&client, &came, &tasks).await;
            serving.signal(Signal::TERM);
            let (code, _, log) = serving.ended();
            assert_eq!(code, Some(0), "{log:?}");
            break;
        }
        client.register_all(&AGENTS).await;
        let mut clients = JoinSet::new();
        for agent in AGENTS {
            clients.spawn(live(client.clone(), agent, url.clone(), tasks.clone()));
        }
        // A moment that nobody chose.
        let mut byte = [0];
        getrandom::fill(&mut byte).expect("randomness");
        let enough = *counted.borrow_and_update() + 5 + usize::from(byte[0]) / 4;
        timeout(PATIENCE, counted.wait_for(|count| *count >= enough))
            .await
            .expect("callbacks in time")
            .expect("a life");
        serving.signal(Signal::KILL);
        clients.join_all().await;
        drop(serving);
    }
    let connection = rusqlite::Connection::open(database(&home)).expect("the database");
    let check: String = connection.query_row("PRAGMA integrity_check", [], |row| row.get(0)).expect("an answer");
    assert_eq!(check, "ok");
    let nobody = proxy.into_std().expect("a listener");
    assert!(nobody.accept().is_err(), "a proxy was asked");
}

/// Every event of every task came, in its order and under one id, and the relay knows it.
pub(super) async fn account(client: &Client, came: &Came, tasks: &Mutex<BTreeSet<i64>>) {
    eventually("all are delivered", async || {
        let pending = client.get("/api/callbacks?status=pending&limit=1").await.expect::<Vec<Callback>>(200);
        pending.is_empty().then_some(())
    })
    .await;
    let callbacks: Vec<Callback> = pages(client, "/api/callbacks?limit=1000").await;
    assert!(callbacks.iter().all(|callback| callback.status == CallbackStatus::Delivered));
    let stored: Vec<Task> = pages(client, "/api/tasks?limit=1000").await;
    let ids: BTreeSet<i64> = stored.iter().map(|task| task.id.get()).collect();
    let acknowledged = tasks.lock().unwrap_or_else(PoisonError::into_inner).clone();
    assert!(acknowledged.is_subset(&ids), "every acknowledged task is there");
    let came = came.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let mut first: BTreeMap<i64, Vec<i64>> = BTreeMap::new();
    let mut id_of: BTreeMap<i64, String> = BTreeMap::new();
    for (id, task, event) in came {
        let known = id_of.entry(event).or_insert_with(|| {
            first.entry(task).or_default().push(event);
            id.clone()
        });
        assert_eq!(*known, id, "event {event} came under two ids");
    }
    let different: BTreeSet<&String> = id_of.values().collect();
    assert_eq!(different.len(), id_of.len(), "each has its own");
    for task in stored {
        let told = first.get(&task.id.get()).cloned().unwrap_or_default();
        let answer = client.get(&format!("/api/tasks/{}?limit=1000", task.id)).await.parse::<Value>();
        let events: Vec<i64> =
            answer["events"].as_array().expect("events").iter().map(|it| it["id"].as_i64().expect("an id")).collect();
        assert_eq!(told, events, "task {}", task.id);
    }
}
