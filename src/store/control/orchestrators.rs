//! Orchestrators: registering, hearing from them, what they run.

use std::collections::{HashMap, HashSet};

use serde_json::json;

use crate::domain::agent::SessionGuard;
use crate::domain::audit;
use crate::domain::control::orchestrator::{ManagedAgent, NewOrchestrator, Orchestrator, OrchestratorStatus};
use crate::domain::event::{Audience, EventName};
use crate::domain::id::{AgentId, OrchestratorId};
use crate::domain::page::{Filling, Limit, Page};
use crate::domain::refusal::Refusal;
use crate::store::control::commands;
use crate::store::engine::stored;
use crate::store::messages::deliveries;
use crate::store::tx::{Snapshot, Tx};
use crate::store::{Created, Idempotency, Json, Store, StoreError, activity, agents, tokens};

stored! {
    stored Orchestrator in orchestrators {
        id, hostname, status, providers as json, base_dir, env_keys as json, meta as json, managed_agents as json,
        last_seen, created_at, instance_id, epoch,
    }
    // Follows from the id: see `with_agent`.
    beside { agent_id: AgentId::from(String::new()) }
}

impl Store {
    /// Registers an orchestrator, or hears from one again; what it runs is kept. Makes its agent.
    pub async fn register_orchestrator(
        &self,
        new: NewOrchestrator,
        idempotency: Option<Idempotency>,
    ) -> Result<Created<Orchestrator>, StoreError> {
        self.write(move |tx| {
            tx.once(idempotency.as_ref(), |tx| {
                let before = load(tx, &new.id)?;
                let orchestrator = new.apply(before, tx.now)?;
                save(tx, &orchestrator)?;
                save_agent(tx, &orchestrator)?;
                activity::insert(tx, audit::orchestrator_registered(&orchestrator, tx.now))?;
                Ok(Created::new(Json::of(&orchestrator)))
            })
        })
        .await
    }

    /// One orchestrator.
    pub async fn orchestrator(&self, id: OrchestratorId) -> Result<Orchestrator, StoreError> {
        let store = self.clone();
        self.read(move |snapshot| {
            let mut orchestrator = load(snapshot, &id)?.ok_or(Refusal::NotFound("orchestrator"))?;
            store.freshen_orchestrator(&mut orchestrator);
            Ok(orchestrator)
        })
        .await
    }

    /// All orchestrators, by id.
    pub async fn orchestrators(&self) -> Result<Vec<Orchestrator>, StoreError> {
        let store = self.clone();
        self.read_page(move |snapshot| {
            let mut all: Vec<_> = snapshot.rows("ORDER BY id", &[])?.into_iter().map(with_agent).collect();
            all.iter_mut().for_each(|orchestrator| store.freshen_orchestrator(orchestrator));
            Ok(all)
        })
        .await
    }

    /// A page of orchestrators, by id: those with a greater one than `after`.
    pub async fn orchestrators_after(
        &self,
        after: Option<OrchestratorId>,
        limit: Limit,
    ) -> Result<Page<Orchestrator, OrchestratorId>, StoreError> {
        let store = self.clone();
        self.read(move |snapshot| {
            let mut page = Filling::new(limit);
            snapshot.each("WHERE id > $1 ORDER BY id LIMIT $2", &[&after.as_deref().unwrap_or(""), &limit], |row| {
                let mut orchestrator = with_agent(row);
                store.freshen_orchestrator(&mut orchestrator);
                page.take(orchestrator)
            })?;
            Ok(page.finish(|last| last.id.clone()))
        })
        .await
    }

    /// Hears from an orchestrator; writes only when that changes something.
    pub async fn heartbeat_orchestrator(&self, id: OrchestratorId, guard: SessionGuard) -> Result<(), StoreError> {
        let orchestrator = self.orchestrator(id.clone()).await?;
        guard.check_orchestrator(&orchestrator)?;
        self.touch(&orchestrator.agent_id);
        if orchestrator.status == OrchestratorStatus::Online {
            return Ok(());
        }
        self.write(move |tx| {
            let mut orchestrator = load(tx, &id)?.ok_or(Refusal::NotFound("orchestrator"))?;
            guard.check_orchestrator(&orchestrator)?;
            orchestrator.status = OrchestratorStatus::Online;
            orchestrator.last_seen = tx.now;
            save(tx, &orchestrator)?;
            save_agent(tx, &orchestrator)
        })
        .await
    }

    /// Notes that the daemon of an orchestrator ends; what it runs goes on.
    pub async fn dismiss_orchestrator(&self, id: OrchestratorId, guard: SessionGuard) -> Result<(), StoreError> {
        self.write(move |tx| {
            let orchestrator = load(tx, &id)?.ok_or(Refusal::NotFound("orchestrator"))?;
            guard.check_orchestrator(&orchestrator)?;
            silence_agent(tx, &orchestrator.agent_id)?;
            go_offline(tx, orchestrator)
        })
        .await
    }

