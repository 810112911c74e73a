//! Why a request has no answer, or not the wanted one.

use std::fmt;
use std::time::Duration;

use reqwest::StatusCode;
use serde_json::{Map, Value};

use super::Answer;
use crate::domain::text::causes;

/// A request that was not answered as hoped.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It was never sent: an address, a header or a body that cannot be.
    #[error("{0}")]
    Unsendable(String),
    /// Nobody listens there. Nothing was done.
    #[error("no relay listens at {address}: start one with `agent-relay serve`, or name another address")]
    Unreachable {
        /// Where.
        address: String,
        /// What the system said.
        #[source]
        cause: reqwest::Error,
    },
    /// There was no answer in time. What was asked for may have been done.
    #[error("the relay at {address} did not answer within {} s; it may have done what was asked", after.as_secs_f32())]
    Timeout {
        /// Where.
        address: String,
        /// The time it had.
        after: Duration,
    },
    /// The connection ended before the answer did. What was asked for may have been done.
    #[error("failed to ask the relay at {address}")]
    Interrupted {
        /// Where.
        address: String,
        /// What the system said.
        #[source]
        cause: reqwest::Error,
    },
    /// The relay, or something in front of it, said no.
    #[error("the relay at {address} answered {problem}")]
    Refused {
        /// Where.
        address: String,
        /// What it said.
        problem: Box<Problem>,
    },
    /// What was answered is not what a relay of this version answers.
    #[error("the answer of {address} {problem}; is that a relay of this version?")]
    Malformed {
        /// Where.
        address: String,
        /// What is wrong with it.
        problem: String,
    },
}

impl Error {
    /// What the relay said, when it said no.
    pub fn problem(&self) -> Option<&Problem> {
        match self {
            Self::Refused { problem, .. } => Some(problem),
            _ => None,
        }
    }

    /// Whether the relay refused with this code.
    pub fn is(&self, code: &str) -> bool {
        self.problem().is_some_and(|problem| problem.code == code)
    }

    /// Whether the same request may be answered later: the relay is away, busy, or was cut off.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Timeout { .. } | Self::Interrupted { .. } => true,
            Self::Refused { problem, .. } => {
                problem.status.is_server_error() || problem.status == StatusCode::TOO_MANY_REQUESTS
            }
            Self::Unsendable(_) | Self::Malformed { .. } => false,
        }
    }

    pub(super) fn malformed(address: &str, problem: impl Into<String>) -> Self {
        Self::Malformed { address: address.to_owned(), problem: problem.into() }
    }

    /// What went wrong while asking, within the time the answer had.
    pub(super) fn of_transport(address: &str, timeout: Duration, cause: reqwest::Error) -> Self {
        let address = address.to_owned();
        if cause.is_connect() {
            Self::Unreachable { address, cause }
        } else if cause.is_timeout() {
            Self::Timeout { address, after: timeout }
        } else if cause.is_builder() {
            Self::Unsendable(causes(&cause))
        } else {
            Self::Interrupted { address, cause }
        }
    }
}

/// A refusal: RFC 9457 problem details, as far as they were sent. Something between here and the relay may
/// answer without any.
#[derive(Clone, Debug, PartialEq)]
pub struct Problem {
    /// The status.
    pub status: StatusCode,
    /// Stable, snake_case, to branch on; empty when none was sent.
    pub code: String,
    /// What is wrong, for people; empty when none was sent.
    pub detail: String,
    /// What to do now, for people and models; empty when none was sent.
    pub next: String,
    /// What finds the request in the relay's log; empty when none was sent.
    pub request_id: String,
    /// How long to wait before the next try, when that was said.
    pub retry_after: Option<Duration>,
    /// What this kind of problem has beside that, such as `claimedBy`.
    pub members: Map<String, Value>,
}

impl Problem {
    /// Reads what an answer that is no success says.
    pub(super) fn of(answer: &Answer) -> Self {
        let mut members: Map<String, Value> = answer.json().unwrap_or_default();
        let mut take = |name: &str| match members.remove(name) {
            Some(Value::String(text)) => text,
            _ => String::new(),
        };
        let (code, detail, next) = (take("code"), take("detail"), take("next"));
        let mut request_id = take("requestId");
        if request_id.is_empty() {
            answer.header("x-request-id").unwrap_or_default().clone_into(&mut request_id);
        }
        for standard in ["type", "title", "status", "error"] {
            members.remove(standard);
        }
        let retry_after = answer.header("retry-after").and_then(|seconds| seconds.parse().ok());
        Self {
            status: answer.status(),
            code,
            detail,
            next,
            request_id,
            retry_after: retry_after.map(Duration::from_secs),
            members,
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.status)?;
        if !self.detail.is_empty() {
            write!(f, ": {}", self.detail)?;
        }
        if !self.next.is_empty() {
            write!(f, ". {}", self.next)?;
        }
        Ok(())
    }
}
