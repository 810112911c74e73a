//! What follows when a plugin fails too often: back to what was there before it, or quarantine.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::kinds::{Plugin, Stage};
use super::super::package::Origin;
use super::super::runtime::FailureReport;
use super::handle::Registry;
use super::lifecycle::{ChangeKind, PluginState, PluginStatus, Step};
use super::remembered::{Content, RolledBack};
use super::slot::{Effect, Event};
use super::state::PluginSlot;

impl Registry {
    /// Puts a plugin that fails too often back to what was there before it, or else into
    /// quarantine. Answers when the next probe is due, if any is.
    pub(crate) async fn put_back(self: &Arc<Self>, report: &FailureReport) -> Option<Duration> {
        let id = &*report.plugin;
        let _turn = self.turns.lock(id).await;
        let is_it = |(origin, slot): (Origin, &PluginSlot)| {
            let incumbent = slot.incumbent()?;
            let sandbox = &incumbent.sandbox;
            (sandbox.generation == report.generation && sandbox.gate.admit().is_ok())
                .then(|| (origin, Arc::clone(incumbent), slot.previous().cloned()))
        };
        let failing = self.state().slots(id).find_map(is_it);
        if let Some((origin, failing, previous)) = failing
            && let Some(why) = why_put_back(&failing, report).await
            && !(origin == Origin::Directory && self.go_back_from(&failing, previous, &why).await)
        {
            self.quarantine(&failing, &why, None);
        }
        self.next_probe()
    }

    /// Whether there was anything to go back to.
    async fn go_back_from(self: &Arc<Self>, failing: &Arc<Plugin>, previous: Option<Arc<Plugin>>, why: &str) -> bool {
        let id = &failing.terms.id;
        let to = match previous {
            Some(previous) => Some(previous),
            None => {
                let aside = Content::of(&failing.fingerprint);
                let earlier = self.operator_states.of(id).before(Some(&aside));
                let taken = self.take_back_first(id, earlier, None).await;
                taken.map(|plugin| self.state().numbered(plugin))
            }
        };
        if to.is_none() && self.built_in_incumbent(id).is_none() {
            return false;
        }
        let because = RolledBack {
            aside: Some(Content::of(&failing.fingerprint)),
            to: to.as_ref().map(|to| Content::of(&to.fingerprint)),
            because: Some(format!("{why}; what was before it is active again")),
        };
        let rejection = because.aside_rejection(id);
        self.happens((Origin::Directory, id), Event::PutBack { to, because, rejection }, None, None).await;
        true
    }

    /// Tries those in quarantine whose time has come. Answers when the next probe is due, if any is.
    pub(crate) async fn probe_due(self: &Arc<Self>) -> Option<Duration> {
        let now = Instant::now();
        for plugin in self.quarantined() {
            let _turn = self.turns.lock(&plugin.terms.id).await;
            if plugin.sandbox.gate.until().is_none_or(|until| until <= now) {
                self.probe(&plugin, None).await;
            }
        }
        self.next_probe()
    }

    /// Tries all in quarantine, whether their time has come or not.
    pub(super) async fn probe_all(self: &Arc<Self>, by: Option<&str>) {
        for plugin in self.quarantined() {
            let _turn = self.turns.lock(&plugin.terms.id).await;
            self.probe(&plugin, by).await;
        }
    }

    /// Tries this one, if it still is in quarantine. The caller holds its turn.
    async fn probe(self: &Arc<Self>, plugin: &Arc<Plugin>, by: Option<&str>) {
        if !self.quarantined().iter().any(|quarantined| Arc::ptr_eq(quarantined, plugin)) {
            return;
        }
        match plugin.probe().await {
            Ok(()) => {
                plugin.sandbox.let_back();
                let step = Step { by: by.map(str::to_owned), ..Step::of(plugin, PluginState::Active) };
                self.history.note(&plugin.terms.id, step);
                let plugin = PluginStatus::of_plugin(plugin);
                self.announce(told(ChangeKind::Activated, Stage::Quarantine, plugin), by);
            }
            Err(rejection) => {
                let reason = format!("failed too often, and when it was probed: {}", rejection.reason);
                self.quarantine(plugin, &reason, by);
            }
        }
    }

    /// Tries what is in quarantine of one id. The caller holds its turn.
    pub(super) async fn probe_id(self: &Arc<Self>, id: &str, by: Option<&str>) {
        for plugin in self.quarantined().iter().filter(|plugin| plugin.terms.id == id) {
            self.probe(plugin, by).await;
        }
    }

    /// Closes a plugin's gate, with the reason for the operator.
    fn quarantine(self: &Arc<Self>, plugin: &Plugin, reason: &str, by: Option<&str>) {
        let id = &plugin.terms.id;
        let reason = |pause: Duration| {
            format!(
                "{reason}; its calls are refused and it is probed after {} s, or at once by POST /api/plugins/{id}/enable",
                pause.as_secs()
            )
        };
        plugin.sandbox.gate.close(Instant::now(), reason);
        let status = PluginStatus::of_plugin(plugin);
        let mut effects = vec![Effect::Note(status.clone())];
        effects.extend(told(ChangeKind::Quarantined, Stage::Quarantine, status));
        self.announce(effects, by);
    }

    fn next_probe(&self) -> Option<Duration> {
        let now = Instant::now();
        self.quarantined().iter().filter_map(|plugin| plugin.sandbox.gate.until()).min().map(|until| until - now)
    }

    fn quarantined(&self) -> Vec<Arc<Plugin>> {
        let state = self.state();
        state.incumbents().filter(|plugin| plugin.sandbox.gate.until().is_some()).cloned().collect()
    }

    /// What is active of this id in the binary.
    pub(super) fn built_in_incumbent(&self, id: &str) -> Option<Arc<Plugin>> {
        self.state().slot(Origin::BuiltIn, id)?.incumbent().cloned()
    }
}

/// Why this plugin is put back, if it has to be. One that failed on questions of one caller only is asked something
/// harmless first.
async fn why_put_back(failing: &Plugin, report: &FailureReport) -> Option<String> {
    const OFTEN: &str = "failed five times within a minute";
    if report.decisive {
        return Some(format!("{OFTEN}, at last: {}", report.latest));
    }
    match failing.probe().await {
        Err(rejection) => Some(format!("{OFTEN}, and when it was probed: {}", rejection.reason)),
        Ok(()) => {
            tracing::warn!(
                plugin.id = &*report.plugin,
                "plugin {OFTEN}, at last: {}; it answers the relay's own questions, so it stays active for other questions",
                report.latest
            );
            None
        }
    }
}

/// Everybody is told of a loaded plugin whose state changed.
fn told(kind: ChangeKind, stage: Stage, plugin: PluginStatus) -> Vec<Effect> {
    vec![Effect::Count { kind, stage: stage.as_str() }, Effect::Announce { kind, plugin }]
}
