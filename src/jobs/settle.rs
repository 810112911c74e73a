//! Settling: after a crash or a restart, finds out what became of what this host had started.

use crate::domain::time::Timestamp;
use crate::relay::Relay;

/// Runs at the start, which was at `started`. What it finds running is watched from then on.
pub(super) async fn once(relay: Relay, started: Timestamp) {
    if let Err(error) = relay.settle_sessions(started).await {
        tracing::error!(%error, "cannot settle the sessions of an earlier run");
    }
}
