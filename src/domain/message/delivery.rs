//! Deliveries: how far a message has come into the session of an agent.
//!
//! [`Delivery::after`] is the one place where that changes. A later state is never said for an earlier one: what was
//! handed over is `offered` until something shows that it was taken, and what nobody tries any more says why.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::domain::control::courier::Carrier;
use crate::domain::id::{AgentId, MessageId};
use crate::domain::page::{Limit, Query};
use crate::domain::text;
use crate::domain::text::word::words;
use crate::domain::time::Timestamp;

/// How long is waited after each try that nothing came of, in milliseconds. After the last of them it is given up.
pub const WAITS_MS: [i64; 4] = [5_000, 30_000, 120_000, 600_000];
/// The longest reason and the longest evidence, in characters.
pub const SAID_MAX: usize = 500;
/// The most deliveries that one notice tells of, and one report is about.
pub const TOGETHER_MAX: usize = 1_000;

words! {
    /// How far a message has come into a session.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
    #[serde(rename_all = "lowercase")]
    pub enum DeliveryState {
        /// It is on disk, and nobody was told yet.
        Stored = "stored",
        /// It is held back, for the reason that is given.
        Waiting = "waiting",
        /// It was handed over, and nobody saw it taken.
        Offered = "offered",
        /// There is evidence that the program took it.
        Presented = "presented",
        /// The agent said that it read it, or fetched it by a tool.
        Read = "read",
        /// It was tried in vain, and is not tried any more.
        Parked = "parked",
        /// There was nothing left to show before it was offered; the reason says why.
        Dropped = "dropped",
    }
}

words! {
    /// Why there is nothing left to show.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum DropReason {
        /// The agent read it by itself.
        Read = "read",
        /// Somebody claimed it.
        Claimed = "claimed",
        /// Its time was over.
        Expired = "expired",
        /// It was deleted.
        Deleted = "deleted",
        /// The work in it is over: what it asks was answered, or is not wanted any more.
        Answered = "answered",
        /// The agent was removed.
        Removed = "removed",
        /// It is a command, which whoever runs the session carries out.
        CarriedOut = "carried out by its host",
    }
}

words! {
    /// What a session does that a notice has to wait for.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
    #[serde(rename_all = "kebab-case")]
    pub enum HoldReason {
        /// A turn runs, or somebody types.
        Busy = "busy",
        /// A question waits on the screen.
        Dialog = "dialog",
        /// It is at a usage limit.
        Limit = "limit",
        /// The agent wants nothing of this kind now.
        DoNotDisturb = "do-not-disturb",
        /// Its program is not up yet.
        Starting = "starting",
        /// Nothing is recognised on its screen, and on that nothing is typed.
        Unknown = "unknown",
    }
}

/// How far one message has come into the session of one agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Delivery {
    /// The agent.
    #[schema(value_type = String)]
    pub agent_id: AgentId,
    /// How far.
    pub state: DeliveryState,
    /// By which kind of way it was handed over last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub how: Option<Carrier>,
    /// By what it was seen to be taken, at most 500 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub evidence: Option<String>,
    /// How often it was tried.
    #[schema(minimum = 0)]
    pub attempts: i64,
    /// Why it waits, was parked or was dropped, at most 500 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When this was written last, in milliseconds since the epoch.
    #[schema(value_type = i64)]
    pub updated_at: Timestamp,
    /// When it may be tried next; none where nothing is left to do.
    #[serde(skip)]
    pub next_at: Option<Timestamp>,
    /// The line that was shown last, or was about to be: what is looked for before it is shown again.
    #[serde(skip)]
    pub tried: Option<String>,
    /// Whether a try is under way whose outcome nobody told yet.
    #[serde(skip)]
    pub is_trying: bool,
}

/// What happens to a delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Now is not the moment.
    Hold(HoldReason),
    /// This line is about to be shown.
    Try(String),
    /// It was not, after all, and nothing was done.
    Undo,
    /// It was handed over.
    Offer(Carrier),
    /// It was taken, as is seen by this.
    Present(Option<Carrier>, String),
    /// It could not be handed over, for this reason.
    Fail(String),
    /// All tries were in vain, and the time to see that they were not is over.
    GiveUp,
    /// The agent read it.
    Read,
    /// There is nothing left to show.
    Drop(DropReason),
    /// Whoever claimed it gave it back.
    Free,
    /// The agent's session begins anew, or ended before it was shown; the message is unread.
    Begin,
    /// The agent wants it again.
    Welcome,
}

