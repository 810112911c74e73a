//! Agents: registering, finding, changing.

use super::{Error, Relay, scopes};
use crate::domain::agent::{Agent, AgentFilter, AgentPatch, AgentPlace, Registration, SessionGuard, refuse_reserved};
use crate::domain::caller::Caller;
use crate::domain::id::AgentId;
use crate::domain::page::Page;
use crate::store::{Created, Idempotency};

impl Relay {
    /// Registers an agent, or a new session of one. A bound credential registers its own agent alone.
    pub async fn register_agent(
        &self,
        caller: &Caller,
        registration: Registration,
        key: Option<Idempotency>,
    ) -> Result<Created<Agent>, Error> {
        caller.require(scopes::REGISTER_AGENT)?;
        let registration = registration.parse()?;
        caller.require_identity(&registration.id)?;
        Ok(self.store.register(registration, key).await?)
    }

    /// A page of agents, by id or live ones first.
    pub async fn list_agents(&self, caller: &Caller, filter: AgentFilter) -> Result<Page<Agent, AgentPlace>, Error> {
        caller.require(scopes::READ_AGENTS)?;
        Ok(self.store.agents(filter).await?)
    }

    /// One agent.
    pub async fn get_agent(&self, caller: &Caller, id: AgentId) -> Result<Agent, Error> {
        caller.require(scopes::READ_AGENTS)?;
        Ok(self.store.agent(id).await?)
    }

    /// Changes one agent; the session that speaks for it must be the current one where `guard` names one.
    pub async fn change_agent(
        &self,
        caller: &Caller,
        id: AgentId,
        guard: SessionGuard,
        patch: AgentPatch,
    ) -> Result<Agent, Error> {
        caller.require(scopes::CHANGE_AGENT)?;
        caller.require_identity(&id)?;
        Ok(self.store.patch_agent(id, guard, patch).await?)
    }

    /// Removes an agent; its messages stay. A session of this host that runs for it is ended: nobody could find it
    /// any more.
    pub async fn remove_agent(&self, caller: &Caller, id: AgentId, guard: SessionGuard) -> Result<(), Error> {
        caller.require(scopes::REMOVE_AGENT)?;
        caller.require_identity(&id)?;
        refuse_reserved(&id)?;
        let session = self.own_session(&id).await?.filter(|(session, _)| session.ended_at.is_none());
        self.store.remove_agent(id, guard).await?;
        if let Some((session, name)) = session {
            self.end_without_card(session, name);
        }
        Ok(())
    }
}
