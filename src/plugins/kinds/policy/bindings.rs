//! World `policy-plugin`, generated from `wit/`, and its values to and from the relay's own.
//!
//! Nothing outside this folder sees these types. A second track gets a world and conversions of its own
//! here, and an arm in `track`.

use crate::domain::control::{
    AgentFacts, Context, Control, ControlKind, ControlTarget, Extension, RUNNING_MAX, RunningAgent, Spawn, Verdict,
};
use crate::plugins::runtime::bindings::types;

wasmtime::component::bindgen!({
    path: "wit",
    world: "policy-plugin",
    exports: { default: async },
    with: {
        "agent-relay:plugin/types": crate::plugins::runtime::bindings::agent_relay::plugin::types,
        "agent-relay:plugin/host": crate::plugins::runtime::bindings::agent_relay::plugin::host,
    },
});

pub(super) use exports::agent_relay::plugin::policy as policy_wit;

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
            extensions: context.extensions.iter().map(Into::into).collect(),
        }
    }
}

impl From<&Extension> for types::Extension {
    fn from(extension: &Extension) -> Self {
        Self { name: extension.name.clone(), value: extension.value.clone() }
    }
}

impl From<policy_wit::ControlKind> for ControlKind {
    fn from(kind: policy_wit::ControlKind) -> Self {
        match kind {
            policy_wit::ControlKind::Spawn => Self::Spawn,
            policy_wit::ControlKind::Restart => Self::Restart,
            policy_wit::ControlKind::Shutdown => Self::Shutdown,
        }
    }
}

impl From<policy_wit::Verdict> for Verdict {
    fn from(verdict: policy_wit::Verdict) -> Self {
        match verdict {
            policy_wit::Verdict::Allow => Self::Allow,
            policy_wit::Verdict::Amend(amendment) => Self::Amend {
                cwd: amendment.cwd,
                approval_mode: amendment.approval_mode.map(Into::into),
                reason: amendment.reason,
            },
            policy_wit::Verdict::Deny(denial) => Self::Deny { code: denial.code, reason: denial.reason },
        }
    }
}

/// A second track, to prove that two can be active side by side. Outside of tests there is none.
#[cfg(test)]
pub(super) mod next {
    wasmtime::component::bindgen!({
        path: "tests/plugins/next/wit",
        world: "policy-plugin",
        exports: { default: async },
    });
}
