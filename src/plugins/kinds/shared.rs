//! The values that every kind of plugin shares, to and from the relay's own.

use crate::domain::control::{ApprovalMode, CallerFacts, Site};
use crate::domain::text::path::PathFacts;

use super::super::runtime::bindings::types as types_wit;

impl From<ApprovalMode> for types_wit::ApprovalMode {
    fn from(mode: ApprovalMode) -> Self {
        match mode {
            ApprovalMode::Open => Self::Open,
            ApprovalMode::Guarded => Self::Guarded,
            ApprovalMode::ReadOnly => Self::ReadOnly,
        }
    }
}

impl From<&PathFacts> for types_wit::PathFacts {
    fn from(path: &PathFacts) -> Self {
        Self { given: path.given.clone(), normalised: path.normalised.clone(), resolved: path.resolved.clone() }
    }
}

impl From<&Site> for types_wit::Site {
    fn from(site: &Site) -> Self {
        Self {
            orchestrator: site.orchestrator.clone(),
            hostname: site.hostname.clone(),
            base_dir: (&site.base_dir).into(),
        }
    }
}

impl From<&CallerFacts> for types_wit::Caller {
    fn from(caller: &CallerFacts) -> Self {
        Self {
            name: caller.name.clone(),
            agent_id: caller.agent_id.clone(),
            administrator: caller.administrator,
            scopes: caller.scopes.clone(),
            loopback: caller.loopback,
        }
    }
}

impl From<types_wit::ApprovalMode> for ApprovalMode {
    fn from(mode: types_wit::ApprovalMode) -> Self {
        match mode {
            types_wit::ApprovalMode::Open => Self::Open,
            types_wit::ApprovalMode::Guarded => Self::Guarded,
            types_wit::ApprovalMode::ReadOnly => Self::ReadOnly,
        }
    }
}
