//! Commands: the record of each control request, from the decision to its outcome.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::control::{ControlKind, Question, VerdictRecord};
use super::refusal::Refusal;

/// How far a command has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum CommandStatus {
    /// A policy refused it; nothing was done.
    Denied,
    /// Sent, not yet taken up.
    Pending,
    /// Taken up by its target.
    Accepted,
    /// Being carried out.
    Running,
    /// Done, and seen to be so.
    Succeeded,
    /// Not done; `error` says why.
    Failed,
    /// Nobody took it up in time; it will not be delivered any more.
    Expired,
}

impl CommandStatus {
    /// Every status.
    pub const ALL: [Self; 7] =
        [Self::Denied, Self::Pending, Self::Accepted, Self::Running, Self::Succeeded, Self::Failed, Self::Expired];

    /// The name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Denied => "denied",
            Self::Pending => "pending",
            Self::Accepted => "accepted",
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Expired => "expired",
        }
    }

    /// The status of this name.
    pub fn parse(name: &str) -> Result<Self, Refusal> {
        Self::ALL.into_iter().find(|status| status.as_str() == name).ok_or_else(|| {
            Refusal::invalid("status must be one of: denied, pending, accepted, running, succeeded, failed, expired")
        })
    }

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
    pub id: i64,
    /// What was asked for.
    pub kind: ControlKind,
    /// The agent it is for: an agent, an orchestrator's agent, or the one to be started here.
    pub target: String,
    /// The request, as it was decided on.
    #[schema(value_type = Object)]
    pub request: Value,
    /// What each policy said.
    pub decision: Vec<VerdictRecord>,
    /// How far it has come.
    pub status: CommandStatus,
    /// What came of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub result: Option<Value>,
    /// Why it was not done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The message that carries it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message_id: Option<i64>,
    /// Who asked.
    pub requested_by: String,
    /// When it was asked for, in milliseconds since the epoch.
    pub created_at: i64,
    /// Until when it may be taken up.
    pub expires_at: i64,
    /// When it last changed.
    pub updated_at: i64,
}

/// What the policies were asked about a command, and what they said: enough to ask another policy the
/// same.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RecordedDecision {
    /// The command.
    pub command_id: i64,
    /// When it was decided, in milliseconds since the epoch.
    pub at: i64,
    /// What was asked for.
    pub kind: ControlKind,
    /// The agent it is for.
    pub target: String,
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
