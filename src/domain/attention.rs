//! Attention: what waits for a person, the most urgent first.
//!
//! An item has a cause, and a cause has one item at most. It comes and goes in the transactions that change its cause;
//! nothing is looked for.

mod sources;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::control::ControlKind;
use super::id::{AgentId, AttentionId, CallbackId, CommandId, MessageId, TaskId};
use super::page::{Limit, Query};
use super::text;
use super::text::word::words;
use super::time::Timestamp;

pub use sources::{LOST, PluginTrouble, of_callback, of_command, of_condition, of_loop, of_parked, of_plugin, of_task};

/// The longest title, in characters.
pub const TITLE_MAX: usize = 200;
/// The longest hint, in characters.
pub const HINT_MAX: usize = 1_000;

words! {
    /// What waits: an agent in this condition, or something of this kind.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
    #[serde(rename_all = "lowercase")]
    pub enum AttentionKind {
        /// A permission that an agent asks for, or an approval that a task asks for.
        Approval = "approval",
        /// An agent whose program shows a dialog of its own.
        Dialog = "dialog",
        /// A question that a task asks.
        Question = "question",
        /// An agent that asks its user something.
        Input = "input",
        /// A command that failed, or that nobody took up.
        Command = "command",
        /// A message that was not delivered after many tries.
        Delivery = "delivery",
        /// A callback that was given up.
        Callback = "callback",
        /// A plugin that was rejected, failed too often, or is a policy that is not obeyed any more.
        Plugin = "plugin",
        /// An agent that ended by itself.
        Crashed = "crashed",
        /// An agent that does not come up by itself.
        Starting = "starting",
        /// An agent that is busy without any sign of progress.
        Stalled = "stalled",
        /// An agent at a usage limit.
        Limit = "limit",
        /// Agents that answer each other without end.
        Loop = "loop",
    }
}

impl AttentionKind {
    /// How urgent it is: what has a smaller number comes first. Approvals and dialogs, then questions, then failures,
    /// then the rest.
    pub fn urgency(self) -> i64 {
        match self {
            Self::Approval | Self::Dialog => 0,
            Self::Question | Self::Input => 1,
            Self::Command | Self::Delivery | Self::Callback | Self::Plugin | Self::Crashed => 2,
            Self::Starting | Self::Stalled | Self::Limit | Self::Loop => 3,
        }
    }
}

/// Something that waits for a person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Attention {
    /// Increases with every item. What ends and comes again is another item.
    #[schema(value_type = i64)]
    pub id: AttentionId,
    /// What waits.
    pub kind: AttentionKind,
    /// One line, at most 200 characters.
    pub title: String,
    /// Since when, in milliseconds since the epoch.
    #[schema(value_type = i64)]
    pub since: Timestamp,
    /// The agent concerned: which is in a condition, asks, was to be controlled, or answered last.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub agent_id: Option<AgentId>,
    /// The task concerned.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<i64>)]
    pub task_id: Option<TaskId>,
    /// The command that failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<i64>)]
    pub command_id: Option<CommandId>,
    /// The message concerned: that brings the question, or the first of the thread.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<i64>)]
    pub message_id: Option<MessageId>,
    /// The plugin concerned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plugin_id: Option<String>,
    /// What a person can do about it, at most 1000 characters.
    pub hint: String,
}

/// What an item is about: one item each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The condition of an agent.
    Condition(AgentId),
    /// A question or an approval.
    Task(TaskId),
    /// A command of which there is one alone: a spawn.
    Command(CommandId),
    /// The latest command of this kind for this agent.
    Control(ControlKind, AgentId),
    /// The delivery of a callback.
    Callback(CallbackId),
    /// A plugin.
    Plugin(String),
    /// A thread.
    Thread(MessageId),
    /// What could not be brought into the session of this agent.
    Delivery(AgentId),
}

impl Cause {
    /// Under what it is kept.
    pub fn key(&self) -> String {
        match self {
            Self::Condition(agent) => format!("condition {agent}"),
            Self::Task(id) => format!("task {id}"),
            Self::Command(id) => format!("command {id}"),
            Self::Control(kind, agent) => format!("{kind} {agent}"),
            Self::Callback(id) => format!("callback {id}"),
            Self::Plugin(id) => format!("plugin {id}"),
            Self::Thread(id) => format!("thread {id}"),
            Self::Delivery(agent) => format!("delivery {agent}"),
        }
    }

    /// Whether the cause lasts, so that a dismissal must be remembered until it ends. Of what happened once nothing is
    /// left to remember.
    pub fn lasts(&self) -> bool {
        matches!(self, Self::Condition(_) | Self::Task(_) | Self::Plugin(_))
    }
}

