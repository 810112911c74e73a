//! A loaded plugin, and what operators are shown of it and of those that were not loaded.

use std::sync::Arc;

use serde::Serialize;
use utoipa::ToSchema;

use super::grants::Asks;
use super::limits::Limits;
use super::manifest::{Grants, PluginKind, Terms};
use super::policy::Policy;
use super::provider::Provider;
use super::sandbox::Sandbox;

/// A plugin that went through every stage of loading. Never changes; a new one takes its place.
pub(super) struct Plugin {
    pub(super) terms: Terms,
    /// As it describes itself.
    pub(super) version: String,
    /// The interface it exports, with the track.
    pub(super) interface: String,
    pub(super) origin: Origin,
    pub(super) fingerprint: Fingerprint,
    pub(super) asks: Asks,
    /// Milliseconds since the epoch.
    pub(super) loaded_at: i64,
    pub(super) sandbox: Sandbox,
    pub(super) guest: Guest,
}

/// The part that differs by kind.
pub(super) enum Guest {
    Policy(Policy),
    Provider(Arc<Provider>),
}

/// What a plugin was loaded from. Equal means that loading it again would change nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fingerprint {
    /// SHA-256 of the component, in hexadecimal.
    pub(super) wasm: String,
    /// The manifest's text.
    pub(super) manifest: String,
    /// The signature, of a plugin that has to be signed.
    pub(super) minisig: Option<String>,
}

/// Where a plugin comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// Embedded in the relay's binary.
    BuiltIn,
    /// A folder of the plugin directory.
    Directory,
}

/// What a plugin is at the moment. A candidate is staged, inspected, compiled, probed and then active; what
/// was active before it drains and retires.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum PluginState {
    /// Its files have been read, and it is being loaded. An earlier one of its id may be active meanwhile.
    Staged,
    /// Its manifest is understood, and its signature holds where it has to have one.
    Inspected,
    /// Its component has been compiled.
    Compiled,
    /// It fits its world, took its settings and answered what it was asked.
    Probed,
    /// It is asked.
    Active,
    /// Another took its place, or none; requests that began with it still use it.
    Draining,
    /// The last request that used it has ended. It can be gone back to while it is kept.
    Retired,
    /// It was not loaded; an earlier one of its id may still be active.
    Rejected,
    /// The manifest or the operator says that it is not to be loaded.
    Disabled,
    /// It failed too often. Calls are refused until a probe of it succeeds.
    Quarantined,
}

impl PluginState {
    /// The name in answers, metrics and the log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Staged => "staged",
            Self::Inspected => "inspected",
            Self::Compiled => "compiled",
            Self::Probed => "probed",
            Self::Active => "active",
            Self::Draining => "draining",
            Self::Retired => "retired",
            Self::Rejected => "rejected",
            Self::Disabled => "disabled",
            Self::Quarantined => "quarantined",
        }
    }
}

/// How far a plugin got before it was rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// Reading the files of its folder.
    Read,
    /// Understanding the manifest.
    Manifest,
    /// Checking the component's signature.
    Signature,
    /// Compiling the component.
    Compile,
    /// Holding what it asks for against what was accepted of its predecessor.
    Grants,
    /// Finding the interfaces of its world in it.
    World,
    /// Asking who it is.
    Describe,
    /// Asking whether it takes its settings.
    Settings,
    /// Asking it something harmless.
    Probe,
    /// It was active and failed too often.
    Quarantine,
    /// It was set aside by going back to an earlier generation.
    Rollback,
    /// Somebody said that it is not to be loaded.
    Disabled,
}

impl Stage {
    /// The name in answers, metrics and the log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Manifest => "manifest",
            Self::Signature => "signature",
            Self::Compile => "compile",
            Self::Grants => "grants",
            Self::World => "world",
            Self::Describe => "describe",
            Self::Settings => "settings",
            Self::Probe => "probe",
            Self::Quarantine => "quarantine",
            Self::Rollback => "rollback",
            Self::Disabled => "disabled",
        }
    }
}

