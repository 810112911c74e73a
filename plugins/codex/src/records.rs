//! What Codex writes down of a conversation: its rollout, a line for each event.

use agent_relay_plugin::clock;
use agent_relay_plugin::session::{GrantedFile, RunningSession};

/// The rollout of a conversation.
pub(crate) fn rollout<'a>(session: &'a RunningSession, conversation: &str) -> Option<&'a GrantedFile> {
    session.file(&format!("-{conversation}.jsonl"))
}

/// Whether its last turn was broken off. Until another one has ended, its queue is then not looked at.
pub(crate) fn broken_off(rollout: &GrantedFile) -> bool {
    let is_end = |line: &&str| is_event(line, "turn_aborted") || is_event(line, "task_complete");
    rollout.contents.lines().rev().find(is_end).is_some_and(|line| is_event(line, "turn_aborted"))
}

/// Whether a turn has begun in it and not ended.
pub(crate) fn in_turn(rollout: &GrantedFile) -> bool {
    let is_step =
        |line: &&str| ["task_started", "turn_aborted", "task_complete"].iter().any(|name| is_event(line, name));
    rollout.contents.lines().rev().find(is_step).is_some_and(|line| is_event(line, "task_started"))
}

/// When it was last told of a usage limit.
pub(crate) fn limited_at(rollout: &GrantedFile) -> Option<u64> {
    let told = |line: &&str| is_event(line, "task_complete") && line.contains("\"usage_limit_exceeded\"");
    let line = rollout.contents.lines().rev().find(told)?;
    let (_, after) = line.split_once("\"timestamp\":\"")?;
    clock::time_stamp(after.split_once('"')?.0)
}

fn is_event(line: &str, name: &str) -> bool {
    let beginning: String = line.chars().take(200).collect();
    beginning.contains("\"type\":\"event_msg\"") && beginning.contains(&format!("\"payload\":{{\"type\":\"{name}\""))
}
