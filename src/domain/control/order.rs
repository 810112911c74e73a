//! Control requests on the wire: the message that carries one, the answer to whoever asked, and its entry in
//! the activity log.
//!
//! Clients of this protocol know these subjects, bodies, keys and icons, so they are constants of the wire,
//! and all of them stand in this file.

use std::path::PathBuf;

use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::command::Command;
use super::spawn::SpawnSpec;
use super::{ApprovalMode, ControlKind, Spawn};
use crate::domain::activity::{ActivityKind, Entry};
use crate::domain::id::{AgentId, OrchestratorId};
use crate::domain::message::{Message, MessageType, NewMessage};
use crate::domain::text::json::Object;
use crate::domain::text::short;
use crate::domain::time::Timestamp;

/// A control request that was allowed.
#[derive(Clone, Debug)]
pub enum ControlOrder {
    /// An agent is to restart or to shut down.
    Agent {
        /// Restart or shutdown.
        kind: ControlKind,
        /// The agent.
        agent_id: AgentId,
    },
    /// An orchestrator is to start an agent.
    SpawnThrough {
        /// The orchestrator.
        orchestrator: OrchestratorRef,
        /// The id that the agent gets.
        agent_id: AgentId,
        /// What was approved.
        spawn: Box<Spawn>,
        /// Whether the relay chose the orchestrator, as against the caller.
        chosen: bool,
    },
    /// An orchestrator is to restart or shut down one of its agents, or all.
    Managed {
        /// Restart or shutdown.
        kind: ControlKind,
        /// The orchestrator.
        orchestrator: OrchestratorRef,
        /// One agent, or every one.
        agent_id: Option<AgentId>,
    },
    /// An agent is started on the relay's own host.
    SpawnHere {
        /// What was approved.
        spec: Box<SpawnSpec>,
        /// The name of its session.
        session: String,
        /// Where its output is kept.
        log_path: PathBuf,
        /// Nothing is started.
        dry_run: bool,
        /// Its process, once there is one.
        pid: Option<u32>,
    },
}

/// An orchestrator, as far as an order needs to know it.
#[derive(Clone, Debug)]
pub struct OrchestratorRef {
    /// Its id.
    pub id: OrchestratorId,
    /// The agent under which it gets its messages.
    pub agent_id: AgentId,
}

/// What whoever asked for a control is answered, with 202.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub enum ControlAnswer {
    /// A restart or shutdown.
    Action {
        /// True.
        ok: bool,
        /// Restart or shutdown.
        action: ControlKind,
        /// The message that carries it.
        message: Option<Message>,
        /// Its record.
        command: Command,
    },
    /// A spawn through an orchestrator.
    #[serde(rename_all = "camelCase")]
    SpawnThrough {
        /// True.
        ok: bool,
        /// The orchestrator that will start it.
        #[schema(value_type = String)]
        orchestrator_id: OrchestratorId,
        /// The provider, when the relay chose the orchestrator.
        #[serde(skip_serializing_if = "Option::is_none")]
        provider: Option<String>,
        /// The message that carries it.
        message: Option<Message>,
        /// Its record.
        command: Command,
    },
    /// A spawn on the relay's own host.
    #[serde(rename_all = "camelCase")]
    SpawnHere {
        /// True.
        ok: bool,
        /// The provider.
        provider: String,
        /// What the agent may do by itself.
        approval_mode: ApprovalMode,
        /// Where it works.
        cwd: String,
        /// Its label; null when it has none.
        #[schema(required = true)]
        label: Option<String>,
        /// The id under which it registers.
        #[schema(value_type = String)]
        agent_id: AgentId,
        /// The name of its session.
        session: String,
        /// Where its output is kept.
        #[schema(value_type = String)]
        log_path: PathBuf,
        /// Nothing was started.
        dry_run: bool,
        /// Its process; left out on a dry run.
        #[serde(skip_serializing_if = "Option::is_none")]
        pid: Option<u32>,
        /// Its record.
        command: Command,
    },
}

/// The views of a dashboard.
mod view {
    pub(super) const AGENTS: &str = "agents";
    pub(super) const ORCHESTRATORS: &str = "orchestrators";
}

/// The icons of a dashboard.
mod icon {
    pub(super) const SPAWN: &str = "ti-plus";
    pub(super) const RESTART: &str = "ti-refresh";
    pub(super) const SHUTDOWN: &str = "ti-power";
    pub(super) const DENIED: &str = "ti-ban";
}

impl ControlOrder {
    /// What is asked for.
    pub fn kind(&self) -> ControlKind {
        match self {
            Self::Agent { kind, .. } | Self::Managed { kind, .. } => *kind,
            Self::SpawnThrough { .. } | Self::SpawnHere { .. } => ControlKind::Spawn,
        }
    }

