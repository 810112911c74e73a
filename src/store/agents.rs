//! Agents: registering, finding, changing.

use serde_json::json;

use super::control::fleet;
use super::engine::{Conditions, Read, stored};
use super::messages::{bounces, channels, deliveries};
use super::tx::{Snapshot, Tx};
use super::{Created, Idempotency, Json, Store, StoreError, activity, attention, pairs, tokens};
use crate::domain::agent::{
    Agent, AgentFilter, AgentPatch, AgentPlace, ConditionFilter, NewRegistration, Registered, Routes, SessionGuard,
};
use crate::domain::attention::Cause;
use crate::domain::audit;
use crate::domain::event::{Audience, EventName};
use crate::domain::id::AgentId;
use crate::domain::message::BounceReason;
use crate::domain::page::{Filling, Page};
use crate::domain::refusal::Refusal;

stored! {
    stored Agent in agents {
        id, name, label, tags as json, capabilities as json, machine, rig, status, ready, instance_id, epoch,
        meta as json, last_seen, created_at, joined_after,
        condition as json_or_null, ready_otherwise, attention,
    }
}

impl Store {
    /// Registers an agent, or a new session of one. The answer says whether it is new.
    pub async fn register(
        &self,
        registration: NewRegistration,
        idempotency: Option<Idempotency>,
    ) -> Result<Created<Agent>, StoreError> {
        self.write(move |tx| {
            tx.once(idempotency.as_ref(), |tx| {
                let before = load(tx, &registration.id)?;
                let mut registered = registration.apply(before.clone(), tx.now)?;
                if registered.created {
                    registered.agent.joined_after = tx.last_seq();
                }
                save(tx, before.as_ref(), &registered.agent)?;
                if registered.new_session {
                    activity::insert(tx, audit::agent_registered(&registered))?;
                }
                let Registered { agent, created, .. } = registered;
                Ok(Created { json: Json::of(&agent), replayed: false, created })
            })
        })
        .await
    }

    /// One agent.
    pub async fn agent(&self, id: AgentId) -> Result<Agent, StoreError> {
        let store = self.clone();
        self.read(move |snapshot| {
            let mut agent = load(snapshot, &id)?.ok_or(Refusal::NotFound("agent"))?;
            store.freshen(&mut agent);
            Ok(agent)
        })
        .await
    }

    /// Agents, by id or live ones first.
    pub async fn agents(&self, filter: AgentFilter) -> Result<Page<Agent, AgentPlace>, StoreError> {
        let store = self.clone();
        self.read_page(move |snapshot| {
            let mut page = find(snapshot, &filter)?;
            page.entries.iter_mut().for_each(|agent| store.freshen(agent));
            Ok(page)
        })
        .await
    }

    /// Changes one agent. A heartbeat that changes nothing writes nothing.
    pub async fn patch_agent(&self, id: AgentId, guard: SessionGuard, patch: AgentPatch) -> Result<Agent, StoreError> {
        if let AgentPatch::Heartbeat(_) = patch {
            let agent = self.agent(id.clone()).await?;
            guard.check(&agent)?;
            self.touch(&id);
            if patch.is_no_news_of(&agent) {
                return Ok(agent);
            }
        }
        self.write(move |tx| {
            let before = load(tx, &id)?.ok_or(Refusal::NotFound("agent"))?;
            guard.check(&before)?;
            let mut agent = before.clone();
            patch.apply(&mut agent, tx.now);
            save(tx, Some(&before), &agent)?;
            Ok(agent)
        })
        .await
    }

    /// Removes an agent. Its messages stay.
    pub async fn remove_agent(&self, id: AgentId, guard: SessionGuard) -> Result<(), StoreError> {
        self.write(move |tx| {
            let agent = load(tx, &id)?.ok_or(Refusal::NotFound("agent"))?;
            guard.check(&agent)?;
            remove(tx, id, BounceReason::Deleted)?;
            bounces::tell_first(tx)
        })
        .await
    }

    /// Which messages and events reach an agent.
    pub async fn routes(&self, agent: AgentId) -> Result<Routes, StoreError> {
        self.read(move |snapshot| routes(snapshot, &agent)).await
    }

    fn freshen(&self, agent: &mut Agent) {
        if let Some(at) = self.heard_from(&agent.id) {
            agent.last_seen = agent.last_seen.max(at);
        }
    }
}

pub(super) fn load(snapshot: &Snapshot<'_>, id: &AgentId) -> Result<Option<Agent>, StoreError> {
    snapshot.row("WHERE id = $1", &[id])
}

pub(super) fn routes(snapshot: &Snapshot<'_>, id: &AgentId) -> Result<Routes, StoreError> {
    Ok(load(snapshot, id)?.map_or_else(|| Routes::unregistered(id.clone()), |card| card.routes()))
}

