//! A task and its message are one claim, whichever is claimed.

use agent_relay::domain::message::Message;
use agent_relay::domain::task::{Task, TaskStatus};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::{agents, claim, create, get, message_of, report, work};
use crate::server::{Answer, Client, until};

/// One door: of the task, or of its message.
#[derive(Clone, Copy, Debug)]
enum Door {
    Task,
    Message,
}

impl Door {
    async fn post(self, client: &Client, task: &Task, step: &str, body: Value) -> Answer {
        let path = match (self, step) {
            (Self::Task, step) => format!("/api/tasks/{}/{step}", task.id),
            (Self::Message, "claim") => format!("/api/messages/{}/claim", task.message_id.expect("a message")),
            (Self::Message, step) => format!("/api/messages/{}/claim/{step}", task.message_id.expect("a message")),
        };
        client.post(&path, body).await
    }
}

/// The claim as the task has it, which the message has too.
async fn holder(client: &Client, task: &Task) -> (TaskStatus, Option<String>, i64) {
    let (task, message) = (get(client, task).await.task, message_of(client, task).await);
    assert_eq!(task.claimed_by, message.claimed_by);
    assert_eq!((task.claimed_at, task.claim_expires_at), (message.claimed_at, message.claim_expires_at));
    assert_eq!((task.claim_generation, task.finished_at), (message.claim_generation, message.completed_at));
    (task.status, task.claimed_by.map(|agent| agent.into_string()), task.claim_generation)
}

#[tokio::test]
async fn either_door_claims_renews_and_releases_both() {
    let server = agents().await;
    let client = &server.client;
    for (one, other) in [(Door::Task, Door::Message), (Door::Message, Door::Task)] {
        let task = work(client).await;
        assert_eq!(one.post(client, &task, "claim", json!({"agentId": "a"})).await.status, 200);
        assert_eq!(holder(client, &task).await, (TaskStatus::Claimed, Some("a".to_owned()), 1));
        let refused = other.post(client, &task, "claim", json!({"agentId": "b"})).await;
        assert_eq!(refused.problem(409, "already_claimed")["claimedBy"], "a");
        assert_eq!(other.post(client, &task, "claim", json!({"agentId": "a"})).await.status, 200, "the same again");
        let before = get(client, &task).await.task.claim_expires_at.expect("a lease");
        let longer = json!({"agentId": "a", "claimGeneration": 1, "leaseMs": 3_600_000});
        assert_eq!(other.post(client, &task, "renew", longer).await.status, 200);
        let (_, held, generation) = holder(client, &task).await;
        assert_eq!((held.as_deref(), generation), (Some("a"), 1));
        assert!(get(client, &task).await.task.claim_expires_at.expect("a lease") > before);
        let stale = json!({"agentId": "b", "claimGeneration": 1});
        other.post(client, &task, "release", stale).await.problem(409, "stale_claim");
        let held = json!({"agentId": "a", "claimGeneration": 1});
        assert_eq!(other.post(client, &task, "release", held.clone()).await.status, 200);
        assert_eq!(holder(client, &task).await, (TaskStatus::Open, None, 1));
        for door in [one, other] {
            door.post(client, &task, "renew", held.clone()).await.problem(409, "stale_claim");
        }
        assert_eq!(one.post(client, &task, "claim", json!({"agentId": "b"})).await.status, 200);
        assert_eq!(holder(client, &task).await, (TaskStatus::Claimed, Some("b".to_owned()), 2));
    }
}

#[tokio::test]
async fn completing_the_message_does_the_task_and_doing_the_task_completes_the_message() {
    let server = agents().await;
    let client = &server.client;
    let first = work(client).await;
    claim(client, &first, "a").await.expect::<Task>(200);
    let body = json!({"agentId": "a", "claimGeneration": 1});
    let done: Message = Door::Message.post(client, &first, "complete", body.clone()).await.expect(200);
    assert!(done.completed_at.is_some());
    assert_eq!(holder(client, &first).await, (TaskStatus::Done, Some("a".to_owned()), 1));
    Door::Message.post(client, &first, "complete", body.clone()).await.expect::<Message>(200);
    for status in ["done", "failed"] {
        let task = work(client).await;
        claim(client, &task, "a").await.expect::<Task>(200);
        report(client, &task, json!({"agentId": "a", "status": status})).await.expect::<Task>(200);
        let (_, by, _) = holder(client, &task).await;
        assert_eq!(by.as_deref(), Some("a"));
        Door::Message.post(client, &task, "claim", json!({"agentId": "b"})).await.expect_refused();
    }
}

