//! Retention: what is too old or too much is deleted in small steps, so that nobody waits long for
//! the writer.

use super::Rounds;
use crate::relay::Relay;
use crate::relay::system::RETAINED_EVERY;

/// Runs until the relay drains.
pub(super) async fn forever(relay: Relay) {
    let mut rounds = Rounds::every(RETAINED_EVERY, &relay);
    while rounds.next().await {
        match relay.retain().await {
            Ok(0) => {}
            Ok(rows) => tracing::info!(rows, "old records deleted"),
            Err(error) => tracing::warn!(%error, "retention failed; it tries again"),
        }
    }
}
