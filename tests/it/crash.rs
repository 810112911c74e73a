//! The built program, killed and starved: what was acknowledged is there, and nothing happens twice.

mod attention;
mod bounces;
mod callbacks;
mod disk;
pub(crate) mod events;
mod pairs;
mod together;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};

use agent_relay::domain::message::Message;
use reqwest::Method;
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::program::{Serving, program};
use crate::server::{Client, PATIENCE, database, eventually, until};

const ROUNDS: usize = 10;
const WRITERS: usize = 5;
const WORKERS: [&str; 3] = ["worker-0", "worker-1", "worker-2"];

/// What the relay has promised so far, over all its lives.
#[derive(Clone, Default)]
struct Promises {
    /// Messages by id, with their bodies.
    sent: BTreeMap<i64, String>,
    /// The greatest generation with which each message was claimed.
    claimed: HashMap<i64, i64>,
    /// Who completed a message, and with which generation.
    completed: HashMap<i64, (String, i64)>,
}

/// What the clients of one life share.
struct Life {
    client: Client,
    promises: Arc<Mutex<Promises>>,
    round: usize,
    /// Promises made in this life.
    made: watch::Sender<usize>,
}

impl Life {
    fn note(&self, write: impl FnOnce(&mut Promises)) {
        write(&mut self.promises.lock().unwrap_or_else(PoisonError::into_inner));
        self.made.send_modify(|made| *made += 1);
    }

    /// The newest message that was promised.
    fn newest(&self) -> i64 {
        let promises = self.promises.lock().unwrap_or_else(PoisonError::into_inner);
        promises.sent.keys().next_back().copied().unwrap_or(0)
    }

    /// An answer of 200 or 201; `None` when the relay is gone, or refused.
    async fn ask<T: serde::de::DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Value,
    ) -> Result<Option<T>, ()> {
        let request = self.client.request(method, path).json(&body);
        let answer = self.client.try_call(request).await.map_err(drop)?;
        match answer.status {
            200 | 201 => Ok(Some(answer.parse())),
            409 => Ok(None),
            _ => panic!("{answer:?}"),
        }
    }

    /// Sends until the relay is gone.
    async fn write(self: Arc<Self>, writer: usize) -> Result<(), ()> {
        for n in 0.. {
            let body = format!("{}/{writer}/{n}", self.round);
            let to = if n % 3 == 0 { "inbox" } else { "tag:work" };
            let draft = json!({"from": "boss", "to": to, "body": body, "claimable": n % 3 != 0});
            if let Some(message) = self.ask::<Message>(Method::POST, "/api/messages", draft).await? {
                self.note(|promises| drop(promises.sent.insert(message.id.get(), body)));
            }
        }
        Ok(())
    }

    /// Claims and completes until the relay is gone. All workers want the same work, and each leaves
    /// some of it claimed and undone.
    async fn work(self: Arc<Self>, agent: &'static str) -> Result<(), ()> {
        // Not from the beginning: what is done would be found done again and again.
        let mut since = self.newest() - 100;
        loop {
            let path = format!("/api/messages?for={agent}&since={since}&limit=20&wait=5");
            let page: Vec<Message> = self.ask(Method::GET, &path, json!({})).await?.unwrap_or_default();
            for message in page {
                since = message.id.get();
                let path = format!("/api/messages/{}/claim", message.id);
                // Work that an earlier life left claimed cannot be waited for.
                let body = json!({"agentId": agent, "leaseMs": 3_600_000});
                let Some(held) = self.ask::<Message>(Method::POST, &path, body).await? else { continue };
                let generation = held.claim_generation;
                self.note(|promises| {
                    promises.claimed.insert(message.id.get(), generation);
                });
                if message.id.get() % 7 == 0 {
                    continue;
                }
                let body = json!({"agentId": agent, "claimGeneration": generation});
                let done: Option<Message> = self.ask(Method::POST, &format!("{path}/complete"), body).await?;
                assert!(done.is_some(), "{agent} holds {} and may complete it", message.id);
                self.note(|promises| {
                    let earlier = promises.completed.insert(message.id.get(), (agent.to_owned(), generation));
                    assert!(earlier.is_none(), "{} was completed twice: {earlier:?}", message.id);
                });
            }
        }
    }
}