    /// The agent that the command is for: an agent, an orchestrator's, or the one to be started here.
    pub fn target(&self) -> &AgentId {
        match self {
            Self::Agent { agent_id, .. } => agent_id,
            Self::SpawnThrough { orchestrator, .. } | Self::Managed { orchestrator, .. } => &orchestrator.agent_id,
            Self::SpawnHere { spec, .. } => &spec.agent_id,
        }
    }

    /// The same, once its program runs as this process.
    #[must_use]
    pub fn running_as(mut self, process: u32) -> Self {
        if let Self::SpawnHere { pid, .. } = &mut self {
            *pid = Some(process);
        }
        self
    }

    /// The request as it is recorded and sent.
    pub fn request(&self) -> Value {
        match self {
            Self::Agent { kind, agent_id } => agent_request(*kind, agent_id),
            Self::Managed { kind, agent_id, .. } => managed_request(*kind, agent_id.as_deref()),
            Self::SpawnThrough { spawn, agent_id, .. } => {
                let mut request = spawn_request(spawn);
                request["agentId"] = Value::from(agent_id);
                request
            }
            Self::SpawnHere { spec, .. } => {
                request_of(&spec.provider, &spec.cwd, spec.approval_mode, spec.label.as_deref(), spec.prompt.as_deref())
            }
        }
    }

    /// The message that carries it to its target; none when the relay carries it out itself.
    pub fn message(&self, requested_by: &str, now: Timestamp) -> Option<NewMessage> {
        match self {
            Self::Agent { kind, agent_id } => {
                let body = match kind {
                    ControlKind::Restart => {
                        "Dashboard requested that this agent restart its relay-managed session now."
                    }
                    ControlKind::Shutdown | ControlKind::Spawn => {
                        "Dashboard requested that this agent shut down its relay-managed session now."
                    }
                };
                let details = json!({"action": kind.as_str(), "requestedBy": requested_by, "requestedAt": now});
                let subject = agent_subject(*kind);
                Some(system_message(agent_id, &subject, body.to_owned(), envelope("agentControl", details)))
            }
            Self::SpawnThrough { orchestrator, .. } => {
                Some(self.to_orchestrator(orchestrator, "Spawn agent", requested_by, now))
            }
            Self::Managed { orchestrator, kind, .. } => {
                let subject = if *kind == ControlKind::Restart { "Restart agent" } else { "Shutdown agent" };
                Some(self.to_orchestrator(orchestrator, subject, requested_by, now))
            }
            Self::SpawnHere { .. } => None,
        }
    }

    fn to_orchestrator(
        &self,
        orchestrator: &OrchestratorRef,
        subject: &str,
        requested_by: &str,
        now: Timestamp,
    ) -> NewMessage {
        let request = self.request();
        let mut details = request.clone();
        details["requestedBy"] = Value::from(requested_by);
        details["requestedAt"] = Value::from(now);
        system_message(&orchestrator.agent_id, subject, request.to_string(), envelope("orchestratorControl", details))
    }

    /// What whoever asked is answered.
    pub fn answer(&self, command: &Command, message: Option<&Message>) -> ControlAnswer {
        let (command, message, ok) = (command.clone(), message.cloned(), true);
        match self {
            Self::Agent { kind, .. } | Self::Managed { kind, .. } => {
                ControlAnswer::Action { ok, action: *kind, message, command }
            }
            Self::SpawnThrough { orchestrator, spawn, chosen, .. } => ControlAnswer::SpawnThrough {
                ok,
                orchestrator_id: orchestrator.id.clone(),
                provider: chosen.then(|| spawn.provider.clone()),
                message,
                command,
            },
            Self::SpawnHere { spec, session, log_path, dry_run, pid } => ControlAnswer::SpawnHere {
                ok,
                provider: spec.provider.clone(),
                approval_mode: spec.approval_mode,
                cwd: spec.cwd.clone(),
                label: spec.label.clone(),
                agent_id: spec.agent_id.clone(),
                session: session.clone(),
                log_path: log_path.clone(),
                dry_run: *dry_run,
                pid: *pid,
                command,
            },
        }
    }

