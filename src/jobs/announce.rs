//! Announcing: what happens to plugins is told on the stream and written to the activity log, and what is wrong with
//! one waits for a person.

use tokio::sync::broadcast::error::RecvError;

use crate::relay::Relay;

/// Runs until the relay drains.
pub(super) async fn forever(relay: Relay) {
    let (mut changes, mut sets) = (relay.plugin_changes(), relay.plugin_sets());
    // What came about before anybody followed.
    relay.attend_to_plugins().await;
    loop {
        let change = tokio::select! {
            change = changes.recv() => change,
            Ok(()) = sets.changed() => {
                relay.attend_to_plugins().await;
                continue;
            }
            () = relay.draining().cancelled() => break,
        };
        match change {
            Ok(change) => relay.announce_plugin(change).await,
            Err(RecvError::Lagged(missed)) => tracing::warn!(missed, "plugin changes were not announced"),
            Err(RecvError::Closed) => break,
        }
    }
}