/// An item to be kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewAttention {
    /// What it is about.
    pub cause: Cause,
    /// What of its cause it is about. Another occasion is another item, though the one before was dismissed.
    pub occasion: String,
    /// What waits.
    pub kind: AttentionKind,
    /// One line.
    pub title: String,
    /// Since when; the time it is kept, where that is not said.
    pub since: Option<Timestamp>,
    /// The agent concerned.
    pub agent_id: Option<AgentId>,
    /// The task concerned.
    pub task_id: Option<TaskId>,
    /// The command concerned.
    pub command_id: Option<CommandId>,
    /// The message concerned.
    pub message_id: Option<MessageId>,
    /// The plugin concerned.
    pub plugin_id: Option<String>,
    /// What a person can do.
    pub hint: String,
}

impl NewAttention {
    /// About this cause. What is too long is cut.
    pub fn new(cause: Cause, kind: AttentionKind, title: &str, hint: &str) -> Self {
        Self {
            cause,
            occasion: kind.as_str().to_owned(),
            kind,
            title: text::clipped(title, TITLE_MAX),
            since: None,
            agent_id: None,
            task_id: None,
            command_id: None,
            message_id: None,
            plugin_id: None,
            hint: text::clipped(hint, HINT_MAX),
        }
    }

    /// The item as it is stored.
    pub fn stored(self, id: AttentionId, now: Timestamp) -> Attention {
        Attention {
            id,
            kind: self.kind,
            title: self.title,
            since: self.since.unwrap_or(now),
            agent_id: self.agent_id,
            task_id: self.task_id,
            command_id: self.command_id,
            message_id: self.message_id,
            plugin_id: self.plugin_id,
            hint: self.hint,
        }
    }
}

/// A place in the list: that of an item, whether or not it is still there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttentionPlace {
    /// How urgent it is.
    pub urgency: i64,
    /// Since when it waits.
    pub since: Timestamp,
    /// Its id.
    pub id: AttentionId,
}

impl AttentionPlace {
    /// Before all of them.
    pub const FIRST: Self = Self { urgency: i64::MIN, since: Timestamp::MIN, id: AttentionId::new(i64::MIN) };
}

impl From<&Attention> for AttentionPlace {
    fn from(item: &Attention) -> Self {
        Self { urgency: item.kind.urgency(), since: item.since, id: item.id }
    }
}

/// Which part of the list.
#[derive(Clone, Copy, Debug)]
pub struct AttentionFilter {
    /// Only what comes after this place: the next page.
    pub after: AttentionPlace,
    /// At most this many.
    pub limit: Limit,
}

impl Default for AttentionFilter {
    fn default() -> Self {
        Self { after: AttentionPlace::FIRST, limit: Limit::DEFAULT }
    }
}

impl AttentionFilter {
    /// The query of the page after this place.
    pub fn page_after(&self, last: AttentionPlace) -> Query {
        Query::default()
            .with("limit", Some(self.limit))
            .with("afterUrgency", Some(last.urgency))
            .with("afterSince", Some(last.since))
            .with("after", Some(last.id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_has_a_key_of_its_own_and_what_happened_once_is_not_remembered() {
        let causes = [
            (Cause::Condition("a 1".into()), true),
            (Cause::Task(TaskId::new(1)), true),
            (Cause::Plugin("a".to_owned()), true),
            (Cause::Command(CommandId::new(1)), false),
            (Cause::Control(ControlKind::Restart, "a".into()), false),
            (Cause::Control(ControlKind::Shutdown, "a".into()), false),
            (Cause::Callback(CallbackId::new(1)), false),
            (Cause::Thread(MessageId::new(1)), false),
            (Cause::Delivery("a".into()), false),
        ];
        let mut keys: Vec<_> = causes.iter().map(|(cause, _)| cause.key()).collect();
        keys.sort();
        keys.dedup();
        assert_eq!(keys.len(), causes.len());
        assert!(causes.iter().all(|(cause, lasts)| cause.lasts() == *lasts));
    }

    #[test]
    fn approvals_and_dialogs_come_first_then_questions_then_failures() {
        let mut kinds = AttentionKind::ALL;
        kinds.sort_by_key(|kind| kind.urgency());
        let words: Vec<_> = kinds.iter().map(|kind| kind.as_str()).collect();
        let expected =
            "approval dialog question input command delivery callback plugin crashed starting stalled limit loop";
        assert_eq!(words.join(" "), expected);
    }
}
