//! Claims: exactly one holder at a time, through crashes of either side.

use serde_json::json;

use crate::domain::agent::SessionGuard;
use crate::domain::event::EventName;
use crate::domain::id::{AgentId, MessageId};
use crate::domain::message::{Claim, ClaimChange, LEASE_MS_DEFAULT, Message, lease_ms};
use crate::domain::refusal::Refusal;
use crate::store::messages::{Whole, deliveries, load_whole, read_by, require_reach};
use crate::store::tx::Tx;
use crate::store::{Store, StoreError, agents, tasks};

impl Store {
    /// Takes a message's claim. Taking what one already holds answers the same claim again.
    pub async fn claim(
        &self,
        id: MessageId,
        agent: AgentId,
        guard: SessionGuard,
        lease: Option<i64>,
    ) -> Result<Message, StoreError> {
        let change = ClaimChange::Take { lease_ms: lease_ms(lease, LEASE_MS_DEFAULT)? };
        self.change_claim(id, agent, guard, change).await
    }

    /// Prolongs a held claim, by its own length unless another is given.
    pub async fn renew_claim(
        &self,
        id: MessageId,
        agent: AgentId,
        guard: SessionGuard,
        generation: i64,
        lease: Option<i64>,
    ) -> Result<Message, StoreError> {
        self.change_claim(id, agent, guard, ClaimChange::Renew { generation, lease_ms: lease }).await
    }

    /// Gives a held claim back.
    pub async fn release_claim(
        &self,
        id: MessageId,
        agent: AgentId,
        guard: SessionGuard,
        generation: i64,
    ) -> Result<Message, StoreError> {
        self.change_claim(id, agent, guard, ClaimChange::Release { generation }).await
    }

    /// Finishes the claimed work for good.
    pub async fn complete_claim(
        &self,
        id: MessageId,
        agent: AgentId,
        guard: SessionGuard,
        generation: i64,
    ) -> Result<Message, StoreError> {
        self.change_claim(id, agent, guard, ClaimChange::Complete { generation }).await
    }

    async fn change_claim(
        &self,
        id: MessageId,
        agent: AgentId,
        guard: SessionGuard,
        change: ClaimChange,
    ) -> Result<Message, StoreError> {
        self.write_settling(move |tx| {
            let Whole { message, lease_ms, is_read } = load_whole(tx, id)?;
            if let ClaimChange::Take { .. } = change {
                require_reach(tx, &message, &agent, &guard)?;
                if !message.claimable || !message.is_deliverable(tx.now) {
                    return Err(Refusal::NotClaimable(id).into());
                }
            } else {
                check_session(tx, &agent, &guard)?;
            }
            let claim = if let Some(task) = tasks::claims::of_message(tx, &message)? {
                // The claim is that of the task.
                tasks::claims::change(tx, task, &agent, change)?.claim()
            } else {
                let mut claim = message.claim(lease_ms);
                if let Some(event) = change.apply(&mut claim, id.into(), &agent, tx.now)? {
                    save(tx, id, &claim)?;
                    tell(tx, event, &message, &agent, claim.generation)?;
                }
                claim
            };
            let mut message = message.with_claim(claim);
            if is_read {
                (message.read_by, message.read_count) = read_by(tx, id)?;
            }
            Ok(message)
        })
        .await
    }
}

fn check_session(tx: &Tx<'_>, agent: &AgentId, guard: &SessionGuard) -> Result<(), StoreError> {
    if guard.is_open() {
        return Ok(());
    }
    let card = agents::load(tx, agent)?.ok_or(Refusal::NotFound("agent"))?;
    Ok(guard.check(&card)?)
}

/// Tells those whom a message concerns what became of its claim.
fn tell(
    tx: &mut Tx<'_>,
    event: EventName,
    message: &Message,
    agent: &AgentId,
    generation: i64,
) -> Result<(), StoreError> {
    let data = json!({"id": message.id, "agentId": agent, "claimGeneration": generation});
    tx.emit(event, message.audience_with_sender(), &data)?;
    match event {
        EventName::MessageClaimed => deliveries::claimed(tx, message.id, agent),
        EventName::MessageClaimReleased => deliveries::freed(tx, message.id),
        _ => Ok(()),
    }
}

/// Writes the claim of a message down. Answers whether the message is there: 1, or 0.
pub(in crate::store) fn save(tx: &Tx<'_>, id: MessageId, claim: &Claim) -> Result<usize, StoreError> {
    tx.execute(
        "UPDATE messages SET claimed_by = $1, claimed_at = $2, claim_expires_at = $3, claim_lease_ms = $4,
                             claim_generation = $5, completed_at = $6 WHERE id = $7",
        &[&claim.by, &claim.at, &claim.expires_at, &claim.lease_ms, &claim.generation, &claim.completed_at, &id],
    )
}

/// Frees claims whose lease has ended, at most `limit`, and answers the messages.
pub(in crate::store) fn release_expired(tx: &mut Tx<'_>, limit: i64) -> Result<Vec<MessageId>, StoreError> {
    let ids: Vec<MessageId> = tx.values(
        "SELECT id FROM messages WHERE claim_expires_at IS NOT NULL AND claim_expires_at <= $1
         ORDER BY claim_expires_at LIMIT $2",
        &[&tx.now, &limit],
    )?;
    for id in &ids {
        let Whole { message, lease_ms, .. } = load_whole(tx, *id)?;
        if let Some(mut task) = tasks::claims::of_message(tx, &message)?
            && tasks::claims::notice_end(tx, &mut task)?
        {
            continue;
        }
        let mut claim = message.claim(lease_ms);
        let holder = claim.by.clone();
        if claim.expire(tx.now)
            && let Some(holder) = holder
        {
            save(tx, *id, &claim)?;
            tell(tx, EventName::MessageClaimReleased, &message, &holder, claim.generation)?;
        }
    }
    Ok(ids)
}
