//! Messages: sending, finding, reading, claiming.

pub mod deliveries;
pub(in crate::relay) mod notices;
mod receipts;
pub(in crate::relay) mod senders;

use std::time::Duration;

use serde::Serialize;
use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;

use self::senders::require_name;
use super::{Error, Relay, scopes};
use crate::domain::agent::{SYSTEM, SessionGuard, Unread};
use crate::domain::caller::Caller;
use crate::domain::event::{EventName, EventTypes};
use crate::domain::id::{AgentId, MessageId};
use crate::domain::message::{Draft, Message, MessageFilter, MessageType, NewMessage, Outcome, Sender, Sent, Urgency};
use crate::domain::page::{Limit, Page};
use crate::domain::refusal::Refusal;
use crate::domain::text::json;
use crate::domain::time::Timestamp;
use crate::store::{Created, Idempotency, Posting, StoreError};
use crate::stream::Listen;

/// Who does something with a message.
#[derive(Clone, Debug, Default)]
pub struct Claimant {
    /// The agent; the credential's own when left out.
    pub agent: Option<String>,
    /// The session that speaks for it.
    pub guard: SessionGuard,
}

impl Claimant {
    pub(super) fn agent(&self, caller: &Caller) -> Result<AgentId, Error> {
        let named = AgentId::optional("agentId", self.agent.clone())?;
        let agent = named.or_else(|| caller.agent_id.clone()).ok_or_else(|| Refusal::invalid("agentId required"))?;
        caller.require_identity(&agent)?;
        Ok(agent)
    }
}

impl Relay {
    /// Sends a message: durable, and visible to readers and streams, once this is answered. Where its sender wants to
    /// know what becomes of it, that is waited for up to `wait`.
    pub async fn send_message(
        &self,
        caller: &Caller,
        draft: Draft,
        key: Option<Idempotency>,
        wait: Duration,
    ) -> Result<Created<Sent>, Error> {
        caller.require(scopes::SEND_MESSAGE)?;
        let (receipt, strict) = (draft.receipt()?, draft.strict.unwrap_or(false));
        let mut message = draft.parse(caller.agent_id.as_ref(), self.store.now())?;
        check_sender(caller, &message)?;
        message.sender = self.sender(caller, &message.from);
        let key = key.or_else(|| key_of_body(caller, &message));
        self.store.touch(&message.from);
        // Before the message is there, so that nothing that becomes of it is missed.
        let awaited = receipt.map(|receipt| self.await_receipt(receipt, &message.from, wait)).transpose()?;
        let (from, to) = (message.from.clone(), message.to.clone());
        let posting = Posting { strict, thread_replies: self.settings.thread_replies };
        let posted = match self.store.post(message, posting, key).await {
            Err(StoreError::Refused(Refusal::NoRecipient { to, .. })) => {
                let similar = self.similar_targets(to.clone(), &from).await?;
                return Err(Refusal::NoRecipient { to, similar }.into());
            }
            posted => posted?,
        };
        let mut outcome = Outcome::default();
        if posted.recipients == Some(0) {
            outcome.similar = Some(self.similar_targets(to, &from).await?);
        }
        if let Some(awaited) = awaited {
            outcome.receipt = Some(self.receipt(awaited, posted.id, posted.answer.replayed).await?);
        }
        Ok(Created { json: posted.answer.json.joined(&outcome), ..posted.answer })
    }

    /// Targets that look like one that reaches nobody: others than its sender.
    async fn similar_targets(&self, to: String, from: &AgentId) -> Result<Vec<String>, Error> {
        let mut similar = self.store.similar_targets(to).await?;
        similar.retain(|target| *target != *from);
        Ok(similar)
    }

    /// Sends a message from the relay to everybody.
    pub async fn broadcast(
        &self,
        caller: &Caller,
        subject: Option<String>,
        body: Option<String>,
        key: Option<Idempotency>,
    ) -> Result<Created<Message>, Error> {
        caller.require(scopes::BROADCAST)?;
        let draft = Draft {
            from: Some(SYSTEM.to_owned()),
            to: Some("broadcast".to_owned()),
            kind: Some(MessageType::System.as_str().to_owned()),
            subject,
            body,
            ..Draft::default()
        };
        let mut message = draft.parse(None, self.store.now())?;
        message.sender = Sender { via: self.via(caller), ..Sender::relay(&message.from) };
        Ok(self.store.send(message, key).await?)
    }

