//! Retention: how long records are kept, and what one look around for what time has ended found.

use serde::Serialize;
use utoipa::ToSchema;

use super::id::{AgentId, CommandId, MessageId, OrchestratorId, TaskId};

/// How long records are kept.
#[derive(Clone, Copy, Debug)]
pub struct Retention {
    /// Events at most.
    pub events_count: i64,
    /// The age of an event at most, in milliseconds.
    pub events_ms: i64,
    /// Messages at most.
    pub messages_count: i64,
    /// The age of a message at most, in milliseconds.
    pub messages_ms: i64,
    /// The age of a finished command, a finished session and an activity entry at most.
    pub records_ms: i64,
}

/// What one run of the reaper found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Reaped {
    /// Agents that fell silent.
    #[schema(value_type = Vec<String>)]
    pub reaped_agent_ids: Vec<AgentId>,
    /// Orchestrators that fell silent.
    #[schema(value_type = Vec<String>)]
    pub reaped_orchestrator_ids: Vec<OrchestratorId>,
    /// Messages whose claim is free again.
    #[schema(value_type = Vec<i64>)]
    pub released_message_ids: Vec<MessageId>,
    /// Tasks whose claim is free again.
    #[schema(value_type = Vec<i64>)]
    pub released_task_ids: Vec<TaskId>,
    /// Commands that nobody took up.
    #[serde(skip)]
    pub expired_command_ids: Vec<CommandId>,
    /// Agents that were offline for so long that they were removed.
    #[serde(skip)]
    pub pruned_agent_ids: Vec<AgentId>,
}
