//! Routes: which messages and events reach an agent.

use serde_json::Value;

use super::Agent;
use crate::domain::id::{AgentId, EventSeq};

impl Agent {
    /// The targets of messages that reach it.
    pub fn routes(&self) -> Routes {
        let mut keys = vec!["broadcast".to_owned()];
        keys.extend(self.tags.iter().map(|tag| format!("tag:{tag}")));
        keys.extend(self.capabilities.iter().map(|capability| format!("cap:{capability}")));
        keys.extend(self.label.iter().map(|label| format!("label:{label}")));
        let channels = self.meta.get("channels").unwrap_or_default();
        let subscribed = channels.as_array().into_iter().flatten().filter_map(Value::as_str);
        keys.extend(subscribed.map(|name| format!("channel:{name}")));
        // A tag `channel:NAME` subscribes as well.
        keys.extend(self.tags.iter().filter(|tag| tag.starts_with("channel:")).cloned());
        keys.sort_unstable();
        keys.dedup();
        Routes { agent: self.id.clone(), groups: keys, after: self.joined_after }
    }
}

/// Which messages and events reach one agent. An agent that has not registered has no groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Routes {
    /// The agent.
    pub agent: AgentId,
    /// The group targets that include it, sorted.
    pub groups: Vec<String>,
    /// Only what is sent to its groups after this reaches it.
    pub after: EventSeq,
}

impl Routes {
    /// The routes of an id nobody has registered yet.
    pub fn unregistered(agent: AgentId) -> Self {
        Self { agent, groups: Vec::new(), after: EventSeq::MAX }
    }

    /// Whether this agent is `target`, or belongs to it now.
    pub fn include(&self, target: &str) -> bool {
        self.agent == *target || self.groups.binary_search_by(|group| group.as_str().cmp(target)).is_ok()
    }

    /// Whether something sent to `target` by `sender` as event `seq` reaches this agent. What an agent
    /// sends to a group it belongs to does not come back to it.
    pub fn reach(&self, target: &str, sender: &str, seq: EventSeq) -> bool {
        self.agent == *target
            || (seq > self.after
                && self.agent != *sender
                && self.groups.binary_search_by(|group| group.as_str().cmp(target)).is_ok())
    }
}

#[cfg(test)]
mod tests {
    use super::super::Registration;
    use super::*;
    use crate::domain::time::Timestamp;

    #[test]
    fn groups_reach_members_only_from_their_registration_on_and_never_the_sender() {
        let card: Registration = serde_json::from_str(
            r#"{"id":"a","tags":["t","channel:news"],"capabilities":["c"],"label":"l","meta":{"channels":["dev"]}}"#,
        )
        .unwrap();
        let agent = card.parse().unwrap().apply(None, Timestamp::default()).unwrap().agent;
        let routes = Agent { joined_after: EventSeq::new(100), ..agent }.routes();
        for target in ["broadcast", "tag:t", "cap:c", "label:l", "channel:dev", "channel:news", "a"] {
            assert!(routes.reach(target, "b", EventSeq::new(101)), "{target}");
        }
        assert!(!routes.reach("broadcast", "b", EventSeq::new(100)));
        assert!(!routes.reach("tag:t", "a", EventSeq::new(200)));
        assert!(!routes.reach("label:L", "b", EventSeq::new(200)));
        assert!(routes.reach("a", "b", EventSeq::new(1)));
    }
}
