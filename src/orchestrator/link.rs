//! Asking the relay until it answers, and speaking for an orchestrator until another daemon does.

use std::fmt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use serde::de::DeserializeOwned;
use tokio::sync::Notify;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::client::stream::backoff::Backoff;
use crate::client::{Client, Error, Request};
use crate::domain::agent::SessionGuard;
use crate::domain::id::OrchestratorId;

/// A refusal with this code means that another daemon speaks for the orchestrator.
const STALE: &str = "stale_session";

/// The way to the relay.
pub(super) struct Link {
    client: Client,
    id: OrchestratorId,
    /// What tells this daemon from others of its id: the data directory, and this run.
    instance: String,
    /// That under which it registered; 0 before.
    epoch: AtomicI64,
    /// There is a connection again: whoever waits for the next try need not.
    back: Notify,
    /// The relay did not answer, and that was said.
    is_away: AtomicBool,
    /// Cancelled when it is over, one way or the other.
    until: CancellationToken,
    superseded: OnceLock<String>,
}

/// A question that has no answer.
#[derive(Debug)]
pub(super) enum Failed {
    /// The relay said no, and would again.
    Refused(Error),
    /// The daemon ends.
    Ended,
}

impl Failed {
    /// Whether the relay said no with this code.
    pub(super) fn is(&self, code: &str) -> bool {
        matches!(self, Self::Refused(error) if error.is(code))
    }
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(error) => error.fmt(f),
            Self::Ended => f.write_str("the daemon ends"),
        }
    }
}

impl Link {
    pub(super) fn new(client: Client, id: OrchestratorId, home: &str, until: CancellationToken) -> Self {
        let mut run = [0; 4];
        // Without randomness two runs look the same, which only matters while both live: the data directory is locked.
        let _ = getrandom::fill(&mut run);
        let instance = format!("{home}-{:08x}", u32::from_be_bytes(run));
        Self {
            client,
            id,
            instance,
            epoch: AtomicI64::new(0),
            back: Notify::new(),
            is_away: AtomicBool::new(false),
            until,
            superseded: OnceLock::new(),
        }
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    pub(super) fn instance(&self) -> &str {
        &self.instance
    }

    /// The epoch under which it registered; none before.
    pub(super) fn epoch(&self) -> Option<i64> {
        Some(self.epoch.load(Ordering::Acquire)).filter(|epoch| *epoch > 0)
    }

    pub(super) fn set_epoch(&self, epoch: i64) {
        self.epoch.store(epoch, Ordering::Release);
    }

    /// What a request as the orchestrator carries: it is refused once another daemon speaks for it.
    pub(super) fn guard(&self) -> SessionGuard {
        SessionGuard { instance_id: Some(self.instance.clone()), epoch: self.epoch() }
    }

    /// Cancelled when it is over.
    pub(super) fn until(&self) -> &CancellationToken {
        &self.until
    }

    /// Another daemon speaks for the orchestrator: nothing more is done.
    pub(super) fn supersede(&self, by: String) {
        tracing::error!(orchestrator.id = %self.id, "another daemon took over{by}; this one stops acting");
        // Who noticed first has said it.
        let _ = self.superseded.set(by);
        self.until.cancel();
    }

    /// What is known of the daemon that took over, if one did.
    pub(super) fn superseded(&self) -> Option<String> {
        self.superseded.get().cloned()
    }

    /// There is a connection again.
    pub(super) fn is_back(&self) {
        self.has_answered();
        self.back.notify_waiters();
    }

    fn has_answered(&self) {
        if self.is_away.swap(false, Ordering::AcqRel) {
            tracing::info!(relay = %self.client.address(), "the relay answers");
        }
    }

    /// There is no answer. Said once: many may wait for the relay.
    pub(super) fn is_away(&self, error: &dyn fmt::Display) {
        if !self.is_away.swap(true, Ordering::AcqRel) {
            tracing::warn!(relay = %self.client.address(), %error, "the relay does not answer: it is asked until it does");
        }
    }

    /// Asks as this daemon until there is an answer, for as long as it takes.
    pub(super) async fn ask<T: DeserializeOwned>(&self, request: impl Fn(&Client) -> Request<T>) -> Result<T, Failed> {
        let answered = self.ask_as(&self.client, request).await;
        if answered.as_ref().is_err_and(|failed| failed.is(STALE)) {
            self.supersede(String::new());
            return Err(Failed::Ended);
        }
        answered
    }

    /// The same as somebody else, such as an agent.
    pub(super) async fn ask_as<T: DeserializeOwned>(
        &self,
        client: &Client,
        request: impl Fn(&Client) -> Request<T>,
    ) -> Result<T, Failed> {
        let mut backoff = Backoff::default();
        loop {
            let back = self.back.notified();
            let answered = tokio::select! {
                biased;
                () = self.until.cancelled() => return Err(Failed::Ended),
                answered = request(client).send() => answered,
            };
            let error = match answered {
                Ok(answer) => {
                    self.has_answered();
                    return Ok(answer);
                }
                Err(error) if passes(&error) => error,
                Err(error) => return Err(Failed::Refused(error)),
            };
            let asked_for = error.problem().and_then(|problem| problem.retry_after);
            let pause: Duration = backoff.next(asked_for);
            self.is_away(&error);
            tracing::debug!(%error, ?pause, "the relay is asked again");
            tokio::select! {
                () = sleep(pause) => {}
                () = back => {}
                () = self.until.cancelled() => return Err(Failed::Ended),
            }
        }
    }
}

/// Whether the same request may be answered later. What is no answer of a relay may come from something in between.
fn passes(error: &Error) -> bool {
    error.is_transient() || matches!(error, Error::Malformed { .. })
}
