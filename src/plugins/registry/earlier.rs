//! Going back: what was active before is taken from the relay's own copies, not from the folder.

use super::operator_state::Content;
use super::{ChangeKind, Origin, Place, Plugin, PluginStatus, Registry, Rejection, Source, Stage};

impl Registry {
    /// Makes an earlier generation of a plugin anew, from the files that were kept of it.
    pub(crate) async fn take_back(&self, id: &str, content: &Content) -> Result<Plugin, Rejection> {
        let damaged = |problem: String| {
            tracing::error!(plugin.id = id, "cannot go back to generation {}: {problem}", content.component);
            Rejection::new(Stage::Read, problem)
        };
        let (manifest, wasm) = self.states.take(content).await.map_err(damaged)?;
        let minisig = content.minisig.clone();
        let source = Source { origin: Origin::Directory, name: id.to_owned(), manifest, wasm: wasm.into(), minisig };
        let fingerprint = source.fingerprint();
        let terms = self.terms(&source, &fingerprint)?;
        if let Some(reason) = self.why_disabled(&terms, false) {
            return Err(Rejection::new(Stage::Disabled, reason));
        }
        let accepted = self.states.of(id).accepted;
        let progress = self.progress(&source, &terms, &fingerprint, Some(self.history.clone()));
        self.loader.build(&source, &terms, &fingerprint, accepted.as_ref(), &progress).await
    }

    /// The latest of these generations that can be taken back.
    pub(crate) async fn take_back_first(&self, id: &str, contents: Vec<Content>) -> Option<(Content, Plugin)> {
        for content in contents {
            match self.take_back(id, &content).await {
                Ok(plugin) => return Some((content, plugin)),
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

    /// Makes active again what was active when the relay last ran: what an operator went back to, or
    /// the predecessor of a folder that is broken.
    pub(crate) async fn restore(&mut self, place: &mut Place, id: &str) {
        let choice = self.states.of(id);
        if choice.disabled || choice.gone || place.is_disabled() {
            return;
        }
        let mut earlier = match &choice.rolled_back {
            Some(rolled_back) => rolled_back.to.iter().cloned().collect(),
            None => choice.before(None),
        };
        let tried = place.tried.as_ref().map(Content::of);
        if choice.rolled_back.is_none() {
            earlier.retain(|content| Some(content) != tried.as_ref());
        }
        let Some((_, plugin)) = self.take_back_first(id, earlier).await else {
            return;
        };
        let idle = place.idle.take();
        place.required |= plugin.terms.required;
        self.activate(place, plugin, ChangeKind::Activated);
        place.idle = idle;
    }

    /// Lists what is in the folder as what was gone back from.
    pub(crate) fn set_aside(&mut self, place: &mut Place, status: PluginStatus) {
        let because = self.states.of(&status.id).rolled_back.and_then(|rolled_back| rolled_back.because);
        let (stage, why) = match because {
            Some(because) => (Stage::Quarantine, because),
            None => (Stage::Rollback, "set aside by going back to an earlier generation".to_owned()),
        };
        let reason =
            format!("{why}; POST /api/plugins/{}/enable, or a change of the folder, loads what is in it", status.id);
        self.reject(place, status, Rejection::new(stage, reason));
    }
}
