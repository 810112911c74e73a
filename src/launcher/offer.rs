//! Offering a notice to a session: the rungs of its provider's ladder, one after the other, until one hands it over, and
//! then the evidence that it was taken.
//!
//! A session is looked at once more in the moment before anything is done. Nothing is done in one that is busy, waits in
//! a dialog, is at a limit, or whose input holds what somebody has typed.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::evidence::Pending;
use super::look::Look;
use super::{Launcher, off_the_reactor};
use crate::domain::control::courier::{Attempt, Carrier, Notice, Sign, Way};
use crate::domain::control::observation::Doing;
use crate::domain::control::plan::{IncomingMessage, Presentation};
use crate::plugins::PluginSet;
use crate::sessions::{SessionName, TypeError};

/// The shortest and the longest pause between two looks for evidence.
const LOOK_INTERVALS: (Duration, Duration) = (Duration::from_millis(50), Duration::from_millis(500));
/// How long evidence of a typed notice is waited for where no courier says.
const CONFIRM_MS: u32 = 10_000;
/// For so long a typed notice that was taken is looked for elsewhere as well, in milliseconds.
const MORE_MS: u32 = 1_500;
/// How long a typed notice is waited for in the input: it is one line, and there are other ways or another time.
const SHOWN_WITHIN: Duration = Duration::from_secs(10);
/// The name of the one rung there is without a courier.
const TYPED: &str = "typed";
/// Who shows a notice, for a provider that would show a message.
const SENDER: &str = "agent-relay";
/// Characters of a reason.
const REASON_MAX: usize = 500;

/// What became of a notice that was offered.
#[derive(Clone, Debug)]
pub enum Offered {
    /// No rung took it.
    No {
        /// Why, for people: each rung with what was wrong.
        reason: String,
    },
    /// It is not the moment: nothing was done.
    NotNow {
        /// What the program is doing.
        doing: Doing,
        /// Whether its input holds what somebody has typed and not submitted.
        has_draft: bool,
    },
    /// It was handed over.
    HandedOver {
        /// By this rung.
        rung: String,
        /// Which kind of way that is.
        carrier: Carrier,
        /// What shows that it was taken, in words, when it was seen in time.
        evidence: Option<String>,
        /// To ask for evidence again, with [`Launcher::evidence`].
        pending: Pending,
    },
}

/// What one rung came to.
enum Tried {
    HandedOver,
    /// It did not, for this reason, and nothing of it is left.
    Failed(String),
    /// There is nothing to type into at the moment.
    NotNow(Doing),
}

impl Launcher {
    /// Offers a notice to a session, best rung first. `after` names the rung that was tried in vain before: those up to it
    /// are left out. A rung that hands over is waited on for its evidence, and no other is tried.
    pub async fn offer(
        &self,
        plugins: &PluginSet,
        name: &SessionName,
        notice: &Notice,
        look: &Look,
        after: Option<&str>,
    ) -> Offered {
        let ladder = self.ladder(plugins, notice, look).await;
        let tried_before = after.and_then(|after| ladder.iter().position(|attempt| attempt.rung == after));
        let mut reasons = Vec::new();
        for attempt in ladder.into_iter().skip(tried_before.map_or(0, |at| at + 1)) {
            // The rung before may have taken its time.
            let Some(now) = self.look(plugins, name).await else {
                return Offered::No { reason: "its session has ended".to_owned() };
            };
            if !is_moment(&now, notice) {
                return Offered::NotNow { doing: now.observation.doing, has_draft: now.observation.has_draft };
            }
            let pending = self.before(plugins, name, &attempt, &now).await;
            match self.carry(plugins, name, &attempt, &now).await {
                Tried::HandedOver => {
                    // What was typed was seen in the input, and then that Enter took it from there: more is looked for,
                    // and not needed.
                    let is_taken = matches!(&attempt.way, Way::Type(presentation) if presentation.submit);
                    let within = if is_taken { attempt.confirm_ms.min(MORE_MS) } else { attempt.confirm_ms };
                    let evidence = self.wait_for_evidence(plugins, &pending, within).await;
                    let evidence = evidence.or_else(|| is_taken.then(|| "its input took it".to_owned()));
                    return Offered::HandedOver { rung: attempt.rung, carrier: attempt.carrier, evidence, pending };
                }
                Tried::NotNow(doing) => return Offered::NotNow { doing, has_draft: false },
                Tried::Failed(reason) => {
                    let rung = attempt.rung.as_str();
                    tracing::info!(session.name = %name, rung, reason, "a way into a session did not carry");
                    reasons.push(format!("{rung}: {reason}"));
                }
            }
        }
        let reason = match reasons.as_slice() {
            [] if tried_before.is_some() => "there is no other way into its session".to_owned(),
            [] => "its provider knows no way into its session as things are".to_owned(),
            reasons => reasons.join("; "),
        };
        Offered::No { reason: reason.chars().take(REASON_MAX).collect() }
    }

