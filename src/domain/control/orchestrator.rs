//! Orchestrators: the daemons that start agents on other hosts.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::domain::agent::{Agent, AgentStatus, SessionGuard};
use crate::domain::control::ApprovalMode;
use crate::domain::id::{AgentId, EventSeq, OrchestratorId};
use crate::domain::refusal::Refusal;
use crate::domain::text;
use crate::domain::text::json;
use crate::domain::text::word::words;
use crate::domain::time::Timestamp;

/// The longest orchestrator id and host name.
pub const ORCHESTRATOR_ID_MAX: usize = 120;
/// The longest provider name.
pub const PROVIDER_MAX: usize = 64;
/// The longest prompt, in characters.
pub const PROMPT_MAX: usize = 4_000;
/// The most agents one orchestrator may report.
pub const MANAGED_MAX: usize = 1_000;

words! {
    /// Whether an orchestrator has been heard from.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
    #[serde(rename_all = "lowercase")]
    pub enum OrchestratorStatus {
        /// Heard from.
        Online = "online",
        /// Not heard from.
        Offline = "offline",
    }
}

/// An agent process that an orchestrator runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ManagedAgent {
    /// The agent's id.
    #[schema(value_type = String)]
    pub agent_id: AgentId,
    /// The provider that planned it.
    pub provider: String,
    /// The tmux session it runs in.
    pub tmux_session: String,
    /// Its working directory.
    pub cwd: String,
    /// Its label.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// What it may do by itself.
    pub approval_mode: ApprovalMode,
    /// Its process id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<i64>,
    /// When it was started, in milliseconds since the epoch.
    #[schema(value_type = i64)]
    pub started_at: Timestamp,
}

impl ManagedAgent {
    /// Reads one entry of the list an orchestrator reports.
    pub fn parse(value: &Value, now: Timestamp) -> Result<Self, Refusal> {
        let Value::Object(fields) = value else {
            return Err(Refusal::invalid("each agent must be an object"));
        };
        let string = |name: &str| match fields.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(_) => Err(Refusal::invalid(format!("{name} must be a string"))),
        };
        let approval_mode = text::optional("approvalMode", string("approvalMode")?, text::WORD_MAX)?;
        Ok(Self {
            agent_id: AgentId::required("agentId", string("agentId")?)?,
            provider: text::required("provider", string("provider")?, PROVIDER_MAX)?,
            tmux_session: text::required("tmuxSession", string("tmuxSession")?, text::ID_MAX)?,
            cwd: text::required("cwd", string("cwd")?, text::PATH_MAX)?,
            label: text::optional("label", string("label")?, text::WORD_MAX)?,
            approval_mode: parse_approval_mode(approval_mode)?,
            pid: fields.get("pid").and_then(Value::as_i64),
            started_at: fields
                .get("startedAt")
                .and_then(Value::as_i64)
                .filter(|at| *at >= 0)
                .map_or(now, Timestamp::from_ms),
        })
    }
}

impl ManagedAgent {
    /// Whether it is the session that was told of before.
    pub fn is_session_of(&self, before: &Self) -> bool {
        // Its process may have become known meanwhile.
        self.tmux_session == before.tmux_session && (before.pid.is_none() || self.pid == before.pid)
    }
}

/// The approval mode of a request; `guarded` when it names none.
pub fn parse_approval_mode(name: Option<String>) -> Result<ApprovalMode, Refusal> {
    match name {
        None => Ok(ApprovalMode::default()),
        Some(name) => ApprovalMode::named("approvalMode", &name),
    }
}

/// An orchestrator as clients see it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Orchestrator {
    /// At most 120 characters.
    #[schema(value_type = String)]
    pub id: OrchestratorId,
    /// The host it runs on.
    pub hostname: String,
    /// Whether it has been heard from.
    pub status: OrchestratorStatus,
    /// The agent under which it gets messages: `orchestrator-ID`.
    #[schema(value_type = String)]
    pub agent_id: AgentId,
    /// The providers it offers.
    pub providers: Vec<String>,
    /// The directory in which its agents work.
    pub base_dir: String,
    /// Names of environment variables it gives its agents; never values.
    pub env_keys: Vec<String>,
    /// Anything else.
    #[schema(value_type = Object)]
    pub meta: json::Object,
    /// The agents it runs.
    pub managed_agents: Vec<ManagedAgent>,
    /// The daemon that speaks for it, if it said which.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance_id: Option<String>,
    /// Raised by every daemon that takes over; left out while none said which it is.
    #[serde(default, skip_serializing_if = "is_first")]
    #[schema(required = false)]
    pub epoch: i64,
    /// When it was last heard from, in milliseconds since the epoch.
    #[schema(value_type = i64)]
    pub last_seen: Timestamp,
    /// When it first registered, in milliseconds since the epoch.
    #[schema(value_type = i64)]
    pub created_at: Timestamp,
}

fn is_first(epoch: &i64) -> bool {
    *epoch == 0
}

/// What an orchestrator says about itself.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct OrchestratorRegistration {
    /// At most 120 characters.
    #[schema(value_type = String, max_length = 120, pattern = r"\S")]
    pub id: Option<String>,
    /// The host it runs on.
    #[schema(value_type = String, max_length = 120, pattern = r"\S")]
    pub hostname: Option<String>,
    /// The directory in which its agents work; absolute.
    #[schema(value_type = String, max_length = 500, pattern = r"^\s*/")]
    pub base_dir: Option<String>,
    /// The providers it offers, each loaded here; all loaded ones when left out.
    #[schema(value_type = Option<Vec<text::WordSchema>>, max_items = 64)]
    pub providers: Option<Vec<String>>,
    /// Names of environment variables.
    #[schema(value_type = Option<Vec<text::WordSchema>>, max_items = 64)]
    pub env_keys: Option<Vec<String>>,
    /// Anything else, at most 16 KiB of JSON.
    #[schema(value_type = Option<Object>)]
    pub meta: Option<json::Object>,
    /// The daemon that registers; another than the one before takes over from it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 240)]
    pub instance_id: Option<String>,
    /// Must be the current one when given: a daemon that another took over from does not come back by this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<i64>,
}

