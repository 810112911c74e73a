//! Tickets: credentials for one stream each, for browsers, which cannot set a header on an
//! `EventSource`. A token in an address would end up in logs; a ticket there is worthless.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

use super::access::fresh_secret;
use crate::domain::caller::Caller;

/// How long a ticket is good.
const TICKET_AGE_MAX: Duration = Duration::from_secs(60);
/// Tickets outstanding at once; the oldest gives way.
const TICKETS_MAX: usize = 10_000;

/// The outstanding tickets. They are not stored: a restart ends their streams as well.
#[derive(Default)]
pub(super) struct Tickets(Mutex<HashMap<Hash, (Instant, Arc<Caller>)>>);

/// SHA-256 of a ticket.
type Hash = [u8; 32];

impl Tickets {
    /// A ticket with which its bearer opens one stream as this caller.
    ///
    /// # Errors
    ///
    /// When the system has no randomness.
    pub(super) fn issue(&self, caller: Arc<Caller>) -> Result<String, getrandom::Error> {
        let ticket = fresh_secret("art_")?;
        let mut tickets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tickets.retain(|_, (issued, _)| issued.elapsed() < TICKET_AGE_MAX);
        if tickets.len() >= TICKETS_MAX
            && let Some(oldest) = tickets.iter().min_by_key(|(_, (issued, _))| *issued).map(|(hash, _)| *hash)
        {
            tickets.remove(&oldest);
        }
        tickets.insert(Sha256::digest(ticket.as_bytes()).into(), (Instant::now(), caller));
        Ok(ticket)
    }

    /// Takes a ticket; it is good once.
    pub(super) fn redeem(&self, ticket: &str) -> Option<Arc<Caller>> {
        let hash: [u8; 32] = Sha256::digest(ticket.as_bytes()).into();
        let (issued, caller) = self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&hash)?;
        (issued.elapsed() < TICKET_AGE_MAX).then_some(caller)
    }
}
