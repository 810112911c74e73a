//! Agents: who is there, how they are, and who speaks for them.

mod condition;
pub(in crate::domain) mod imitation;
mod registration;
mod routes;
mod standing;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::id::{AgentId, EventSeq};
use super::page::{Limit, Query};
use super::refusal::Refusal;
use super::text;
use super::text::json;
use super::text::word::words;
use super::time::Timestamp;

pub use condition::{ANY, Condition, ConditionFilter, ConditionKind, ConditionSource, DETAIL_MAX, NewCondition};
pub use registration::{NewRegistration, Registered, Registration};
pub use routes::Routes;
pub use standing::{HELD_MAX, Standing, Unread};

/// The human at the dashboard.
pub const USER: &str = "user";
/// The relay itself.
pub const SYSTEM: &str = "system";

words! {
    /// How an agent says it is doing.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
    #[serde(rename_all = "lowercase")]
    pub enum AgentStatus {
        /// There.
        Online = "online",
        /// There, with nothing to do.
        Idle = "idle",
        /// There, working.
        Busy = "busy",
        /// Not heard from.
        Offline = "offline",
    }
}

words! {
    /// What an agent lets be shown to its session by itself.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
    #[serde(rename_all = "lowercase")]
    pub enum AttentionMode {
        /// Everything that reaches it.
        #[default]
        Open = "open",
        /// What is sent to it alone, and what may interrupt.
        Focus = "focus",
        /// What may interrupt, and nothing else.
        Dnd = "dnd",
    }
}

impl AttentionMode {
    /// Whether a message is let through: one that is sent to the agent alone, or that may interrupt it.
    pub fn admits(self, is_direct: bool, interrupts: bool) -> bool {
        match self {
            Self::Open => true,
            Self::Focus => is_direct || interrupts,
            Self::Dnd => interrupts,
        }
    }
}

/// An agent as clients see it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Agent {
    /// Chosen by the agent, at most 240 characters.
    #[schema(value_type = String)]
    pub id: AgentId,
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
    /// Whether it takes work. Whoever waits in a dialog or at a limit does not.
    pub ready: bool,
    /// What keeps it from working, if anything does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub condition: Option<Condition>,
    /// What it lets be shown to its session by itself.
    #[serde(default)]
    pub attention: AttentionMode,
    /// The session that speaks for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance_id: Option<String>,
    /// Raised by every new session.
    pub epoch: i64,
    /// Anything else, at most 16 KiB of JSON.
    #[schema(value_type = Object)]
    pub meta: json::Object,
    /// When it was last heard from, in milliseconds since the epoch.
    #[schema(value_type = i64)]
    pub last_seen: Timestamp,
    /// When it first registered, in milliseconds since the epoch.
    #[schema(value_type = i64)]
    pub created_at: Timestamp,
    /// The newest event when it first registered: what is sent to its groups after that reaches it. A number,
    /// because clocks are set.
    #[serde(skip)]
    pub joined_after: EventSeq,
    /// What `ready` is once no condition holds it up. See [`Agent::set_ready`].
    #[serde(skip)]
    pub ready_otherwise: bool,
}

impl Agent {
    /// An agent of which nothing is known but its id.
    pub fn new(id: AgentId, now: Timestamp) -> Self {
        Self {
            name: id.as_str().to_owned(),
            id,
            label: None,
            tags: Vec::new(),
            capabilities: Vec::new(),
            machine: None,
            rig: None,
            status: AgentStatus::Online,
            ready: false,
            condition: None,
            attention: AttentionMode::Open,
            instance_id: None,
            epoch: 0,
            meta: json::Object::default(),
            last_seen: now,
            created_at: now,
            joined_after: EventSeq::default(),
            ready_otherwise: false,
        }
    }

    /// Whether this is a channel adapter.
    pub fn is_channel(&self) -> bool {
        self.meta.get("kind").is_some_and(|kind| kind == "channel") || self.tags.iter().any(|tag| tag == "channel")
    }

    /// Whether control actions make sense for it.
    pub fn is_controllable(&self) -> bool {
        self.id != USER && self.id != SYSTEM && !self.is_channel()
    }

    /// Hears from it at this moment. True when it comes back by that: what was heard before it went
    /// offline does not bring it back.
    pub fn hear(&mut self, at: Timestamp) -> bool {
        let back = self.status == AgentStatus::Offline && at > self.last_seen;
        if back {
            self.status = AgentStatus::Online;
        }
        self.last_seen = self.last_seen.max(at);
        back
    }

    /// Is not heard from any more.
    pub fn go_offline(&mut self) {
        self.status = AgentStatus::Offline;
    }

