//! Agents: who is there, and which messages reach them.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::refusal::Refusal;
use super::text;

/// The human at the dashboard.
pub const USER: &str = "user";
/// The relay itself.
pub const SYSTEM: &str = "system";

/// How an agent says it is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum AgentStatus {
    /// There.
    Online,
    /// There, with nothing to do.
    Idle,
    /// There, working.
    Busy,
    /// Not heard from.
    Offline,
}

impl AgentStatus {
    /// The name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Online => "online",
            Self::Idle => "idle",
            Self::Busy => "busy",
            Self::Offline => "offline",
        }
    }

    /// The status of this name, or a refusal that lists the allowed ones.
    pub fn parse(name: &str) -> Result<Self, Refusal> {
        [Self::Online, Self::Idle, Self::Busy, Self::Offline]
            .into_iter()
            .find(|status| status.as_str() == name)
            .ok_or_else(|| Refusal::invalid("status must be one of: online, idle, busy, offline"))
    }
}

/// An agent as clients see it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Agent {
    /// Chosen by the agent, at most 240 characters.
    pub id: String,
    /// A display name, at most 120 characters.
    pub name: String,
    /// A human name for the session; several agents may share one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// Groups it belongs to.
    pub tags: Vec<String>,
    /// What it can do.
    pub capabilities: Vec<String>,
    /// The machine it runs on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub machine: Option<String>,
    /// The program that drives it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rig: Option<String>,
    /// How it is doing.
    pub status: AgentStatus,
    /// Whether it takes work.
    pub ready: bool,
    /// The session that speaks for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance_id: Option<String>,
    /// Raised by every new session.
    pub epoch: i64,
    /// Anything else, at most 16 KiB of JSON.
    #[schema(value_type = Object)]
    pub meta: Map<String, Value>,
    /// When it was last heard from, in milliseconds since the epoch.
    pub last_seen: i64,
    /// When it first registered, in milliseconds since the epoch.
    pub created_at: i64,
}

impl Agent {
    /// Whether this is a channel adapter.
    pub fn is_channel(&self) -> bool {
        self.meta.get("kind").and_then(Value::as_str) == Some("channel") || self.tags.iter().any(|tag| tag == "channel")
    }

    /// Whether control actions make sense for it.
    pub fn is_controllable(&self) -> bool {
        self.id != USER && self.id != SYSTEM && !self.is_channel()
    }

    /// The targets of messages that reach it.
    pub fn routes(&self) -> Routes {
        let mut keys = vec!["broadcast".to_owned()];
        keys.extend(self.tags.iter().map(|tag| format!("tag:{tag}")));
        keys.extend(self.capabilities.iter().map(|capability| format!("cap:{capability}")));
        keys.extend(self.label.iter().map(|label| format!("label:{label}")));
        let channels = self.meta.get("channels").and_then(Value::as_array);
        let subscribed = channels.into_iter().flatten().filter_map(Value::as_str);
        keys.extend(subscribed.map(|name| format!("channel:{name}")));
        // A tag `channel:NAME` subscribes as well.
        keys.extend(self.tags.iter().filter(|tag| tag.starts_with("channel:")).cloned());
        keys.sort_unstable();
        keys.dedup();
        Routes { agent: self.id.clone(), groups: keys, since: self.created_at }
    }
}

/// Which messages and events reach one agent. An agent that has not registered has no groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Routes {
    /// The agent.
    pub agent: String,
    /// The group targets that include it, sorted.
    pub groups: Vec<String>,
    /// Messages to groups from before this moment do not reach it.
    pub since: i64,
}

impl Routes {
    /// The routes of an id nobody has registered yet.
    pub fn unregistered(agent: &str) -> Self {
        Self { agent: agent.to_owned(), groups: Vec::new(), since: i64::MAX }
    }

    /// Whether something sent to `target` by `sender` at `at` reaches this agent. What an agent
    /// sends to a group it belongs to does not come back to it.
    pub fn reach(&self, target: &str, sender: &str, at: i64) -> bool {
        target == self.agent
            || (at >= self.since
                && sender != self.agent
                && self.groups.binary_search_by(|group| group.as_str().cmp(target)).is_ok())
    }
}

