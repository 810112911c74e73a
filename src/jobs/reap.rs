//! The reaper: silent agents go offline, ended leases are free again, late commands expire.

use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use crate::domain::activity::{ActivityKind, NewActivity};
use crate::relay::Relay;
use crate::store::{Reaped, StoreError};

/// How often it runs: a lease or a silence is noticed at most this late.
const EVERY: Duration = Duration::from_secs(15);

/// Runs until the relay drains.
pub(super) async fn forever(relay: Relay) {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = relay.draining.cancelled() => break,
        }
        if let Err(error) = run(&relay, false).await {
            tracing::warn!(%error, "the reaper failed; it tries again");
        }
    }
}

/// Runs once; `audited` when somebody asked for it.
pub async fn run(relay: &Relay, audited: bool) -> Result<Reaped, StoreError> {
    let settings = &relay.settings;
    let (offline, prune) = (millis(settings.offline_after), millis(settings.prune_after));
    let entry = audited.then_some(entry as fn(&Reaped, i64) -> NewActivity);
    relay.store.reap(relay.hub.open_agents(), offline, prune, entry).await
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
