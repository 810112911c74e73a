//! What happens to plugins, as everybody who listens is told.

use super::history::Step;
use super::status::PluginStatus;

/// Something happened to a plugin.
#[derive(Clone, Debug)]
pub struct PluginChange {
    /// What.
    pub kind: ChangeKind,
    /// The plugin it happened to, as it is shown from now on.
    pub plugin: PluginStatus,
    /// What led to it, since the change before it.
    pub steps: Vec<Step>,
    /// Who asked for it, if somebody did.
    pub by: Option<String>,
}

/// What can happen to a plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    /// It is asked from now on.
    Activated,
    /// It was not loaded, or is no longer asked because it failed too often. What was active
    /// before it still is, or is again.
    Rejected,
    /// It is no longer asked, because the manifest or the operator says so.
    Disabled,
    /// Its folder is gone.
    Removed,
    /// An operator went back to this generation of it.
    RolledBack,
    /// It failed too often, and nothing was there before it: its calls are refused.
    Quarantined,
    /// The last request that used this generation has ended, some time after it was replaced.
    Retired,
}

impl ChangeKind {
    /// The name for activity and events.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Activated => "activated",
            Self::Rejected => "rejected",
            Self::Disabled => "disabled",
            Self::Removed => "removed",
            Self::RolledBack => "rolled-back",
            Self::Quarantined => "quarantined",
            Self::Retired => "retired",
        }
    }
}
