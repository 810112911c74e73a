//! Everything at once through crashes: messages, claims, tasks, answers, events from outside and callbacks.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use agent_relay::domain::message::Message;
use agent_relay::domain::task::{Task, TaskStatus};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::callbacks::{self, Came};
use super::{events, killed_again_and_again, pages};
use crate::server::Client;

const ROUNDS: usize = 50;
/// After so many lives everything is held against what was promised; after each, what was promised in it.
const THOROUGH_EVERY: usize = 10;
const WORKERS: [&str; 3] = ["w0", "w1", "w2"];
const ANSWERS: [&str; 2] = ["yes", "no"];

/// What the relay has promised so far, over all its lives.
#[derive(Default)]
struct Promises {
    /// Messages, with their bodies.
    messages: BTreeMap<i64, String>,
    /// Tasks, with their titles.
    tasks: BTreeMap<i64, String>,
    /// Who got the claim of a message or a task of this number, and with which generation.
    holders: BTreeMap<(&'static str, i64, i64), &'static str>,
    /// Who finished a message or a task, and with which generation.
    finished: BTreeMap<(&'static str, i64), i64>,
    /// What questions were answered with.
    answers: BTreeMap<i64, &'static str>,
    /// Events from outside by their ids, with their tasks once they were acknowledged.
    events: BTreeMap<String, Option<i64>>,
}

/// What the clients of one life share.
#[derive(Clone)]
struct Life {
    client: Client,
    promises: Arc<Mutex<Promises>>,
    /// Where tasks are told.
    url: String,
    round: usize,
    made: watch::Sender<usize>,
}

fn locked(promises: &Mutex<Promises>) -> MutexGuard<'_, Promises> {
    promises.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Life {
    fn note(&self, write: impl FnOnce(&mut Promises)) {
        write(&mut locked(&self.promises));
        self.made.send_modify(|made| *made += 1);
    }

    /// An answer; nothing when the relay is gone, and nothing in it where somebody else was quicker.
    async fn ask<T: serde::de::DeserializeOwned>(&self, method: Method, path: &str, body: Value) -> Option<Option<T>> {
        let answer = self.client.try_call(self.client.request(method, path).json(&body)).await.ok()?;
        match answer.status {
            200 | 201 => Some(Some(answer.parse())),
            409 => Some(None),
            _ => panic!("{answer:?}"),
        }
    }

    /// Sends work, and asks for some with callbacks.
    async fn send(self) -> Option<()> {
        for n in 0.. {
            let words = format!("{}/{n}", self.round);
            if n % 2 == 0 {
                let draft = json!({"from": "boss", "to": "tag:work", "body": words, "claimable": true});
                let message: Message = self.ask(Method::POST, "/api/messages", draft).await?.expect("sent");
                self.note(|promises| drop(promises.messages.insert(message.id.get(), words)));
            } else {
                let draft = json!({"from": "boss", "title": words, "target": "tag:work", "callbackUrl": self.url});
                let task: Task = self.ask(Method::POST, "/api/tasks", draft).await?.expect("asked for");
                self.note(|promises| drop(promises.tasks.insert(task.id.get(), words)));
            }
        }
        None
    }

    /// Claims what there is and finishes most of it. All workers want the same.
    async fn work(self, me: &'static str) -> Option<()> {
        let mut since = locked(&self.promises).messages.keys().next_back().map_or(0, |newest| newest - 50);
        loop {
            let path = format!("/api/messages?for={me}&since={since}&limit=20&wait=5");
            let page: Vec<Message> = self.ask(Method::GET, &path, json!({})).await??;
            for message in page {
                since = message.id.get();
                // By the task where it brings one, and sometimes by its message all the same.
                let task = message.meta.get("taskId").and_then(|id| id.as_i64()).filter(|id| id % 4 != 0);
                let (noun, id) = task.map_or(("messages", message.id.get()), |id| ("tasks", id));
                let claim = json!({"agentId": me, "leaseMs": 3_600_000});
                let path = format!("/api/{noun}/{id}");
                let held: Option<Value> = self.ask(Method::POST, &format!("{path}/claim"), claim).await?;
                let Some(held) = held else { continue };
                let generation = held["claimGeneration"].as_i64().expect("a generation");
                self.note(|promises| {
                    let before = promises.holders.insert((noun, id, generation), me);
                    assert!(before.is_none_or(|before| before == me), "{before:?} and {me} hold {noun} {id}");
                });
                if id % 7 == 0 {
                    continue;
                }
                let done = json!({"agentId": me, "claimGeneration": generation, "status": "done"});
                let done: Option<Value> = match noun {
                    "tasks" => self.ask(Method::PATCH, &format!("{path}/status"), done).await?,
                    _ => self.ask(Method::POST, &format!("{path}/claim/complete"), done).await?,
                };
                assert!(done.is_some(), "{me} holds {noun} {id} and may finish it");
                self.note(|promises| {
                    let before = promises.finished.insert((noun, id), generation);
                    assert!(before.is_none(), "{noun} {id} was finished twice");
                });
            }
        }
    }

    /// Asks the user, and answers as the user.
    async fn question(self) -> Option<()> {
        for n in 0.. {
            let title = format!("{}/question {n}", self.round);
            let draft = json!({
                "from": "boss", "kind": "question", "title": title, "options": ANSWERS, "callbackUrl": self.url,
            });
            let task: Task = self.ask(Method::POST, "/api/tasks", draft).await?.expect("asked");
            self.note(|promises| drop(promises.tasks.insert(task.id.get(), title)));
            let (answer, path) = (ANSWERS[n % 2], format!("/api/tasks/{}/answer", task.id));
            let answered = json!({"agentId": "user", "answer": answer});
            self.ask::<Value>(Method::POST, &path, answered).await?.expect("answered once");
            self.note(|promises| {
                promises.answers.insert(task.id.get(), answer);
            });
        }
        None
    }

    /// Tells of events from outside, signed; those first of which nobody knows whether they were taken.
    async fn tell(self) -> Option<()> {
        let open = |(id, task): (&String, &Option<i64>)| task.is_none().then(|| id.clone());
        let left: Vec<String> = locked(&self.promises).events.iter().filter_map(open).collect();
        let new = (0..).map(|n| format!("{}-event-{n}", self.round));
        for id in left.into_iter().chain(new) {
            locked(&self.promises).events.entry(id.clone()).or_default();
            let event = json!({"type": "t", "title": id, "target": "tag:work", "callbackUrl": self.url});
            let answer = events::send_signed(&self.client, &id, event.to_string()).await?;
            assert!(matches!(answer.status, 200 | 201), "{answer:?}");
            let task = answer.parse::<Task>().id.get();
            self.note(|promises| {
                promises.events.insert(id, Some(task));
            });
        }
        None
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_that_is_promised_survives_fifty_kills() {
    let promises = Arc::<Mutex<Promises>>::default();
    let (url, came, _) = callbacks::receiver().await;
    let lives = Cell::new(0_usize);
    let promised = async |client: &Client| {
        if lives.get().is_multiple_of(THOROUGH_EVERY) {
            account(client, &promises, &came).await;
        }
        lives.set(lives.get() + 1);
    };
    let live = async |client: Client, round, made| {
        for worker in WORKERS {
            client.register(json!({"id": worker, "tags": ["work"]})).await;
        }
        client.register(json!({"id": "boss"})).await;
        let life = Life { client, promises: promises.clone(), url: url.clone(), round, made };
        let mut clients = JoinSet::new();
        for worker in WORKERS {
            clients.spawn(drain(life.clone().work(worker)));
        }
        clients.spawn(drain(life.clone().send()));
        clients.spawn(drain(life.clone().question()));
        clients.spawn(drain(life.tell()));
        clients
    };
    killed_again_and_again(ROUNDS, 96, promised, live).await;
    let promises = locked(&promises);
    let counts = [
        ("messages", promises.messages.len()),
        ("tasks", promises.tasks.len()),
        ("claims", promises.holders.len()),
        ("ends", promises.finished.len()),
        ("answers", promises.answers.len()),
        ("events from outside", promises.events.len()),
        ("callbacks that came", came.lock().unwrap_or_else(PoisonError::into_inner).len()),
    ];
    println!("{counts:?}");
    assert!(counts.iter().all(|(_, count)| *count > ROUNDS), "{counts:?}");
}

/// A client ends when the relay is gone.
async fn drain(client: impl Future<Output = Option<()>>) {
    assert_eq!(client.await, None);
}

/// Every promise is kept, and what was not promised happened once or not at all.
async fn account(client: &Client, promises: &Mutex<Promises>, came: &Came) {
    let stored: Vec<Message> = pages(client, "/api/messages?limit=1000").await;
    let messages: BTreeMap<i64, &Message> = stored.iter().map(|message| (message.id.get(), message)).collect();
    let stored: Vec<Task> = pages(client, "/api/tasks?limit=1000").await;
    let tasks: BTreeMap<i64, &Task> = stored.iter().map(|task| (task.id.get(), task)).collect();
    let titles: BTreeSet<&str> = stored.iter().map(|task| task.title.as_str()).collect();
    assert_eq!(titles.len(), stored.len(), "nothing was asked for twice");
    let acknowledged = {
        let promises = locked(promises);
        for (id, body) in &promises.messages {
            assert_eq!(messages.get(id).map(|message| &message.body), Some(body), "message {id} was acknowledged");
        }
        for (id, title) in &promises.tasks {
            assert_eq!(tasks.get(id).map(|task| &task.title), Some(title), "task {id} was acknowledged");
        }
        for (noun, id, generation) in promises.holders.keys() {
            let kept = if *noun == "tasks" { tasks[id].claim_generation } else { messages[id].claim_generation };
            assert!(kept >= *generation, "a claim of {noun} {id} was acknowledged");
        }
        for ((noun, id), generation) in &promises.finished {
            let (kept, is_finished, holder) = match *noun {
                "tasks" => (tasks[id].claim_generation, tasks[id].status == TaskStatus::Done, &tasks[id].claimed_by),
                _ => (messages[id].claim_generation, messages[id].completed_at.is_some(), &messages[id].claimed_by),
            };
            let promised = promises.holders[&(*noun, *id, *generation)];
            assert!(is_finished, "the end of {noun} {id} was acknowledged");
            assert_eq!((kept, holder.as_deref()), (*generation, Some(promised)), "{noun} {id}");
        }
        for (id, answer) in &promises.answers {
            let result = tasks[id].result.as_ref().map(|result| result.as_str().to_owned()).unwrap_or_default();
            assert!(result.contains(&format!("\"{answer}\"")), "the answer of task {id} was acknowledged: {result}");
            let thread = tasks[id].message_id.expect("a message").get();
            let answers =
                messages.values().filter(|message| message.thread_id.get() == thread && message.id.get() != thread);
            assert_eq!(answers.count(), 1, "the answer to task {id} was sent once");
        }
        for (id, task) in &promises.events {
            if let Some(task) = task {
                assert_eq!(&tasks[task].title, id, "event {id} was acknowledged");
            }
        }
        promises.tasks.keys().copied().chain(promises.events.values().flatten().copied()).collect()
    };
    callbacks::account(client, came, &Mutex::new(acknowledged)).await;
}