impl OrchestratorRegistration {
    /// Checks bounds and that each provider is loaded.
    pub fn parse(self, loaded: &[String]) -> Result<NewOrchestrator, Refusal> {
        let id = OrchestratorId::required("id", self.id)?;
        let hostname = text::required("hostname", self.hostname, ORCHESTRATOR_ID_MAX)?;
        let base_dir = text::required("baseDir", self.base_dir, text::PATH_MAX)?;
        if !base_dir.starts_with('/') {
            return Err(Refusal::invalid("baseDir must be an absolute path"));
        }
        let providers = match self.providers {
            None => loaded.to_vec(),
            Some(list) => text::words("providers", list)?,
        };
        require_providers(providers.iter(), loaded)?;
        let meta = self.meta.unwrap_or_default();
        text::object("meta", &meta, text::META_BYTES_MAX)?;
        let env_keys = text::words("envKeys", self.env_keys.unwrap_or_default())?;
        let instance_id = text::optional("instanceId", self.instance_id, text::ID_MAX)?;
        Ok(NewOrchestrator { id, hostname, base_dir, providers, env_keys, meta, instance_id, epoch: self.epoch })
    }
}

/// Refuses a provider that is not loaded here.
pub fn require_providers<'a>(
    mut providers: impl Iterator<Item = &'a String>,
    loaded: &[String],
) -> Result<(), Refusal> {
    match providers.find(|provider| !loaded.contains(provider)) {
        None => Ok(()),
        Some(unknown) => {
            let known = loaded.join(", ");
            Err(Refusal::invalid(format!("invalid provider: {unknown}. Must be one of: {known}")))
        }
    }
}

/// A registration within its bounds.
#[derive(Clone, Debug)]
pub struct NewOrchestrator {
    /// Its id.
    pub id: OrchestratorId,
    /// The host it runs on.
    pub hostname: String,
    /// The directory in which its agents work; absolute.
    pub base_dir: String,
    /// The providers it offers; all of them loaded.
    pub providers: Vec<String>,
    /// Names of environment variables.
    pub env_keys: Vec<String>,
    /// Anything else.
    pub meta: json::Object,
    /// The daemon that registers.
    pub instance_id: Option<String>,
    /// Must be the current one when given.
    pub epoch: Option<i64>,
}

impl NewOrchestrator {
    /// The orchestrator that this makes of the one there was, of which what it runs is kept. Refuses an epoch that is
    /// over.
    pub fn apply(self, before: Option<Orchestrator>, now: Timestamp) -> Result<Orchestrator, Refusal> {
        let (managed_agents, created_at, instance_before, epoch_before) = match before {
            Some(before) => {
                SessionGuard { instance_id: None, epoch: self.epoch }.check_orchestrator(&before)?;
                (before.managed_agents, before.created_at, before.instance_id, before.epoch)
            }
            None => (Vec::new(), now, None, 0),
        };
        let takes_over = self.instance_id.is_some() && self.instance_id != instance_before;
        Ok(Orchestrator {
            agent_id: self.id.agent_id(),
            id: self.id,
            hostname: self.hostname,
            status: OrchestratorStatus::Online,
            providers: self.providers,
            base_dir: self.base_dir,
            env_keys: self.env_keys,
            meta: self.meta,
            managed_agents,
            instance_id: self.instance_id.or(instance_before),
            epoch: epoch_before + i64::from(takes_over),
            last_seen: now,
            created_at,
        })
    }
}

impl SessionGuard {
    /// Refuses when either is given and is not that of the daemon which speaks for this orchestrator.
    pub fn check_orchestrator(&self, orchestrator: &Orchestrator) -> Result<(), Refusal> {
        let instance_stale = self.instance_id.is_some() && self.instance_id != orchestrator.instance_id;
        let epoch_stale = self.epoch.is_some_and(|epoch| epoch != orchestrator.epoch);
        if instance_stale || epoch_stale {
            return Err(Refusal::StaleSession(orchestrator.agent_id.clone()));
        }
        Ok(())
    }
}

impl Orchestrator {
    /// The agent under which it gets its messages, from the one there was. `newest` is the newest event.
    pub fn agent(&self, before: Option<Agent>, now: Timestamp, newest: EventSeq) -> Agent {
        let mut meta = json::Object::default();
        meta.insert("kind", "orchestrator");
        meta.insert("orchestratorId", &self.id);
        let (created_at, joined_after, epoch, instance_id) = match before {
            Some(before) => (before.created_at, before.joined_after, before.epoch, before.instance_id),
            None => (now, newest, 1, None),
        };
        // A daemon that says which it is speaks for the agent as well.
        let (epoch, instance_id) = match &self.instance_id {
            Some(instance) => (epoch.max(self.epoch), Some(instance.clone())),
            None => (epoch, instance_id),
        };
        Agent {
            name: self.id.as_str().to_owned(),
            tags: vec!["orchestrator".to_owned()],
            machine: Some(self.hostname.clone()),
            status: AgentStatus::Online,
            ready: true,
            ready_otherwise: true,
            instance_id,
            epoch,
            meta,
            created_at,
            joined_after,
            ..Agent::new(self.agent_id.clone(), now)
        }
    }
}
