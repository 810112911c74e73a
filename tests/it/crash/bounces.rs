//! Bounces through crashes: whoever sent what nobody read hears of it exactly once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use agent_relay::domain::message::Message;
use agent_relay::domain::time::Timestamp;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::{killed_again_and_again, pages};
use crate::server::{Client, until};

const ROUNDS: usize = 6;
const SENDERS: [&str; 4] = ["s0", "s1", "s2", "s3"];
/// How long what expires may be read.
const LIFETIME_MS: i64 = 500;

/// What was acknowledged.
#[derive(Clone, Default)]
struct Promises {
    /// Messages by id, with who sent them and to whom.
    sent: BTreeMap<i64, (&'static str, String)>,
    /// Those that expire, with when.
    expiring: BTreeMap<i64, Timestamp>,
    /// Recipients that are gone.
    gone: BTreeSet<String>,
}

type Shared = Arc<Mutex<Promises>>;

fn note(promises: &Shared, made: &watch::Sender<usize>, write: impl FnOnce(&mut Promises)) {
    write(&mut promises.lock().unwrap_or_else(PoisonError::into_inner));
    made.send_modify(|made| *made += 1);
}

/// Registers recipients, writes to each, and removes it, until the relay is gone. Every other message expires.
async fn live(client: Client, me: &'static str, round: usize, promises: Shared, made: watch::Sender<usize>) {
    let ask = async |method: Method, path: &str, body: Value| {
        let answer = client.try_call(client.request(method, path).json(&body)).await.ok()?;
        // On a machine with much else to do it may be too late for what expires.
        assert!(matches!(answer.status, 200 | 201) || answer.text.contains("expiresAt"), "{answer:?}");
        Some(answer)
    };
    for turn in 0.. {
        let to = format!("r-{round}-{me}-{turn}");
        if ask(Method::POST, "/api/agents", json!({"id": to})).await.is_none() {
            return;
        }
        for n in 0..4 {
            let expires_at = (n % 2 == 0).then(|| Timestamp::now() + LIFETIME_MS);
            let draft = json!({"from": me, "to": to, "body": "words", "expiresAt": expires_at});
            let Some(answer) = ask(Method::POST, "/api/messages", draft).await else { return };
            if answer.status == 400 {
                continue;
            }
            let id = answer.parse::<Message>().id.get();
            note(&promises, &made, |promises| {
                promises.sent.insert(id, (me, to.clone()));
                promises.expiring.extend(expires_at.map(|at| (id, at)));
            });
        }
        if ask(Method::DELETE, &format!("/api/agents/{to}"), json!({})).await.is_none() {
            return;
        }
        note(&promises, &made, |promises| {
            promises.gone.insert(to);
        });
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_sent_what_nobody_read_hears_of_it_once_however_often_the_relay_is_killed() {
    let promises = Shared::default();
    let promised = async |client: &Client| {
        let promised = promises.lock().unwrap_or_else(PoisonError::into_inner).clone();
        account(client, &promised).await;
    };
    let live = async |client: Client, round, made: watch::Sender<usize>| {
        client.register_all(&SENDERS).await;
        let mut clients = JoinSet::new();
        for me in SENDERS {
            clients.spawn(live(client.clone(), me, round, promises.clone(), made.clone()));
        }
        clients
    };
    killed_again_and_again(ROUNDS, 64, promised, live).await;
}

async fn account(client: &Client, promises: &Promises) {
    if let Some(last) = promises.expiring.values().max() {
        until(*last + 5).await;
    }
    // What a killed relay left to be told.
    client.post("/api/system/reap", json!({})).await.expect::<Value>(200);
    let mut told = BTreeMap::new();
    for sender in SENDERS {
        let inbox: Vec<Message> = pages(client, &format!("/api/messages?for={sender}&limit=1000")).await;
        for bounce in inbox {
            let meta = bounce.meta.get("bounce").expect("nothing else is sent to it");
            assert!(meta["reason"] == "deleted" || meta["reason"] == "expired", "{meta}");
            let ids = meta["messageIds"].as_array().cloned().unwrap_or_else(|| vec![meta["messageId"].clone()]);
            for id in ids {
                let before = told.insert(id.as_i64().expect("an id"), sender);
                assert_eq!(before, None, "of message {id} somebody heard twice");
            }
        }
    }
    for (id, (sender, to)) in &promises.sent {
        let is_due = promises.gone.contains(to) || promises.expiring.contains_key(id);
        match told.get(id) {
            Some(heard) => assert_eq!(heard, sender),
            // Its recipient may be there still.
            None => assert!(!is_due, "nobody heard of message {id}"),
        }
    }
}
