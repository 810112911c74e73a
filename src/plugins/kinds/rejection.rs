//! Why a plugin is not in use: the stage of loading that it did not pass, and the reason for the operator.

use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::time::Timestamp;

use super::super::package::RequestedGrants;
use super::super::runtime::{CallError, clean};

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
    pub(crate) passing: bool,
    /// At stage `grants`, what it asks for.
    #[serde(skip)]
    pub(crate) requested: Option<Box<RequestedGrants>>,
}

impl Rejection {
    pub(crate) fn new(stage: Stage, reason: impl Into<String>) -> Self {
        Self {
            stage,
            reason: reason.into(),
            digest: None,
            at: Timestamp::now().as_ms(),
            passing: false,
            requested: None,
        }
    }

    /// Whether this says the same, at whatever time.
    pub(crate) fn says_the_same_as(&self, other: &Self) -> bool {
        (self.stage, &self.reason, &self.digest) == (other.stage, &other.reason, &other.digest)
    }
}

/// Turns a failed call into a rejection at this stage. What failed because the machine is busy may pass
/// when it is tried again.
pub(crate) fn in_stage(stage: Stage) -> impl Fn(CallError) -> Rejection {
    move |error| Rejection {
        passing: matches!(error, CallError::Deadline(_) | CallError::Overloaded),
        ..Rejection::new(stage, error.to_string())
    }
}

/// The component's imports or exports are not those of its world.
pub(crate) fn not_linked(error: &wasmtime::Error) -> Rejection {
    Rejection::new(Stage::World, format!("does not fit this relay: {}", chain(error)))
}

/// An error with its causes on one line.
pub(crate) fn chain(error: &wasmtime::Error) -> String {
    clean(&format!("{error:#}").replace('\n', " "))
}
