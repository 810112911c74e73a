//! What two clocks tell together: the wall clock, which somebody may set, and the time since the machine was
//! started, which nobody can.
//!
//! When they disagree, the wall clock was set: what is dated by it is moved along. When nobody looked at either
//! for a while, the relay did not run: that time counts against nobody. Pure functions of what was read.

use serde::{Deserialize, Serialize};

use super::Timestamp;

/// The clocks are looked at every second and at every commit. Nobody was here for longer than this: the machine
/// slept, or the relay was stopped or starved.
const PAUSE_MS_MIN: i64 = 5_000;
/// Less than this between two looks is a clock being steered, which is followed without a word.
const STEP_MS_MIN: i64 = 1_000;
/// How far the wall clock may be ahead of the proven time and still be believed.
const LAG_MS_MAX: i64 = 60_000;
/// How long a machine may have been off by the word of its wall clock alone: over a long weekend.
const ABSENCE_MS_MAX: i64 = 3 * 24 * 60 * 60 * 1000;
/// For how long a wall clock that was set forward must then run before anything is deleted on its word.
const DOUBT_MS: i64 = 24 * 60 * 60 * 1000;

/// Both clocks at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// The wall clock.
    pub wall: Timestamp,
    /// Milliseconds since the machine was started, its sleep included.
    pub elapsed_ms: i64,
}

/// Where the clocks were, as it is kept for the next start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Mark {
    /// The start of the machine to which `elapsed_ms` belongs.
    pub boot: String,
    /// The wall clock.
    pub wall: Timestamp,
    /// Milliseconds since the machine was started.
    pub elapsed_ms: i64,
    /// The time that was proven.
    pub proven: Timestamp,
    /// How much longer the wall clock has to run until it is believed.
    pub doubt_ms: i64,
}

/// A moment, with how it lies to those before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moment {
    /// By the wall clock.
    pub now: Timestamp,
    /// The time that has certainly come, never after `now`: what is old by this one may be deleted.
    pub proven: Timestamp,
    /// When this run began, by the wall clock as it is now.
    pub began: Timestamp,
    /// By how much the wall clock was set so far, all in all.
    pub stepped_ms: i64,
    /// For how long nobody was here so far, all in all.
    pub paused_ms: i64,
}

impl Moment {
    /// Whether records of that moment need not be moved along.
    pub fn is_steady_since(self, earlier: Self) -> bool {
        (self.stepped_ms, self.paused_ms) == (earlier.stepped_ms, earlier.paused_ms)
    }
}

/// Something about the clocks that is worth a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Jump {
    /// The wall clock was set by so much; negative: back.
    Step {
        /// When, by the clock as it is since.
        at: Timestamp,
        /// By how much.
        ms: i64,
    },
    /// For so long nobody was here.
    Pause {
        /// When it was over.
        at: Timestamp,
        /// How long.
        ms: i64,
    },
}

/// How far the clocks can be relied on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Steadiness {
    /// The latest step of the wall clock, if there was one.
    pub step: Option<Jump>,
    /// The latest pause, if there was one.
    pub pause: Option<Jump>,
    /// Steps forward since the start.
    pub steps_forward: u64,
    /// Steps back since the start.
    pub steps_back: u64,
    /// Pauses since the start.
    pub pauses: u64,
    /// How far the wall clock is ahead of what is proven, while it is not believed; else 0.
    pub unproven_ms: i64,
    /// How much longer it has to run until it is.
    pub doubt_ms: i64,
}

/// What was seen of the clocks so far.
#[derive(Clone, Debug)]
pub(super) struct Timeline {
    last: Reading,
    proven: Timestamp,
    doubt_ms: i64,
    stepped_ms: i64,
    paused_ms: i64,
    /// When this run began, in milliseconds since the machine was started.
    began_ms: i64,
    /// Since when somebody is here without a pause, in milliseconds since the machine was started.
    resumed_ms: i64,
    steadiness: Steadiness,
}

