//! Questions and approvals: asked of somebody, answered once.

use agent_relay::domain::message::Message;
use agent_relay::domain::task::{Task, TaskEventKind, TaskStatus};
use serde_json::{Value, json};

use super::{agents, claim, create, kinds, message_of, report};
use crate::server::{Answer, Client};

async fn ask(client: &Client, options: Value) -> Task {
    let draft = json!({"from": "a", "title": "Which one?", "kind": "question", "target": "b", "options": options});
    create(client, draft).await
}

async fn answer(client: &Client, task: &Task, body: Value) -> Answer {
    client.post(&format!("/api/tasks/{}/answer", task.id), body).await
}

#[tokio::test]
async fn the_first_answer_counts_and_goes_to_who_asked() {
    let server = agents().await;
    let client = &server.client;
    let task = ask(client, json!(["red", "blue"])).await;
    let question = message_of(client, &task).await;
    assert_eq!(question.meta.get("options"), Some(json!(["red", "blue"])));
    let refused =
        answer(client, &task, json!({"answer": "green", "agentId": "b"})).await.problem(400, "invalid_answer");
    assert_eq!(refused["options"], json!(["red", "blue"]));
    let answered: Task =
        answer(client, &task, json!({"answer": " blue ", "note": "it is calm", "agentId": "b"})).await.expect(200);
    assert_eq!((answered.status, answered.claimed_by.as_deref()), (TaskStatus::Done, Some("b")));
    let result = answered.result.as_ref().map(|result| result.value());
    assert_eq!(result, Some(json!({"answer": "blue", "note": "it is calm"})));
    for again in ["red", "blue"] {
        answer(client, &task, json!({"answer": again, "agentId": "b"})).await.problem(409, "already_answered");
    }
    assert_eq!(kinds(client, &task).await, [TaskEventKind::Created, TaskEventKind::Answered]);
    let thread: Vec<Message> = client.get(&format!("/api/messages/{}/thread", question.id)).await.expect(200);
    let [_, reply] = &thread[..] else { panic!("{thread:?}") };
    assert_eq!((&*reply.from, reply.to.as_str(), reply.reply_to), ("b", "a", Some(question.id)));
    assert_eq!(reply.body, "blue\n\nit is calm");
    assert_eq!(client.inbox("a").await, ["blue\n\nit is calm"]);
    assert!(message_of(client, &task).await.completed_at.is_some());
}

#[tokio::test]
async fn a_question_is_answered_and_not_done() {
    let server = agents().await;
    let client = &server.client;
    let task = ask(client, json!([])).await;
    let held: Task = claim(client, &task, "b").await.expect(200);
    report(client, &task, json!({"agentId": "b", "status": "done"})).await.problem(409, "illegal_transition");
    let path = format!("/api/messages/{}/claim/complete", held.message_id.expect("a message"));
    client.post(&path, json!({"agentId": "b", "claimGeneration": 1})).await.problem(409, "illegal_transition");
    assert_eq!(kinds(client, &task).await, [TaskEventKind::Created, TaskEventKind::Claimed], "nothing came of it");
    // Anything is an answer where there are no options, by an administrator too.
    let answered: Task = answer(client, &task, json!({"answer": "so be it"})).await.expect(200);
    assert_eq!(answered.claimed_by.as_deref(), Some("user"));
    let message = message_of(client, &task).await;
    assert_eq!((message.claimed_by.as_deref(), message.completed_at.is_some()), (Some("user"), true));
    client.post(&path, json!({"agentId": "b", "claimGeneration": 1})).await.problem(409, "already_completed");
}

#[tokio::test]
async fn only_what_is_asked_is_answered() {
    let server = agents().await;
    let client = &server.client;
    let work = create(client, json!({"title": "t", "target": "b"})).await;
    answer(client, &work, json!({"answer": "x"})).await.problem(400, "invalid_request");
    let task = ask(client, json!(["x"])).await;
    answer(client, &task, json!({"answer": " "})).await.invalid("answer required");
    report(client, &task, json!({"agentId": "a", "status": "canceled"})).await.expect::<Task>(200);
    answer(client, &task, json!({"answer": "x"})).await.problem(409, "illegal_transition");
    let asked = create(client, json!({"title": "t", "kind": "approval", "target": " "})).await;
    assert_eq!(asked.target.as_deref(), Some("user"), "of the human, unless it says");
    for wrong in [
        json!({"title": "t", "options": ["x"]}),
        json!({"title": "t", "kind": "question", "target": "user", "options": [" "]}),
        json!({"title": "t", "kind": "riddle"}),
    ] {
        client.post("/api/tasks", wrong).await.problem(400, "invalid_request");
    }
}
