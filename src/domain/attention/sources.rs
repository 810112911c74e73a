//! Where items come from: each says what waits, and what a person can do about it.

use super::{AttentionKind, Cause, NewAttention};
use crate::domain::agent::{Agent, ConditionKind, USER};
use crate::domain::control::ControlKind;
use crate::domain::control::command::{Command, CommandStatus};
use crate::domain::id::{AgentId, MessageId};
use crate::domain::task::callback::Callback;
use crate::domain::task::{Task, TaskKind};

/// The condition of an agent, if it is one in which a person is wanted. `attach` is how one comes to its session.
pub fn of_condition(agent: &Agent, attach: Option<&str>) -> Option<NewAttention> {
    let condition = agent.condition.as_ref().filter(|condition| condition.needs_a_person())?;
    let (kind, what, next) = match condition.kind {
        ConditionKind::Starting => (AttentionKind::Starting, "does not come up", "see what its program does"),
        ConditionKind::Input => (AttentionKind::Input, "asks for input", "answer it in its session"),
        ConditionKind::Approval => {
            (AttentionKind::Approval, "asks for a permission", "allow or refuse it in its session")
        }
        ConditionKind::Dialog => {
            (AttentionKind::Dialog, "waits in a dialog of its program", "answer the dialog in its session")
        }
        ConditionKind::Limit => {
            (AttentionKind::Limit, "is at a usage limit", "give its work to another, or raise the limit")
        }
        ConditionKind::Stalled => {
            (AttentionKind::Stalled, "is busy without any sign of progress", "look at its session, or restart it")
        }
        ConditionKind::Crashed => (AttentionKind::Crashed, "ended by itself", "read its log, and start it again"),
    };
    let title = match &condition.detail {
        Some(detail) => format!("{} {what}: {detail}", agent.name),
        None => format!("{} {what}", agent.name),
    };
    let hint = match (attach, &agent.machine) {
        (Some(attach), _) if condition.kind != ConditionKind::Crashed => format!("{next}: {attach}"),
        (_, Some(machine)) => format!("{next}, on {machine}"),
        _ => next.to_owned(),
    };
    Some(NewAttention {
        since: Some(condition.since),
        agent_id: Some(agent.id.clone()),
        ..NewAttention::new(Cause::Condition(agent.id.clone()), kind, &title, &hint)
    })
}

/// A question or an approval that is asked of the human and can be answered now.
pub fn of_task(task: &Task) -> Option<NewAttention> {
    let kind = match task.kind {
        TaskKind::Work => return None,
        TaskKind::Question => AttentionKind::Question,
        TaskKind::Approval => AttentionKind::Approval,
    };
    if task.target.as_deref() != Some(USER) || task.is_waiting() || task.status.is_final() {
        return None;
    }
    let route = format!("POST /api/tasks/{}/answer", task.id);
    let hint = if task.options.is_empty() {
        format!("answer it: {route} with `answer`")
    } else {
        format!("answer it: {route} with `answer`, one of: {}", task.options.join(", "))
    };
    Some(NewAttention {
        agent_id: task.from.clone(),
        task_id: Some(task.id),
        message_id: task.message_id,
        ..NewAttention::new(Cause::Task(task.id), kind, &task.title, &hint)
    })
}

impl Command {
    /// The agent that it is about: the one that an orchestrator is told of, or its target.
    pub fn subject(&self) -> AgentId {
        self.request
            .get("agentId")
            .and_then(serde_json::Value::as_str)
            .map_or_else(|| self.target.clone(), AgentId::from)
    }

    /// Under which cause it waits for a person when it fails. What is asked of an agent again takes the place of what
    /// was asked before; each spawn is one of its own.
    pub fn cause(&self) -> Cause {
        match self.kind {
            ControlKind::Spawn => Cause::Command(self.id),
            kind => Cause::Control(kind, self.subject()),
        }
    }
}

/// A command that was not done.
pub fn of_command(command: &Command) -> NewAttention {
    let (subject, id) = (command.subject(), command.id);
    let what = format!("{} of {subject}", command.kind);
    let (title, next) = match (command.status, &command.error) {
        (CommandStatus::Expired, _) => {
            (format!("{what}: nobody took it up in time"), "see that its target runs, and ask for it again")
        }
        (_, Some(error)) => (format!("{what} failed: {error}"), "mend what it says, and ask for it again"),
        (_, None) => (format!("{what} failed"), "see what came of it, and ask for it again"),
    };
    let hint = format!("{next}; GET /api/commands/{id} has all of it");
    NewAttention {
        // Failing again is news.
        occasion: format!("command {id}"),
        agent_id: Some(subject),
        command_id: Some(id),
        message_id: command.message_id,
        ..NewAttention::new(command.cause(), AttentionKind::Command, &title, &hint)
    }
}

