//! `decide`: what it costs to ask the policies.
//!
//! A spawn is described to `POST /api/plugins/evaluate`, which asks every policy as the real request
//! would and does nothing. Each verdict says how many microseconds its plugin took, a fresh instance
//! included; the rest of a request's time is HTTP and the network. One connection asks, then 8 do.

use serde_json::Value;

use crate::http::{Connection, now};
use crate::post::{hammer, report_cpu};
use crate::report::{Goal, Report, percentile};
use crate::{Load, Outcome, on_this_thread};

pub(crate) const PATH: &str = "/api/plugins/evaluate";
/// Requests whose verdicts are looked at.
const LOOKED_AT: usize = 2_000;

/// Measures.
pub(crate) fn measure(load: &Load, report: &mut Report) -> Outcome<()> {
    let server = load.server()?;
    on_this_thread(async {
        let mut connection = Connection::open(server.target()).await?;
        let (mut times, mut micros, mut verdicts) = (Vec::new(), Vec::new(), 0);
        for _ in 0..LOOKED_AT {
            let sent = now();
            let answer = connection.post(PATH, SPAWN).await?;
            times.push(now() - sent);
            answer.expect(200)?;
            let answer: Value = serde_json::from_slice(answer.body)?;
            let of_policies = answer["verdicts"].as_array().ok_or("the answer has no verdicts")?;
            verdicts = of_policies.len();
            micros.extend(of_policies.iter().filter_map(|verdict| verdict["micros"].as_u64()));
        }
        if micros.is_empty() {
            return Err("no policy was asked".into());
        }
        report.add("policies asked", verdicts as f64, "", Goal::None);
        micros.sort_unstable();
        report.add("one policy: median", percentile(&micros, 50.0) as f64, "us", Goal::AtMost(60.0));
        report.add("one policy: p99", percentile(&micros, 99.0) as f64, "us", Goal::None);
        report.add_times("request, 1 connection", &mut times, Goal::None, Goal::None);
        let before = server.cpu_seconds()?;
        let mut run = hammer(server.target(), 8, load.duration(), 200, PATH, |_| SPAWN.to_owned()).await?;
        report.add("8 connections: rate", run.rate(), "/s", Goal::None);
        report.add_times("request, 8 connections", &mut run.times, Goal::None, Goal::None);
        report_cpu(report, "8 connections", &server, before, run.times.len(), Goal::None)
    })
}

/// A spawn in the base directory, as an operator asks for it.
pub(crate) const SPAWN: &str = r#"{"kind":"spawn","provider":"claude","approvalMode":"guarded","label":"load"}"#;
