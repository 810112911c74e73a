//! What operators are shown of a plugin, loaded or not.

use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::control::PolicyMode;

use super::super::super::kinds::{Plugin, Rejection, Stage};
use super::super::super::package::{Grants, Limits, Origin, PluginKind, Terms};

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
    /// Of a policy, whether its verdicts are obeyed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<PolicyMode>,
    /// Whether every control is refused while it is not active: its manifest or `plugins.required` says so.
    pub required: bool,
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

impl PluginStatus {
    /// The status of a loaded plugin: active, or in quarantine.
    pub(crate) fn of_plugin(plugin: &Plugin) -> Self {
        let statistics = &plugin.sandbox.statistics;
        let error = plugin.sandbox.gate.refusal().map(|refusal| Rejection {
            digest: Some(plugin.fingerprint.wasm.clone()),
            at: refusal.at,
            ..Rejection::new(Stage::Quarantine, refusal.reason)
        });
        let state = if error.is_some() { PluginState::Quarantined } else { PluginState::Active };
        let (p50_micros, p99_micros) = statistics.percentiles();
        Self {
            version: Some(plugin.version.clone()),
            interface: Some(plugin.interface.clone()),
            digest: Some(plugin.fingerprint.wasm.clone()),
            calls: statistics.calls(),
            traps: statistics.failures(),
            p50_micros,
            p99_micros,
            loaded_at: Some(plugin.loaded_at),
            generation: Some(plugin.sandbox.generation),
            since: Some(error.as_ref().map_or(plugin.loaded_at, |error| error.at)),
            error,
            ..Self::of(&plugin.terms, plugin.origin, state)
        }
    }

    /// The status of a plugin of which only the manifest is known.
    pub(crate) fn of(terms: &Terms, origin: Origin, state: PluginState) -> Self {
        Self {
            kind: Some(terms.kind),
            version: terms.version.clone(),
            mode: terms.kind.gives_verdicts().then_some(terms.mode),
            grants: terms.grants.clone(),
            limits: Some(terms.limits),
            ..Self::unknown(&terms.id, origin, state)
        }
    }

    /// The status of a plugin of which nothing is known but its id.
    pub(crate) fn unknown(id: &str, origin: Origin, state: PluginState) -> Self {
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
            mode: None,
            required: false,
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
