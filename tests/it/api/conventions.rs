//! What holds for every route: the form of errors, bodies, bounds, and repeats.

mod bounds;
mod exact;
mod fuzz;
mod idempotency;
mod spans;
mod table;

use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::server::{Client, PATIENCE, Server};

#[tokio::test]
async fn an_unknown_route_and_an_unknown_thing_are_problems() {
    let server = Server::start().await;
    let client = &server.client;
    for path in ["/", "/api", "/api/", "/api/nowhere", "/api/agents/", "/api/agents/a/b/c", "/API/agents"] {
        client.get(path).await.problem(404, "not_found");
    }
    for path in ["/api/agents/nobody", "/api/messages/1", "/api/messages/1/thread"] {
        client.get(path).await.problem(404, "not_found");
    }
    for path in ["/api/messages/x", "/api/messages/1.5", "/api/messages/99999999999999999999"] {
        client.get(path).await.problem(400, "invalid_request");
    }
}

#[tokio::test]
async fn a_method_that_is_not_taken_is_answered_with_those_that_are() {
    let server = Server::start().await;
    let client = &server.client;
    for (method, path, allowed) in [
        (Method::PUT, "/api/agents", &["GET", "POST"][..]),
        (Method::POST, "/api/agents/a", &["GET", "DELETE"]),
        (Method::GET, "/api/agents/a/status", &["PATCH"]),
        (Method::DELETE, "/api/messages", &["GET", "POST"]),
        (Method::GET, "/api/messages/1/claim", &["POST"]),
        (Method::POST, "/api/events", &["GET"]),
        (Method::POST, "/livez", &["GET"]),
        (Method::GET, "/api/system/reap", &["POST"]),
    ] {
        let answer = client.call(client.request(method, path)).await;
        let allow = answer.header("allow").unwrap_or_else(|| panic!("no Allow in {answer:?}")).to_owned();
        let mut listed: Vec<_> = allow.split(',').map(str::trim).filter(|method| *method != "HEAD").collect();
        listed.sort_unstable();
        let mut allowed = allowed.to_vec();
        allowed.sort_unstable();
        assert_eq!(listed, allowed, "{path}");
        answer.problem(405, "method_not_allowed");
    }
}

#[tokio::test]
async fn every_answer_names_its_request() {
    let server = Server::start().await;
    let client = &server.client;
    let with_id = |id: &str| client.request(Method::GET, "/nowhere").header("X-Request-Id", id);
    let problem = client.call(with_id("mine-1.2_3")).await.problem(404, "not_found");
    assert_eq!(problem["requestId"], "mine-1.2_3");
    for odd in ["a b", "<script>", "\"", &"x".repeat(65)] {
        let problem = client.call(with_id(odd)).await.problem(404, "not_found");
        assert_ne!(problem["requestId"], json!(odd), "what would not fit a log is replaced");
    }
    let (one, other) = (client.get("/livez").await, client.get("/livez").await);
    assert!(one.header("x-request-id").is_some());
    assert_ne!(one.header("x-request-id"), other.header("x-request-id"));
}

#[tokio::test]
async fn a_head_is_a_get_without_its_body() {
    let server = Server::start().await;
    for path in ["/api/agents", "/livez", "/api/spec", "/api/events", "/api/agents/nobody"] {
        let expected = if path.ends_with("nobody") { "404" } else { "200" };
        // On a bare socket, because a client would not look for a body: with the answer, the
        // connection must be done.
        let answer = exchange(&server.client, &format!("HEAD {path} HTTP/1.1\r\n"), "").await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {expected} ")), "{path}: {answer}");
        assert!(answer.ends_with("\r\n\r\n"), "{path}: {answer}");
    }
}

/// What is answered to a request on a bare socket until the relay hangs up.
async fn exchange(client: &Client, head: &str, rest: &str) -> String {
    let mut socket = TcpStream::connect(client.address()).await.expect("a connection");
    let request = format!("{head}Host: {}\r\nConnection: close\r\n\r\n{rest}", client.address());
    socket.write_all(request.as_bytes()).await.expect("a request");
    let mut answer = String::new();
    timeout(PATIENCE, socket.read_to_string(&mut answer)).await.expect("an end in time").expect("an answer");
    answer
}

#[tokio::test]
async fn a_body_is_json_and_says_so() {
    let server = Server::start().await;
    let client = &server.client;
    let text = json!({"id": "a"}).to_string();
    let with_type = |kind: Option<&str>| {
        let request = client.request(Method::POST, "/api/agents").body(text.clone());
        match kind {
            Some(kind) => request.header("Content-Type", kind),
            None => request,
        }
    };
    for good in ["application/json", "Application/JSON; charset=utf-8", "application/vnd.x+json"] {
        let status = client.call(with_type(Some(good))).await.status;
        assert!(matches!(status, 200 | 201), "{good}: {status}");
    }
    for bad in [None, Some("text/plain"), Some("application/x-www-form-urlencoded"), Some("application/jsonp")] {
        client.call(with_type(bad)).await.problem(415, "not_json");
    }
    for bad in ["", "{", "{\"id\":}", "[]", "7", "null", "\"text\"", "{\"id\": \"a\"} x", "{\"id\": 7}", "\u{feff}{}"] {
        let request = client.request(Method::POST, "/api/agents").header("Content-Type", "application/json");
        client.call(request.body(bad)).await.problem(400, "invalid_request");
    }
    let request = client.request(Method::POST, "/api/agents").header("Content-Type", "application/json");
    client.call(request.body(b"{\"id\": \"\xff\"}".to_vec())).await.problem(400, "invalid_request");
}

#[tokio::test]
async fn a_body_has_at_most_a_mebibyte() {
    let server = Server::start().await;
    let client = &server.client;
    let padded = |bytes: usize| {
        let head = r#"{"id":"a","padding":""#;
        format!("{head}{}\"}}", "x".repeat(bytes - head.len() - 2))
    };
    let post = |body: String| {
        client.request(Method::POST, "/api/agents").header("Content-Type", "application/json").body(body)
    };
    assert_eq!(client.call(post(padded(1 << 20))).await.status, 201);
    // The answer is there for whoever is still sending, too.
    for more in [1, 1 << 20, 7 << 20] {
        client.call(post(padded((1 << 20) + more))).await.problem(413, "body_too_large");
    }
    // Without a length, the relay finds out while it reads.
    let (half, rest) = ("x".repeat(1 << 19), "x".repeat((1 << 19) + 1));
    let chunk = |text: &str| format!("{:x}\r\n{text}\r\n", text.len());
    let head = "POST /api/agents HTTP/1.1\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n";
    let answer = exchange(client, head, &format!("{}{}0\r\n\r\n", chunk(&half), chunk(&rest))).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
}

#[tokio::test]
async fn what_is_not_known_is_ignored_where_nothing_depends_on_it() {
    let server = Server::start().await;
    let client = &server.client;
    client.post("/api/agents?foo=1", json!({"id": "a", "foo": 1})).await.expect::<Value>(201);
    client.post("/api/messages", json!({"from": "a", "to": "b", "body": "1", "Body": "2"})).await.expect::<Value>(201);
    client.get("/api/messages?foo=1&for=b").await.expect::<Value>(200);
    client.patch("/api/agents/a/ready", json!({"ready": true, "foo": {}})).await.expect::<Value>(200);
    // A misspelt field of a control request must never mean something wider.
    let misspelt = json!({"action": "shutdown", "agentID": "a"});
    client.post("/api/agents/a/actions", misspelt).await.problem(400, "invalid_request");
}
