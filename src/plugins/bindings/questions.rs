//! From the relay's values to what guests are given.

use crate::domain::control::{
    AgentFacts, ApprovalMode, CallerFacts, Context, Control, ControlTarget, RUNNING_MAX, RunningAgent, Site, Spawn,
};
use crate::domain::path::PathFacts;
use crate::domain::plan::{IncomingMessage, LaunchSite, SpawnRequest, StopReason};

use super::{policy_wit, provider_wit, types_wit};

impl From<ApprovalMode> for types_wit::ApprovalMode {
    fn from(mode: ApprovalMode) -> Self {
        match mode {
            ApprovalMode::Open => Self::Open,
            ApprovalMode::Guarded => Self::Guarded,
            ApprovalMode::ReadOnly => Self::ReadOnly,
        }
    }
}

impl From<&PathFacts> for types_wit::PathFacts {
    fn from(path: &PathFacts) -> Self {
        Self { given: path.given.clone(), normalised: path.normalised.clone(), resolved: path.resolved.clone() }
    }
}

impl From<&Site> for types_wit::Site {
    fn from(site: &Site) -> Self {
        Self {
            orchestrator: site.orchestrator.clone(),
            hostname: site.hostname.clone(),
            base_dir: (&site.base_dir).into(),
        }
    }
}

impl From<&CallerFacts> for types_wit::Caller {
    fn from(caller: &CallerFacts) -> Self {
        Self {
            name: caller.name.clone(),
            agent_id: caller.agent_id.clone(),
            administrator: caller.administrator,
            scopes: caller.scopes.clone(),
            loopback: caller.loopback,
        }
    }
}

impl From<&Control> for policy_wit::Control {
    fn from(control: &Control) -> Self {
        match control {
            Control::Spawn(spawn) => Self::Spawn(spawn.into()),
            Control::Restart(target) => Self::Restart(target.into()),
            Control::Shutdown(target) => Self::Shutdown(target.into()),
        }
    }
}

impl From<&Spawn> for policy_wit::Spawn {
    fn from(spawn: &Spawn) -> Self {
        Self {
            provider: spawn.provider.clone(),
            approval_mode: spawn.approval_mode.into(),
            cwd: (&spawn.cwd).into(),
            label: spawn.label.clone(),
            prompt: spawn.prompt.clone(),
            site: (&spawn.site).into(),
            extensions: Vec::new(),
        }
    }
}

impl From<&ControlTarget> for policy_wit::Target {
    fn from(target: &ControlTarget) -> Self {
        match target {
            ControlTarget::Agent(agent) => Self::Agent(agent.into()),
            ControlTarget::EveryAgentOf(site) => Self::EveryAgentOf(site.into()),
        }
    }
}

impl From<&AgentFacts> for policy_wit::AgentFacts {
    fn from(agent: &AgentFacts) -> Self {
        Self {
            id: agent.id.clone(),
            name: agent.name.clone(),
            label: agent.label.clone(),
            tags: agent.tags.clone(),
            capabilities: agent.capabilities.clone(),
            machine: agent.machine.clone(),
            status: agent.status.clone(),
            site: agent.site.as_ref().map(Into::into),
        }
    }
}

impl From<&RunningAgent> for policy_wit::RunningAgent {
    fn from(agent: &RunningAgent) -> Self {
        Self {
            agent_id: agent.agent_id.clone(),
            provider: agent.provider.clone(),
            cwd: agent.cwd.clone(),
            label: agent.label.clone(),
            approval_mode: agent.approval_mode.into(),
            orchestrator: agent.orchestrator.clone(),
            started_at_ms: u64::try_from(agent.started_at).unwrap_or(0),
        }
    }
}

impl From<&Context> for policy_wit::Context {
    fn from(context: &Context) -> Self {
        Self {
            caller: (&context.caller).into(),
            now_ms: u64::try_from(context.now).unwrap_or(0),
            running: context.running.iter().take(RUNNING_MAX).map(Into::into).collect(),
            extensions: Vec::new(),
        }
    }
}

impl From<&SpawnRequest> for provider_wit::SpawnRequest {
    fn from(request: &SpawnRequest) -> Self {
        Self {
            agent_id: request.agent_id.clone(),
            approval_mode: request.approval_mode.into(),
            label: request.label.clone(),
            prompt: request.prompt.clone(),
            extensions: Vec::new(),
        }
    }
}

impl From<&LaunchSite> for provider_wit::LaunchSite {
    fn from(site: &LaunchSite) -> Self {
        Self {
            cwd: site.cwd.clone(),
            home: site.home.clone(),
            hostname: site.hostname.clone(),
            session_dir: site.session_dir.clone(),
            relay_url: site.relay_url.clone(),
            token_variable: site.token_variable.clone(),
            mcp_url: site.mcp_url.clone(),
            host_variables: site.host_variables.clone(),
            root: site.root,
            extensions: Vec::new(),
        }
    }
}

impl From<&IncomingMessage> for provider_wit::Message {
    fn from(message: &IncomingMessage) -> Self {
        Self {
            id: message.id,
            sender: message.sender.clone(),
            subject: message.subject.clone(),
            body: message.body.clone(),
            interrupt: message.interrupt,
        }
    }
}

impl From<StopReason> for provider_wit::StopReason {
    fn from(reason: StopReason) -> Self {
        match reason {
            StopReason::Shutdown => Self::Shutdown,
            StopReason::Restart => Self::Restart,
            StopReason::Failed => Self::Failed,
        }
    }
}