/// Runs the program again and again on the same data, and answers where that is. Each life begins with `account`, which
/// holds what is stored against what was promised. Then `live` starts clients that mark each promise, and after so many
/// of them, in the middle of others, the program is killed. The last life ends well, and leaves a database that is whole.
async fn killed_again_and_again(
    rounds: usize,
    promises_max: u8,
    account: impl AsyncFn(&Client),
    live: impl AsyncFn(Client, usize, watch::Sender<usize>) -> JoinSet<()>,
) -> tempfile::TempDir {
    let home = tempfile::tempdir().expect("a temporary directory");
    for round in 0..rounds {
        let serving = start(&home);
        let client = Client::new(&serving.url, None);
        account(&client).await;
        let (made, mut seen) = watch::channel(0);
        let clients = live(client, round, made).await;
        // A moment that nobody chose.
        let mut byte = [0];
        getrandom::fill(&mut byte).expect("randomness");
        let enough = 5 + usize::from(byte[0] % promises_max);
        timeout(PATIENCE, seen.wait_for(|made| *made >= enough)).await.expect("promises in time").expect("a life");
        serving.signal(Signal::KILL);
        clients.join_all().await;
    }
    let serving = start(&home);
    account(&Client::new(&serving.url, None)).await;
    serving.signal(Signal::TERM);
    let (code, _, log) = serving.ended();
    assert_eq!(code, Some(0), "{log:?}");
    let database = rusqlite::Connection::open(database(&home)).expect("the database");
    let check: String = database.query_row("PRAGMA integrity_check", [], |row| row.get(0)).expect("an answer");
    assert_eq!(check, "ok");
    home
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_being_killed() {
    let promises: Arc<Mutex<Promises>> = Arc::default();
    let promised = async |client: &Client| {
        let promised = promises.lock().unwrap_or_else(PoisonError::into_inner).clone();
        account(client, &promised).await;
    };
    let live = async |client: Client, round, made| {
        for agent in WORKERS {
            client.register(json!({"id": agent, "tags": ["work"]})).await;
        }
        let life = Arc::new(Life { client, promises: promises.clone(), round, made });
        let mut clients = JoinSet::new();
        let until_it_is_gone = "it ends when the relay is gone";
        for writer in 0..WRITERS {
            let life = life.clone();
            clients.spawn(async move { assert_eq!(life.write(writer).await, Err(()), "{until_it_is_gone}") });
        }
        for agent in WORKERS {
            let life = life.clone();
            clients.spawn(async move { assert_eq!(life.work(agent).await, Err(()), "{until_it_is_gone}") });
        }
        clients
    };
    killed_again_and_again(ROUNDS, u8::MAX, promised, live).await;
}

/// The program on this data, with an integration whose events are signed and callbacks that may stay on this host.
fn start(home: &tempfile::TempDir) -> Serving {
    let settings = home.path().join("relay.toml");
    let text = format!(
        "[callbacks]\nallow = [\"127.0.0.1/32\"]\n[integrations.ci]\nsecret = \"{}\"\n[limits]\n\
         integrations_per_minute = 0\n",
        events::SECRET
    );
    std::fs::write(&settings, text).expect("settings");
    let mut relay = program(home.path());
    Serving::start(relay.env("AGENT_RELAY_DATA_DIR", home.path().join("data")).env("AGENT_RELAY_CONFIG", settings))
}

/// Every promise is kept, and the history has every message exactly once.
async fn account(client: &Client, promises: &Promises) {
    let stored: Vec<Message> = pages(client, "/api/messages?limit=1000").await;
    let by_id: BTreeMap<i64, &Message> = stored.iter().map(|message| (message.id.get(), message)).collect();
    let bodies: BTreeSet<&str> = stored.iter().map(|message| message.body.as_str()).collect();
    assert_eq!(bodies.len(), stored.len(), "nothing was stored twice");
    for (id, body) in &promises.sent {
        assert_eq!(by_id.get(id).map(|message| &message.body), Some(body), "message {id} was acknowledged");
    }
    for (id, generation) in &promises.claimed {
        assert!(by_id[id].claim_generation >= *generation, "a claim of {id} was acknowledged");
    }
    for (id, (agent, generation)) in &promises.completed {
        let message = by_id[id];
        assert!(message.completed_at.is_some(), "the completion of {id} was acknowledged");
        assert_eq!((message.claimed_by.as_deref(), message.claim_generation), (Some(agent.as_str()), *generation));
    }
    for agent in WORKERS {
        if let Some(id) = promises.completed.keys().next() {
            let claim = client.post(&format!("/api/messages/{id}/claim"), json!({"agentId": agent})).await;
            claim.problem(409, "already_completed");
        }
    }

    let events: Vec<Value> = pages(client, "/api/events/log?types=message.new,message.completed&limit=1000").await;
    let seqs: Vec<i64> = events
        .iter()
        .map(|event| {
            event["id"].as_str().and_then(|id| id.rsplit_once('-')).expect("EPOCH-NUMBER").1.parse().expect("a number")
        })
        .collect();
    assert!(seqs.is_sorted_by(|a, b| a < b), "each number once, in order");
    let ids = |name: &str| -> Vec<i64> {
        let of_name = events.iter().filter(|event| event["event"] == name);
        of_name.map(|event| event["data"]["id"].as_i64().expect("an id")).collect()
    };
    let stored: Vec<i64> = by_id.keys().copied().collect();
    assert_eq!(ids("message.new"), stored, "what is stored was told, once, in order, and nothing else");
    let told = ids("message.completed");
    let distinct: BTreeSet<i64> = told.iter().copied().collect();
    assert_eq!(told.len(), distinct.len(), "nothing was completed twice");
    let done: BTreeSet<i64> =
        by_id.values().filter(|message| message.completed_at.is_some()).map(|m| m.id.get()).collect();
    assert_eq!(distinct, done);
}

/// Every entry of a list, page by page.
async fn pages<T: serde::de::DeserializeOwned>(client: &Client, first: &str) -> Vec<T> {
    let (mut entries, mut path) = (Vec::new(), Some(first.to_owned()));
    while let Some(page) = path {
        let answer = client.get(&page).await;
        path = answer.next_page();
        entries.extend(answer.expect::<Vec<T>>(200));
    }
    entries
}

#[tokio::test]
async fn a_newer_database_is_left_alone() {
    let home = tempfile::tempdir().expect("a temporary directory");
    let serving = start(&home);
    Client::new(&serving.url, None).say("a", "b", "1").await;
    serving.signal(Signal::TERM);
    assert_eq!(serving.ended().0, Some(0));
    let path = database(&home);
    rusqlite::Connection::open(&path)
        .expect("the database")
        .pragma_update(None, "user_version", 999)
        .expect("a version");
    let before = std::fs::read(&path).expect("the database");
    let output = program(home.path())
        .args(["serve", "--listen", "127.0.0.1:0", "--data-dir"])
        .arg(home.path().join("data"))
        .stderr(Stdio::piped())
        .output()
        .expect("the program");
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{log}");
    assert!(log.contains("999") && log.contains("newer"), "{log}");
    assert!(output.stdout.is_empty(), "nothing is announced");
    assert_eq!(std::fs::read(&path).expect("the database"), before);
}

/// Stopped for longer than any lease and any silence, as a laptop that slept: nobody loses by it what they held.
#[tokio::test]
async fn a_relay_that_was_stopped_and_goes_on_frees_nothing_before_its_clients_can_come_back() {
    let home = tempfile::tempdir().expect("a temporary directory");
    let settings = home.path().join("relay.toml");
    std::fs::write(&settings, "[agents]\noffline_after_s = 5\n").expect("settings");
    let serving = Serving::start(program(home.path()).env("AGENT_RELAY_CONFIG", &settings));
    let client = Client::new(&serving.url, None);
    client.register_all(&["a", "b"]).await;
    let work = client.send(json!({"from": "x", "to": "a", "body": "work", "claimable": true})).await;
    let path = format!("/api/messages/{}/claim", work.id);
    let held: Message = client.post(&path, json!({"agentId": "a", "leaseMs": 5_000})).await.expect(200);
    serving.signal(Signal::STOP);
    until(held.claim_expires_at.expect("a lease") + 3_000).await;
    serving.signal(Signal::CONT);
    let reaped: Value = client.post("/api/system/reap", json!({})).await.expect(200);
    assert_eq!((&reaped["reapedAgentIds"], &reaped["releasedMessageIds"]), (&json!([]), &json!([])), "{reaped}");
    let renew = json!({"agentId": "a", "claimGeneration": held.claim_generation, "leaseMs": 1_000});
    let renewed: Message = client.post(&format!("{path}/renew"), renew).await.expect(200);
    let line = serving.logged("did not run");
    assert!(line.contains("pause_ms"), "{line}");
    // Who does not come back is missed all the same.
    until(renewed.claim_expires_at.expect("a lease") + 4_000).await;
    eventually("both are offline, and the work is free", async || {
        client.post("/api/system/reap", json!({})).await.expect::<Value>(200);
        let agents: Vec<Value> = client.get("/api/agents?status=offline").await.expect(200);
        let work: Message = client.get(&format!("/api/messages/{}", work.id)).await.expect(200);
        (agents.len() == 2 && work.claimed_by.is_none()).then_some(())
    })
    .await;
}
