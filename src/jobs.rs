//! Background work. Each job takes no input beside the relay, may be repeated at any time, and runs
//! on a timer, or when it is told that there is something to do.

mod announce;
pub mod deliver;
mod expire;
mod reap;
mod scrub;
mod settle;
mod time;
mod trim;

use std::time::Duration;

use tokio::time::{Interval, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::deliver::Deliverer;
use crate::relay::Relay;

/// Starts every job, before requests are taken; each ends when the relay drains.
pub async fn start(relay: &Relay, deliverer: Deliverer, tasks: &TaskTracker) {
    match relay.left_open().await {
        Ok(left) => drop(tasks.spawn(settle::once(relay.clone(), left))),
        Err(error) => tracing::error!(%error, "cannot find out what an earlier run left open"),
    }
    // Known before anybody can ask.
    relay.remember_lost_policies().await;
    relay.attend_to_plugins().await;
    tasks.spawn(time::forever(relay.clone()));
    tasks.spawn(announce::forever(relay.clone()));
    tasks.spawn(deliver::forever(relay.clone(), deliverer));
    tasks.spawn(reap::forever(relay.clone()));
    tasks.spawn(expire::forever(relay.clone()));
    tasks.spawn(scrub::forever(relay.clone()));
    tasks.spawn(trim::forever(relay.clone()));
}

/// When a job on a timer has its turn: at once, and then this long after the last turn began, or when that was over
/// if it took longer.
struct Rounds {
    ticks: Interval,
    draining: CancellationToken,
}

impl Rounds {
    fn every(period: Duration, relay: &Relay) -> Self {
        let mut ticks = interval(period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { ticks, draining: relay.draining().clone() }
    }

    /// Waits for the next turn. False: the relay drains.
    async fn next(&mut self) -> bool {
        tokio::select! {
            _ = self.ticks.tick() => true,
            () = self.draining.cancelled() => false,
        }
    }
}
