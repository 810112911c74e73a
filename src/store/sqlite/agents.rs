//! Agents: registering, finding, changing.

use rusqlite::{Connection, OptionalExtension, Row, params};
use serde_json::json;

use super::super::{Answer, Idempotency, StoreError};
use super::tx::{self, Tx, from_json};
use super::{Store, activity};
use crate::domain::activity::{ActivityKind, NewActivity};
use crate::domain::agent::{Agent, AgentStatus, Registration, SessionGuard};
use crate::domain::event::{Audience, EventName};
use crate::domain::refusal::Refusal;

/// Which agents to list.
#[derive(Clone, Debug, Default)]
pub struct AgentFilter {
    /// Only those with this status.
    pub status: Option<AgentStatus>,
    /// Only those with this tag.
    pub tag: Option<String>,
    /// Only those with this capability.
    pub capability: Option<String>,
    /// Only those with exactly this label.
    pub label: Option<String>,
    /// Only those on this machine.
    pub machine: Option<String>,
    /// Only those that take work, or that do not.
    pub ready: Option<bool>,
    /// Only those whose id, name, label, tags or capabilities hold this text.
    pub text: Option<String>,
    /// Live ones first instead of by id.
    pub live_first: bool,
    /// Only those after this id; with `live_first`, after it among those that are as live as it was.
    pub after: String,
    /// With `live_first`: whether the one to begin after was offline.
    pub after_offline: bool,
    /// At most this many.
    pub limit: usize,
}

/// A change to one agent.
#[derive(Clone, Debug)]
pub enum AgentPatch {
    /// How it is doing.
    Status(AgentStatus),
    /// Whether it takes work.
    Ready(bool),
    /// Its label.
    Label(Option<String>),
    /// Its tags.
    Tags(Vec<String>),
    /// A sign of life; with a status, that one.
    Heartbeat(Option<AgentStatus>),
}

const COLUMNS: &str =
    "id, name, label, tags, capabilities, machine, rig, status, ready, instance_id, epoch, meta, last_seen, created_at";

impl Store {
    /// Registers an agent, or a new session of one. The answer says whether it is new.
    pub async fn register(
        &self,
        registration: Registration,
        idempotency: Option<Idempotency>,
    ) -> Result<Answer, StoreError> {
        self.write(move |tx| {
            tx.once(idempotency.as_ref(), |tx| {
                let before = load(tx.connection, registration.id.as_deref().unwrap_or_default())?;
                if let (Some(agent), Some(epoch)) = (&before, registration.epoch) {
                    SessionGuard { instance_id: None, epoch: Some(epoch) }.check(agent)?;
                }
                let created = before.is_none();
                let epoch_before = before.as_ref().map(|agent| agent.epoch);
                let agent = registration.apply(before, tx.now);
                save(tx, &agent)?;
                // A repeated registration of the same session is no news.
                if epoch_before != Some(agent.epoch) {
                    let title = if created { "Agent registered" } else { "Agent session started" };
                    let entry = NewActivity {
                        meta: Some(agent.id.clone()),
                        agent_id: Some(agent.id.clone()),
                        view: Some("agents".to_owned()),
                        ..NewActivity::new(
                            ActivityKind::State,
                            format!("server-agent-register-{}-{}", activity::short(&agent.id), agent.epoch),
                            title,
                        )
                    };
                    activity::insert(tx, entry)?;
                }
                Ok(Answer { json: tx::json(&agent), replayed: false, created })
            })
        })
        .await
    }

    /// One agent.
    pub async fn agent(&self, id: String) -> Result<Agent, StoreError> {
        let store = self.clone();
        self.read(move |connection| {
            let mut agent = load(connection, &id)?.ok_or(Refusal::NotFound("agent"))?;
            store.freshen(&mut agent);
            Ok(agent)
        })
        .await
    }

    /// Agents, by id or live ones first.
    pub async fn agents(&self, filter: AgentFilter) -> Result<Vec<Agent>, StoreError> {
        let store = self.clone();
        self.read(move |connection| {
            // Never true, where the order is by id alone; a plain 0 would name a column.
            let first = if filter.live_first { "(status = 'offline')" } else { "(id IS NULL)" };
            let mut statement = connection.prepare_cached(&format!(
                "SELECT {COLUMNS} FROM agents
                 WHERE (?1 IS NULL OR status = ?1)
                   AND (?2 IS NULL OR EXISTS (SELECT 1 FROM json_each(tags) WHERE value = ?2))
                   AND (?3 IS NULL OR EXISTS (SELECT 1 FROM json_each(capabilities) WHERE value = ?3))
                   AND (?4 IS NULL OR label = ?4)
                   AND (?5 IS NULL OR machine = ?5)
                   AND (?6 IS NULL OR ready = ?6)
                   AND (?7 IS NULL OR instr(lower(id || char(10) || name || char(10) || coalesce(label, '')
                            || char(10) || tags || char(10) || capabilities), lower(?7)) > 0)
                   AND ({first}, id) > (?10, ?8)
                 ORDER BY {first}, id LIMIT ?9"
            ))?;
            let rows = statement.query_map(
                params![
                    filter.status.map(AgentStatus::as_str),
                    filter.tag,
                    filter.capability,
                    filter.label,
                    filter.machine,
                    filter.ready,
                    filter.text,
                    filter.after,
                    filter.limit as i64,
                    filter.live_first && filter.after_offline
                ],
                from_row,
            )?;
            let mut agents: Vec<Agent> = rows.collect::<Result<_, _>>()?;
            agents.iter_mut().for_each(|agent| store.freshen(agent));
            Ok(agents)
        })
        .await
    }

