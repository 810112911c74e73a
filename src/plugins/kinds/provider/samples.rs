//! Harmless questions, put to every provider before it goes live.

use crate::domain::control::ApprovalMode;
use crate::domain::control::plan::{IncomingMessage, LaunchSite, SpawnRequest};

use super::super::super::package::Grants;

/// A spawn to be planned.
pub(crate) fn request(approval_mode: ApprovalMode, prompt: bool) -> SpawnRequest {
    SpawnRequest {
        agent_id: "probe".into(),
        approval_mode,
        label: Some("probe".into()),
        prompt: prompt.then(|| "Say hello.".into()),
    }
}

/// Where that plan would be carried out. The host offers every variable that is granted, so that
/// a plan which passes one on is acceptable.
pub(crate) fn site(grants: &Grants) -> LaunchSite {
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
pub(crate) fn message() -> IncomingMessage {
    IncomingMessage { id: 1, sender: "alice".into(), subject: None, body: "Say hello.".into(), interrupt: false }
}
