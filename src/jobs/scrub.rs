//! Scrubbing: the whole database is read in small steps, about once a day.

use std::time::Duration;

use crate::relay::Relay;

/// How long it waits after a step that failed, and before the first: a start has more urgent things to do.
const PAUSE: Duration = Duration::from_secs(10);

/// Runs until the relay drains.
pub(super) async fn forever(relay: Relay) {
    let mut pause = PAUSE;
    loop {
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = relay.draining().cancelled() => break,
        }
        pause = relay.scrub().await.unwrap_or_else(|error| {
            tracing::error!(%error, "a part of the database cannot be read");
            PAUSE * 6
        });
    }
}
