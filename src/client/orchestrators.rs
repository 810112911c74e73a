//! Orchestrators: what the daemons on other hosts say about themselves.

use reqwest::Method;
use serde_json::json;

use super::request::escaped;
use super::{Client, Done, Request};
use crate::domain::agent::SessionGuard;
use crate::domain::control::orchestrator::{ManagedAgent, Orchestrator, OrchestratorRegistration, OrchestratorStatus};

/// Requests about orchestrators. See [`Client::orchestrators`].
#[derive(Clone, Copy, Debug)]
pub struct Orchestrators<'a>(pub(super) &'a Client);

impl Orchestrators<'_> {
    /// Registers an orchestrator, or registers it again.
    pub fn register(&self, registration: &OrchestratorRegistration) -> Request<Orchestrator> {
        self.0.request(Method::POST, "/api/orchestrators").json(registration)
    }

    /// All of them, by id.
    pub fn list(&self) -> Request<Vec<Orchestrator>> {
        self.0.request(Method::GET, "/api/orchestrators")
    }

    /// One orchestrator.
    pub fn get(&self, id: &str) -> Request<Orchestrator> {
        self.0.request(Method::GET, &path(id, ""))
    }

    /// Says that an orchestrator is alive, by this daemon where it says which.
    pub fn heartbeat(&self, id: &str, guard: &SessionGuard) -> Request<Done> {
        let request = self.0.request(Method::POST, &path(id, "/heartbeat"));
        request.query("instanceId", guard.instance_id.as_ref()).query("epoch", guard.epoch)
    }

    /// Says that the daemon of an orchestrator ends: nothing is asked of it until it is heard from again.
    pub fn take_leave(&self, id: &str, guard: &SessionGuard) -> Request<Done> {
        self.heartbeat(id, guard).query("status", Some(OrchestratorStatus::Offline))
    }

    /// Replaces the list of agents that an orchestrator runs; at most 1000.
    pub fn set_managed_agents(&self, id: &str, agents: &[ManagedAgent], guard: &SessionGuard) -> Request<Orchestrator> {
        let SessionGuard { instance_id, epoch } = guard;
        let list = json!({"agents": agents, "instanceId": instance_id, "epoch": epoch});
        self.0.request(Method::PATCH, &path(id, "/agents")).json(&list)
    }

    /// Removes an orchestrator: its agent goes offline and its open commands fail.
    pub fn remove(&self, id: &str) -> Request<Done> {
        self.0.request(Method::DELETE, &path(id, ""))
    }
}

fn path(id: &str, what: &str) -> String {
    format!("/api/orchestrators/{}{what}", escaped(id))
}
