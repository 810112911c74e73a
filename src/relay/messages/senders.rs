//! Senders: what the relay says about who sent a message.

use crate::domain::agent::USER;
use crate::domain::caller::{Caller, Scope};
use crate::domain::id::AgentId;
use crate::domain::message::{Sender, SenderKind};
use crate::relay::Relay;

impl Relay {
    /// How it is known that this caller sends as `from`.
    pub(super) fn sender(&self, caller: &Caller, from: &AgentId) -> Sender {
        let verified = match &caller.agent_id {
            Some(bound) => bound == from,
            None => from == USER && caller.is_administrator() && !self.needs_no_token(caller),
        };
        let kind = match SenderKind::of(from) {
            // An agent may be called like an orchestrator; its own credential says what it is.
            SenderKind::Orchestrator if verified && !caller.scopes.contains(&Scope::Orchestrator) => SenderKind::Agent,
            kind => kind,
        };
        Sender { r#as: kind, verified, via: self.via(caller) }
    }

    /// By which credential a caller is known.
    pub(in crate::relay) fn via(&self, caller: &Caller) -> String {
        if self.needs_no_token(caller) {
            Sender::LOOPBACK.to_owned()
        } else if is_the_administrator(caller) {
            Sender::ADMIN.to_owned()
        } else {
            caller.name.clone()
        }
    }

    /// Whether the caller is whoever came over loopback, where nobody needs a token.
    fn needs_no_token(&self, caller: &Caller) -> bool {
        self.access.is_loopback() && is_the_administrator(caller)
    }
}

/// Whether it is the administrator that the relay was started with, as against a token with everything.
fn is_the_administrator(caller: &Caller) -> bool {
    *caller == Caller::administrator(caller.loopback)
}
