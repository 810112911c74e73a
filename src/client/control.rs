//! Control: starting, restarting and stopping agents, and the commands that record it.

use reqwest::Method;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::json;
use serde_json::value::RawValue;

use super::request::escaped;
use super::{Client, Pages, Request};
use crate::domain::control::command::{Command, CommandStatus};
use crate::domain::control::{ApprovalMode, ControlKind};
use crate::domain::id::CommandId;
use crate::domain::message::Message;
use crate::domain::text::json::Exact;

/// Control requests. See [`Client::control`].
#[derive(Clone, Copy, Debug)]
pub struct Controls<'a>(pub(super) &'a Client);

/// What can be done to a running agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// End it and start it again.
    Restart,
    /// End it.
    Shutdown,
}

/// An agent to be started.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SpawnOrder {
    /// The id of a provider.
    pub provider: String,
    /// What it may do by itself; guarded when `None`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub approval_mode: Option<ApprovalMode>,
    /// Where it works; the base directory when `None`, in which a relative path begins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cwd: Option<String>,
    /// A human name for the session, at most 120 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// Its first prompt, at most 4000 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt: Option<String>,
}

impl SpawnOrder {
    /// An agent of this provider, and nothing else said.
    pub fn of(provider: impl Into<String>) -> Self {
        Self { provider: provider.into(), ..Self::default() }
    }
}

/// Which of an orchestrator's agents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Managed<'a> {
    /// This one.
    One(&'a str),
    /// Every one of them.
    All,
}

/// A control that was sent to its target.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Dispatched {
    /// The message that carries it.
    pub message: Message,
    /// Its record; the target reports on it.
    pub command: Command,
    /// The orchestrator that was chosen or named, for a spawn.
    pub orchestrator_id: Option<String>,
    /// What is done, for a restart or shutdown.
    pub action: Option<Action>,
}

/// A spawn, by whoever carries it out.
#[derive(Clone, Debug, PartialEq)]
pub enum Spawned {
    /// The relay started it on its own host.
    Here(Box<SpawnedHere>),
    /// An orchestrator was asked to.
    Through(Box<Dispatched>),
}

// Not `untagged`, which would take numbers for what they are not.
impl<'de> Deserialize<'de> for Spawned {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let answer = Box::<RawValue>::deserialize(deserializer)?;
        let text = answer.get();
        let here = serde_json::from_str(text).map(|here| Self::Here(Box::new(here)));
        here.or_else(|_| serde_json::from_str(text).map(|through| Self::Through(Box::new(through))))
            .map_err(serde::de::Error::custom)
    }
}

/// An agent that the relay started on its own host.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SpawnedHere {
    /// The id the agent registers under.
    pub agent_id: String,
    /// The provider that planned it.
    pub provider: String,
    /// What it may do by itself, after policies narrowed it.
    pub approval_mode: ApprovalMode,
    /// Where it works.
    pub cwd: String,
    /// Its label.
    pub label: Option<String>,
    /// The name of its session.
    pub session: String,
    /// Its process id; `None` in a dry run.
    pub pid: Option<i64>,
    /// The file its terminal is written to.
    pub log_path: String,
    /// It was planned and not started.
    pub dry_run: bool,
    /// Its record.
    pub command: Command,
}

/// The directories below one, in which agents can be started.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Directories {
    /// The one that was looked into, resolved.
    pub path: String,
    /// The one above, where that is allowed.
    pub parent: Option<String>,
    /// The home directory of the relay's user.
    pub home: String,
    /// Where agents start unless asked otherwise.
    pub cwd: String,
    /// Those in it, by name; hidden ones are left out.
    pub entries: Vec<DirectoryEntry>,
}

/// One directory.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct DirectoryEntry {
    /// Its name.
    pub name: String,
    /// Its path.
    pub path: String,
}

/// Which commands.
#[derive(Clone, Debug, Default)]
pub struct CommandQuery {
    /// Only those for this agent.
    pub target: Option<String>,
    /// Only those that have come this far.
    pub status: Option<CommandStatus>,
    /// Only those of this kind.
    pub kind: Option<ControlKind>,
    /// Only those with a smaller id.
    pub before: Option<CommandId>,
    /// The size of a page: 100 unless given, at most 1000.
    pub limit: Option<u32>,
}

/// What the target of a command says became of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CommandReport {
    /// `accepted`, `running`, `succeeded` or `failed`; steps go forward only.
    pub status: CommandStatus,
    /// What came of it, at most 16 KiB of JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result: Option<Exact>,
    /// Why it was not done, at most 4000 bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl Controls<'_> {
    /// Asks an agent to restart or shut down.
    pub fn act_on_agent(&self, id: &str, action: Action) -> Request<Dispatched> {
        let target = format!("/api/agents/{}/actions", escaped(id));
        self.0.request(Method::POST, &target).json(&json!({"action": action}))
    }

    /// Starts an agent: through the orchestrator that suits, or else on the relay's own host.
    pub fn spawn(&self, order: &SpawnOrder) -> Request<Spawned> {
        self.0.request(Method::POST, "/api/agents/spawn").json(order)
    }

    /// The directories in which agents can be started on the relay's own host; those below the base
    /// directory when no path is given.
    pub fn spawn_directories(&self, path: Option<&str>) -> Request<Directories> {
        self.0.request(Method::GET, "/api/agents/spawn/directories").query("path", path)
    }

    /// Has this orchestrator start an agent.
    pub fn spawn_through(&self, orchestrator: &str, order: &SpawnOrder) -> Request<Dispatched> {
        let target = format!("/api/orchestrators/{}/spawn", escaped(orchestrator));
        self.0.request(Method::POST, &target).json(order)
    }

    /// Has an orchestrator restart or shut down one of its agents, or all.
    pub fn act_on_managed(&self, orchestrator: &str, action: Action, which: Managed<'_>) -> Request<Dispatched> {
        let target = format!("/api/orchestrators/{}/actions", escaped(orchestrator));
        let body = match which {
            Managed::One(agent) => json!({"action": action, "agentId": agent}),
            Managed::All => json!({"action": action, "all": true}),
        };
        self.0.request(Method::POST, &target).json(&body)
    }

    /// Commands, newest first.
    pub fn commands(&self, query: &CommandQuery) -> Pages<Command> {
        let request = self.0.request(Method::GET, "/api/commands");
        Pages::from(
            request
                .query("target", query.target.as_ref())
                .query("status", query.status.map(CommandStatus::as_str))
                .query("kind", query.kind.map(ControlKind::as_str))
                .query("before", query.before)
                .query("limit", query.limit),
        )
    }

    /// One command, with what each policy said.
    pub fn command(&self, id: CommandId) -> Request<Command> {
        self.0.request(Method::GET, &format!("/api/commands/{id}"))
    }

    /// Reports how far a command has come. Only its target may.
    pub fn report(&self, id: CommandId, report: &CommandReport) -> Request<Command> {
        self.0.request(Method::PATCH, &format!("/api/commands/{id}")).json(report)
    }
}
