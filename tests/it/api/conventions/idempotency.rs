//! A request under a key has its effect once, however often it is sent.

use agent_relay::domain::message::Message;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::server::{Answer, Client, Server};

async fn post(client: &Client, path: &str, key: &str, body: &str) -> Answer {
    let request = client.request(Method::POST, path).header("Idempotency-Key", key);
    client.call(request.header("Content-Type", "application/json").body(body.to_owned())).await
}

#[tokio::test]
async fn a_repeat_gets_the_first_answer_and_does_nothing() {
    let server = Server::start().await;
    let client = &server.client;
    let requests = [
        ("/api/messages", r#"{"from":"a","to":"b","body":"1"}"#, r#"{ "body": "1", "to": "b", "from": "a" }"#, "body"),
        ("/api/agents", r#"{"id":"a","tags":["t"]}"#, r#"{"tags": ["t"], "id":"a"}"#, "name"),
        ("/api/system/broadcast", r#"{"body":"1","subject":"s"}"#, r#"{"subject":"s","body":"1"}"#, "body"),
        (
            "/api/activity",
            r#"{"clientId":"c","kind":"state","title":"t"}"#,
            r#"{"title":"t","kind":"state","clientId":"c"}"#,
            "title",
        ),
    ];
    let mut firsts = Vec::new();
    for (path, body, respelt, field) in requests {
        // One key for all: it belongs to its route.
        let first = post(client, path, "key", body).await;
        assert_eq!(first.header("idempotency-replayed"), None, "{path}");
        let first: Value = first.expect(201);
        for again in [body, respelt] {
            let repeat = post(client, path, "key", again).await;
            assert_eq!(repeat.header("idempotency-replayed"), Some("true"), "{path}");
            assert_eq!(repeat.expect::<Value>(200), first, "{path}");
        }
        let mut other: Value = serde_json::from_str(body).expect("JSON");
        other[field] = json!("other");
        post(client, path, "key", &other.to_string()).await.problem(422, "idempotency_key_reused");
        firsts.push((path, body, first));
    }
    assert_eq!(client.messages("").await.len(), 2);
    // It is kept with the effect: a restart forgets neither.
    let server = Server::start_in(server.stop(), |_| {}).await;
    for (path, body, first) in firsts {
        assert_eq!(post(&server.client, path, "key", body).await.expect::<Value>(200), first);
    }
}

#[tokio::test]
async fn the_key_may_be_in_a_messages_body() {
    let server = Server::start().await;
    let client = &server.client;
    let draft = json!({"from": "a", "to": "b", "body": "1", "idempotencyKey": "k"});
    let first: Message = client.post("/api/messages", draft.clone()).await.expect(201);
    assert_eq!(first.idempotency_key.as_deref(), Some("k"));
    let repeat = client.post("/api/messages", draft.clone()).await;
    assert_eq!(repeat.header("idempotency-replayed"), Some("true"));
    assert_eq!(repeat.expect::<Message>(200), first);
    let mut other = draft;
    other["body"] = json!("2");
    client.post("/api/messages", other).await.problem(422, "idempotency_key_reused");
    assert_eq!(client.inbox("b").await, ["1"]);
}

#[tokio::test]
async fn a_refused_request_does_not_use_its_key_up() {
    let server = Server::start().await;
    let client = &server.client;
    let path = "/api/messages";
    post(client, path, "k", r#"{"from":"a","to":"b"}"#).await.invalid("body required");
    post(client, path, "k", r#"{"from":"a","to":"b","body":"x","replyTo":9}"#).await.problem(404, "not_found");
    post(client, path, "k", r#"{"from":"a","to":"b","body":"x"}"#).await.expect::<Message>(201);
}

#[tokio::test]
async fn a_keys_length_is_bounded_and_quotes_do_not_count() {
    let server = Server::start().await;
    let client = &server.client;
    let body = r#"{"from":"a","to":"b","body":"x"}"#;
    let longest = "k".repeat(200);
    post(client, "/api/messages", &longest, body).await.expect::<Message>(201);
    post(client, "/api/messages", &format!("\"{longest}\""), body).await.expect::<Message>(200);
    post(client, "/api/messages", &format!("{longest}k"), body).await.invalid("Idempotency-Key");
    for blank in ["", "\"\""] {
        post(client, "/api/messages", blank, body).await.expect::<Message>(201);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_all_repeats_at_once_one_has_the_effect() {
    let server = Server::start().await;
    let mut posts = JoinSet::new();
    for _ in 0..12 {
        let client = server.client.clone();
        let body = r#"{"from":"a","to":"b","body":"once"}"#;
        posts.spawn(async move { post(&client, "/api/messages", "k", body).await });
    }
    let answers = posts.join_all().await;
    let made = answers.iter().filter(|answer| answer.status == 201).count();
    let ids: Vec<i64> = answers.into_iter().map(|answer| answer.parse::<Message>().id.get()).collect();
    assert!(made == 1 && ids.iter().all(|id| *id == ids[0]), "{made} made: {ids:?}");
    assert_eq!(server.client.inbox("b").await, ["once"]);
}
