//! The table of bounds is true: what is at a bound is taken, what is past it is refused as the table says.

use std::path::{Path, PathBuf};

use agent_relay::bounds::{ALL, Bound, More, Most};
use reqwest::Method;
use reqwest::header::HeaderMap;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::server::{Answer, Client, PATIENCE, Server};

fn much(most: Most) -> usize {
    match most {
        Most::Count(count) | Most::Bytes(count) | Most::Chars(count) => count,
        Most::Time(time) => usize::try_from(time.as_millis()).expect("a number"),
    }
}

/// Sends so much of what a row is about.
async fn send(client: &Client, bound: &Bound, n: usize) -> Answer {
    // Bounds in characters count those, and not their bytes.
    let text = if matches!(bound.most, Most::Chars(_)) { "é".repeat(n) } else { "x".repeat(n) };
    let list = |n: usize| (0..n).map(|entry| format!("entry {entry}")).collect::<Vec<_>>();
    let agent = |field: &str, value: Value| ("/api/agents", with(json!({"id": "a"}), field, value));
    let message =
        |field: &str, value: Value| ("/api/messages", with(json!({"from": "a", "to": "b", "body": "c"}), field, value));
    let question =
        |field: &str, value: Value| ("/api/tasks", with(json!({"title": "t", "kind": "question"}), field, value));
    let get = |path: String| client.request(Method::GET, &path);
    let (path, body) = match bound.of {
        "target of a request" => {
            let start = "/livez?x=";
            return client.call(get(format!("{start}{}", "x".repeat(n - start.len())))).await;
        }
        "head" => {
            let (start, end) = ("GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nX: ", "\r\n\r\n");
            return exchange(client, &format!("{start}{}{end}", "x".repeat(n - start.len() - end.len()))).await;
        }
        "headers" => {
            let start = "GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n";
            return exchange(client, &format!("{start}{}\r\n", "X: y\r\n".repeat(n - 2))).await;
        }
        "body of a request" => {
            let start = r#"{"id":"a","x":""#;
            let body = format!("{start}{}\"}}", "x".repeat(n - start.len() - 2));
            let request = client.request(Method::POST, "/api/agents").header("Content-Type", "application/json");
            return client.call(request.body(body)).await;
        }
        "wait of a long poll" => {
            client.say("x", "y", "so that nobody waits").await;
            return client.call(get(format!("/api/messages?for=y&wait={}", n.div_ceil(1_000)))).await;
        }
        "limit" => return client.call(get(format!("/api/messages?limit={n}"))).await,
        "leaseMs" => {
            let work = client.send(json!({"from": "x", "to": "a", "body": "b", "claimable": true})).await;
            let claim = json!({"agentId": "a", "leaseMs": n});
            return client.post(&format!("/api/messages/{}/claim", work.id), claim).await;
        }
        "agents of an orchestrator" => {
            let agent = |n| json!({"agentId": format!("m{n}"), "provider": "claude", "tmuxSession": "t", "cwd": "/"});
            let agents: Vec<Value> = (0..n).map(agent).collect();
            return client.patch("/api/orchestrators/o/agents", json!({"agents": agents})).await;
        }
        "answer" => {
            let asked: Value = client.post("/api/tasks", json!({"title": "t", "kind": "question"})).await.expect(201);
            return client.post(&format!("/api/tasks/{}/answer", asked["id"]), json!({"answer": text})).await;
        }
        "title of a task" => question("title", json!(text)),
        "metadata of a task" => question("metadata", json!({"k": "x".repeat(n - r#"{"k":""}"#.len())})),
        "dedupeKey" => question("dedupeKey", json!(text)),
        "callbackUrl" => question("callbackUrl", json!(format!("http://h/{}", "x".repeat(n - "http://h/".len())))),
        "options" => question("options", json!(list(n))),
        "option" => question("options", json!([text])),
        "prompt" => ("/api/agents/spawn", json!({"provider": "claude", "prompt": text})),
        "id" => agent("id", json!(text)),
        "name" => agent("name", json!(text)),
        "label" => agent("label", json!(text)),
        "tag" => agent("tags", json!([text])),
        "tags" => agent("tags", json!(list(n))),
        "capabilities" => agent("capabilities", json!(list(n))),
        "meta" => agent("meta", json!({"k": "x".repeat(n - r#"{"k":""}"#.len())})),
        "depth of meta" => agent("meta", json!({"k": (0..n).fold(json!(1), |inner, _| json!([inner]))})),
        "to" => message("to", json!(text)),
        "subject" => message("subject", json!(text)),
        "body" => message("body", json!(text)),
        "channel" => message("channel", json!(text)),
        "idempotencyKey" => message("idempotencyKey", json!(text)),
        "objective" => {
            let pairs: Vec<Value> = client.get("/api/pairs?status=pending").await.expect(200);
            for pair in pairs {
                let end = json!({"agentId": "a"});
                client.post(&format!("/api/pairs/{}/end", pair["id"]), end).await.expect::<Value>(200);
            }
            ("/api/pairs", json!({"requesterId": "a", "targetId": "user", "objective": text}))
        }
        "detail" => return client.patch("/api/agents/a/condition", json!({"kind": "limit", "detail": text})).await,
        "title" => ("/api/activity", json!({"clientId": format!("c{n}"), "kind": "state", "title": text})),
        "hostname" => ("/api/orchestrators", json!({"id": "h", "baseDir": "/", "hostname": text})),
        "baseDir" => {
            ("/api/orchestrators", json!({"id": "h", "hostname": "h", "baseDir": format!("/{}", "é".repeat(n - 1))}))
        }
        other => panic!("say how to send too much of {other}"),
    };
    client.post(path, body).await
}

/// What is answered to a head on a bare socket until the relay hangs up.
async fn exchange(client: &Client, head: &str) -> Answer {
    let mut socket = TcpStream::connect(client.address()).await.expect("a connection");
    socket.write_all(head.as_bytes()).await.expect("a request");
    let mut answer = String::new();
    timeout(PATIENCE, socket.read_to_string(&mut answer)).await.expect("an end in time").expect("an answer");
    let (head, text) = answer.split_once("\r\n\r\n").expect("a head");
    let status = head[9..12].parse().expect("a status");
    Answer { status, headers: HeaderMap::new(), text: text.to_owned() }
}

fn with(mut body: Value, field: &str, value: Value) -> Value {
    body[field] = value;
    body
}

#[tokio::test]
async fn what_is_at_a_bound_is_taken_and_what_is_past_it_is_not() {
    let server = Server::start_with(|config| config.spawn.dry_run = true).await;
    let client = &server.client;
    client.register_all(&["a"]).await;
    client.post("/api/orchestrators", json!({"id": "o", "hostname": "h", "baseDir": "/o"})).await.expect::<Value>(201);
    let mut walked = 0;
    for bound in ALL {
        let More::Refused(code) = bound.more else { continue };
        let (most, step) = (much(bound.most), if bound.of == "wait of a long poll" { 1_000 } else { 1 });
        let taken = send(client, bound, most).await;
        assert!(taken.status < 300, "{bound:?}: {taken:?}");
        let refused = send(client, bound, most + step).await;
        assert!((400..500).contains(&refused.status), "{bound:?}: {refused:?}");
        assert_eq!(refused.parse::<Value>()["code"], code, "{bound:?}");
        walked += 1;
    }
    assert!(walked >= 25, "only {walked}");
}

/// The text of every source below a directory.
fn sources(directory: &Path, text: &mut String) {
    for entry in std::fs::read_dir(directory).expect("a directory") {
        let path: PathBuf = entry.expect("an entry").path();
        if path.is_dir() {
            sources(&path, text);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            text.push_str(&std::fs::read_to_string(path).expect("a source"));
        }
    }
}

#[test]
fn every_other_bound_has_its_test_and_every_setting_its_line() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut tests = String::new();
    sources(&root.join("tests/it"), &mut tests);
    sources(&root.join("src"), &mut tests);
    let settings = std::fs::read_to_string(root.join("examples/relay.toml")).expect("the settings");
    for bound in ALL {
        if let More::Shown(test) = bound.more {
            assert!(tests.contains(&format!("fn {test}(")), "{bound:?}");
        }
        let Some(setting) = bound.setting else { continue };
        let most = much(bound.most);
        let default = match setting {
            setting if setting.ends_with("_seconds") => most / 1_000,
            setting if setting.ends_with("_mb") => most >> 20,
            _ => most,
        };
        assert!(settings.lines().any(|line| line == format!("{setting} = {default}")), "{setting} = {default}");
    }
}
