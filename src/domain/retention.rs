//! Retention: how long records are kept, and what one look around for what time has ended found.

use std::time::Duration;

use serde::Serialize;
use utoipa::ToSchema;

use super::id::{AgentId, CommandId, EventSeq, MessageId, OrchestratorId, PairId, TaskId};

/// How long records are kept.
#[derive(Clone, Copy, Debug)]
pub struct Retention {
    /// Events at most.
    pub events_count: i64,
    /// The age of an event at most, in milliseconds.
    pub events_ms: i64,
    /// Messages at most.
    pub messages_count: i64,
    /// The age of a message at most, in milliseconds.
    pub messages_ms: i64,
    /// The age of a finished command, a finished session and an activity entry at most.
    pub records_ms: i64,
}

/// How much of a long work is done at a time, and how long others have their turn in between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Rows or pages of the next step.
    pub size: usize,
    /// The number of the latest event, as of the step before.
    latest: Option<EventSeq>,
}

impl Pace {
    /// While others write: a step shorter than a commit is felt by nobody who waits for one.
    const STEP: Duration = Duration::from_micros(150);
    /// While nobody does: who comes now waits so much longer, once.
    const STEP_ALONE: Duration = Duration::from_millis(2);
    /// A step at most.
    const SIZE_MAX: usize = 512;
    const PAUSE_MIN: Duration = Duration::from_millis(1);
    const PAUSE_MAX: Duration = Duration::from_millis(100);

    /// After a step that took so long and found `latest`: others get ten times as long, or as long where there is a
    /// `hurry` or nobody wrote since the step before. The next step is never smaller than what came meanwhile, so
    /// that what is deleted keeps up with what is written.
    pub fn after(&mut self, took: Duration, latest: EventSeq, hurry: bool) -> Duration {
        let came = self.latest.replace(latest).map_or(1, |before| latest.get().saturating_sub(before.get()));
        let is_alone = came == 0;
        let step = if is_alone { Self::STEP_ALONE } else { Self::STEP };
        let next = if took > step { self.size / 2 } else { self.size + self.size / 4 + 1 };
        self.size = next.max(usize::try_from(came).unwrap_or(0)).clamp(1, Self::SIZE_MAX);
        let pause = if hurry || is_alone { took } else { took * 10 };
        pause.clamp(Self::PAUSE_MIN, Self::PAUSE_MAX)
    }
}

impl Default for Pace {
    fn default() -> Self {
        Self { size: 16, latest: None }
    }
}

/// What one run of the reaper found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Reaped {
    /// Agents that fell silent.
    #[schema(value_type = Vec<String>)]
    pub reaped_agent_ids: Vec<AgentId>,
    /// Orchestrators that fell silent.
    #[schema(value_type = Vec<String>)]
    pub reaped_orchestrator_ids: Vec<OrchestratorId>,
    /// Messages whose claim is free again.
    #[schema(value_type = Vec<i64>)]
    pub released_message_ids: Vec<MessageId>,
    /// Tasks whose claim is free again.
    #[schema(value_type = Vec<i64>)]
    pub released_task_ids: Vec<TaskId>,
    /// Commands that nobody took up.
    #[serde(skip)]
    pub expired_command_ids: Vec<CommandId>,
    /// Pairs that nobody answered, or in which nothing was said.
    #[serde(skip)]
    pub expired_pair_ids: Vec<PairId>,
    /// Agents whose condition ended.
    #[serde(skip)]
    pub recovered_agent_ids: Vec<AgentId>,
    /// Agents that were offline for so long that they were removed.
    #[serde(skip)]
    pub pruned_agent_ids: Vec<AgentId>,
}

impl Reaped {
    /// Adds what a further step of the same run found.
    pub fn extend(&mut self, more: Self) {
        let Self {
            reaped_agent_ids,
            reaped_orchestrator_ids,
            released_message_ids,
            released_task_ids,
            expired_command_ids,
            expired_pair_ids,
            recovered_agent_ids,
            pruned_agent_ids,
        } = more;
        self.reaped_agent_ids.extend(reaped_agent_ids);
        self.reaped_orchestrator_ids.extend(reaped_orchestrator_ids);
        self.released_message_ids.extend(released_message_ids);
        self.released_task_ids.extend(released_task_ids);
        self.expired_command_ids.extend(expired_command_ids);
        self.expired_pair_ids.extend(expired_pair_ids);
        self.recovered_agent_ids.extend(recovered_agent_ids);
        self.pruned_agent_ids.extend(pruned_agent_ids);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn steps_come_to_take_as_long_as_they_should_and_are_never_nothing(
            row_ns in 500..50_000_u32,
            hurry: bool,
            alone: bool,
        ) {
            let (mut pace, mut latest) = (Pace::default(), 0);
            let target = if alone { Pace::STEP_ALONE } else { Pace::STEP };
            for step in 0..100_u32 {
                let took = Duration::from_nanos(u64::from(row_ns)) * u32::try_from(pace.size).unwrap();
                prop_assert!(step < 10 || took <= 2 * target, "{took:?}");
                latest += i64::from(!alone);
                let pause = pace.after(took, EventSeq::new(latest), hurry);
                prop_assert!(pace.size >= 1 && pace.size <= Pace::SIZE_MAX);
                let least = if hurry || alone { took } else { took * 10 };
                prop_assert!(step == 0 || pause >= least.min(Pace::PAUSE_MAX));
            }
        }

        #[test]
        fn a_step_deletes_at_least_what_came_since_the_one_before(
            came in prop::collection::vec(1..1_000_i64, 1..50),
            row_us in 1..1_000_u64,
        ) {
            let (mut pace, mut latest) = (Pace::default(), 7);
            pace.after(Duration::ZERO, EventSeq::new(latest), true);
            for came in came {
                latest += came;
                let took = Duration::from_micros(row_us) * u32::try_from(pace.size).unwrap();
                pace.after(took, EventSeq::new(latest), true);
                prop_assert!(pace.size >= usize::try_from(came).unwrap().min(Pace::SIZE_MAX));
            }
        }
    }
}
