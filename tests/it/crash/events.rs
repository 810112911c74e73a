//! Signed events through crashes: each is a task once, however often its sender has to send it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use agent_relay::domain::task::Task;
use agent_relay::domain::time::Timestamp;
use reqwest::Method;
use standardwebhooks::Webhook;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::{killed_again_and_again, pages};
use crate::server::{Answer, Client};

const ROUNDS: usize = 5;
const SENDERS: usize = 4;
pub(crate) const SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";

/// The id of each event that was sent, with its task once that was acknowledged.
type Sent = Arc<Mutex<BTreeMap<String, Option<i64>>>>;

/// Sends the event of this id; nothing when the relay is gone.
async fn send(client: &Client, id: &str) -> Option<Answer> {
    send_signed(client, id, format!(r#"{{"type": "t", "title": "{id}", "target": "tag:work"}}"#)).await
}

/// Sends this body, signed, as the event of this id.
pub(super) async fn send_signed(client: &Client, id: &str, body: String) -> Option<Answer> {
    let at = Timestamp::now().as_ms() / 1_000;
    let signature = Webhook::new(SECRET).expect("a secret").sign(id, at, body.as_bytes()).expect("a signature");
    let request = client.request(Method::POST, "/api/integrations/ci/events");
    let request = request.header("content-type", "application/json").header("webhook-id", id);
    let request = request.header("webhook-timestamp", at.to_string()).header("webhook-signature", &signature);
    client.try_call(request.body(body)).await.ok()
}

fn note(sent: &Sent, id: &str, task: Option<i64>) {
    let mut sent = sent.lock().unwrap_or_else(PoisonError::into_inner);
    let known = sent.entry(id.to_owned()).or_default();
    assert!(known.is_none() || *known == task, "{id} was acknowledged as {known:?}, and now is {task:?}");
    *known = task;
}

/// Sends events, and every second one twice, until the relay is gone.
async fn live(client: Client, name: String, sent: Sent, made: watch::Sender<usize>) {
    for n in 0.. {
        let id = format!("{name}-{n}");
        note(&sent, &id, None);
        for _ in 0..=n % 2 {
            let Some(answer) = send(&client, &id).await else { return };
            assert!(matches!(answer.status, 200 | 201), "{answer:?}");
            note(&sent, &id, Some(answer.parse::<Task>().id.get()));
            made.send_modify(|made| *made += 1);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_event_is_one_task_however_often_the_relay_is_killed() {
    let sent = Sent::default();
    let promised = async |client: &Client| account(client, &sent).await;
    let live = async |client: Client, round, made: watch::Sender<usize>| {
        let mut senders = JoinSet::new();
        for sender in 0..SENDERS {
            senders.spawn(live(client.clone(), format!("r{round}-s{sender}"), sent.clone(), made.clone()));
        }
        senders
    };
    killed_again_and_again(ROUNDS, 64, promised, live).await;
}

/// What was acknowledged is there, and what was not may be: its sender sends it again and finds out.
async fn account(client: &Client, sent: &Sent) {
    let before = sent.lock().unwrap_or_else(PoisonError::into_inner).clone();
    for (id, task) in &before {
        let answer = send(client, id).await.expect("an answer");
        assert_eq!(answer.header("idempotency-replayed").is_some(), answer.status == 200, "{answer:?}");
        assert!(answer.status == 200 || (task.is_none() && answer.status == 201), "{id}: {answer:?}");
        note(sent, id, Some(answer.parse::<Task>().id.get()));
    }
    let tasks: Vec<Task> = pages(client, "/api/tasks?limit=1000").await;
    let by_title: BTreeMap<&str, i64> = tasks.iter().map(|task| (task.title.as_str(), task.id.get())).collect();
    let known = sent.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let known: BTreeMap<&str, i64> =
        known.iter().map(|(id, task)| (id.as_str(), task.expect("all were sent again"))).collect();
    assert_eq!((tasks.len(), by_title), (known.len(), known), "each event is one task");
    assert!(tasks.iter().all(|task| task.occurrences == 1 && task.message_id.is_some()));
}
