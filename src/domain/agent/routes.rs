//! Routes: which messages and events reach an agent.

use serde_json::Value;

use super::Agent;
use crate::domain::id::AgentId;
use crate::domain::time::Timestamp;

impl Agent {
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
    pub agent: AgentId,
    /// The group targets that include it, sorted.
    pub groups: Vec<String>,
    /// Messages to groups from before this moment do not reach it.
    pub since: Timestamp,
}

impl Routes {
    /// The routes of an id nobody has registered yet.
    pub fn unregistered(agent: AgentId) -> Self {
        Self { agent, groups: Vec::new(), since: Timestamp::MAX }
    }

    /// Whether something sent to `target` by `sender` at `at` reaches this agent. What an agent
    /// sends to a group it belongs to does not come back to it.
    pub fn reach(&self, target: &str, sender: &str, at: Timestamp) -> bool {
        self.agent == *target
            || (at >= self.since
                && self.agent != *sender
                && self.groups.binary_search_by(|group| group.as_str().cmp(target)).is_ok())
    }
}

#[cfg(test)]
mod tests {
    use super::super::Registration;
    use super::*;

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_ms(ms)
    }

    #[test]
    fn groups_reach_members_only_from_their_registration_on_and_never_the_sender() {
        let card: Registration = serde_json::from_str(
            r#"{"id":"a","tags":["t","channel:news"],"capabilities":["c"],"label":"l","meta":{"channels":["dev"]}}"#,
        )
        .unwrap();
        let agent = card.parse().unwrap().apply(None, at(100)).unwrap().agent;
        let routes = agent.routes();
        for target in ["broadcast", "tag:t", "cap:c", "label:l", "channel:dev", "channel:news", "a"] {
            assert!(routes.reach(target, "b", at(100)), "{target}");
        }
        assert!(!routes.reach("broadcast", "b", at(99)));
        assert!(!routes.reach("tag:t", "a", at(200)));
        assert!(!routes.reach("label:L", "b", at(200)));
        assert!(routes.reach("a", "b", at(1)));
    }
}
