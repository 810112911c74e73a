//! A loaded policy.

use crate::domain::control::ControlKind;

use super::track::PolicyTrack;

/// The part of a plugin that only policies have.
pub(crate) struct Policy {
    pub(super) track: PolicyTrack,
    /// The controls it wants to see.
    pub(crate) kinds: Vec<ControlKind>,
}
