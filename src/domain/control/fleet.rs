//! What policies are told of the fleet beside who runs: what keeps agents from working, how often the caller has
//! started some, and how far from a person the next one would be.

use serde::Serialize;

use super::{Extension, RUNNING_MAX, RunningAgent};
use crate::domain::agent::ConditionKind;
use crate::domain::id::AgentId;
use crate::domain::time::Timestamp;

/// The most of a caller's spawns that a policy is told of.
pub const SPAWNS_MAX: usize = 1_000;
/// How far back they are told of, in milliseconds.
pub const SPAWNS_MS: i64 = 24 * 60 * 60 * 1_000;

/// What is known of the fleet at the moment of a decision.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fleet {
    /// Agents that something keeps from working, at most [`RUNNING_MAX`].
    pub conditions: Vec<AgentCondition>,
    /// When the caller started agents in the last [`SPAWNS_MS`]: newest first, at most [`SPAWNS_MAX`].
    pub spawns: Vec<Timestamp>,
    /// How many agents would stand between a person and an agent that the caller starts: none where a person does.
    pub depth: u32,
}

/// What keeps an agent from working.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AgentCondition {
    /// The agent.
    pub agent_id: AgentId,
    /// What it is.
    pub kind: ConditionKind,
    /// Since when.
    #[serde(rename = "sinceMs")]
    pub since: Timestamp,
    /// Until when, where that is known.
    #[serde(rename = "untilMs", skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}

impl Fleet {
    /// As policies get it, by the names that `wit/policy.wit` lists. Of the conditions only those of running agents.
    pub fn extensions(mut self, running: &[RunningAgent]) -> Vec<Extension> {
        self.conditions.retain(|one| running.iter().any(|agent| *agent.agent_id == *one.agent_id));
        self.conditions.truncate(RUNNING_MAX);
        [
            ("conditions", serde_json::to_string(&self.conditions)),
            ("spawns", serde_json::to_string(&self.spawns)),
            ("depth", serde_json::to_string(&self.depth)),
        ]
        .map(|(name, value)| Extension { name: name.to_owned(), value: value.expect("it is JSON") })
        .to_vec()
    }
}
