//! Harmless questions, put to every candidate before it goes live.

use crate::domain::control::{
    AgentFacts, ApprovalMode, CallerFacts, Context, Control, ControlKind, ControlTarget, Site, Spawn,
};
use crate::domain::path::PathFacts;
use crate::domain::plan::{IncomingMessage, LaunchSite, SpawnRequest};

use super::manifest::Grants;

/// One control of each of these kinds.
pub(super) fn controls(kinds: &[ControlKind]) -> Vec<Control> {
    kinds
        .iter()
        .map(|kind| match kind {
            ControlKind::Spawn => Control::Spawn(Spawn {
                provider: "claude".into(),
                approval_mode: ApprovalMode::Guarded,
                cwd: path("/srv/code/project"),
                label: None,
                prompt: None,
                site: place(),
            }),
            ControlKind::Restart => Control::Restart(ControlTarget::Agent(agent())),
            ControlKind::Shutdown => Control::Shutdown(ControlTarget::Agent(agent())),
        })
        .collect()
}

/// What is known at the moment of the probe.
pub(super) fn context() -> Context {
    Context {
        caller: CallerFacts {
            name: "probe".into(),
            agent_id: None,
            administrator: true,
            scopes: vec!["admin".into()],
            loopback: true,
        },
        now: super::now(),
        running: Vec::new(),
    }
}

/// A spawn to be planned.
pub(super) fn request(approval_mode: ApprovalMode, prompt: bool) -> SpawnRequest {
    SpawnRequest {
        agent_id: "probe".into(),
        approval_mode,
        label: Some("probe".into()),
        prompt: prompt.then(|| "Say hello.".into()),
    }
}

/// Where that plan would be carried out. The host offers every variable that is granted, so that
/// a plan which passes one on is acceptable.
pub(super) fn site(grants: &Grants) -> LaunchSite {
    LaunchSite {
        cwd: "/srv/code/project".into(),
        home: "/home/probe".into(),
        hostname: "probe".into(),
        session_dir: "/srv/sessions/probe".into(),
        relay_url: "http://127.0.0.1:4850".into(),
        token_variable: "AGENT_RELAY_TOKEN".into(),
        mcp_url: Some("http://127.0.0.1:4850/mcp".into()),
        host_variables: grants.env.clone(),
        root: false,
    }
}

/// A message to be typed into a session.
pub(super) fn message() -> IncomingMessage {
    IncomingMessage { id: 1, sender: "alice".into(), subject: None, body: "Say hello.".into(), interrupt: false }
}

fn place() -> Site {
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
        site: Some(place()),
    }
}
