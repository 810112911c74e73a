//! Pairs: two agents in a focused exchange, from the request to its end.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::agent::SessionGuard;
use super::id::{AgentId, MessageId, PairId};
use super::page::{Limit, Query};
use super::refusal::Refusal;
use super::text;
use super::text::word::words;
use super::time::Timestamp;

/// The longest objective, in characters.
pub const OBJECTIVE_MAX: usize = 2_000;
/// How long a request waits for its answer, in milliseconds.
pub const PENDING_MS: i64 = 10 * 60 * 1000;
/// How long a pair is active without a message, in milliseconds.
pub const IDLE_MS: i64 = 2 * 60 * 60 * 1000;

words! {
    /// How far a pair has come.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
    #[serde(rename_all = "lowercase")]
    pub enum PairStatus {
        /// Asked for, not yet answered.
        Pending = "pending",
        /// Both are in it.
        Active = "active",
        /// One of the two ended it, or is gone.
        Ended = "ended",
        /// The other one did not want it.
        Rejected = "rejected",
        /// Nobody answered, or nobody said anything, for too long.
        Expired = "expired",
    }
}

impl PairStatus {
    /// Whether its two agents are in it, so that neither can be in another.
    pub fn is_live(self) -> bool {
        matches!(self, Self::Pending | Self::Active)
    }

    /// Whether a pair may go from here to `next`.
    pub fn may_become(self, next: Self) -> bool {
        match self {
            Self::Pending => next != Self::Pending,
            Self::Active => matches!(next, Self::Ended | Self::Expired),
            Self::Ended | Self::Rejected | Self::Expired => false,
        }
    }
}

/// A pair as clients see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Pair {
    /// Increases with every pair.
    #[schema(value_type = i64)]
    pub id: PairId,
    /// The agent that asked for it.
    #[schema(value_type = String)]
    pub requester_id: AgentId,
    /// The agent that was asked.
    #[schema(value_type = String)]
    pub target_id: AgentId,
    /// How far it has come.
    pub status: PairStatus,
    /// What it is for, at most 2000 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub objective: Option<String>,
    /// The thread that its messages are in, once there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<i64>)]
    pub thread_id: Option<MessageId>,
    /// When it was asked for, in milliseconds since the epoch.
    #[schema(value_type = i64)]
    pub created_at: Timestamp,
    /// When it was accepted.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<i64>)]
    pub accepted_at: Option<Timestamp>,
    /// When one of the two last did something in it.
    #[schema(value_type = i64)]
    pub last_activity_at: Timestamp,
    /// When it expires if nothing happens; absent once it is over.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<i64>)]
    pub expires_at: Option<Timestamp>,
    /// When it was over, however that came.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<i64>)]
    pub ended_at: Option<Timestamp>,
    /// Which of the two ended or rejected it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub ended_by: Option<AgentId>,
}

/// What one of the two does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PairStep {
    /// Takes part.
    Accept,
    /// Does not want to.
    Reject,
    /// Ends it, also while nobody has answered.
    End,
}

impl PairStep {
    /// Every one of them.
    pub const ALL: [Self; 3] = [Self::Accept, Self::Reject, Self::End];

    /// Where it leads.
    pub fn leads_to(self) -> PairStatus {
        match self {
            Self::Accept => PairStatus::Active,
            Self::Reject => PairStatus::Rejected,
            Self::End => PairStatus::Ended,
        }
    }
}

impl Pair {
    /// The other one of the two. Refuses an agent that is neither.
    pub fn other_than(&self, agent: &AgentId) -> Result<&AgentId, Refusal> {
        if *agent == self.requester_id {
            Ok(&self.target_id)
        } else if *agent == self.target_id {
            Ok(&self.requester_id)
        } else {
            let whose = format!("\"{}\" and \"{}\"", self.requester_id, self.target_id);
            Err(Refusal::NotOfPair { id: self.id, agent: agent.clone(), whose })
        }
    }

