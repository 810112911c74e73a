//! Going back: what was active before is taken from the relay's own copies, not from the folder.

use std::sync::Arc;

use super::super::kinds::{Plugin, Rejection, Stage};
use super::super::package::{Manifest, Origin, Source};
use super::blocking::blocking;
use super::handle::Registry;
use super::remembered::Content;
use super::slot::Event;
use super::state::PluginSlot;

impl Registry {
    /// Makes an earlier generation of a plugin anew, from the files that were kept of it.
    pub(super) async fn take_back(&self, id: &str, content: &Content, by: Option<&str>) -> Result<Plugin, Rejection> {
        let damaged = |problem: String| {
            tracing::error!(plugin.id = id, "cannot go back to generation {}: {problem}", content.component);
            Rejection::new(Stage::Read, problem)
        };
        let (manifest, wasm) = self.operator_states.take(content).await.map_err(damaged)?;
        let minisig = content.minisig.clone();
        let source = Source { origin: Origin::Directory, name: id.to_owned(), manifest, wasm: wasm.into(), minisig };
        let fingerprint = blocking({
            let source = source.clone();
            move || source.fingerprint()
        });
        let fingerprint = fingerprint.await;
        let terms = self.terms(&source, &fingerprint)?;
        if let Some(reason) = self.why_disabled(&terms, false) {
            return Err(Rejection::new(Stage::Disabled, reason));
        }
        let accepted = self.operator_states.of(id).accepted;
        let progress = self.progress(&source, &terms, &fingerprint, Some(self.history.clone()), by);
        self.loader.build(&source, &terms, &fingerprint, accepted.as_ref(), &progress).await
    }

    /// Notes the policies whose folder went away while no relay ran, and which no one set aside.
    pub(crate) async fn note_losses_since_the_last_run(self: &Arc<Self>) {
        for (id, latest) in self.operator_states.latest_of_folders() {
            if self.state().slots(&id).next().is_some() {
                continue;
            }
            let manifest = self.operator_states.take(&latest).await.ok();
            let manifest = manifest.and_then(|(manifest, _)| Manifest::parse(&manifest).ok());
            if manifest.is_some_and(|manifest| manifest.is_obeyed()) {
                let why = "its folder was there when the relay last ran, and is gone".to_owned();
                self.state().lose(id, why);
            }
        }
        self.publish(None);
    }

    /// The latest of these generations that can be taken back.
    pub(super) async fn take_back_first(&self, id: &str, contents: Vec<Content>, by: Option<&str>) -> Option<Plugin> {
        for content in contents {
            match self.take_back(id, &content, by).await {
                Ok(plugin) => return Some(plugin),
                Err(rejection) => tracing::warn!(
                    plugin.id = id,
                    stage = rejection.stage.as_str(),
                    "generation {} is not taken back: {}",
                    content.component,
                    rejection.reason
                ),
            }
        }
        None
    }

    /// Makes active again what was active when the relay last ran, if nothing is: what an operator went back to,
    /// or the predecessor of a folder that is broken. The caller holds the turn of the id.
    pub(super) async fn restore(self: &Arc<Self>, id: &str, by: Option<&str>) {
        let remembered = self.operator_states.of(id);
        if remembered.disabled || remembered.gone {
            return;
        }
        let tried = {
            let state = self.state();
            let slot = state.slot(Origin::Directory, id);
            let is_idle =
                |slot: &&PluginSlot| slot.incumbent().is_none() && slot.loading().is_none() && !slot.is_disabled();
            let Some(slot) = slot.filter(is_idle) else {
                return;
            };
            slot.tried().map(Content::of)
        };
        let mut earlier = match &remembered.rolled_back {
            Some(rolled_back) => rolled_back.to.iter().cloned().collect(),
            None => remembered.before(None),
        };
        if remembered.rolled_back.is_none() {
            earlier.retain(|content| Some(content) != tried.as_ref());
        }
        if let Some(plugin) = self.take_back_first(id, earlier, by).await {
            let required = plugin.terms.required;
            let plugin = self.state().numbered(plugin);
            self.happens((Origin::Directory, id), Event::Restored { plugin, required }, None, by).await;
        }
    }
}
