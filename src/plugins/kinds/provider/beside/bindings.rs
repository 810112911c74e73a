//! The optional interfaces, each as a world of its own over the same component, and their values to and from the
//! relay's own: the shape only.

use crate::domain::control::courier::{Attempt, Carrier, Notice, Sign, Way};
use crate::domain::control::observation::{Doing, Observation, RunningSession, ScreenView};
use crate::domain::control::plan::Presentation;

/// What is seen in a running session.
pub(super) mod observes {
    wasmtime::component::bindgen!({
        inline: "
            package agent-relay:beside;

            world observes {
                export agent-relay:plugin/observer@0.1.0;
            }
        ",
        path: "wit",
        world: "agent-relay:beside/observes",
        exports: { default: async },
        with: {
            "agent-relay:plugin/types": crate::plugins::runtime::bindings::agent_relay::plugin::types,
        },
    });
}

/// The ways into a running session.
pub(super) mod delivers {
    wasmtime::component::bindgen!({
        inline: "
            package agent-relay:beside;

            world delivers {
                export agent-relay:plugin/courier@0.1.0;
            }
        ",
        path: "wit",
        world: "agent-relay:beside/delivers",
        exports: { default: async },
        with: {
            "agent-relay:plugin/types": crate::plugins::runtime::bindings::agent_relay::plugin::types,
            "agent-relay:plugin/session": super::observes::agent_relay::plugin::session,
        },
    });
}

pub(super) use delivers::exports::agent_relay::plugin::courier as courier_wit;
pub(super) use observes::agent_relay::plugin::session as session_wit;

impl From<&RunningSession> for session_wit::RunningSession {
    fn from(session: &RunningSession) -> Self {
        let file = |file: &crate::domain::control::observation::GrantedFile| session_wit::GrantedFile {
            path: file.path.clone(),
            contents: file.contents.clone(),
            cut: file.cut,
            modified_ms: file.modified_ms,
        };
        Self {
            agent_id: session.agent_id.clone(),
            label: session.label.clone(),
            approval_mode: session.approval_mode.into(),
            cwd: session.cwd.clone(),
            home: session.home.clone(),
            session_dir: session.session_dir.clone(),
            pids: session.pids.clone(),
            conversation: session.conversation.clone(),
            now_ms: session.now_ms,
            utc_offset_minutes: session.utc_offset_minutes,
            files: session.files.iter().map(file).collect(),
            extensions: Vec::new(),
        }
    }
}

impl From<&ScreenView> for session_wit::Screen {
    fn from(screen: &ScreenView) -> Self {
        Self {
            rows: screen.rows.clone(),
            cursor: screen.cursor.map(|cursor| session_wit::Cursor { column: cursor.column, row: cursor.row }),
            title: screen.title.clone(),
            still_ms: screen.still_ms,
        }
    }
}

impl From<session_wit::Observation> for Observation {
    fn from(seen: session_wit::Observation) -> Self {
        Self {
            doing: seen.state.into(),
            has_draft: seen.has_draft,
            conversation: seen.conversation,
            version: seen.version,
        }
    }
}

impl From<&Observation> for session_wit::Observation {
    fn from(seen: &Observation) -> Self {
        Self {
            state: (&seen.doing).into(),
            has_draft: seen.has_draft,
            conversation: seen.conversation.clone(),
            version: seen.version.clone(),
            extensions: Vec::new(),
        }
    }
}

impl From<session_wit::Seen> for Doing {
    fn from(seen: session_wit::Seen) -> Self {
        match seen {
            session_wit::Seen::Starting => Self::Starting,
            session_wit::Seen::Idle => Self::Idle,
            session_wit::Seen::Busy => Self::Busy,
            session_wit::Seen::Dialog(text) => Self::Dialog(text),
            session_wit::Seen::Approval(text) => Self::Approval(text),
            session_wit::Seen::Input(text) => Self::Input(text),
            session_wit::Seen::Limit(limit) => Self::Limit { until_ms: limit.until_ms, text: limit.text },
            session_wit::Seen::Unknown => Self::Unknown,
        }
    }
}

impl From<&Doing> for session_wit::Seen {
    fn from(doing: &Doing) -> Self {
        match doing {
            Doing::Starting => Self::Starting,
            Doing::Idle => Self::Idle,
            Doing::Busy => Self::Busy,
            Doing::Dialog(text) => Self::Dialog(text.clone()),
            Doing::Approval(text) => Self::Approval(text.clone()),
            Doing::Input(text) => Self::Input(text.clone()),
            Doing::Limit { until_ms, text } => {
                Self::Limit(session_wit::UsageLimit { until_ms: *until_ms, text: text.clone() })
            }
            Doing::Unknown => Self::Unknown,
        }
    }
}

impl From<&Notice> for courier_wit::Notice {
    fn from(notice: &Notice) -> Self {
        Self {
            id: notice.id,
            text: notice.text.clone(),
            interrupt: notice.interrupt,
            attempt_id: notice.attempt_id.clone(),
        }
    }
}

impl From<courier_wit::Attempt> for Attempt {
    fn from(attempt: courier_wit::Attempt) -> Self {
        Self {
            rung: attempt.rung,
            carrier: match attempt.carrier {
                courier_wit::Carrier::Queue => Carrier::Queue,
                courier_wit::Carrier::Hook => Carrier::Hook,
                courier_wit::Carrier::Typed => Carrier::Typed,
            },
            way: match attempt.way {
                courier_wit::Way::Command(command) => Way::Run { program: command.program, args: command.args },
                courier_wit::Way::Socket(socket) => Way::Write { path: socket.path, lines: socket.lines },
                courier_wit::Way::Typing(typing) => Way::Type(Presentation {
                    keys_before: typing.keys_before,
                    text: typing.text,
                    submit: typing.submit,
                }),
            },
            evidence: attempt.evidence.into_iter().map(Into::into).collect(),
            confirm_ms: attempt.confirm_ms,
        }
    }
}

impl From<courier_wit::Sign> for Sign {
    fn from(sign: courier_wit::Sign) -> Self {
        match sign {
            courier_wit::Sign::File(file) => Self::File { path: file.path, text: file.text },
            courier_wit::Sign::Screen(text) => Self::Screen(text),
            courier_wit::Sign::Turn => Self::Turn,
        }
    }
}
