//! Claims: exactly one holder at a time, through crashes of either side.

use rusqlite::params;

use super::super::StoreError;
use super::Store;
use super::messages::{claim_event, load_with_lease, require_reach};
use super::tx::Tx;
use crate::domain::agent::SessionGuard;
use crate::domain::event::{Audience, EventName};
use crate::domain::message::{Claim, LEASE_MS_DEFAULT, Message, lease_ms};
use crate::domain::refusal::Refusal;

impl Store {
    /// Takes a message's claim. Taking what one already holds answers the same claim again.
    pub async fn claim(
        &self,
        id: i64,
        agent: String,
        guard: SessionGuard,
        lease: Option<i64>,
    ) -> Result<Message, StoreError> {
        let lease = lease_ms(lease, LEASE_MS_DEFAULT)?;
        self.write(move |tx| {
            let (message, length_ms) = load_with_lease(tx.connection, id)?;
            require_reach(tx.connection, &message, &agent, &guard)?;
            let deliverable = message.expires_at.is_none_or(|at| at > tx.now);
            if !message.claimable || !deliverable {
                return Err(Refusal::NotClaimable(id).into());
            }
            step(tx, message, length_ms, EventName::MessageClaimed, |claim, now| claim.take(id, &agent, lease, now))
        })
        .await
    }

    /// Prolongs a held claim, by its own length unless another is given.
    pub async fn renew_claim(
        &self,
        id: i64,
        agent: String,
        guard: SessionGuard,
        generation: i64,
        lease: Option<i64>,
    ) -> Result<Message, StoreError> {
        self.write(move |tx| {
            let (message, length_ms) = load_with_lease(tx.connection, id)?;
            check_session(tx, &agent, &guard)?;
            step(tx, message, length_ms, EventName::MessageClaimed, |claim, now| {
                let lease = lease_ms(lease, claim.lease_ms)?;
                claim.renew(id, &agent, generation, lease, now)?;
                Ok(true)
            })
        })
        .await
    }

    /// Gives a held claim back.
    pub async fn release_claim(
        &self,
        id: i64,
        agent: String,
        guard: SessionGuard,
        generation: i64,
    ) -> Result<Message, StoreError> {
        self.write(move |tx| {
            let (message, length_ms) = load_with_lease(tx.connection, id)?;
            check_session(tx, &agent, &guard)?;
            step(tx, message, length_ms, EventName::MessageClaimReleased, |claim, now| {
                claim.release(id, &agent, generation, now)?;
                Ok(true)
            })
        })
        .await
    }

    /// Finishes the claimed work for good.
    pub async fn complete_claim(
        &self,
        id: i64,
        agent: String,
        guard: SessionGuard,
        generation: i64,
    ) -> Result<Message, StoreError> {
        self.write(move |tx| {
            let (message, length_ms) = load_with_lease(tx.connection, id)?;
            check_session(tx, &agent, &guard)?;
            step(tx, message, length_ms, EventName::MessageCompleted, |claim, now| {
                claim.complete(id, &agent, generation, now)
            })
        })
        .await
    }
}

fn check_session(tx: &Tx<'_>, agent: &str, guard: &SessionGuard) -> Result<(), StoreError> {
    if *guard == SessionGuard::default() {
        return Ok(());
    }
    let card = super::agents::load(tx.connection, agent)?.ok_or(Refusal::NotFound("agent"))?;
    Ok(guard.check(&card)?)
}

/// Moves the claim of a loaded message by one step and tells those it concerns. A step that changes
/// nothing writes nothing.
fn step(
    tx: &mut Tx<'_>,
    mut message: Message,
    length_ms: i64,
    event: EventName,
    change: impl FnOnce(&mut Claim, i64) -> Result<bool, Refusal>,
) -> Result<Message, StoreError> {
    let mut claim = Claim {
        by: message.claimed_by.take(),
        at: message.claimed_at,
        expires_at: message.claim_expires_at,
        lease_ms: length_ms,
        generation: message.claim_generation,
        completed_at: message.completed_at,
    };
    let holder_before = claim.by.clone();
    let changed = change(&mut claim, tx.now)?;
    if changed {
        save(tx, message.id, &claim)?;
        let agent = claim.by.as_deref().or(holder_before.as_deref()).unwrap_or_default();
        let audience = Audience { also: Some(message.from.as_str().into()), ..Audience::only(&message.to) };
        tx.emit(event, audience, &claim_event(message.id, agent, claim.generation))?;
    }
    message.claimed_by = claim.by;
    message.claimed_at = claim.at;
    message.claim_expires_at = claim.expires_at;
    message.claim_generation = claim.generation;
    message.completed_at = claim.completed_at;
    Ok(message)
}

fn save(tx: &Tx<'_>, id: i64, claim: &Claim) -> Result<(), StoreError> {
    tx.sql(
        "UPDATE messages SET claimed_by = ?2, claimed_at = ?3, claim_expires_at = ?4, claim_lease_ms = ?5,
                             claim_generation = ?6, completed_at = ?7 WHERE id = ?1",
    )?
    .execute(params![
        id,
        claim.by,
        claim.at,
        claim.expires_at,
        claim.lease_ms,
        claim.generation,
        claim.completed_at
    ])?;
    Ok(())
}

/// Frees claims whose lease has ended, at most `limit`, and answers the messages.
pub(super) fn release_expired(tx: &mut Tx<'_>, limit: usize) -> Result<Vec<i64>, StoreError> {
    let ids: Vec<i64> = tx
        .sql(
            "SELECT id FROM messages WHERE claim_expires_at IS NOT NULL AND claim_expires_at <= ?1
             ORDER BY claim_expires_at LIMIT ?2",
        )?
        .query_map(params![tx.now, limit as i64], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    for id in &ids {
        let (message, length_ms) = load_with_lease(tx.connection, *id)?;
        step(tx, message, length_ms, EventName::MessageClaimReleased, |claim, now| Ok(claim.expire(now)))?;
    }
    Ok(ids)
}
