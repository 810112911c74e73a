//! Transitions: the whole state machine of a task. Nothing else changes a status.
//!
//! The functions change nothing when they refuse.

use serde_json::json;

use super::{Task, TaskEventKind, TaskKind, TaskStatus};
use crate::domain::id::{AgentId, TaskId};
use crate::domain::message::{ClaimChange, LEASE_MS_DEFAULT, Sender};
use crate::domain::refusal::Refusal;
use crate::domain::text::json::Exact;
use crate::domain::time::Timestamp;

impl TaskStatus {
    /// Whether nothing can follow.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Done | Self::Failed | Self::Canceled)
    }

    /// Whether a report may move a task from here to `next`. Whoever holds it may say again how it stands.
    pub fn may_become(self, next: Self) -> bool {
        match self {
            Self::Open => matches!(next, Self::Claimed | Self::Canceled),
            Self::Claimed | Self::InProgress | Self::Blocked => true,
            Self::Done | Self::Failed | Self::Canceled => false,
        }
    }
}

/// What somebody says that has become of a task.
#[derive(Clone, Debug)]
pub struct Report {
    /// Who says so.
    pub agent: AgentId,
    /// Whether by the credential of an administrator, who may cancel what others asked for.
    pub is_administrator: bool,
    /// What it is to be.
    pub status: TaskStatus,
    /// The generation of the claim. Without one the holder's name is enough.
    pub generation: Option<i64>,
    /// Words about it.
    pub note: Option<String>,
    /// What came of it.
    pub result: Option<Exact>,
}

/// What somebody answers to a question.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Who answers.
    pub agent: AgentId,
    /// How that is known.
    pub sender: Sender,
    /// Whether by the credential of an administrator, who may answer what others were asked.
    pub is_administrator: bool,
    /// One of the options, where there are some.
    pub answer: String,
    /// Words about it.
    pub note: Option<String>,
}

impl Task {
    /// Changes its claim, by whichever door that was asked for. `Ok(None)`: nothing changed.
    pub fn change_claim(
        &mut self,
        change: ClaimChange,
        agent: &AgentId,
        now: Timestamp,
    ) -> Result<Option<TaskEventKind>, Refusal> {
        let (status, kind) = match change {
            ClaimChange::Take { .. } => (TaskStatus::Claimed, TaskEventKind::Claimed),
            ClaimChange::Renew { .. } => (self.status, TaskEventKind::Renewed),
            ClaimChange::Release { .. } => (TaskStatus::Open, TaskEventKind::Released),
            ClaimChange::Complete { .. } => (TaskStatus::Done, TaskEventKind::Done),
        };
        match (self.status, change.generation()) {
            // The claim of what was given up is nobody's.
            (TaskStatus::Failed | TaskStatus::Canceled, Some(generation)) => return Err(self.stale(generation)),
            (TaskStatus::Failed | TaskStatus::Canceled, None) => return Err(self.illegal(status)),
            _ if self.is_waiting() => return Err(self.illegal(status)),
            _ => {}
        }
        let mut claim = self.claim();
        if change.apply(&mut claim, self.id.into(), agent, now)?.is_none() {
            return Ok(None);
        }
        if status == TaskStatus::Done && self.kind != TaskKind::Work {
            return Err(self.illegal(status));
        }
        self.set_claim(claim);
        self.status = status;
        Ok(Some(kind))
    }

    /// Frees a claim whose lease has ended. Answers who held it.
    pub fn expire(&mut self, now: Timestamp) -> Option<AgentId> {
        let mut claim = self.claim();
        let holder = claim.by.clone();
        if !claim.expire(now) {
            return None;
        }
        self.set_claim(claim);
        self.status = TaskStatus::Open;
        holder
    }

    /// Whether its lease has ended and nobody has noticed yet.
    pub fn is_overdue(&self, now: Timestamp) -> bool {
        self.claim_expires_at.is_some_and(|until| until <= now)
    }