    /// Replaces the list of agents an orchestrator runs.
    pub async fn set_managed_agents(
        &self,
        id: OrchestratorId,
        list: Vec<ManagedAgent>,
        guard: SessionGuard,
    ) -> Result<Orchestrator, StoreError> {
        self.write(move |tx| {
            let mut orchestrator = load(tx, &id)?.ok_or(Refusal::NotFound("orchestrator"))?;
            guard.check_orchestrator(&orchestrator)?;
            let before = std::mem::replace(&mut orchestrator.managed_agents, list);
            orchestrator.last_seen = tx.now;
            save(tx, &orchestrator)?;
            let kept: HashSet<_> = orchestrator.managed_agents.iter().map(|agent| &agent.agent_id).collect();
            for gone in before.iter().filter(|agent| !kept.contains(&agent.agent_id)) {
                tokens::end_managed_by(tx, &orchestrator.agent_id, &gone.agent_id)?;
                deliveries::end(tx, &gone.agent_id, &orchestrator.agent_id)?;
            }
            let known: HashMap<_, _> = before.iter().map(|agent| (&agent.agent_id, agent)).collect();
            for agent in &orchestrator.managed_agents {
                if known.get(&agent.agent_id).is_none_or(|before| !agent.is_session_of(before)) {
                    deliveries::begin(tx, &agent.agent_id, &orchestrator.agent_id)?;
                }
            }
            Ok(orchestrator)
        })
        .await
    }

    /// Removes an orchestrator: its agent goes offline and its open commands fail.
    pub async fn remove_orchestrator(&self, id: OrchestratorId) -> Result<(), StoreError> {
        self.write(move |tx| {
            let orchestrator = load(tx, &id)?.ok_or(Refusal::NotFound("orchestrator"))?;
            let Orchestrator { agent_id, managed_agents, .. } = orchestrator;
            tx.execute("DELETE FROM orchestrators WHERE id = $1", &[&id])?;
            for agent in managed_agents {
                tokens::end_managed_by(tx, &agent_id, &agent.agent_id)?;
                deliveries::end(tx, &agent.agent_id, &agent_id)?;
            }
            silence_agent(tx, &agent_id)?;
            commands::fail_open_of(tx, &agent_id, "the orchestrator was removed")?;
            activity::insert(tx, audit::orchestrator_removed(&id, tx.now))?;
            tx.emit(EventName::OrchestratorRemoved, Audience::only(&agent_id), &json!({"id": id}))
        })
        .await
    }

    /// The agent of the orchestrator that was told to start this one, if any was.
    pub async fn told_to_start(&self, agent: AgentId) -> Result<Option<AgentId>, StoreError> {
        self.read(move |snapshot| told_to_start(snapshot, &agent)).await
    }

    fn freshen_orchestrator(&self, orchestrator: &mut Orchestrator) {
        if let Some(at) = self.heard_from(&orchestrator.agent_id) {
            orchestrator.last_seen = orchestrator.last_seen.max(at);
        }
    }
}

pub(in crate::store) fn load(snapshot: &Snapshot<'_>, id: &OrchestratorId) -> Result<Option<Orchestrator>, StoreError> {
    Ok(snapshot.row("WHERE id = $1", &[id])?.map(with_agent))
}

/// The agent of the orchestrator that was told to start this one, if any was.
pub(in crate::store) fn told_to_start(snapshot: &Snapshot<'_>, agent: &AgentId) -> Result<Option<AgentId>, StoreError> {
    snapshot.value("SELECT target FROM commands WHERE agent_id = $1 ORDER BY id DESC LIMIT 1", &[agent])
}

fn with_agent(orchestrator: Orchestrator) -> Orchestrator {
    Orchestrator { agent_id: orchestrator.id.agent_id(), ..orchestrator }
}

pub(in crate::store) fn save(tx: &mut Tx<'_>, orchestrator: &Orchestrator) -> Result<(), StoreError> {
    tx.upsert(orchestrator)?;
    tx.emit(EventName::OrchestratorStatus, Audience::only(&orchestrator.agent_id), orchestrator)
}

/// Writes down that an orchestrator is not there.
pub(in crate::store) fn go_offline(tx: &mut Tx<'_>, mut orchestrator: Orchestrator) -> Result<(), StoreError> {
    if orchestrator.status == OrchestratorStatus::Offline {
        return Ok(());
    }
    orchestrator.status = OrchestratorStatus::Offline;
    save(tx, &orchestrator)
}

/// The agent under which it gets its messages is not there either. What was heard of it up to now does not bring it back.
fn silence_agent(tx: &mut Tx<'_>, id: &AgentId) -> Result<(), StoreError> {
    let Some(before) = agents::load(tx, id)? else { return Ok(()) };
    let mut agent = before.clone();
    agent.go_offline();
    agent.last_seen = tx.now;
    agents::save(tx, Some(&before), &agent)
}

/// Makes or renews the agent under which an orchestrator gets its messages.
fn save_agent(tx: &mut Tx<'_>, orchestrator: &Orchestrator) -> Result<(), StoreError> {
    let before = agents::load(tx, &orchestrator.agent_id)?;
    let agent = orchestrator.agent(before.clone(), tx.now, tx.last_seq());
    agents::save(tx, before.as_ref(), &agent)
}
