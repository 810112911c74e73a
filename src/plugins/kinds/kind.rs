//! What the relay needs to know of a kind of plugin.

use std::sync::Arc;

use serde_json::{Map, Value};
use wasmtime::component::InstancePre;

use super::super::package::{Grants, Terms};
use super::super::runtime::{Host, Sandbox};
use super::plugin::{Boxed, Guest};
use super::question::{Function, Question};
use super::rejection::Rejection;

/// One kind of plugin: how it is loaded, and what can be asked of it.
pub(crate) trait Kind: Send + Sync {
    /// Makes a guest of a component: an instance of it has the types of its world, describes itself as its
    /// manifest does, and takes its settings.
    fn load<'a>(
        &'a self,
        component: Linked<'a>,
        sandbox: &'a Sandbox,
        terms: &'a Terms,
    ) -> Boxed<'a, Result<Described, Rejection>>;

    /// Asks a component of which there is no manifest who it is.
    fn introduce<'a>(
        &'a self,
        component: Linked<'a>,
        sandbox: &'a Sandbox,
    ) -> Boxed<'a, Result<Introduction, Rejection>>;

    /// The functions that a case can ask. A case without arguments asks the first.
    fn functions(&self) -> &'static [Function];

    /// Reads what a case asks of this function, completed from samples. Errors name the key.
    fn question(&self, function: &Function, case: &mut Map<String, Value>, grants: &Grants)
    -> Result<Question, String>;

    /// What an author of a new plugin is told and given.
    fn guide(&self) -> Guide;
}

/// A component whose imports are there.
pub(crate) struct Linked<'a> {
    pub(crate) pre: InstancePre<Host>,
    /// The interface it exports, with the track.
    pub(crate) interface: &'a str,
    /// Every interface of the relay's that it exports.
    pub(crate) exports: &'a [String],
}

/// A guest, and the version it gives itself.
pub(crate) struct Described {
    pub(crate) version: String,
    pub(crate) guest: Arc<dyn Guest>,
}

/// What a component says of itself that its manifest would have to say.
pub(crate) struct Introduction {
    pub(crate) id: String,
    /// The programs it names.
    pub(crate) executables: Vec<String>,
}

/// What the author of a new plugin is told and given.
#[derive(Clone, Copy, Debug)]
pub struct Guide {
    /// What can be asked of it, as one sentence of a README.
    pub questions: &'static str,
    /// The `[grants]` of a new manifest, with `PLUGIN_ID` for the id; empty for a kind that has none.
    pub grants: &'static str,
    /// Whether a running relay records what plugins of this kind were asked, so that it can be replayed.
    pub is_replayable: bool,
}
