//! Claims: exactly one holder at a time, through crashes of either side.

use super::Message;
use crate::domain::event::EventName;
use crate::domain::id::{AgentId, Work};
use crate::domain::refusal::Refusal;
use crate::domain::time::Timestamp;

/// How long a claim lasts unless its holder asks otherwise, in milliseconds.
pub const LEASE_MS_DEFAULT: i64 = 5 * 60 * 1000;
/// The shortest lease: below it a holder could not renew in time.
pub const LEASE_MS_MIN: i64 = 1_000;
/// The longest lease: what a dead holder can block at most.
pub const LEASE_MS_MAX: i64 = 60 * 60 * 1000;

/// The lease length a caller asked for, or the default.
pub fn lease_ms(asked: Option<i64>, default: i64) -> Result<i64, Refusal> {
    match asked {
        None => Ok(default),
        Some(lease) if (LEASE_MS_MIN..=LEASE_MS_MAX).contains(&lease) => Ok(lease),
        Some(_) => Err(Refusal::invalid(format!("leaseMs must be between {LEASE_MS_MIN} and {LEASE_MS_MAX}"))),
    }
}

/// The claim of a message or a task: one holder at a time, each holder with its own generation.
///
/// The functions are the whole state machine. They change nothing when they refuse.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claim {
    /// Who holds it, or completed it.
    pub by: Option<AgentId>,
    /// Since when.
    pub at: Option<Timestamp>,
    /// When the lease ends; `None` when free or completed.
    pub expires_at: Option<Timestamp>,
    /// The length of the lease, for renewals that do not name one.
    pub lease_ms: i64,
    /// Raised by every new claim.
    pub generation: i64,
    /// When the work was done.
    pub completed_at: Option<Timestamp>,
}

impl Claim {
    /// Takes the claim. `Ok(false)`: the caller holds it already, and nothing changed.
    pub fn take(&mut self, work: Work, agent: &AgentId, lease_ms: i64, now: Timestamp) -> Result<bool, Refusal> {
        if self.completed_at.is_some() {
            return Err(Refusal::AlreadyCompleted(work));
        }
        if let (Some(by), Some(until)) = (&self.by, self.expires_at)
            && until > now
        {
            if by == agent {
                return Ok(false);
            }
            return Err(Refusal::AlreadyClaimed { work, by: by.clone(), until });
        }
        *self = Self {
            by: Some(agent.clone()),
            at: Some(now),
            expires_at: Some(now + lease_ms),
            lease_ms,
            generation: self.generation + 1,
            completed_at: None,
        };
        Ok(true)
    }

    /// Prolongs the lease from now on.
    pub fn renew(
        &mut self,
        work: Work,
        agent: &AgentId,
        generation: i64,
        lease_ms: i64,
        now: Timestamp,
    ) -> Result<(), Refusal> {
        self.require_live(work, agent, generation, now)?;
        self.expires_at = Some(now + lease_ms);
        self.lease_ms = lease_ms;
        Ok(())
    }

    /// Gives the claim back.
    pub fn release(&mut self, work: Work, agent: &AgentId, generation: i64, now: Timestamp) -> Result<(), Refusal> {
        self.require_live(work, agent, generation, now)?;
        self.free();
        Ok(())
    }

    /// Finishes the work for good. `Ok(false)`: it was finished before by the same claim.
    pub fn complete(&mut self, work: Work, agent: &AgentId, generation: i64, now: Timestamp) -> Result<bool, Refusal> {
        if self.completed_at.is_some() {
            let same = self.generation == generation && self.by.as_ref() == Some(agent);
            return if same { Ok(false) } else { Err(Refusal::AlreadyCompleted(work)) };
        }
        self.require_live(work, agent, generation, now)?;
        self.expires_at = None;
        self.completed_at = Some(now);
        Ok(true)
    }

    /// Frees a claim whose lease has ended. Answers whether there was one.
    pub fn expire(&mut self, now: Timestamp) -> bool {
        let ended = self.completed_at.is_none() && self.expires_at.is_some_and(|until| until <= now);
        if ended {
            self.free();
        }
        ended
    }

    fn free(&mut self) {
        self.by = None;
        self.at = None;
        self.expires_at = None;
    }

    fn require_live(&self, work: Work, agent: &AgentId, generation: i64, now: Timestamp) -> Result<(), Refusal> {
        if self.completed_at.is_some() {
            return Err(Refusal::AlreadyCompleted(work));
        }
        let live = self.expires_at.is_some_and(|until| until > now);
        if live && self.generation == generation && self.by.as_ref() == Some(agent) {
            Ok(())
        } else {
            Err(Refusal::StaleClaim { work, generation })
        }
    }
}

/// What a request does to a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClaimChange {
    /// Take it, for so many milliseconds. Taking what one holds changes nothing.
    Take {
        /// How long.
        lease_ms: i64,
    },
    /// Prolong it.
    Renew {
        /// The generation it was answered with.
        generation: i64,
        /// For how many milliseconds from now; its own length again unless given.
        lease_ms: Option<i64>,
    },
    /// Give it back.
    Release {
        /// The generation it was answered with.
        generation: i64,
    },
    /// Finish the work for good.
    Complete {
        /// The generation it was answered with.
        generation: i64,
    },
}

