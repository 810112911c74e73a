//! The clock is looked at every second: whoever looks sees that it was set, or that nobody was here.

use std::time::Duration;

use super::Rounds;
use crate::domain::time::Jump;
use crate::relay::Relay;

/// How often it looks. A second without anybody here is noticed by what looks next, which may be a request.
const EVERY: Duration = Duration::from_secs(1);

/// Runs until the relay drains.
pub(super) async fn forever(relay: Relay) {
    let mut rounds = Rounds::every(EVERY, &relay);
    while rounds.next().await {
        let jumps = relay.look_at_the_clock();
        for jump in &jumps {
            match jump {
                Jump::Step { ms, .. } => tracing::warn!(
                    step_ms = ms,
                    "the wall clock was set; leases and who is heard from are moved along, and nothing is deleted on \
                     its word for a day if it was set forward"
                ),
                Jump::Pause { ms, .. } => tracing::warn!(
                    pause_ms = ms,
                    "the relay did not run: the machine slept, or the program was stopped; leases are prolonged by \
                     that, and everybody can come back before counting as offline"
                ),
            }
        }
        if !jumps.is_empty()
            && let Err(error) = relay.follow_the_clock().await
        {
            tracing::warn!(%error, "what is dated could not follow the clock; the next write tries it again");
        }
    }
}
