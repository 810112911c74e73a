//! Retention: what is too old or too much is deleted in small steps, so that nobody waits long for
//! the writer.

use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use crate::relay::Relay;

/// How often it looks.
const EVERY: Duration = Duration::from_secs(60);
/// Between two steps of one run, others get their turn at the writer.
const PAUSE: Duration = Duration::from_millis(5);

/// Runs until the relay drains.
pub(super) async fn forever(relay: Relay) {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = relay.draining().cancelled() => break,
        }
        match relay.retain(PAUSE).await {
            Ok(0) => {}
            Ok(rows) => tracing::info!(rows, "old records deleted"),
            Err(error) => tracing::warn!(%error, "retention failed; it tries again"),
        }
    }
}
