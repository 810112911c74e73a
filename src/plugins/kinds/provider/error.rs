//! Why there is no answer from a provider.

use crate::domain::control::ApprovalMode;

use super::super::super::runtime::{CallError, clean};
use super::bindings::provider_wit;

/// Why there is no answer from a provider.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PluginError {
    /// No provider of this id is loaded.
    #[error("no provider {provider:?} is loaded; loaded are: {}", .loaded.join(", "))]
    NotLoaded {
        /// The id asked for.
        provider: String,
        /// The ids there are.
        loaded: Vec<String>,
    },
    /// The provider refuses this request. It is well; the request is not for it.
    #[error("provider {provider} refuses: {refusal}")]
    Refused {
        /// The provider's id.
        provider: String,
        /// Its reason.
        refusal: PlanRefusal,
    },
    /// The provider failed: it trapped, ran out of time or memory, or made a plan beyond what it
    /// was granted.
    #[error("provider {provider} {error}")]
    Failed {
        /// The provider's id.
        provider: String,
        /// How.
        error: CallError,
    },
}

/// Why a provider makes no plan.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanRefusal {
    /// Its program has no such mode.
    #[error("approval mode {} is not supported", .0.as_str())]
    UnsupportedApprovalMode(ApprovalMode),
    /// Its program takes no prompt.
    #[error("a prompt is not supported")]
    PromptNotSupported,
    /// Something else is wrong with the request.
    #[error("{0}")]
    Invalid(String),
    /// Anything else.
    #[error("{0}")]
    Other(String),
}

impl From<provider_wit::PlanError> for PlanRefusal {
    fn from(error: provider_wit::PlanError) -> Self {
        match error {
            provider_wit::PlanError::UnsupportedApprovalMode(mode) => Self::UnsupportedApprovalMode(mode.into()),
            provider_wit::PlanError::PromptNotSupported => Self::PromptNotSupported,
            provider_wit::PlanError::Invalid(text) => Self::Invalid(clean(&text)),
            provider_wit::PlanError::Other(text) => Self::Other(clean(&text)),
        }
    }
}