impl Delivery {
    /// Of a message that was just stored, or was never shown.
    pub fn new(agent_id: AgentId, now: Timestamp) -> Self {
        Self {
            agent_id,
            state: DeliveryState::Stored,
            how: None,
            evidence: None,
            attempts: 0,
            reason: None,
            updated_at: now,
            next_at: Some(now),
            tried: None,
            is_trying: false,
        }
    }

    /// Whether something is left to do.
    pub fn is_open(&self) -> bool {
        self.next_at.is_some()
    }

    /// Whether nothing more comes of it while its session goes on, by what clients see of it: it was taken, is given up,
    /// or is not wanted any more.
    pub fn is_settled(&self) -> bool {
        let is_over = || self.reason.as_deref().is_some_and(|reason| DropReason::parse(reason).is_some());
        match self.state {
            DeliveryState::Stored | DeliveryState::Waiting => false,
            DeliveryState::Offered => is_over(),
            DeliveryState::Presented | DeliveryState::Read | DeliveryState::Parked | DeliveryState::Dropped => true,
        }
    }

    /// Whether it may be tried at this moment.
    pub fn is_due(&self, now: Timestamp) -> bool {
        self.next_at.is_some_and(|at| at <= now)
    }

    /// Whether it was tried as often as it is.
    pub fn is_exhausted(&self) -> bool {
        self.attempts >= WAITS_MS.len() as i64
    }

    /// What it is after this step; none where that changes nothing.
    pub fn after(&self, step: Step, now: Timestamp) -> Option<Self> {
        use DeliveryState::{Dropped, Offered, Parked, Presented, Read, Stored, Waiting};
        let was_shown = matches!(self.state, Offered | Presented | Read | Parked);
        let held = matches!(self.state, Stored | Waiting);
        let mut next = self.clone();
        match step {
            Step::Hold(reason) if held && self.is_open() => {
                (next.state, next.reason) = (Waiting, Some(reason.as_str().to_owned()));
                next.undo_try(now);
            }
            // It may still turn out to have been taken.
            Step::Hold(_) if self.state == Offered && self.is_open() => next.undo_try(now),
            Step::Undo if self.is_trying && self.is_open() => next.undo_try(now),
            // What came to an end while a try was under way that did nothing, came to an end.
            Step::Hold(_) | Step::Fail(_) | Step::Undo if held && self.is_trying && !self.is_open() => {
                (next.state, next.is_trying, next.tried) = (Dropped, false, None);
            }
            Step::Try(line) if (held || self.state == Offered) && self.is_open() => {
                // Nobody told the outcome of the one before.
                next.attempts += i64::from(self.is_trying);
                (next.tried, next.is_trying) = (Some(line), true);
                next.wait(next.attempts + 1, now);
            }
            Step::Offer(how) if held || self.state == Offered => {
                next.count_try();
                (next.state, next.how) = (Offered, Some(how));
                if self.is_open() {
                    next.reason = None;
                    next.wait(next.attempts, now);
                }
            }
            Step::Present(how, evidence) if held || matches!(self.state, Offered | Parked) => {
                if self.is_trying || held {
                    next.count_try();
                }
                (next.state, next.evidence) = (Presented, Some(text::clipped(&evidence, SAID_MAX)));
                next.how = how.or(self.how);
                (next.reason, next.next_at, next.tried) = (None, None, None);
            }
            Step::Fail(reason) if (held || self.state == Offered) && self.is_open() => {
                next.count_try();
                next.reason = Some(text::clipped(&reason, SAID_MAX));
                if held {
                    next.state = Waiting;
                }
                next.wait(next.attempts, now);
            }
            Step::GiveUp if self.is_open() && self.is_exhausted() && self.is_due(now) => {
                let last = match (&self.reason, self.how) {
                    (Some(reason), _) => reason.clone(),
                    (None, Some(how)) => format!("handed over ({how}), and never seen to be taken"),
                    (None, None) => "never handed over".to_owned(),
                };
                (next.state, next.next_at, next.is_trying) = (Parked, None, false);
                next.reason = Some(text::clipped(&format!("tried {} times in vain: {last}", self.attempts), SAID_MAX));
            }
            // Whoever reads what is just being shown may have been shown it. How, is told once the try is over.
            Step::Read if was_shown && self.state != Read || held && self.is_trying => {
                (next.state, next.next_at, next.reason) = (Read, None, None);
            }
            Step::Offer(how) if self.state == Read && self.is_trying => {
                next.count_try();
                next.how = Some(how);
            }
            Step::Present(how, evidence) if self.state == Read && (self.is_trying || self.lacks_evidence()) => {
                if self.is_trying {
                    next.count_try();
                }
                (next.how, next.evidence) = (how.or(self.how), Some(text::clipped(&evidence, SAID_MAX)));
                next.tried = None;
            }
            Step::Fail(_) if self.state == Read && self.is_trying => next.count_try(),
            Step::Hold(_) | Step::Undo if self.state == Read && self.is_trying => next.is_trying = false,
            Step::Read | Step::Drop(_) if held => {
                let reason = if let Step::Drop(reason) = step { reason } else { DropReason::Read };
                next.reason = Some(reason.as_str().to_owned());
                next.next_at = None;
                if !self.is_trying {
                    (next.state, next.tried) = (Dropped, None);
                }
            }
            Step::Drop(reason) if self.state == Offered && self.is_open() => {
                (next.next_at, next.reason) = (None, Some(reason.as_str().to_owned()));
            }
            Step::Free if self.is_over_because(DropReason::Claimed) => {
                (next.state, next.reason) = (if was_shown { self.state } else { Stored }, None);
                next.next_at = Some(now);
            }
            Step::Begin if held || matches!(self.state, Offered | Parked) => {
                let is_kept = self.state == Stored || self.state == Waiting && self.is_undisturbed();
                let is_new = is_kept && self.is_open() && self.attempts == 0 && !self.is_trying;
                if is_new || self.is_over_because(DropReason::Claimed) {
                    return None;
                }
                next = Self::new(self.agent_id.clone(), now);
                if is_kept {
                    (next.state, next.reason) = (self.state, self.reason.clone());
                }
            }
            Step::Begin if self.is_over_because(DropReason::Removed) => {
                next = Self::new(self.agent_id.clone(), now);
            }
            Step::Welcome if self.state == Waiting && self.is_open() && self.is_undisturbed() => {
                (next.state, next.reason, next.next_at) = (Stored, None, Some(now));
            }
            _ => return None,
        }
        if next == *self {
            return None;
        }
        next.updated_at = now;
        Some(next)
    }

