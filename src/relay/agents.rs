//! Agents: registering, finding, changing.

use super::{Error, Relay, scopes};
use crate::domain::agent::{
    Agent, AgentFilter, AgentPatch, AgentPlace, AttentionMode, ConditionKind, ConditionSource, NewCondition,
    Registration, SessionGuard, Standing, Whose, refuse_reserved,
};
use crate::domain::caller::{Caller, Scope};
use crate::domain::id::AgentId;
use crate::domain::page::Page;
use crate::domain::refusal::Refusal;
use crate::store::{Created, Idempotency};

/// What somebody says keeps an agent from working.
#[derive(Clone, Debug, Default)]
pub struct ConditionChange {
    /// What it is; nothing does any more when there is none.
    pub kind: Option<ConditionKind>,
    /// Until when, in milliseconds since the epoch, where that is known.
    pub until: Option<i64>,
    /// More for people, at most 1000 characters.
    pub detail: Option<String>,
}

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

    /// Where the agent that this credential is bound to is with its work, and a sign of life of it.
    pub async fn own_standing(&self, caller: &Caller) -> Result<Standing, Error> {
        caller.require(scopes::READ_MESSAGES)?;
        let agent = caller.agent_id.clone().ok_or_else(|| Refusal::invalid("the credential is bound to no agent"))?;
        Ok(self.store.standing(agent).await?)
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

    /// Says what keeps an agent from working, or that nothing does: the agent itself, the orchestrator that runs it,
    /// or an administrator.
    pub async fn set_condition(
        &self,
        caller: &Caller,
        id: AgentId,
        guard: SessionGuard,
        change: ConditionChange,
    ) -> Result<Agent, Error> {
        caller.require(scopes::SET_CONDITION)?;
        let source = if caller.is_administrator() {
            ConditionSource::User
        } else if self.is_run_by(caller, &id).await? {
            ConditionSource::Orchestrator
        } else {
            caller.require_identity(&id)?;
            // A credential that is bound to nobody acts as anybody that it has the scope of.
            let is_agent = caller.scopes.contains(&Scope::Agent);
            if is_agent { ConditionSource::Agent } else { ConditionSource::Orchestrator }
        };
        let ConditionChange { kind, until, detail } = change;
        let condition = kind.map(|kind| NewCondition::parse(kind, until, detail, source)).transpose()?;
        if source == ConditionSource::Agent {
            self.store.touch(&id);
        }
        Ok(self.store.patch_agent(id, guard, AgentPatch::Condition(condition)).await?)
    }

    /// Sets what an agent lets be shown to its session: the agent itself, or whoever may control it.
    pub async fn set_attention(
        &self,
        caller: &Caller,
        id: AgentId,
        guard: SessionGuard,
        mode: AttentionMode,
    ) -> Result<Agent, Error> {
        caller.require(scopes::SET_ATTENTION)?;
        let controls = caller.is_administrator() || caller.scopes.contains(&Scope::Control);
        if !controls {
            caller.require_identity(&id)?;
        }
        // Whoever is bound to another agent speaks for that one, whatever it may do besides.
        let is_own = !caller.is_administrator() && caller.agent_id.as_ref().is_none_or(|bound| *bound == id);
        let whose = if is_own && caller.scopes.contains(&Scope::Agent) { Whose::Own } else { Whose::Others };
        Ok(self.store.patch_agent(id, guard, AgentPatch::Attention(mode, whose)).await?)
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
