//! `signed`: what it costs that an event from outside is signed, and becomes a task.
//!
//! One connection sends a message and a signed event in turn, each once the one before is answered. The event is
//! signed by Standard Webhooks, has an id that is remembered, and becomes a task with a message for its target; the
//! message is as large, and durable as well. Both are timed to the answer, which means that they are on disk, and to
//! an event stream that gets them. The goal is the median of the one for each of the other.

use std::fs;

use standardwebhooks::Webhook;

use crate::http::{Connection, message, now};
use crate::report::{Goal, Report, percentile};
use crate::server::Server;
use crate::streams::{Arrival, Streams, Wanted};
use crate::{Load, Outcome, on_this_thread};

const SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
/// Of each kind for every second that a rate is measured.
const EACH_SECOND: u64 = 700;
/// So many of each come first and are not counted.
const WARM_UP: u64 = 200;
/// A signed event takes so many times a message at most.
const TIMES_AT_MOST: f64 = 1.3;

/// Measures.
pub(crate) fn measure(load: &Load, report: &mut Report) -> Outcome<()> {
    load.require_own("the integration's secret stands in its configuration")?;
    let dir = tempfile::Builder::new().prefix("load-").tempdir_in(&load.dir)?;
    let config = format!("[integrations.load]\nsecret = \"{SECRET}\"\n[limits]\nintegrations_per_minute = 0\n");
    fs::write(dir.path().join("relay.toml"), config)?;
    let server = Server::start_in(&load.program, dir)?;
    let count = WARM_UP + EACH_SECOND * u64::from(load.seconds);
    let stream = |path: &str, first| Wanted { path: path.to_owned(), first, step: 2, count };
    let streams = Streams::open(
        server.target(),
        vec![stream("/api/events?agent=plain&types=message.new", 0), stream("/api/events?types=task.created", 1)],
    )?;
    let webhook = Webhook::new(SECRET)?;
    let mut answered = [Vec::new(), Vec::new()];
    on_this_thread(async {
        let mut connection = Connection::open(server.target()).await?;
        for index in 0..count {
            let begun = now();
            connection.post("/api/messages", &message("plain", 2 * index, "")).await?.expect(201)?;
            answered[0].push(now() - begun);
            let begun = now();
            let body = event(2 * index + 1);
            let (id, at) = (format!("msg_{index}"), seconds()?);
            let signature = webhook.sign(&id, at, body.as_bytes())?;
            let headers = format!("webhook-id: {id}\r\nwebhook-timestamp: {at}\r\nwebhook-signature: {signature}\r\n");
            connection.post_with("/api/integrations/load/events", &headers, &body).await?.expect(201)?;
            answered[1].push(now() - begun);
        }
        Ok(())
    })?;
    let arrivals = streams.finish()?;
    let on_stream = |odd: u64| {
        let of_kind = arrivals.iter().filter(move |arrival| arrival.index % 2 == odd && arrival.index >= 2 * WARM_UP);
        of_kind.map(|Arrival { sent, read, .. }| read - sent).collect::<Vec<_>>()
    };
    let [mut plain, mut signed] = answered.map(|times| times[usize::try_from(WARM_UP).unwrap_or(0)..].to_vec());
    compare(report, "answered", &mut plain, &mut signed);
    compare(report, "on a stream", &mut on_stream(0), &mut on_stream(1));
    Ok(())
}

fn compare(report: &mut Report, what: &str, plain: &mut [u64], signed: &mut [u64]) {
    report.add_times(&format!("a message {what}"), plain, Goal::None, Goal::None);
    report.add_times(&format!("a signed event {what}"), signed, Goal::None, Goal::None);
    let times = percentile(signed, 50.0) as f64 / percentile(plain, 50.0) as f64;
    report.add(format!("signed event for each message, {what}"), times, "", Goal::AtMost(TIMES_AT_MOST));
}

/// An event whose body is that of a message.
fn event(index: u64) -> String {
    message("signed", index, "").replacen(r#"{"from":"load","to":"#, r#"{"type":"load","title":"Signed","target":"#, 1)
}

fn seconds() -> Outcome<i64> {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
    Ok(i64::try_from(since.as_secs())?)
}
