//! Announcing: what happens to plugins is told on the stream and written to the activity log.

use tokio::sync::broadcast::error::RecvError;

use crate::relay::Relay;

/// Runs until the relay drains.
pub(super) async fn forever(relay: Relay) {
    let mut changes = relay.plugin_changes();
    loop {
        let change = tokio::select! {
            change = changes.recv() => change,
            () = relay.draining().cancelled() => break,
        };
        match change {
            Ok(change) => relay.announce_plugin(change).await,
            Err(RecvError::Lagged(missed)) => tracing::warn!(missed, "plugin changes were not announced"),
            Err(RecvError::Closed) => break,
        }
    }
}
