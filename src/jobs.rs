//! Background work. Each job takes no input beside the relay, may be repeated at any time, and runs
//! on a timer.

mod announce;
mod expire;
mod reap;
mod settle;

use std::time::Duration;

use tokio::time::interval;
use tokio_util::task::TaskTracker;

use crate::domain::time::Timestamp;
use crate::relay::Relay;
use crate::telemetry;

/// Starts every job, before requests are taken; each ends when the relay drains.
pub fn start(relay: &Relay, tasks: &TaskTracker) {
    tasks.spawn(settle::once(relay.clone(), Timestamp::now()));
    tasks.spawn(announce::forever(relay.clone()));
    tasks.spawn(reap::forever(relay.clone()));
    tasks.spawn(expire::forever(relay.clone()));
    tasks.spawn(fold_metrics(relay.clone()));
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
