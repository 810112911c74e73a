//! `fanout`: what it costs to tell thousands of streams.
//!
//! First, messages come at a steady rate, five a second for ten seconds, and each reaches all of the
//! open streams; the time is from the sending of the request to the bytes read by the stream, over
//! all deliveries. The memory of a stream is what the server's memory grew by while they were opened,
//! divided by them. Then 300 messages are sent as fast as one connection can, to 1,000 streams, and
//! the deliveries are divided by the seconds from the first request to the last byte.
//!
//! Both are done twice: with streams that follow all messages, and with streams of registered agents,
//! which a broadcast reaches through their routes. Every stream must get every message exactly once
//! and in the order in which they were sent.

use tokio::time::{Duration, Instant, sleep_until};

use crate::http::{Connection, message, now};
use crate::post::report_cpu;
use crate::report::{Goal, Report};
use crate::server::{Server, Target};
use crate::streams::{Arrival, Streams, Wanted};
use crate::{Load, Outcome, on_this_thread};

/// Messages a second, and how many of them.
const PACE: u32 = 5;
const PACED: u64 = 50;
/// Messages sent as fast as possible, and the streams they go to.
const FLAT_OUT: u64 = 300;
const FLAT_OUT_STREAMS: u32 = 1_000;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// Streams of everything.
    All,
    /// Streams of one agent each.
    Agents,
}

/// Measures.
pub(crate) fn measure(load: &Load, streams: u32, report: &mut Report) -> Outcome<()> {
    for mode in [Mode::All, Mode::Agents] {
        paced(load, mode, streams, report)?;
        flat_out(load, mode, report)?;
    }
    Ok(())
}

fn paced(load: &Load, mode: Mode, count: u32, report: &mut Report) -> Outcome<()> {
    let server = load.server()?;
    let name = mode.name(count);
    warm_up(&server, mode, count)?;
    let memory_before = server.memory_bytes()?;
    let streams = Streams::open(server.target(), wanted(mode, count, PACED))?;
    if let (Some(before), Some(after)) = (memory_before, server.memory_bytes()?) {
        let each = (after - before) / f64::from(count) / 1024.0;
        report.add(format!("{name}: memory of a stream"), each, "KiB", Goal::AtMost(9.0));
    }
    let cpu_before = server.cpu_seconds()?;
    on_this_thread(async {
        let mut connection = Connection::open(server.target()).await?;
        let started = Instant::now();
        for index in 0..PACED {
            sleep_until(started + Duration::from_secs(1) * u32::try_from(index)? / PACE).await;
            connection.post("/api/messages", &message("broadcast", index, "")).await?.expect(201)?;
        }
        Ok(())
    })?;
    let mut times = delays(&streams.finish()?);
    report.add_times(&format!("{name}: send to receipt"), &mut times, Goal::None, Goal::AtMost(68.0));
    report_cpu(report, &format!("{name}, deliveries"), &server, cpu_before, times.len(), Goal::None)?;
    if let (Some(before), Some(after)) = (memory_before, server.memory_bytes()?) {
        let each = (after - before) / f64::from(count) / 1024.0;
        report.add(format!("{name}: memory of a stream, after"), each, "KiB", Goal::None);
    }
    Ok(())
}

fn flat_out(load: &Load, mode: Mode, report: &mut Report) -> Outcome<()> {
    let server = load.server()?;
    let name = mode.name(FLAT_OUT_STREAMS);
    warm_up(&server, mode, FLAT_OUT_STREAMS)?;
    let streams = Streams::open(server.target(), wanted(mode, FLAT_OUT_STREAMS, FLAT_OUT))?;
    let cpu_before = server.cpu_seconds()?;
    let started = now();
    on_this_thread(async {
        let mut connection = Connection::open(server.target()).await?;
        for index in 0..FLAT_OUT {
            connection.post("/api/messages", &message("broadcast", index, "")).await?.expect(201)?;
        }
        Ok(())
    })?;
    let sent = now();
    let arrivals = streams.finish()?;
    let last = arrivals.iter().map(|arrival| arrival.read).max().unwrap_or(sent);
    let rate = arrivals.len() as f64 / (last - started) as f64 * 1e9;
    report.add(format!("{name}, flat out: deliveries"), rate, "/s", Goal::AtLeast(135_000.0));
    let sending = FLAT_OUT as f64 / (sent - started) as f64 * 1e9;
    report.add(format!("{name}, flat out: messages sent"), sending, "/s", Goal::None);
    report_cpu(report, &format!("{name}, flat out, deliveries"), &server, cpu_before, arrivals.len(), Goal::None)
}

impl Mode {
    fn name(self, streams: u32) -> String {
        match self {
            Self::All => format!("{streams} streams"),
            Self::Agents => format!("{streams} agents"),
        }
    }
}

/// Registers the agents, if there are to be any, and has the server do once what it does later, so
/// that its memory is not counted as the streams'.
fn warm_up(server: &Server, mode: Mode, count: u32) -> Outcome<()> {
    on_this_thread(async {
        if mode == Mode::Agents {
            register(server.target(), count).await?;
        }
        let mut connection = Connection::open(server.target()).await?;
        for index in 0..100 {
            connection.post("/api/messages", &message("someone", index, "")).await?.expect(201)?;
        }
        Ok(())
    })?;
    let one = if mode == Mode::All { wanted(mode, 1, 0) } else { Vec::new() };
    Streams::open(server.target(), one)?.finish()?;
    Ok(())
}

async fn register(target: &Target, count: u32) -> Outcome<()> {
    const CONNECTIONS: u32 = 16;
    let mut registering = tokio::task::JoinSet::new();
    for first in 0..CONNECTIONS {
        let target = target.clone();
        registering.spawn(async move {
            let mut connection = Connection::open(&target).await?;
            for number in (first..count).step_by(CONNECTIONS as usize) {
                let card = format!(r#"{{"id":"agent-{number}","tags":["load"],"status":"idle","ready":true}}"#);
                let answer = connection.post("/api/agents", &card).await?;
                if answer.status != 200 {
                    answer.expect(201)?;
                }
            }
            Outcome::Ok(())
        });
    }
    while let Some(registered) = registering.join_next().await {
        registered??;
    }
    Ok(())
}

fn wanted(mode: Mode, streams: u32, count: u64) -> Vec<Wanted> {
    let path = |number| match mode {
        Mode::All => "/api/events?types=message.new".to_owned(),
        Mode::Agents => format!("/api/events?types=message.new&agent=agent-{number}"),
    };
    (0..streams).map(|number| Wanted { path: path(number), first: 0, step: 1, count }).collect()
}

fn delays(arrivals: &[Arrival]) -> Vec<u64> {
    arrivals.iter().map(|arrival| arrival.read - arrival.sent).collect()
}
