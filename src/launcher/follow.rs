//! One session from the process that runs to its end: whether it is up, its prompt, its signs of life.
//!
//! A program is up when that is seen: its provider observes it at its input or at work, or, where the provider does not
//! observe, a text that it names is on the screen, or an input on a screen that stands still; or because its agent says
//! so. Living on is no sign of it. One that waits in a dialog, for a permission or at a limit, or of which nobody can
//! know, stays as it is and is told with its screen, until it gets there or ends.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::look::Look;
use super::{Launcher, Notices, Reports};
use crate::domain::control::observation::Doing;
use crate::domain::control::plan::{Presentation, PromptDelivery, SETTLE_MS_MAX};
use crate::sessions::{Died, Opening, Seen, SessionName};

/// How often a screen is looked at before a program is told not to be up, the longer it takes the less often, and after:
/// tmux tells nobody what appears on one, and after that somebody has to come.
const LOOK_INTERVALS: (Duration, Duration) = (Duration::from_millis(150), Duration::from_millis(500));
const WAITING_INTERVAL: Duration = Duration::from_secs(2);
/// A screen on which nothing was written is looked at again after this all the same: what else is seen of a session may
/// have changed.
const LOOK_ANYHOW: Duration = Duration::from_secs(10);
/// How long a dialog that a provider has read stands before it is told.
const DIALOG_STANDS: Duration = Duration::from_secs(1);

/// The rest of a session's life: waits until its program is up, delivers the prompt, and watches it to its
/// end. Runs in a task of its own, since sessions outlive requests.
pub struct Follow {
    launcher: Launcher,
    name: SessionName,
    prompt: Option<String>,
    opening: Opening,
}

/// A program that is not seen to be up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// What it is doing, as far as that is seen.
    pub doing: Doing,
    /// The end of what its screen shows, at most 8 KiB.
    pub screen: String,
}

/// A prompt that did not reach a program.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Undelivered {
    /// Why.
    pub reason: String,
    /// Whether the program waits at an input all the same.
    pub is_ready: bool,
}

impl Follow {
    pub(super) fn new(launcher: &Launcher, name: SessionName, prompt: Option<String>, opening: Opening) -> Self {
        Self { launcher: launcher.clone(), name, prompt, opening }
    }

    /// Sees to the session until it ends or `until` is cancelled; then the next start finds it and goes on. Its agent
    /// shows a sign of life every `alive_every`, and is shown what it should know.
    pub async fn run(
        self,
        reports: &impl Reports,
        notices: &impl Notices,
        alive_every: Duration,
        until: &CancellationToken,
    ) {
        let (up, is_up) = watch::channel(false);
        tokio::select! {
            () = self.to_its_end(&up, reports, notices, alive_every, until) => {}
            () = self.launcher.attend(&self.name, notices, is_up) => {}
        }
    }

    async fn to_its_end(
        &self,
        up: &watch::Sender<bool>,
        reports: &impl Reports,
        notices: &impl Notices,
        alive_every: Duration,
        until: &CancellationToken,
    ) {
        let exit = tokio::select! {
            // A program that has ended is not up, whatever is on its screen.
            biased;
            exit = self.launcher.sessions().exited(&self.name) => exit,
            () = self.come_up(up, reports, notices) => {
                return self.launcher.watch_to_its_end(&self.name, reports, alive_every, until).await;
            }
            () = show_signs_of_life(reports, alive_every) => return,
            () = until.cancelled() => return,
        };
        let ending = exit.how.to_string();
        reports.died(&Died { exit }).await;
        reports.ended(&ending).await;
    }

    /// Waits until the program is up and has its prompt, and reports it.
    async fn come_up(&self, up: &watch::Sender<bool>, reports: &impl Reports, notices: &impl Notices) {
        let prompt = loop {
            self.wait_until_up(reports, notices).await;
            match self.deliver(reports).await {
                // What was seen a moment ago is not there any more.
                Err(None) => sleep(LOOK_INTERVALS.1).await,
                Err(Some(undelivered)) => break Err(undelivered),
                Ok(()) => break Ok(()),
            }
        };
        up.send_replace(true);
        reports.up(prompt).await;
    }