    /// Whether anything that clients see is different.
    pub fn looks_like(&self, other: &Self) -> bool {
        let seen = |it: &Self| (it.state, it.how, it.attempts, it.evidence.clone(), it.reason.clone());
        seen(self) == seen(other)
    }

    /// Whether it waits because its agent wants it to.
    fn is_undisturbed(&self) -> bool {
        self.reason.as_deref() == Some(HoldReason::DoNotDisturb.as_str())
    }

    /// Whether it was handed over, and nobody told yet by what it was seen to be taken.
    fn lacks_evidence(&self) -> bool {
        self.how.is_some() && self.evidence.is_none()
    }

    fn is_over_because(&self, reason: DropReason) -> bool {
        !self.is_open() && self.reason.as_deref() == Some(reason.as_str())
    }

    /// A try that is under way did nothing that anybody knows of, so it was none.
    fn undo_try(&mut self, now: Timestamp) {
        if self.is_trying {
            self.is_trying = false;
            self.next_at = Some(now);
        }
    }

    fn count_try(&mut self) {
        self.attempts += 1;
        self.is_trying = false;
    }

    fn wait(&mut self, attempts: i64, now: Timestamp) {
        let place = usize::try_from(attempts - 1).unwrap_or(0).min(WAITS_MS.len() - 1);
        self.next_at = Some(now + WAITS_MS[place]);
    }
}

/// Which deliveries of a message.
#[derive(Clone, Debug, Default)]
pub struct DeliveryFilter {
    /// Only that of this agent.
    pub agent: Option<AgentId>,
    /// Only those of agents with a greater id: the next page.
    pub after: Option<AgentId>,
    /// At most this many.
    pub limit: Limit,
}

impl DeliveryFilter {
    /// The query of the page after this agent.
    pub fn page_after(&self, last: &AgentId) -> Query {
        Query::default().with("limit", Some(self.limit)).with("after", Some(last))
    }
}

