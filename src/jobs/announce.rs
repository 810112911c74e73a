//! Announcing: what happens to plugins is told on the stream and written to the activity log.

use tokio::sync::broadcast::error::RecvError;

use crate::domain::audit;
use crate::domain::time::Timestamp;
use crate::plugins::PluginChange;
use crate::relay::Relay;

/// Runs until the relay drains.
pub(super) async fn forever(relay: Relay) {
    let mut changes = relay.plugins.changes();
    loop {
        let change = tokio::select! {
            change = changes.recv() => change,
            () = relay.draining.cancelled() => break,
        };
        match change {
            Ok(change) => announce(&relay, change).await,
            Err(RecvError::Lagged(missed)) => tracing::warn!(missed, "plugin changes were not announced"),
            Err(RecvError::Closed) => break,
        }
    }
}

async fn announce(relay: &Relay, change: PluginChange) {
    let (what, plugin) = (change.kind.as_str(), change.plugin);
    let Ok(mut data) = serde_json::to_value(&plugin) else { return };
    data["change"] = what.into();
    data["steps"] = serde_json::json!(change.steps);
    if let Some(by) = &change.by {
        data["by"] = by.as_str().into();
    }
    let reason = plugin.error.as_ref().map(|rejection| rejection.reason.clone());
    let generation = plugin.generation.unwrap_or(0);
    let metadata = serde_json::json!({
        "plugin": plugin.id, "digest": plugin.digest, "generation": plugin.generation,
        "stage": plugin.error.as_ref().map(|rejection| rejection.stage), "by": change.by,
    });
    let entry = audit::plugin_changed(&plugin.id, what, generation, reason.as_deref(), metadata, Timestamp::now());
    if let Err(error) = relay.store.announce_plugin(data, entry).await {
        tracing::warn!(%error, plugin.id, "cannot announce a change of a plugin");
    }
}
