//! `hostile`: what the server takes up, and whether it says that it is alive, whatever its clients do.
//!
//! The store holds 400 messages of 256 KiB. Two thousand connections then do, a fifth each, what hurts most: send
//! a head that never ends, a body that never ends, ask for all messages and read nothing, follow every event from
//! the first and read nothing, and send a request byte by byte. Meanwhile `/livez` is asked, each time over a new
//! connection, and the server's memory is read. The memory is the most at any look. At last everybody leaves, and
//! the server is looked at again.

use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt;
use tokio::net::TcpSocket;
use tokio::task::JoinSet;
use tokio::time::{interval, sleep, timeout};

use crate::http::{Connection, get_request};
use crate::report::{Goal, Report};
use crate::server::{Server, Target};
use crate::{Load, Outcome, on_this_thread};

const MESSAGES: usize = 400;
const BODY_BYTES: usize = 256 * 1024;
/// How long they go on, at least: longer than the relay lets an answer wait.
const FOR: Duration = Duration::from_secs(40);
/// How long the server has to come to rest.
const REST: Duration = Duration::from_secs(12);
/// How long `/livez` may take before it counts as unanswered.
const PATIENCE: Duration = Duration::from_secs(10);
const MIB: f64 = 1_048_576.0;

/// Measures.
pub(crate) fn measure(load: &Load, connections: u32, report: &mut Report) -> Outcome<()> {
    let server = load.server()?;
    let target = server.target();
    on_this_thread(async {
        let mut sender = Connection::open(target).await?;
        let body = "x".repeat(BODY_BYTES);
        for _ in 0..MESSAGES {
            let draft = format!(r#"{{"from":"load","to":"hostile","body":"{body}"}}"#);
            sender.post("/api/messages", &draft).await?.expect(201)?;
        }
        sleep(REST).await;
        add_memory(&server, "memory before", Goal::None, report)?;

        let log = Connection::open(target).await?.get("/api/events/log?limit=1").await?.text("id")?;
        let from_the_first = format!("{}-0", log.rsplit_once('-').ok_or("an event's id is EPOCH-NUMBER")?.0);
        let mut hostile = JoinSet::new();
        for number in 0..connections {
            hostile.spawn(misbehave(target.clone(), number, from_the_first.clone()));
        }
        let (mut most, mut times, mut unanswered) = (0.0_f64, Vec::new(), 0);
        let (begun, mut beat) = (Instant::now(), interval(Duration::from_millis(100)));
        while begun.elapsed() < FOR {
            beat.tick().await;
            let asked = Instant::now();
            match timeout(PATIENCE, is_alive(target)).await {
                Ok(Ok(())) => times.push(u64::try_from(asked.elapsed().as_nanos())?),
                _ => unanswered += 1,
            }
            most = most.max(server.memory_bytes()?.unwrap_or(0.0));
        }
        report.add("memory: most", most / MIB, "MiB", Goal::AtMost(400.0));
        report.add("/livez unanswered", f64::from(unanswered), "times", Goal::AtMost(0.0));
        if times.is_empty() {
            return Err("/livez was never answered".into());
        }
        report.add_times("/livez", &mut times, Goal::None, Goal::None);
        report.add("/livez: most", crate::report::millis(times[times.len() - 1]), "ms", Goal::AtMost(1_000.0));
        hostile.shutdown().await;
        sleep(REST).await;
        add_memory(&server, "memory after", Goal::AtMost(100.0), report)?;
        Connection::open(target).await?.get("/api/messages?for=hostile&limit=1").await?.expect(200)
    })
}

fn add_memory(server: &Server, name: &str, goal: Goal, report: &mut Report) -> Outcome<()> {
    if let Some(bytes) = server.memory_bytes()? {
        report.add(name, bytes / MIB, "MiB", goal);
    }
    Ok(())
}

async fn is_alive(target: &Target) -> Outcome<()> {
    Connection::open(target).await?.get("/livez").await?.expect(200)
}

/// Does one of the things that hurt, and comes back whenever it was put out.
async fn misbehave(target: Target, number: u32, from_the_first: String) {
    loop {
        // Whatever the server does about it is its affair.
        let _ = misbehave_once(&target, number, &from_the_first).await;
        sleep(Duration::from_millis(500)).await;
    }
}

async fn misbehave_once(target: &Target, number: u32, from_the_first: &str) -> Outcome<()> {
    let socket = TcpSocket::new_v4()?;
    // What the system keeps for it is not kept by the server.
    socket.set_recv_buffer_size(4_096)?;
    let mut socket = socket.connect(target.address).await?;
    let (address, authorization) = (target.address, &target.authorization);
    let post = |length: usize| {
        format!(
            "POST /api/messages HTTP/1.1\r\nHost: {address}\r\n{authorization}Content-Type: application/json\r\n\
             Content-Length: {length}\r\n\r\n"
        )
    };
    match number % 5 {
        0 => {
            let head = format!("GET /api/messages HTTP/1.1\r\nHost: {address}\r\nX-Long: {}", "x".repeat(30_000));
            socket.write_all(head.as_bytes()).await?;
        }
        1 => {
            socket.write_all(post(1 << 20).as_bytes()).await?;
            socket.write_all(&vec![b' '; (1 << 20) - 1]).await?;
        }
        2 => socket.write_all(get_request(target, "/api/messages?for=hostile&limit=1000").as_bytes()).await?,
        3 => socket.write_all(get_request(target, &format!("/api/events?since={from_the_first}")).as_bytes()).await?,
        _ => {
            let request = post(10_000);
            for byte in request.bytes().chain(std::iter::repeat(b' ')) {
                socket.write_all(&[byte]).await?;
                sleep(Duration::from_millis(20)).await;
            }
        }
    }
    // Until the other side has had enough, as far as one can tell without reading.
    let mut beat = interval(Duration::from_secs(1));
    let begun = Instant::now();
    while begun.elapsed() < FOR && socket.take_error()?.is_none() {
        beat.tick().await;
    }
    Ok(())
}
