//! What a provider may know besides how its program is started: what a session shows, and the ways into it.

use super::languages::{File, shipped};

/// The optional interfaces of a provider, the one that needs the other last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum With {
    /// Says by its screen and files what the program is doing
    Observer,
    /// Names the ways to bring a notice into a session; with an observer
    Courier,
}

/// Each with its source, and its cases.
const OBSERVER: [File; 6] = [
    ("src/observer.rs", shipped!("templates/rust/observer.rs")),
    (
        "tests/sees-an-idle-input.json",
        r#"{"observe": {"screen": {"rows": ["Hello.", "", ">"]}},
 "expect": {"observation": {"state": "idle", "hasDraft": false}}}"#,
    ),
    (
        "tests/sees-what-nobody-submitted.json",
        r#"{"observe": {"screen": {"rows": ["Hello.", "", "> half a sent"]}},
 "expect": {"observation": {"state": "idle", "hasDraft": true}}}"#,
    ),
    (
        "tests/sees-a-turn.json",
        r#"{"observe": {"screen": {"rows": ["Working, esc to interrupt", ">"]}}, "expect": {"observation": {"state": "busy"}}}"#,
    ),
    (
        "tests/sees-a-question.json",
        r#"{"observe": {"screen": {"rows": ["Run the tests? (y/n)", ">"]}},
 "expect": {"observation": {"state": {"approval": "Run the tests? (y/n)"}}}}"#,
    ),
    (
        "tests/claims-nothing-of-another-screen.json",
        r#"{"observe": {"screen": {"rows": ["Segmentation fault"]}}, "expect": {"observation": {"state": "unknown"}}}"#,
    ),
];

const COURIER: [File; 4] = [
    ("src/courier.rs", shipped!("templates/rust/courier.rs")),
    (
        "tests/types-at-an-idle-input.json",
        r#"{"deliver": {"notice": {"text": "[agent-relay] message 17 from alice"}, "seen": {"state": "idle"}},
 "expect": {"attempts": [{"rung": "typed", "carrier": "typed",
  "way": {"typing": {"keysBefore": [], "text": "[agent-relay] message 17 from alice", "submit": true}},
  "evidence": ["turn", {"screen": "you: [agent-relay] message 17 from alice"}], "confirmMs": 10000}]}}"#,
    ),
    (
        "tests/leaves-a-turn-alone.json",
        r#"{"deliver": {"notice": {"interrupt": false}, "seen": {"state": "busy"}}, "expect": {"attempts": []}}"#,
    ),
    (
        "tests/presses-nothing-into-a-question.json",
        r#"{"deliver": {"notice": {"interrupt": true}, "seen": {"state": {"approval": "Run the tests?"}}},
 "expect": {"attempts": []}}"#,
    ),
];

/// The files of what is wanted, without what is wanted twice.
pub(super) fn files(with: &[With]) -> Vec<File> {
    match most(with) {
        None => Vec::new(),
        Some(With::Observer) => OBSERVER.to_vec(),
        Some(With::Courier) => OBSERVER.into_iter().chain(COURIER).collect(),
    }
}

/// The source of the provider, exported with what is wanted besides.
pub(super) fn exported(source: &str, with: &[With]) -> String {
    let (modules, export) = match most(with) {
        None => return source.to_owned(),
        Some(With::Observer) => ("mod observer;\n\n", "export_observing_provider!"),
        Some(With::Courier) => ("mod courier;\nmod observer;\n\n", "export_delivering_provider!"),
    };
    let source = source.replacen("export_provider!", export, 1);
    // Below what the file says of itself, where modules are named.
    match source.find("use ") {
        Some(at) => format!("{}{modules}{}", &source[..at], &source[at..]),
        None => format!("{modules}{source}"),
    }
}

fn most(with: &[With]) -> Option<With> {
    if with.contains(&With::Courier) { Some(With::Courier) } else { with.first().copied() }
}
