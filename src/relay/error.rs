//! Why an operation did nothing. Whoever asked is told by the front door, which alone knows status codes.

use crate::domain::refusal::Refusal;
use crate::plugins::ActionError;
use crate::store::StoreError;
use crate::stream::TooManyStreams;

/// An operation that was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The rules say no. Nothing was changed, or what was is named.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// More writes are queued than can be done soon.
    #[error("the write queue is full")]
    Overloaded,
    /// The disk is full. Nothing was written; it works again once there is room.
    #[error("the disk of the relay's host is full")]
    DiskFull,
    /// The database is not at its path. Nothing was written; it works again once the file is back.
    #[error("{0}")]
    Misplaced(String),
    /// The store takes no writes: it stopped after a failure, or the relay is shutting down.
    #[error("the store takes no writes: {0}")]
    Unavailable(String),
    /// All places for streams are taken.
    #[error(transparent)]
    TooManyStreams(#[from] TooManyStreams),
    /// A decision about a plugin that its state does not allow, or that could not be kept.
    #[error(transparent)]
    Plugin(#[from] ActionError),
    /// The relay failed. The text is for the log, not for whoever asked.
    #[error("{0}")]
    Internal(String),
}

impl Error {
    /// A failure of the relay itself.
    pub fn internal(cause: impl ToString) -> Self {
        Self::Internal(cause.to_string())
    }
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Refused(refusal) => Self::Refused(refusal),
            StoreError::Busy => Self::Overloaded,
            StoreError::DiskFull => Self::DiskFull,
            StoreError::Misplaced(problem) => Self::Misplaced(problem.to_string()),
            StoreError::Closed | StoreError::CommitFailed(_) => Self::Unavailable(error.to_string()),
            StoreError::Fault(_) | StoreError::Engine(_) | StoreError::Unusable(_) => Self::internal(error),
        }
    }
}
