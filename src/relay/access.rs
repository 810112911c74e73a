//! Who is calling: credentials, and the callers they stand for.

mod tokens;

use std::sync::Arc;

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::{Error, Relay};
use crate::domain::caller::Caller;

pub use self::tokens::Admission;

/// How callers are told apart.
#[derive(Clone)]
pub struct Access(Kind);

#[derive(Clone)]
enum Kind {
    /// No token is configured: the relay listens on loopback only, and every caller there is the
    /// administrator.
    Loopback(Arc<Caller>),
    /// The SHA-256 of the administrator's token.
    Token([u8; 32]),
}

impl Access {
    /// The access of a relay with this administrator's token, or without one.
    pub fn new(token: Option<&str>) -> Self {
        Self(token.map_or_else(
            || Kind::Loopback(Arc::new(Caller::administrator(true))),
            |token| Kind::Token(Sha256::digest(token.as_bytes()).into()),
        ))
    }

    /// Whether everybody on loopback is the administrator.
    pub fn is_loopback(&self) -> bool {
        matches!(self.0, Kind::Loopback(_))
    }
}

impl Relay {
    /// Whoever sends this credential, or none; `None` when it is none of ours. `loopback` says whether the
    /// request came over the loopback interface.
    pub async fn authenticate(&self, credential: Option<&str>, loopback: bool) -> Result<Option<Arc<Caller>>, Error> {
        let Some(token) = credential else {
            return Ok(match &self.access.0 {
                Kind::Loopback(administrator) => Some(administrator.clone()),
                Kind::Token(_) => None,
            });
        };
        let hash: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        if let Kind::Token(administrator) = &self.access.0
            && bool::from(hash.ct_eq(administrator))
        {
            return Ok(Some(Arc::new(Caller::administrator(loopback))));
        }
        // An agent that the relay started sends its own token, and acts as itself.
        Ok(self.store.token_holder(hash, loopback).await?.map(Arc::new))
    }

    /// Takes a ticket for one stream, which is good once.
    pub fn redeem_ticket(&self, ticket: &str) -> Option<Arc<Caller>> {
        self.tickets.redeem(ticket)
    }

    /// A sign of life of the agent that a credential is bound to.
    pub fn note_alive(&self, caller: &Caller) {
        if let Some(agent) = &caller.agent_id {
            self.store.touch(agent);
        }
    }
}

/// A fresh credential: `prefix` and 32 random bytes.
pub fn fresh_secret(prefix: &str) -> Result<String, getrandom::Error> {
    use base64::Engine as _;
    let mut bytes = [0_u8; 32];
    getrandom::fill(&mut bytes)?;
    Ok(format!("{prefix}{}", base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes)))
}
