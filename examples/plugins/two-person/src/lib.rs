//! Policy `two-person`: whoever starts an agent that asks for nothing names a second person who agreed.
//!
//! The label of the spawn says who: `approved-by:bob fix the build`. The label is the caller's own
//! words, so this is a claim that is recorded with the command, not a proof.

mod rule;

use std::collections::BTreeMap;

use agent_relay_plugin::policy::{Context, Control, ControlKind, Policy, Verdict};
use agent_relay_plugin::settings::from_json;
use agent_relay_plugin::{ApprovalMode, Settings};
use serde::Deserialize;

/// The most people, and the most names of one.
const ENTRIES_MAX: usize = 100;

/// What the operator may set.
#[derive(Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Rules {
    /// The modes that need a second person.
    modes: Vec<Mode>,
    /// Each person, and the names of callers that are theirs.
    people: BTreeMap<String, Vec<String>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Mode {
    Open,
    Guarded,
    ReadOnly,
}

impl Mode {
    fn is(self, mode: ApprovalMode) -> bool {
        matches!(
            (self, mode),
            (Self::Open, ApprovalMode::Open)
                | (Self::Guarded, ApprovalMode::Guarded)
                | (Self::ReadOnly, ApprovalMode::ReadOnly)
        )
    }
}

impl Default for Rules {
    fn default() -> Self {
        Self { modes: vec![Mode::Open], people: BTreeMap::new() }
    }
}

impl Settings for Rules {
    fn read(json: &str) -> Result<Self, String> {
        let rules: Self = from_json(json)?;
        if rules.people.len() > ENTRIES_MAX || rules.people.values().any(|names| names.len() > ENTRIES_MAX) {
            return Err(format!(
                "settings.people: at most {ENTRIES_MAX} people with at most {ENTRIES_MAX} names each are allowed"
            ));
        }
        let mut owners = BTreeMap::new();
        for (person, names) in &rules.people {
            if person.is_empty() || person.chars().any(char::is_whitespace) {
                return Err(format!("settings.people: {person:?} must be one word, as it stands in a label"));
            }
            for name in names {
                if let Some(other) = owners.insert(name, person) {
                    return Err(format!(
                        "settings.people.{person}: {name:?} is {other}'s already; a name belongs to one person"
                    ));
                }
            }
        }
        Ok(rules)
    }
}

struct TwoPerson;

impl Policy for TwoPerson {
    type Settings = Rules;

    // What is restarted was approved when it was started; a shutdown needs nobody's consent.
    const KINDS: &'static [ControlKind] = &[ControlKind::Spawn];

    fn decide(rules: &Rules, control: &Control, context: &Context) -> Result<Verdict, String> {
        match control {
            Control::Spawn(spawn) if rules.modes.iter().any(|mode| mode.is(spawn.approval_mode)) => {
                Ok(rule::decide(&rules.people, spawn.label.as_deref().unwrap_or_default(), &context.caller))
            }
            Control::Spawn(_) | Control::Restart(_) | Control::Shutdown(_) => Ok(Verdict::Allow),
        }
    }
}

agent_relay_plugin::export_policy!(TwoPerson);

#[cfg(test)]
mod tests {
    use agent_relay_plugin::policy::{AgentFacts, Spawn};
    use agent_relay_plugin::{Caller, testing};

    use super::*;

    #[test]
    fn what_is_open_needs_a_second_person_and_nothing_else_does() {
        let settings = r#"{"people": {"alice": ["alice"], "bob": ["bob"]}}"#;
        let by_alice = Context::sample().by(Caller::with_token("alice", &["control"]));
        let ask = |control: Control| testing::decide::<TwoPerson>(settings, control, &by_alice);
        let open = Spawn::sample().in_mode(ApprovalMode::Open);
        assert_eq!(ask(open.clone().labelled("approved-by:bob").into()), Ok(Verdict::Allow));
        assert!(matches!(ask(open.clone().labelled("approved-by:alice").into()), Ok(Verdict::Deny(_))));
        assert!(matches!(ask(open.into()), Ok(Verdict::Deny(_))));
        assert_eq!(ask(Spawn::sample().into()), Ok(Verdict::Allow));
        assert_eq!(ask(AgentFacts::sample("a1").shutdown()), Ok(Verdict::Allow));
    }

    #[test]
    fn settings_are_read_and_checked() {
        assert_eq!(Rules::read("{}"), Ok(Rules::default()));
        let error = |json: &str| Rules::read(json).expect_err("it does not fit");
        assert!(error(r#"{"mode": ["open"]}"#).starts_with("settings.mode: unknown field"));
        assert!(error(r#"{"modes": ["wide"]}"#).starts_with("settings.modes[0]: unknown variant"));
        assert!(error(r#"{"people": {"al ice": []}}"#).starts_with("settings.people: \"al ice\" must be one word"));
        let twice = error(r#"{"people": {"alice": ["ops"], "bob": ["ops"]}}"#);
        assert_eq!(twice, "settings.people.bob: \"ops\" is alice's already; a name belongs to one person");
    }
}
