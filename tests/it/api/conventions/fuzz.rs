//! What parses bytes that anybody may send, given bytes that are almost right: it answers, never with an error of the
//! server, and goes on.
//!
//! As part of the tests each target gets a few hundred; `PROPTEST_CASES=100000 cargo nextest run -E 'test(fuzz)'` looks
//! for longer. What is found is written down, and tried first from then on.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::ops::Range;

use agent_relay::domain::integration::signature::Scheme;
use agent_relay::domain::integration::{IntegrationName, Integrations};
use agent_relay::domain::time::Timestamp;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use serde_json::Value;

use crate::crash::events;
use crate::server::{PATIENCE, Server};

/// One change of some bytes.
#[derive(Clone, Debug)]
enum Edit {
    Insert(usize, u8),
    Replace(usize, u8),
    Remove(Range<usize>),
    Repeat(Range<usize>, usize),
}

impl Edit {
    fn apply(&self, bytes: &mut Vec<u8>) {
        let within = |range: &Range<usize>| {
            let (a, b) = (range.start % (bytes.len() + 1), range.end % (bytes.len() + 1));
            a.min(b)..a.max(b)
        };
        match self {
            Self::Insert(at, byte) => bytes.insert(at % (bytes.len() + 1), *byte),
            Self::Replace(at, byte) if !bytes.is_empty() => {
                let at = at % bytes.len();
                bytes[at] = *byte;
            }
            Self::Replace(..) => {}
            Self::Remove(range) => drop(bytes.drain(within(range))),
            Self::Repeat(range, times) => {
                let range = within(range);
                let part = bytes[range.clone()].repeat(*times);
                bytes.splice(range.end..range.end, part);
            }
        }
    }
}

/// One of these, a little or much changed, or anything at all.
fn near(seeds: &'static [&'static str]) -> impl Strategy<Value = Vec<u8>> {
    let place = 0..4_096_usize;
    // What means something somewhere comes more often than the rest.
    let byte = || {
        prop_oneof![
            Just(b'\0'),
            Just(b'\r'),
            Just(b'\n'),
            Just(b' '),
            Just(b','),
            Just(b'='),
            Just(b'%'),
            Just(b'"'),
            Just(b'\\'),
            Just(b'-'),
            Just(b'9'),
            Just(0xff),
            any::<u8>()
        ]
    };
    let edit = prop_oneof![
        (place.clone(), byte()).prop_map(|(at, byte)| Edit::Insert(at, byte)),
        (place.clone(), byte()).prop_map(|(at, byte)| Edit::Replace(at, byte)),
        (place.clone(), place.clone()).prop_map(|(a, b)| Edit::Remove(a..b)),
        (place.clone(), place, 1..40_usize).prop_map(|(a, b, times)| Edit::Repeat(a..b, times)),
    ];
    let changed = (prop::sample::select(seeds), prop::collection::vec(edit, 0..6)).prop_map(|(seed, edits)| {
        let mut bytes = seed.as_bytes().to_vec();
        for edit in edits {
            edit.apply(&mut bytes);
            bytes.truncate(64 * 1024);
        }
        bytes
    });
    prop_oneof![9 => changed, 1 => prop::collection::vec(any::<u8>(), 0..200)]
}

/// A connection that is opened anew when the relay closed it.
struct Wire {
    address: String,
    open: Option<BufReader<TcpStream>>,
}

impl Wire {
    /// The status of the answer to these bytes; `None` where they were no request, and the connection was closed.
    fn send(&mut self, request: &[u8]) -> Option<u16> {
        let mut wire = self.open.take().unwrap_or_else(|| {
            let wire = TcpStream::connect(&self.address).expect("a relay that accepts connections");
            wire.set_read_timeout(Some(PATIENCE)).expect("a limit");
            BufReader::new(wire)
        });
        wire.get_mut().write_all(request).ok()?;
        let (mut line, mut length, mut is_closing) = (String::new(), None, false);
        wire.read_line(&mut line).ok()?;
        let status = line.split(' ').nth(1)?.parse().expect("a status");
        loop {
            line.clear();
            wire.read_line(&mut line).expect("a whole head");
            let line = line.trim().to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            is_closing |= line == "connection: close";
            length = length.or_else(|| line.strip_prefix("content-length: ")?.parse::<u64>().ok());
        }
        // Without a length it is a stream, which is left.
        let length = length.filter(|_| !is_closing)?;
        let read = std::io::copy(&mut wire.by_ref().take(length), &mut std::io::sink());
        assert_eq!(read.expect("a whole answer"), length);
        self.open = Some(wire);
        Some(status)
    }
}

