//! The relay about itself: health, readiness, figures, maintenance, and its end.

mod clock;

use agent_relay::domain::activity::Activity;
use agent_relay::domain::message::{Message, MessageType};
use agent_relay::domain::time::Timestamp;
use reqwest::Method;
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::program::{Serving, program};
use crate::server::{Client, PATIENCE, Server, eventually, until};

#[tokio::test]
async fn health_names_each_part_it_looked_at() {
    let server = Server::start().await;
    let client = &server.client;
    let health: Value = client.get("/api/health").await.expect(200);
    assert_eq!(health["version"], env!("CARGO_PKG_VERSION"));
    assert!(health["uptimeMs"].is_u64());
    let checks = health["checks"].as_array().expect("checks");
    let mut worst = "ok";
    for check in checks {
        let status = check["status"].as_str().expect("a status");
        assert!(["ok", "warn", "error"].contains(&status), "{check}");
        assert!(check["name"].is_string() && check["detail"].is_string(), "{check}");
        if status != "ok" && worst != "error" {
            worst = status;
        }
    }
    assert_eq!(health["status"], worst, "{health}");
    for name in ["store", "writer", "disk", "log", "streams", "plugins", "clock"] {
        let check = checks.iter().find(|check| check["name"] == name).unwrap_or_else(|| panic!("no {name}: {health}"));
        assert_eq!(check["status"], "ok", "{health}");
    }
    for path in ["/livez", "/readyz"] {
        assert_eq!(client.get(path).await.status, 200, "{path}");
    }
}

#[tokio::test]
async fn while_it_drains_it_is_not_ready_and_finishes_what_it_began() {
    let server = Server::start_with(|config| config.limits.drain = PATIENCE).await;
    let client = &server.client;
    // A request that is not whole yet holds the drain until this test ends it.
    let mut socket = TcpStream::connect(client.address()).await.expect("a connection");
    let body = json!({"from": "a", "to": "b", "body": "last"}).to_string();
    let head = format!(
        "POST /api/messages HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
         Expect: 100-continue\r\n\r\n",
        client.address(),
        body.len()
    );
    socket.write_all(head.as_bytes()).await.expect("a head");
    // This is how it says that it waits for the rest.
    let mut go_on = [0; "HTTP/1.1 100 Continue\r\n\r\n".len()];
    timeout(PATIENCE, socket.read_exact(&mut go_on)).await.expect("in time").expect("an answer");
    assert_eq!(&go_on, b"HTTP/1.1 100 Continue\r\n\r\n");
    let waiting = client.clone();
    let poll = tokio::spawn(async move { waiting.get("/api/messages?for=nobody&wait=60").await.expect::<Value>(200) });
    eventually("the poll is waiting", async || {
        let stats: Value = client.get("/api/stats").await.expect(200);
        (stats["streams"] == 1).then_some(())
    })
    .await;

    server.drain();
    // As somebody new: a connection that was idle is closed by the drain, maybe just when a request is on its way.
    let client = client.with_token(None);
    let drained = eventually("readiness goes", async || {
        let ready = client.try_call(client.request(Method::GET, "/readyz")).await.ok()?;
        (ready.status == 503).then_some(ready)
    })
    .await;
    assert!(drained.header("retry-after").is_some());
    assert!(drained.text.contains("draining"), "{drained:?}");
    assert_eq!(client.get("/livez").await.status, 200, "it lives all the same");
    assert_eq!(client.get("/api/health").await.expect::<Value>(200)["status"], "warn");
    let late = client.post("/api/messages", json!({"from": "a", "to": "b", "body": "too late"})).await;
    assert!(late.header("retry-after").is_some());
    late.problem(503, "not_ready");
    assert_eq!(timeout(PATIENCE, poll).await.expect("long polls end").expect("an answer"), json!([]));

    socket.write_all(body.as_bytes()).await.expect("the rest");
    let mut answer = String::new();
    timeout(PATIENCE, socket.read_to_string(&mut answer)).await.expect("in time").expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 201 "), "{answer}");
    let server = Server::start_in(server.stop(), |_| {}).await;
    assert_eq!(server.client.inbox("b").await, ["last"]);
}

