//! Problems: what went wrong in a tool, for a reader who acts on it at once.

use std::fmt;

use super::text::{lasting, name};
use crate::domain::refusal::Refusal;
use crate::domain::text::visible;
use crate::domain::time::Timestamp;
use crate::relay::Error;

/// What went wrong, and what to do next.
#[derive(Debug)]
pub(super) struct Problem {
    what: String,
    next: String,
}

impl Problem {
    pub(super) fn new(what: impl Into<String>, next: impl Into<String>) -> Self {
        Self { what: what.into(), next: next.into() }
    }

    /// For whoever is no agent, and so has no inbox and no name.
    pub(super) fn unbound(loopback: bool) -> Self {
        let why = if loopback {
            "this relay needs no token, so whoever calls is its administrator, and no agent"
        } else {
            "this credential is bound to no agent"
        };
        Self::new(
            format!("{why}: there is nobody to act as"),
            "Ask your user for a token of your own. It is made with `agent-relay token create NAME --scope agent \
             --agent YOUR-ID`, and sent as `Authorization: Bearer TOKEN` or from AGENT_RELAY_TOKEN.",
        )
    }

    /// A refusal, with what it says about time told from `now`.
    pub(super) fn of(error: Error, now: Timestamp) -> Self {
        let refusal = match error {
            Error::Refused(refusal) => refusal,
            Error::TooManyStreams(error) => return Self::new(error.to_string(), "Try again in a minute."),
            // The text of the others is for the log.
            Error::Internal(cause) => {
                tracing::error!(%cause, "a tool failed");
                return Self::new("the relay failed", "Try again; if it fails again, tell your user.");
            }
            Error::Unavailable(cause) | Error::Misplaced(cause) => {
                tracing::warn!(%cause, "a tool could not be carried out");
                return Self::new("the relay takes nothing at the moment", "Try again in a minute.");
            }
            Error::Plugin(error) => return Self::new(error.to_string(), "Tell your user."),
            error => return Self::new(error.to_string(), "Try again in a minute."),
        };
        let what = match &refusal {
            Refusal::AlreadyClaimed { work, by, until } => {
                format!("{work} is held by {} for another {}", name(by), lasting(*until - now))
            }
            // Options and ids are others' words.
            refusal => visible::line(&refusal.to_string()).into_owned(),
        };
        Self::new(what, next(&refusal))
    }
}

fn next(refusal: &Refusal) -> &'static str {
    match refusal {
        Refusal::NotFound("agent") => "agents lists who is there.",
        Refusal::NotFound("task") => "Check the number: whoami lists the tasks you hold.",
        Refusal::NotFound(_) => "Check the number: inbox lists your messages.",
        Refusal::NotAllowed(_) | Refusal::CredentialEnded => "Ask your user for a token that allows it.",
        Refusal::WrongIdentity { .. } => "Act as yourself: whoami says who you are.",
        Refusal::NotAddressed { .. } => "It is not for you. inbox lists what is.",
        Refusal::NoRecipient { .. } => "agents lists who is there.",
        Refusal::LoopSuspected { .. } => {
            "Stop answering in this thread. Ask your user, or begin another thread if there is something new to say."
        }
        Refusal::NotClaimable(_) => "There is nothing to claim: read it, and answer with send.",
        Refusal::AlreadyClaimed { .. } => "Take other work: inbox lists it.",
        Refusal::AlreadyCompleted(_) => "It is done; go on with other work.",
        Refusal::AlreadyAnswered(_) => "Go on: the first answer counts.",
        Refusal::StaleClaim { .. } => "Stop working on it: somebody else may hold it. claim it again to go on.",
        Refusal::IllegalTransition { .. } => "task with action show tells its present state.",
        Refusal::InvalidAnswer(_) => "Answer with one of the options.",
        _ => "Correct it and call the tool again.",
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, next } = self;
        write!(f, "{what}. {next}")
    }
}
