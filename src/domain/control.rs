//! Control actions: starting, restarting and shutting down agents, and what was decided about them.
//!
//! These are the canonical values. Each published plugin track has its own generated types, which
//! `plugins` converts to and from these; nothing else in the relay sees those.

pub mod command;
pub mod courier;
pub mod fleet;
pub mod observation;
pub mod orchestrator;
pub mod order;
pub mod plan;
pub mod session;
pub mod spawn;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::text::path::PathFacts;
use super::text::word::words;

words! {
    /// How much a started agent may do without asking a person.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
    #[serde(rename_all = "kebab-case")]
    pub enum ApprovalMode {
        /// Asks for nothing.
        Open = "open",
        /// Asks before anything risky.
        #[default]
        Guarded = "guarded",
        /// Changes nothing.
        ReadOnly = "read-only",
    }
}

impl ApprovalMode {
    /// Whether this mode allows an agent more than `other` does.
    pub fn is_wider_than(self, other: Self) -> bool {
        self.rank() > other.rank()
    }

    fn rank(self) -> u8 {
        match self {
            Self::Open => 2,
            Self::Guarded => 1,
            Self::ReadOnly => 0,
        }
    }
}

words! {
    /// The kinds of control there are.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
    #[serde(rename_all = "lowercase")]
    pub enum ControlKind {
        /// Start an agent.
        Spawn = "spawn",
        /// End an agent's process and start it again.
        Restart = "restart",
        /// End an agent's process.
        Shutdown = "shutdown",
    }
}

/// Where a process would start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Site {
    /// The orchestrator that would start it; `None` is the relay's own host.
    pub orchestrator: Option<String>,
    /// The name of that host.
    pub hostname: String,
    /// The directory in which every working directory of this site must lie.
    pub base_dir: PathFacts,
}

/// A request to start an agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Spawn {
    /// The id of the provider that plans it.
    pub provider: String,
    /// What the agent may do by itself.
    pub approval_mode: ApprovalMode,
    /// The working directory asked for.
    pub cwd: PathFacts,
    /// A human name for the session.
    pub label: Option<String>,
    /// The first prompt.
    pub prompt: Option<String>,
    /// Where it would start.
    pub site: Site,
}

/// What policies may know of an agent that is to be controlled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AgentFacts {
    /// The agent's id.
    pub id: String,
    /// Its display name.
    pub name: String,
    /// Its label.
    pub label: Option<String>,
    /// Its tags.
    pub tags: Vec<String>,
    /// Its capabilities.
    pub capabilities: Vec<String>,
    /// The machine it says it runs on.
    pub machine: Option<String>,
    /// `online`, `idle`, `busy` or `offline`.
    pub status: String,
    /// Where its process runs, when the relay started it.
    pub site: Option<Site>,
}

/// Who a restart or shutdown is aimed at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ControlTarget {
    /// One agent.
    Agent(AgentFacts),
    /// Every agent that this orchestrator runs.
    EveryAgentOf(Site),
}

/// A control action somebody asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Control {
    /// Start an agent.
    Spawn(Spawn),
    /// End and start again.
    Restart(ControlTarget),
    /// End.
    Shutdown(ControlTarget),
}

impl Control {
    /// Which kind of control this is.
    pub fn kind(&self) -> ControlKind {
        match self {
            Self::Spawn(_) => ControlKind::Spawn,
            Self::Restart(_) => ControlKind::Restart,
            Self::Shutdown(_) => ControlKind::Shutdown,
        }
    }
}

/// Who asks, as far as a policy may know it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CallerFacts {
    /// The name recorded with the command.
    pub name: String,
    /// The agent the caller's credential is bound to.
    pub agent_id: Option<String>,
    /// Whether it is the administrator.
    pub administrator: bool,
    /// The scopes of its credential.
    pub scopes: Vec<String>,
    /// Whether the request came over the loopback interface.
    pub loopback: bool,
}

/// An agent that the relay or an orchestrator runs now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RunningAgent {
    /// The agent's id.
    pub agent_id: String,
    /// The provider that planned it.
    pub provider: String,
    /// Its working directory.
    pub cwd: String,
    /// Its label.
    pub label: Option<String>,
    /// What it may do by itself.
    pub approval_mode: ApprovalMode,
    /// The orchestrator that runs it; `None` is the relay's own host.
    pub orchestrator: Option<String>,
    /// When it was started, in milliseconds since the epoch.
    #[serde(rename = "startedAtMs")]
    pub started_at: i64,
}