impl Timeline {
    /// Begins with this reading; nothing is known of before.
    pub(super) fn new(reading: Reading) -> Self {
        Self {
            last: reading,
            proven: reading.wall,
            doubt_ms: 0,
            stepped_ms: 0,
            paused_ms: 0,
            began_ms: reading.elapsed_ms,
            resumed_ms: reading.elapsed_ms,
            steadiness: Steadiness::default(),
        }
    }

    /// Begins where an earlier run left off. `boot` is the start of the machine that this reading belongs to;
    /// `newest` is the latest time in the records, which has to do where no mark was kept.
    pub(super) fn resume(reading: Reading, boot: &str, mark: Option<&Mark>, newest: Option<Timestamp>) -> Self {
        let mut timeline = Self::new(reading);
        match mark {
            // The same start of the machine: the time between is as sure as any.
            Some(mark) if mark.boot == boot && mark.elapsed_ms <= reading.elapsed_ms => {
                timeline.last = Reading { wall: mark.wall, elapsed_ms: mark.elapsed_ms };
                timeline.proven = mark.proven;
                timeline.doubt_ms = mark.doubt_ms;
                timeline.see(reading);
                timeline.paused_ms = reading.elapsed_ms - mark.elapsed_ms;
                timeline.steadiness.pause = None;
                timeline.steadiness.pauses = 0;
            }
            Some(mark) if reading.wall < mark.wall => {
                timeline.doubt_ms = mark.doubt_ms;
                timeline.proven = mark.proven;
                timeline.note_step(reading, reading.wall - mark.wall);
                timeline.prove(0, 0);
            }
            Some(mark) => {
                let absence = reading.wall - mark.wall;
                timeline.paused_ms = absence;
                timeline.doubt_ms = mark.doubt_ms;
                timeline.proven = mark.proven + absence.min(ABSENCE_MS_MAX);
                timeline.prove(0, if absence > ABSENCE_MS_MAX { absence } else { 0 });
            }
            None => {
                if let Some(newest) = newest {
                    timeline.proven = newest + ABSENCE_MS_MAX;
                    timeline.prove(0, reading.wall - timeline.proven);
                }
            }
        }
        timeline.resumed_ms = reading.elapsed_ms;
        timeline
    }

    /// Looks at the clocks again, and answers what happened to them since.
    pub(super) fn see(&mut self, reading: Reading) -> Option<Jump> {
        // Two threads may look at once, and the later one come first.
        let elapsed = reading.elapsed_ms - self.last.elapsed_ms;
        if elapsed < 0 {
            return None;
        }
        let step = reading.wall - (self.last.wall + elapsed);
        let was_away = elapsed > PAUSE_MS_MIN;
        self.last = reading;
        self.proven = self.proven + elapsed;
        let mut jump = None;
        if was_away {
            self.paused_ms += elapsed;
            self.resumed_ms = reading.elapsed_ms;
            self.steadiness.pauses += 1;
            jump = Some(Jump::Pause { at: reading.wall, ms: elapsed });
            self.steadiness.pause = jump;
        }
        let was_set = step.abs() >= STEP_MS_MIN;
        if was_set {
            self.note_step(reading, step);
            jump = self.steadiness.step;
        }
        self.prove(if was_away { 0 } else { elapsed }, if was_set { step } else { 0 });
        jump
    }

    fn note_step(&mut self, reading: Reading, ms: i64) {
        self.stepped_ms += ms;
        self.steadiness.step = Some(Jump::Step { at: reading.wall, ms });
        if ms > 0 {
            self.steadiness.steps_forward += 1;
        } else {
            self.steadiness.steps_back += 1;
        }
    }

    /// Follows the wall clock with what is proven: at once where it is not far ahead, else after it ran for
    /// [`DOUBT_MS`] without being set `forward` again. `watched` is for how long it was seen to run.
    fn prove(&mut self, watched: i64, forward: i64) {
        let wall = self.last.wall;
        let is_far_ahead = wall - self.proven > LAG_MS_MAX;
        if is_far_ahead && forward > 0 {
            self.doubt_ms = DOUBT_MS;
        } else {
            self.doubt_ms = (self.doubt_ms - watched).max(0);
        }
        if !is_far_ahead || self.doubt_ms == 0 {
            self.doubt_ms = 0;
            self.proven = wall;
        }
    }

