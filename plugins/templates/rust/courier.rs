//! The ways to bring a notice into a running session, best first.
//!
//! A way of the program's own, such as a queue or an inbox, needs no keystroke and goes before what is typed: add it in
//! front, with the program or the socket that `[grants]` names. Evidence is what shows that the program took it; without
//! any, the notice is never said to be more than offered.

use agent_relay_plugin::NoSettings;
use agent_relay_plugin::session::{Attempt, Courier, Notice, Observation, RunningSession, Seen, Sign};

use crate::Plugin;

/// What ends a turn, so that an interrupting notice is the next.
const INTERRUPT: &[&str] = &["Escape"];

impl Courier for Plugin {
    fn deliver(_: &NoSettings, notice: &Notice, _: &RunningSession, seen: &Observation) -> Vec<Attempt> {
        let is_moment = matches!(seen.state, Seen::Idle) || notice.breaks_into(seen);
        if !is_moment || seen.has_draft {
            return Vec::new();
        }
        // A turn that begins, or the notice among what was said: a text in the input alone is no evidence.
        let said = Sign::Screen(format!("you: {}", notice.beginning()));
        vec![Attempt::typed(notice.typing(seen, INTERRUPT), vec![Sign::Turn, said])]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use agent_relay_plugin::testing;

    #[test]
    fn nothing_is_typed_into_a_question_or_a_draft() {
        let ways = |seen: Observation| {
            let (notice, session) = (Notice::sample(), RunningSession::sample());
            testing::deliver::<Plugin>("{}", &notice, &session, &seen).expect("a ladder").len()
        };
        assert_eq!(ways(Observation::of(Seen::Idle)), 1);
        assert_eq!(ways(Observation { has_draft: true, ..Observation::of(Seen::Idle) }), 0);
        assert_eq!(ways(Observation::of(Seen::Approval("Run it?".to_owned()))), 0);
        assert_eq!(ways(Observation::of(Seen::Unknown)), 0);
    }
}
