//! What follows when a plugin fails too often: back to what was there before it, or quarantine.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::candidate;
use super::super::choices::{Content, RolledBack};
use super::super::sandbox::Trouble;
use super::{ChangeKind, Place, Plugin, PluginState, PluginStatus, Registry, Rejection, Stage, Step, count};

impl Registry {
    /// Puts a plugin that fails too often back to what was there before it, or else into
    /// quarantine. Answers when the next probe is due, if any is.
    pub(in crate::plugins) async fn put_back(&mut self, trouble: &Trouble) -> Option<Duration> {
        let id = &*trouble.plugin;
        let is_it = |place: &Place| {
            let active = place.active.as_ref()?;
            (active.sandbox.generation == trouble.generation && active.sandbox.gate.admit().is_ok())
                .then(|| Arc::clone(active))
        };
        if let Some(failing) = self.folders.get(id).and_then(is_it) {
            let mut place = self.folders.remove(id).unwrap_or_default();
            if !self.go_back_from(&mut place, &failing, trouble).await {
                self.quarantine(&failing, trouble);
            }
            self.folders.insert(id.to_owned(), place);
        } else if let Some(failing) = self.built_in.get(id).and_then(is_it) {
            self.quarantine(&failing, trouble);
        }
        self.next_probe()
    }

    /// Whether there was anything to go back to.
    async fn go_back_from(&mut self, place: &mut Place, failing: &Arc<Plugin>, trouble: &Trouble) -> bool {
        let id = &*trouble.plugin;
        let built_in = self.built_in.get(id).and_then(|place| place.active.clone());
        let previous = match place.previous.take() {
            Some(previous) => Some(previous),
            None => {
                let earlier = self.choices.of(id).before(Some(&Content::of(&failing.fingerprint)));
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
                trouble.latest
            )),
        };
        self.choices.note(id, |choice| choice.rolled_back = Some(rolled_back.clone())).await;
        place.active = previous;
        place.idle = None;
        self.set_aside(place, PluginStatus { state: PluginState::Rejected, ..failing.status() });
        true
    }

    fn quarantine(&mut self, failing: &Arc<Plugin>, trouble: &Trouble) {
        let reason = format!("failed five times within a minute, at last: {}", trouble.latest);
        refuse(failing, &reason);
        self.note(&failing.status());
        self.announce_again(failing, ChangeKind::Quarantined, Stage::Quarantine);
    }

    /// Tries those in quarantine whose time has come. Answers when the next probe is due, if any is.
    pub(in crate::plugins) async fn probe_due(&mut self) -> Option<Duration> {
        let now = Instant::now();
        self.probe(|plugin| plugin.sandbox.gate.until().is_none_or(|until| until <= now)).await;
        self.next_probe()
    }

    /// Tries these of those in quarantine, whether their time has come or not.
    pub(super) async fn probe(&mut self, which: impl Fn(&Plugin) -> bool) {
        for plugin in self.quarantined().into_iter().filter(|plugin| which(plugin)) {
            match candidate::probe(&plugin).await {
                Ok(()) => {
                    plugin.sandbox.gate.open();
                    self.history
                        .note(&plugin.terms.id, Step { by: self.by.clone(), ..Step::of(&plugin, PluginState::Active) });
                    self.announce_again(&plugin, ChangeKind::Activated, Stage::Quarantine);
                }
                Err(rejection) => {
                    refuse(&plugin, &format!("failed too often, and when it was probed: {}", rejection.reason));
                    self.note(&plugin.status());
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
    pub(super) fn announce_again(&mut self, plugin: &Plugin, kind: ChangeKind, stage: Stage) {
        count(kind, stage.as_str());
        self.changed(kind, plugin.status());
    }
}

/// Closes a plugin's gate, with the reason for the operator.
fn refuse(plugin: &Plugin, reason: &str) {
    let id = &plugin.terms.id;
    let rejection = |pause: Duration| Rejection {
        digest: Some(plugin.fingerprint.wasm.clone()),
        ..Rejection::new(
            Stage::Quarantine,
            format!(
                "{reason}; its calls are refused and it is probed after {} s, or at once by POST /api/plugins/{id}/enable",
                pause.as_secs()
            ),
        )
    };
    plugin.sandbox.gate.close(Instant::now(), rejection);
}
