//! A question as one line.

use agent_relay_plugin::policy::{AgentFacts, Context, Control, RunningAgent, Spawn, Target};
use agent_relay_plugin::{ApprovalMode, Caller, Extension, PathFacts, Site};

/// Every field of a question.
pub(crate) fn of(control: &Control, context: &Context) -> String {
    format!("{} context{}", shown(control), shown(context))
}

trait Shown {
    fn show(&self) -> String;
}

fn shown(value: &impl Shown) -> String {
    value.show()
}

/// A record, from pairs of a name and a field.
macro_rules! record {
    ($($name:literal: $field:expr),* $(,)?) => {
        format!("{{{}}}", [$(format!("{}={}", $name, shown($field))),*].join(","))
    };
}

impl Shown for String {
    fn show(&self) -> String {
        format!("\"{}\"", self.replace('\\', r"\\").replace('"', "\\\""))
    }
}

impl Shown for bool {
    fn show(&self) -> String {
        self.to_string()
    }
}

impl Shown for u64 {
    fn show(&self) -> String {
        self.to_string()
    }
}

impl<T: Shown> Shown for Option<T> {
    fn show(&self) -> String {
        self.as_ref().map_or_else(|| "none".to_owned(), shown)
    }
}

impl<T: Shown> Shown for Vec<T> {
    fn show(&self) -> String {
        format!("[{}]", self.iter().map(shown).collect::<Vec<_>>().join(","))
    }
}

impl Shown for ApprovalMode {
    fn show(&self) -> String {
        match self {
            Self::Open => "open",
            Self::Guarded => "guarded",
            Self::ReadOnly => "read-only",
        }
        .to_owned()
    }
}

impl Shown for Extension {
    fn show(&self) -> String {
        record!("name": &self.name, "value": &self.value)
    }
}

impl Shown for PathFacts {
    fn show(&self) -> String {
        record!("given": &self.given, "normalised": &self.normalised, "resolved": &self.resolved)
    }
}

impl Shown for Site {
    fn show(&self) -> String {
        record!("orchestrator": &self.orchestrator, "hostname": &self.hostname, "base-dir": &self.base_dir)
    }
}

impl Shown for Caller {
    fn show(&self) -> String {
        record!(
            "name": &self.name,
            "agent-id": &self.agent_id,
            "administrator": &self.administrator,
            "scopes": &self.scopes,
            "loopback": &self.loopback,
        )
    }
}

impl Shown for Spawn {
    fn show(&self) -> String {
        record!(
            "provider": &self.provider,
            "approval-mode": &self.approval_mode,
            "cwd": &self.cwd,
            "label": &self.label,
            "prompt": &self.prompt,
            "site": &self.site,
            "extensions": &self.extensions,
        )
    }
}

impl Shown for AgentFacts {
    fn show(&self) -> String {
        record!(
            "id": &self.id,
            "name": &self.name,
            "label": &self.label,
            "tags": &self.tags,
            "capabilities": &self.capabilities,
            "machine": &self.machine,
            "status": &self.status,
            "site": &self.site,
        )
    }
}

impl Shown for Target {
    fn show(&self) -> String {
        match self {
            Self::Agent(agent) => format!("{{agent{}}}", shown(agent)),
            Self::EveryAgentOf(site) => format!("{{every-agent-of{}}}", shown(site)),
        }
    }
}

impl Shown for Control {
    fn show(&self) -> String {
        match self {
            Self::Spawn(spawn) => format!("spawn{}", shown(spawn)),
            Self::Restart(target) => format!("restart{}", shown(target)),
            Self::Shutdown(target) => format!("shutdown{}", shown(target)),
        }
    }
}

impl Shown for RunningAgent {
    fn show(&self) -> String {
        record!(
            "agent-id": &self.agent_id,
            "provider": &self.provider,
            "cwd": &self.cwd,
            "label": &self.label,
            "approval-mode": &self.approval_mode,
            "orchestrator": &self.orchestrator,
            "started-at-ms": &self.started_at_ms,
        )
    }
}

impl Shown for Context {
    fn show(&self) -> String {
        record!(
            "caller": &self.caller,
            "now-ms": &self.now_ms,
            "running": &self.running,
            "extensions": &self.extensions,
        )
    }
}
