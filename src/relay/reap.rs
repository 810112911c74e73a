//! Reaping: silent agents go offline, ended leases are free again, late commands expire.

use std::time::Duration;

use super::Relay;
use crate::domain::retention::Reaped;
use crate::store::StoreError;

impl Relay {
    /// Lets everything expire that should; `audited` when somebody asked for it.
    pub async fn reap(&self, audited: bool) -> Result<Reaped, StoreError> {
        let (offline, prune) = (millis(self.settings.offline_after), millis(self.settings.prune_after));
        self.store.reap(self.hub.open_agents(), offline, prune, audited).await
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
