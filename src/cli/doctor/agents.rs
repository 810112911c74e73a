//! Whether and how each agent can be woken, as far as the relay tells: who runs its session, what holds a message back, and
//! by which way the last one came.

use std::collections::HashMap;

use agent_relay::client::messages::MessageQuery;
use agent_relay::domain::agent::{Agent, AgentStatus, AttentionMode, Condition, ConditionKind, SYSTEM, USER};
use agent_relay::domain::control::courier::Carrier;
use agent_relay::domain::control::orchestrator::{Orchestrator, OrchestratorStatus};
use agent_relay::domain::id::{MessageId, OrchestratorId};
use agent_relay::domain::message::Message;
use agent_relay::domain::message::delivery::{Delivery, DeliveryState};

use super::Finding;
use crate::cli::connection::Connection;
use crate::cli::show::ago;

/// Of so many agents with a session the latest deliveries are looked at.
const LOOKED_AT_MAX: usize = 100;
/// How far back: so many messages of the relay, and of an agent's own so many.
const BACK: i64 = 500;
const OWN_BACK: usize = 5;

pub(super) fn findings(connection: &Connection, agents: &[Agent], orchestrators: &[Orchestrator]) -> Vec<Finding> {
    let daemons: HashMap<_, _> = orchestrators.iter().map(|daemon| (daemon.id.as_str(), daemon)).collect();
    let newest = connection.try_ask(connection.client.messages().cursor()).and_then(|told| told.read());
    let newest = newest.map_or(0, |cursor| cursor.latest_id.get());
    let mut left = LOOKED_AT_MAX;
    let others = agents.iter().filter(|agent| !matches!(agent.id.as_str(), USER | SYSTEM) && !agent.is_channel());
    // An orchestrator is a daemon: it follows its stream.
    others
        .filter(|agent| OrchestratorId::of_agent(&agent.id).is_none())
        .map(|agent| {
            let lately = if meta(agent, "session").is_some() && agent.status != AgentStatus::Offline && left > 0 {
                left -= 1;
                lately(connection, agent, newest)
            } else {
                Lately::default()
            };
            finding(agent, &daemons, &lately)
        })
        .collect()
}

fn meta(agent: &Agent, member: &str) -> Option<String> {
    agent.meta.get(member).and_then(|value| value.as_str().map(str::to_owned))
}

/// What became of the latest messages to one agent.
#[derive(Default)]
struct Lately {
    /// The newest that reached its program.
    carried: Option<(MessageId, Delivery)>,
    /// The newest that does not.
    stuck: Option<(MessageId, Delivery)>,
}

fn lately(connection: &Connection, agent: &Agent, newest: i64) -> Lately {
    let messages = connection.client.messages();
    let query = MessageQuery {
        to: Some(agent.id.to_string()),
        since: Some(MessageId::new((newest - BACK).max(0))),
        limit: Some(BACK as u32),
        ..MessageQuery::default()
    };
    let sent: Vec<Message> = connection.ask_all(messages.list(&query), BACK as usize).unwrap_or_default();
    let mut lately = Lately::default();
    for id in sent.iter().rev().map(|message| message.id).take(OWN_BACK) {
        let rows = connection.ask_all(messages.deliveries(id, Some(1)), 1).unwrap_or_default();
        let Some(delivery) = rows.into_iter().find(|delivery| delivery.agent_id == agent.id) else { continue };
        let place = match delivery.state {
            DeliveryState::Presented | DeliveryState::Read if delivery.how.is_some() => &mut lately.carried,
            DeliveryState::Parked | DeliveryState::Waiting => &mut lately.stuck,
            _ => continue,
        };
        place.get_or_insert((id, delivery));
    }
    lately
}

impl Lately {
    /// By which way a message came last. The rung of the provider's ladder stands before its evidence.
    fn way(&self) -> String {
        let Some((id, delivery)) = &self.carried else { return String::new() };
        let (how, at) = (delivery.how.map(|how| how.to_string()).unwrap_or_default(), ago(delivery.updated_at));
        let rung = delivery.evidence.as_deref().and_then(|evidence| evidence.split_once(": ")).map(|(rung, _)| rung);
        let rung = rung.filter(|rung| *rung != how).map(|rung| format!(" ({rung})")).unwrap_or_default();
        format!("; message {id} came by {how}{rung} {at}")
    }

