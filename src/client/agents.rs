//! Agents: registering, finding, changing.

use reqwest::Method;
use serde::Serialize;
use serde_json::json;

use super::request::escaped;
use super::{Client, Done, Pages, Request};
use crate::domain::agent::{Agent, AgentStatus, ConditionFilter, Registration, SessionGuard};

/// Requests about agents. See [`Client::agents`].
#[derive(Clone, Copy, Debug)]
pub struct Agents<'a>(pub(super) &'a Client);

/// Which agents.
#[derive(Clone, Debug, Default)]
pub struct AgentQuery {
    /// Only those that are doing so.
    pub status: Option<AgentStatus>,
    /// Only those with this tag.
    pub tag: Option<String>,
    /// Only those with this capability.
    pub capability: Option<String>,
    /// Only those with exactly this label.
    pub label: Option<String>,
    /// Only those on this machine.
    pub machine: Option<String>,
    /// Only those that take work, or that do not.
    pub ready: Option<bool>,
    /// Only those in a condition: `any`, or one of the kinds.
    pub condition: Option<ConditionFilter>,
    /// The size of a page: 100 unless given, at most 1000.
    pub limit: Option<u32>,
}

impl AgentQuery {
    fn ask(&self, client: &Client, target: &str, text: Option<&str>) -> Pages<Agent> {
        let request = client.request(Method::GET, target);
        Pages::from(
            request
                .query("q", text)
                .query("status", self.status.map(AgentStatus::as_str))
                .query("tag", self.tag.as_ref())
                .query("capability", self.capability.as_ref())
                .query("label", self.label.as_ref())
                .query("machine", self.machine.as_ref())
                .query("ready", self.ready)
                .query("condition", self.condition)
                .query("limit", self.limit),
        )
    }
}

/// A change, with the session that makes it.
#[derive(Serialize)]
struct Change<'a, T> {
    #[serde(flatten)]
    change: T,
    #[serde(flatten)]
    guard: &'a SessionGuard,
}

impl Agents<'_> {
    /// Registers an agent, or a new session of one.
    pub fn register(&self, registration: &Registration) -> Request<Agent> {
        self.0.request(Method::POST, "/api/agents").json(registration)
    }

    /// Agents by id.
    pub fn list(&self, query: &AgentQuery) -> Pages<Agent> {
        query.ask(self.0, "/api/agents", None)
    }

    /// Agents with this text in their id, name, label, tags or capabilities, live ones first.
    pub fn find(&self, text: &str, query: &AgentQuery) -> Pages<Agent> {
        query.ask(self.0, "/api/agents/find", Some(text))
    }

    /// One agent.
    pub fn get(&self, id: &str) -> Request<Agent> {
        self.0.request(Method::GET, &path(id, ""))
    }

    /// Sets how an agent is doing.
    pub fn set_status(&self, id: &str, status: AgentStatus, guard: &SessionGuard) -> Request<Agent> {
        self.change(id, "/status", &Change { change: json!({"status": status}), guard })
    }

    /// Sets whether an agent takes work.
    pub fn set_ready(&self, id: &str, ready: bool, guard: &SessionGuard) -> Request<Agent> {
        self.change(id, "/ready", &Change { change: json!({"ready": ready}), guard })
    }

    /// Sets or clears an agent's label.
    pub fn set_label(&self, id: &str, label: Option<&str>, guard: &SessionGuard) -> Request<Agent> {
        self.change(id, "/label", &Change { change: json!({"label": label}), guard })
    }

    /// Sets an agent's tags.
    pub fn set_tags(&self, id: &str, tags: &[String], guard: &SessionGuard) -> Request<Agent> {
        self.change(id, "/tags", &Change { change: json!({"tags": tags}), guard })
    }

    fn change(&self, id: &str, what: &str, change: &impl Serialize) -> Request<Agent> {
        self.0.request(Method::PATCH, &path(id, what)).json(change)
    }

    /// Says that an agent is alive, and how it is doing. Refused with `not_found` once it was pruned.
    pub fn heartbeat(&self, id: &str, status: Option<AgentStatus>, guard: &SessionGuard) -> Request<Done> {
        let change = Change { change: json!({"status": status}), guard };
        self.0.request(Method::POST, &path(id, "/heartbeat")).json(&change)
    }

    /// Removes an agent; its messages stay.
    pub fn remove(&self, id: &str, guard: &SessionGuard) -> Request<Done> {
        let request = self.0.request(Method::DELETE, &path(id, ""));
        request.query("instanceId", guard.instance_id.as_ref()).query("epoch", guard.epoch)
    }
}

pub(super) fn path(id: &str, what: &str) -> String {
    format!("/api/agents/{}{what}", escaped(id))
}