impl ClaimChange {
    /// The generation of the claim that is to be changed; a new one has none yet.
    pub fn generation(self) -> Option<i64> {
        match self {
            Self::Take { .. } => None,
            Self::Renew { generation, .. } | Self::Release { generation } | Self::Complete { generation } => {
                Some(generation)
            }
        }
    }

    /// Makes the change for this agent. `Ok(None)`: nothing changed. Otherwise the event that tells it.
    pub fn apply(
        self,
        claim: &mut Claim,
        work: Work,
        agent: &AgentId,
        now: Timestamp,
    ) -> Result<Option<EventName>, Refusal> {
        let (changed, event) = match self {
            Self::Take { lease_ms } => (claim.take(work, agent, lease_ms, now)?, EventName::MessageClaimed),
            Self::Renew { generation, lease_ms: asked } => {
                claim.renew(work, agent, generation, lease_ms(asked, claim.lease_ms)?, now)?;
                (true, EventName::MessageClaimed)
            }
            Self::Release { generation } => {
                claim.release(work, agent, generation, now)?;
                (true, EventName::MessageClaimReleased)
            }
            Self::Complete { generation } => {
                (claim.complete(work, agent, generation, now)?, EventName::MessageCompleted)
            }
        };
        Ok(changed.then_some(event))
    }
}

impl Message {
    /// The claim of this message, whose lease had this length.
    pub fn claim(&self, lease_ms: i64) -> Claim {
        Claim {
            by: self.claimed_by.clone(),
            at: self.claimed_at,
            expires_at: self.claim_expires_at,
            lease_ms,
            generation: self.claim_generation,
            completed_at: self.completed_at,
        }
    }

    /// The message with this claim.
    #[must_use]
    pub fn with_claim(self, claim: Claim) -> Self {
        Self {
            claimed_by: claim.by,
            claimed_at: claim.at,
            claim_expires_at: claim.expires_at,
            claim_generation: claim.generation,
            completed_at: claim.completed_at,
            ..self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Clone, Debug)]
    enum Step {
        Take(u8),
        Renew(u8, i64),
        Release(u8, i64),
        Complete(u8, i64),
        Wait(i64),
    }

    fn step() -> impl Strategy<Value = Step> {
        let agent = 0..3_u8;
        prop_oneof![
            agent.clone().prop_map(Step::Take),
            (agent.clone(), 0..4_i64).prop_map(|(a, g)| Step::Renew(a, g)),
            (agent.clone(), 0..4_i64).prop_map(|(a, g)| Step::Release(a, g)),
            (agent, 0..4_i64).prop_map(|(a, g)| Step::Complete(a, g)),
            (1..15_i64).prop_map(Step::Wait),
        ]
    }

    proptest! {
        /// Whatever happens in whatever order: no two holders at once, an old generation never
        /// works again, and completed work stays completed by the one who completed it.
        #[test]
        fn at_most_one_live_holder_and_completion_is_final(steps in proptest::collection::vec(step(), 0..60)) {
            let mut claim = Claim::default();
            let mut now = Timestamp::default();
            let id = Work::Message(crate::domain::id::MessageId::new(1));
            let mut holder: Option<(AgentId, i64, Timestamp)> = None; // who, generation, until
            let mut done_by: Option<AgentId> = None;
            for step in steps {
                if let Step::Wait(ms) = step { now = now + ms; }
                if holder.as_ref().is_some_and(|(_, _, until)| *until <= now) { holder = None; }
                let holds = |agent: &AgentId, generation: i64| {
                    holder.as_ref().is_some_and(|(who, held, _)| who == agent && *held == generation)
                };
                match step {
                    Step::Wait(_) => {}
                    Step::Take(a) => {
                        let agent = AgentId::from(a.to_string());
                        let free = holder.is_none() && done_by.is_none();
                        let mine = holder.as_ref().is_some_and(|(who, _, _)| *who == agent);
                        let before = claim.generation;
                        match claim.take(id, &agent, 10, now) {
                            Ok(true) => {
                                prop_assert!(free);
                                prop_assert_eq!(claim.generation, before + 1);
                                holder = Some((agent, claim.generation, now + 10));
                            }
                            Ok(false) => prop_assert!(mine && claim.generation == before),
                            Err(_) => prop_assert!(!free && !mine),
                        }
                    }
                    Step::Renew(a, generation) => {
                        let expected = holds(&AgentId::from(a.to_string()), generation);
                        prop_assert_eq!(claim.renew(id, &AgentId::from(a.to_string()), generation, 10, now).is_ok(), expected);
                        if expected { holder = Some((a.to_string().into(), generation, now + 10)); }
                    }
                    Step::Release(a, generation) => {
                        let expected = holds(&AgentId::from(a.to_string()), generation);
                        prop_assert_eq!(claim.release(id, &AgentId::from(a.to_string()), generation, now).is_ok(), expected);
                        if expected { holder = None; }
                    }
                    Step::Complete(a, generation) => {
                        let agent = AgentId::from(a.to_string());
                        let again = done_by.as_ref() == Some(&agent) && claim.generation == generation;
                        let expected = holds(&agent, generation);
                        prop_assert_eq!(claim.complete(id, &agent, generation, now).is_ok(), expected || again);
                        if expected { holder = None; done_by = Some(agent); }
                    }
                }
                if done_by.is_some() {
                    prop_assert_eq!(&claim.by, &done_by);
                    prop_assert!(claim.completed_at.is_some() && claim.expires_at.is_none());
                }
            }
        }
    }
}
