//! How a call of a plugin can fail.

/// Why a call gave no usable answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The guest gave up: a panic, a stack overflow, an unreachable instruction.
    #[error("trapped: {0}")]
    Trap(String),
    /// The call took too long.
    #[error("did not answer within {0} ms")]
    Deadline(u32),
    /// The guest asked for more memory than a call may have.
    #[error("wanted more than {limit_mb} MiB of memory")]
    Memory {
        /// The limit, in MiB.
        limit_mb: u32,
    },
    /// It would be asked more than it may be. Not the plugin's fault.
    #[error("is not asked: the question has more than the {limit_kb} KiB of limits.input_kb")]
    Input {
        /// The limit, in KiB.
        limit_kb: u32,
    },
    /// The answer is malformed, too large, or not allowed.
    #[error("gave an unusable answer: {0}")]
    Output(String),
    /// There was no room for the call within a second. Not the plugin's fault.
    #[error("is busy with as many calls as it may have; try again")]
    Overloaded,
    /// It failed on so many questions of this caller that only one of them is asked at a time.
    #[error(
        "is busy with another question of yours: it failed on five of them within a minute, so you may ask one at a \
         time; try again when that one is answered"
    )]
    Limited,
    /// It failed too often in too short a time and is not asked for a while.
    #[error(
        "is quarantined because it failed on too many questions within a minute; GET /api/plugins tells why and until when"
    )]
    Quarantined,
}

impl CallError {
    /// A stable word for metrics and verdicts.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Trap(_) => "trap",
            Self::Deadline(_) => "deadline",
            Self::Memory { .. } => "memory",
            Self::Input { .. } => "input",
            Self::Output(_) => "output",
            Self::Overloaded => "overloaded",
            Self::Limited => "limited",
            Self::Quarantined => "quarantined",
        }
    }

    /// As it is shown to the author of a plugin.
    pub(crate) fn to_answer(&self) -> serde_json::Value {
        serde_json::json!({"error": self.to_string(), "code": self.code()})
    }
}
