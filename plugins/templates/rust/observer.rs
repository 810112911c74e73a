//! What the program does, by what its screen shows.
//!
//! It decides whether a key may be pressed, so it is made of evidence: what is not recognised is `Unknown`, and then
//! nothing is claimed and nothing typed. Keep each screen that the program really shows as a case in tests/, with the
//! version that showed it. What the program writes of itself is better evidence still: name its files under
//! `[grants] reads`, and read them with `session.file("...")`.

use agent_relay_plugin::NoSettings;
use agent_relay_plugin::session::{Observation, Observer, RunningSession, Screen, Seen};

use crate::Plugin;

/// The beginning of the row where its user types.
const INPUT: &str = ">";
/// What it shows while a turn runs.
const BUSY: &str = "esc to interrupt";
/// The end of what it asks before it does something.
const QUESTION: &str = "(y/n)";

impl Observer for Plugin {
    fn observe(_: &NoSettings, _: &RunningSession, screen: &Screen) -> Observation {
        let rows = || screen.rows.iter().rev().map(|row| row.trim()).filter(|row| !row.is_empty());
        // A question comes first, whatever else is on the screen: nothing may be typed into it.
        if let Some(question) = rows().find(|row| row.ends_with(QUESTION)) {
            return Observation::of(Seen::Approval(question.to_owned()));
        }
        if rows().any(|row| row.contains(BUSY)) {
            return Observation::of(Seen::Busy);
        }
        // What somebody typed and did not submit is a draft, and not to be typed into.
        match rows().next().and_then(|row| row.strip_prefix(INPUT)) {
            Some(typed) => Observation { has_draft: !typed.trim().is_empty(), ..Observation::of(Seen::Idle) },
            None => Observation::of(Seen::Unknown),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use agent_relay_plugin::testing;

    #[test]
    fn what_is_not_recognised_is_not_claimed() {
        let seen = |shown: &str| {
            let observed = testing::observe::<Plugin>("{}", &RunningSession::sample(), &Screen::of(shown));
            observed.expect("an observation").state
        };
        assert!(matches!(seen("Hello.\n>"), Seen::Idle));
        assert!(matches!(seen("Run it? (y/n)\n>"), Seen::Approval(_)));
        assert!(matches!(seen("Segmentation fault"), Seen::Unknown));
    }
}
