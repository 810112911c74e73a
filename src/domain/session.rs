//! Sessions: the agents that the relay itself started on its own host.

use super::control::ApprovalMode;
use super::id::{AgentId, CommandId};
use super::time::Timestamp;

/// A session about to be started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionStart {
    /// The agent it is for.
    pub agent_id: AgentId,
    /// The command that started it.
    pub command_id: CommandId,
    /// Its name among the host's sessions.
    pub name: String,
    /// The provider that planned it.
    pub provider: String,
    /// Its working directory.
    pub cwd: String,
    /// Its label.
    pub label: Option<String>,
    /// What it may do by itself.
    pub approval_mode: ApprovalMode,
    /// The first prompt, for a restart.
    pub prompt: Option<String>,
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
