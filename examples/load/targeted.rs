//! `targeted`: what an event costs that only one of many streams is meant to get.
//!
//! Each stream follows another agent, and one connection sends messages to one agent after the other.
//! With 10 and with thousands of streams open, the processor time of the server is divided by the
//! messages: the second divided by the first says what the other streams cost. Meanwhile the time
//! from the answer of a request to the bytes read by the stream is taken; it is negative when the
//! stream was faster than the answer.

use crate::http::{Connection, message, now};
use crate::report::{Goal, Report, millis, percentile};
use crate::server::Server;
use crate::streams::{Streams, Wanted};
use crate::{Load, Outcome, on_this_thread};

/// The number of streams that is compared with.
const FEW: u32 = 10;
/// How many messages are sent; the remainder by the number of streams does not matter.
const MESSAGES: u64 = 5_000;

/// Measures.
pub(crate) fn measure(load: &Load, many: u32, report: &mut Report) -> Outcome<()> {
    let few_cpu = run(&load.server()?, FEW, report)?;
    let many_cpu = run(&load.server()?, many, report)?;
    if let (Some(few_cpu), Some(many_cpu)) = (few_cpu, many_cpu) {
        let name = format!("cpu of an event, {many} streams by {FEW}");
        report.add(name, many_cpu / few_cpu, "", Goal::AtMost(1.15));
    }
    Ok(())
}

/// Answers the processor time of all messages.
fn run(server: &Server, count: u32, report: &mut Report) -> Outcome<Option<f64>> {
    let streams = Streams::open(server.target(), wanted(count))?;
    let name = format!("{count} streams");
    let (before, answered) = on_this_thread(async {
        let mut connection = Connection::open(server.target()).await?;
        for index in 0..200 {
            connection.post("/api/messages", &message("someone", index, "")).await?.expect(201)?;
        }
        let before = server.cpu_seconds()?;
        let mut answered = Vec::with_capacity(MESSAGES as usize);
        for index in 0..MESSAGES {
            let to = format!("agent-{}", index % u64::from(count));
            connection.post("/api/messages", &message(&to, index, "")).await?.expect(201)?;
            answered.push(now());
        }
        Ok((before, answered))
    })?;
    let arrivals = streams.finish()?;
    let cpu = before.zip(server.cpu_seconds()?).map(|(before, after)| after - before);
    if let Some(cpu) = cpu {
        report.add(format!("{name}: server cpu"), cpu / MESSAGES as f64 * 1_000.0, "s/thousand", Goal::None);
    }
    // Signed, because a stream may well be faster than the answer.
    let mut after_answer: Vec<i64> = Vec::with_capacity(arrivals.len());
    let mut whole = Vec::with_capacity(arrivals.len());
    for arrival in arrivals {
        let answered = answered[usize::try_from(arrival.index)?];
        after_answer.push(i64::try_from(arrival.read)? - i64::try_from(answered)?);
        whole.push(arrival.read - arrival.sent);
    }
    after_answer.sort_unstable();
    let median = after_answer.get(after_answer.len() / 2).map_or(0.0, |&time| time as f64 / 1e6);
    report.add(format!("{name}: answer to receipt: median"), median, "ms", Goal::AtMost(0.15));
    whole.sort_unstable();
    report.add(format!("{name}: send to receipt: median"), millis(percentile(&whole, 50.0)), "ms", Goal::None);
    report.add(format!("{name}: send to receipt: p99"), millis(percentile(&whole, 99.0)), "ms", Goal::None);
    Ok(cpu)
}

/// Message `n` goes to stream `n` modulo their number.
fn wanted(count: u32) -> Vec<Wanted> {
    let step = u64::from(count);
    let stream = |number: u64| Wanted {
        path: format!("/api/events?types=message.new&agent=agent-{number}"),
        first: number,
        step,
        count: MESSAGES / step + u64::from(number < MESSAGES % step),
    };
    (0..step).map(stream).collect()
}