    /// Takes a report: by its holder, and where it is to be canceled by who asked or an administrator as well.
    pub fn report(&mut self, report: &Report, now: Timestamp) -> Result<TaskEventKind, Refusal> {
        let next = report.status;
        let is_held =
            !self.is_overdue(now) && self.claim_expires_at.is_some() && self.claimed_by.as_ref() == Some(&report.agent);
        let is_of_holder = !matches!(next, TaskStatus::Claimed | TaskStatus::Canceled);
        match report.generation {
            Some(generation) if generation != self.claim_generation => return Err(self.stale(generation)),
            Some(generation) if is_of_holder && !is_held && !self.status.is_final() => {
                return Err(self.stale(generation));
            }
            _ => {}
        }
        let is_legal = self.status.may_become(next) && (!self.is_waiting() || next == TaskStatus::Canceled);
        if !is_legal || (next == TaskStatus::Done && self.kind != TaskKind::Work) {
            return Err(self.illegal(next));
        }
        if report.result.is_some() && self.kind != TaskKind::Work {
            return Err(Refusal::invalid(format!("the result of a {} is its answer", self.kind)));
        }
        let may_cancel = report.is_administrator || self.from.as_ref() == Some(&report.agent);
        match (self.status, next) {
            (_, TaskStatus::Claimed) if !is_held => {
                self.change_claim(ClaimChange::Take { lease_ms: LEASE_MS_DEFAULT }, &report.agent, now)?;
            }
            (_, TaskStatus::Canceled) if may_cancel || is_held => {}
            (_, TaskStatus::Canceled) if report.generation.is_none() => {
                let text = "a task is canceled by who asked for it, who holds it, or an administrator";
                return Err(Refusal::NotAllowed(text.to_owned()));
            }
            _ if !is_held => return Err(self.stale(report.generation.unwrap_or(self.claim_generation))),
            _ => {}
        }
        if report.result.is_some() {
            self.result.clone_from(&report.result);
        }
        self.set_status(next, now);
        Ok(match next {
            TaskStatus::Open => TaskEventKind::Released,
            TaskStatus::Claimed => TaskEventKind::Claimed,
            TaskStatus::InProgress => TaskEventKind::InProgress,
            TaskStatus::Blocked => TaskEventKind::Blocked,
            TaskStatus::Done => TaskEventKind::Done,
            TaskStatus::Failed => TaskEventKind::Failed,
            TaskStatus::Canceled => TaskEventKind::Canceled,
        })
    }

    /// Takes the answer to a question. The first one counts.
    pub fn take_answer(&mut self, answer: &Answer, now: Timestamp) -> Result<(), Refusal> {
        if self.kind == TaskKind::Work {
            return Err(Refusal::invalid(format!("task {} is work: it is done, not answered", self.id)));
        }
        match self.status {
            TaskStatus::Done => return Err(Refusal::AlreadyAnswered(self.id)),
            TaskStatus::Failed | TaskStatus::Canceled => return Err(self.illegal(TaskStatus::Done)),
            _ if self.is_waiting() => return Err(self.illegal(TaskStatus::Done)),
            _ => {}
        }
        if !self.options.is_empty() && !self.options.contains(&answer.answer) {
            return Err(Refusal::InvalidAnswer(self.options.clone()));
        }
        let mut result = json!({"answer": answer.answer});
        if let Some(note) = &answer.note {
            result["note"] = json!(note);
        }
        self.result = Some(result.into());
        if self.claimed_by.as_ref() != Some(&answer.agent) {
            (self.claimed_by, self.claimed_at) = (Some(answer.agent.clone()), Some(now));
        }
        self.set_status(TaskStatus::Done, now);
        Ok(())
    }

    /// Ends it for who made it knows that nothing is to be done any more: as done where somebody had begun, as
    /// canceled where nobody had. Nothing changes where it has ended.
    pub fn resolve(&mut self, now: Timestamp) -> Option<TaskEventKind> {
        if self.status.is_final() {
            return None;
        }
        let was_begun = self.status.may_become(TaskStatus::Done) && !self.is_waiting() && self.kind == TaskKind::Work;
        let (next, kind) = match was_begun {
            true => (TaskStatus::Done, TaskEventKind::Done),
            false => (TaskStatus::Canceled, TaskEventKind::Canceled),
        };
        self.set_status(next, now);
        Some(kind)
    }

    /// A task that it waits for came to its end. Where that was a good one and the last that was waited for, it is
    /// open; where it was another, it is canceled. Answers what became of it, if something did.
    pub fn dependency_ended(&mut self, dependency: TaskId, end: TaskStatus, now: Timestamp) -> Option<TaskEventKind> {
        if !self.blocked_by.contains(&dependency) {
            return None;
        }
        if end != TaskStatus::Done {
            self.set_status(TaskStatus::Canceled, now);
            return Some(TaskEventKind::Canceled);
        }
        self.blocked_by.retain(|id| *id != dependency);
        if self.is_waiting() {
            return None;
        }
        self.set_status(TaskStatus::Open, now);
        Some(TaskEventKind::Unblocked)
    }

