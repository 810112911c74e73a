//! Waiting: it ends, takes nothing away, and holds nothing for who is gone.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use super::{Caller, TOKEN, request};
use crate::server::{Server, eventually};

const NOTHING: &str = "Nothing yet. Call wait again.";

#[tokio::test]
async fn who_waits_is_told_as_soon_as_there_is_something() {
    let server = Server::start_with_token(TOKEN).await;
    let admin = &server.client;
    let ada = Caller::new(admin, "ada").await;
    assert_eq!(ada.say("wait", json!({"seconds": 0})).await, NOTHING);
    let waiting = async { ada.say("wait", json!({"seconds": 300})).await };
    let sending = async {
        eventually("the wait", async || (streams(admin).await > 0).then_some(())).await;
        admin.say("x", "ada", "news").await
    };
    let (told, message) = tokio::join!(waiting, sending);
    assert!(told.starts_with(&format!("message {} from \"x\"", message.id)) && told.contains("> news"), "{told}");
    // It is still there: the answer may never have come to whoever asked.
    assert!(ada.say("wait", json!({})).await.contains("> news"));
    assert_eq!(ada.say("wait", json!({"seconds": 0, "since": message.id})).await, NOTHING);
    assert_eq!(admin.messages("for=ada").await[0].read_count, 0);
    ada.say("read", json!({"id": message.id})).await;
    assert_eq!(ada.say("wait", json!({"seconds": 0})).await, NOTHING);
}

#[tokio::test]
async fn work_that_somebody_holds_wakes_nobody() {
    let server = Server::start_with_token(TOKEN).await;
    let admin = &server.client;
    let (ada, bob) = (Caller::new(admin, "ada").await, Caller::new(admin, "bob").await);
    for id in ["ada", "bob"] {
        admin.patch(&format!("/api/agents/{id}/tags"), json!({"tags": ["team"]})).await.expect::<Value>(200);
    }
    let work = admin.send(json!({"from": "x", "to": "tag:team", "body": "do it", "claimable": true})).await.id;
    assert!(ada.say("wait", json!({"seconds": 0})).await.contains("> do it"));
    bob.say("claim", json!({"id": work})).await;
    assert_eq!(ada.say("wait", json!({"seconds": 0})).await, NOTHING);
    assert_eq!(bob.say("wait", json!({"seconds": 0})).await, NOTHING, "it is held already");
    // What comes after it does.
    let waiting = async { ada.say("wait", json!({})).await };
    let sending = async {
        eventually("the wait", async || (streams(admin).await > 0).then_some(())).await;
        admin.say("x", "ada", "news").await
    };
    assert!(tokio::join!(waiting, sending).0.contains("> news"));
}

/// How many wait, as the relay counts them.
pub(super) async fn streams(admin: &crate::server::Client) -> u64 {
    let stats: Value = admin.get("/api/stats").await.expect(200);
    stats["streams"].as_u64().unwrap_or_else(|| panic!("no streams in {stats}"))
}

#[tokio::test]
async fn nothing_is_held_for_a_client_that_is_gone() {
    let server = Server::start_with_token(TOKEN).await;
    let admin = &server.client;
    let ada = Caller::new(admin, "ada").await;
    let call = request("tools/call", json!({"name": "wait"})).to_string();
    let head = format!(
        "POST /mcp HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{call}",
        admin.address(),
        ada.token,
        call.len()
    );
    let mut sockets = Vec::new();
    for count in 1..=4 {
        let mut socket = TcpStream::connect(admin.address()).await.expect("a connection");
        socket.write_all(head.as_bytes()).await.expect("a request");
        sockets.push(socket);
        eventually("one more waits", async || (streams(admin).await == count).then_some(())).await;
    }
    let refused = ada.fails("wait", json!({"seconds": 0})).await;
    assert_eq!(refused, "4 of your calls wait already. Let one of them end first; one is enough.");
    let bob = Caller::new(admin, "bob").await;
    bob.say("wait", json!({"seconds": 0})).await;
    drop(sockets);
    eventually("they are given up", async || (streams(admin).await == 0).then_some(())).await;
    // What came for them is for whoever asks next.
    admin.say("x", "ada", "not lost").await;
    assert!(ada.say("wait", json!({"seconds": 0})).await.contains("> not lost"));
}

#[tokio::test]
async fn a_wait_ends_when_the_relay_does_and_the_next_relay_needs_no_hello() {
    let server = Server::start_with_token(TOKEN).await;
    let ada = Caller::new(&server.client, "ada").await;
    let admin = server.client.clone();
    let waiting = tokio::spawn({
        let ada = ada.clone();
        async move { ada.say("wait", json!({})).await }
    });
    eventually("the wait", async || (streams(&admin).await == 1).then_some(())).await;
    let home = tokio::task::spawn_blocking(move || server.stop()).await.expect("an end");
    assert_eq!(
        tokio::time::timeout(Duration::from_secs(30), waiting).await.expect("in time").expect("an answer"),
        NOTHING
    );

    let secret = agent_relay::config::Secret::parse("test", TOKEN).expect("a token");
    let next = Server::start_in(home, |config| config.token = Some(secret)).await;
    let client = next.client.with_token(Some(&ada.token));
    // As a client that knows nothing of what happened goes on.
    let mut call = client.request(Method::POST, "/mcp").json(&request("tools/call", json!({"name": "whoami"})));
    for (name, value) in [("Mcp-Session-Id", "of-the-earlier-relay"), ("MCP-Protocol-Version", "2025-06-18")] {
        call = call.header(name, value);
    }
    let body: Value = client.call(call).await.expect(200);
    assert!(
        body["result"]["content"][0]["text"].as_str().is_some_and(|text| text.starts_with("You are \"ada\"")),
        "{body}"
    );
}
