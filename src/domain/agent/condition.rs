//! Conditions: what keeps an agent from working, and who said so.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Agent;
use crate::domain::refusal::Refusal;
use crate::domain::text;
use crate::domain::text::word::words;
use crate::domain::time::Timestamp;

/// The longest detail, in characters.
pub const DETAIL_MAX: usize = 1_000;

/// The filter that takes every kind of condition.
pub const ANY: &str = "any";

words! {
    /// What keeps an agent from working.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
    #[serde(rename_all = "lowercase")]
    pub enum ConditionKind {
        /// Its program is not up yet.
        Starting = "starting",
        /// It asks its user something.
        Input = "input",
        /// It asks for a permission.
        Approval = "approval",
        /// Its program asks a question of its own: trust, login, update.
        Dialog = "dialog",
        /// It is at a usage limit.
        Limit = "limit",
        /// Busy without any sign of progress.
        Stalled = "stalled",
        /// It ended by itself.
        Crashed = "crashed",
    }
}

impl ConditionKind {
    /// Whether an agent in it takes no work, whatever it says itself.
    pub fn holds_up(self) -> bool {
        matches!(self, Self::Dialog | Self::Limit)
    }
}

words! {
    /// Who said that an agent is in a condition.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
    #[serde(rename_all = "lowercase")]
    pub enum ConditionSource {
        /// The agent itself.
        Agent = "agent",
        /// The orchestrator that runs it.
        Orchestrator = "orchestrator",
        /// The relay, of a session of its own host.
        Relay = "relay",
        /// An administrator.
        User = "user",
    }
}

/// What keeps an agent from working.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Condition {
    /// What it is.
    pub kind: ConditionKind,
    /// Since when, in milliseconds since the epoch. The same kind said again does not begin anew.
    #[schema(value_type = i64)]
    pub since: Timestamp,
    /// Until when, where that is known; then it ends by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<i64>)]
    pub until: Option<Timestamp>,
    /// More for people, at most 1000 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// Who said so.
    pub source: ConditionSource,
}

impl Condition {
    /// Whether a person is wanted. What starts does so by itself, until somebody says why it does not.
    pub fn needs_a_person(&self) -> bool {
        self.kind != ConditionKind::Starting || self.detail.is_some()
    }
}

/// A condition as somebody tells of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewCondition {
    /// What it is.
    pub kind: ConditionKind,
    /// Until when, where that is known.
    pub until: Option<Timestamp>,
    /// More for people.
    pub detail: Option<String>,
    /// Who says so.
    pub source: ConditionSource,
}

impl NewCondition {
    /// Checks bounds and trims.
    pub fn parse(
        kind: ConditionKind,
        until: Option<i64>,
        detail: Option<String>,
        source: ConditionSource,
    ) -> Result<Self, Refusal> {
        if until.is_some_and(|until| until < 0) {
            return Err(Refusal::invalid("until must be milliseconds since the epoch"));
        }
        let detail = text::lines("detail", detail, DETAIL_MAX)?;
        Ok(Self { kind, until: until.map(Timestamp::from_ms), detail, source })
    }

    /// What the relay sees of a session. Of what is too long the end is kept: that is where a screen has its question.
    pub fn seen(kind: ConditionKind, detail: &str) -> Self {
        let plain = |c: char| if c.is_control() && c != '\n' { ' ' } else { c };
        let text: String = detail.trim().chars().map(plain).collect();
        let excess = text.chars().count().saturating_sub(DETAIL_MAX);
        let text: String = text.chars().skip(excess).collect();
        let detail = Some(text.trim().to_owned()).filter(|text| !text.is_empty());
        Self { kind, until: None, detail, source: ConditionSource::Relay }
    }
}

impl Agent {
    /// Sets whether it takes work. As long as a condition holds it up, that is only remembered.
    pub fn set_ready(&mut self, ready: bool) {
        self.ready_otherwise = ready;
        let held_up = self.condition.as_ref().is_some_and(|condition| condition.kind.holds_up());
        self.ready = ready && !held_up;
    }