/// Why a plugin is not in use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Rejection {
    /// How far it got.
    pub stage: Stage,
    /// What is wrong, for the operator.
    pub reason: String,
    /// SHA-256 of the component, in hexadecimal, once it could be read. At stage `grants` it is that
    /// of manifest and component together: what `POST /api/plugins/ID/allow` is told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// When that was, in milliseconds since the epoch.
    pub at: i64,
    /// Whether trying again by itself may help: it ran out of time, not out of luck.
    #[serde(skip)]
    pub(super) passing: bool,
    /// At stage `grants`, what it asks for.
    #[serde(skip)]
    pub(super) asks: Option<Box<Asks>>,
}

impl Rejection {
    pub(super) fn new(stage: Stage, reason: impl Into<String>) -> Self {
        Self { stage, reason: reason.into(), digest: None, at: super::now(), passing: false, asks: None }
    }

    /// Whether this is the same trouble, at whatever time.
    pub(super) fn says_the_same_as(&self, other: &Self) -> bool {
        (self.stage, &self.reason, &self.digest) == (other.stage, &other.reason, &other.digest)
    }
}

/// One plugin, as `GET /api/plugins` shows it.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PluginStatus {
    /// The name of its folder.
    pub id: String,
    /// What it does, once its manifest could be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<PluginKind>,
    /// The version it gives itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The interface it exports.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    /// Where it comes from.
    pub origin: Origin,
    /// SHA-256 of the component, in hexadecimal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// What it is at the moment.
    pub state: PluginState,
    /// Since when, in milliseconds since the epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<i64>,
    /// Why it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<Rejection>,
    /// What its plans may use.
    pub grants: Grants,
    /// What a call may use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limits: Option<Limits>,
    /// Calls since it was loaded.
    pub calls: u64,
    /// Those that gave no usable answer.
    pub traps: u64,
    /// The median of the latest 512 calls, in microseconds.
    pub p50_micros: u64,
    /// The 99th percentile of the latest 512 calls, in microseconds.
    pub p99_micros: u64,
    /// When it was loaded, in milliseconds since the epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loaded_at: Option<i64>,
    /// Which load of this id it is; rises by one with each.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generation: Option<u64>,
}

impl Plugin {
    pub(super) fn status(&self) -> PluginStatus {
        let figures = &self.sandbox.figures;
        let error = self.sandbox.gate.rejection();
        let state = if error.is_some() { PluginState::Quarantined } else { PluginState::Active };
        let (p50_micros, p99_micros) = figures.percentiles();
        PluginStatus {
            version: Some(self.version.clone()),
            interface: Some(self.interface.clone()),
            digest: Some(self.fingerprint.wasm.clone()),
            calls: figures.calls(),
            traps: figures.failures(),
            p50_micros,
            p99_micros,
            loaded_at: Some(self.loaded_at),
            generation: Some(self.sandbox.generation),
            since: Some(error.as_ref().map_or(self.loaded_at, |error| error.at)),
            error,
            ..PluginStatus::of(&self.terms, self.origin, state)
        }
    }

    pub(super) fn policy(&self) -> Option<&Policy> {
        match &self.guest {
            Guest::Policy(policy) => Some(policy),
            Guest::Provider(_) => None,
        }
    }

    pub(super) fn provider(&self) -> Option<&Arc<Provider>> {
        match &self.guest {
            Guest::Provider(provider) => Some(provider),
            Guest::Policy(_) => None,
        }
    }
}

impl PluginStatus {
    /// The status of a plugin of which only the manifest is known.
    pub(super) fn of(terms: &Terms, origin: Origin, state: PluginState) -> Self {
        Self {
            kind: Some(terms.kind),
            version: terms.version.clone(),
            grants: terms.grants.clone(),
            limits: Some(terms.limits),
            ..Self::unknown(&terms.id, origin, state)
        }
    }

    /// The status of a plugin of which nothing is known but its id.
    pub(super) fn unknown(id: &str, origin: Origin, state: PluginState) -> Self {
        Self {
            id: id.to_owned(),
            kind: None,
            version: None,
            interface: None,
            origin,
            digest: None,
            state,
            since: None,
            error: None,
            grants: Grants::default(),
            limits: None,
            calls: 0,
            traps: 0,
            p50_micros: 0,
            p99_micros: 0,
            loaded_at: None,
            generation: None,
        }
    }
}