    /// Sets a status, and the claim as it is then.
    fn set_status(&mut self, next: TaskStatus, now: Timestamp) {
        self.status = next;
        match next {
            TaskStatus::Open | TaskStatus::Canceled => {
                (self.claimed_by, self.claimed_at, self.claim_expires_at) = (None, None, None);
            }
            TaskStatus::Done | TaskStatus::Failed => self.claim_expires_at = None,
            TaskStatus::Claimed | TaskStatus::InProgress | TaskStatus::Blocked => {}
        }
        if next.is_final() {
            self.finished_at = Some(now);
            self.blocked_by.clear();
        }
    }

    fn illegal(&self, next: TaskStatus) -> Refusal {
        Refusal::IllegalTransition { noun: "task", from: self.status.to_string(), to: next.to_string() }
    }

    fn stale(&self, generation: i64) -> Refusal {
        Refusal::StaleClaim { work: self.id.into(), generation }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::task::NewTask;

    fn task(kind: TaskKind, status: TaskStatus, waits_for: Vec<TaskId>) -> Task {
        let new = NewTask { kind, from: Some("asker".into()), ..NewTask::default() };
        let mut task = new.stored(waits_for, false, Timestamp::default());
        task.id = TaskId::new(1);
        let is_held = matches!(status, TaskStatus::Claimed | TaskStatus::InProgress | TaskStatus::Blocked);
        if is_held && !task.is_waiting() {
            let take = ClaimChange::Take { lease_ms: 10 };
            task.change_claim(take, &"a".into(), Timestamp::default()).expect("it is free");
        }
        task.set_status(status, Timestamp::default());
        task
    }

    fn report(agent: &str, status: TaskStatus) -> Report {
        Report { agent: agent.into(), is_administrator: false, status, generation: None, note: None, result: None }
    }

    /// By hand, so that the table and the code cannot have the same mistake.
    fn is_legal(from: TaskStatus, to: TaskStatus) -> bool {
        use TaskStatus::{Blocked, Canceled, Claimed, Done, Failed, InProgress, Open};
        match (from, to) {
            (Open, Claimed | Canceled) => true,
            (Open, Open | InProgress | Blocked | Done | Failed) => false,
            (Claimed | InProgress | Blocked, _) => true,
            (Done | Failed | Canceled, _) => false,
        }
    }

    #[test]
    fn every_step_is_taken_or_refused_as_the_table_says() {
        for kind in TaskKind::ALL {
            for from in TaskStatus::ALL {
                for to in TaskStatus::ALL {
                    assert_eq!(from.may_become(to), is_legal(from, to), "{from} to {to}");
                    let mut task = task(kind, from, Vec::new());
                    let before = task.clone();
                    let agent = if from == TaskStatus::Open && to == TaskStatus::Canceled { "asker" } else { "a" };
                    let answer = task.report(&report(agent, to), Timestamp::default());
                    let legal = is_legal(from, to) && (kind == TaskKind::Work || to != TaskStatus::Done);
                    assert_eq!(answer.is_ok(), legal, "{kind}: {from} to {to}: {answer:?}");
                    if legal {
                        assert_eq!(task.status, to);
                    } else {
                        assert!(matches!(answer, Err(Refusal::IllegalTransition { .. })), "{answer:?}");
                        assert_eq!(task, before);
                    }
                }
            }
        }
    }

    #[test]
    fn what_waits_for_others_is_only_canceled() {
        for to in TaskStatus::ALL {
            let mut task = task(TaskKind::Work, TaskStatus::Blocked, vec![TaskId::new(7)]);
            let answer = task.report(&report("asker", to), Timestamp::default());
            assert_eq!(answer.is_ok(), to == TaskStatus::Canceled, "{to}");
        }
        let mut task = task(TaskKind::Question, TaskStatus::Blocked, vec![TaskId::new(7)]);
        let answer = Answer {
            agent: "a".into(),
            sender: Sender::default(),
            is_administrator: true,
            answer: "x".to_owned(),
            note: None,
        };
        assert!(task.take_answer(&answer, Timestamp::default()).is_err());
        let take = ClaimChange::Take { lease_ms: 10 };
        assert!(task.change_claim(take, &"a".into(), Timestamp::default()).is_err());
        assert_eq!(
            task.dependency_ended(TaskId::new(8), TaskStatus::Failed, Timestamp::default()),
            None,
            "another's end"
        );
        let unblocked = task.dependency_ended(TaskId::new(7), TaskStatus::Done, Timestamp::default());
        assert_eq!((unblocked, task.status), (Some(TaskEventKind::Unblocked), TaskStatus::Open));
        assert!(task.take_answer(&answer, Timestamp::default()).is_ok());
    }

    #[test]
    fn who_says_that_it_is_over_ends_it_as_what_it_was() {
        for (status, expected) in [
            (TaskStatus::Open, Some(TaskEventKind::Canceled)),
            (TaskStatus::Claimed, Some(TaskEventKind::Done)),
            (TaskStatus::InProgress, Some(TaskEventKind::Done)),
            (TaskStatus::Blocked, Some(TaskEventKind::Done)),
            (TaskStatus::Done, None),
            (TaskStatus::Failed, None),
            (TaskStatus::Canceled, None),
        ] {
            assert_eq!(task(TaskKind::Work, status, Vec::new()).resolve(Timestamp::default()), expected, "{status}");
        }
    }

    #[derive(Clone, Debug)]
    enum Step {
        Claim(u8, ClaimChange),
        Report(u8, TaskStatus, Option<i64>),
        Answer(u8),
        Wait(i64),
        Expire,
    }

    fn step() -> impl Strategy<Value = Step> {
        let change = prop_oneof![
            Just(ClaimChange::Take { lease_ms: 10 }),
            (0..4_i64).prop_map(|generation| ClaimChange::Renew { generation, lease_ms: None }),
            (0..4_i64).prop_map(|generation| ClaimChange::Release { generation }),
            (0..4_i64).prop_map(|generation| ClaimChange::Complete { generation }),
        ];
        let status = proptest::sample::select(TaskStatus::ALL.to_vec());
        prop_oneof![
            4 => (0..3_u8, change).prop_map(|(agent, change)| Step::Claim(agent, change)),
            4 => (0..3_u8, status, proptest::option::of(0..4_i64)).prop_map(|(a, s, g)| Step::Report(a, s, g)),
            1 => (0..3_u8).prop_map(Step::Answer),
            2 => (1..15_i64).prop_map(Step::Wait),
            1 => Just(Step::Expire),
        ]
    }

    proptest! {
        /// Whatever is asked in whatever order: who is refused changes nothing, generations only grow, a claim that
        /// is held is taken from nobody, and an end is final.
        #[test]
        fn a_held_task_is_taken_from_nobody_and_an_end_is_final(
            steps in proptest::collection::vec(step(), 0..60),
            is_question: bool,
        ) {
            let kind = if is_question { TaskKind::Question } else { TaskKind::Work };
            let mut task = task(kind, TaskStatus::Open, Vec::new());
            let mut now = Timestamp::default();
            for step in steps {
                let before = task.clone();
                let holder = before.claimed_by.clone().filter(|_| before.claim_expires_at.is_some_and(|at| at > now));
                let by = |agent: u8| AgentId::from(agent.to_string());
                let (agent, outcome) = match &step {
                    Step::Wait(ms) => { now = now + *ms; continue; }
                    Step::Expire => (None, Ok(task.expire(now).is_some())),
                    Step::Claim(agent, change) => {
                        let done = task.change_claim(*change, &by(*agent), now);
                        (Some(by(*agent)), done.map(|kind| kind.is_some()))
                    }
                    Step::Report(agent, status, generation) => {
                        let report = Report { generation: *generation, ..report(by(*agent).as_str(), *status) };
                        (Some(by(*agent)), task.report(&report, now).map(|_| true))
                    }
                    Step::Answer(agent) => {
                        let (agent, answer) = (by(*agent), "x".to_owned());
                        let answer = Answer { agent: agent.clone(), sender: Sender::default(), is_administrator: false, answer, note: None };
                        (Some(agent), task.take_answer(&answer, now).map(|()| true))
                    }
                };
                match outcome {
                    Err(_) | Ok(false) => prop_assert_eq!(&task, &before),
                    Ok(true) => {
                        prop_assert!(!before.status.is_final());
                        let is_answer = matches!(step, Step::Answer(_));
                        if let (Some(holder), false) = (&holder, is_answer) {
                            prop_assert_eq!(agent.as_ref(), Some(holder));
                        }
                    }
                }
                prop_assert!(task.claim_generation - before.claim_generation <= 1);
                prop_assert!(task.claim_generation >= before.claim_generation);
                // The parts of it agree with each other.
                let is_held = matches!(task.status, TaskStatus::Claimed | TaskStatus::InProgress | TaskStatus::Blocked);
                prop_assert_eq!(task.claim_expires_at.is_some(), is_held);
                prop_assert_eq!(task.finished_at.is_some(), task.status.is_final());
                prop_assert!(!is_held || task.claimed_by.is_some());
            }
        }
    }
}