    /// Changes one agent. A heartbeat that changes nothing writes nothing.
    pub async fn patch_agent(&self, id: String, guard: SessionGuard, patch: AgentPatch) -> Result<Agent, StoreError> {
        if let AgentPatch::Heartbeat(status) = patch {
            let agent = self.agent(id.clone()).await?;
            guard.check(&agent)?;
            self.touch(&id);
            if agent.status != AgentStatus::Offline && status.is_none_or(|status| status == agent.status) {
                return Ok(agent);
            }
        }
        self.write(move |tx| {
            let mut agent = load(tx.connection, &id)?.ok_or(Refusal::NotFound("agent"))?;
            guard.check(&agent)?;
            match patch {
                AgentPatch::Status(status) | AgentPatch::Heartbeat(Some(status)) => agent.status = status,
                AgentPatch::Heartbeat(None) if agent.status == AgentStatus::Offline => {
                    agent.status = AgentStatus::Online;
                }
                AgentPatch::Heartbeat(None) => {}
                AgentPatch::Ready(ready) => agent.ready = ready,
                AgentPatch::Label(label) => agent.label = label,
                AgentPatch::Tags(tags) => agent.tags = tags,
            }
            agent.last_seen = tx.now;
            save(tx, &agent)?;
            Ok(agent)
        })
        .await
    }

    /// Removes an agent. Its messages stay.
    pub async fn remove_agent(&self, id: String, guard: SessionGuard) -> Result<(), StoreError> {
        self.write(move |tx| {
            let agent = load(tx.connection, &id)?.ok_or(Refusal::NotFound("agent"))?;
            guard.check(&agent)?;
            remove(tx, &id)
        })
        .await
    }

    /// Where the messages of an agent come from.
    pub async fn routes(&self, agent: String) -> Result<crate::domain::agent::Routes, StoreError> {
        self.read(move |connection| {
            Ok(load(connection, &agent)?
                .map_or_else(|| crate::domain::agent::Routes::unregistered(&agent), |card| card.routes()))
        })
        .await
    }

    fn freshen(&self, agent: &mut Agent) {
        if let Some(at) = self.heard_from(&agent.id) {
            agent.last_seen = agent.last_seen.max(at);
        }
    }
}

pub(super) fn load(connection: &Connection, id: &str) -> Result<Option<Agent>, StoreError> {
    Ok(connection
        .prepare_cached(&format!("SELECT {COLUMNS} FROM agents WHERE id = ?1"))?
        .query_row([id], from_row)
        .optional()?)
}

/// Writes a card, tells its streams, and announces it.
pub(super) fn save(tx: &mut Tx<'_>, agent: &Agent) -> Result<(), StoreError> {
    tx.sql(
        "INSERT INTO agents (id, name, label, tags, capabilities, machine, rig, status, ready, instance_id, epoch,
                             meta, last_seen, created_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)
         ON CONFLICT (id) DO UPDATE SET name = excluded.name, label = excluded.label, tags = excluded.tags,
             capabilities = excluded.capabilities, machine = excluded.machine, rig = excluded.rig,
             status = excluded.status, ready = excluded.ready, instance_id = excluded.instance_id,
             epoch = excluded.epoch, meta = excluded.meta, last_seen = excluded.last_seen",
    )?
    .execute(params![
        agent.id,
        agent.name,
        agent.label,
        tx::json(&agent.tags),
        tx::json(&agent.capabilities),
        agent.machine,
        agent.rig,
        agent.status.as_str(),
        agent.ready,
        agent.instance_id,
        agent.epoch,
        tx::json(&agent.meta),
        agent.last_seen,
        agent.created_at
    ])?;
    tx.routes_changed(agent);
    tx.emit(EventName::AgentStatus, Audience::only(&agent.id), agent)
}

/// Removes a card and what only it could use.
pub(super) fn remove(tx: &mut Tx<'_>, id: &str) -> Result<(), StoreError> {
    tx.sql("DELETE FROM agents WHERE id = ?1")?.execute([id])?;
    tx.sql("DELETE FROM tokens WHERE agent_id = ?1")?.execute([id])?;
    tx.routes_removed(id);
    tx.emit(EventName::AgentRemoved, Audience::only(id), &json!({"id": id}))
}

pub(super) fn from_row(row: &Row<'_>) -> Result<Agent, rusqlite::Error> {
    let (tags, capabilities, status, meta): (String, String, String, String) =
        (row.get(3)?, row.get(4)?, row.get(7)?, row.get(11)?);
    Ok(Agent {
        id: row.get(0)?,
        name: row.get(1)?,
        label: row.get(2)?,
        tags: from_json(&tags)?,
        capabilities: from_json(&capabilities)?,
        machine: row.get(5)?,
        rig: row.get(6)?,
        status: AgentStatus::parse(&status).unwrap_or(AgentStatus::Offline),
        ready: row.get(8)?,
        instance_id: row.get(9)?,
        epoch: row.get(10)?,
        meta: from_json(&meta)?,
        last_seen: row.get(12)?,
        created_at: row.get(13)?,
    })
}
