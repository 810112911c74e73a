//! `callbacks`: how long it takes until a thousand steps of tasks are told, while some of those told never answer.
//!
//! A thousand tasks are asked for by 64 connections, each to be told to one of 50 receivers in turn. Five of these
//! take the connection and never answer. The time goes from the first request until the last of the others has been
//! told; each of their tasks must be told once.

use std::collections::HashSet;
use std::fs;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Duration, Instant, timeout};

use crate::http::Connection;
use crate::post::report_cpu;
use crate::report::{Goal, Report};
use crate::server::Server;
use crate::{Load, Outcome, on_this_thread};

const TASKS: usize = 1_000;
const RECEIVERS: usize = 50;
/// Of these so many never answer.
const DEAD: usize = 5;
const SENDERS: usize = 64;
/// Far beyond what it may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Measures.
pub(crate) fn measure(load: &Load, report: &mut Report) -> Outcome<()> {
    if load.running.is_some() {
        return Err("--url does not go with this command: the server must be allowed to call this machine".into());
    }
    let dir = tempfile::Builder::new().prefix("load-").tempdir_in(&load.dir)?;
    fs::write(dir.path().join("relay.toml"), "[callbacks]\nallow = [\"127.0.0.1/32\"]\n")?;
    let server = Server::start_in(&load.program, dir)?;
    on_this_thread(async {
        let (told, mut arrivals) = mpsc::channel(TASKS);
        let mut addresses = Vec::with_capacity(RECEIVERS);
        for number in 0..RECEIVERS {
            let listener = TcpListener::bind("127.0.0.1:0").await?;
            addresses.push(listener.local_addr()?);
            let told = told.clone();
            tokio::spawn(async move {
                let mut held = Vec::new();
                while let Ok((stream, _)) = listener.accept().await {
                    if number < DEAD {
                        held.push(stream);
                    } else {
                        tokio::spawn(take(stream, told.clone()));
                    }
                }
            });
        }
        let before = server.cpu_seconds()?;
        let started = Instant::now();
        let mut senders = JoinSet::new();
        for first in 0..SENDERS {
            let (target, addresses) = (server.target().clone(), addresses.clone());
            senders.spawn(async move {
                let mut connection = Connection::open(&target).await?;
                for index in (first..TASKS).step_by(SENDERS) {
                    let url = format!("http://{}/{index}", addresses[index % RECEIVERS]);
                    let draft = format!(r#"{{"title":"task {index}","callbackUrl":"{url}"}}"#);
                    connection.post("/api/tasks", &draft).await?.expect(201)?;
                }
                Outcome::Ok(())
            });
        }
        let wanted = TASKS - TASKS / RECEIVERS * DEAD;
        let mut seen = HashSet::with_capacity(wanted);
        while seen.len() < wanted {
            let path = timeout(PATIENCE, arrivals.recv()).await.map_err(|_| "a callback did not come")?;
            if !seen.insert(path.ok_or("no receiver is left")?) {
                return Err("a callback came twice".into());
            }
        }
        let took = started.elapsed().as_secs_f64();
        while let Some(sender) = senders.join_next().await {
            sender??;
        }
        report.add(format!("{TASKS} to {RECEIVERS}, {DEAD} dead: told"), took, "s", Goal::AtMost(2.0));
        report_cpu(report, "callbacks", &server, before, TASKS, Goal::None)
    })
}

/// Takes one request, answers it, and says which one it was, by its path.
async fn take(mut stream: TcpStream, told: mpsc::Sender<String>) -> Option<()> {
    let mut request = Vec::new();
    loop {
        if stream.read_buf(&mut request).await.ok()? == 0 {
            return None;
        }
        let text = String::from_utf8_lossy(&request);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head
            .lines()
            .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length:")?.trim().parse().ok());
        if body.len() >= length.unwrap_or(0) {
            let path = head.split(' ').nth(1)?.to_owned();
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").await.ok()?;
            return told.send(path).await.ok();
        }
    }
}
