//! What keeps an agent from working, by what is seen of its session over time.

use std::time::Duration;

use tokio::time::Instant;

use crate::domain::agent::{ConditionKind, NewCondition};
use crate::domain::control::observation::Doing;
use crate::launcher::look::Look;
use crate::launcher::told::held_up;

/// How long a turn may run without anything moving, on the screen or in the program's files.
const STALLED_AFTER: Duration = Duration::from_secs(10 * 60);

/// Since when nothing has moved.
#[derive(Default)]
pub(super) struct Vigil {
    moved_at: Option<Instant>,
    /// When the program's files were changed last, in milliseconds since the epoch.
    files: u64,
}

impl Vigil {
    /// Takes note of a look. `changed` says whether something was written to the screen since the one before.
    pub(super) fn saw(&mut self, look: &Look, changed: bool, now: Instant) {
        let files = look.session.files.iter().map(|file| file.modified_ms).max().unwrap_or_default();
        self.note(files, changed, now);
    }

    fn note(&mut self, files: u64, changed: bool, now: Instant) {
        if changed || files != self.files || self.moved_at.is_none() {
            self.moved_at = Some(now);
        }
        self.files = files;
    }

    /// The condition that follows from what the program does; none where nobody can say.
    pub(super) fn condition(&self, doing: &Doing, now: Instant) -> Option<Option<NewCondition>> {
        match doing {
            Doing::Unknown => None,
            Doing::Starting => Some(Some(NewCondition::seen(ConditionKind::Starting, ""))),
            Doing::Busy if self.moved_at.is_some_and(|at| now.duration_since(at) >= STALLED_AFTER) => {
                Some(Some(NewCondition::seen(ConditionKind::Stalled, "nothing has moved for 10 minutes")))
            }
            doing => Some(held_up(doing)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::time::Timestamp;

    fn kind(condition: Option<Option<NewCondition>>) -> Option<Option<ConditionKind>> {
        condition.map(|condition| condition.map(|condition| condition.kind))
    }

    #[test]
    fn a_turn_in_which_nothing_moves_for_ten_minutes_is_stalled_until_something_does() {
        let begun = Instant::now();
        let at = |minutes: u64| begun + Duration::from_secs(60 * minutes);
        let mut vigil = Vigil::default();
        vigil.note(1, false, at(0));
        assert_eq!(kind(vigil.condition(&Doing::Busy, at(9))), Some(None));
        vigil.note(1, false, at(9));
        assert_eq!(kind(vigil.condition(&Doing::Busy, at(10))), Some(Some(ConditionKind::Stalled)));
        // Whoever waits for its user is not.
        assert_eq!(kind(vigil.condition(&Doing::Idle, at(10))), Some(None));
        vigil.note(2, false, at(11));
        assert_eq!(kind(vigil.condition(&Doing::Busy, at(20))), Some(None), "its files say that it goes on");
        vigil.note(2, true, at(21));
        assert_eq!(kind(vigil.condition(&Doing::Busy, at(30))), Some(None), "and so does its screen");
    }

    #[test]
    fn what_is_seen_is_a_condition_and_what_is_not_recognised_says_nothing() {
        let vigil = Vigil::default();
        let now = Instant::now();
        let text = || "really?".to_owned();
        for (doing, expected) in [
            (Doing::Dialog(text()), ConditionKind::Dialog),
            (Doing::Approval(text()), ConditionKind::Approval),
            (Doing::Input(text()), ConditionKind::Input),
            (Doing::Limit { until_ms: Some(7), text: text() }, ConditionKind::Limit),
        ] {
            let condition = vigil.condition(&doing, now).flatten().expect("a condition");
            assert_eq!((condition.kind, condition.detail.as_deref()), (expected, Some("really?")));
            let until = (expected == ConditionKind::Limit).then(|| Timestamp::from_ms(7));
            assert_eq!(condition.until, until);
        }
        assert_eq!(vigil.condition(&Doing::Unknown, now), None);
    }
}
