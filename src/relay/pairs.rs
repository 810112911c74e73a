//! Pairs: two agents in a focused exchange.

use super::messages::Claimant;
use super::messages::senders::require_name;
use super::{Error, Relay, scopes};
use crate::domain::agent::{SYSTEM, SessionGuard};
use crate::domain::caller::Caller;
use crate::domain::id::{AgentId, PairId};
use crate::domain::message::Message;
use crate::domain::page::Page;
use crate::domain::pair::{Pair, PairFilter, PairRequest, PairStep};
use crate::domain::refusal::Refusal;
use crate::domain::text;
use crate::store::{Created, Idempotency};

/// What one of the two says to the other.
#[derive(Clone, Debug, Default)]
pub struct Talk {
    /// Who says it; the credential's own agent when left out.
    pub from: Option<String>,
    /// The text, at most 256 KiB.
    pub body: Option<String>,
    /// The session that speaks.
    pub guard: SessionGuard,
}

impl Relay {
    /// Asks for a pair. Either agent is in no other one that is pending or active.
    pub async fn request_pair(
        &self,
        caller: &Caller,
        request: PairRequest,
        key: Option<Idempotency>,
    ) -> Result<Created<Pair>, Error> {
        caller.require(scopes::PAIR)?;
        let new = request.parse(caller.agent_id.as_ref())?;
        if new.target == SYSTEM {
            return Err(Refusal::ReservedId(SYSTEM.to_owned()).into());
        }
        self.speak(caller, &new.requester)?;
        Ok(self.store.request_pair(new, key).await?)
    }

    /// A page of pairs, newest first, and the filter that it has. A bound credential gets those of its own agent.
    pub async fn list_pairs(
        &self,
        caller: &Caller,
        mut filter: PairFilter,
    ) -> Result<(Page<Pair, PairId>, PairFilter), Error> {
        caller.require(scopes::READ_PAIRS)?;
        if let Some(bound) = &caller.agent_id {
            caller.require_identity(filter.agent.get_or_insert_with(|| bound.clone()))?;
        }
        Ok((self.store.pairs(filter.clone()).await?, filter))
    }

    /// One pair. A bound credential gets one of its own agent.
    pub async fn get_pair(&self, caller: &Caller, id: PairId) -> Result<Pair, Error> {
        caller.require(scopes::READ_PAIRS)?;
        let pair = self.store.pair(id).await?;
        if let Some(bound) = &caller.agent_id {
            pair.other_than(bound)?;
        }
        Ok(pair)
    }

    /// One of the two accepts, rejects or ends it.
    pub async fn step_pair(&self, caller: &Caller, id: PairId, who: Claimant, step: PairStep) -> Result<Pair, Error> {
        caller.require(scopes::PAIR)?;
        let agent = who.agent(caller)?;
        self.speak(caller, &agent)?;
        Ok(self.store.step_pair(id, agent, who.guard, step).await?)
    }

    /// One of the two says something to the other: a message in the pair's thread, with `meta.pairId`.
    pub async fn talk_in_pair(
        &self,
        caller: &Caller,
        id: PairId,
        talk: Talk,
        key: Option<Idempotency>,
    ) -> Result<Created<Message>, Error> {
        caller.require(scopes::TALK_IN_PAIR)?;
        let Talk { from, body, guard } = talk;
        let from = AgentId::optional("from", from)?
            .or_else(|| caller.agent_id.clone())
            .ok_or_else(|| Refusal::invalid("from required"))?;
        let body = text::long("body", body, text::BODY_BYTES_MAX)?.ok_or_else(|| Refusal::invalid("body required"))?;
        self.speak(caller, &from)?;
        let sender = self.sender(caller, &from);
        Ok(self.store.talk_in_pair(id, from, sender, guard, body, key).await?)
    }

    /// Lets the caller act as this agent, which is a sign of life of it.
    fn speak(&self, caller: &Caller, agent: &AgentId) -> Result<(), Refusal> {
        require_name(caller, agent)?;
        self.store.touch(agent);
        Ok(())
    }
}
