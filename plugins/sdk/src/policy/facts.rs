//! What a context says beside its fields, by the names that `wit/policy.wit` lists, read.
//!
//! Each is `None` where the host that asks does not know it: an orchestrator knows nothing of the others.

use serde::Deserialize;

use super::Context;

/// What keeps a running agent from working.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// The agent.
    pub agent_id: String,
    /// `starting`, `input`, `approval`, `dialog`, `limit`, `stalled` or `crashed`.
    pub kind: String,
    /// Since when, in milliseconds since the Unix epoch.
    pub since_ms: u64,
    /// Until when, where that is known.
    #[serde(default)]
    pub until_ms: Option<u64>,
}

/// What keeps running agents from working.
pub fn conditions(context: &Context) -> Option<Vec<Condition>> {
    fact(context, "conditions")
}

/// When this caller started agents in the last 24 hours, in milliseconds since the Unix epoch, newest first.
pub fn spawns(context: &Context) -> Option<Vec<u64>> {
    fact(context, "spawns")
}

/// How many agents would stand between a person and an agent that this caller starts.
pub fn depth(context: &Context) -> Option<u32> {
    fact(context, "depth")
}

fn fact<T: for<'a> Deserialize<'a>>(context: &Context, name: &str) -> Option<T> {
    let extension = context.extensions.iter().find(|extension| extension.name == name)?;
    serde_json::from_str(&extension.value).ok()
}