/// How many cards one request looks at.
const LOOKS_MAX: i64 = 5_000;

stored! { read AgentPlace in agents { is_offline = "CASE WHEN status = 'offline' THEN 1 ELSE 0 END", id } }

fn find(snapshot: &Snapshot<'_>, filter: &AgentFilter) -> Result<Page<Agent, AgentPlace>, StoreError> {
    let mut page = Filling::new(filter.limit);
    // By id, or the live ones by id and then the others.
    let mut after = filter.after.as_deref().unwrap_or_default();
    let parts: &[Option<bool>] = match (filter.live_first, filter.after_offline) {
        (false, _) => &[None],
        (true, false) => &[Some(false), Some(true)],
        (true, true) => &[Some(true)],
    };
    for part in parts {
        let list = List { filter, is_offline: *part, after };
        let furthest = list.fill(snapshot, &mut page)?;
        if page.is_full() {
            break;
        }
        if furthest.is_some() {
            return Ok(page.finish_at(furthest, |last| AgentPlace::from(last)));
        }
        after = "";
    }
    Ok(page.finish(|last| AgentPlace::from(last)))
}

/// Agents in the order of their ids.
struct List<'f> {
    filter: &'f AgentFilter,
    /// Only those that are offline, or that are not.
    is_offline: Option<bool>,
    after: &'f str,
}

impl List<'_> {
    fn narrow<'q>(&'q self, query: &mut Conditions<'q>) {
        match self.is_offline {
            None => {}
            Some(false) => query.add("status <> 'offline'", &[]),
            Some(true) => query.add("status = 'offline'", &[]),
        }
        // Few are in a condition: they are what is walked.
        match &self.filter.condition {
            None => {}
            Some(ConditionFilter::Any) => query.add("condition_kind IS NOT NULL", &[]),
            Some(ConditionFilter::Kind(kind)) => query.add("condition_kind = ?", &[kind]),
        }
        query.add("id > ?", &[&self.after]);
    }

    /// Up to where so many cards may be looked at; `None` when there are fewer, or when each that is looked at is
    /// found.
    fn furthest(&self, snapshot: &Snapshot<'_>) -> Result<Option<AgentPlace>, StoreError> {
        if self.filter.takes_all() {
            return Ok(None);
        }
        let mut query = Conditions::after(AgentPlace::select());
        self.narrow(&mut query);
        query.push(" ORDER BY id LIMIT 1 OFFSET ?", &[&(LOOKS_MAX - 1)]);
        let (sql, values) = query.parts();
        Ok(snapshot.rows_of(sql, values)?.pop())
    }

    /// Adds what matches to a page, and answers where the looking ended if there may be more.
    fn fill(&self, snapshot: &Snapshot<'_>, page: &mut Filling<Agent>) -> Result<Option<AgentPlace>, StoreError> {
        let filter = self.filter;
        let furthest = self.furthest(snapshot)?;
        let limit = i64::try_from(page.room()).unwrap_or(i64::MAX);
        let tag = filter.tag.as_ref().map(|tag| format!("tag:{tag}"));
        let capability = filter.capability.as_ref().map(|capability| format!("cap:{capability}"));
        let text = filter.text.as_deref().map(containing);
        let mut query = Conditions::after(Agent::select());
        self.narrow(&mut query);
        if let Some(place) = &furthest {
            query.add("id <= ?", &[&place.id]);
        }
        query.add_if("status = ?", &filter.status);
        for target in [&tag, &capability] {
            query.add_if("EXISTS (SELECT 1 FROM agent_targets WHERE target = ? AND agent_id = agents.id)", target);
        }
        query.add_if("label = ?", &filter.label);
        query.add_if("machine = ?", &filter.machine);
        query.add_if("ready = ?", &filter.ready);
        if let Some(text) = &text {
            let any = ["id", "name", "label", "tags", "capabilities"]
                .map(|column| format!("lower({column}) LIKE ? ESCAPE '\\'"));
            query.add(&format!("({})", any.join(" OR ")), &[text; 5].map(|text| text as _));
        }
        query.push(" ORDER BY id LIMIT ?", &[&limit]);
        let (sql, values) = query.parts();
        snapshot.each_of(sql, values, |agent: Agent| page.take(agent))?;
        Ok(furthest)
    }
}

/// The pattern of texts that contain this one, whatever the case of ASCII letters.
fn containing(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len() + 2);
    pattern.push('%');
    for c in text.chars() {
        if matches!(c, '%' | '_' | '\\') {
            pattern.push('\\');
        }
        pattern.push(c.to_ascii_lowercase());
    }
    pattern.push('%');
    pattern
}

