//! Orchestrators: registering, hearing from them, what they run.

use rusqlite::{Connection, OptionalExtension, Row, params};
use serde_json::{Map, Value, json};

use super::super::{Answer, Idempotency, StoreError};
use super::tx::{self, Tx, from_json};
use super::{Store, activity, agents, commands};
use crate::domain::activity::NewActivity;
use crate::domain::agent::{Agent, AgentStatus};
use crate::domain::event::{Audience, EventName};
use crate::domain::orchestrator::{ManagedAgent, Orchestrator, OrchestratorStatus};
use crate::domain::refusal::Refusal;

const COLUMNS: &str =
    "id, hostname, status, providers, base_dir, env_keys, meta, managed_agents, last_seen, created_at";

impl Store {
    /// Registers an orchestrator, or hears from one again; what it runs is kept. Makes its agent.
    pub async fn register_orchestrator(
        &self,
        mut orchestrator: Orchestrator,
        entry: NewActivity,
        idempotency: Option<Idempotency>,
    ) -> Result<Answer, StoreError> {
        self.write(move |tx| {
            tx.once(idempotency.as_ref(), |tx| {
                if let Some(before) = load(tx.connection, &orchestrator.id)? {
                    orchestrator.managed_agents = before.managed_agents;
                    orchestrator.created_at = before.created_at;
                }
                save(tx, &orchestrator)?;
                let before = agents::load(tx.connection, &orchestrator.agent_id)?;
                agents::save(tx, &agent_of(&orchestrator, before, tx.now))?;
                activity::insert(tx, entry)?;
                Ok(Answer { json: tx::json(&orchestrator), replayed: false, created: true })
            })
        })
        .await
    }

    /// One orchestrator.
    pub async fn orchestrator(&self, id: String) -> Result<Orchestrator, StoreError> {
        let store = self.clone();
        self.read(move |connection| {
            let mut orchestrator = load(connection, &id)?.ok_or(Refusal::NotFound("orchestrator"))?;
            store.freshen_orchestrator(&mut orchestrator);
            Ok(orchestrator)
        })
        .await
    }

    /// All orchestrators, by id.
    pub async fn orchestrators(&self) -> Result<Vec<Orchestrator>, StoreError> {
        let store = self.clone();
        self.read(move |connection| {
            let mut all = all(connection)?;
            all.iter_mut().for_each(|orchestrator| store.freshen_orchestrator(orchestrator));
            Ok(all)
        })
        .await
    }

    /// Hears from an orchestrator; writes only when that changes something.
    pub async fn heartbeat_orchestrator(&self, id: String) -> Result<(), StoreError> {
        let orchestrator = self.orchestrator(id.clone()).await?;
        self.touch(&orchestrator.agent_id);
        if orchestrator.status == OrchestratorStatus::Online {
            return Ok(());
        }
        self.write(move |tx| {
            let mut orchestrator = load(tx.connection, &id)?.ok_or(Refusal::NotFound("orchestrator"))?;
            orchestrator.status = OrchestratorStatus::Online;
            orchestrator.last_seen = tx.now;
            save(tx, &orchestrator)?;
            let before = agents::load(tx.connection, &orchestrator.agent_id)?;
            agents::save(tx, &agent_of(&orchestrator, before, tx.now))
        })
        .await
    }

    /// Replaces the list of agents an orchestrator runs.
    pub async fn set_managed_agents(&self, id: String, list: Vec<ManagedAgent>) -> Result<Orchestrator, StoreError> {
        self.write(move |tx| {
            let mut orchestrator = load(tx.connection, &id)?.ok_or(Refusal::NotFound("orchestrator"))?;
            orchestrator.managed_agents = list;
            orchestrator.last_seen = tx.now;
            save(tx, &orchestrator)?;
            Ok(orchestrator)
        })
        .await
    }

    /// Removes an orchestrator: its agent goes offline and its open commands fail.
    pub async fn remove_orchestrator(&self, id: String, entry: NewActivity) -> Result<(), StoreError> {
        self.write(move |tx| {
            let orchestrator = load(tx.connection, &id)?.ok_or(Refusal::NotFound("orchestrator"))?;
            tx.sql("DELETE FROM orchestrators WHERE id = ?1")?.execute([&id])?;
            if let Some(mut agent) = agents::load(tx.connection, &orchestrator.agent_id)? {
                agent.status = AgentStatus::Offline;
                agent.last_seen = tx.now;
                agents::save(tx, &agent)?;
            }
            commands::fail_open_of(tx, &orchestrator.agent_id, "the orchestrator was removed")?;
            activity::insert(tx, entry)?;
            tx.emit(EventName::OrchestratorRemoved, Audience::only(&orchestrator.agent_id), &json!({"id": id}))
        })
        .await
    }