    /// A page of messages, oldest first. While there is none, waits up to `wait` for one. A bound credential
    /// reads what reaches its own agent.
    pub async fn list_messages(
        &self,
        caller: &Caller,
        filter: MessageFilter,
        wait: Duration,
    ) -> Result<Page<Message, MessageId>, Error> {
        caller.require(scopes::READ_MESSAGES)?;
        let mut filter = filter;
        if let Some(bound) = &caller.agent_id {
            let agent = filter.reaching.get_or_insert_with(|| bound.clone());
            caller.require_identity(agent)?;
            self.store.touch(agent);
        }
        if filter.unread && filter.reaching.is_none() {
            return Err(Refusal::invalid("unread needs for=AGENT").into());
        }
        if wait.is_zero() {
            return Ok(self.store.messages(filter).await?);
        }
        let admission = self.admission(caller).await?;
        let wait = admission.expires_in.map_or(wait, |left| left.min(wait));
        self.poll_messages(filter, wait, &admission.until).await
    }

    /// How many unread messages wait for the agent that this credential is bound to, after this one.
    pub async fn count_unread(&self, caller: &Caller, since: MessageId) -> Result<Unread, Error> {
        caller.require(scopes::READ_MESSAGES)?;
        let agent = caller.agent_id.clone().ok_or_else(|| Refusal::invalid("the credential is bound to no agent"))?;
        let filter =
            MessageFilter { reaching: Some(agent), unread: true, since, limit: Limit::MAX, ..MessageFilter::default() };
        Ok(self.store.count_messages(filter).await?)
    }

    /// Reads, and while there is nothing waits for a message that may match and reads on.
    async fn poll_messages(
        &self,
        mut filter: MessageFilter,
        wait: Duration,
        until: &CancellationToken,
    ) -> Result<Page<Message, MessageId>, Error> {
        let listen = filter.reaching.clone().map_or(Listen::All, Listen::Agent);
        // Subscribed before the first read, so that nothing falls between reading and waiting.
        let subscription = self.subscribe(listen.clone(), EventTypes::NONE.with(EventName::MessageNew))?;
        if let Listen::Agent(agent) = listen {
            let version = subscription.routes_version();
            subscription.set_routes(self.store.routes(agent).await?, version);
        }
        let deadline = tokio::time::Instant::now() + wait;
        loop {
            let messages = self.store.messages(filter.clone()).await?;
            let is_over = until.is_cancelled() || tokio::time::Instant::now() >= deadline;
            if !messages.entries.is_empty() || is_over {
                return Ok(messages);
            }
            if let Some(next) = messages.next {
                // There was more to look at than one read may; others had their turn meanwhile.
                filter.since = next;
                continue;
            }
            tokio::select! {
                _ = subscription.take() => {
                    if until.is_cancelled() {
                        return Ok(messages);
                    }
                }
                () = tokio::time::sleep_until(deadline) => return Ok(messages),
                () = until.cancelled() => return Ok(messages),
            }
        }
    }

    /// The id of the newest message, or 0.
    pub async fn latest_message_id(&self, caller: &Caller) -> Result<MessageId, Error> {
        caller.require(scopes::READ_MESSAGES)?;
        Ok(self.store.latest_message_id().await?)
    }

    /// One message, expired or not. A bound credential reads what its agent sent or got.
    pub async fn get_message(&self, caller: &Caller, id: MessageId) -> Result<Message, Error> {
        caller.require(scopes::READ_MESSAGES)?;
        let Some(agent) = &caller.agent_id else { return Ok(self.store.message(id).await?) };
        let routes = self.store.routes(agent.clone()).await?;
        let message = self.store.message(id).await?;
        if message.from != *agent && !routes.reach(&message.to, &message.from, message.id.into()) {
            return Err(Refusal::NotAddressed { work: message.id.into(), agent: agent.clone() }.into());
        }
        Ok(message)
    }

    /// A page of the thread of a message, oldest first, as far as the caller may read it, and the message after
    /// which the next page begins.
    pub async fn get_thread(
        &self,
        caller: &Caller,
        id: MessageId,
        since: MessageId,
        limit: Limit,
    ) -> Result<(Vec<Message>, Option<MessageId>), Error> {
        caller.require(scopes::READ_MESSAGES)?;
        // Asked first: a page does not wait in memory for another read.
        let bound = match &caller.agent_id {
            Some(agent) => Some((agent, self.store.routes(agent.clone()).await?)),
            None => None,
        };
        let page = self.store.thread(id, since, limit).await?;
        let next = page.next;
        let mut thread = page.entries;
        if let Some((agent, routes)) = bound {
            thread.retain(|message| {
                message.from == *agent || routes.reach(&message.to, &message.from, message.id.into())
            });
        }
        Ok((thread, next))
    }