/// Writes a card over the one there was, tells its streams, and announces it.
pub(super) fn save(tx: &mut Tx<'_>, before: Option<&Agent>, agent: &Agent) -> Result<(), StoreError> {
    tx.upsert(agent)?;
    if before.is_none() {
        tx.remembered().members_mut().change_everybody(1);
    }
    let names = |agent: &Agent| (agent.name.clone(), agent.label.clone());
    if before.map(names) != Some(names(agent)) {
        tx.names_changed();
    }
    save_targets(tx, before, agent)?;
    save_condition(tx, before, agent)?;
    if before.is_some_and(|before| before.attention != agent.attention) {
        deliveries::mode_changed(tx, agent)?;
    }
    tx.routes_changed(agent);
    tx.emit(EventName::AgentStatus, Audience::only(&agent.id), agent)
}

/// Keeps the group targets that reach an agent beside its card. What reaches everybody is not among them.
fn save_targets(tx: &mut Tx<'_>, before: Option<&Agent>, agent: &Agent) -> Result<(), StoreError> {
    let targets = |agent: &Agent| {
        let mut targets = agent.routes().groups;
        targets.retain(|target| target != "broadcast");
        targets
    };
    let (old, new) = (before.map(targets).unwrap_or_default(), targets(agent));
    if old == new {
        return Ok(());
    }
    for target in old.iter().map(String::as_str).filter(|target| !new.iter().any(|kept| kept == target)) {
        tx.execute("DELETE FROM agent_targets WHERE target = $1 AND agent_id = $2", &[&target, &agent.id])?;
        channels::count_subscriber(tx, target, -1)?;
        tx.remembered().members_mut().change(target, -1);
    }
    for target in new.iter().map(String::as_str).filter(|target| !old.iter().any(|kept| kept == target)) {
        tx.execute("INSERT INTO agent_targets (target, agent_id) VALUES ($1, $2)", &[&target, &agent.id])?;
        channels::count_subscriber(tx, target, 1)?;
        tx.remembered().members_mut().change(target, 1);
    }
    // Suggested to who misspells them.
    tx.names_changed();
    Ok(())
}

/// Keeps what is looked for of a condition beside it, and has a person know where one is wanted.
fn save_condition(tx: &mut Tx<'_>, before: Option<&Agent>, agent: &Agent) -> Result<(), StoreError> {
    let new = agent.condition.as_ref();
    if before.and_then(|before| before.condition.as_ref()) == new {
        return Ok(());
    }
    let (kind, until) = (new.map(|condition| condition.kind), new.and_then(|condition| condition.until));
    let update = "UPDATE agents SET condition_kind = $1, condition_until = $2 WHERE id = $3";
    tx.execute(update, &[&kind, &until, &agent.id])?;
    attention::follow_condition(tx, agent)
}

/// Ends conditions whose time is over, at most `limit`.
pub(super) fn end_conditions(tx: &mut Tx<'_>, limit: i64) -> Result<Vec<AgentId>, StoreError> {
    let over: Vec<Agent> = tx.rows(
        "WHERE condition_until IS NOT NULL AND condition_until <= $1 ORDER BY condition_until LIMIT $2",
        &[&tx.now, &limit],
    )?;
    let mut ids = Vec::with_capacity(over.len());
    for before in over {
        let mut agent = before.clone();
        agent.set_condition(None, tx.now);
        save(tx, Some(&before), &agent)?;
        ids.push(agent.id);
    }
    Ok(ids)
}

/// Removes a card and what only it could use. Whoever sent what it never read is to hear of it: [`bounces::owe`].
pub(super) fn remove(tx: &mut Tx<'_>, id: AgentId, reason: BounceReason) -> Result<(), StoreError> {
    pairs::end_of(tx, &id)?;
    fleet::forget_descent(tx, &id)?;
    let groups: Vec<String> = tx.values("SELECT target FROM agent_targets WHERE agent_id = $1", &[&id])?;
    // Of its targets, the channels count who is subscribed to them.
    for target in &groups {
        channels::count_subscriber(tx, target, -1)?;
    }
    let rows = tx.execute("DELETE FROM agents WHERE id = $1", &[&id])?;
    if rows > 0 {
        let members = tx.remembered().members_mut();
        groups.iter().for_each(|group| members.change(group, -1));
        members.change_everybody(-1);
    }
    tx.names_changed();
    attention::end(tx, &Cause::Condition(id.clone()))?;
    deliveries::agent_removed(tx, &id)?;
    tokens::end_session_of(tx, &id)?;
    tokens::end_managed_of(tx, &id, "its agent is gone")?;
    tx.emit(EventName::AgentRemoved, Audience::only(&id), &json!({"id": id}))?;
    tx.routes_removed(id.clone());
    bounces::owe(tx, &id, reason)
}
