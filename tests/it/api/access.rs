//! Who may call: on loopback, with the administrator's token, and with tokens that are bound.

mod rates;
mod tokens;

use std::process::Stdio;

use agent_relay::domain::activity::Activity;
use agent_relay::domain::message::Message;
use agent_relay::domain::time::Timestamp;
use reqwest::Method;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::program::program;
use crate::server::{Client, Server, database, eventually};

pub(super) const TOKEN: &str = "ar_the-administrator";

#[tokio::test]
async fn without_a_token_only_names_of_this_machine_are_answered() {
    let server = Server::start().await;
    let client = &server.client;
    let port = client.address().rsplit_once(':').expect("a port").1;
    for (host, good) in [
        (format!("localhost:{port}"), true),
        (format!("LocalHost:{port}"), true),
        ("127.0.0.1".to_owned(), true),
        (format!("[::1]:{port}"), true),
        (format!("evil.example:{port}"), false),
        (format!("localhost.evil.example:{port}"), false),
        (format!("127.0.0.2:{port}"), false),
        ("[::2]".to_owned(), false),
    ] {
        for path in ["/api/agents", "/livez", "/nowhere"] {
            let answer = client.call(client.request(Method::GET, path).header("Host", &host)).await;
            if good {
                assert_ne!(answer.status, 421, "{host}");
            } else {
                answer.problem(421, "wrong_host");
            }
        }
    }
}

#[tokio::test]
async fn without_a_token_no_foreign_page_changes_anything() {
    let server = Server::start().await;
    let client = &server.client;
    let own = client.base.clone();
    let other_port = format!("http://{}:1", client.address().split(':').next().expect("a host"));
    let card = json!({"id": "a"});
    for origin in ["https://evil.example", "null", &other_port, &own.replace("http:", "https:"), "http://localhost", ""]
    {
        for (method, path) in
            [(Method::POST, "/api/agents"), (Method::DELETE, "/api/agents/a"), (Method::PATCH, "/api/agents/a/status")]
        {
            let request = client.request(method, path).header("Origin", origin).json(&card);
            client.call(request).await.problem(403, "foreign_origin");
        }
        let read = client.call(client.request(Method::GET, "/api/agents").header("Origin", origin)).await;
        assert!(read.headers.keys().all(|name| !name.as_str().starts_with("access-control-")), "{read:?}");
        assert_eq!(read.expect::<Vec<Value>>(200).len(), 2, "it may ask, its browser will not let it read");
    }
    let request = client.request(Method::POST, "/api/agents").header("Origin", &own).json(&card);
    client.call(request).await.expect::<Value>(201);
}

#[tokio::test]
async fn with_a_token_everything_but_a_few_routes_needs_it() {
    let server = Server::start_with_token(TOKEN).await;
    let client = &server.client;
    let stranger = client.with_token(None);
    for path in ["/livez", "/readyz", "/api/health", "/api/spec"] {
        assert_eq!(stranger.get(path).await.status, 200, "{path}");
    }
    let closed = ["/api/agents", "/api/messages", "/api/events", "/api/stats", "/metrics", "/api/activity", "/nowhere"];
    for path in closed {
        for bad in [None, Some("x"), Some(&TOKEN[1..]), Some("ar_the-administrator2")] {
            let answer = client.with_token(bad).get(path).await;
            let challenge = answer.header("www-authenticate").expect("a challenge");
            assert!(challenge.starts_with("Bearer"), "{challenge}");
            answer.problem(401, "unauthorized");
        }
    }
    for (name, value) in [
        ("Authorization", format!("Bearer {TOKEN}")),
        ("Authorization", format!("bearer  {TOKEN} ")),
        ("X-Agent-Relay-Token", TOKEN.to_owned()),
    ] {
        let request = stranger.request(Method::GET, "/api/agents").header(name, value);
        stranger.call(request).await.expect::<Value>(200);
    }
    for value in ["Basic ar_the-administrator", "Bearer", "Bearer ", TOKEN] {
        let request = stranger.request(Method::GET, "/api/agents").header("Authorization", value);
        stranger.call(request).await.problem(401, "unauthorized");
    }
    // A page cannot know the token, so where it comes from and what it calls us no longer matters.
    let request = client.request(Method::POST, "/api/agents").header("Origin", "https://evil.example");
    let request = request.header("Host", "relay.example").json(&json!({"id": "a"}));
    client.call(request).await.expect::<Value>(201);
}