/// What a registration sets. A field left out keeps its value, `null` clears it.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Registration {
    /// Chosen by the agent, at most 240 characters.
    pub id: Option<String>,
    /// A display name; the id when never given.
    pub name: Option<String>,
    /// A human name for the session.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "text::present")]
    #[schema(value_type = Option<String>)]
    pub label: Option<Option<String>>,
    /// Groups it belongs to, at most 64.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "text::present")]
    #[schema(value_type = Option<Vec<String>>)]
    pub tags: Option<Option<Vec<String>>>,
    /// What it can do, at most 64.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "text::present")]
    #[schema(value_type = Option<Vec<String>>)]
    pub capabilities: Option<Option<Vec<String>>>,
    /// The machine it runs on.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "text::present")]
    #[schema(value_type = Option<String>)]
    pub machine: Option<Option<String>>,
    /// The program that drives it.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "text::present")]
    #[schema(value_type = Option<String>)]
    pub rig: Option<Option<String>>,
    /// How it is doing; `online` for a new session.
    pub status: Option<String>,
    /// Whether it takes work.
    pub ready: Option<bool>,
    /// The session; a new one raises `epoch` and wins.
    pub instance_id: Option<String>,
    /// The session guard: must be the current one when given.
    pub epoch: Option<i64>,
    /// Anything else, at most 16 KiB of JSON.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "text::present")]
    #[schema(value_type = Option<Object>)]
    pub meta: Option<Option<Map<String, Value>>>,
}

impl Registration {
    /// Checks bounds and trims, so that nothing after this has to.
    pub fn checked(mut self) -> Result<Self, Refusal> {
        let id = text::required("id", self.id, text::ID_MAX)?;
        refuse_reserved(&id)?;
        self.id = Some(id);
        self.name = text::optional("name", self.name, text::WORD_MAX)?;
        self.label = nested("label", self.label, text::WORD_MAX)?;
        self.machine = nested("machine", self.machine, text::ID_MAX)?;
        self.rig = nested("rig", self.rig, text::ID_MAX)?;
        self.instance_id = text::optional("instanceId", self.instance_id, text::ID_MAX)?;
        self.tags = words("tags", self.tags)?;
        self.capabilities = words("capabilities", self.capabilities)?;
        if let Some(status) = &self.status {
            AgentStatus::parse(status)?;
        }
        if let Some(Some(meta)) = &self.meta {
            text::object("meta", meta, text::META_BYTES_MAX)?;
        }
        Ok(self)
    }

    /// The agent these fields make, from the one there was.
    pub fn apply(&self, before: Option<Agent>, now: i64) -> Agent {
        let id = self.id.clone().unwrap_or_default();
        let new_session = match (&before, &self.instance_id) {
            (None, _) => true,
            (Some(agent), Some(instance)) => agent.instance_id.as_ref() != Some(instance),
            (Some(_), None) => false,
        };
        let mut agent = before.unwrap_or_else(|| Agent {
            name: id.clone(),
            id,
            label: None,
            tags: Vec::new(),
            capabilities: Vec::new(),
            machine: None,
            rig: None,
            status: AgentStatus::Online,
            ready: false,
            instance_id: None,
            epoch: 0,
            meta: Map::new(),
            last_seen: now,
            created_at: now,
        });
        if new_session {
            agent.epoch += 1;
            agent.status = AgentStatus::Online;
            agent.ready = false;
            agent.instance_id = self.instance_id.clone().or(agent.instance_id);
        } else if agent.status == AgentStatus::Offline {
            agent.status = AgentStatus::Online;
        }
        agent.last_seen = now;
        agent.name = self.name.clone().unwrap_or(agent.name);
        agent.label = self.label.clone().unwrap_or(agent.label);
        agent.machine = self.machine.clone().unwrap_or(agent.machine);
        agent.rig = self.rig.clone().unwrap_or(agent.rig);
        agent.tags = self.tags.clone().map_or(agent.tags, Option::unwrap_or_default);
        agent.capabilities = self.capabilities.clone().map_or(agent.capabilities, Option::unwrap_or_default);
        agent.meta = self.meta.clone().map_or(agent.meta, Option::unwrap_or_default);
        agent.ready = self.ready.unwrap_or(agent.ready);
        if let Some(Ok(status)) = self.status.as_deref().map(AgentStatus::parse) {
            agent.status = status;
        }
        agent
    }
}