#[tokio::test]
async fn a_signal_ends_streams_and_polls_and_then_the_program_well() {
    let home = tempfile::tempdir().expect("a temporary directory");
    for signal in [Signal::TERM, Signal::INT] {
        let serving = Serving::start(&mut program(home.path()));
        let client = Client::new(&serving.url, None);
        let mut streams = [client.follow("").await, client.follow("agent=a").await, client.follow("agent=b").await];
        let message = client.say("x", "a", "before the end").await;
        let polling = client.clone();
        let poll = tokio::spawn(async move { polling.get("/api/messages?for=nobody&wait=60").await.status });
        eventually("the poll is waiting", async || {
            let stats: Value = client.get("/api/stats").await.expect(200);
            (stats["streams"] == 4).then_some(())
        })
        .await;
        serving.signal(signal);
        let mut told = Vec::new();
        for stream in &mut streams {
            while let Some(frame) = stream.next_or_end().await {
                if frame.event == "message.new" {
                    told.push(frame.data["id"].clone());
                }
            }
        }
        assert_eq!(told, [json!(message.id), json!(message.id)], "nothing is lost on the way out");
        assert_eq!(timeout(PATIENCE, poll).await.expect("polls end").expect("an answer"), 200);
        let (code, stdout, log) = serving.ended();
        assert_eq!(code, Some(0), "{log:?}");
        assert!(stdout.is_empty(), "{stdout:?}");
        assert!(log.iter().any(|line| line.contains("drained")), "{log:?}");
    }
}

#[tokio::test]
async fn figures_count_what_is_there() {
    let server = Server::start().await;
    let client = &server.client;
    client.register(json!({"id": "a", "tags": ["t"]})).await;
    client.register(json!({"id": "b", "status": "offline"})).await;
    let message = client.send(json!({"from": "x", "to": "tag:t", "body": "1", "claimable": true})).await;
    client.post(&format!("/api/messages/{}/claim", message.id), json!({"agentId": "a"})).await.expect::<Value>(200);
    let _stream = client.follow("").await;
    let stats: Value = client.get("/api/stats").await.expect(200);
    for (name, count) in [
        ("agents", 4),
        ("agentsOnline", 3),
        ("messages", 1),
        ("latestMessageId", message.id.get()),
        ("claims", 1),
        ("streams", 1),
    ] {
        assert_eq!(stats[name], count, "{name} in {stats}");
    }
    let metrics = client.get("/metrics").await;
    assert_eq!(metrics.status, 200);
    assert!(metrics.header("content-type").is_some_and(|kind| kind.starts_with("text/plain; version=0.0.4")));
    for line in metrics.text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (name, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("not a sample: {line}"));
        assert!(name.starts_with("agent_relay_") && value.parse::<f64>().is_ok(), "{line}");
    }
    assert!(metrics.text.contains("agent_relay_store_commit_seconds_count"), "{}", metrics.text);
}

/// One check of how the relay is.
async fn check_of(client: &Client, name: &str) -> Value {
    let health: Value = client.get("/api/health").await.expect(200);
    let checks = health["checks"].as_array().expect("checks");
    checks.iter().find(|check| check["name"] == name).unwrap_or_else(|| panic!("no {name}: {health}")).clone()
}

