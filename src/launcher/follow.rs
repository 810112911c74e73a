//! One session from the process that runs to its end: whether it is up, its prompt, its signs of life.
//!
//! A program is up when that is seen: by a text its provider names, by an input on a screen that stands still, or
//! because its agent says so. Living on is no sign of it. One that waits in a dialog, or of which nobody can know,
//! stays as it is and is told with its screen, until it gets there or ends.

use std::time::Duration;

use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::{Launcher, Reports};
use crate::domain::control::plan::{Presentation, PromptDelivery, SETTLE_MS_MAX};
use crate::sessions::{Died, Evidence, Opening, Screen, Seen, SessionName};

/// How often a screen is looked at before a program is told not to be up, and after: tmux tells nobody what appears
/// on one, and after that somebody has to come.
const LOOK_INTERVAL: Duration = Duration::from_millis(150);
const WAITING_INTERVAL: Duration = Duration::from_secs(2);
/// How long a screen stands still before what looks like an input is one: programs that start show many things for
/// a moment.
const STILL: Duration = Duration::from_secs(3);
/// The most of a screen that is told, in bytes.
const SCREEN_BYTES_MAX: usize = 8 * 1024;

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
    /// Whether a dialog waits; otherwise nobody knows.
    pub in_dialog: bool,
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
    /// shows a sign of life every `alive_every`.
    pub async fn run(self, reports: &impl Reports, alive_every: Duration, until: &CancellationToken) {
        let exit = tokio::select! {
            // A program that has ended is not up, whatever is on its screen.
            biased;
            exit = self.launcher.sessions().exited(&self.name) => exit,
            () = self.come_up(reports) => return self.launcher.watch(&self.name, reports, alive_every, until).await,
            () = show_signs_of_life(reports, alive_every) => return,
            () = until.cancelled() => return,
        };
        let ending = exit.how.to_string();
        reports.died(&Died { exit }).await;
        reports.ended(&ending).await;
    }

    /// Waits until the program is up and has its prompt, and reports it.
    async fn come_up(&self, reports: &impl Reports) {
        loop {
            self.wait_until_up(reports).await;
            match self.deliver(reports).await {
                // What was seen a moment ago is not there any more.
                Err(None) => sleep(LOOK_INTERVAL).await,
                Err(Some(undelivered)) => return reports.up(Err(undelivered)).await,
                Ok(()) => return reports.up(Ok(())).await,
            }
        }
    }

    async fn wait_until_up(&self, reports: &impl Reports) {
        let settled = Instant::now() + Duration::from_millis(self.opening.ready.settle_ms.min(SETTLE_MS_MAX).into());
        // What an agent says of itself is no input for a prompt that has to be typed.
        let takes_its_word = self.prompt.is_none() || self.opening.prompt != PromptDelivery::Typed;
        let (mut last, mut since, mut told) = (Screen::default(), Instant::now(), None);
        loop {
            let screen = self.launcher.sessions().look(&self.name).await;
            let stood = screen == last;
            if !stood {
                (last, since) = (screen, Instant::now());
            }
            let seen = last.read(&self.opening.ready.screen_texts);
            let is_up = match seen {
                Seen::Input(Evidence::Known) => true,
                Seen::Input(Evidence::Looks) => since.elapsed() >= STILL,
                Seen::Dialog | Seen::Unknown => false,
            };
            if is_up || takes_its_word && reports.says_ready().await {
                return;
            }
            let is_late = Instant::now() >= settled;
            let may_come_up = matches!(seen, Seen::Input(_));
            // At first as it is, later what stands still: a clock on a screen is no news.
            if is_late && !may_come_up && told.as_ref().is_none_or(|told| stood && *told != last) {
                if told.is_none() {
                    tracing::warn!(session.name = %self.name, ?seen, "a program is not seen to be up");
                }
                reports.waiting(&waiting(seen, &last)).await;
                told = Some(last.clone());
            }
            sleep(if is_late { WAITING_INTERVAL } else { LOOK_INTERVAL }).await;
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
    /// life every `alive_every`.
    pub async fn watch(
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

fn waiting(seen: Seen, screen: &Screen) -> Waiting {
    let text = screen.text();
    let start = text.ceil_char_boundary(text.len().saturating_sub(SCREEN_BYTES_MAX));
    Waiting { in_dialog: seen == Seen::Dialog, screen: text[start..].to_owned() }
}