    /// The pair after one of the two did something: who was asked accepts or rejects, either may end it.
    pub fn step(self, step: PairStep, by: &AgentId, now: Timestamp) -> Result<Self, Refusal> {
        self.other_than(by)?;
        if step != PairStep::End && *by != self.target_id {
            let whose = format!("\"{}\", who was asked", self.target_id);
            return Err(Refusal::NotOfPair { id: self.id, agent: by.clone(), whose });
        }
        let next = step.leads_to();
        // The end of its time is an end, whether or not anybody came by to write it down.
        let from = if self.is_late(now) { PairStatus::Expired } else { self.status };
        if !from.may_become(next) {
            return Err(illegal(from, next));
        }
        Ok(match step {
            PairStep::Accept => {
                let (accepted_at, expires_at) = (Some(now), Some(now + IDLE_MS));
                Self { status: next, accepted_at, last_activity_at: now, expires_at, ..self }
            }
            PairStep::Reject | PairStep::End => {
                Self { last_activity_at: now, ..self.over(next, Some(by.clone()), now) }
            }
        })
    }

    /// The pair with a message more. Refuses one that is not active.
    pub fn talk(self, thread: MessageId, now: Timestamp) -> Result<Self, Refusal> {
        if self.is_late(now) || self.status != PairStatus::Active {
            let from = if self.is_late(now) { PairStatus::Expired } else { self.status };
            return Err(illegal(from, PairStatus::Active));
        }
        Ok(Self { thread_id: Some(thread), last_activity_at: now, expires_at: Some(now + IDLE_MS), ..self })
    }

    /// The pair that is over, since one of the two is gone.
    #[must_use]
    pub fn left(self, gone: &AgentId, now: Timestamp) -> Self {
        self.over(PairStatus::Ended, Some(gone.clone()), now)
    }

    /// The pair that nobody answered, or in which nothing was said for too long.
    #[must_use]
    pub fn expired(self, now: Timestamp) -> Self {
        self.over(PairStatus::Expired, None, now)
    }

    /// Whether its time is over.
    pub fn is_late(&self, now: Timestamp) -> bool {
        self.status.is_live() && self.expires_at.is_some_and(|at| at <= now)
    }

    fn over(self, status: PairStatus, by: Option<AgentId>, now: Timestamp) -> Self {
        Self { status, expires_at: None, ended_at: Some(now), ended_by: by, ..self }
    }
}

fn illegal(from: PairStatus, to: PairStatus) -> Refusal {
    Refusal::IllegalTransition { noun: "pair", from: from.to_string(), to: to.to_string() }
}

/// A pair as a client asks for it.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PairRequest {
    /// Who asks; the credential's agent when left out.
    #[schema(max_length = 240)]
    pub requester_id: Option<String>,
    /// Who is asked: another registered agent.
    #[schema(value_type = String, max_length = 240, pattern = r"\S")]
    pub target_id: Option<String>,
    /// What it is for, at most 2000 characters.
    #[schema(max_length = 2000)]
    pub objective: Option<String>,
    /// The session guard of who asks.
    #[schema(max_length = 240)]
    pub instance_id: Option<String>,
    /// The session guard of who asks.
    pub epoch: Option<i64>,
}

impl PairRequest {
    /// Checks bounds, trims, and fills in the agent of a bound credential.
    pub fn parse(self, bound_to: Option<&AgentId>) -> Result<NewPair, Refusal> {
        let requester = AgentId::optional("requesterId", self.requester_id)?
            .or_else(|| bound_to.cloned())
            .ok_or_else(|| Refusal::invalid("requesterId required"))?;
        let target = AgentId::required("targetId", self.target_id)?;
        if requester == target {
            return Err(Refusal::invalid("targetId must be another agent than requesterId"));
        }
        let objective = text::lines("objective", self.objective, OBJECTIVE_MAX)?;
        let guard = SessionGuard::parse(self.instance_id, self.epoch)?;
        Ok(NewPair { requester, target, objective, guard })
    }
}

/// A pair to be made, of two agents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewPair {
    /// Who asks.
    pub requester: AgentId,
    /// Who is asked.
    pub target: AgentId,
    /// What it is for.
    pub objective: Option<String>,
    /// The session that asks.
    pub guard: SessionGuard,
}

impl NewPair {
    /// A pair that says nothing but who asks whom.
    pub fn of(requester: AgentId, target: AgentId) -> Self {
        Self { requester, target, objective: None, guard: SessionGuard::default() }
    }

    /// The pair as it is stored under this id.
    pub fn stored(self, id: PairId, now: Timestamp) -> Pair {
        Pair {
            id,
            requester_id: self.requester,
            target_id: self.target,
            status: PairStatus::Pending,
            objective: self.objective,
            thread_id: None,
            created_at: now,
            accepted_at: None,
            last_activity_at: now,
            expires_at: Some(now + PENDING_MS),
            ended_at: None,
            ended_by: None,
        }
    }
}

