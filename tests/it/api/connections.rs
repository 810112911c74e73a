//! Connections that hold up: what is too much, too slow or not taken is ended, and others are served.

use std::time::Duration;

use agent_relay::config::Config;
use agent_relay::domain::message::Message;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use crate::server::{Client, PATIENCE, Server, eventually};

/// Long enough for what takes no time, and soon over.
const SHORT: Duration = Duration::from_millis(300);
const BODY_BYTES: usize = 256 * 1024;
/// The bound of a page, with room for its one entry that may be larger.
const PAGE_BYTES_MAX: usize = 2 << 20;

/// A connection that has sent this and reads next to nothing by itself.
async fn send(client: &Client, bytes: &[u8]) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4_096).expect("a small buffer");
    let mut socket = socket.connect(client.address().parse().expect("an address")).await.expect("a connection");
    socket.write_all(bytes).await.expect("a request");
    socket
}

async fn ask(client: &Client, path: &str) -> TcpStream {
    send(client, format!("GET {path} HTTP/1.1\r\nHost: {}\r\n\r\n", client.address()).as_bytes()).await
}

/// What comes until the relay hangs up.
async fn rest(socket: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    timeout(PATIENCE, socket.read_to_end(&mut bytes)).await.expect("an end in time").expect("an end");
    String::from_utf8(bytes).expect("text")
}

/// Waits until the relay hangs up on somebody who reads nothing: what is sent then goes nowhere.
async fn hung_up(what: &str, socket: &TcpStream) {
    eventually(what, async || socket.try_write(b"x").is_err().then_some(())).await;
}

/// The problem in an answer as it went over the wire.
fn problem(answer: &str, status: u16, code: &str) -> Value {
    assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    assert!(head.contains("content-type: application/problem+json"), "{answer}");
    assert!(head.contains(&format!("content-length: {}", body.len())), "{answer}");
    let problem: Value = serde_json::from_str(body).expect("JSON");
    assert_eq!((problem["code"].as_str(), problem["status"].as_u64()), (Some(code), Some(status.into())), "{answer}");
    let id = problem["requestId"].as_str().expect("an id");
    assert!(!id.is_empty() && head.contains(&format!("x-request-id: {id}")), "{answer}");
    assert!(problem["next"].as_str().is_some_and(|next| !next.is_empty()), "{answer}");
    problem
}

async fn fill(client: &Client, messages: usize) {
    for _ in 0..messages {
        client.say("x", "y", &"x".repeat(BODY_BYTES)).await;
    }
}

fn with_limits(change: impl FnOnce(&mut agent_relay::http::Limits)) -> impl FnOnce(&mut Config) {
    move |config| change(&mut config.limits.http)
}

#[tokio::test]
async fn a_page_ends_before_it_has_too_many_bytes_and_the_next_one_goes_on() {
    let server = Server::start().await;
    let client = &server.client;
    fill(client, 11).await;
    let first = client.messages("for=y&limit=1").await.remove(0);
    client.register(json!({"id": "z"})).await;
    for _ in 0..10 {
        let reply = json!({"from": "x", "to": "y", "body": "x".repeat(BODY_BYTES), "replyTo": first.id});
        client.send(reply).await;
    }
    let thread = format!("/api/messages/{}/thread?limit=1000", first.id);
    for (path, count) in [
        ("/api/messages?limit=1000", 21),
        ("/api/messages?for=y&unread=true&limit=1000", 21),
        (thread.as_str(), 11),
        ("/api/events/log?types=message.new&limit=1000", 21),
    ] {
        let (mut seen, mut pages, mut next) = (Vec::new(), 0, Some(path.to_owned()));
        while let Some(path) = next {
            let answer = client.get(&path).await;
            assert!(answer.text.len() <= PAGE_BYTES_MAX + 2_000, "{path}: {} bytes", answer.text.len());
            next = answer.next_page();
            let entries: Vec<Value> = answer.expect(200);
            assert!(!entries.is_empty() || next.is_none(), "{path}: an empty page that is not the last");
            seen.extend(entries.iter().map(|entry| entry.get("data").unwrap_or(entry)["id"].as_i64().expect("an id")));
            pages += 1;
        }
        assert!(pages > 1, "{path}: one page");
        assert!(seen.is_sorted_by(|one, other| one < other), "{path}: {seen:?}");
        assert_eq!(seen.len(), count, "{path}");
    }
}

