//! Deliveries that could not be read, kept so that they can be tried again: the newest of each integration.

use std::collections::BTreeMap;

use super::Taken;
use crate::domain::audit;
use crate::domain::id::DeliveryId;
use crate::domain::integration::{BODY_KEPT_MAX, Delivery, IntegrationName, KEPT_MAX, KeptDelivery};
use crate::domain::message::Sender;
use crate::domain::refusal::Refusal;
use crate::domain::time::Timestamp;
use crate::store::engine::stored;
use crate::store::tx::{Snapshot, Tx};
use crate::store::{StoreError, activity};

/// A kept delivery with what is not told of it.
pub(super) struct Kept {
    id: DeliveryId,
    integration: IntegrationName,
    delivery_id: Option<String>,
    at: Timestamp,
    reason: String,
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
    body_bytes: i64,
    sender: Sender,
    tries: i64,
}

stored! {
    stored Kept in kept_deliveries {
        id, integration, delivery_id, at, reason, headers as json, body, body_bytes, sender = "sent_by", tries,
    }
}

impl Kept {
    /// Whether the body had more than is kept of it.
    pub(super) fn is_cut(&self) -> bool {
        self.body_bytes > self.body.len() as i64
    }

    /// The delivery as it came.
    pub(super) fn delivery(&self) -> Delivery {
        Delivery {
            integration: self.integration.clone(),
            id: self.delivery_id.clone(),
            sender: self.sender.clone(),
            headers: self.headers.clone(),
            body: self.body.clone(),
        }
    }

    /// What is told of it.
    pub(super) fn told(self) -> KeptDelivery {
        KeptDelivery {
            id: self.id,
            at: self.at,
            body_bytes: self.is_cut().then_some(self.body_bytes),
            body: String::from_utf8_lossy(&self.body).into_owned(),
            reason: self.reason,
            headers: self.headers,
            tries: self.tries,
        }
    }
}

/// One kept delivery of an integration, or a refusal.
pub(super) fn load(snapshot: &Snapshot<'_>, integration: &IntegrationName, id: DeliveryId) -> Result<Kept, StoreError> {
    let kept = snapshot.row("WHERE id = $1 AND integration = $2", &[&id, integration])?;
    Ok(kept.ok_or(Refusal::NotFound("delivery"))?)
}

/// Keeps a delivery. The same again, by its id, is another try of the one that is kept.
pub(super) fn keep(tx: &mut Tx<'_>, delivery: &Delivery, reason: String) -> Result<Taken, StoreError> {
    let name = &delivery.integration;
    if let Some(sent) = &delivery.id {
        let kept: Option<Kept> = tx.row("WHERE integration = $1 AND delivery_id = $2", &[name, sent])?;
        if let Some(kept) = kept {
            let tries = kept.tries + 1;
            let again = Kept { id: kept.id, at: kept.at, tries, ..new(delivery, reason.clone(), tx.now) };
            tx.upsert(&again)?;
            return Ok(Taken::Unreadable(kept.id, reason));
        }
    }
    let id = DeliveryId::new(tx.insert_numbered(&new(delivery, reason.clone(), tx.now))?);
    tx.execute(
        "DELETE FROM kept_deliveries WHERE id = (SELECT id FROM kept_deliveries WHERE integration = $1
             ORDER BY id DESC LIMIT 1 OFFSET $2)",
        &[name, &KEPT_MAX],
    )?;
    activity::insert(tx, audit::delivery_unreadable(name, id, &reason))?;
    Ok(Taken::Unreadable(id, reason))
}

fn new(delivery: &Delivery, reason: String, now: Timestamp) -> Kept {
    let body = &delivery.body;
    Kept {
        id: DeliveryId::default(),
        integration: delivery.integration.clone(),
        delivery_id: delivery.id.clone(),
        at: now,
        reason,
        headers: delivery.headers.clone(),
        body: body[..body.len().min(BODY_KEPT_MAX)].to_vec(),
        body_bytes: body.len() as i64,
        sender: delivery.sender.clone(),
        tries: 1,
    }
}

/// Notes that it could not be read once more.
pub(super) fn fail_again(tx: &Tx<'_>, id: DeliveryId, reason: String) -> Result<Taken, StoreError> {
    tx.execute("UPDATE kept_deliveries SET tries = tries + 1, reason = $1 WHERE id = $2", &[&reason, &id])?;
    Ok(Taken::Unreadable(id, reason))
}