    /// Its entry in the activity log.
    pub fn entry(&self, command: &Command, message: Option<&Message>) -> Entry {
        let message_id = message.map(|message| message.id).or(command.message_id);
        let audit = |id: String, title: &str, icon: &'static str, view: &'static str| {
            Entry::new(ActivityKind::Control, &id, title).icon(icon).view(view).message(message_id)
        };
        match self {
            Self::Agent { kind, agent_id } => audit(
                format!("agent-{}-action-{kind}-{}", short(agent_id), message_id.unwrap_or_default()),
                &agent_subject(*kind),
                action_icon(*kind),
                view::AGENTS,
            )
            .body(kind.as_str())
            .meta(agent_id)
            .agent(agent_id.clone())
            .metadata(json!({"action": kind})),
            Self::SpawnThrough { orchestrator, spawn, chosen, .. } => {
                let provider = &spawn.provider;
                let (id, title, view) = if *chosen {
                    (
                        format!("agent-spawn-{provider}-{}", command.id),
                        format!("{provider} agent spawn requested (via {})", orchestrator.id),
                        view::AGENTS,
                    )
                } else {
                    (
                        format!("orchestrator-spawn-{}-{}", short(&orchestrator.id), command.id),
                        format!("Spawn {provider} agent requested"),
                        view::ORCHESTRATORS,
                    )
                };
                audit(id, &title, icon::SPAWN, view).body(spawn.cwd.effective()).meta(&orchestrator.id).metadata(
                    json!({
                        "orchestratorId": orchestrator.id, "provider": provider,
                        "approvalMode": spawn.approval_mode, "label": spawn.label,
                    }),
                )
            }
            Self::Managed { kind, orchestrator, agent_id } => audit(
                format!("orchestrator-action-{}-{kind}-{}", short(&orchestrator.id), command.id),
                &agent_subject(*kind),
                action_icon(*kind),
                view::ORCHESTRATORS,
            )
            .body(agent_id.as_deref().unwrap_or("all"))
            .meta(&orchestrator.id)
            .agent(agent_id.clone())
            .metadata(json!({"orchestratorId": orchestrator.id, "action": kind, "agentId": agent_id})),
            Self::SpawnHere { spec, log_path, dry_run, .. } => audit(
                format!("agent-spawn-{}-{}", spec.provider, command.id),
                &format!("{} agent spawn requested (direct)", spec.provider),
                icon::SPAWN,
                view::AGENTS,
            )
            .body(&spec.cwd)
            .meta(if *dry_run { "dry run" } else { &spec.agent_id })
            .agent(spec.agent_id.clone())
            .metadata(json!({
                "provider": spec.provider, "approvalMode": spec.approval_mode, "logPath": log_path,
                "dryRun": dry_run,
            })),
        }
    }
}

/// The entry of a control that a policy refused, or could not decide on.
pub fn denial_entry(command: &Command, policy: &str, reason: &str) -> Entry {
    let title = format!("{} denied", capitalised(command.kind.as_str()));
    Entry::new(ActivityKind::Control, &format!("command-{}-denied", command.id), &title)
        .body(reason)
        .meta(policy)
        .agent(command.target.clone())
        .icon(icon::DENIED)
        .view(view::AGENTS)
        .message(command.message_id)
}

/// The request of a restart or shutdown of one agent.
pub fn agent_request(kind: ControlKind, agent_id: &str) -> Value {
    json!({"action": kind.as_str(), "agentId": agent_id})
}

/// The request of a restart or shutdown of one managed agent, or of all.
pub fn managed_request(kind: ControlKind, agent_id: Option<&str>) -> Value {
    match agent_id {
        Some(agent_id) => agent_request(kind, agent_id),
        None => json!({"action": kind.as_str(), "all": true}),
    }
}

/// A spawn as it is sent and recorded; what was left out stays out.
pub fn spawn_request(spawn: &Spawn) -> Value {
    request_of(
        &spawn.provider,
        spawn.cwd.effective(),
        spawn.approval_mode,
        spawn.label.as_deref(),
        spawn.prompt.as_deref(),
    )
}

fn request_of(provider: &str, cwd: &str, mode: ApprovalMode, label: Option<&str>, prompt: Option<&str>) -> Value {
    let mut request = json!({"action": "spawn", "provider": provider, "cwd": cwd, "approvalMode": mode});
    if let Some(label) = label {
        request["label"] = Value::from(label);
    }
    if let Some(prompt) = prompt {
        request["prompt"] = Value::from(prompt);
    }
    request
}

fn agent_subject(kind: ControlKind) -> String {
    format!("Agent {} requested", kind.as_str())
}

fn action_icon(kind: ControlKind) -> &'static str {
    if kind == ControlKind::Restart { icon::RESTART } else { icon::SHUTDOWN }
}

fn envelope(key: &str, details: Value) -> Object {
    let mut meta = Object::default();
    meta.insert(key, details);
    meta.insert("delivery", "interrupt");
    meta.insert("priority", "urgent");
    meta
}

fn system_message(to: &AgentId, subject: &str, body: String, meta: Object) -> NewMessage {
    NewMessage {
        kind: MessageType::System,
        subject: Some(subject.to_owned()),
        meta,
        ..NewMessage::plain(AgentId::system(), to.as_str(), body)
    }
}

fn capitalised(word: &str) -> String {
    let mut chars = word.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().collect::<String>() + chars.as_str())
}
