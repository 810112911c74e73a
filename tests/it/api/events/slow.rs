//! A reader that does not read: it gets everything in the end, and nobody waits for it.

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::server::{Client, Frame, PATIENCE, Parser, Server};

/// More than the relay queues for a stream together with what both ends' sockets hold.
const MESSAGES: usize = 2_000;
const BODY_BYTES: usize = 8 * 1024;
const SENDERS: usize = 16;

/// A stream on a bare socket, which holds next to nothing and is read only when the test says so.
struct Reluctant {
    socket: TcpStream,
    parser: Parser,
}

impl Reluctant {
    async fn open(client: &Client, query: &str) -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_recv_buffer_size(4_096).expect("a small buffer");
        let mut socket = socket.connect(client.address().parse().expect("an address")).await.expect("a connection");
        let request = format!("GET /api/events?{query} HTTP/1.1\r\nHost: {}\r\n\r\n", client.address());
        socket.write_all(request.as_bytes()).await.expect("a request");
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(timeout(PATIENCE, socket.read_u8()).await.expect("in time").expect("a head"));
        }
        assert!(head.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&head));
        let mut stream = Self { socket, parser: Parser::default() };
        assert_eq!(stream.next().await.event, "relay.ready");
        stream
    }

    async fn next(&mut self) -> Frame {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            if let Some(frame) = self.parser.frames.pop_front() {
                return frame;
            }
            let read = timeout(PATIENCE, self.socket.read(&mut buffer)).await.expect("in time").expect("no error");
            assert!(read > 0, "the stream ended");
            self.parser.feed(&buffer[..read]);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_reader_gets_everything_and_delays_nobody() {
    let server = Server::start().await;
    let client = &server.client;
    client.register_all(&["slow", "fast"]).await;
    let mut slow = Reluctant::open(client, "agent=slow&types=message.new").await;
    let mut fast = client.follow("agent=fast&types=message.new").await;

    let mut senders = JoinSet::new();
    for sender in 0..SENDERS {
        let client = client.clone();
        senders.spawn(async move {
            let mut ids = Vec::new();
            for n in 0..MESSAGES / SENDERS {
                let body = format!("{sender}/{n} {}", "x".repeat(BODY_BYTES));
                ids.push(client.send(json!({"from": "x", "to": "slow", "body": body})).await.id.get());
                if n % 25 == 0 {
                    client.say("x", "fast", "tick").await;
                }
            }
            ids
        });
    }
    let ticks = SENDERS * (MESSAGES / SENDERS).div_ceil(25);
    for _ in 0..ticks {
        assert_eq!(fast.next().await.text("body"), "tick");
    }
    let mut sent: Vec<i64> = senders.join_all().await.into_iter().flatten().collect();
    sent.sort_unstable();

    // Only now does the slow one read.
    let mut told = Vec::new();
    while told.len() < sent.len() {
        told.push(slow.next().await.data["id"].as_i64().expect("an id"));
    }
    assert_eq!(told, sent, "each once, in order");
    // And it is live again.
    let message = client.say("x", "slow", "end").await;
    assert_eq!(slow.next().await.data["id"], message.id);
}
