//! Attending to a session: what it does is seen and told, and what its agent should know is shown to it at the right
//! moment, one notice at a time.
//!
//! Nobody polls for messages: whoever has something to show says so. A screen is looked at when something was written to
//! it, when there is something to show, and when it is time to.

mod vigil;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use self::vigil::Vigil;
use super::Launcher;
use super::evidence::Pending;
use super::launch::fresh_uuid;
use super::look::Look;
use super::offer::Offered;
use super::pulse::Marks;
use crate::domain::agent::NewCondition;
use crate::domain::control::courier::Notice;
use crate::domain::control::observation::Doing;
use crate::domain::control::plan::Presentation;
use crate::domain::id::MessageId;
use crate::domain::message::delivery::{HoldReason, Step};
use crate::domain::message::notice::{Due, DueNotice, NoticeOutcome};
use crate::plugins::PluginSet;
use crate::sessions::{Mark, SessionName};

/// A screen that changes all the time is looked at so often: while something waits to be shown, and otherwise.
const LOOK_EVERY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(3));
/// How often it is looked whether a notice was taken after all.
const EVIDENCE_EVERY: Duration = Duration::from_secs(2);
/// For so long after something was written to a screen it is looked at as often, though nothing is written any more: what
/// stands still tells more than what moves.
const SETTLES_WITHIN: Duration = Duration::from_secs(5);
/// The least between two notices. What a program does with the first may not be seen at once.
const BETWEEN: Duration = Duration::from_secs(1);
/// How long is waited after something went wrong that is nobody's fault here: a relay that does not answer.
const RETRY: Duration = Duration::from_secs(2);
/// A screen on which nothing moves is looked at again so often: a limit ends, files change.
const LOOK_ANYWAY: Duration = Duration::from_secs(60);

/// What is to be shown to the session of one agent, and what becomes of it: a relay has that in its store, a daemon asks
/// a relay.
///
/// A `String` in an error is the reason, for the log.
pub trait Notices: Send + Sync + 'static {
    /// The plugins there are now.
    fn plugins(&self) -> Arc<PluginSet>;
    /// What to show now; with `interrupting`, what may be shown while a turn runs.
    fn due(&self, interrupting: bool) -> impl Future<Output = Result<Due, String>> + Send;
    /// Takes down what became of a notice. Answers of which messages it is news: what is over by now is not among them.
    fn report(&self, outcome: NoticeOutcome) -> impl Future<Output = Result<Vec<MessageId>, String>> + Send;
    /// Waits until something may be due that was not when [`Notices::due`] was asked last; what happens meanwhile is not
    /// missed.
    fn changed(&self) -> impl Future<Output = ()> + Send;
    /// Takes down what is seen to keep the agent from working, or that nothing is seen to.
    fn observed(&self, condition: Option<NewCondition>) -> impl Future<Output = Result<(), String>> + Send;
}

impl Launcher {
    /// Attends to a session for as long as this is awaited; it does not end by itself. As long as `is_up` is false its
    /// program is not known to take anything, and nothing is shown to it.
    pub(super) async fn attend(&self, name: &SessionName, notices: &impl Notices, is_up: watch::Receiver<bool>) {
        let attending = Attending {
            launcher: self,
            name,
            notices,
            vigil: Vigil::default(),
            look: None,
            looked_at: None,
            mark: None,
            moved_at: None,
            must_ask: true,
            ask_at: None,
            waits: false,
            held: None,
            outstanding: None,
            typed: None,
            told: Told::Unknown,
            first: None,
        };
        attending.run(is_up).await;
    }
}

/// What was told of the condition of the agent.
#[derive(Clone, Debug, PartialEq)]
enum Told {
    /// An earlier run may have told something.
    Unknown,
    /// This.
    Said(Option<NewCondition>),
}

