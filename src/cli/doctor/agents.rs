//! Whether and how each agent can be woken, as far as the relay tells.

use agent_relay::domain::agent::{Agent, AgentStatus, AttentionMode, ConditionKind, SYSTEM, USER};

use super::Finding;
use crate::cli::show::ago;

pub(super) fn findings(agents: &[Agent]) -> Vec<Finding> {
    let others = agents.iter().filter(|agent| !matches!(agent.id.as_str(), USER | SYSTEM) && !agent.is_channel());
    // An orchestrator is a daemon: it follows its stream.
    others.filter(|agent| !agent.id.starts_with("orchestrator-")).map(finding).collect()
}

fn finding(agent: &Agent) -> Finding {
    let (name, id) = (format!("agent {}", agent.id), &agent.id);
    let meta = |member: &str| agent.meta.get(member).and_then(|value| value.as_str().map(str::to_owned));
    let session = meta("session");
    let attach = format!("agent-relay sessions attach {id}");
    let logs = format!("agent-relay sessions logs {id}");
    let restart = format!("agent-relay restart {id}");
    if let Some(condition) = &agent.condition {
        let (detail, fix) = match condition.kind {
            ConditionKind::Starting => return Finding::ok(name, "its program is not up yet; it is woken once it is"),
            ConditionKind::Dialog | ConditionKind::Approval | ConditionKind::Input => {
                (format!("not woken while it waits in its terminal ({})", condition.kind), attach)
            }
            ConditionKind::Limit => {
                ("not woken while it is at a usage limit".to_owned(), "wait, or raise the limit".to_owned())
            }
            ConditionKind::Stalled => ("busy without any sign of progress".to_owned(), attach),
            ConditionKind::Crashed => ("its program ended by itself".to_owned(), format!("{logs}; {restart}")),
        };
        return Finding::warn(name, detail, fix);
    }
    let wants = match agent.attention {
        AttentionMode::Open => "",
        AttentionMode::Focus => "; it is for direct messages alone",
        AttentionMode::Dnd => "; nothing but what interrupts",
    };
    match (session, meta("attach"), agent.status) {
        (Some(_), _, AgentStatus::Offline) => Finding::ok(
            name,
            format!("its session has ended; {restart} starts it again, and what waits for it is kept"),
        ),
        (Some(session), Some(_), _) => {
            Finding::ok(name, format!("woken in its session {session}, which has a terminal{wants}"))
        }
        (Some(session), None, _) => Finding::warn(
            name,
            format!("its session {session} has no terminal: it hears only when it asks"),
            format!("install tmux, then {restart}"),
        ),
        (None, _, AgentStatus::Offline) => {
            Finding::ok(name, format!("not here, last heard from {}; what is sent waits for it", ago(agent.last_seen)))
        }
        (None, _, _) => {
            Finding::ok(name, "not started by this relay: it hears when it asks, or by the stream that it follows")
        }
    }
}
