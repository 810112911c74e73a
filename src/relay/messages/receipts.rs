//! Receipts: whoever sends a message may wait until something has become of it.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::domain::event::{Event, EventTypes};
use crate::domain::id::{AgentId, MessageId};
use crate::domain::message::{Reached, Receipt};
use crate::domain::refusal::Refusal;
use crate::relay::{Error, Relay};
use crate::store::StoreError;
use crate::stream::{Listen, Subscription, Taken};

/// A receipt that is waited for.
pub(super) struct Awaited {
    receipt: Receipt,
    /// Nothing, where nobody wants to wait.
    waiting: Option<(Subscription, Instant)>,
}

impl Relay {
    /// Listens from now on for what becomes of the messages of this sender.
    pub(super) fn await_receipt(&self, receipt: Receipt, from: &AgentId, wait: Duration) -> Result<Awaited, Error> {
        let waiting = if wait.is_zero() {
            None
        } else {
            // What becomes of a message concerns its sender, so nobody else's events come here.
            let types = EventTypes::NONE.with(receipt.event());
            Some((self.subscribe(Listen::Agent(from.clone()), types)?, Instant::now() + wait))
        };
        Ok(Awaited { receipt, waiting })
    }

    /// Waits until the receipt is there, the time is over or the relay drains, and answers how far the message has
    /// come. One that was sent before, under the same key, may have come far already.
    pub(super) async fn receipt(&self, awaited: Awaited, id: MessageId, sent_before: bool) -> Result<Reached, Error> {
        let Awaited { receipt, waiting } = awaited;
        if sent_before && let Some(reached) = self.reached(id, receipt).await? {
            return Ok(reached);
        }
        if let Some((subscription, deadline)) = waiting {
            loop {
                let taken = tokio::select! {
                    taken = subscription.take() => taken,
                    () = sleep_until(deadline) => break,
                    () = self.draining.cancelled() => break,
                };
                match taken {
                    Taken::Events(events) if events.iter().any(|event| is_about(event, id)) => {
                        return Ok(receipt.into());
                    }
                    Taken::Events(_) => {}
                    // More became of others than was kept: it may have been among it.
                    Taken::Overflowed => {
                        if let Some(reached) = self.reached(id, receipt).await? {
                            return Ok(reached);
                        }
                    }
                }
            }
        }
        match self.store.message(id).await {
            Ok(message) if receipt.has_happened(&message) => Ok(receipt.into()),
            Ok(message) => match Reached::of(&message) {
                Reached::Stored => Ok(self.store.reached_sessions(id).await?.map_or(Reached::Stored, Reached::from)),
                reached => Ok(reached),
            },
            Err(StoreError::Refused(Refusal::NotFound(_))) => Ok(Reached::Stored),
            Err(error) => Err(error.into()),
        }
    }

    /// The receipt, if it has happened.
    async fn reached(&self, id: MessageId, receipt: Receipt) -> Result<Option<Reached>, Error> {
        let message = self.store.message(id).await?;
        Ok(receipt.has_happened(&message).then(|| receipt.into()))
    }
}

/// Whether an event of a message is about this one.
fn is_about(event: &Event, id: MessageId) -> bool {
    #[derive(serde::Deserialize)]
    struct About {
        id: MessageId,
    }
    serde_json::from_str(event.data()).is_ok_and(|About { id: about }| about == id)
}
