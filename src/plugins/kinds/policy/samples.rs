//! Harmless controls, about which every policy is asked before it goes live.

use crate::domain::control::{
    AgentFacts, ApprovalMode, CallerFacts, Context, Control, ControlKind, ControlTarget, Site, Spawn,
};
use crate::domain::text::path::PathFacts;
use crate::domain::time::Timestamp;

/// One control of each of these kinds.
pub(crate) fn controls(kinds: &[ControlKind]) -> Vec<Control> {
    kinds
        .iter()
        .map(|kind| match kind {
            ControlKind::Spawn => Control::Spawn(Spawn {
                provider: "claude".into(),
                approval_mode: ApprovalMode::Guarded,
                cwd: path("/srv/code/project"),
                label: None,
                prompt: None,
                site: site(),
            }),
            ControlKind::Restart => Control::Restart(ControlTarget::Agent(agent())),
            ControlKind::Shutdown => Control::Shutdown(ControlTarget::Agent(agent())),
        })
        .collect()
}

/// What is known at the moment of the probe.
pub(crate) fn context() -> Context {
    Context {
        caller: CallerFacts {
            name: "probe".into(),
            agent_id: None,
            administrator: true,
            scopes: vec!["admin".into()],
            loopback: true,
        },
        now: Timestamp::now().as_ms(),
        running: Vec::new(),
        extensions: Vec::new(),
    }
}

fn site() -> Site {
    Site { orchestrator: None, hostname: "probe".into(), base_dir: path("/srv/code") }
}

fn path(path: &str) -> PathFacts {
    PathFacts { given: path.into(), normalised: path.into(), resolved: Some(path.into()) }
}

fn agent() -> AgentFacts {
    AgentFacts {
        id: "probe".into(),
        name: "probe".into(),
        label: None,
        tags: Vec::new(),
        capabilities: Vec::new(),
        machine: None,
        status: "online".into(),
        site: Some(site()),
    }
}