/// Which pairs to list.
#[derive(Clone, Debug, Default)]
pub struct PairFilter {
    /// Only those that this agent is, or was, one of the two of.
    pub agent: Option<AgentId>,
    /// Only those with this status.
    pub status: Option<PairStatus>,
    /// Only those with a smaller id: the next page.
    pub before: Option<PairId>,
    /// At most this many, newest first.
    pub limit: Limit,
}

impl PairFilter {
    /// The query of the page after this pair.
    pub fn page_after(&self, last: PairId) -> Query {
        Query::default()
            .with("agent", self.agent.as_ref())
            .with("status", self.status)
            .with("limit", Some(self.limit))
            .with("before", Some(last))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pair(status: PairStatus) -> Pair {
        let pair = NewPair::of("a".into(), "b".into()).stored(PairId::new(1), Timestamp::from_ms(0));
        if status.is_live() { Pair { status, ..pair } } else { pair.over(status, None, Timestamp::from_ms(0)) }
    }

    #[test]
    fn every_step_from_every_status_by_everybody() {
        use PairStatus::*;
        let now = Timestamp::from_ms(1);
        for from in PairStatus::ALL {
            for step in PairStep::ALL {
                for by in ["a", "b", "c"] {
                    let stepped = pair(from).step(step, &by.into(), now);
                    let allowed = match (step, by) {
                        (_, "c") => None,
                        (PairStep::Accept | PairStep::Reject, by) => (by == "b").then_some(from == Pending),
                        (PairStep::End, _) => Some(matches!(from, Pending | Active)),
                    };
                    match (allowed, stepped) {
                        (Some(true), Ok(after)) => {
                            assert_eq!(after.status, step.leads_to());
                            assert_eq!(after.expires_at.is_some(), after.status.is_live());
                            assert_eq!(after.ended_at.is_none(), after.status.is_live());
                        }
                        (Some(false), Err(Refusal::IllegalTransition { .. })) => {}
                        (None, Err(Refusal::NotOfPair { .. })) => {}
                        (_, other) => panic!("{from:?} {step:?} by {by}: {other:?}"),
                    }
                }
            }
        }
    }

    #[test]
    fn what_is_late_is_over_before_anybody_wrote_that_down() {
        let late = Timestamp::from_ms(PENDING_MS);
        assert!(pair(PairStatus::Pending).step(PairStep::Accept, &"b".into(), late - 1).is_ok());
        for step in PairStep::ALL {
            let refused = pair(PairStatus::Pending).step(step, &"b".into(), late).unwrap_err();
            assert!(matches!(refused, Refusal::IllegalTransition { from, .. } if from == "expired"));
        }
        let active = pair(PairStatus::Pending).step(PairStep::Accept, &"b".into(), Timestamp::from_ms(5)).unwrap();
        let until = active.expires_at.unwrap();
        assert_eq!(until, Timestamp::from_ms(5 + IDLE_MS));
        assert!(active.clone().talk(MessageId::new(1), until).is_err());
        let prolonged = active.talk(MessageId::new(1), until - 1).unwrap();
        assert_eq!(prolonged.expires_at, Some(until - 1 + IDLE_MS));
    }

    proptest! {
        /// Whatever is done, by whomever: a status is left only as the table says, and what is over stays so.
        #[test]
        fn a_pair_goes_forward_only(steps in prop::collection::vec((0..4_usize, 0..3_usize, 0..IDLE_MS), 0..30)) {
            let (mut pair, mut now) = (pair(PairStatus::Pending), Timestamp::from_ms(0));
            for (what, who, passed) in steps {
                now = now + passed;
                let by = AgentId::from(["a", "b", "c"][who]);
                let before = pair.clone();
                let after = match what {
                    3 => pair.clone().talk(MessageId::new(7), now),
                    what => pair.clone().step(PairStep::ALL[what], &by, now),
                };
                if let Ok(after) = after {
                    prop_assert!(!before.is_late(now));
                    prop_assert!(before.status.may_become(after.status) || what == 3 && after.status == before.status);
                    pair = after;
                }
                prop_assert_eq!(pair.status.is_live(), pair.ended_at.is_none());
                prop_assert_eq!(pair.status.is_live(), pair.expires_at.is_some());
            }
        }
    }
}
