//! A loaded plugin, and what every kind of guest can do.

use std::any::Any;
use std::pin::Pin;
use std::sync::Arc;

use serde_json::Value;

use super::super::package::{Fingerprint, Origin, RequestedGrants, Terms};
use super::super::runtime::{CallError, Sandbox};
use super::question::Question;
use super::rejection::Rejection;

/// A future of a method that is called through a trait object.
pub(crate) type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A plugin that went through every stage of loading. Never changes; a new one takes its place.
pub(crate) struct Plugin {
    pub(crate) terms: Terms,
    /// As it describes itself.
    pub(crate) version: String,
    /// The interface it exports, with the track.
    pub(crate) interface: String,
    pub(crate) origin: Origin,
    pub(crate) fingerprint: Fingerprint,
    pub(crate) requested: RequestedGrants,
    /// Milliseconds since the epoch.
    pub(crate) loaded_at: i64,
    pub(crate) sandbox: Sandbox,
    /// The part that differs by kind.
    pub(crate) guest: Arc<dyn Guest>,
}

impl Plugin {
    /// Its guest, if it is of this kind.
    pub(crate) fn guest_as<G: Guest>(&self) -> Option<&G> {
        let guest: &dyn Any = &*self.guest;
        guest.downcast_ref()
    }

    /// As [`Self::guest_as`], to be kept.
    pub(crate) fn shared_guest<G: Guest>(&self) -> Option<Arc<G>> {
        let guest: Arc<dyn Any + Send + Sync> = Arc::clone(&self.guest) as _;
        guest.downcast().ok()
    }

    /// Asks something harmless.
    ///
    /// # Errors
    /// When it fails, or answers what no plugin of its kind may.
    pub(crate) async fn probe(&self) -> Result<(), Rejection> {
        self.guest.probe(self).await
    }
}

/// What one kind of plugin is to the relay, once it is loaded.
pub(crate) trait Guest: Any + Send + Sync {
    /// Asks something harmless, for [`Plugin::probe`].
    fn probe<'a>(&'a self, plugin: &'a Plugin) -> Boxed<'a, Result<(), Rejection>>;

    /// What [`Guest::probe`] asks, in words.
    fn probed(&self, plugin: &Plugin) -> Vec<String>;

    /// What it said of itself when it was loaded, beside its id and version.
    fn abilities(&self) -> Value;

    /// Puts one question to it, for its author.
    fn ask<'a>(&'a self, plugin: &'a Plugin, question: &'a Question) -> Boxed<'a, Asked>;

    /// Makes one instance and asks it nothing: the microseconds that took.
    fn instantiate<'a>(&'a self, sandbox: &'a Sandbox) -> Boxed<'a, Result<u64, CallError>>;
}

/// What became of a question of the plugin's author.
pub(crate) struct Asked {
    /// `"allow"`, or an object that names the kind of answer: see `workbench::Called`.
    pub(crate) answer: Value,
    /// Whether the plugin wanted to see the question.
    pub(crate) asked: bool,
}