/// Sends the requests that are made of what is near these, and expects an answer that is not the server's fault.
fn hold(server: &Server, seeds: &'static [&'static str], request: impl Fn(&[u8]) -> Vec<u8>) {
    let address = server.client.address().to_owned();
    let wire = std::cell::RefCell::new(Wire { address, open: None });
    let mut runner = TestRunner::new(ProptestConfig::with_source_file(file!()));
    let outcome = runner.run(&near(seeds), |bytes| {
        let mut wire = wire.borrow_mut();
        let status = wire.send(&request(&bytes));
        prop_assert!(status.is_none_or(|status| status < 500), "{status:?}");
        // It has not taken something else for the beginning of a next request, and goes on.
        wire.open = wire.open.take().filter(|_| status.is_some_and(|status| status < 300));
        prop_assert_eq!(wire.send(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"), Some(200));
        Ok(())
    });
    outcome.unwrap_or_else(|error| panic!("{error}"));
}

/// A request with this body.
fn post(path: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n{headers}\r\n", body.len());
    [head.as_bytes(), body].concat()
}

fn get(before: &str, bytes: &[u8], after: &str) -> Vec<u8> {
    [before.as_bytes(), bytes, after.as_bytes()].concat()
}

const JSON: &str = "Content-Type: application/json\r\n";

#[tokio::test]
async fn ids_and_filters() {
    let server = Server::start().await;
    let seeds = &["alice", "orchestrator-1", "tag:x", "a%20b", "%c3%bc", "user", "1", "-9223372036854775808", "."];
    for noun in ["agents", "messages", "tasks", "pairs", "commands", "plugins", "orchestrators"] {
        hold(&server, seeds, |bytes| get(&format!("GET /api/{noun}/"), bytes, " HTTP/1.1\r\nHost: localhost\r\n\r\n"));
    }
    let seeds = &[
        "for=a&since=0&limit=10",
        "before=9223372036854775807&status=open",
        "before=-9223372036854775808&agent=a",
        "since=-9223372036854775808&target=a",
        "types=message.new&wait=0",
        "a=%",
    ];
    for noun in ["agents", "messages", "tasks", "pairs", "commands", "activity", "events/log"] {
        hold(&server, seeds, |bytes| get(&format!("GET /api/{noun}?"), bytes, " HTTP/1.1\r\nHost: localhost\r\n\r\n"));
    }
}

#[tokio::test]
async fn targets() {
    let server = Server::start().await;
    server.client.register_all(&["alice", "bob"]).await;
    let seeds = &["alice", "tag:work", "cap:review", "label:main", "channel:news", "broadcast", "user", "tag:", ":x"];
    for path in ["/api/messages", "/api/tasks"] {
        hold(&server, seeds, |bytes| {
            let target = String::from_utf8_lossy(bytes);
            let body = serde_json::json!({"from": "bob", "to": target, "target": target, "title": "t", "body": "b"});
            post(path, JSON, body.to_string().as_bytes())
        });
    }
}

#[tokio::test]
async fn places_in_the_stream() {
    let server = Server::start().await;
    server.client.say("a", "b", "1").await;
    let seeds = &["abcdef-1", "-", "1", "a-99999999999999999999", "a-b-1", "e-0"];
    let (before, after) = ("GET /api/events HTTP/1.1\r\nHost: localhost\r\nLast-Event-ID: ", "\r\n\r\n");
    hold(&server, seeds, |bytes| get(before, bytes, after));
    let before = "GET /api/events/log?since=";
    hold(&server, seeds, |bytes| get(before, bytes, " HTTP/1.1\r\nHost: localhost\r\n\r\n"));
}

#[tokio::test]
async fn headers() {
    let server = Server::start_with_token("a-token-of-some-length").await;
    let seeds = &["Bearer a-token-of-some-length", "Bearer ", "Basic dXNlcjpwYXNz", "bearer x y"];
    let before = "GET /api/agents HTTP/1.1\r\nHost: localhost\r\nAuthorization: ";
    hold(&server, seeds, |bytes| get(before, bytes, "\r\n\r\n"));
    let server = Server::start().await;
    let seeds = &["\"key-1\"", "key-1", "\"", "k,e", "\"a\\\"b\""];
    hold(&server, seeds, |bytes| {
        let body: &[u8] = br#"{"from":"a","to":"b","body":"c"}"#;
        let mut request =
            b"POST /api/messages HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n".to_vec();
        request.extend(format!("Content-Length: {}\r\nIdempotency-Key: ", body.len()).as_bytes());
        [&request, bytes, b"\r\n\r\n", body].concat()
    });
    let seeds = &["localhost", "127.0.0.1:1", "[::1]", "evil.example", "localhost:99999"];
    hold(&server, seeds, |bytes| get("GET /api/agents HTTP/1.1\r\nHost: ", bytes, "\r\n\r\n"));
}

#[tokio::test]
async fn signatures_and_forms() {
    let schemes = [("gh", Scheme::github(&["a secret"])), ("std", Scheme::standard_webhooks(&[events::SECRET]))];
    let named =
        schemes.map(|(name, scheme)| (IntegrationName::parse(name).expect("a name"), scheme.expect("a scheme")));
    let server = Server::start_with(|config| config.integrations = Integrations::new(named.to_vec())).await;
    let seeds = &["v1,K5oZfzN95Z9UVu1EsfQmfVNQhnkZ2pj9o9NDN/H/pI4=", "v1,x v1a,y v1,", "sha256=00ff", "sha256=", "v1"];
    let body = r#"{"type":"t","title":"t"}"#;
    for (name, header) in [("gh", "X-Hub-Signature-256"), ("std", "webhook-signature"), ("std", "webhook-timestamp")] {
        hold(&server, seeds, |bytes| {
            let at = Timestamp::now().as_ms() / 1_000;
            let others = match header {
                "webhook-signature" => format!("webhook-id: i\r\nwebhook-timestamp: {at}\r\n"),
                "webhook-timestamp" => "webhook-id: i\r\nwebhook-signature: v1,AAAA\r\n".to_owned(),
                _ => String::new(),
            };
            let head = format!("POST /api/integrations/{name}/events HTTP/1.1\r\nHost: localhost\r\n{JSON}{others}");
            let length = format!("Content-Length: {}\r\n{header}: ", body.len());
            [head.as_bytes(), length.as_bytes(), bytes, b"\r\n\r\n", body.as_bytes()].concat()
        });
    }
    let tasks: Vec<Value> = server.client.get("/api/tasks").await.expect(200);
    assert_eq!(tasks, Vec::<Value>::new(), "nothing was proven");
    let seeds =
        &["payload=%7B%22type%22%3A%22t%22%2C%22title%22%3A%22t%22%7D", "a=b&payload={}&c", "payload=%zz", "&&="];
    let form = "Content-Type: application/x-www-form-urlencoded\r\n";
    hold(&server, seeds, |bytes| post("/api/integrations/any/events", form, bytes));
}

#[tokio::test]
async fn bodies() {
    let server = Server::start().await;
    for (path, seeds) in [
        (
            "/api/messages",
            &[r#"{"from":"a","to":"b","body":"c","meta":{"k":[1,2.5e3,null]},"claimable":true}"#] as &[_],
        ),
        ("/api/agents", &[r#"{"id":"a","tags":["x"],"capabilities":["y"],"meta":{"z":"\ud83d\ude00"}}"#]),
        ("/api/tasks", &[r#"{"title":"t","dependsOn":[1],"options":["yes","no"],"kind":"question"}"#]),
        ("/api/tokens", &[r#"{"name":"n","scopes":["read"],"expiresAt":1e400}"#]),
        ("/api/pairs", &[r#"{"requesterId":"a","targetId":"b"}"#]),
    ] {
        hold(&server, seeds, |bytes| post(path, JSON, bytes));
    }
}