/// What is known at the moment of a decision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Context {
    /// Who asks.
    pub caller: CallerFacts,
    /// Milliseconds since the epoch: the only clock a policy has.
    #[serde(rename = "nowMs")]
    pub now: i64,
    /// At most [`RUNNING_MAX`], newest first.
    pub running: Vec<RunningAgent>,
    /// What else is known, by name: what [`fleet::Fleet::extensions`] says. None of it where it is not known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub extensions: Vec<Extension>,
}

/// A named fact that the published interface has no field for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Extension {
    /// What it is.
    pub name: String,
    /// JSON.
    pub value: String,
}

/// The most running agents a policy is told about: enough for any fleet one relay serves, and a
/// bound on what each decision has to copy.
pub const RUNNING_MAX: usize = 1_000;

/// What one policy said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It may happen.
    Allow,
    /// It may happen in a narrower form.
    Amend {
        /// A directory inside the one asked for.
        cwd: Option<String>,
        /// A mode that allows less.
        approval_mode: Option<ApprovalMode>,
        /// Why.
        reason: String,
    },
    /// It may not happen.
    Deny {
        /// A stable snake_case word.
        code: String,
        /// A sentence for the caller.
        reason: String,
    },
}

words! {
    /// Whether a policy's verdict is obeyed.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
    #[serde(rename_all = "lowercase")]
    pub enum PolicyMode {
        /// Asked, recorded and obeyed.
        #[default]
        Enforce = "enforce",
        /// Asked and recorded, never obeyed.
        Monitor = "monitor",
        /// Not asked.
        Off = "off",
    }
}

/// One policy's verdict as it is kept with the command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct VerdictRecord {
    /// The policy's id.
    pub plugin: String,
    /// The version it gave itself.
    pub version: String,
    /// SHA-256 of the component, in hexadecimal.
    pub digest: String,
    /// Which load of this plugin it was.
    pub generation: u64,
    /// `allow`, `amend`, `deny`, or `error` when it failed to answer.
    pub verdict: VerdictKind,
    /// The denial's code, or the failure's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// The policy's reason, or what went wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// How long the call took, the fresh instance included, in microseconds.
    pub micros: u64,
    /// Whether the verdict was obeyed.
    pub mode: PolicyMode,
}

words! {
    /// The outcome of one policy call, without its data.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
    #[serde(rename_all = "lowercase")]
    pub enum VerdictKind {
        /// [`Verdict::Allow`]
        Allow = "allow",
        /// [`Verdict::Amend`]
        Amend = "amend",
        /// [`Verdict::Deny`]
        Deny = "deny",
        /// The policy failed to answer: a trap, a limit, an error or an amendment that widens.
        Error = "error",
    }
}

/// What the policies decided together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Each policy that was asked, in order, up to and including the first that refused.
    pub verdicts: Vec<VerdictRecord>,
    /// What each amendment that was obeyed made of the control, in order: the policies after it
    /// were asked about that.
    pub narrowed: Vec<Narrowing>,
    /// What follows.
    pub outcome: Outcome,
}

/// A control after an amendment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Narrowing {
    /// The policy that amended.
    pub by: String,
    /// What it left.
    pub control: Control,
}

/// What policies were asked, as it is kept with the command: the same question put to the same
/// component again has the same answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Question {
    /// As the first policy got it.
    pub control: Control,
    /// What was known.
    pub context: Context,
    /// What amendments made of the control, for the policies after them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub narrowed: Vec<Narrowing>,
}

/// What follows from a decision.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "made once for each control request, and taken apart at once")]
pub enum Outcome {
    /// The control may happen in this form, which amendments may have narrowed.
    Allowed(Control),
    /// A policy refused.
    Denied {
        /// The policy's id.
        plugin: String,
        /// The denial's code.
        code: String,
        /// The policy's reason.
        reason: String,
    },
    /// A policy could not be asked, or a required one is missing. Refused all the same.
    Failed {
        /// The policy's id.
        plugin: String,
        /// What went wrong, for the caller.
        reason: String,
    },
}
