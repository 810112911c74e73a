//! `post`: what it costs to store a message.
//!
//! One connection sends messages of 200 bytes one after the other, then 64 connections do, each
//! waiting for its answer before it sends the next. An answer means that the message is on disk. The
//! rate is answers by seconds, the times are those of single requests, and the processor time is all
//! that the server's process used meanwhile, for a thousand messages.

use tokio::task::JoinSet;
use tokio::time::{Duration, Instant};

use crate::baseline::Nginx;
use crate::http::{Connection, message, now};
use crate::redis::{self, Redis};
use crate::report::{Goal, Report};
use crate::server::{Server, Target};
use crate::{Load, Outcome, on_this_thread};

/// What a run yielded.
pub(crate) struct Run {
    /// How long each request took, in nanoseconds.
    pub(crate) times: Vec<u64>,
    /// How long all of them took, in seconds.
    pub(crate) seconds: f64,
}

impl Run {
    /// Requests by seconds.
    pub(crate) fn rate(&self) -> f64 {
        self.times.len() as f64 / self.seconds
    }
}

/// Measures.
pub(crate) fn measure(load: &Load, report: &mut Report) -> Outcome<()> {
    let server = load.server()?;
    let goals = [
        (1, Goal::AtLeast(3_100.0), Goal::AtMost(0.30), Goal::None),
        (64, Goal::AtLeast(16_000.0), Goal::None, Goal::AtMost(0.09)),
    ];
    on_this_thread(async {
        hammer(server.target(), 4, Duration::from_millis(300), 201, "/api/messages", to_agent).await?;
        for (connections, rate, median, cpu) in goals {
            let name = format!("{connections} {}", if connections == 1 { "connection" } else { "connections" });
            let before = server.cpu_seconds()?;
            let mut run = hammer(server.target(), connections, load.duration(), 201, "/api/messages", to_agent).await?;
            report.add(format!("{name}: rate"), run.rate(), "/s", rate);
            report.add_times(&name, &mut run.times, median, Goal::None);
            report_cpu(report, &name, &server, before, run.times.len(), cpu)?;
        }
        if load.nginx {
            let nginx = Nginx::start(load)?;
            for connections in [1, 64] {
                let name = format!("{connections} to nginx");
                let mut run = hammer(nginx.target(), connections, load.duration(), 200, "/", to_agent).await?;
                report.add(format!("{name}: rate"), run.rate(), "/s", Goal::None);
                report.add_times(&name, &mut run.times, Goal::None, Goal::None);
            }
        }
        if load.redis {
            let redis = Redis::start(load)?;
            let push = [redis::command(&["LPUSH", "messages", &to_agent(0)])];
            for connections in [1, 64] {
                let name = format!("{connections} to redis");
                let mut run = redis.hammer(connections, load.duration(), &push).await?;
                report.add(format!("{name}: rate"), run.rate(), "/s", Goal::None);
                report.add_times(&name, &mut run.times, Goal::None, Goal::None);
            }
        }
        Ok(())
    })
}

/// Adds the processor time that the server used since `before`, for a thousand of `count`.
pub(crate) fn report_cpu(
    report: &mut Report,
    name: &str,
    server: &Server,
    before: Option<f64>,
    count: usize,
    goal: Goal,
) -> Outcome<()> {
    if let (Some(before), Some(after)) = (before, server.cpu_seconds()?) {
        let for_thousand = (after - before) / count as f64 * 1_000.0;
        report.add(format!("{name}: server cpu"), for_thousand, "s/thousand", goal);
    }
    Ok(())
}

/// A message to an agent that nobody is.
pub(crate) fn to_agent(index: u64) -> String {
    message("someone", index, "")
}

/// Sends from this many connections for a while, each one request at a time, and expects this status.
pub(crate) async fn hammer(
    target: &Target,
    connections: u64,
    duration: Duration,
    status: u16,
    path: &'static str,
    body: fn(u64) -> String,
) -> Outcome<Run> {
    let mut open = Vec::new();
    for _ in 0..connections {
        open.push(Connection::open(target).await?);
    }
    let started = Instant::now();
    let mut senders = JoinSet::new();
    for (number, mut connection) in open.into_iter().enumerate() {
        senders.spawn(async move {
            let mut times = Vec::with_capacity(16 * 1024);
            let mut index = number as u64;
            while started.elapsed() < duration {
                let body = body(index);
                let sent = now();
                connection.post(path, &body).await?.expect(status)?;
                times.push(now() - sent);
                index += connections;
            }
            Outcome::Ok(times)
        });
    }
    let mut times = Vec::new();
    while let Some(of_one) = senders.join_next().await {
        times.extend(of_one??);
    }
    Ok(Run { times, seconds: started.elapsed().as_secs_f64() })
}
