//! Tasks that wait for others.

use agent_relay::domain::task::{Task, TaskEventKind, TaskStatus};
use serde_json::json;

use super::{agents, claim, create, get, kinds, report};
use crate::server::Client;

async fn end(client: &Client, task: &Task, status: &str) {
    if status != "canceled" {
        claim(client, task, "a").await.expect::<Task>(200);
    }
    report(client, task, json!({"agentId": "a", "status": status})).await.expect::<Task>(200);
}

#[tokio::test]
async fn a_task_waits_until_all_it_depends_on_is_done() {
    let server = agents().await;
    let client = &server.client;
    let first = create(client, json!({"title": "first"})).await;
    let second = create(client, json!({"title": "second"})).await;
    let draft = json!({"title": "last", "target": "b", "dependsOn": [first.id, second.id, first.id]});
    let last = create(client, draft).await;
    assert_eq!((last.status, last.message_id), (TaskStatus::Blocked, None));
    assert_eq!((&last.depends_on, &last.blocked_by), (&vec![first.id, second.id], &vec![first.id, second.id]));
    claim(client, &last, "b").await.problem(409, "illegal_transition");
    for status in ["open", "claimed", "in_progress", "done"] {
        report(client, &last, json!({"agentId": "b", "status": status})).await.problem(409, "illegal_transition");
    }
    end(client, &second, "done").await;
    let waiting = get(client, &last).await.task;
    assert_eq!((waiting.status, waiting.blocked_by), (TaskStatus::Blocked, vec![first.id]));
    assert!(client.inbox("b").await.is_empty(), "it is not told before it can be begun");
    end(client, &first, "done").await;
    let open = get(client, &last).await.task;
    assert_eq!((open.status, open.blocked_by.len(), open.depends_on), (TaskStatus::Open, 0, last.depends_on.clone()));
    assert_eq!(client.inbox("b").await, ["last"]);
    assert_eq!(kinds(client, &last).await, [TaskEventKind::Created, TaskEventKind::Unblocked]);
    claim(client, &last, "b").await.expect::<Task>(200);
    let late = create(client, json!({"title": "t", "dependsOn": [first.id]})).await;
    assert_eq!((late.status, late.blocked_by.len()), (TaskStatus::Open, 0), "that is done already");
    client.post("/api/tasks", json!({"title": "t", "dependsOn": [first.id, 999]})).await.problem(404, "not_found");
}

#[tokio::test]
async fn what_depends_on_what_failed_is_canceled_with_the_reason_and_so_on() {
    let server = agents().await;
    let client = &server.client;
    for (status, reason) in [("failed", "failed"), ("canceled", "was canceled")] {
        let first = create(client, json!({"from": "a", "title": "first"})).await;
        let other = create(client, json!({"title": "other"})).await;
        let second = create(client, json!({"title": "second", "target": "b", "dependsOn": [first.id, other.id]})).await;
        let third = create(client, json!({"title": "third", "target": "b", "dependsOn": [second.id]})).await;
        end(client, &first, status).await;
        for (task, because) in [
            (&second, format!("task {}, on which it depends, {reason}", first.id)),
            (&third, format!("task {}, on which it depends, was canceled", second.id)),
        ] {
            let history = get(client, task).await;
            assert_eq!((history.task.status, history.task.message_id), (TaskStatus::Canceled, None));
            let last = history.events.last().expect("an event");
            assert_eq!((last.kind, last.body.as_deref()), (TaskEventKind::Canceled, Some(because.as_str())));
        }
        end(client, &other, "done").await;
        assert_eq!(get(client, &second).await.task.status, TaskStatus::Canceled, "the end of one that is over");
        let draft = json!({"title": "late", "target": "b", "dependsOn": [other.id, first.id]});
        let late = create(client, draft).await;
        assert_eq!((late.status, late.message_id), (TaskStatus::Canceled, None));
        assert_eq!(kinds(client, &late).await, [TaskEventKind::Created, TaskEventKind::Canceled]);
    }
    assert!(client.inbox("b").await.is_empty());
}

#[tokio::test]
async fn more_wait_than_one_step_tells_and_all_hear_of_it() {
    let server = agents().await;
    let client = &server.client;
    for (status, becomes) in [("done", TaskStatus::Open), ("failed", TaskStatus::Canceled)] {
        let first = create(client, json!({"title": "first"})).await;
        let mut waiting = Vec::new();
        for _ in 0..70 {
            waiting.push(create(client, json!({"title": "t", "target": "b", "dependsOn": [first.id]})).await);
        }
        let after = create(client, json!({"title": "t", "dependsOn": [waiting[69].id]})).await;
        end(client, &first, status).await;
        for task in waiting {
            assert_eq!(get(client, &task).await.task.status, becomes);
        }
        let expected = if becomes == TaskStatus::Open { TaskStatus::Blocked } else { TaskStatus::Canceled };
        assert_eq!(get(client, &after).await.task.status, expected);
    }
    assert_eq!(client.messages("for=b&limit=1000").await.len(), 70);
}
