//! Background work. Each job takes no input beside the relay, may be repeated at any time, and runs
//! on a timer.

mod announce;
mod expire;
mod reap;
mod scrub;
mod settle;
mod time;
mod trim;

use std::time::Duration;

use tokio::time::interval;
use tokio_util::task::TaskTracker;

use crate::relay::Relay;
use crate::telemetry;

/// Starts every job, before requests are taken; each ends when the relay drains.
pub async fn start(relay: &Relay, tasks: &TaskTracker) {
    match relay.left_open().await {
        Ok(left) => drop(tasks.spawn(settle::once(relay.clone(), left))),
        Err(error) => tracing::error!(%error, "cannot find out what an earlier run left open"),
    }
    tasks.spawn(time::forever(relay.clone()));
    tasks.spawn(announce::forever(relay.clone()));
    tasks.spawn(reap::forever(relay.clone()));
    tasks.spawn(expire::forever(relay.clone()));
    tasks.spawn(scrub::forever(relay.clone()));
    tasks.spawn(fold_metrics(relay.clone()));
    tasks.spawn(trim::forever(relay.clone()));
}

/// Histograms keep every value until they are folded.
async fn fold_metrics(relay: Relay) {
    let mut ticks = interval(Duration::from_secs(5));
    loop {
        tokio::select! {
            _ = ticks.tick() => telemetry::fold_metrics(),
            () = relay.draining().cancelled() => break,
        }
    }
}