#[tokio::test]
async fn an_answer_that_nobody_reads_is_ended() {
    let server = Server::start_with(with_limits(|limits| limits.stall = SHORT)).await;
    // More than the sockets of both sides take.
    fill(&server.client, 8).await;
    let socket = ask(&server.client, "/api/messages?for=y&limit=1000").await;
    hung_up("an answer that is not read", &socket).await;
    server.client.get("/api/messages?for=y&limit=1000").await.expect::<Vec<Message>>(200);
}

#[tokio::test]
async fn a_stream_that_nobody_reads_is_ended_and_one_that_has_nothing_to_read_is_not() {
    let server = Server::start_with(with_limits(|limits| limits.stall = SHORT)).await;
    let client = &server.client;
    let mut idle = client.follow("agent=idle").await;
    let socket = ask(client, "/api/events?agent=y").await;
    eventually("a stream", async || {
        let stats: Value = client.get("/api/stats").await.expect(200);
        (stats["streams"] == 2).then_some(())
    })
    .await;
    fill(client, 40).await;
    hung_up("a stream that is not read", &socket).await;
    client.say("x", "idle", "still there").await;
    assert_eq!(idle.next_event("message.new").await.text("body"), "still there");
}

#[tokio::test]
async fn a_request_that_does_not_come_to_its_end_is_ended() {
    let slow = |limits: &mut agent_relay::http::Limits| (limits.head, limits.request) = (SHORT, SHORT);
    let server = Server::start_with(with_limits(slow)).await;
    let client = &server.client;
    let mut head = send(client, b"GET /livez HTTP/1.1\r\nHost: localhost\r\nX-More:").await;
    problem(&rest(&mut head).await, 408, "head_too_slow");
    let body = b"POST /api/agents HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
        Content-Length: 100\r\n\r\n{\"id\":";
    let mut body = send(client, body).await;
    problem(&rest(&mut body).await, 408, "body_too_slow");
    let chunked = b"POST /api/agents HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
        Transfer-Encoding: chunked\r\n\r\n5\r\n{\"id\"\r\n";
    let mut chunked = send(client, chunked).await;
    problem(&rest(&mut chunked).await, 408, "body_too_slow");
    // Who says nothing is not told anything either.
    let mut silent = send(client, b"").await;
    assert_eq!(rest(&mut silent).await, "");
}

#[tokio::test]
async fn what_is_no_request_is_refused_in_the_same_form_as_any_other() {
    let server = Server::start().await;
    let client = &server.client;
    let head = |more: &str| format!("GET /livez HTTP/1.1\r\nHost: localhost\r\n{more}\r\n\r\n");
    let long = "x".repeat(40_000);
    for (sent, status, code) in [
        ("nonsense\r\n\r\n".to_owned(), 400, "malformed_request"),
        ("\u{16}\u{3}\u{1}\u{2}\r\n\r\n".to_owned(), 400, "malformed_request"),
        ("GET /livez HTTP/9.9\r\n\r\n".to_owned(), 400, "malformed_request"),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(), 400, "malformed_request"),
        (head("no colon"), 400, "malformed_request"),
        (head("X: a\u{0}b"), 400, "malformed_request"),
        (head("Content-Length: 1\r\nContent-Length: 2"), 400, "malformed_request"),
        (head(&format!("X: {long}")), 431, "head_too_large"),
        (head(&"X: y\r\n".repeat(101)), 431, "head_too_large"),
        (
            format!("GET /{} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", &long[..20_000]),
            414,
            "uri_too_long",
        ),
    ] {
        let mut socket = send(client, sent.as_bytes()).await;
        problem(&rest(&mut socket).await, status, code);
    }
    // At the bound, all is well.
    let most = format!("X: {}\r\nConnection: close", &long[..32_000]);
    let mut socket = send(client, head(&most).as_bytes()).await;
    assert!(rest(&mut socket).await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn when_all_connections_are_in_use_whoever_waits_longest_goes_and_health_is_always_told() {
    let few = |limits: &mut agent_relay::http::Limits| limits.connections = 8;
    let server = Server::start_with(with_limits(few)).await;
    let client = &server.client;
    let mut waiting = Vec::new();
    for _ in 0..8 {
        waiting.push(send(client, b"POST /api/agents HTTP/1.1\r\nHost: localhost\r\nContent-Le").await);
    }
    let alive = async || {
        let mut socket = send(client, b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await;
        let answer = rest(&mut socket).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    };
    alive().await;
    let ended = eventually("one goes", async || {
        let mut ended = 0;
        for socket in &waiting {
            ended += usize::from(matches!(socket.try_read(&mut [0]), Ok(0)));
        }
        (ended > 0).then_some(ended)
    })
    .await;
    assert!(ended < 8, "not all of them");
    drop(waiting);

    // Streams do not go for others: then there is a way in for those who ask how the relay is.
    let mut streams = Vec::new();
    for _ in 0..8 {
        let mut socket = ask(client, "/api/events").await;
        let mut head = [0; 12];
        timeout(PATIENCE, socket.read_exact(&mut head)).await.expect("in time").expect("a head");
        assert_eq!(&head, b"HTTP/1.1 200");
        streams.push(socket);
    }
    alive().await;
    let mut other = send(client, b"GET /api/agents HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    problem(&rest(&mut other).await, 503, "too_many_connections");
    drop(streams);
    eventually("a place again", async || {
        let mut socket =
            send(client, b"GET /api/agents HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await;
        rest(&mut socket).await.starts_with("HTTP/1.1 200 ").then_some(())
    })
    .await;
}

#[tokio::test]
async fn beyond_the_limit_no_stream_is_opened() {
    let server = Server::start_with(|config| config.limits.streams = 1).await;
    let first = server.client.follow("").await;
    let refused = server.client.get("/api/events").await;
    assert!(refused.header("retry-after").is_some(), "{refused:?}");
    refused.problem(503, "too_many_streams");
    drop(first);
    eventually("a place for a stream", async || {
        let log = server.client.get("/api/events/log").await;
        (log.status == 200).then_some(())
    })
    .await;
}

#[tokio::test]
async fn one_address_does_not_have_all_connections() {
    let few = |limits: &mut agent_relay::http::Limits| limits.connections_per_address = 2;
    let server = Server::start_with(with_limits(few)).await;
    let client = &server.client;
    let (mut first, mut second) = (send(client, b"").await, send(client, b"").await);
    let mut third = send(client, b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await;
    assert!(rest(&mut third).await.starts_with("HTTP/1.1 200 "));
    let gone = tokio::select! {
        gone = rest(&mut first) => gone,
        gone = rest(&mut second) => gone,
    };
    assert_eq!(gone, "", "one of those that wait goes");
}

#[tokio::test]
async fn who_keeps_memory_without_reading_goes_for_others() {
    let little = |limits: &mut agent_relay::http::Limits| limits.buffers_bytes = 4 << 20;
    let server = Server::start_with(with_limits(little)).await;
    let client = &server.client;
    fill(client, 8).await;
    let mut unread = Vec::new();
    for _ in 0..4 {
        unread.push(ask(client, "/api/messages?for=y&limit=1000").await);
    }
    // Bodies take part: one of a mebibyte that does not come.
    let head = "POST /api/messages HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
        Content-Length: 1048576\r\n\r\n";
    for _ in 0..4 {
        unread.push(send(client, head.as_bytes()).await);
    }
    let page = eventually("an answer for one who reads", async || {
        let answer = client.get("/api/messages?for=y&limit=1000").await;
        (answer.status == 200).then_some(answer)
    })
    .await;
    assert!(page.expect::<Vec<Message>>(200).len() > 1);
    client.say("x", "y", &"x".repeat(BODY_BYTES)).await;
}
