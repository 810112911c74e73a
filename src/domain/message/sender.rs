//! Senders: how the relay knows who sent a message.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::domain::agent::{SYSTEM, USER};
use crate::domain::id::{AgentId, OrchestratorId};
use crate::domain::text::word::words;

words! {
    /// As what somebody sends. Each begins with another letter, by which it is kept.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
    #[serde(rename_all = "lowercase")]
    pub enum SenderKind {
        /// A person.
        User = "user",
        /// A coding agent, or a program that acts like one.
        #[default]
        Agent = "agent",
        /// The relay itself.
        System = "system",
        /// A service from outside.
        Integration = "integration",
        /// A daemon that starts agents on its host.
        Orchestrator = "orchestrator",
    }
}

impl SenderKind {
    /// What the id says, whoever uses it.
    pub fn of(from: &AgentId) -> Self {
        match from.as_str() {
            USER => Self::User,
            SYSTEM => Self::System,
            _ if OrchestratorId::of_agent(from).is_some() => Self::Orchestrator,
            _ => Self::Agent,
        }
    }
}

/// How the relay knows who sent a message. It alone says so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Sender {
    /// As what it was sent.
    pub r#as: SenderKind,
    /// Whether the credential belongs to `from` and nobody else, or the relay itself sent it. Otherwise `from` is
    /// what the sender says of itself.
    pub verified: bool,
    /// The name of the token; `admin` for the administrator's, `loopback` for whoever needs none, `relay` for the
    /// relay itself, `unknown` for what was stored before this was written down.
    pub via: String,
}

impl Sender {
    /// The [`Self::via`] of the administrator's token.
    pub const ADMIN: &str = "admin";
    /// That of callers who need no token.
    pub const LOOPBACK: &str = "loopback";
    /// That of the relay itself.
    pub const RELAY: &str = "relay";
    /// That of messages from before it was written down.
    pub const UNKNOWN: &str = "unknown";

    /// Of what the relay sends by itself. In another's name it vouches for nothing.
    pub fn relay(from: &AgentId) -> Self {
        let kind = SenderKind::of(from);
        Self { r#as: kind, verified: kind == SenderKind::System, via: Self::RELAY.to_owned() }
    }
}

/// Of a message that an older relay stored.
impl Default for Sender {
    fn default() -> Self {
        Self { r#as: SenderKind::default(), verified: false, via: Self::UNKNOWN.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_told_apart_by_their_first_letter() {
        let mut letters: Vec<_> = SenderKind::ALL.iter().map(|kind| kind.as_str().as_bytes()[0]).collect();
        letters.sort_unstable();
        letters.dedup();
        assert_eq!(letters.len(), SenderKind::ALL.len());
    }

    #[test]
    fn the_relay_vouches_for_itself_alone() {
        for (from, kind, verified) in [
            ("system", SenderKind::System, true),
            ("user", SenderKind::User, false),
            ("orchestrator-o", SenderKind::Orchestrator, false),
            ("ada", SenderKind::Agent, false),
        ] {
            assert_eq!(Sender::relay(&from.into()), Sender { r#as: kind, verified, via: "relay".to_owned() }, "{from}");
        }
    }
}
