//! Who may call.

use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::domain::caller::Caller;

/// How callers are told apart.
#[derive(Clone)]
pub enum Access {
    /// No token is configured: the relay listens on loopback only, and every caller there is the
    /// administrator.
    Loopback(Arc<Caller>),
    /// The SHA-256 of the administrator's token.
    Token([u8; 32]),
}

impl Access {
    /// The access of a relay with this administrator's token, or without one.
    pub fn new(token: Option<&str>) -> Self {
        token.map_or_else(
            || Self::Loopback(Arc::new(Caller::administrator(true))),
            |token| Self::Token(Sha256::digest(token.as_bytes()).into()),
        )
    }
}

/// A fresh credential: `prefix` and 32 random bytes.
pub fn fresh_secret(prefix: &str) -> Result<String, getrandom::Error> {
    use base64::Engine as _;
    let mut bytes = [0_u8; 32];
    getrandom::fill(&mut bytes)?;
    Ok(format!("{prefix}{}", base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes)))
}