/// A callback that was given up.
pub fn of_callback(callback: &Callback) -> NewAttention {
    let id = callback.id;
    let receiver = callback.receiver();
    let title = format!("task {} is not told to {receiver}: {}", callback.task_id, callback.last_problem());
    let hint = format!("see that {receiver} takes it, then POST /api/callbacks/{id}/retry");
    NewAttention {
        // Being given up again is news.
        occasion: format!("at {}", callback.updated_at),
        task_id: Some(callback.task_id),
        ..NewAttention::new(Cause::Callback(id), AttentionKind::Callback, &title, &hint)
    }
}

/// A thread in which agents answered each other too often.
pub fn of_loop(thread: MessageId, from: &AgentId, replies: usize) -> NewAttention {
    let title =
        format!("agents answer each other in a loop: {replies} replies within 10 minutes, the latest by {from}");
    let hint = format!(
        "read GET /api/messages/{thread}/thread and write into it, or stop one of its agents; what you write there ends \
         this"
    );
    NewAttention {
        agent_id: Some(from.clone()),
        message_id: Some(thread),
        ..NewAttention::new(Cause::Thread(thread), AttentionKind::Loop, &title, &hint)
    }
}

/// Messages that could not be brought into the session of an agent: how many, the newest, and what was tried.
/// `attach` is how one comes to the session.
pub fn of_parked(agent: &AgentId, count: i64, newest: MessageId, reason: &str, attach: Option<&str>) -> NewAttention {
    let what = match count {
        0 | 1 => format!("message {newest}"),
        _ => format!("{count} messages, the newest {newest},"),
    };
    let title = format!("{agent} cannot be told of {what}: {reason}");
    let look = match attach {
        Some(attach) => format!("look at its session: {attach}"),
        None => "look at its session".to_owned(),
    };
    NewAttention {
        // One more is news.
        occasion: format!("message {newest}"),
        agent_id: Some(agent.clone()),
        message_id: Some(newest),
        ..NewAttention::new(
            Cause::Delivery(agent.clone()),
            AttentionKind::Delivery,
            &title,
            &format!(
                "{look}; it is told again when it starts anew, and GET /api/messages/{newest}/deliveries says more"
            ),
        )
    }
}

/// What is wrong with a plugin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PluginTrouble {
    /// It was not loaded: at this stage, with this digest where it has one.
    Rejected {
        /// The stage.
        stage: &'static str,
        /// Of its component.
        digest: Option<String>,
    },
    /// It failed too often.
    Quarantined,
    /// It is a policy that was obeyed and is not any more, though nobody decided that.
    Lost,
}

/// The occasion of a policy that is not obeyed any more.
pub const LOST: &str = "lost";

/// A plugin that is not as it should be, for this reason.
pub fn of_plugin(id: &str, trouble: &PluginTrouble, reason: &str) -> NewAttention {
    let (occasion, title, hint) = match trouble {
        PluginTrouble::Rejected { stage, digest } => {
            let next = match *stage {
                "grants" => format!("read what it asks for; POST /api/plugins/{id}/allow accepts it"),
                _ => "put files that load into its folder; they are noticed".to_owned(),
            };
            let digest = digest.as_deref().unwrap_or_default();
            (format!("rejected {stage} {digest}"), format!("plugin {id} was rejected: {reason}"), next)
        }
        PluginTrouble::Quarantined => (
            "quarantined".to_owned(),
            format!("plugin {id} failed too often: {reason}"),
            format!("mend it, or go back: POST /api/plugins/{id}/rollback; POST /api/plugins/{id}/enable tries it now"),
        ),
        PluginTrouble::Lost => (
            LOST.to_owned(),
            format!("policy {id} is not obeyed any more, and nobody decided that: {reason}"),
            "put it back; if it is meant, dismiss this or POST /api/plugins/reload".to_owned(),
        ),
    };
    NewAttention {
        occasion,
        plugin_id: Some(id.to_owned()),
        ..NewAttention::new(Cause::Plugin(id.to_owned()), AttentionKind::Plugin, &title, &hint)
    }
}