    /// Marks a message read by an agent.
    pub async fn read_message(&self, caller: &Caller, id: MessageId, who: Claimant) -> Result<Message, Error> {
        caller.require(scopes::MARK_READ)?;
        let agent = who.agent(caller)?;
        self.store.touch(&agent);
        Ok(self.store.mark_read(id, agent, who.guard).await?)
    }

    /// Claims a message: exactly one agent holds it. `lease_ms` is 5 minutes unless given.
    pub async fn claim_message(
        &self,
        caller: &Caller,
        id: MessageId,
        who: Claimant,
        lease_ms: Option<i64>,
    ) -> Result<Message, Error> {
        caller.require(scopes::CLAIM)?;
        let agent = who.agent(caller)?;
        self.store.touch(&agent);
        Ok(self.store.claim(id, agent, who.guard, lease_ms).await?)
    }

    /// Prolongs a claim held with this generation, by its own length unless another is given.
    pub async fn renew_claim(
        &self,
        caller: &Caller,
        id: MessageId,
        who: Claimant,
        generation: Option<i64>,
        lease_ms: Option<i64>,
    ) -> Result<Message, Error> {
        let (agent, guard, generation) = self.holder(caller, who, generation)?;
        Ok(self.store.renew_claim(id, agent, guard, generation, lease_ms).await?)
    }

    /// Gives back a claim held with this generation.
    pub async fn release_claim(
        &self,
        caller: &Caller,
        id: MessageId,
        who: Claimant,
        generation: Option<i64>,
    ) -> Result<Message, Error> {
        let (agent, guard, generation) = self.holder(caller, who, generation)?;
        Ok(self.store.release_claim(id, agent, guard, generation).await?)
    }

    /// Finishes the work of a claim held with this generation, for good.
    pub async fn complete_claim(
        &self,
        caller: &Caller,
        id: MessageId,
        who: Claimant,
        generation: Option<i64>,
    ) -> Result<Message, Error> {
        let (agent, guard, generation) = self.holder(caller, who, generation)?;
        Ok(self.store.complete_claim(id, agent, guard, generation).await?)
    }

    /// Who says that it holds a claim with this generation, and gives a sign of life by it.
    fn holder(
        &self,
        caller: &Caller,
        who: Claimant,
        generation: Option<i64>,
    ) -> Result<(AgentId, SessionGuard, i64), Error> {
        caller.require(scopes::CLAIM)?;
        let (agent, generation) = (who.agent(caller)?, required(generation)?);
        self.store.touch(&agent);
        Ok((agent, who.guard, generation))
    }

    /// Deletes a message for good.
    pub async fn delete_message(&self, caller: &Caller, id: MessageId) -> Result<(), Error> {
        caller.require(scopes::DELETE_MESSAGE)?;
        Ok(self.store.delete_message(id).await?)
    }
}

pub(super) fn required(generation: Option<i64>) -> Result<i64, Refusal> {
    generation.ok_or_else(|| Refusal::invalid("claimGeneration required"))
}

fn check_sender(caller: &Caller, message: &NewMessage) -> Result<(), Refusal> {
    require_name(caller, &message.from)?;
    if Urgency::is_interrupting(&message.meta) && !caller.is_administrator() {
        let rule = "delivery \"interrupt\" needs a credential with scope admin, since no policy allows it to others";
        return Err(Refusal::NotAllowed(rule.to_owned()));
    }
    if message.kind == MessageType::System && !caller.is_administrator() {
        return Err(Refusal::NotAllowed("messages of type system need a credential with scope admin".to_owned()));
    }
    Ok(())
}

/// A key in the body counts as one beside it does; that one wins.
fn key_of_body(caller: &Caller, message: &NewMessage) -> Option<Idempotency> {
    let key = message.idempotency_key.clone()?;
    // With its members in the order of their names, as the body of any other request is bound to its key.
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Bound<'a> {
        body: &'a str,
        channel: &'a Option<String>,
        claimable: bool,
        expires_at: Option<Timestamp>,
        from: &'a AgentId,
        meta: &'a json::Object,
        reply_to: Option<MessageId>,
        subject: &'a Option<String>,
        to: &'a str,
        r#type: MessageType,
    }
    let NewMessage { body, channel, claimable, expires_at, from, meta, reply_to, subject, to, kind, .. } = message;
    let (claimable, expires_at, reply_to, r#type) = (*claimable, *expires_at, *reply_to, *kind);
    let bound = Bound { body, channel, claimable, expires_at, from, meta, reply_to, subject, to, r#type };
    let body = serde_json::to_string(&bound).ok()?;
    Some(Idempotency {
        scope: format!("{} POST /api/messages", caller.owner_of_keys()),
        key,
        fingerprint: Sha256::digest(body.as_bytes()).into(),
    })
}