#[tokio::test]
async fn a_refused_credential_is_written_down_without_it() {
    let server = Server::start_with_token(TOKEN).await;
    let client = &server.client;
    client.with_token(Some("a-wrong-token")).get("/api/agents").await.problem(401, "unauthorized");
    let entry = eventually("the refusal is written down", async || {
        client.get("/api/activity?kind=security").await.expect::<Vec<Activity>>(200).pop()
    })
    .await;
    assert_eq!(entry.title, "Credential refused");
    assert!(!serde_json::to_string(&entry).expect("JSON").contains("a-wrong-token"));
}

#[tokio::test]
async fn a_ticket_opens_one_stream_once() {
    let server = Server::start_with_token(TOKEN).await;
    let client = &server.client;
    let browser = client.with_token(None);
    browser.post("/api/events/ticket", json!({})).await.problem(401, "unauthorized");
    let made: Value = client.post("/api/events/ticket", json!({})).await.expect(201);
    let ticket = made["ticket"].as_str().expect("a ticket");
    for other in ["/api/agents", "/api/events/log", "/api/messages"] {
        browser.get(&format!("{other}?ticket={ticket}")).await.problem(401, "unauthorized");
    }
    let mut stream = browser.follow(&format!("ticket={ticket}&types=message.new")).await;
    client.say("a", "b", "1").await;
    assert_eq!(stream.next().await.text("body"), "1");
    browser.get(&format!("/api/events?ticket={ticket}")).await.problem(401, "unauthorized");
    browser.get("/api/events?ticket=art_made-up").await.problem(401, "unauthorized");
}

#[tokio::test]
async fn a_ticket_is_told_once_under_its_key() {
    let server = Server::start_with_token(TOKEN).await;
    let client = &server.client;
    let ask =
        async |key: &str| client.call(client.request(Method::POST, "/api/events/ticket").idempotency_key(key)).await;
    let first: Value = ask("k").await.expect(201);
    assert!(first["ticket"].is_string() && first["next"].is_null());
    let again = ask("k").await;
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    let again: Value = again.expect(200);
    assert!(again["ticket"].is_null() && again["next"].is_string(), "{again}");
    assert!(ask("other").await.expect::<Value>(201)["ticket"].is_string());
}

#[tokio::test]
async fn nobody_is_called_what_looks_like_the_human_or_the_relay() {
    let server = Server::start().await;
    let client = &server.client;
    for id in ["User", "SYSTEM", "us\u{200b}er", "u\u{455}er", "\u{ff55}\u{ff53}\u{ff45}\u{ff52}", "systern"] {
        client.post("/api/agents", json!({"id": id})).await.problem(400, "reserved_id");
        client.post("/api/messages", json!({"from": id, "to": "a", "body": "b"})).await.problem(400, "reserved_id");
    }
    client.register_all(&["users", "superuser", "alice"]).await;
    client.say("user", "alice", "from the human").await;
}

/// A relay with tokens beside the administrator's, and clients that send them.
pub(super) async fn with_tokens<const N: usize>(tokens: [(&str, Option<&str>, i64); N]) -> (Server, [Client; N]) {
    let home = Server::start_with_token(TOKEN).await.stop();
    let database = rusqlite::Connection::open(database(&home)).expect("the database");
    for (index, (scopes, agent, expires_at)) in tokens.iter().enumerate() {
        let hash = Sha256::digest(format!("token-{index}"));
        database
            .execute(
                "INSERT INTO tokens (name, hash, scopes, agent_id, expires_at, created_at) VALUES (?1, ?2, ?3, ?4, ?5, 0)",
                rusqlite::params![format!("name-{index}"), &hash[..], scopes, agent, expires_at],
            )
            .expect("a token");
    }
    drop(database);
    let secret = agent_relay::config::Secret::parse("test", TOKEN).expect("a token");
    let server = Server::start_in(home, |config| config.token = Some(secret)).await;
    let clients = std::array::from_fn(|index| server.client.with_token(Some(&format!("token-{index}"))));
    (server, clients)
}