struct Attending<'a, N> {
    launcher: &'a Launcher,
    name: &'a SessionName,
    notices: &'a N,
    vigil: Vigil,
    look: Option<Arc<Look>>,
    looked_at: Option<Instant>,
    /// What the pulse said of the session when it was looked at last, and when that was something new.
    mark: Option<Mark>,
    moved_at: Option<Instant>,
    /// Whether something may be due that was not.
    must_ask: bool,
    /// When to ask what is due, and whether anything waits.
    ask_at: Option<Instant>,
    waits: bool,
    /// What it was last told to wait for, and up to which message.
    held: Option<(HoldReason, MessageId)>,
    /// What was handed over and not seen to be taken.
    outstanding: Option<Outstanding>,
    /// What was found typed and not submitted.
    typed: Option<String>,
    told: Told,
    /// What was seen first after it was up.
    first: Option<Doing>,
}

/// What a screen says about lines that were tried before.
enum Recognised {
    /// None of them is on it.
    Nothing,
    /// One was shown.
    Shown,
    /// One stands in the input. It is seen to.
    Typed,
}

struct Outstanding {
    messages: Vec<MessageId>,
    pending: Pending,
}

impl<N: Notices> Attending<'_, N> {
    async fn run(mut self, mut is_up: watch::Receiver<bool>) {
        let (mut pulse, mut was_up) = (self.launcher.pulse(), false);
        loop {
            let up = *is_up.borrow_and_update();
            if up && !was_up {
                // What was seen before it was up is over.
                (self.look, was_up) = (None, true);
            }
            let marks = pulse.borrow_and_update().clone();
            self.turn(&marks, up).await;
            let next = self.next_turn(&pulse.borrow().clone());
            tokio::select! {
                () = self.notices.changed() => self.must_ask = true,
                beat = pulse.changed() => if beat.is_err() { pulse = self.launcher.pulse() },
                _ = is_up.changed(), if !up => {}
                () = sleep_until(next) => {}
            }
        }
    }

    /// When to look again without being told.
    fn next_turn(&self, marks: &Marks) -> Instant {
        let stale_at = self.stale_at(marks.get(self.name).copied()).unwrap_or_else(Instant::now);
        self.ask_at.map_or(stale_at, |at| at.min(stale_at))
    }

    /// When what was seen last is to be looked at again, with this mark of the session now; none where nothing was seen.
    fn stale_at(&self, mark: Option<Mark>) -> Option<Instant> {
        let looked_at = self.looked_at?;
        let settles = self.moved_at.is_some_and(|at| looked_at < at + SETTLES_WITHIN);
        let dirty = (settles || mark != self.mark).then(|| looked_at + self.pace());
        let evidence = self.outstanding.as_ref().map(|_| looked_at + EVIDENCE_EVERY);
        [dirty, evidence].into_iter().flatten().chain([looked_at + LOOK_ANYWAY]).min()
    }

    fn pace(&self) -> Duration {
        if self.waits { LOOK_EVERY.0 } else { LOOK_EVERY.1 }
    }

    async fn turn(&mut self, marks: &Marks, up: bool) {
        let now = Instant::now();
        let is_time = self.ask_at.is_some_and(|at| at <= now);
        self.must_ask |= is_time;
        let mark = marks.get(self.name).copied();
        let is_stale = self.stale_at(mark).is_none_or(|at| at <= now);
        if is_stale || is_time || self.must_ask && mark != self.mark || self.look.is_none() {
            self.look_at_it(mark).await;
        }
        let Some(look) = self.look.clone() else {
            // It has ended, as whoever follows it will find.
            self.ask_at = Some(now + RETRY);
            return;
        };
        if up {
            self.tell_condition(&look).await;
        }
        self.see_taken().await;
        if !self.must_ask && self.held.is_none() {
            return;
        }
        if self.held.is_some_and(|(held, _)| Some(held) == hold(&look, up)) && !self.must_ask {
            return;
        }
        if let Err(reason) = self.serve(&look, up).await {
            tracing::debug!(session.name = %self.name, reason, "what is due to a session cannot be seen to now");
            self.must_ask = false;
            self.ask_at = Some(Instant::now() + RETRY);
        }
    }

    async fn look_at_it(&mut self, mark: Option<Mark>) {
        let changed = mark != self.mark;
        self.look = self.launcher.look(&self.notices.plugins(), self.name).await.map(Arc::new);
        (self.looked_at, self.mark) = (Some(Instant::now()), mark);
        if changed {
            self.moved_at = self.looked_at;
        }
        if let Some(look) = &self.look {
            self.vigil.saw(look, changed, Instant::now());
        }
    }

    async fn tell_condition(&mut self, look: &Look) {
        let doing = &look.observation.doing;
        let first = self.first.get_or_insert_with(|| doing.clone());
        // It was called up all the same: its agent says so itself, and knows more than a screen looks like.
        if !look.is_observed && matches!(doing, Doing::Dialog(_)) && first == doing {
            return;
        }
        let Some(condition) = self.vigil.condition(doing, Instant::now()) else { return };
        if self.told == Told::Said(condition.clone()) {
            return;
        }
        match self.notices.observed(condition.clone()).await {
            Ok(()) => self.told = Told::Said(condition),
            Err(reason) => tracing::debug!(session.name = %self.name, reason, "a condition cannot be told now"),
        }
    }

    /// Looks whether what was handed over was taken after all. Then the next may follow.
    async fn see_taken(&mut self) {
        let Some(outstanding) = &self.outstanding else { return };
        let pending = outstanding.pending.clone();
        let Some(evidence) = self.launcher.evidence(&self.notices.plugins(), &pending).await else { return };
        let messages = outstanding.messages.clone();
        let evidence = format!("{}: {evidence}", pending.rung);
        let outcome = NoticeOutcome::new(messages, Step::Present(Some(pending.carrier), evidence));
        if self.notices.report(outcome).await.is_ok() {
            (self.outstanding, self.must_ask) = (None, true);
        }
    }

    /// Shows what is due, or says what it waits for.
    async fn serve(&mut self, look: &Look, up: bool) -> Result<(), String> {
        loop {
            self.must_ask = false;
            let hold = hold(look, up);
            let mut due = self.notices.due(false).await?;
            match self.recognise(look, &due, up).await? {
                Recognised::Nothing => {}
                Recognised::Shown => continue,
                Recognised::Typed => {
                    (self.ask_at, self.looked_at) = (Some(Instant::now() + BETWEEN), None);
                    return Ok(());
                }
            }
            if hold == Some(HoldReason::Busy)
                && !look.observation.has_draft
                && due.notice.as_ref().is_some_and(|notice| notice.interrupt)
            {
                let interrupting = self.notices.due(true).await?;
                if let Some(notice) = interrupting.notice {
                    self.show(look, notice).await?;
                    // What may not interrupt still waits.
                    due = self.notices.due(false).await?;
                    due.retry_in_ms.get_or_insert(1_000);
                }
            }
            self.ask_at = due.retry_in_ms.map(|ms| Instant::now() + Duration::from_millis(ms.max(0).unsigned_abs()));
            let Some(notice) = due.notice else {
                self.waits = due.reason.is_some();
                self.held = None;
                return Ok(());
            };
            self.waits = true;
            if let Some(reason) = hold {
                return self.hold(&notice, reason).await;
            }
            self.held = None;
            self.show(look, notice).await?;
            // What the session does then is not what was seen before.
            (self.ask_at, self.looked_at) = (Some(Instant::now() + BETWEEN), None);
            return Ok(());
        }
    }

    /// Sees whether a line that was tried before, by whomever, was shown: then it is not shown again.
    async fn recognise(&mut self, look: &Look, due: &Due, up: bool) -> Result<Recognised, String> {
        if self.outstanding.is_some() || !up {
            return Ok(Recognised::Nothing);
        }
        for tried in due.tried.iter().filter(|tried| look.shown.count_of(&tried.text) > 0) {
            if !look.observation.has_draft {
                let step = Step::Present(None, "it is on the screen".to_owned());
                self.notices.report(NoticeOutcome::new(tried.message_ids.clone(), step)).await?;
                return Ok(Recognised::Shown);
            }
            if look.observation.doing == Doing::Idle && look.shown.has_at_cursor(&tried.text) {
                // It was typed, and nobody submitted it. An Enter for it may be on its way still.
                if self.typed.as_ref() != Some(&tried.text) {
                    self.typed = Some(tried.text.clone());
                    return Ok(Recognised::Typed);
                }
                let enter = Presentation { keys_before: Vec::new(), text: String::new(), submit: true };
                let pressed = self.launcher.sessions().type_within(self.name, &enter, RETRY).await;
                pressed.map_err(|error| error.to_string())?;
                self.typed = None;
                return Ok(Recognised::Typed);
            }
        }
        Ok(Recognised::Nothing)
    }

    /// Says what a notice waits for, of those messages for which that is news.
    async fn hold(&mut self, notice: &DueNotice, reason: HoldReason) -> Result<(), String> {
        let from = self.held.filter(|(held, _)| *held == reason).map(|(_, last)| last);
        let news: Vec<MessageId> =
            notice.message_ids.iter().copied().filter(|id| from.is_none_or(|last| *id > last)).collect();
        let last = notice.message_ids.last().copied().unwrap_or_default();
        if !news.is_empty() {
            self.notices.report(NoticeOutcome::new(news, Step::Hold(reason))).await?;
        }
        self.held = Some((reason, last));
        Ok(())
    }

    /// Shows one notice. It is written down before, so that a crash in between is noticed, and after.
    async fn show(&mut self, look: &Look, due: DueNotice) -> Result<(), String> {
        let DueNotice { id, message_ids, text, interrupt, start } = due;
        let outcome = |step| NoticeOutcome { message_ids: message_ids.clone(), step, start };
        let live = self.notices.report(outcome(Step::Try(text.clone()))).await?;
        if live.len() < message_ids.len() {
            // Something is over since it was asked: what is shown has to be true now.
            self.notices.report(outcome(Step::Undo)).await?;
            return Ok(());
        }
        let plugins = self.notices.plugins();
        let notice = Notice {
            id: u64::try_from(id.get()).unwrap_or_default(),
            text,
            interrupt,
            attempt_id: fresh_uuid().ok_or("no randomness for an attempt")?,
        };
        // The way that was not seen to be taken comes last.
        let before = self.outstanding.take().map(|outstanding| outstanding.pending.rung);
        let mut offered = self.launcher.offer(&plugins, self.name, &notice, look, before.as_deref()).await;
        if before.is_some() && matches!(offered, Offered::No { .. }) {
            offered = self.launcher.offer(&plugins, self.name, &notice, look, None).await;
        }
        let step = match offered {
            Offered::No { reason } => Step::Fail(reason),
            Offered::NotNow { doing, has_draft } => {
                Step::Hold(reason_of(&doing, has_draft).unwrap_or(HoldReason::Busy))
            }
            Offered::HandedOver { rung, carrier, evidence: Some(evidence), .. } => {
                Step::Present(Some(carrier), format!("{rung}: {evidence}"))
            }
            Offered::HandedOver { carrier, pending, .. } => {
                self.outstanding = Some(Outstanding { messages: message_ids.clone(), pending });
                Step::Offer(carrier)
            }
        };
        // Once it is done it has to be known, whoever does not answer at the moment: it is what keeps it from being
        // shown twice.
        let outcome = outcome(step);
        while let Err(reason) = self.notices.report(outcome.clone()).await {
            tracing::debug!(session.name = %self.name, reason, "what became of a notice cannot be told now");
            tokio::time::sleep(RETRY).await;
        }
        Ok(())
    }
}

/// What a notice has to wait for.
fn hold(look: &Look, up: bool) -> Option<HoldReason> {
    let reason = reason_of(&look.observation.doing, look.observation.has_draft);
    // A program that is not up may show an input for a moment.
    if up { reason } else { Some(reason.filter(|reason| *reason != HoldReason::Busy).unwrap_or(HoldReason::Starting)) }
}

fn reason_of(doing: &Doing, has_draft: bool) -> Option<HoldReason> {
    match doing {
        Doing::Idle if has_draft => Some(HoldReason::Busy),
        Doing::Idle => None,
        Doing::Busy => Some(HoldReason::Busy),
        // What is typed now would be an answer.
        Doing::Dialog(_) | Doing::Approval(_) | Doing::Input(_) => Some(HoldReason::Dialog),
        Doing::Limit { .. } => Some(HoldReason::Limit),
        Doing::Starting => Some(HoldReason::Starting),
        Doing::Unknown => Some(HoldReason::Unknown),
    }
}