/// The session that speaks, given with requests that only the current one may make.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SessionGuard {
    /// Must be the agent's current instance when given.
    pub instance_id: Option<String>,
    /// Must be the agent's current epoch when given.
    pub epoch: Option<i64>,
}

impl SessionGuard {
    /// Refuses when either is given and is not the agent's current one.
    pub fn check(&self, agent: &Agent) -> Result<(), Refusal> {
        let instance_stale = self.instance_id.is_some() && self.instance_id != agent.instance_id;
        let epoch_stale = self.epoch.is_some_and(|epoch| epoch != agent.epoch);
        if instance_stale || epoch_stale {
            return Err(Refusal::StaleSession(agent.id.clone()));
        }
        Ok(())
    }
}

/// Refuses ids that mean something else as a message target, or that belong to the relay.
pub fn refuse_reserved(id: &str) -> Result<(), Refusal> {
    let reserved = matches!(id, USER | SYSTEM | "broadcast")
        || ["tag:", "cap:", "label:", "channel:"].iter().any(|prefix| id.starts_with(prefix));
    if reserved { Err(Refusal::ReservedId(id.to_owned())) } else { Ok(()) }
}

fn nested(field: &str, value: Option<Option<String>>, max: usize) -> Result<Option<Option<String>>, Refusal> {
    value.map(|inner| text::optional(field, inner, max)).transpose()
}

fn words(field: &str, value: Option<Option<Vec<String>>>) -> Result<Option<Option<Vec<String>>>, Refusal> {
    match value {
        Some(Some(list)) => Ok(Some(Some(text::words(field, list)?))),
        other => Ok(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registration(json: &str) -> Registration {
        serde_json::from_str::<Registration>(json).unwrap().checked().unwrap()
    }

    #[test]
    fn a_field_left_out_is_kept_and_null_clears_it() {
        let first = registration(r#"{"id":"a","label":"x","tags":["t"]}"#).apply(None, 1);
        let kept = registration(r#"{"id":"a"}"#).apply(Some(first.clone()), 2);
        assert_eq!(kept.label.as_deref(), Some("x"));
        let cleared = registration(r#"{"id":"a","label":null,"tags":null}"#).apply(Some(first), 2);
        assert_eq!((cleared.label, cleared.tags), (None, Vec::new()));
    }

    #[test]
    fn a_new_instance_raises_the_epoch_and_the_same_one_does_not() {
        let first = registration(r#"{"id":"a","instanceId":"i1","ready":true}"#).apply(None, 1);
        assert_eq!((first.epoch, first.ready), (1, true));
        let same = registration(r#"{"id":"a","instanceId":"i1"}"#).apply(Some(first), 2);
        assert_eq!((same.epoch, same.ready), (1, true));
        let unnamed = registration(r#"{"id":"a"}"#).apply(Some(same), 3);
        assert_eq!((unnamed.epoch, unnamed.instance_id.as_deref()), (1, Some("i1")));
        let next = registration(r#"{"id":"a","instanceId":"i2"}"#).apply(Some(unnamed), 4);
        assert_eq!((next.epoch, next.ready), (2, false));
    }

    #[test]
    fn groups_reach_members_only_from_their_registration_on_and_never_the_sender() {
        let agent = registration(
            r#"{"id":"a","tags":["t","channel:news"],"capabilities":["c"],"label":"l","meta":{"channels":["dev"]}}"#,
        )
        .apply(None, 100);
        let routes = agent.routes();
        for target in ["broadcast", "tag:t", "cap:c", "label:l", "channel:dev", "channel:news", "a"] {
            assert!(routes.reach(target, "b", 100), "{target}");
        }
        assert!(!routes.reach("broadcast", "b", 99));
        assert!(!routes.reach("tag:t", "a", 200));
        assert!(!routes.reach("label:L", "b", 200));
        assert!(routes.reach("a", "b", 1));
    }

    #[test]
    fn reserved_ids_are_refused() {
        for id in ["user", "system", "broadcast", "tag:x", "cap:x", "label:x", "channel:x"] {
            assert!(matches!(refuse_reserved(id), Err(Refusal::ReservedId(_))), "{id}");
        }
        assert!(refuse_reserved("tagger").is_ok());
    }
}
