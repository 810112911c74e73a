//! Registrations: what an agent says about itself.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::imitation::refuse_imitation;
use super::{Agent, AgentStatus, NewCondition, SessionGuard, refuse_reserved};
use crate::domain::id::AgentId;
use crate::domain::refusal::Refusal;
use crate::domain::text;
use crate::domain::text::json;
use crate::domain::time::Timestamp;

/// What a registration sets. A field left out keeps its value, `null` clears it.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Registration {
    /// Chosen by the agent, at most 240 characters.
    #[schema(value_type = String, max_length = 240, pattern = r"\S")]
    pub id: Option<String>,
    /// A display name; the id when never given.
    #[schema(max_length = 120)]
    pub name: Option<String>,
    /// A human name for the session.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "text::present")]
    #[schema(value_type = Option<String>, max_length = 120)]
    pub label: Option<Option<String>>,
    /// Groups it belongs to, at most 64.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "text::present")]
    #[schema(value_type = Option<Vec<text::WordSchema>>, max_items = 64)]
    pub tags: Option<Option<Vec<String>>>,
    /// What it can do, at most 64.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "text::present")]
    #[schema(value_type = Option<Vec<text::WordSchema>>, max_items = 64)]
    pub capabilities: Option<Option<Vec<String>>>,
    /// The machine it runs on.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "text::present")]
    #[schema(value_type = Option<String>, max_length = 240)]
    pub machine: Option<Option<String>>,
    /// The program that drives it.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "text::present")]
    #[schema(value_type = Option<String>, max_length = 240)]
    pub rig: Option<Option<String>>,
    /// How it is doing; `online` for a new session.
    #[schema(value_type = Option<AgentStatus>)]
    pub status: Option<String>,
    /// Whether it takes work.
    pub ready: Option<bool>,
    /// The session; a new one raises `epoch` and wins.
    #[schema(max_length = 240)]
    pub instance_id: Option<String>,
    /// The session guard: must be the current one when given.
    pub epoch: Option<i64>,
    /// Anything else, at most 16 KiB of JSON.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "text::present")]
    #[schema(value_type = Option<Object>)]
    pub meta: Option<Option<json::Object>>,
}

impl Registration {
    /// Checks bounds and trims.
    pub fn parse(self) -> Result<NewRegistration, Refusal> {
        refuse_imitation(self.id.as_deref())?;
        let id = AgentId::required("id", self.id)?;
        refuse_reserved(&id)?;
        let parsed = NewRegistration {
            id,
            name: text::optional("name", self.name, text::WORD_MAX)?,
            label: nested("label", self.label, text::WORD_MAX)?,
            machine: nested("machine", self.machine, text::ID_MAX)?,
            rig: nested("rig", self.rig, text::ID_MAX)?,
            instance_id: text::optional("instanceId", self.instance_id, text::ID_MAX)?,
            tags: words("tags", self.tags)?,
            capabilities: words("capabilities", self.capabilities)?,
            status: self.status.map(|status| AgentStatus::named("status", &status)).transpose()?,
            ready: self.ready,
            epoch: self.epoch,
            meta: self.meta,
            condition: None,
        };
        if let Some(Some(meta)) = &parsed.meta {
            text::object("meta", meta, text::META_BYTES_MAX)?;
        }
        Ok(parsed)
    }
}

/// A registration within its bounds. In what may be cleared, the outer `None` keeps and the inner one
/// clears.
#[derive(Clone, Debug)]
pub struct NewRegistration {
    /// Not one that belongs to the relay.
    pub id: AgentId,
    /// A display name; the id when never given.
    pub name: Option<String>,
    /// A human name for the session.
    pub label: Option<Option<String>>,
    /// Groups it belongs to.
    pub tags: Option<Option<Vec<String>>>,
    /// What it can do.
    pub capabilities: Option<Option<Vec<String>>>,
    /// The machine it runs on.
    pub machine: Option<Option<String>>,
    /// The program that drives it.
    pub rig: Option<Option<String>>,
    /// How it is doing; `online` for a new session.
    pub status: Option<AgentStatus>,
    /// Whether it takes work.
    pub ready: Option<bool>,
    /// The session; a new one raises `epoch` and wins.
    pub instance_id: Option<String>,
    /// The session guard: must be the current one when given.
    pub epoch: Option<i64>,
    /// Anything else.
    pub meta: Option<Option<json::Object>>,
    /// What the relay sees of a session that it started.
    pub condition: Option<NewCondition>,
}

