//! Audit: the activity entries that the relay itself writes, one function for each thing that happens.

use serde_json::{Value, json};

use super::activity::{ActivityKind, Entry};
use super::agent::Registered;
use super::control::command::Command;
use super::control::orchestrator::Orchestrator;
use super::id::{AgentId, MessageId, OrchestratorId};
use super::message::Bounce;
use super::retention::Reaped;
use super::text::short;
use super::time::Timestamp;

/// An agent registered, or a new session of one.
pub fn agent_registered(registered: &Registered) -> Entry {
    let agent = &registered.agent;
    let title = if registered.created { "Agent registered" } else { "Agent session started" };
    Entry::new(ActivityKind::State, &format!("agent-register-{}-{}", short(&agent.id), agent.epoch), title)
        .meta(&agent.id)
        .agent(agent.id.clone())
        .view("agents")
}

/// A start found that what was stored before is not there any more.
pub fn records_lost(detail: &str, now: Timestamp) -> Entry {
    Entry::new(ActivityKind::Security, &format!("records-lost-{now}"), "Records are lost")
        .body(detail)
        .icon("ti-alert-triangle")
        .view("activity")
}

/// The session of an agent on this host ended.
pub fn session_ended(name: &str, agent: &AgentId, ending: &str) -> Entry {
    Entry::new(ActivityKind::State, &format!("session-ended-{name}"), "Agent session ended")
        .body(ending)
        .meta(agent)
        .agent(agent.clone())
        .icon("ti-power")
        .view("agents")
}

/// A command came to its end.
pub fn command_ended(command: &Command) -> Entry {
    let (kind, status) = (command.kind, command.status);
    let entry = Entry::new(
        ActivityKind::Control,
        &format!("command-{}-{status}", command.id),
        &format!("Command {kind} {status}"),
    );
    let entry = match &command.error {
        Some(error) => entry.body(error),
        None => entry,
    };
    entry.meta(&command.target).agent(command.target.clone())
}

/// Nobody read what a person or the relay sent.
pub fn not_read(bounce: &Bounce) -> Entry {
    let (newest, reason) = (bounce.newest(), bounce.reason);
    Entry::new(ActivityKind::Message, &format!("not-read-{newest}-{reason}"), "Not read")
        .body(&bounce.text())
        .meta(&bounce.to)
        .agent(bounce.to.clone())
        .message(newest)
        .icon("ti-mail-off")
        .view("messages")
        .metadata(
            json!({"from": bounce.from, "to": bounce.to, "reason": reason.as_str(), "messageIds": bounce.messages}),
        )
}

/// Agents answered each other in a thread more often than they may, counted from a reply at this time.
pub fn loop_suspected(thread: MessageId, from: &AgentId, replies: usize, first: Timestamp) -> Entry {
    let body = format!(
        "Thread {thread} has had {replies} replies by agents within 10 minutes; further ones are refused until there \
         are fewer. The latest came from {from}."
    );
    Entry::new(ActivityKind::Security, &format!("loop-{thread}-{first}"), "Loop suspected")
        .body(&body)
        .meta(from)
        .agent(from.clone())
        .message(thread)
        .icon("ti-repeat")
        .view("messages")
}

/// An orchestrator registered, or again.
pub fn orchestrator_registered(orchestrator: &Orchestrator, now: Timestamp) -> Entry {
    Entry::new(
        ActivityKind::State,
        &format!("orchestrator-register-{}-{now}", orchestrator.id),
        "Orchestrator registered",
    )
    .body(&orchestrator.hostname)
    .meta(&orchestrator.id)
    .icon("ti-server-2")
    .view("orchestrators")
    .metadata(json!({"orchestratorId": orchestrator.id, "providers": orchestrator.providers}))
}

/// An orchestrator was removed.
pub fn orchestrator_removed(id: &OrchestratorId, now: Timestamp) -> Entry {
    Entry::new(ActivityKind::State, &format!("orchestrator-removed-{id}-{now}"), "Orchestrator removed")
        .meta(id)
        .icon("ti-server-2")
        .view("orchestrators")
}

/// Somebody had the reaper run.
pub fn reaper_ran(reaped: &Reaped, now: Timestamp) -> Entry {
    let found = format!(
        "{} stale agent(s), {} stale orchestrator(s), {} message claim(s), {} task claim(s)",
        reaped.reaped_agent_ids.len(),
        reaped.reaped_orchestrator_ids.len(),
        reaped.released_message_ids.len(),
        reaped.released_task_ids.len()
    );
    Entry::new(ActivityKind::State, &format!("system-reap-{now}"), "Maintenance reaper run")
        .body(&found)
        .icon("ti-broom")
        .view("activity")
}

/// Credentials were refused: so many since the last entry, the latest from this address.
pub fn credentials_refused(count: u64, address: &str, loopback: bool, now: Timestamp) -> Entry {
    Entry::new(ActivityKind::Security, &format!("refused-credential-{now}"), "Credential refused")
        .body(&format!("{count} request(s) since the last entry; the latest from {address}"))
        .meta(if loopback { "loopback" } else { address })
        .view("activity")
}

/// A policy that was obeyed is not asked any more, and nobody decided that.
pub fn policy_lost(
    id: &str,
    what: &str,
    generation: u64,
    reason: Option<&str>,
    metadata: Value,
    now: Timestamp,
) -> Entry {
    let entry = Entry::new(
        ActivityKind::Security,
        &format!("policy-{id}-lost-{generation}-{now}"),
        &format!("Policy {what} by itself"),
    );
    let why = reason.unwrap_or("its folder is gone");
    let body = format!("Nobody decided that policy {id} is not asked any more: {why}. What it refused is allowed now.");
    entry.body(&body).meta(id).icon("ti-shield-off").view("plugins").metadata(metadata)
}

/// Something happened to a plugin: `what` is a word such as `loaded`, `reason` says why it is not well.
pub fn plugin_changed(
    id: &str,
    what: &str,
    generation: u64,
    reason: Option<&str>,
    metadata: Value,
    now: Timestamp,
) -> Entry {
    let entry =
        Entry::new(ActivityKind::Plugin, &format!("plugin-{id}-{what}-{generation}-{now}"), &format!("Plugin {what}"));
    let entry = match reason {
        Some(reason) => entry.body(reason),
        None => entry,
    };
    entry.meta(id).icon("ti-puzzle").view("plugins").metadata(metadata)
}
