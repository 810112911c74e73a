//! Retention: what is too old or too much is deleted in small steps, so that nobody waits long for
//! the writer.

use tokio::time::{MissedTickBehavior, interval};

use crate::relay::Relay;
use crate::relay::system::RETAINED_EVERY;

/// Runs until the relay drains.
pub(super) async fn forever(relay: Relay) {
    let mut ticks = interval(RETAINED_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = relay.draining().cancelled() => break,
        }
        match relay.retain().await {
            Ok(0) => {}
            Ok(rows) => tracing::info!(rows, "old records deleted"),
            Err(error) => tracing::warn!(%error, "retention failed; it tries again"),
        }
    }
}