    /// Puts it into a condition, or takes it out of the one it is in: then it is as ready as it was before.
    pub fn set_condition(&mut self, new: Option<NewCondition>, now: Timestamp) {
        let before = self.condition.take();
        self.condition = new.map(|NewCondition { kind, until, detail, source }| {
            let same = before.filter(|before| before.kind == kind);
            Condition { kind, since: same.map_or(now, |same| same.since), until, detail, source }
        });
        self.set_ready(self.ready_otherwise);
    }

    /// Takes it out of a condition that the relay itself saw it come into, since it is up now.
    pub fn is_seen_up(&mut self, now: Timestamp) {
        let saw = |condition: &Condition| {
            condition.source == ConditionSource::Relay
                && matches!(condition.kind, ConditionKind::Starting | ConditionKind::Dialog)
        };
        if self.condition.as_ref().is_some_and(saw) {
            self.set_condition(None, now);
        }
    }
}

/// Which conditions to look for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConditionFilter {
    /// Every kind.
    Any,
    /// This one.
    Kind(ConditionKind),
}

impl ConditionFilter {
    /// The filter of this name.
    pub fn named(field: &str, name: &str) -> Result<Self, Refusal> {
        if name == ANY {
            return Ok(Self::Any);
        }
        ConditionKind::parse(name).map(Self::Kind).ok_or_else(|| {
            let kinds = ConditionKind::ALL.map(ConditionKind::as_str).join(", ");
            Refusal::invalid(format!("{field} must be one of: {ANY}, {kinds}"))
        })
    }
}

impl std::fmt::Display for ConditionFilter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Any => ANY,
            Self::Kind(kind) => kind.as_str(),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn said(kind: ConditionKind) -> NewCondition {
        NewCondition { kind, until: None, detail: None, source: ConditionSource::Agent }
    }

    proptest! {
        /// However conditions and readiness come and go: nobody who is held up is ready, and whoever is not is as
        /// ready as was said last.
        #[test]
        fn ready_comes_back_as_it_was(steps in prop::collection::vec((0..9_usize, any::<bool>()), 0..40)) {
            let mut agent = Agent::new("a".into(), Timestamp::from_ms(0));
            let mut said_last = false;
            for (time, (what, ready)) in (1..).zip(steps) {
                let now = Timestamp::from_ms(time);
                match what {
                    7 => agent.set_condition(None, now),
                    8 => { agent.set_ready(ready); said_last = ready; }
                    kind => agent.set_condition(Some(said(ConditionKind::ALL[kind])), now),
                }
                let held_up = agent.condition.as_ref().is_some_and(|condition| condition.kind.holds_up());
                prop_assert_eq!(agent.ready, said_last && !held_up);
            }
        }
    }

    #[test]
    fn the_same_kind_said_again_does_not_begin_anew() {
        let mut agent = Agent::new("a".into(), Timestamp::from_ms(0));
        let since = |agent: &Agent| agent.condition.as_ref().map(|condition| condition.since.as_ms());
        agent.set_condition(Some(said(ConditionKind::Limit)), Timestamp::from_ms(1));
        agent.set_condition(Some(said(ConditionKind::Limit)), Timestamp::from_ms(2));
        assert_eq!(since(&agent), Some(1));
        agent.set_condition(Some(said(ConditionKind::Dialog)), Timestamp::from_ms(3));
        assert_eq!(since(&agent), Some(3));
        agent.set_condition(None, Timestamp::from_ms(4));
        agent.set_condition(Some(said(ConditionKind::Dialog)), Timestamp::from_ms(5));
        assert_eq!(since(&agent), Some(5));
    }

    #[test]
    fn of_a_screen_the_end_is_kept() {
        let seen = NewCondition::seen(ConditionKind::Dialog, &format!("\u{1b}{}\n\nTrust? \u{7} ", "x".repeat(2_000)));
        let detail = seen.detail.unwrap();
        assert!(detail.ends_with("x\n\nTrust?"), "{detail}");
        assert!(detail.chars().count() <= DETAIL_MAX);
        assert_eq!(text::lines("detail", Some(detail.clone()), DETAIL_MAX), Ok(Some(detail)));
    }
}