/// What a registration made.
#[derive(Clone, Debug, PartialEq)]
pub struct Registered {
    /// The agent as it is now.
    pub agent: Agent,
    /// Whether it was not there before.
    pub created: bool,
    /// Whether a new session speaks for it; a repeated registration of the same one is no news.
    pub new_session: bool,
}

impl NewRegistration {
    /// A registration that says nothing but the id.
    pub fn of(id: AgentId) -> Self {
        Self {
            id,
            name: None,
            label: None,
            tags: None,
            capabilities: None,
            machine: None,
            rig: None,
            status: None,
            ready: None,
            instance_id: None,
            epoch: None,
            meta: None,
            condition: None,
        }
    }

    /// The agent these fields make, from the one there was. Refuses an epoch that is over.
    pub fn apply(self, before: Option<Agent>, now: Timestamp) -> Result<Registered, Refusal> {
        if let Some(agent) = &before {
            SessionGuard { instance_id: None, epoch: self.epoch }.check(agent)?;
        }
        let created = before.is_none();
        let new_session = match (&before, &self.instance_id) {
            (None, _) => true,
            (Some(agent), Some(instance)) => agent.instance_id.as_ref() != Some(instance),
            (Some(_), None) => false,
        };
        let mut agent = before.unwrap_or_else(|| Agent::new(self.id, now));
        if new_session {
            agent.epoch += 1;
            agent.status = AgentStatus::Online;
            agent.set_condition(None, now);
            agent.set_ready(false);
            agent.instance_id = self.instance_id.or(agent.instance_id);
        } else if agent.status == AgentStatus::Offline {
            agent.status = AgentStatus::Online;
        }
        agent.last_seen = now;
        agent.name = self.name.unwrap_or(agent.name);
        agent.label = self.label.unwrap_or(agent.label);
        agent.machine = self.machine.unwrap_or(agent.machine);
        agent.rig = self.rig.unwrap_or(agent.rig);
        agent.tags = self.tags.map_or(agent.tags, Option::unwrap_or_default);
        agent.capabilities = self.capabilities.map_or(agent.capabilities, Option::unwrap_or_default);
        agent.meta = self.meta.map_or(agent.meta, Option::unwrap_or_default);
        if let Some(ready) = self.ready {
            agent.set_ready(ready);
        }
        if self.condition.is_some() {
            agent.set_condition(self.condition, now);
        }
        agent.status = self.status.unwrap_or(agent.status);
        Ok(Registered { agent, created, new_session })
    }
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

    fn apply(json: &str, before: Option<Agent>, now: i64) -> Agent {
        let parsed = serde_json::from_str::<Registration>(json).unwrap().parse().unwrap();
        parsed.apply(before, Timestamp::from_ms(now)).unwrap().agent
    }

    #[test]
    fn a_field_left_out_is_kept_and_null_clears_it() {
        let first = apply(r#"{"id":"a","label":"x","tags":["t"]}"#, None, 1);
        let kept = apply(r#"{"id":"a"}"#, Some(first.clone()), 2);
        assert_eq!(kept.label.as_deref(), Some("x"));
        let cleared = apply(r#"{"id":"a","label":null,"tags":null}"#, Some(first), 2);
        assert_eq!((cleared.label, cleared.tags), (None, Vec::new()));
    }

    #[test]
    fn a_new_instance_raises_the_epoch_and_the_same_one_does_not() {
        let first = apply(r#"{"id":"a","instanceId":"i1","ready":true}"#, None, 1);
        assert_eq!((first.epoch, first.ready), (1, true));
        let same = apply(r#"{"id":"a","instanceId":"i1"}"#, Some(first), 2);
        assert_eq!((same.epoch, same.ready), (1, true));
        let unnamed = apply(r#"{"id":"a"}"#, Some(same), 3);
        assert_eq!((unnamed.epoch, unnamed.instance_id.as_deref()), (1, Some("i1")));
        let next = apply(r#"{"id":"a","instanceId":"i2"}"#, Some(unnamed), 4);
        assert_eq!((next.epoch, next.ready), (2, false));
    }

    #[test]
    fn an_epoch_that_is_over_registers_nothing() {
        let first = apply(r#"{"id":"a","instanceId":"i1"}"#, None, 1);
        let old = serde_json::from_str::<Registration>(r#"{"id":"a","epoch":0}"#).unwrap().parse().unwrap();
        let refused = old.apply(Some(first), Timestamp::from_ms(2));
        assert_eq!(refused, Err(Refusal::StaleSession("a".into())));
    }
}
