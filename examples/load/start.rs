//! `start`: how soon the server takes requests, and what it needs while nobody calls.
//!
//! The time is from the start of the program to its line `listening on`. A first start makes the
//! database and compiles the plugins; the goal is for those after it, which find both. Then the
//! server is left alone for two seconds, and its memory is read.

use crate::report::{Goal, Report, millis, percentile};
use crate::server::Server;
use crate::{Load, Outcome, on_this_thread};

/// Starts after the first one.
const STARTS: usize = 5;
/// How long the server is left alone.
const IDLE: tokio::time::Duration = tokio::time::Duration::from_secs(2);

/// Measures.
pub(crate) fn measure(load: &Load, report: &mut Report) -> Outcome<()> {
    let mut server = load.own_server("the server is to be started")?;
    report.add("first start", server.starting.as_secs_f64() * 1_000.0, "ms", Goal::None);
    let mut times = Vec::with_capacity(STARTS);
    for _ in 0..STARTS {
        server = Server::start_in(&load.program, server.stop()?)?;
        times.push(u64::try_from(server.starting.as_nanos())?);
    }
    times.sort_unstable();
    report.add("later starts: median", millis(percentile(&times, 50.0)), "ms", Goal::AtMost(100.0));
    let cpu_before = server.cpu_seconds()?;
    on_this_thread(async {
        tokio::time::sleep(IDLE).await;
        Ok(())
    })?;
    if let Some(bytes) = server.memory_bytes()? {
        report.add("memory when idle", bytes / f64::from(1 << 20), "MiB", Goal::AtMost(40.0));
    }
    if let (Some(before), Some(after)) = (cpu_before, server.cpu_seconds()?) {
        report.add("processor when idle", (after - before) / IDLE.as_secs_f64() * 100.0, "%", Goal::None);
    }
    Ok(())
}