#[tokio::test]
async fn a_bound_token_acts_as_its_agent_and_no_other() {
    let later = (Timestamp::now() + 3_600_000).as_ms();
    let (server, [ada]) = with_tokens([("agent", Some("ada"), later)]).await;
    let admin = &server.client;
    admin.register_all(&["bob"]).await;
    ada.post("/api/agents", json!({"id": "bob"})).await.problem(403, "wrong_identity");
    ada.register(json!({"id": "ada"})).await;
    let sent: Message = ada.post("/api/messages", json!({"to": "bob", "body": "hi"})).await.expect(201);
    assert_eq!(sent.from, "ada", "who it is need not be said");
    let work = admin.send(json!({"from": "x", "to": "bob", "body": "work", "claimable": true})).await;

    for (path, body) in [
        ("/api/messages".to_owned(), json!({"from": "bob", "to": "x", "body": "b"})),
        ("/api/agents/bob/heartbeat".to_owned(), json!({})),
        (format!("/api/messages/{}/read", work.id), json!({"agentId": "bob"})),
        (format!("/api/messages/{}/claim", work.id), json!({"agentId": "bob"})),
    ] {
        ada.post(&path, body).await.problem(403, "wrong_identity");
    }
    ada.patch("/api/agents/bob/status", json!({"status": "busy"})).await.problem(403, "wrong_identity");
    ada.delete("/api/agents/bob").await.problem(403, "wrong_identity");
    for path in ["/api/messages?for=bob", "/api/events?agent=bob", "/api/events/log?agent=bob"] {
        ada.get(path).await.problem(403, "wrong_identity");
    }
    assert_eq!(ada.get(&format!("/api/messages/{}", work.id)).await.status, 403, "what does not reach it");
    ada.get(&format!("/api/messages/{}", sent.id)).await.expect::<Message>(200);
    ada.delete(&format!("/api/messages/{}", work.id)).await.problem(403, "not_allowed");

    let mut stream = ada.follow("types=message.new").await;
    admin.say("x", "bob", "not hers").await;
    admin.say("x", "ada", "hers").await;
    assert_eq!(stream.next().await.text("body"), "hers", "its stream is its agent's");
    ada.post("/api/messages", json!({"to": "x", "body": "b", "type": "system"})).await.problem(403, "not_allowed");
}

#[tokio::test]
async fn a_token_opens_what_its_scopes_say() {
    let later = (Timestamp::now() + 3_600_000).as_ms();
    let (server, [read, send, metrics, expired]) =
        with_tokens([("read", None, later), ("send", None, later), ("metrics", None, later), ("admin", None, 1)]).await;
    expired.get("/api/agents").await.problem(401, "unauthorized");
    let message = json!({"from": "a", "to": "b", "body": "1"});
    read.get("/api/messages").await.expect::<Value>(200);
    for (path, body) in [("/api/messages", message.clone()), ("/api/agents", json!({"id": "a"}))] {
        read.post(path, body).await.problem(403, "not_allowed");
    }
    for path in ["/api/system/reap", "/api/system/broadcast"] {
        for client in [&read, &send, &metrics] {
            client.post(path, json!({"body": "x"})).await.problem(403, "not_allowed");
        }
    }
    send.post("/api/messages", message.clone()).await.expect::<Message>(201);
    for path in ["/api/messages", "/api/agents", "/api/events", "/api/activity", "/metrics"] {
        send.get(path).await.problem(403, "not_allowed");
    }
    assert_eq!(metrics.get("/metrics").await.status, 200);
    metrics.get("/api/messages").await.problem(403, "not_allowed");
    metrics.post("/api/messages", message).await.problem(403, "not_allowed");
    let human = json!({"from": "user", "to": "b", "body": "1"});
    send.post("/api/messages", human.clone()).await.problem(403, "not_allowed");
    server.client.post("/api/messages", human).await.expect::<Message>(201);
}

