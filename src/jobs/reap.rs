//! The reaper, every 15 seconds.

use std::time::Duration;

use super::Rounds;
use crate::relay::Relay;

/// How often it runs: a lease or a silence is noticed at most this late.
const EVERY: Duration = Duration::from_secs(15);

/// Runs until the relay drains.
pub(super) async fn forever(relay: Relay) {
    let mut rounds = Rounds::every(EVERY, &relay);
    while rounds.next().await {
        relay.tell_refused_credentials().await;
        if let Err(error) = relay.reap_on_time().await {
            tracing::warn!(%error, "the reaper failed; it tries again");
        }
    }
}
