//! What is handed on is handed on exactly: the JSON in `meta` and its like.

use reqwest::Method;
use serde_json::{Value, json};

use crate::server::{Answer, Client, Server};

/// What a number may be, and stays.
const NUMBERS: &str = r#"{"big":18446744073709551616,"exp":1e300,"float":1.0,"int":1,"least":-9223372036854775809,"long":0.12345678901234567890,"zero":-0}"#;

/// Sends a body of which `META` is the JSON that is handed on.
async fn send(client: &Client, method: Method, path: &str, body: &str, meta: &str) -> Answer {
    let request = client.request(method, path).header("Content-Type", "application/json");
    client.call(request.body(body.replace("META", meta))).await
}

#[tokio::test]
async fn what_is_handed_on_is_the_same_to_the_last_digit() {
    let server = Server::start().await;
    let client = &server.client;
    let mut live = client.open_stream("", None).await;
    live.ready().await;
    let spaced = NUMBERS.replace(',', " ,\n\t").replace(':', " : ");
    for (path, body) in [
        ("/api/agents", r#"{"id":"a","meta":META}"#),
        ("/api/messages", r#"{"from":"a","to":"b","body":"c","meta":META,"idempotencyKey":"k"}"#),
        ("/api/activity", r#"{"clientId":"c","kind":"state","title":"t","metadata":META}"#),
        ("/api/orchestrators", r#"{"id":"o","hostname":"h","baseDir":"/o","meta":META}"#),
    ] {
        for meta in [NUMBERS, &spaced] {
            let answer = send(client, Method::POST, path, body, meta).await;
            assert!(matches!(answer.status, 200 | 201) && answer.text.contains(NUMBERS), "{path}: {answer:?}");
        }
    }
    let action = client.post("/api/orchestrators/o/actions", json!({"action": "shutdown-all"})).await;
    assert!(action.status == 202 || action.status == 400, "{action:?}");
    for path in ["/api/agents/a", "/api/agents", "/api/messages?limit=10", "/api/activity", "/api/orchestrators/o"] {
        let answer = client.get(path).await;
        assert!(answer.text.contains(NUMBERS), "{path}: {answer:?}");
    }
    // The log has every event as it was told.
    let log = client.get("/api/events/log?limit=1000").await;
    for name in ["agent.status", "message.new", "activity.new", "orchestrator.status"] {
        let told = log.text.match_indices(&format!("\"event\":\"{name}\"")).any(|(at, _)| {
            let rest = &log.text[at + 1..];
            rest[..rest.find("\"event\":").unwrap_or(rest.len())].contains(NUMBERS)
        });
        assert!(told, "{name} in {}", log.text);
    }
    // Another number is another request.
    let other = NUMBERS.replace("18446744073709551616", "18446744073709551617");
    let body = r#"{"from":"a","to":"b","body":"c","meta":META,"idempotencyKey":"k"}"#;
    send(client, Method::POST, "/api/messages", body, &other).await.problem(422, "idempotency_key_reused");
    let keyed = |meta: &str| {
        let request = client.request(Method::POST, "/api/agents").header("Content-Type", "application/json");
        let body = format!(r#"{{"id":"keyed","meta":{meta}}}"#);
        client.call(request.header("Idempotency-Key", "n").body(body))
    };
    keyed(NUMBERS).await.expect::<Value>(201);
    assert_eq!(keyed(&spaced).await.header("idempotency-replayed"), Some("true"));
    keyed(&other).await.problem(422, "idempotency_key_reused");
}

#[tokio::test]
async fn what_readers_could_take_for_different_things_is_refused_by_name() {
    let server = Server::start().await;
    let client = &server.client;
    let deep = format!("{{\"a\":{}{}}}", "[".repeat(65), "]".repeat(65));
    for (path, field, body) in [
        ("/api/agents", "meta", r#"{"id":"a","meta":META}"#),
        ("/api/messages", "meta", r#"{"from":"a","to":"b","body":"c","meta":META}"#),
        ("/api/activity", "metadata", r#"{"clientId":"c","kind":"state","title":"t","metadata":META}"#),
        ("/api/orchestrators", "meta", r#"{"id":"o","hostname":"h","baseDir":"/o","meta":META}"#),
    ] {
        for meta in
            [r#"{"a":1,"a":1}"#, r#"{"x":{"a":1,"a":2}}"#, r#"{"a":"\ud800"}"#, "[]", "7", r#"{"a":1e400}"#, &deep]
        {
            send(client, Method::POST, path, body, meta).await.invalid(field);
        }
    }
    assert_eq!(client.messages("limit=10").await, [], "nothing was stored");
}
