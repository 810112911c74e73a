//! Every text, list and page has its maximum, and one more is refused by name.

use reqwest::Method;
use serde_json::{Value, json};

use crate::server::{Client, Server};

/// A request with a field of so much.
type Sized<'a> = (&'a str, &'a str, usize, &'a dyn Fn(usize) -> Value);

/// As many characters, each of two bytes: bounds count characters.
fn text(length: usize) -> String {
    "é".repeat(length)
}

/// The most is taken and one more is refused, naming the field.
async fn check(client: &Client, (path, field, most, body): Sized<'_>) {
    let answer = client.post(path, body(most)).await;
    assert!(matches!(answer.status, 200 | 201), "{field} of {most} at {path}: {answer:?}");
    client.post(path, body(most + 1)).await.invalid(field);
}

#[tokio::test]
async fn an_agents_fields_are_bounded() {
    let server = Server::start().await;
    let many = |count: usize| -> Vec<String> { (0..count).map(|n| format!("entry {n}")).collect() };
    // An object of exactly so many bytes of JSON.
    let object = |bytes: usize| json!({"k": "x".repeat(bytes - r#"{"k":""}"#.len())});
    let table: [Sized<'_>; 12] = [
        ("/api/agents", "id", 240, &|n| json!({"id": text(n)})),
        ("/api/agents", "name", 120, &|n| json!({"id": "a", "name": text(n)})),
        ("/api/agents", "label", 120, &|n| json!({"id": "a", "label": text(n)})),
        ("/api/agents", "machine", 240, &|n| json!({"id": "a", "machine": text(n)})),
        ("/api/agents", "rig", 240, &|n| json!({"id": "a", "rig": text(n)})),
        ("/api/agents", "instanceId", 240, &|n| json!({"id": "a", "instanceId": text(n)})),
        ("/api/agents", "tags", 120, &|n| json!({"id": "a", "tags": [text(n)]})),
        ("/api/agents", "tags", 64, &|n| json!({"id": "a", "tags": many(n)})),
        ("/api/agents", "capabilities", 120, &|n| json!({"id": "a", "capabilities": [text(n)]})),
        ("/api/agents", "capabilities", 64, &|n| json!({"id": "a", "capabilities": many(n)})),
        ("/api/agents", "meta", 16 * 1024, &|n| json!({"id": "a", "meta": object(n)})),
        ("/api/agents", "id", 240, &|n| json!({"id": format!("  {}\n", text(n))})),
    ];
    for row in table {
        check(&server.client, row).await;
    }
    for (path, body) in [("label", json!({"label": text(121)})), ("tags", json!({"tags": many(65)}))] {
        server.client.patch(&format!("/api/agents/a/{path}"), body).await.invalid(path);
    }
}

#[tokio::test]
async fn a_messages_fields_are_bounded() {
    let server = Server::start().await;
    let message = |field: &str, value: Value| {
        let mut draft = json!({"from": "a", "to": "b", "body": "c"});
        draft[field] = value;
        draft
    };
    let object = |bytes: usize| json!({"k": "x".repeat(bytes - r#"{"k":""}"#.len())});
    let table: [Sized<'_>; 9] = [
        ("/api/messages", "from", 240, &|n| message("from", json!(text(n)))),
        ("/api/messages", "to", 300, &|n| message("to", json!(text(n)))),
        ("/api/messages", "subject", 200, &|n| message("subject", json!(text(n)))),
        ("/api/messages", "channel", 120, &|n| message("channel", json!(text(n)))),
        ("/api/messages", "channel", 120, &|n| message("to", json!(format!("channel:{}", text(n))))),
        ("/api/messages", "idempotencyKey", 200, &|n| message("idempotencyKey", json!(text(n)))),
        ("/api/messages", "meta", 16 * 1024, &|n| message("meta", object(n))),
        // Bytes, not characters.
        ("/api/messages", "body", 256 * 1024, &|n| message("body", json!(format!("é{}", "x".repeat(n - 2))))),
        ("/api/system/broadcast", "subject", 200, &|n| json!({"subject": text(n), "body": "b"})),
    ];
    for row in table {
        check(&server.client, row).await;
    }
    for (field, value) in [("from", " "), ("to", ""), ("body", " \n")] {
        let answer = server.client.post("/api/messages", message(field, json!(value))).await;
        answer.invalid(&format!("{field} required"));
    }
    for (field, value) in [
        ("to", json!("tag:")),
        ("to", json!("cap: ")),
        ("to", json!("label:")),
        ("to", json!("channel:")),
        ("type", json!("chat")),
        ("subject", json!("a\u{1b}[31mb")),
        ("meta", json!([])),
        ("replyTo", json!("1")),
        ("expiresAt", json!(0)),
    ] {
        server.client.post("/api/messages", message(field, value)).await.problem(400, "invalid_request");
    }
}

#[tokio::test]
async fn an_entrys_fields_are_bounded() {
    let server = Server::start().await;
    let entry = |field: &str, value: Value| {
        let mut entry =
            json!({"clientId": format!("{field}-{}", value.to_string().len()), "kind": "state", "title": "t"});
        entry[field] = value;
        entry
    };
    let table: [Sized<'_>; 3] = [
        ("/api/activity", "clientId", 240, &|n| entry("clientId", json!(text(n)))),
        ("/api/activity", "title", 200, &|n| entry("title", json!(text(n)))),
        ("/api/activity", "agentId", 240, &|n| entry("agentId", json!(text(n)))),
    ];
    for row in table {
        check(&server.client, row).await;
    }
}

#[tokio::test]
async fn pages_and_waits_are_bounded_and_not_cut_down() {
    let server = Server::start().await;
    let client = &server.client;
    for route in
        ["/api/agents", "/api/agents/find", "/api/messages", "/api/activity", "/api/events/log", "/api/commands"]
    {
        client.get(&format!("{route}?limit=1000")).await.expect::<Vec<Value>>(200);
        for wrong in ["0", "-1", "1001", "x", "1.5", "99999999999999999999"] {
            client.get(&format!("{route}?limit={wrong}")).await.invalid("limit");
        }
    }
    for route in ["/api/messages", "/api/events/log"] {
        for wrong in ["61", "-1", "x"] {
            client.get(&format!("{route}?wait={wrong}")).await.invalid("wait");
        }
    }
    for wrong in ["since=x", "thread=x", "type=chat", "unread=maybe"] {
        client.get(&format!("/api/messages?for=a&{wrong}")).await.problem(400, "invalid_request");
    }
    let long = "x".repeat(301);
    for query in ["for", "from", "to", "channel"] {
        client.get(&format!("/api/messages?{query}={long}")).await.invalid(query);
    }
}

#[tokio::test]
async fn a_body_is_json_in_utf_8_and_not_compressed() {
    let server = Server::start().await;
    let client = &server.client;
    let request = || client.request(Method::POST, "/api/agents");
    let body = r#"{"id": "a"}"#;
    for good in ["application/json", "application/json; charset=utf-8", "application/json;charset=\"UTF-8\""] {
        let answer = client.call(request().header("content-type", good).body(body)).await;
        assert!(matches!(answer.status, 200 | 201), "{good}: {answer:?}");
    }
    for bad in ["application/json; charset=utf-16", "application/json; charset=latin1", "text/plain"] {
        client.call(request().header("content-type", bad).body(body)).await.problem(415, "not_json");
    }
    client.call(request().header("content-encoding", "gzip").json(&json!({"id": "a"}))).await.problem(415, "not_json");
}
