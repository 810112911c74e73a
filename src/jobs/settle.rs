//! Settling: after a crash or a restart, finds out what became of what this host had started.

use crate::relay::{LeftOpen, Relay};

/// Runs at the start. What it finds running is watched from then on.
pub(super) async fn once(relay: Relay, left: LeftOpen) {
    if let Err(error) = relay.settle(left).await {
        tracing::error!(%error, "cannot settle the sessions of an earlier run");
    }
}
