//! What follows when a plugin fails too often: back to what was there before it, or quarantine.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::runtime::FailureReport;
use super::operator_state::{Content, RolledBack};
use super::{ChangeKind, Place, Plugin, PluginState, PluginStatus, Registry, Stage, Step, count};

impl Registry {
    /// Puts a plugin that fails too often back to what was there before it, or else into
    /// quarantine. Answers when the next probe is due, if any is.
    pub(crate) async fn put_back(&mut self, report: &FailureReport) -> Option<Duration> {
        let id = &*report.plugin;
        let is_it = |place: &Place| {
            let active = place.active.as_ref()?;
            (active.sandbox.generation == report.generation && active.sandbox.gate.admit().is_ok())
                .then(|| Arc::clone(active))
        };
        if let Some(failing) = self.folders.get(id).and_then(is_it) {
            let mut place = self.folders.remove(id).unwrap_or_default();
            if !self.go_back_from(&mut place, &failing, report).await {
                self.quarantine(&failing, report);
            }
            self.folders.insert(id.to_owned(), place);
        } else if let Some(failing) = self.built_in.get(id).and_then(is_it) {
            self.quarantine(&failing, report);
        }
        self.next_probe()
    }

    /// Whether there was anything to go back to.
    async fn go_back_from(&mut self, place: &mut Place, failing: &Arc<Plugin>, report: &FailureReport) -> bool {
        let id = &*report.plugin;
        let built_in = self.built_in.get(id).and_then(|place| place.active.clone());
        let previous = match place.previous.take() {
            Some(previous) => Some(previous),
            None => {
                let earlier = self.states.of(id).before(Some(&Content::of(&failing.fingerprint)));
                let taken = self.take_back_first(id, earlier).await;
                taken.map(|(_, plugin)| Arc::new(self.numbered(plugin)))
            }
        };
        if previous.is_none() && built_in.is_none() {
            return false;
        }
        let rolled_back = RolledBack {
            aside: Some(Content::of(&failing.fingerprint)),
            to: previous.as_ref().map(|previous| Content::of(&previous.fingerprint)),
            because: Some(format!(
                "failed five times within a minute, at last: {}; what was before it is active again",
                report.latest
            )),
        };
        self.states.note(id, |choice| choice.rolled_back = Some(rolled_back.clone())).await;
        place.active = previous;
        place.idle = None;
        self.set_aside(place, PluginStatus { state: PluginState::Rejected, ..PluginStatus::of_plugin(failing) });
        true
    }

    fn quarantine(&mut self, failing: &Arc<Plugin>, report: &FailureReport) {
        let reason = format!("failed five times within a minute, at last: {}", report.latest);
        refuse(failing, &reason);
        self.note(&PluginStatus::of_plugin(failing));
        self.announce_again(failing, ChangeKind::Quarantined, Stage::Quarantine);
    }

    /// Tries those in quarantine whose time has come. Answers when the next probe is due, if any is.
    pub(crate) async fn probe_due(&mut self) -> Option<Duration> {
        let now = Instant::now();
        self.probe(|plugin| plugin.sandbox.gate.until().is_none_or(|until| until <= now)).await;
        self.next_probe()
    }

    /// Tries these of those in quarantine, whether their time has come or not.
    pub(crate) async fn probe(&mut self, which: impl Fn(&Plugin) -> bool) {
        for plugin in self.quarantined().into_iter().filter(|plugin| which(plugin)) {
            match plugin.probe().await {
                Ok(()) => {
                    plugin.sandbox.gate.open();
                    self.history
                        .note(&plugin.terms.id, Step { by: self.by.clone(), ..Step::of(&plugin, PluginState::Active) });
                    self.announce_again(&plugin, ChangeKind::Activated, Stage::Quarantine);
                }
                Err(rejection) => {
                    refuse(&plugin, &format!("failed too often, and when it was probed: {}", rejection.reason));
                    self.note(&PluginStatus::of_plugin(&plugin));
                    self.announce_again(&plugin, ChangeKind::Quarantined, Stage::Quarantine);
                }
            }
        }
    }

    fn next_probe(&self) -> Option<Duration> {
        let now = Instant::now();
        self.quarantined().iter().filter_map(|plugin| plugin.sandbox.gate.until()).min().map(|until| until - now)
    }

    fn quarantined(&self) -> Vec<Arc<Plugin>> {
        let active = self.folders.values().chain(self.built_in.values()).filter_map(|place| place.active.as_ref());
        active.filter(|plugin| plugin.sandbox.gate.until().is_some()).map(Arc::clone).collect()
    }

    /// Tells of a loaded plugin that its state changed.
    pub(crate) fn announce_again(&mut self, plugin: &Plugin, kind: ChangeKind, stage: Stage) {
        count(kind, stage.as_str());
        self.changed(kind, PluginStatus::of_plugin(&plugin));
    }
}

/// Closes a plugin's gate, with the reason for the operator.
fn refuse(plugin: &Plugin, reason: &str) {
    let id = &plugin.terms.id;
    let reason = |pause: Duration| {
        format!(
            "{reason}; its calls are refused and it is probed after {} s, or at once by POST /api/plugins/{id}/enable",
            pause.as_secs()
        )
    };
    plugin.sandbox.gate.close(Instant::now(), reason);
}
