//! Reaping: silent agents go offline, ended leases are free again, late commands expire.

use std::time::Duration;

use super::Relay;
use crate::domain::activity::{ActivityKind, NewActivity};
use crate::store::{Reaped, StoreError};

impl Relay {
    /// Lets everything expire that should; `audited` when somebody asked for it.
    pub async fn reap(&self, audited: bool) -> Result<Reaped, StoreError> {
        let (offline, prune) = (millis(self.settings.offline_after), millis(self.settings.prune_after));
        let entry = audited.then_some(entry as fn(&Reaped, i64) -> NewActivity);
        self.store.reap(self.hub.open_agents(), offline, prune, entry).await
    }
}

fn entry(reaped: &Reaped, now: i64) -> NewActivity {
    NewActivity {
        body: Some(format!(
            "{} stale agent(s), {} stale orchestrator(s), {} message claim(s), {} task claim(s)",
            reaped.reaped_agent_ids.len(),
            reaped.reaped_orchestrator_ids.len(),
            reaped.released_message_ids.len(),
            reaped.released_task_ids.len()
        )),
        icon: Some("ti-broom".to_owned()),
        view: Some("activity".to_owned()),
        ..NewActivity::new(ActivityKind::State, format!("server-system-reap-{now}"), "Maintenance reaper run")
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
