//! The kinds of plugins there are, by name. What the relay does with each is in `kinds`.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What a plugin does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum PluginKind {
    /// Decides whether control actions may happen.
    Policy,
    /// Plans how agents are started.
    Provider,
}

impl PluginKind {
    /// Every kind, in the order in which they are named to people.
    pub const ALL: [Self; 2] = [Self::Policy, Self::Provider];

    /// The name in manifests and answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Policy => "policy",
            Self::Provider => "provider",
        }
    }

    /// The names of all kinds, with a word between them.
    pub(crate) fn named(between: &str) -> String {
        Self::ALL.map(Self::as_str).join(between)
    }

    /// The kind of this name, if there is one.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }

    /// Whether plugins of this kind have a `mode` and can be `required`: those that give verdicts.
    pub(crate) fn gives_verdicts(self) -> bool {
        self == Self::Policy
    }

    /// Whether plugins of this kind have `[grants]`: those whose answers the host carries out.
    pub(crate) fn takes_grants(self) -> bool {
        self == Self::Provider
    }
}