#[tokio::test]
async fn a_database_that_was_moved_away_is_told() {
    let home = tempfile::tempdir().expect("a temporary directory");
    let data = home.path().join("data");
    let serving = Serving::start(program(home.path()).env("AGENT_RELAY_DATA_DIR", &data));
    let client = &Client::new(&serving.url, None);
    let database = data.join("relay.db");
    let elsewhere = database.with_extension("away");
    client.say("a", "b", "before").await;
    assert_eq!(client.get("/readyz").await.status, 200);
    std::fs::rename(&database, &elsewhere).expect("moved");
    // Nothing is acknowledged that would be lost, from the first request on.
    let draft = json!({"from": "a", "to": "b", "body": "lost"});
    let refuse = async || {
        let refused = client.post("/api/messages", draft.clone()).await;
        assert_eq!(refused.header("retry-after"), Some("1"));
        refused.problem(503, "database_misplaced");
        assert_eq!(client.get("/readyz").await.status, 503);
        assert_eq!(client.inbox("b").await, ["before"], "what is there is read as ever");
    };
    refuse().await;
    let gone = eventually("it is noticed", async || {
        Some(check_of(client, "store").await).filter(|check| check["status"] == "error")
    })
    .await;
    assert!(gone["detail"].as_str().is_some_and(|detail| detail.contains("is not there any more")), "{gone}");
    std::fs::write(&database, "another").expect("another file");
    eventually("it is told apart", async || {
        let check = check_of(client, "store").await;
        check["detail"].as_str().is_some_and(|detail| detail.contains("another file is at")).then_some(())
    })
    .await;
    refuse().await;
    std::fs::rename(&elsewhere, &database).expect("back again");
    client.say("a", "b", "after").await;
    assert_eq!(
        (client.get("/readyz").await.status, client.inbox("b").await),
        (200, vec!["before".to_owned(), "after".to_owned()])
    );
    eventually("it is well again", async || (check_of(client, "store").await["status"] == "ok").then_some(())).await;
}

#[tokio::test]
async fn a_damaged_page_is_told_once_it_was_met() {
    let server = Server::start().await;
    for n in 0..40 {
        server.client.say("a", "b", &format!("{n} {}", "x".repeat(20_000))).await;
    }
    let home = server.stop();
    let path = crate::server::database(&home);
    let mut bytes = std::fs::read(&path).expect("the database");
    let pages = bytes.len() / 4096;
    for page in (pages / 2)..(pages / 2 + 20) {
        bytes[page * 4096..(page + 1) * 4096].fill(0xff);
    }
    std::fs::write(&path, bytes).expect("damaged");
    // The built program, since the relay inside a test is expected to leave a whole database.
    let serving = Serving::start(program(home.path()).env("AGENT_RELAY_DATA_DIR", home.path().join("data")));
    let client = Client::new(&serving.url, None);
    assert_eq!(client.get("/api/messages?limit=1000").await.status, 500);
    let check = eventually("it is told", async || {
        Some(check_of(&client, "store").await).filter(|check| check["status"] == "error")
    })
    .await;
    assert!(check["detail"].as_str().is_some_and(|detail| detail.contains("restore the database")), "{check}");
}

/// Trying whether commits are told must not itself be told, nor stored.
#[tokio::test]
async fn what_health_tries_nobody_sees() {
    let server = Server::start().await;
    let client = &server.client;
    let mut all = client.follow("").await;
    let before: Value = client.get("/api/stats").await.expect(200);
    // It is tried once a second at most.
    for _ in 0..2 {
        let check = check_of(client, "streams").await;
        assert!(check["detail"].as_str().expect("a detail").starts_with("a commit was heard back"), "{check}");
        until(Timestamp::now() + 1_100).await;
    }
    let after: Value = client.get("/api/stats").await.expect(200);
    for figure in ["messages", "events", "latestMessageId"] {
        assert_eq!(before[figure], after[figure], "{figure}");
    }
    let message = client.say("a", "b", "the first anybody hears of").await;
    assert_eq!(all.next().await.data["id"], message.id);
}

