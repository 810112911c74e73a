//! Loading a candidate beside everything else, and taking in what became of it.
//!
//! A candidate whose folder changes meanwhile is overtaken: it is abandoned, and whatever it may have come to
//! is dropped.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt;

use super::super::kinds::{Plugin, Rejection};
use super::super::package::Origin;
use super::handle::Registry;
use super::lifecycle::{PluginState, PluginStatus};
use super::loader::Candidate;
use super::remembered::{Activation, Content};
use super::slot::Event;
use super::state::PluginSlot;

impl Registry {
    /// Takes a candidate through every stage, and the slot to what follows.
    pub(super) async fn load(self: Arc<Self>, candidate: Candidate) {
        let build = async {
            let _one_of_several = self.loading.acquire().await;
            // Whatever a compiler or a guest does to its thread is a reason to reject this candidate, and no other.
            AssertUnwindSafe(candidate.build(&self.loader)).catch_unwind().await
        };
        let Some(built) = candidate.abandoned.run_until_cancelled(build).await else {
            return;
        };
        let built =
            built.unwrap_or_else(|_| Err(Rejection::new(candidate.progress.stage(), "loading it failed: a panic")));
        let _turn = self.turns.lock(&candidate.source.name).await;
        self.take_in(&candidate, built).await;
        self.state().loads.remove(&candidate.ticket);
    }

    /// Takes in what became of a candidate, unless it was overtaken meanwhile.
    async fn take_in(self: &Arc<Self>, candidate: &Candidate, built: Result<Plugin, Rejection>) {
        let Candidate { ticket, source, terms, fingerprint, restores, progress, .. } = candidate;
        let (ticket, slot_of, by) = (*ticket, (source.origin, source.name.as_str()), progress.by());
        let is_awaited = |slot: &_| PluginSlot::loading(slot) == Some(ticket);
        if !self.state().slot(source.origin, &source.name).is_some_and(is_awaited) {
            return;
        }
        let event = match built {
            Ok(plugin) => {
                let remember = (source.origin == Origin::Directory).then(|| {
                    Box::new(Activation {
                        source: source.clone(),
                        content: Content::of(fingerprint),
                        required: terms.required,
                        requested: plugin.requested.clone(),
                    })
                });
                Event::Loaded { ticket, plugin: self.state().numbered(plugin), remember }
            }
            Err(rejection) => {
                let status = PluginStatus {
                    digest: Some(fingerprint.wasm.clone()),
                    ..PluginStatus::of(terms, source.origin, PluginState::Rejected)
                };
                Event::Failed { ticket, status, rejection }
            }
        };
        self.happens(slot_of, event, None, by).await;
        if *restores {
            self.restore(&source.name, by).await;
        }
    }
}