#[tokio::test]
async fn a_key_belongs_to_its_caller() {
    let later = (Timestamp::now() + 3_600_000).as_ms();
    let (server, [ada, bob]) = with_tokens([("agent", Some("ada"), later), ("agent", Some("bob"), later)]).await;
    for (client, from) in [(&ada, "ada"), (&bob, "bob"), (&server.client, "user")] {
        for status in [201, 200] {
            let request = client.request(Method::POST, "/api/messages").header("Idempotency-Key", "k");
            let sent: Message =
                client.call(request.json(&json!({"from": from, "to": "x", "body": "1"}))).await.expect(status);
            assert_eq!(sent.from, from, "nobody is answered with another's message");
        }
    }
}

#[test]
fn without_a_token_no_other_address_is_served() {
    let home = tempfile::tempdir().expect("a temporary directory");
    for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:0"] {
        let output = program(home.path())
            .args(["serve", "--listen", address])
            .stderr(Stdio::piped())
            .output()
            .expect("the program");
        let log = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{log}");
        assert!(log.contains("AGENT_RELAY_TOKEN"), "{log}");
        assert!(output.stdout.is_empty(), "nothing is announced");
    }
}

#[tokio::test]
async fn an_agent_tells_of_itself_and_not_of_what_is_decided() {
    let later = (Timestamp::now() + 3_600_000).as_ms();
    let (server, [ada, sender]) = with_tokens([("agent", Some("ada"), later), ("send", None, later)]).await;
    let entry =
        |id: &str, kind: &str, agent: &str| json!({"clientId": id, "kind": kind, "title": "t", "agentId": agent});
    for kind in ["control", "plugin", "security"] {
        for client in [&ada, &sender] {
            client.post("/api/activity", entry("forged", kind, "ada")).await.problem(403, "not_allowed");
        }
        server.client.post("/api/activity", entry(kind, kind, "bob")).await.expect::<Activity>(201);
    }
    ada.post("/api/activity", entry("forged", "state", "bob")).await.problem(403, "wrong_identity");
    ada.post("/api/activity", entry("hers", "state", "ada")).await.expect::<Activity>(201);
    sender.post("/api/activity", entry("anybody's", "state", "bob")).await.expect::<Activity>(201);
    let forged = server.client.activity("").await.into_iter().filter(|entry| entry.client_id == "forged").count();
    assert_eq!(forged, 0);
}

/// What one reader takes for this host and another for a stranger.
#[tokio::test]
async fn whom_a_request_is_for_is_said_once() {
    let server = Server::start().await;
    let address = server.client.address().to_owned();
    let local = format!("Host: {address}");
    for (target, headers, status) in [
        ("/api/agents".to_owned(), vec![local.clone()], "200"),
        (format!("http://{address}/api/agents"), vec![local.clone()], "200"),
        ("http://evil.example/api/agents".to_owned(), vec![local.clone()], "421"),
        ("/api/agents".to_owned(), vec![local.clone(), "Host: evil.example".to_owned()], "400"),
        (
            "/api/agents".to_owned(),
            vec![local.clone(), format!("Origin: http://{address}"), "Origin: http://evil.example".to_owned()],
            "400",
        ),
    ] {
        let mut stream = TcpStream::connect(&address).await.expect("a connection");
        let request = format!("GET {target} HTTP/1.1\r\n{}\r\nConnection: close\r\n\r\n", headers.join("\r\n"));
        stream.write_all(request.as_bytes()).await.expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("an answer");
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{target} {headers:?}: {answer}");
    }
}
