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

impl Reaped {
    /// Adds what a further step of the same run found.
    pub fn extend(&mut self, more: Self) {
        let Self {
            reaped_agent_ids,
            reaped_orchestrator_ids,
            released_message_ids,
            released_task_ids,
            expired_command_ids,
            pruned_agent_ids,
        } = more;
        self.reaped_agent_ids.extend(reaped_agent_ids);
        self.reaped_orchestrator_ids.extend(reaped_orchestrator_ids);
        self.released_message_ids.extend(released_message_ids);
        self.released_task_ids.extend(released_task_ids);
        self.expired_command_ids.extend(expired_command_ids);
        self.pruned_agent_ids.extend(pruned_agent_ids);
    }
}
