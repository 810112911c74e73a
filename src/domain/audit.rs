//! Audit: the activity entries that the relay itself writes, one function for each thing that happens.

use serde_json::{Value, json};

use super::activity::{ActivityKind, Entry};
use super::agent::Registered;
use super::attention::Attention;
use super::caller::token::TokenCard;
use super::control::command::Command;
use super::control::orchestrator::Orchestrator;
use super::id::{AgentId, DeliveryId, MessageId, OrchestratorId};
use super::integration::IntegrationName;
use super::message::Bounce;
use super::pair::{Pair, PairStatus};
use super::retention::Reaped;
use super::task::callback::Callback;
use super::task::{Change, Task};
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

/// A pair was asked for, or went on.
pub fn pair_changed(pair: &Pair) -> Entry {
    let (title, icon) = match pair.status {
        PairStatus::Pending => ("Pair requested", "ti-link-plus"),
        PairStatus::Active => ("Pair accepted", "ti-link"),
        PairStatus::Ended => ("Pair ended", "ti-unlink"),
        PairStatus::Rejected => ("Pair rejected", "ti-unlink"),
        PairStatus::Expired => ("Pair expired", "ti-unlink"),
    };
    let entry = Entry::new(ActivityKind::Pair, &format!("pair-{}-{}", pair.id, pair.status), title)
        .body(&format!("{} with {}", pair.requester_id, pair.target_id))
        .meta(&pair.id.to_string())
        .agent(pair.target_id.clone())
        .icon(icon)
        .view("pairs");
    entry.metadata(json!({"pairId": pair.id, "requesterId": pair.requester_id, "targetId": pair.target_id}))
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

/// A task was asked for, was answered, or came to another end than being done.
pub fn task_changed(task: &Task, change: &Change) -> Entry {
    let kind = change.kind;
    let entry = Entry::new(ActivityKind::Task, &format!("task-{}-{kind}", task.id), &format!("Task {kind}"))
        .body(&task.title)
        .meta(change.agent.as_deref().unwrap_or_default())
        .task(task.id)
        .message(task.message_id)
        .agent(change.agent.clone())
        .view("tasks");
    match &change.body {
        Some(said) => entry.metadata(json!({"said": super::text::clipped_bytes(said, 1_000)})),
        None => entry,
    }
}

/// An integration sent what could not be read.
pub fn delivery_unreadable(integration: &IntegrationName, delivery: DeliveryId, reason: &str) -> Entry {
    Entry::new(ActivityKind::Task, &format!("delivery-{delivery}-unreadable"), "Event not read")
        .body(reason)
        .meta(integration.as_str())
        .icon("ti-webhook-off")
        .view("integrations")
        .metadata(json!({"integration": integration, "deliveryId": delivery}))
}

/// A callback is given up.
pub fn callback_dead(callback: &Callback) -> Entry {
    callback_entry(callback, "dead", "Callback dead").body(&format!(
        "Callback {} to {} is not tried any more: {}. POST /api/callbacks/{}/retry tries it again.",
        callback.id,
        callback.url,
        callback.last_problem(),
        callback.id
    ))
}

/// Somebody had a callback tried again.
pub fn callback_retried(callback: &Callback, by: &str) -> Entry {
    callback_entry(callback, "retried", "Callback retried").body(&format!("tried again by {by}"))
}

/// A task has so many callbacks that its oldest go before they are delivered.
pub fn callbacks_dropped(oldest: &Callback) -> Entry {
    let body = format!(
        "More callbacks of task {} wait than are kept, so from callback {} on the oldest go undelivered until its \
         receiver takes some.",
        oldest.task_id, oldest.id
    );
    Entry::new(ActivityKind::Task, &format!("callbacks-dropped-{}", oldest.task_id), "Callbacks dropped")
        .body(&body)
        .meta(&oldest.task_id.to_string())
        .task(oldest.task_id)
        .icon("ti-webhook-off")
        .view("tasks")
}

fn callback_entry(callback: &Callback, what: &str, title: &str) -> Entry {
    Entry::new(ActivityKind::Task, &format!("callback-{}-{what}-{}", callback.id, callback.updated_at), title)
        .meta(&callback.id.to_string())
        .task(callback.task_id)
        .icon("ti-webhook")
        .view("tasks")
        .metadata(json!({"callbackId": callback.id, "event": callback.event, "status": callback.status}))
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

/// Somebody took an item off the list of what waits for a person.
pub fn attention_dismissed(item: &Attention, by: &str) -> Entry {
    Entry::new(ActivityKind::State, &format!("attention-{}-dismissed", item.id), "Attention dismissed")
        .body(&item.title)
        .meta(by)
        .agent(item.agent_id.clone())
        .message(item.message_id)
        .icon("ti-bell-off")
        .view("attention")
        .metadata(json!({"attentionId": item.id, "kind": item.kind, "by": by}))
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

/// Credentials were refused: so many from this address since the entry before.
pub fn credentials_refused(count: u64, address: &str, now: Timestamp) -> Entry {
    Entry::new(ActivityKind::Security, &format!("refused-credential-{now}-{address}"), "Credential refused")
        .body(&format!("{count} request(s) from {address} since the last entry about it"))
        .meta(address)
        .view("activity")
        .metadata(json!({"count": count, "address": address}))
}

/// A token was made by this caller.
pub fn token_created(token: &TokenCard, by: &str) -> Entry {
    token_entry(token, "created", &format!("made by {by}"))
}

/// A token was revoked by this caller.
pub fn token_revoked(token: &TokenCard, by: &str) -> Entry {
    token_entry(token, "revoked", &format!("revoked by {by}"))
}

/// A token expired.
pub fn token_expired(token: &TokenCard) -> Entry {
    token_entry(token, "expired", "its time is over")
}

/// A token ended with what it was made for.
pub fn token_ended(token: &TokenCard, why: &str) -> Entry {
    token_entry(token, "ended", why)
}

fn token_entry(token: &TokenCard, what: &str, body: &str) -> Entry {
    let TokenCard { id, name, scopes, agent_id, kind, expires_at, .. } = token;
    Entry::new(ActivityKind::Security, &format!("token-{id}-{what}"), &format!("Token {what}"))
        .body(body)
        .meta(name)
        .agent(agent_id.clone())
        .icon("ti-key")
        .view("tokens")
        .metadata(json!({
            "tokenId": id, "scopes": scopes, "agentId": agent_id, "kind": kind, "expiresAt": expires_at,
        }))
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