    /// The rungs that its provider names; without them the notice is typed.
    async fn ladder(&self, plugins: &PluginSet, notice: &Notice, look: &Look) -> Vec<Attempt> {
        match plugins.deliver(&look.provider, notice, &look.session, &look.observation).await {
            Ok(Some(ladder)) => return ladder,
            Ok(None) => {}
            // The operator has been told, once.
            Err(error) => tracing::debug!(%error, "a notice is typed without its provider"),
        }
        let message = IncomingMessage {
            id: notice.id,
            sender: SENDER.to_owned(),
            subject: None,
            body: notice.text.clone(),
            interrupt: notice.interrupt,
        };
        let (keys_before, submit) = match plugins.present(&look.provider, &message).await {
            Ok(presentation) => (presentation.keys_before, presentation.submit),
            Err(_) => (Vec::new(), true),
        };
        // There is nothing to break into but a turn.
        let keys_before = if look.observation.doing == Doing::Busy { keys_before } else { Vec::new() };
        // What is typed is the notice, and nothing that is made of it.
        let presentation = Presentation { keys_before, text: notice.text.clone(), submit };
        vec![Attempt {
            rung: TYPED.to_owned(),
            carrier: Carrier::Typed,
            way: Way::Type(presentation),
            evidence: vec![Sign::Turn, Sign::Screen(notice.text.clone())],
            confirm_ms: CONFIRM_MS,
        }]
    }

    async fn before(&self, plugins: &PluginSet, name: &SessionName, attempt: &Attempt, look: &Look) -> Pending {
        let readable = plugins.grants(&look.provider).map(|grants| grants.readable(&look.session)).unwrap_or_default();
        let (name, attempt, look) = (name.clone(), attempt.clone(), look.clone());
        off_the_reactor(move || Pending::before(&name, &attempt, &look, &readable)).await
    }

    async fn carry(&self, plugins: &PluginSet, name: &SessionName, attempt: &Attempt, look: &Look) -> Tried {
        let carried = match &attempt.way {
            Way::Run { program, args } => self.sessions().run_beside(&look.facts, program, args).await,
            Way::Write { path, lines } => {
                let grants = plugins.grants(&look.provider);
                let writable = grants.map(|grants| grants.writable(&look.session)).unwrap_or_default();
                super::socket::write(writable, path, lines).await
            }
            Way::Type(presentation) => match self.sessions().type_within(name, presentation, SHOWN_WITHIN).await {
                Err(TypeError::Dialog | TypeError::Interrupted) => {
                    return Tried::NotNow(Doing::Dialog(look.screen.clone()));
                }
                Err(TypeError::NoInput) => return Tried::NotNow(Doing::Unknown),
                typed => typed.map_err(|error| error.to_string()),
            },
        };
        carried.map_or_else(Tried::Failed, |()| Tried::HandedOver)
    }

    async fn wait_for_evidence(&self, plugins: &PluginSet, pending: &Pending, confirm_ms: u32) -> Option<String> {
        if !pending.awaits_anything() {
            return None;
        }
        let deadline = Instant::now() + Duration::from_millis(confirm_ms.into());
        let (mut interval, longest) = LOOK_INTERVALS;
        loop {
            if let Some(evidence) = self.evidence(plugins, pending).await {
                return Some(evidence);
            }
            if Instant::now() >= deadline {
                return None;
            }
            sleep(interval.min(deadline - Instant::now())).await;
            interval = (interval * 2).min(longest);
        }
    }
}

/// Whether a session may be shown a notice now.
fn is_moment(look: &Look, notice: &Notice) -> bool {
    let takes = match look.observation.doing {
        Doing::Idle => true,
        Doing::Busy => notice.interrupt,
        _ => false,
    };
    takes && !look.observation.has_draft
}
