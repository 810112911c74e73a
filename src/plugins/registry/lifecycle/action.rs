//! What an operator can do to a plugin.

/// What an operator does to one plugin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Goes back to the generation before the active one. What is in the folder is not loaded again
    /// until it changes, or until the plugin is enabled.
    RollBack,
    /// Undoes [`Action::Disable`], or else [`Action::RollBack`], and tries again what was rejected
    /// or failed too often.
    Enable,
    /// Loads it no more, neither from its folder nor from the binary.
    Disable,
    /// Accepts that it asks for more than its predecessor.
    Allow {
        /// That of the rejection which lists what it asks for.
        digest: String,
    },
}

/// Why an operator's action was not done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ActionError {
    /// There is no plugin of this id, loaded or not.
    #[error("plugin not found")]
    Unknown,
    /// The plugin's state does not allow it. The text says what to do instead.
    #[error("{0}")]
    Conflict(String),
    /// It cannot be kept on disk, so nothing was done.
    #[error("{0}")]
    NotKept(String),
}
