//! Plugins: what is loaded, what it would say, and what operators decide about it.

use reqwest::Method;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::control::SpawnOrder;
use super::request::escaped;
use super::{Client, Request};
use crate::domain::control::command::RecordedDecision;
use crate::domain::control::plan::Plan;
use crate::domain::control::{ApprovalMode, VerdictRecord};
use crate::domain::id::CommandId;

/// Requests about plugins. See [`Client::plugins`].
#[derive(Clone, Copy, Debug)]
pub struct Plugins<'a>(pub(super) &'a Client);

/// A plugin as the relay shows it. Its words are texts, since a newer relay may have more of them.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Plugin {
    /// The name of its folder.
    pub id: String,
    /// `policy` or `provider`, once its manifest could be read.
    pub kind: Option<String>,
    /// The version it gives itself.
    pub version: Option<String>,
    /// The interface it exports.
    pub interface: Option<String>,
    /// `built-in` or `directory`.
    pub origin: Option<String>,
    /// SHA-256 of the component, in hexadecimal.
    pub digest: Option<String>,
    /// What it is at the moment, such as `active` or `rejected`.
    pub state: String,
    /// Since when, in milliseconds since the epoch.
    pub since: Option<i64>,
    /// Why it is not in use.
    pub error: Option<Rejection>,
    /// Of a policy, whether its verdicts are obeyed: `enforce`, `monitor` or `off`.
    pub mode: Option<String>,
    /// Whether every control is refused while it is not active.
    #[serde(default)]
    pub required: bool,
    /// What its plans may use.
    #[serde(default)]
    pub grants: Value,
    /// What a call may use.
    #[serde(default)]
    pub limits: Value,
    /// Calls since it was loaded.
    pub calls: Option<u64>,
    /// Those that gave no usable answer.
    pub traps: Option<u64>,
    /// The median of the latest calls, in microseconds.
    pub p50_micros: Option<u64>,
    /// The 99th percentile of the latest calls, in microseconds.
    pub p99_micros: Option<u64>,
    /// When it was loaded, in milliseconds since the epoch.
    pub loaded_at: Option<i64>,
    /// Which load of this id it is.
    pub generation: Option<u64>,
}

/// Why a plugin is not in use.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Rejection {
    /// How far it got.
    pub stage: String,
    /// What is wrong.
    pub reason: String,
    /// What was rejected. At stage `grants`, what [`Plugins::allow`] takes.
    pub digest: Option<String>,
    /// When, in milliseconds since the epoch.
    pub at: Option<i64>,
}

/// A plugin with what happened to it.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct PluginWithHistory {
    /// The plugin.
    #[serde(flatten)]
    pub plugin: Plugin,
    /// The latest steps since the relay started, the oldest first.
    pub history: Vec<Step>,
}

/// One step in the life of a plugin.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Step {
    /// What it became.
    pub state: String,
    /// When, in milliseconds since the epoch.
    pub at: i64,
    /// Which load of this id it is about, once it was active.
    pub generation: Option<u64>,
    /// SHA-256 of the component, in hexadecimal.
    pub digest: Option<String>,
    /// Of what is not in use, how far it got.
    pub stage: Option<String>,
    /// Why, where there is more to say.
    pub reason: Option<String>,
    /// Who asked for it, if somebody did.
    pub by: Option<String>,
}

/// What the policies say to a control that nobody carries out.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Evaluation {
    /// `allowed`, `denied` or `failed`.
    pub outcome: String,
    /// Why, unless it is allowed.
    pub reason: Option<String>,
    /// What each policy said, in order.
    pub verdicts: Vec<VerdictRecord>,
    /// Where an allowed spawn would work.
    pub cwd: Option<String>,
    /// What an agent of an allowed spawn could do by itself.
    pub approval_mode: Option<ApprovalMode>,
}

/// A plan that nobody carries out.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Planned {
    /// What would be run.
    #[serde(flatten)]
    pub plan: Plan,
    /// The provider that made it.
    pub provider: String,
    /// The version the provider gives itself.
    pub version: String,
    /// SHA-256 of the provider's component, in hexadecimal.
    pub digest: String,
    /// SHA-256 of the plan, in hexadecimal.
    pub sha256: String,
}

impl Plugins<'_> {
    /// All of them, by id; the active one of an id comes first.
    pub fn list(&self) -> Request<Vec<Plugin>> {
        self.0.request(Method::GET, "/api/plugins")
    }

    /// One plugin, and what happened to it.
    pub fn get(&self, id: &str) -> Request<PluginWithHistory> {
        self.0.request(Method::GET, &path(id, ""))
    }

    /// Has the relay look at every plugin again, now. Answered when it has.
    pub fn reload(&self) -> Request<Vec<Plugin>> {
        self.0.request(Method::POST, "/api/plugins/reload")
    }

    /// Asks each policy about a control: `kind`, `target`, and the fields of the control request itself; `as` another
    /// caller and `at` another time where an administrator wants that. Nothing is done.
    pub fn evaluate(&self, control: &Map<String, Value>) -> Request<Evaluation> {
        self.0.request(Method::POST, "/api/plugins/evaluate").json(control)
    }

    /// The plan that the order's provider would make for the relay's own host. Nothing is started.
    pub fn plan(&self, order: &SpawnOrder) -> Request<Planned> {
        self.0.request(Method::POST, &path(&order.provider, "/plan")).json(order)
    }

    /// Recorded decisions with their questions, newest first: those of commands with an id smaller than
    /// `before`. A page of large questions is shorter than `limit`, at most 1000; the last one is empty.
    pub fn decisions(&self, before: Option<CommandId>, limit: Option<usize>) -> Request<Vec<RecordedDecision>> {
        self.0.request(Method::GET, "/api/plugins/decisions").query("limit", limit).query("before", before)
    }

    /// Goes back to the load of a plugin before the active one.
    pub fn roll_back(&self, id: &str) -> Request<Plugin> {
        self.0.request(Method::POST, &path(id, "/rollback"))
    }

    /// Undoes `disable`, or else `roll_back`; tries again what was rejected or is quarantined.
    pub fn enable(&self, id: &str) -> Request<Plugin> {
        self.0.request(Method::POST, &path(id, "/enable"))
    }

    /// Has a plugin loaded no more, until `enable`.
    pub fn disable(&self, id: &str) -> Request<Plugin> {
        self.0.request(Method::POST, &path(id, "/disable"))
    }

    /// Accepts that a plugin asks for more than before; `digest` is that of the rejection that lists it.
    pub fn allow(&self, id: &str, digest: &str) -> Request<Plugin> {
        self.0.request(Method::POST, &path(id, "/allow")).json(&json!({"digest": digest}))
    }
}

fn path(id: &str, what: &str) -> String {
    format!("/api/plugins/{}{what}", escaped(id))
}