    fn freshen_orchestrator(&self, orchestrator: &mut Orchestrator) {
        if let Some(at) = self.heard_from(&orchestrator.agent_id) {
            orchestrator.last_seen = orchestrator.last_seen.max(at);
        }
    }
}

pub(super) fn load(connection: &Connection, id: &str) -> Result<Option<Orchestrator>, StoreError> {
    Ok(connection
        .prepare_cached(&format!("SELECT {COLUMNS} FROM orchestrators WHERE id = ?1"))?
        .query_row([id], from_row)
        .optional()?)
}

pub(super) fn all(connection: &Connection) -> Result<Vec<Orchestrator>, StoreError> {
    let mut statement = connection.prepare_cached(&format!("SELECT {COLUMNS} FROM orchestrators ORDER BY id"))?;
    let rows = statement.query_map([], from_row)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

pub(super) fn save(tx: &mut Tx<'_>, orchestrator: &Orchestrator) -> Result<(), StoreError> {
    tx.sql(
        "INSERT INTO orchestrators (id, hostname, status, providers, base_dir, env_keys, meta, managed_agents,
                                    last_seen, created_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)
         ON CONFLICT (id) DO UPDATE SET hostname = excluded.hostname, status = excluded.status,
             providers = excluded.providers, base_dir = excluded.base_dir, env_keys = excluded.env_keys,
             meta = excluded.meta, managed_agents = excluded.managed_agents, last_seen = excluded.last_seen",
    )?
    .execute(params![
        orchestrator.id,
        orchestrator.hostname,
        orchestrator.status.as_str(),
        tx::json(&orchestrator.providers),
        orchestrator.base_dir,
        tx::json(&orchestrator.env_keys),
        tx::json(&orchestrator.meta),
        tx::json(&orchestrator.managed_agents),
        orchestrator.last_seen,
        orchestrator.created_at
    ])?;
    tx.emit(EventName::OrchestratorStatus, Audience::only(&orchestrator.agent_id), orchestrator)
}

/// The agent under which an orchestrator gets its messages.
fn agent_of(orchestrator: &Orchestrator, before: Option<Agent>, now: i64) -> Agent {
    let mut meta = Map::new();
    meta.insert("kind".to_owned(), Value::from("orchestrator"));
    meta.insert("orchestratorId".to_owned(), Value::from(orchestrator.id.as_str()));
    let created_at = before.as_ref().map_or(now, |agent| agent.created_at);
    Agent {
        id: orchestrator.agent_id.clone(),
        name: orchestrator.id.clone(),
        label: None,
        tags: vec!["orchestrator".to_owned()],
        capabilities: Vec::new(),
        machine: Some(orchestrator.hostname.clone()),
        rig: None,
        status: AgentStatus::Online,
        ready: true,
        instance_id: before.as_ref().and_then(|agent| agent.instance_id.clone()),
        epoch: before.map_or(1, |agent| agent.epoch),
        meta,
        last_seen: now,
        created_at,
    }
}

fn from_row(row: &Row<'_>) -> Result<Orchestrator, rusqlite::Error> {
    let id: String = row.get(0)?;
    let (status, providers, env_keys, meta, managed): (String, String, String, String, String) =
        (row.get(2)?, row.get(3)?, row.get(5)?, row.get(6)?, row.get(7)?);
    Ok(Orchestrator {
        agent_id: format!("orchestrator-{id}"),
        id,
        hostname: row.get(1)?,
        status: if status == OrchestratorStatus::Online.as_str() {
            OrchestratorStatus::Online
        } else {
            OrchestratorStatus::Offline
        },
        providers: from_json(&providers)?,
        base_dir: row.get(4)?,
        env_keys: from_json(&env_keys)?,
        meta: from_json(&meta)?,
        managed_agents: from_json(&managed)?,
        last_seen: row.get(8)?,
        created_at: row.get(9)?,
    })
}