/// What a delivery is told as: the row, and of which message it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeliveryNews {
    /// The message.
    #[schema(value_type = i64)]
    pub message_id: MessageId,
    /// How far it has come.
    #[serde(flatten)]
    pub delivery: Delivery,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn steps() -> impl Strategy<Value = Vec<(Step, i64)>> {
        let step = prop_oneof![
            3 => prop::sample::select(&HoldReason::ALL[..]).prop_map(Step::Hold),
            5 => Just(Step::Try("[agent-relay] message 1 from a".to_owned())),
            4 => prop::sample::select(&Carrier::ALL[..]).prop_map(Step::Offer),
            2 => Just(Step::Present(None, "seen".to_owned())),
            3 => Just(Step::Fail("no way in".to_owned())),
            2 => Just(Step::GiveUp),
            1 => Just(Step::Read),
            1 => prop::sample::select(&DropReason::ALL[..]).prop_map(Step::Drop),
            1 => Just(Step::Free),
            1 => Just(Step::Begin),
            1 => Just(Step::Undo),
            1 => Just(Step::Welcome),
        ];
        prop::collection::vec((step, prop::sample::select(vec![1, 5_000, 30_000, 120_000, 600_000])), 0..60)
    }

    fn rank(state: DeliveryState) -> usize {
        use DeliveryState::{Dropped, Offered, Parked, Presented, Read, Stored, Waiting};
        [&[Stored, Waiting][..], &[Offered], &[Parked], &[Presented], &[Read, Dropped]]
            .iter()
            .position(|states| states.contains(&state))
            .expect("a rank")
    }

    proptest! {
        /// Whatever happens in whatever order, no state claims more than there is.
        #[test]
        fn no_state_claims_more_than_there_is(steps in steps()) {
            let mut now = Timestamp::from_ms(1);
            let mut delivery = Delivery::new("a".into(), now);
            for (step, ms) in steps {
                now = now + ms;
                let Some(next) = delivery.after(step.clone(), now) else { continue };
                let told = format!("{step:?}: {delivery:?} -> {next:?}");
                let begins_anew = matches!(step, Step::Begin | Step::Free | Step::Welcome);
                if !begins_anew {
                    prop_assert!(rank(next.state) >= rank(delivery.state), "{told}");
                    prop_assert!(next.attempts >= delivery.attempts, "{told}");
                }
                match next.state {
                    DeliveryState::Presented => prop_assert!(next.evidence.is_some() && next.attempts > 0, "{told}"),
                    DeliveryState::Offered => prop_assert!(next.how.is_some() && next.attempts > 0, "{told}"),
                    DeliveryState::Parked => prop_assert!(next.attempts >= 4 && next.reason.is_some(), "{told}"),
                    DeliveryState::Waiting => prop_assert!(next.reason.is_some(), "{told}"),
                    DeliveryState::Dropped => {
                        let was = delivery.state;
                        prop_assert!(matches!(was, DeliveryState::Stored | DeliveryState::Waiting), "{told}");
                        prop_assert!(next.reason.is_some() && next.how.is_none(), "{told}");
                    }
                    DeliveryState::Read => {
                        prop_assert!(step == Step::Read || delivery.state == DeliveryState::Read, "{told}");
                        prop_assert!(next.how == delivery.how || matches!(step, Step::Offer(_) | Step::Present(..)), "{told}");
                    }
                    DeliveryState::Stored => {}
                }
                let may_be_open =
                    matches!(next.state, DeliveryState::Stored | DeliveryState::Waiting | DeliveryState::Offered);
                prop_assert!(may_be_open || !next.is_open(), "{told}");
                // Clients do not see what is to be done next, and must not stop looking while something is.
                prop_assert!(!next.is_settled() || !next.is_open(), "{told}");
                prop_assert!(next.is_settled() || next.is_open() || next.is_trying, "{told}");
                prop_assert!(!next.is_trying || next.tried.is_some(), "{told}");
                prop_assert!(next.attempts <= 4 || matches!(step, Step::Try(_) | Step::Offer(_) | Step::Present(..) | Step::Fail(_))
                    || next.attempts == delivery.attempts, "{told}");
                if matches!(delivery.state, DeliveryState::Read) {
                    prop_assert!(next.state == DeliveryState::Read && !next.is_open(), "what is read stays read: {told}");
                }
                delivery = next;
            }
        }

        /// What is tried again and again in vain is tried four times, with the waits that are promised.
        #[test]
        fn tries_in_vain_end(offered in prop::collection::vec(any::<bool>(), 4)) {
            let mut now = Timestamp::from_ms(1);
            let mut delivery = Delivery::new("a".into(), now);
            for (offered, wait) in offered.into_iter().zip(WAITS_MS) {
                prop_assert!(delivery.is_due(now) && !delivery.is_exhausted());
                delivery = delivery.after(Step::Try("line".to_owned()), now).expect("a try");
                let outcome = if offered { Step::Offer(Carrier::Typed) } else { Step::Fail("no".to_owned()) };
                delivery = delivery.after(outcome, now).expect("an outcome");
                prop_assert_eq!(delivery.after(Step::GiveUp, now + wait - 1), None);
                prop_assert!(!delivery.is_due(now + wait - 1));
                now = now + wait;
            }
            prop_assert!(delivery.is_exhausted());
            let parked = delivery.after(Step::GiveUp, now).expect("it is given up");
            prop_assert_eq!((parked.state, parked.attempts), (DeliveryState::Parked, 4));
            prop_assert!(parked.reason.as_deref().is_some_and(|reason| reason.starts_with("tried 4 times in vain")));
        }
    }

    #[test]
    fn what_is_read_before_it_is_shown_is_dropped_and_after_that_is_read() {
        let now = Timestamp::from_ms(1);
        let stored = Delivery::new("a".into(), now);
        let read = |delivery: &Delivery| delivery.after(Step::Read, now).map(|next| next.state);
        assert_eq!(read(&stored), Some(DeliveryState::Dropped));
        let trying = stored.after(Step::Try("line".to_owned()), now).expect("a try");
        assert_eq!(read(&trying), Some(DeliveryState::Read), "it may have been shown");
        let offered = trying.after(Step::Offer(Carrier::Queue), now).expect("offered");
        assert_eq!(read(&offered), Some(DeliveryState::Read));
        let presented = offered.after(Step::Present(None, "a turn".to_owned()), now).expect("presented");
        assert_eq!(read(&presented), Some(DeliveryState::Read));
        assert_eq!(presented.how, Some(Carrier::Queue));
    }

    /// An agent may be quicker to read than its host is to say that it was shown.
    #[test]
    fn how_a_message_came_is_told_even_after_it_was_read() {
        let now = Timestamp::from_ms(1);
        let trying = Delivery::new("a".into(), now).after(Step::Try("line".to_owned()), now).expect("a try");
        let read = trying.after(Step::Read, now).expect("read");
        let present = || Step::Present(Some(Carrier::Queue), "a turn".to_owned());
        let told = read.after(present(), now).expect("told");
        assert_eq!((told.state, told.how, told.attempts), (DeliveryState::Read, Some(Carrier::Queue), 1));
        assert_eq!(told.evidence.as_deref(), Some("a turn"));
        assert_eq!(told.after(present(), now), None, "once");
        let offered = read.after(Step::Offer(Carrier::Typed), now).expect("offered");
        assert_eq!((offered.state, offered.how, offered.attempts), (DeliveryState::Read, Some(Carrier::Typed), 1));
        let seen = offered.after(Step::Present(None, "a turn".to_owned()), now).expect("seen");
        assert_eq!((seen.how, seen.attempts, seen.is_open()), (Some(Carrier::Typed), 1, false));
        assert_eq!(
            read.after(Step::Undo, now).map(|undone| (undone.state, undone.attempts)),
            Some((DeliveryState::Read, 0))
        );
        let by_itself = Delivery::new("a".into(), now).after(Step::Read, now).expect("dropped");
        assert_eq!(by_itself.after(present(), now), None, "nobody showed it");
    }

    #[test]
    fn a_try_that_did_nothing_is_none_and_work_that_is_given_back_is_shown_again() {
        let now = Timestamp::from_ms(1);
        let stored = Delivery::new("a".into(), now);
        let trying = stored.after(Step::Try("line".to_owned()), now).expect("a try");
        assert!(!trying.is_due(now + 4_999));
        let waiting = trying.after(Step::Hold(HoldReason::Busy), now).expect("held");
        assert_eq!((waiting.attempts, waiting.is_due(now)), (0, true));
        assert_eq!(waiting.after(Step::Hold(HoldReason::Busy), now + 1), None, "nothing is new");
        let claimed = waiting.after(Step::Drop(DropReason::Claimed), now).expect("dropped");
        assert_eq!(claimed.after(Step::Begin, now), None);
        let free = claimed.after(Step::Free, now).expect("free");
        assert_eq!((free.state, free.is_open()), (DeliveryState::Stored, true));
        let read = waiting.after(Step::Drop(DropReason::Read), now).expect("dropped");
        assert_eq!(read.after(Step::Free, now), None);
    }
}
