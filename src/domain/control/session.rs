//! Sessions: the agents that the relay itself started on its own host.

use crate::domain::control::spawn::SpawnSpec;
use crate::domain::id::CommandId;
use crate::domain::time::Timestamp;

/// A session about to be started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionStart {
    /// What it is started from, and would be again.
    pub spec: SpawnSpec,
    /// The command that started it.
    pub command_id: CommandId,
    /// Its name among the host's sessions.
    pub name: String,
}

/// A session as it was written down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionRecord {
    /// What it was started with.
    pub start: SessionStart,
    /// The process id, once it is known.
    pub pid: Option<i64>,
    /// When it was started.
    pub started_at: Timestamp,
    /// When it ended; `None` while it may be running.
    pub ended_at: Option<Timestamp>,
    /// How it ended.
    pub ending: Option<String>,
}