    async fn wait_until_up(&self, reports: &impl Reports, notices: &impl Notices) {
        let begun = Instant::now();
        let settled = begun + Duration::from_millis(self.opening.ready.settle_ms.min(SETTLE_MS_MAX).into());
        // What an agent says of itself is no input for a prompt that has to be typed.
        let takes_its_word = self.prompt.is_none() || self.opening.prompt != PromptDelivery::Typed;
        let (mut last, mut told, mut pulse) = (String::new(), None, None);
        loop {
            let looked_at = Instant::now();
            // Before it is looked at: what is written meanwhile is news.
            if looked_at >= settled {
                pulse.get_or_insert_with(|| self.launcher.pulse());
            }
            let mark = || pulse.as_ref().and_then(|pulse| pulse.borrow().get(&self.name).copied());
            let before = mark();
            // One that has ended is not looked at: its end is heard elsewhere.
            if let Some(look) = self.launcher.look(&notices.plugins(), &self.name).await {
                let up = self.judge(&look);
                if up == Up::Yes || takes_its_word && reports.says_ready().await {
                    return;
                }
                let stood = look.screen == last;
                let stands = Duration::from_millis(look.still_ms) >= DIALOG_STANDS;
                let is_late = looked_at >= settled || up == Up::Waits && look.is_observed && stands;
                // At first as it is, later what stands still: a clock on a screen is no news.
                if is_late && up != Up::Perhaps && told.as_ref().is_none_or(|told| stood && *told != look.screen) {
                    if told.is_none() {
                        let doing = &look.observation.doing;
                        tracing::warn!(session.name = %self.name, ?doing, "a program is not seen to be up");
                    }
                    reports.waiting(&waiting(&look)).await;
                    told = Some(look.screen.clone());
                }
                last = look.screen;
            }
            if looked_at < settled {
                sleep((begun.elapsed() / 8).clamp(LOOK_INTERVALS.0, LOOK_INTERVALS.1)).await;
                continue;
            }
            sleep(WAITING_INTERVAL).await;
            while looked_at.elapsed() < LOOK_ANYHOW && mark() == before {
                if takes_its_word && reports.says_ready().await {
                    return;
                }
                sleep(WAITING_INTERVAL).await;
            }
        }
    }

    fn judge(&self, look: &Look) -> Up {
        match look.observation.doing {
            Doing::Idle | Doing::Busy | Doing::Input(_) => Up::Yes,
            Doing::Dialog(_) | Doing::Approval(_) | Doing::Limit { .. } => Up::Waits,
            Doing::Starting | Doing::Unknown if look.is_observed => Up::No,
            // What looks like an input, and has to stand still to be one.
            Doing::Starting | Doing::Unknown => match look.shown.read(&self.opening.ready.screen_texts) {
                Seen::Input(_) => Up::Perhaps,
                Seen::Dialog | Seen::Unknown => Up::No,
            },
        }
    }

    /// Gives a program that is up its first prompt; `Err(None)` when it is not up any more.
    async fn deliver(&self, reports: &impl Reports) -> Result<(), Option<Undelivered>> {
        let failed = |reason: String, is_ready| Some(Undelivered { reason, is_ready });
        let Some(prompt) = &self.prompt else { return Ok(()) };
        let sessions = self.launcher.sessions();
        match self.opening.prompt {
            PromptDelivery::InArguments | PromptDelivery::InFile(_) => Ok(()),
            PromptDelivery::Message => reports.send_prompt(prompt).await.map_err(|reason| failed(reason, true)),
            PromptDelivery::Typed if sessions.is_prompted(&self.name).await => {
                let reason = "the relay ended while it was typed; look whether it is there";
                Err(failed(reason.to_owned(), false))
            }
            PromptDelivery::Typed => {
                // Noted before, so that it is never typed a second time.
                let noted = sessions.mark_prompted(&self.name, true).await;
                noted.map_err(|error| failed(error.to_string(), true))?;
                let text = Presentation { keys_before: Vec::new(), text: prompt.clone(), submit: true };
                let Err(error) = sessions.type_text(&self.name, &text).await else { return Ok(()) };
                if error.is_for_want_of_input() {
                    let noted = sessions.mark_prompted(&self.name, false).await;
                    return Err(noted.err().and_then(|error| failed(error.to_string(), false)));
                }
                Err(failed(error.to_string(), error.left_it_clean()))
            }
        }
    }
}

impl Launcher {
    /// What is left to do for a session that an earlier run of the relay started, and was not done with.
    pub async fn follow(&self, name: &SessionName, prompt: Option<String>) -> Follow {
        let opening = self.sessions().opening(name).await.unwrap_or_default();
        Follow::new(self, name.clone(), prompt, opening)
    }

    /// Watches a session whose program is up, until it ends or `until` is cancelled. Its agent shows a sign of
    /// life every `alive_every`, and is shown what it should know.
    pub async fn watch(
        &self,
        name: &SessionName,
        reports: &impl Reports,
        notices: &impl Notices,
        alive_every: Duration,
        until: &CancellationToken,
    ) {
        let (_up, is_up) = watch::channel(true);
        tokio::select! {
            () = self.watch_to_its_end(name, reports, alive_every, until) => {}
            () = self.attend(name, notices, is_up) => {}
        }
    }

    async fn watch_to_its_end(
        &self,
        name: &SessionName,
        reports: &impl Reports,
        alive_every: Duration,
        until: &CancellationToken,
    ) {
        tokio::select! {
            exit = self.sessions().exited(name) => reports.ended(&exit.how.to_string()).await,
            () = show_signs_of_life(reports, alive_every) => {}
            () = until.cancelled() => {}
        }
    }
}

/// Goes on for ever.
async fn show_signs_of_life(reports: &impl Reports, every: Duration) {
    loop {
        reports.alive();
        sleep(every).await;
    }
}

/// Whether a program is up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Up {
    Yes,
    /// It comes up by itself, as it looks.
    Perhaps,
    /// It waits for a person, or for a limit to end.
    Waits,
    No,
}

fn waiting(look: &Look) -> Waiting {
    Waiting { doing: look.observation.doing.clone(), screen: look.screen.clone() }
}