/// A program that reads for long keeps the log from being folded in: who is to end it has to be said.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_another_program_keeps_is_told_with_its_size() {
    let home = tempfile::tempdir().expect("a temporary directory");
    let path = crate::server::database(&home);
    let server = Server::start_in(home, |_| {}).await;
    let client = &server.client;
    let reader = rusqlite::Connection::open(&path).expect("the database");
    reader.execute_batch("BEGIN; SELECT count(*) FROM messages;").expect("a snapshot");
    let body = "x".repeat(250_000);
    for _ in 0..300 {
        client.say("a", "b", &body).await;
    }
    let told = eventually("it is told", async || {
        Some(check_of(client, "log").await).filter(|check| check["status"] == "warn")
    })
    .await;
    let detail = told["detail"].as_str().expect("a detail");
    assert!(detail.contains("another program") && detail.contains("fuser"), "{detail}");
    let gauge = |name: &str, text: &str| -> f64 {
        let line = text.lines().find(|line| line.starts_with(&format!("{name} "))).expect("a sample").to_owned();
        line.rsplit_once(' ').expect("a value").1.parse().expect("a number")
    };
    let metrics = client.get("/metrics").await.text;
    assert!(gauge("agent_relay_store_log_bytes", &metrics) > 64e6, "{metrics}");
    assert!(gauge("agent_relay_disk_free_bytes", &metrics) > 0.0, "{metrics}");
    reader.execute_batch("COMMIT").expect("its end");
    drop(reader);
    eventually("it is well again", async || {
        client.say("a", "b", "more").await;
        (check_of(client, "log").await["status"] == "ok").then_some(())
    })
    .await;
}

/// Labels are kept for ever, so a client must not be able to make them up.
#[tokio::test]
async fn what_is_answered_is_counted_by_known_labels() {
    let server = Server::start().await;
    let client = &server.client;
    for word in ["BREW", "GROUND"] {
        let method = Method::from_bytes(word.as_bytes()).expect("a method");
        client.call(client.request(method.clone(), "/api/stats")).await.problem(405, "method_not_allowed");
        client.call(client.request(method, &format!("/{word}"))).await.problem(404, "not_found");
    }
    let text = client.get("/metrics").await.text;
    for made_up in ["BREW", "GROUND"] {
        assert!(!text.contains(made_up), "{text}");
    }
    let counts = text.lines().filter(|line| line.starts_with("agent_relay_http_request_seconds_count"));
    let others: Vec<_> = counts.filter(|line| line.contains("method=\"other\"")).collect();
    assert!(others.iter().any(|line| line.contains("/api/stats") && line.contains("405")), "{others:?}");
}

#[tokio::test]
async fn the_reaper_reports_and_is_written_down() {
    let server = Server::start().await;
    let client = &server.client;
    let reaped: Value = client.post("/api/system/reap", json!({})).await.expect(200);
    let nothing = json!({"ok": true, "reapedAgentIds": [], "reapedOrchestratorIds": [], "releasedMessageIds": [], "releasedTaskIds": []});
    assert_eq!(reaped, nothing);
    let entries: Vec<Activity> = client.get("/api/activity?kind=state&limit=1").await.expect(200);
    let entry = &entries[0];
    assert!(entry.client_id.starts_with("server-system-reap-"), "{entry:?}");
    assert_eq!(entry.title, "Maintenance reaper run");
    assert_eq!(
        entry.body.as_deref(),
        Some("0 stale agent(s), 0 stale orchestrator(s), 0 message claim(s), 0 task claim(s)")
    );
    assert_eq!((entry.icon.as_deref(), entry.view.as_deref()), (Some("ti-broom"), Some("activity")));
}

#[tokio::test]
async fn the_relay_speaks_to_all() {
    let server = Server::start().await;
    let client = &server.client;
    client.register_all(&["a", "b"]).await;
    let mut stream = client.follow("agent=b&types=message.new").await;
    let made: Message = client.post("/api/system/broadcast", json!({"subject": "s", "body": "all"})).await.expect(201);
    assert_eq!((made.from.as_str(), made.to.as_str(), made.kind), ("system", "broadcast", MessageType::System));
    assert_eq!(stream.next().await.text("body"), "all");
    for agent in ["a", "b", "user"] {
        assert_eq!(client.inbox(agent).await, ["all"], "{agent}");
    }
    client.post("/api/system/broadcast", json!({"subject": "s"})).await.invalid("body required");
}
