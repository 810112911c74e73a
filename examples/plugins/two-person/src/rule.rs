//! The rule itself, as plain functions of the facts.

use std::collections::BTreeMap;

use agent_relay_plugin::Caller;
use agent_relay_plugin::policy::{Verdict, deny};

/// What a word of the label begins with to name the second person.
const MARK: &str = "approved-by:";

/// Whether the label names a person who is not the caller.
pub(crate) fn decide(people: &BTreeMap<String, Vec<String>>, label: &str, caller: &Caller) -> Verdict {
    if caller.agent_id.is_some() {
        return deny(
            "two_persons_needed",
            "two persons are needed for this approval mode, and an agent is none; ask a person to start it",
        );
    }
    // Somebody unknown might be the second person under another name.
    let Some(first) = person_of(people, &caller.name) else {
        return deny(
            "two_persons_needed",
            format!(
                "two persons are needed for this approval mode, and {:?} is none of those whom the relay's \
                 operator has named; ask one of them to start it",
                caller.name
            ),
        );
    };
    let mut named = label.split_whitespace().filter_map(|word| word.strip_prefix(MARK));
    if named.any(|second| second != first && people.contains_key(second)) {
        return Verdict::Allow;
    }
    let others: Vec<&str> = people.keys().map(String::as_str).filter(|person| *person != first).collect();
    deny(
        "second_person_needed",
        if others.is_empty() {
            "a second person is needed for this approval mode, and the relay's operator has named no other".to_owned()
        } else {
            format!(
                "a second person is needed for this approval mode: once one of {} has agreed, say so in the label, \
                 as {MARK}{}",
                others.join(", "),
                others[0]
            )
        },
    )
}

fn person_of<'a>(people: &'a BTreeMap<String, Vec<String>>, caller: &str) -> Option<&'a str> {
    people.iter().find(|(_, names)| names.iter().any(|name| name == caller)).map(|(person, _)| person.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(name: &str) -> Caller {
        Caller { name: name.to_owned(), agent_id: None, administrator: true, scopes: Vec::new(), loopback: true }
    }

    fn code(label: &str, caller: &Caller) -> String {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let people =
            BTreeMap::from([("alice".to_owned(), names(&["ops", "ops-2"])), ("bob".to_owned(), names(&["bob"]))]);
        match decide(&people, label, caller) {
            Verdict::Allow => "allow".to_owned(),
            Verdict::Deny(denial) => denial.code,
            Verdict::Amend(_) => "amend".to_owned(),
        }
    }

    #[test]
    fn another_person_is_enough() {
        for label in ["approved-by:bob", "fix it approved-by:bob now", "approved-by:alice approved-by:bob"] {
            assert_eq!(code(label, &caller("ops")), "allow", "{label}");
        }
        assert_eq!(code("approved-by:alice", &caller("bob")), "allow");
    }

    #[test]
    fn nobody_is_their_own_second_person() {
        for name in ["ops", "ops-2"] {
            assert_eq!(code("approved-by:alice", &caller(name)), "second_person_needed", "{name}");
        }
    }

    #[test]
    fn what_only_looks_like_a_name_is_none() {
        for label in ["", "approved-by:", "approved-by: bob", "approved-by:bobby", "not-approved-by:bob", "bob"] {
            assert_eq!(code(label, &caller("ops")), "second_person_needed", "{label}");
        }
    }

    #[test]
    fn strangers_and_agents_are_nobody() {
        assert_eq!(code("approved-by:bob", &caller("stranger")), "two_persons_needed");
        let agent = Caller { agent_id: Some("a1".to_owned()), ..caller("ops") };
        assert_eq!(code("approved-by:bob", &agent), "two_persons_needed");
    }
}
