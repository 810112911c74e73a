//! Harmless questions, put to every provider before it goes live.

use crate::domain::control::ApprovalMode;
use crate::domain::control::courier::Notice;
use crate::domain::control::observation::{Cursor, Doing, Observation, RunningSession, ScreenView};
use crate::domain::control::plan::{IncomingMessage, LaunchSite, SpawnRequest};

use super::super::super::package::Grants;

/// A spawn to be planned.
pub(crate) fn request(approval_mode: ApprovalMode, prompt: bool) -> SpawnRequest {
    SpawnRequest {
        agent_id: "probe".into(),
        approval_mode,
        label: Some("probe".into()),
        prompt: prompt.then(|| "Say hello.".into()),
        resume: None,
        conversation: None,
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

/// A session that runs, of whose files none is there.
pub(crate) fn session() -> RunningSession {
    RunningSession {
        agent_id: "probe".into(),
        label: Some("probe".into()),
        approval_mode: ApprovalMode::Guarded,
        cwd: "/srv/code/project".into(),
        home: "/home/probe".into(),
        session_dir: "/srv/sessions/probe".into(),
        pids: vec![4711],
        conversation: None,
        now_ms: 1_700_000_000_000,
        utc_offset_minutes: 0,
        files: Vec::new(),
        variables: Default::default(),
    }
}

/// A screen on which nothing has stood for ten seconds.
pub(crate) fn screen() -> ScreenView {
    ScreenView {
        rows: vec![String::new(); 50],
        cursor: Some(Cursor { column: 0, row: 0 }),
        title: String::new(),
        still_ms: 10_000,
    }
}

/// What is to be shown.
pub(crate) fn notice() -> Notice {
    Notice {
        id: 17,
        text: "[agent-relay] message 17 from \"alice\"".into(),
        interrupt: false,
        attempt_id: "0190163d-8694-739b-aea5-966c26f8ad91".into(),
    }
}

/// An input that is empty and waits.
pub(crate) fn seen() -> Observation {
    Observation { doing: Doing::Idle, has_draft: false, conversation: None, version: None }
}