    /// Whether a way that needs no terminal carried.
    fn needs_no_terminal(&self) -> bool {
        self.carried.as_ref().is_some_and(|(_, delivery)| delivery.how.is_some_and(|how| how != Carrier::Typed))
    }
}

fn finding(agent: &Agent, daemons: &HashMap<&str, &Orchestrator>, lately: &Lately) -> Finding {
    let (name, id) = (format!("agent {}", agent.id), &agent.id);
    let restart = format!("agent-relay restart {id}");
    let orchestrator = meta(agent, "orchestrator");
    let daemon = orchestrator.as_deref().map(|id| (id, daemons.get(id).copied()));
    if let Some((id, daemon)) = daemon
        && agent.status != AgentStatus::Offline
        && let Some(finding) = without_daemon(&name, id, daemon)
    {
        return finding;
    }
    if let Some(condition) = &agent.condition {
        return held(name, id, condition, &restart);
    }
    let wants = match agent.attention {
        AttentionMode::Open => "",
        AttentionMode::Focus => "; it is for direct messages alone",
        AttentionMode::Dnd => "; nothing but what interrupts",
    };
    let Some(session) = meta(agent, "session") else {
        return if agent.status == AgentStatus::Offline {
            let heard = ago(agent.last_seen);
            Finding::ok(name, format!("not here, last heard from {heard}; what is sent waits for it"))
        } else {
            Finding::ok(name, "not started by this relay: it hears when it asks, or by the stream that it follows")
        };
    };
    if agent.status == AgentStatus::Offline {
        let ended = format!("its session has ended; {restart} starts it again, and what waits for it is kept");
        return Finding::ok(name, ended);
    }
    let host = orchestrator.map_or_else(|| "on the relay's host".to_owned(), |id| format!("by the daemon {id}"));
    if let Some((id, delivery)) = &lately.stuck
        && delivery.state == DeliveryState::Parked
    {
        let why = delivery.reason.as_deref().unwrap_or_default();
        return Finding::warn(
            name,
            format!("message {id} did not come into its session {session} {host}: {why}"),
            format!("agent-relay sessions attach {}, and agent-relay read {id} --peek", agent.id),
        );
    }
    if meta(agent, "attach").is_none() && !lately.needs_no_terminal() {
        return Finding::warn(
            name,
            format!(
                "its session {session} {host} has no terminal: but for a way of its program's own, it hears only when it asks"
            ),
            format!("install tmux there, then {restart}"),
        );
    }
    let waits = lately.stuck.as_ref().map(|(id, delivery)| {
        format!("; message {id} waits: {}", delivery.reason.as_deref().unwrap_or("for its moment"))
    });
    let (way, waits) = (lately.way(), waits.unwrap_or_default());
    Finding::ok(name, format!("woken in its session {session} {host}{way}{waits}{wants}"))
}

/// What is wrong where a daemon runs the session and is not there.
fn without_daemon(name: &str, id: &str, daemon: Option<&Orchestrator>) -> Option<Finding> {
    let Some(daemon) = daemon else {
        let detail = format!("its session is run by the daemon {id}, which nobody knows any more: nothing wakes it");
        return Some(Finding::warn(
            name,
            detail,
            format!("agent-relay orchestrator --id {id}, where its sessions are"),
        ));
    };
    (daemon.status == OrchestratorStatus::Offline).then(|| {
        Finding::warn(
            name,
            format!(
                "its session is run by the daemon {id} on {}, last heard from {}: nothing wakes it until that is back",
                daemon.hostname,
                ago(daemon.last_seen)
            ),
            format!("on {}: agent-relay orchestrator --id {id} --base-dir {}", daemon.hostname, daemon.base_dir),
        )
    })
}

