//! Senders: what the relay says about who sent a message.

use crate::domain::agent::{SYSTEM, USER};
use crate::domain::caller::{Caller, Scope};
use crate::domain::id::AgentId;
use crate::domain::message::{Sender, SenderKind};
use crate::domain::refusal::Refusal;
use crate::relay::Relay;

impl Relay {
    /// How it is known that this caller sends as `from`.
    pub(in crate::relay) fn sender(&self, caller: &Caller, from: &AgentId) -> Sender {
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

/// Requires that this caller may do something in the name of `agent`: a bound credential acts as its own agent alone,
/// nobody as the relay, and only an administrator as the human.
pub(in crate::relay) fn require_name(caller: &Caller, agent: &AgentId) -> Result<(), Refusal> {
    caller.require_identity(agent)?;
    let refusal = match agent.as_str() {
        SYSTEM => "only the relay itself acts as \"system\"",
        USER if !caller.is_administrator() => "only an administrator acts as \"user\"",
        _ => return Ok(()),
    };
    Err(Refusal::NotAllowed(refusal.to_owned()))
}

/// Whether it is the administrator that the relay was started with, as against a token with everything.
fn is_the_administrator(caller: &Caller) -> bool {
    *caller == Caller::administrator(caller.loopback)
}