trait Refused {
    fn expect_refused(self);
}

impl Refused for Answer {
    fn expect_refused(self) {
        assert_eq!(self.status, 409, "{self:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_all_who_claim_at_once_by_both_doors_exactly_one_gets_it() {
    let server = agents().await;
    let client = &server.client;
    for id in 0..12 {
        client.register(json!({"id": format!("agent-{id}"), "tags": ["t"]})).await;
    }
    for round in 0..5 {
        let task = work(client).await;
        let mut claims = JoinSet::new();
        for id in 0..12 {
            let (client, task) = (client.clone(), task.clone());
            let door = if id % 2 == 0 { Door::Task } else { Door::Message };
            claims.spawn(async move {
                let agent = format!("agent-{id}");
                (door.post(&client, &task, "claim", json!({"agentId": agent})).await.status, agent)
            });
        }
        let won: Vec<_> = claims.join_all().await.into_iter().filter(|(status, _)| *status == 200).collect();
        let [(_, winner)] = &won[..] else { panic!("{won:?} in round {round}") };
        assert_eq!(holder(client, &task).await, (TaskStatus::Claimed, Some(winner.clone()), 1));
    }
}

#[tokio::test]
async fn a_lease_that_ends_frees_both() {
    let server = agents().await;
    let client = &server.client;
    for door in [Door::Task, Door::Message] {
        let task = work(client).await;
        let short = json!({"agentId": "a", "leaseMs": 1_000});
        assert_eq!(door.post(client, &task, "claim", short).await.status, 200);
        let ends = get(client, &task).await.task.claim_expires_at.expect("a lease");
        let mut stream = client.follow("types=message.claim_released,task.updated").await;
        until(ends).await;
        // Before anybody noticed, its generation is dead already.
        report(client, &task, json!({"agentId": "a", "claimGeneration": 1, "status": "done"}))
            .await
            .problem(409, "stale_claim");
        let reaped: Value = client.post("/api/system/reap", json!({})).await.expect(200);
        assert_eq!(reaped["releasedTaskIds"], json!([task.id]));
        assert_eq!(reaped["releasedMessageIds"], json!([task.message_id]));
        assert_eq!(holder(client, &task).await, (TaskStatus::Open, None, 1));
        let released = stream.next().await;
        assert_eq!((released.event.as_str(), &released.data["agentId"]), ("message.claim_released", &json!("a")));
        let updated = stream.next().await;
        assert_eq!((updated.event.as_str(), &updated.data["status"]), ("task.updated", &json!("open")));
        report(client, &task, json!({"agentId": "a", "claimGeneration": 1, "status": "done"}))
            .await
            .problem(409, "stale_claim");
    }
}

#[tokio::test]
async fn whoever_it_is_not_for_gets_it_by_no_door_and_a_task_outlives_its_message() {
    let server = agents().await;
    let client = &server.client;
    let task = create(client, json!({"from": "boss", "title": "t", "target": "a"})).await;
    for door in [Door::Task, Door::Message] {
        door.post(client, &task, "claim", json!({"agentId": "b"})).await.problem(403, "not_addressed");
    }
    client.delete(&format!("/api/messages/{}", task.message_id.expect("a message"))).await.expect::<Value>(200);
    claim(client, &task, "b").await.problem(403, "not_addressed");
    claim(client, &task, "a").await.expect::<Task>(200);
    report(client, &task, json!({"agentId": "a", "status": "done"})).await.expect::<Task>(200);
    // A worker that comes later takes what its group has not done yet.
    let waiting = create(client, json!({"title": "t", "target": "cap:late"})).await;
    client.register(json!({"id": "late", "capabilities": ["late"]})).await;
    claim(client, &waiting, "late").await.expect::<Task>(200);
}
