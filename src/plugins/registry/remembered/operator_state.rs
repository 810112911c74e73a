//! What is remembered of one plugin from one start to the next: what the operator decided, what was
//! accepted of its requests, and which generations were active.

use serde::{Deserialize, Serialize};

use super::super::super::kinds::{Rejection, Stage};
use super::super::super::package::{Fingerprint, MINISIG_BYTES_MAX, RequestedGrants, Source, sha256_hex};

/// Generations kept of each plugin: the latest and five before it.
pub(super) const KEPT_MAX: usize = 6;

/// The files of a plugin: the large ones by their SHA-256 in hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Content {
    pub(crate) component: String,
    pub(crate) manifest: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) minisig: Option<String>,
}

impl Content {
    pub(crate) fn of(fingerprint: &Fingerprint) -> Self {
        Self {
            component: fingerprint.wasm.clone(),
            manifest: sha256_hex(fingerprint.manifest.as_bytes()),
            minisig: fingerprint.minisig.clone(),
        }
    }
}

/// An operator, or the relay because of too many failures, went back to an earlier generation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RolledBack {
    /// What is in the folder and is not to be loaded.
    pub(crate) aside: Option<Content>,
    /// What is active instead; nothing when it is the built-in plugin of this id.
    pub(crate) to: Option<Content>,
    /// How it failed, when it was the relay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) because: Option<String>,
}

impl RolledBack {
    /// How what was gone back from is listed.
    pub(crate) fn aside_rejection(&self, id: &str) -> Rejection {
        let (stage, why) = match &self.because {
            Some(because) => (Stage::Quarantine, because.as_str()),
            None => (Stage::Rollback, "set aside by going back to an earlier generation"),
        };
        let reason = format!("{why}; POST /api/plugins/{id}/enable, or a change of the folder, loads what is in it");
        Rejection::new(stage, reason)
    }
}

/// What is remembered of one plugin.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct OperatorState {
    /// Whether the operator disabled it.
    pub(crate) disabled: bool,
    /// Whether its folder went away after it was last active: whoever removes a plugin does not want
    /// an earlier one in its place.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) gone: bool,
    /// Whether nothing may happen without it, as its manifest said when it was last active.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) required: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) rolled_back: Option<RolledBack>,
    /// What was accepted of its requests; nothing before it was active for the first time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) accepted: Option<RequestedGrants>,
    /// The generations that were active, in the order of their last activation.
    pub(crate) kept: Vec<Content>,
    /// When this last changed, in milliseconds since the epoch.
    pub(crate) at: i64,
}

impl OperatorState {
    /// Why this content of the folder is not to be loaded, if an earlier generation was gone back to from it.
    pub(crate) fn aside(&self, content: &Content) -> Option<&RolledBack> {
        self.rolled_back.as_ref().filter(|rolled_back| rolled_back.aside.as_ref() == Some(content))
    }

    /// Takes a change in.
    pub(crate) fn apply(&mut self, change: &StateChange) {
        match change {
            StateChange::Disabled(disabled) => self.disabled = *disabled,
            StateChange::RolledBack(rolled_back) => {
                self.gone &= rolled_back.is_none();
                self.rolled_back.clone_from(rolled_back);
            }
            StateChange::Accepted(requested) => self.accepted = Some(requested.and(self.accepted.as_ref())),
            StateChange::Activated(activation) => {
                self.keep(activation.content.clone());
                self.gone = false;
                self.required = activation.required;
                self.rolled_back = None;
                self.accepted = Some(activation.requested.and(self.accepted.as_ref()));
            }
            StateChange::Gone => {
                // What was set aside was what lay in the folder.
                self.rolled_back = None;
                self.gone = true;
            }
        }
    }

    /// Makes this content the latest of those that are kept.
    fn keep(&mut self, content: Content) {
        self.kept.retain(|kept| *kept != content);
        self.kept.push(content);
        let surplus = self.kept.len().saturating_sub(KEPT_MAX);
        self.kept.drain(..surplus);
    }

    /// What was active before this content, the latest first; before anything, all of it.
    pub(crate) fn before(&self, content: Option<&Content>) -> Vec<Content> {
        let at = content.and_then(|content| self.kept.iter().position(|kept| kept == content));
        self.kept[..at.unwrap_or(self.kept.len())].iter().rev().cloned().collect()
    }

    /// Checks what was read from a file.
    pub(super) fn check(&self) -> Result<(), String> {
        let contents = self.rolled_back.iter().flat_map(|it| it.aside.iter().chain(&it.to)).chain(&self.kept);
        // A digest becomes the name of a file.
        for digest in contents.flat_map(|content| [&content.component, &content.manifest]) {
            if digest.len() != 64 || !digest.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
                return Err(format!("{digest:?} is not a digest"));
            }
        }
        let minisigs = self.kept.iter().filter_map(|content| content.minisig.as_ref());
        if minisigs.into_iter().any(|minisig| minisig.len() as u64 > MINISIG_BYTES_MAX) {
            return Err(format!("a signature has more than {MINISIG_BYTES_MAX} bytes"));
        }
        if self.kept.len() > KEPT_MAX {
            return Err(format!("more than {KEPT_MAX} generations are kept"));
        }
        self.accepted.as_ref().map_or(Ok(()), RequestedGrants::check)
    }
}

/// How what is remembered of a plugin changes.
#[derive(Clone, Debug)]
pub(crate) enum StateChange {
    /// An operator disabled it, or ended that.
    Disabled(bool),
    /// An earlier generation was gone back to, or that ended.
    RolledBack(Option<RolledBack>),
    /// An operator accepted what it asks for.
    Accepted(RequestedGrants),
    /// A generation of its folder became active.
    Activated(Box<Activation>),
    /// Its folder went away.
    Gone,
}

/// What is remembered of a generation that becomes active.
#[derive(Clone, Debug)]
pub(crate) struct Activation {
    /// Its files, which are kept so that it can be gone back to.
    pub(crate) source: Source,
    pub(crate) content: Content,
    /// Whether nothing may happen without it.
    pub(crate) required: bool,
    pub(crate) requested: RequestedGrants,
}