/// What keeps a program from being told anything, by what is seen of it.
fn held(name: String, id: &str, condition: &Condition, restart: &str) -> Finding {
    let attach = format!("agent-relay sessions attach {id}");
    let (detail, fix) = match condition.kind {
        ConditionKind::Starting => return Finding::ok(name, "its program is not up yet; it is woken once it is"),
        ConditionKind::Dialog | ConditionKind::Approval | ConditionKind::Input => {
            let what = condition.detail.as_deref().map(|detail| format!(": {detail}")).unwrap_or_default();
            (format!("not woken while it waits in its terminal ({}{what})", condition.kind), attach)
        }
        ConditionKind::Limit => {
            ("not woken while it is at a usage limit".to_owned(), "wait, or raise the limit".to_owned())
        }
        ConditionKind::Stalled => ("busy without any sign of progress".to_owned(), attach),
        ConditionKind::Crashed => {
            let how = condition.detail.as_deref().unwrap_or("its program ended by itself");
            (how.to_owned(), format!("agent-relay sessions logs {id}; {restart}"))
        }
    };
    Finding::warn(name, detail, fix)
}

#[cfg(test)]
mod tests {
    use agent_relay::domain::time::Timestamp;
    use serde_json::{Value, json};

    use super::super::Status;
    use super::*;

    /// An agent that is online, with this on its card.
    fn agent(meta: &Value) -> Agent {
        let card = json!({"id": "bob", "name": "bob", "tags": [], "capabilities": [], "status": "online", "ready": true,
            "meta": meta, "epoch": 1, "lastSeen": 1, "createdAt": 1});
        serde_json::from_value(card).expect("an agent")
    }

    fn daemon(status: &str) -> Orchestrator {
        let told = json!({"id": "far", "hostname": "host-b", "status": status, "agentId": "orchestrator-far",
            "providers": [], "baseDir": "/srv", "envKeys": [], "meta": {}, "managedAgents": [], "lastSeen": 1,
            "createdAt": 1});
        serde_json::from_value(told).expect("an orchestrator")
    }

    fn delivery(state: DeliveryState, how: Option<Carrier>, words: &str) -> (MessageId, Delivery) {
        let (evidence, reason) = (Some(words.to_owned()), Some(words.to_owned()));
        let new = Delivery::new("bob".into(), Timestamp::from_ms(1));
        (MessageId::new(7), Delivery { state, how, evidence, reason, ..new })
    }

    #[test]
    fn a_daemon_that_is_away_wakes_nobody() {
        let agent = agent(&json!({"session": "s", "attach": "tmux", "orchestrator": "far"}));
        let said = |daemon: Option<&Orchestrator>| {
            let daemons = daemon.map(|daemon| (daemon.id.as_str(), daemon)).into_iter().collect();
            finding(&agent, &daemons, &Lately::default())
        };
        let away = said(Some(&daemon("offline")));
        assert_eq!(away.status, Status::Warn);
        assert!(away.detail.contains("nothing wakes it until that is back"), "{}", away.detail);
        assert_eq!(away.fix.as_deref(), Some("on host-b: agent-relay orchestrator --id far --base-dir /srv"));
        assert_eq!(said(None).status, Status::Warn);
        let there = said(Some(&daemon("online")));
        assert_eq!((there.status, there.detail.as_str()), (Status::Ok, "woken in its session s by the daemon far"));
    }

    #[test]
    fn what_carried_and_what_did_not_is_said() {
        let said = |meta: &Value, carried, stuck| finding(&agent(meta), &HashMap::new(), &Lately { carried, stuck });
        let (seen, blind) = (json!({"session": "s", "attach": "tmux"}), json!({"session": "s", "attach": null}));
        let queued = || Some(delivery(DeliveryState::Presented, Some(Carrier::Queue), "inbox: its transcript"));
        let typed = || Some(delivery(DeliveryState::Presented, Some(Carrier::Typed), "typed: a turn"));

        let told = said(&seen, queued(), None);
        assert!(told.status == Status::Ok && told.detail.contains("; message 7 came by queue (inbox) "), "{told:?}");
        assert!(said(&seen, typed(), None).detail.contains("; message 7 came by typed "));
        // What carries without a terminal needs none.
        assert_eq!(said(&blind, queued(), None).status, Status::Ok);
        assert_eq!(said(&blind, typed(), None).status, Status::Warn);
        assert_eq!(said(&blind, None, None).status, Status::Warn);
        let parked = said(&seen, queued(), Some(delivery(DeliveryState::Parked, None, "tried 4 times in vain: busy")));
        assert!(parked.status == Status::Warn && parked.detail.ends_with("tried 4 times in vain: busy"), "{parked:?}");
    }
}