    /// Notes that its session ended, and what that leaves it in.
    pub fn end_session(&mut self, condition: Option<NewCondition>, now: Timestamp) {
        self.status = AgentStatus::Offline;
        self.ready_otherwise = false;
        self.set_condition(condition, now);
        self.last_seen = now;
    }
}

/// Who decides about an agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// The agent itself.
    Own,
    /// Somebody else.
    Others,
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
    /// What keeps it from working, or that nothing does.
    Condition(Option<NewCondition>),
    /// What it lets be shown; by somebody else, unless it says so itself.
    Attention(AttentionMode, Whose),
    /// A sign of life; with a status, that one.
    Heartbeat(Option<AgentStatus>),
}

impl AgentPatch {
    /// Whether this is only a sign of life of an agent that says nothing new.
    pub fn is_no_news_of(&self, agent: &Agent) -> bool {
        let Self::Heartbeat(status) = self else { return false };
        agent.status != AgentStatus::Offline && status.is_none_or(|status| status == agent.status)
    }

    /// What others say of an agent is no sign of life of it.
    fn is_a_sign_of_life(&self) -> bool {
        match self {
            Self::Condition(condition) => {
                condition.as_ref().is_some_and(|condition| condition.source == ConditionSource::Agent)
            }
            Self::Attention(_, whose) => *whose == Whose::Own,
            _ => true,
        }
    }

    /// Makes the change.
    pub fn apply(self, agent: &mut Agent, now: Timestamp) {
        if self.is_a_sign_of_life() {
            agent.last_seen = now;
        }
        match self {
            Self::Status(status) | Self::Heartbeat(Some(status)) => agent.status = status,
            Self::Heartbeat(None) if agent.status == AgentStatus::Offline => agent.status = AgentStatus::Online,
            Self::Heartbeat(None) => {}
            Self::Ready(ready) => agent.set_ready(ready),
            Self::Condition(condition) => agent.set_condition(condition, now),
            Self::Attention(mode, _) => agent.attention = mode,
            Self::Label(label) => agent.label = label,
            Self::Tags(tags) => agent.tags = tags,
        }
    }
}

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
    /// Only those in a condition.
    pub condition: Option<ConditionFilter>,
    /// Only those whose id, name, label, tags or capabilities hold this text; ASCII letters of either
    /// case are the same.
    pub text: Option<String>,
    /// Live ones first instead of by id.
    pub live_first: bool,
    /// Only those after this id; with `live_first`, after it among those that are as live as it was.
    pub after: Option<AgentId>,
    /// With `live_first`: whether the one to begin after was offline.
    pub after_offline: bool,
    /// At most this many.
    pub limit: Limit,
}

/// Where an agent stands in the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentPlace {
    /// Whether it is offline: those come last where live ones come first.
    pub is_offline: bool,
    /// Its id.
    pub id: AgentId,
}

impl From<&Agent> for AgentPlace {
    fn from(agent: &Agent) -> Self {
        Self { is_offline: agent.status == AgentStatus::Offline, id: agent.id.clone() }
    }
}

impl AgentFilter {
    /// Whether nothing is asked of an agent.
    pub fn takes_all(&self) -> bool {
        let Self { status, tag, capability, label, machine, ready, condition, text, .. } = self;
        let words = [tag, capability, label, machine, text];
        status.is_none() && ready.is_none() && condition.is_none() && words.into_iter().all(Option::is_none)
    }

    /// The query of the page after this place.
    pub fn page_after(&self, last: &AgentPlace) -> Query {
        Query::default()
            .with("q", self.text.as_ref())
            .with("status", self.status)
            .with("tag", self.tag.as_ref())
            .with("capability", self.capability.as_ref())
            .with("label", self.label.as_ref())
            .with("machine", self.machine.as_ref())
            .with("ready", self.ready)
            .with("condition", self.condition)
            .with("limit", Some(self.limit))
            .with("after", Some(&last.id))
            .with("afterOffline", (self.live_first && last.is_offline).then_some(true))
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
    /// The guard that these fields make.
    pub fn parse(instance_id: Option<String>, epoch: Option<i64>) -> Result<Self, Refusal> {
        Ok(Self { instance_id: text::optional("instanceId", instance_id, text::ID_MAX)?, epoch })
    }

    /// Whether nothing is guarded.
    pub fn is_open(&self) -> bool {
        self.instance_id.is_none() && self.epoch.is_none()
    }

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reserved_ids_are_refused() {
        for id in ["user", "system", "broadcast", "tag:x", "cap:x", "label:x", "channel:x"] {
            assert!(matches!(refuse_reserved(id), Err(Refusal::ReservedId(_))), "{id}");
        }
        assert!(refuse_reserved("tagger").is_ok());
    }
}
