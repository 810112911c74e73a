//! Commands: the record of each control request, from the decision to its outcome.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::{ControlKind, Question, VerdictRecord};
use crate::domain::id::{AgentId, CommandId, MessageId};
use crate::domain::page::{Limit, Query};
use crate::domain::refusal::Refusal;
use crate::domain::text::json::Exact;
use crate::domain::text::word::words;
use crate::domain::time::Timestamp;

words! {
    /// How far a command has come.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
    #[serde(rename_all = "lowercase")]
    pub enum CommandStatus {
        /// A policy refused it; nothing was done.
        Denied = "denied",
        /// Sent, not yet taken up.
        Pending = "pending",
        /// Taken up by its target.
        Accepted = "accepted",
        /// Being carried out.
        Running = "running",
        /// Done, and seen to be so.
        Succeeded = "succeeded",
        /// Not done; `error` says why.
        Failed = "failed",
        /// Nobody took it up in time; it will not be delivered any more.
        Expired = "expired",
    }
}

impl CommandStatus {
    /// Whether nothing can follow.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Denied | Self::Succeeded | Self::Failed | Self::Expired)
    }

    /// Whether a report may move a command from here to `next`. Steps may be left out, never
    /// taken back.
    pub fn may_become(self, next: Self) -> bool {
        match (self, next) {
            (Self::Pending, Self::Expired) => true,
            (_, Self::Denied | Self::Pending | Self::Expired) => false,
            (from, to) => !from.is_final() && to.rank() > from.rank(),
        }
    }

    fn rank(self) -> u8 {
        match self {
            Self::Denied | Self::Pending => 0,
            Self::Accepted => 1,
            Self::Running => 2,
            Self::Succeeded | Self::Failed | Self::Expired => 3,
        }
    }
}

/// A command as clients see it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Command {
    /// Increases with every command.
    #[schema(value_type = i64)]
    pub id: CommandId,
    /// What was asked for.
    pub kind: ControlKind,
    /// The agent it is for: an agent, an orchestrator's agent, or the one to be started here.
    #[schema(value_type = String)]
    pub target: AgentId,
    /// The request, as it was decided on.
    #[schema(value_type = Object)]
    pub request: Value,
    /// What each policy said.
    pub decision: Vec<VerdictRecord>,
    /// How far it has come.
    pub status: CommandStatus,
    /// What came of it. While a program runs and is not seen to be up: `seen`, which is `dialog` or `unknown`, the end of
    /// its `screen`, and what to do `next`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = serde_json::Value, required = false)]
    pub result: Option<Exact>,
    /// Why it was not done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The message that carries it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<i64>)]
    pub message_id: Option<MessageId>,
    /// Who asked.
    pub requested_by: String,
    /// When it was asked for, in milliseconds since the epoch.
    #[schema(value_type = i64)]
    pub created_at: Timestamp,
    /// Until when it may be taken up.
    #[schema(value_type = i64)]
    pub expires_at: Timestamp,
    /// When it last changed.
    #[schema(value_type = i64)]
    pub updated_at: Timestamp,
}

impl Command {
    /// The agent that an orchestrator is told to start, under an id that the relay chose.
    pub fn starts(&self) -> Option<AgentId> {
        let agent = self.request.get("agentId").and_then(Value::as_str);
        agent.filter(|_| self.kind == ControlKind::Spawn).map(AgentId::from)
    }

    /// The command after this report. A step that the state machine does not have is refused; a report
    /// without a result or an error keeps the one there is.
    pub fn advance(
        self,
        next: CommandStatus,
        result: Option<Exact>,
        error: Option<String>,
        now: Timestamp,
    ) -> Result<Self, Refusal> {
        if !self.status.may_become(next) {
            return Err(Refusal::IllegalTransition {
                noun: "command",
                from: self.status.to_string(),
                to: next.to_string(),
            });
        }
        Ok(Self { status: next, result: result.or(self.result), error: error.or(self.error), updated_at: now, ..self })
    }
}

/// Which commands to list.
#[derive(Clone, Debug, Default)]
pub struct CommandFilter {
    /// Only those for this agent.
    pub target: Option<AgentId>,
    /// Only those with this status.
    pub status: Option<CommandStatus>,
    /// Only those of this kind.
    pub kind: Option<ControlKind>,
    /// Only those with a smaller id: the next page.
    pub before: Option<CommandId>,
    /// At most this many, newest first.
    pub limit: Limit,
}

impl CommandFilter {
    /// The query of the page after this command.
    pub fn page_after(&self, last: CommandId) -> Query {
        Query::default()
            .with("target", self.target.as_ref())
            .with("status", self.status)
            .with("kind", self.kind)
            .with("limit", Some(self.limit))
            .with("before", Some(last))
    }
}

/// What the policies were asked about a command, and what they said: enough to ask another policy the
/// same.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RecordedDecision {
    /// The command.
    #[schema(value_type = i64)]
    pub command_id: CommandId,
    /// When it was decided, in milliseconds since the epoch.
    #[schema(value_type = i64)]
    pub at: Timestamp,
    /// What was asked for.
    pub kind: ControlKind,
    /// The agent it is for.
    #[schema(value_type = String)]
    pub target: AgentId,
    /// The control and the context, as the policies got them.
    #[schema(value_type = Object)]
    pub question: Question,
    /// What each policy said.
    pub decision: Vec<VerdictRecord>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_go_forward_only_and_final_states_stay() {
        use CommandStatus::*;
        for from in CommandStatus::ALL {
            for to in CommandStatus::ALL {
                let expected = match from {
                    Pending => matches!(to, Accepted | Running | Succeeded | Failed | Expired),
                    Accepted => matches!(to, Running | Succeeded | Failed),
                    Running => matches!(to, Succeeded | Failed),
                    Denied | Succeeded | Failed | Expired => false,
                };
                assert_eq!(from.may_become(to), expected, "{from:?} to {to:?}");
            }
        }
    }
}
