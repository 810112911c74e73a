//! Tokens: what each credential may do. Only their hashes are kept.

use crate::domain::caller::{Caller, Scope};
use crate::domain::id::AgentId;
use crate::domain::time::Timestamp;

/// SHA-256 of a token.
pub type TokenHash = [u8; 32];

/// A token as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// What is recorded for its holder.
    pub name: String,
    /// Its hash; the look-up is by it, so its timing tells nothing about the token.
    pub hash: TokenHash,
    /// What it may do.
    pub scopes: Vec<Scope>,
    /// The agent it is bound to.
    pub agent_id: Option<AgentId>,
    /// When it stops working.
    pub expires_at: Option<Timestamp>,
}

impl Token {
    /// Whether it works at this moment.
    pub fn is_good(&self, now: Timestamp) -> bool {
        self.expires_at.is_none_or(|at| at > now)
    }

    /// Whoever presents it.
    pub fn holder(&self, loopback: bool) -> Caller {
        Caller { name: self.name.clone(), agent_id: self.agent_id.clone(), scopes: self.scopes.clone(), loopback }
    }
}
