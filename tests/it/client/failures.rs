//! What is said when there is no answer, or none that can be used.

use std::time::Duration;

use agent_relay::client::events::EventFilter;
use agent_relay::client::stream::Received;
use agent_relay::client::{Client, Credential, Error, Method, Options};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::server::Server;

const TOKEN: &str = "ar_the-administrator";

fn client(url: &str) -> Client {
    Client::new(Options::new(url)).expect("a client")
}

/// A server that answers each connection with these bytes and closes it.
async fn answering(answer: impl Into<Vec<u8>>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let answer = answer.into();
    tokio::spawn(async move {
        while let Ok((mut connection, _)) = listener.accept().await {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n")
                && let Ok(byte) = connection.read_u8().await
            {
                head.push(byte);
            }
            // A client that has seen enough is gone before the end.
            let _ = connection.write_all(&answer).await;
        }
    });
    url
}

fn response(status: &str, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n{headers}\r\n{body}", body.len())
}

#[tokio::test]
async fn nobody_there_is_told_with_what_to_do() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    // It listens, and never answers.
    let hasty = Client::new(Options { timeout: Duration::from_millis(50), ..Options::new(&url) }).expect("a client");
    let error = hasty.system().health().send().await.expect_err("no answer");
    assert!(matches!(&error, Error::Timeout { address, .. } if *address == url), "{error:?}");
    assert!(error.is_transient());
    let error = hasty.events().follow(EventFilter::default()).next().await.expect_err("no answer");
    assert!(matches!(error, Error::Timeout { .. }), "{error:?}");
    drop(listener);
    let error = client(&url).system().health().send().await.expect_err("nobody");
    assert!(matches!(&error, Error::Unreachable { address, .. } if *address == url), "{error:?}");
    assert!(error.is_transient() && error.to_string().contains("agent-relay serve"), "{error}");
    let error = client(&url).events().follow(EventFilter::default()).next().await.expect_err("nobody");
    assert!(matches!(error, Error::Unreachable { .. }), "the first connection is not waited for: {error:?}");
}

#[tokio::test]
async fn the_token_opens_and_a_wrong_one_is_refused() {
    let server = Server::start_with_token(TOKEN).await;
    let relay = &server.client.relay;
    relay.plugins().list().send().await.expect("the administrator");
    for credential in [None, Some(Credential::parse("ar_another").expect("a token"))] {
        let stranger = relay.with_credential(credential);
        let error = stranger.plugins().list().send().await.expect_err("a stranger");
        assert!(error.is("unauthorized") && !error.is_transient(), "{error}");
        let mut stream = stranger.events().follow(EventFilter::default());
        assert!(stream.next().await.expect_err("a stranger").is("unauthorized"));
        assert!(stranger.system().is_ready().await.expect("open to everybody"));
    }
}

#[tokio::test]
async fn what_cannot_be_sent_is_said_before_it_is() {
    let client = client("http://127.0.0.1:1");
    let unsendable = |error: Error| matches!(error, Error::Unsendable(_));
    let key = client.system().reap().idempotency_key("a\nb").send().await;
    assert!(key.is_err_and(unsendable), "a header of two lines");
    let key = client.request::<Value>(Method::GET, "/").header("a b", "c").send().await;
    assert!(key.is_err_and(unsendable), "a header without a name");
}