    /// The latest look.
    pub(super) fn moment(&self) -> Moment {
        let Self { last, proven, stepped_ms, paused_ms, .. } = *self;
        let began = last.wall - (last.elapsed_ms - self.began_ms);
        Moment { now: last.wall, proven, began, stepped_ms, paused_ms }
    }

    /// For how long somebody has been here without a pause.
    pub(super) fn present_ms(&self) -> i64 {
        self.last.elapsed_ms - self.resumed_ms
    }

    /// How far the clocks can be relied on.
    pub(super) fn steadiness(&self) -> Steadiness {
        let unproven_ms = if self.doubt_ms > 0 { self.last.wall - self.proven } else { 0 };
        Steadiness { unproven_ms, doubt_ms: self.doubt_ms, ..self.steadiness }
    }

    /// What the next start has to know.
    pub(super) fn mark(&self, boot: &str) -> Mark {
        Mark {
            boot: boot.to_owned(),
            wall: self.last.wall,
            elapsed_ms: self.last.elapsed_ms,
            proven: self.proven,
            doubt_ms: self.doubt_ms,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DAY: i64 = 24 * 60 * 60 * 1000;
    const START: i64 = 1_800_000_000_000;

    fn at(wall: i64, elapsed_ms: i64) -> Reading {
        Reading { wall: Timestamp::from_ms(START + wall), elapsed_ms }
    }

    fn after(wall: i64) -> Timestamp {
        Timestamp::from_ms(START + wall)
    }

    /// Looks every second for so long, with the wall clock this far off.
    fn run(timeline: &mut Timeline, from: i64, until: i64, off: i64) {
        for elapsed in (from..=until).step_by(1_000) {
            timeline.see(at(elapsed + off, elapsed));
        }
    }

    #[test]
    fn a_clock_that_is_steered_is_followed_without_a_word() {
        let mut timeline = Timeline::new(at(0, 0));
        for second in 1..1_000 {
            assert_eq!(timeline.see(at(second * 1_005, second * 1_000)), None);
        }
        let moment = timeline.moment();
        assert_eq!((moment.stepped_ms, moment.paused_ms, moment.proven), (0, 0, moment.now));
    }

    #[test]
    fn a_step_is_seen_with_its_size_and_a_sleep_is_none() {
        let mut timeline = Timeline::new(at(0, 0));
        assert_eq!(timeline.see(at(-59_000, 1_000)), Some(Jump::Step { at: after(-59_000), ms: -60_000 }));
        assert_eq!(timeline.see(at(-58_000, 2_000)), None);
        assert_eq!(timeline.see(at(542_000, 602_000)), Some(Jump::Pause { at: after(542_000), ms: 600_000 }));
        let moment = timeline.moment();
        assert_eq!((moment.stepped_ms, moment.paused_ms, moment.proven), (-60_000, 600_000, moment.now));
        assert_eq!(timeline.present_ms(), 0);
        assert_eq!(timeline.see(at(543_000, 603_000)), None);
        assert_eq!(timeline.present_ms(), 1_000);
    }

    #[test]
    fn a_clock_that_was_set_far_ahead_proves_nothing_until_it_ran_for_a_day() {
        let mut timeline = Timeline::new(at(0, 0));
        run(&mut timeline, 1_000, DAY, 400 * DAY);
        assert_eq!(timeline.moment().proven, after(DAY), "only what passed");
        assert!(timeline.steadiness().doubt_ms > 0);
        run(&mut timeline, DAY + 1_000, DAY + 2_000, 400 * DAY);
        assert_eq!(timeline.moment().proven, timeline.moment().now);
        assert_eq!(timeline.steadiness().doubt_ms, 0);
    }

    #[test]
    fn a_clock_that_was_put_right_again_is_believed_at_once() {
        let mut timeline = Timeline::new(at(0, 0));
        run(&mut timeline, 1_000, 60_000, 400 * DAY);
        timeline.see(at(61_000, 61_000));
        let moment = Moment { now: after(61_000), proven: after(61_000), began: after(0), stepped_ms: 0, paused_ms: 0 };
        assert_eq!(timeline.moment(), moment);
        assert_eq!((timeline.steadiness().steps_forward, timeline.steadiness().steps_back), (1, 1));
    }

    #[test]
    fn doubt_outlives_a_restart_and_a_pause_does_not_end_it() {
        let mut timeline = Timeline::new(at(0, 0));
        run(&mut timeline, 1_000, 2_000, 400 * DAY);
        let mark = timeline.mark("boot");
        let mut next = Timeline::resume(at(403 * DAY, 3 * DAY), "boot", Some(&mark), None);
        assert_eq!(next.moment().proven, after(3 * DAY));
        assert_eq!(next.moment().paused_ms, 3 * DAY - 2_000);
        next.see(at(406 * DAY, 6 * DAY));
        assert_eq!(next.moment().proven, after(6 * DAY));
    }

    #[test]
    fn at_a_start_what_the_machine_counted_is_sure_and_the_wall_clock_is_believed_for_a_weekend() {
        let mut before = Timeline::new(at(0, 5_000));
        before.see(at(1_000, 6_000));
        let mark = before.mark("one");
        // The same start of the machine: set a day ahead while the relay was off.
        let same = Timeline::resume(at(DAY + 3_000, 8_000), "one", Some(&mark), None);
        assert_eq!((same.moment().stepped_ms, same.moment().proven), (DAY, after(3_000)));
        assert_eq!((same.steadiness().pauses, same.present_ms()), (0, 0));
        // Another start: it may have been off.
        let weekend = Timeline::resume(at(2 * DAY, 100), "two", Some(&mark), None);
        assert_eq!((weekend.moment().proven, weekend.moment().paused_ms), (after(2 * DAY), 2 * DAY - 1_000));
        let holiday = Timeline::resume(at(400 * DAY, 100), "two", Some(&mark), None);
        assert_eq!(holiday.moment().proven, after(3 * DAY + 1_000));
        assert!(holiday.steadiness().doubt_ms > 0);
        // No machine's clock runs back.
        let back = Timeline::resume(at(-DAY, 100), "two", Some(&mark), None);
        assert_eq!((back.moment().stepped_ms, back.moment().proven), (-DAY - 1_000, after(-DAY)));
        // Nothing was kept, but there are records.
        let old = Timeline::resume(at(400 * DAY, 100), "two", None, Some(after(0)));
        assert_eq!(old.moment().proven, after(3 * DAY));
        let new = Timeline::resume(at(400 * DAY, 100), "two", None, None);
        assert_eq!(new.moment().proven, after(400 * DAY));
    }

    proptest! {
        /// Whatever the wall clock does: what is proven is never after it, and advances no faster than time
        /// passes unless the wall clock ran for a day since it was set forward, or is hardly ahead.
        #[test]
        fn nothing_is_proven_that_did_not_pass(
            looks in proptest::collection::vec((1..4_000_i64, prop_oneof![4 => Just(0_i64), 1 => -DAY..DAY]), 1..200),
        ) {
            let mut timeline = Timeline::new(at(0, 0));
            let (mut wall, mut elapsed, mut stepped) = (0, 0, 0);
            for (ms, step) in looks {
                let step = if step.abs() < STEP_MS_MIN { 0 } else { step };
                let before = timeline.moment();
                (wall, elapsed, stepped) = (wall + ms + step, elapsed + ms, stepped + step);
                timeline.see(at(wall, elapsed));
                let moment = timeline.moment();
                prop_assert!(moment.proven <= moment.now);
                prop_assert_eq!(moment.stepped_ms, stepped);
                prop_assert_eq!(moment.paused_ms, 0);
                prop_assert!(moment.proven - before.proven <= ms + LAG_MS_MAX);
            }
        }
    }
}