#[tokio::test]
async fn an_answer_that_is_none_is_malformed() {
    let malformed = async |answer: String| {
        let url = answering(answer).await;
        let error = client(&url).plugins().list().send().await.expect_err("no list");
        assert!(matches!(&error, Error::Malformed { address, .. } if *address == url), "{error:?}");
        assert!(!error.is_transient() && error.to_string().contains("is that a relay"), "{error}");
    };
    malformed(response("200 OK", "", "<html>")).await;
    malformed(response("200 OK", "", r#"{"not": "a list"}"#)).await;
    malformed(response("200 OK", "", &" ".repeat((64 << 20) + 1))).await;
    let url = answering(response("200 OK", "Content-Type: text/html\r\n", "<html>")).await;
    let error = client(&url).events().follow(EventFilter::default()).next().await.expect_err("no stream");
    assert!(matches!(error, Error::Malformed { .. }), "{error:?}");
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_no_answer() {
    let url = answering("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n[").await;
    let error = client(&url).plugins().list().send().await.expect_err("half an answer");
    assert!(matches!(error, Error::Interrupted { .. }) && error.is_transient(), "{error:?}");
}

#[tokio::test]
async fn a_refusal_without_details_still_says_where_and_what() {
    let url = answering(response("503 Service Unavailable", "Retry-After: 7\r\nX-Request-Id: r1\r\n", "busy")).await;
    let error = client(&url).plugins().list().send().await.expect_err("refused");
    let problem = error.problem().expect("a refusal");
    assert_eq!((problem.code.as_str(), problem.request_id.as_str()), ("", "r1"));
    assert_eq!(problem.retry_after, Some(Duration::from_secs(7)));
    assert!(error.is_transient());
    assert_eq!(error.to_string(), format!("the relay at {url} answered 503 Service Unavailable"));
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let trap = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let elsewhere = format!("Location: http://{}/\r\n", trap.local_addr().expect("an address"));
    let url = answering(response("307 Temporary Redirect", &elsewhere, "")).await;
    let credential = Some(Credential::parse(TOKEN).expect("a token"));
    let client = Client::new(Options { credential, ..Options::new(&url) }).expect("a client");
    let error = client.plugins().list().send().await.expect_err("a redirect");
    assert_eq!(error.problem().expect("a refusal").status.as_u16(), 307);
    let asked = tokio::time::timeout(Duration::from_millis(20), trap.accept()).await;
    assert!(asked.is_err(), "the token went elsewhere");
}

#[tokio::test]
async fn a_stream_that_begins_elsewhere_than_asked_has_a_gap() {
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n";
    let ready = "retry: 100\n\nevent: relay.ready\ndata: {\"from\": \"e-9\", \"latest\": \"e-9\"}\n\n";
    let event = "id: e-10\nevent: pair.split\ndata: {\"id\":1}\n\nid: e-11\nevent: pair.split\ndata: cut off";
    let url = answering([head, ready, event].concat()).await;
    let filter = EventFilter { since: Some("e-3".to_owned()), ..EventFilter::default() };
    let mut stream = client(&url).events().follow(filter);
    match stream.next().await.expect("a gap") {
        Received::Reset { reason, oldest } => assert_eq!((reason.as_str(), oldest), ("not_resumed", None)),
        other => panic!("{other:?}"),
    }
    assert!(matches!(stream.next().await.expect("ready"), Received::Ready { from, .. } if from == "e-9"));
    let Received::Event(event) = stream.next().await.expect("an event") else { panic!("an event") };
    assert_eq!((event.name.as_str(), event.kind(), event.data.get()), ("pair.split", None, "{\"id\":1}"));
    assert_eq!(stream.position(), Some("e-10"), "what was cut off was not received");
    match stream.next().await.expect("the end") {
        Received::Disconnected { retry_in, .. } => assert!(retry_in >= Duration::from_millis(100), "{retry_in:?}"),
        other => panic!("{other:?}"),
    }
    // And again, from there: a relay that forgets where it was asked to begin.
    assert!(matches!(stream.next().await.expect("a gap"), Received::Reset { .. }));
}

#[tokio::test]
async fn an_event_that_cannot_be_read_is_a_failure_and_no_loop() {
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n";
    let ready = "event: relay.ready\ndata: {\"from\": \"e-9\", \"latest\": \"e-9\"}\n\n";
    for broken in ["event: a\ndata: {\n\n".to_owned(), format!("data: {}", "x".repeat(5 << 20))] {
        let url = answering([head, ready, &broken].concat()).await;
        let mut stream = client(&url).events().follow(EventFilter::default());
        let mut received = Vec::new();
        let error = loop {
            match stream.next().await {
                Ok(other) => received.push(other),
                Err(error) => break error,
            }
        };
        assert!(matches!(error, Error::Malformed { .. }), "{error:?}");
        assert!(received.len() <= 1, "{received:?}");
    }
}
