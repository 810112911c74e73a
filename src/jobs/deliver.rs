//! Delivering: what lies in the outbox is sent, when it is due.
//!
//! It sleeps until something is due or a commit says that there is something new. What is on its way is known here
//! alone: after a crash all of it is due again, under the same id. So a receiver gets everything at least once, what
//! has one line in order, and what it took twice it can tell by the id.

mod places;
mod resolve;
mod secrets;
mod send;
mod sign;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use self::places::{Place, Places};
use self::send::Sender;
use crate::domain::task::callback::address::Allowed;
use crate::domain::task::callback::{BACKOFF_MS, Next, Outgoing, next};
use crate::relay::Relay;
use crate::telemetry::metric;

pub use self::places::{FAILING_AT_ONCE, OF_RECEIVER_AT_ONCE, SENT_AT_ONCE};
pub use self::resolve::Resolver;
pub use self::secrets::{SECRET_FILE, SecretError};
pub use self::send::{ANSWER_BYTES_MAX, TIMEOUT};
pub use self::sign::SigningSecret;

/// What the operator decided about deliveries.
#[derive(Clone)]
pub struct Options {
    /// Addresses beside those of the internet that may be called.
    pub allow: Allowed,
    /// What is signed with, each by itself. Where there is none, one is made and kept in `secret_file`.
    pub secrets: Vec<SigningSecret>,
    /// Where that one is kept.
    pub secret_file: PathBuf,
    /// How long one attempt may take in all.
    pub timeout: Duration,
    /// How long after each failed attempt the next one comes, in milliseconds.
    pub backoff_ms: Vec<i64>,
    /// Who knows the addresses of a name.
    pub resolver: Resolver,
}

impl Options {
    /// What holds unless the operator says otherwise, with the secret in this file.
    pub fn new(secret_file: PathBuf) -> Self {
        Self {
            allow: Allowed::default(),
            secrets: Vec::new(),
            secret_file,
            timeout: TIMEOUT,
            backoff_ms: BACKOFF_MS.to_vec(),
            resolver: Resolver::system(),
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { allow, secrets, secret_file, timeout, backoff_ms, resolver: _ } = self;
        let mut shown = f.debug_struct("Options");
        shown.field("allow", allow).field("secrets", secrets).field("secret_file", secret_file);
        shown.field("timeout", timeout).field("backoff_ms", backoff_ms).finish_non_exhaustive()
    }
}

/// How long what is on its way has to end when the relay does: less than the relay waits for its jobs.
const GRACE_MAX: Duration = Duration::from_secs(4);
/// How long it waits after the store could not be read or written, and at most after that went on.
const PAUSE: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// What is due far in the future is looked at again by then.
const SLEEP_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// What sends, ready to begin.
pub struct Deliverer {
    sender: Arc<Sender>,
}

impl Deliverer {
    /// Reads the secret, or makes one.
    ///
    /// # Errors
    ///
    /// When the file of the secret cannot be read or written, or holds something else.
    pub fn new(mut options: Options) -> Result<Self, SecretError> {
        if options.secrets.is_empty() {
            options.secrets.push(secrets::open(&options.secret_file)?);
        }
        Ok(Self { sender: Arc::new(Sender::new(options)) })
    }
}

/// Runs until the relay drains, and then until what is on its way has ended, or has had its time.
pub(super) async fn forever(relay: Relay, deliverer: Deliverer) {
    let sender = deliverer.sender;
    let mut places = Places::default();
    let mut on_their_way = JoinSet::new();
    loop {
        let wait = match begin(&relay, &sender, &mut places, &mut on_their_way).await {
            Ok(wait) => wait,
            Err(error) => {
                tracing::warn!(%error, "cannot find out what is to be sent; it tries again");
                Some(PAUSE)
            }
        };
        let due = async {
            match wait {
                Some(wait) => sleep(wait).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            Some(ended) = on_their_way.join_next() => {
                places.end(ended);
                while let Some(ended) = on_their_way.try_join_next() {
                    places.end(ended);
                }
            }
            () = relay.outgoing_changed() => {}
            () = due => {}
            () = relay.draining().cancelled() => break,
        }
    }
    let grace = relay.drain_time().min(GRACE_MAX);
    let rest = async { while on_their_way.join_next().await.is_some() {} };
    if timeout(grace, rest).await.is_err() {
        tracing::info!(count = on_their_way.len(), "callbacks on their way are sent again by the next start");
    }
}

/// Begins what is due and has a place. Answers how long nothing else becomes due, if something will.
async fn begin(
    relay: &Relay,
    sender: &Arc<Sender>,
    places: &mut Places,
    on_their_way: &mut JoinSet<Place>,
) -> Result<Option<Duration>, crate::relay::Error> {
    if places.are_taken() {
        return Ok(None);
    }
    let (good, failing) = places.receivers_to_look_at();
    let due = relay.due_outgoing(good, failing, places.room()).await?;
    for outgoing in due.outgoing {
        if let Some(place) = places.take(&outgoing) {
            let (relay, sender) = (relay.clone(), sender.clone());
            on_their_way.spawn(async move {
                deliver(&relay, &sender, outgoing).await;
                place
            });
        }
    }
    // A millisecond more: what is due then must not be found a moment before it is.
    let wait = due.wait_ms.map(|ms| Duration::from_millis(u64::try_from(ms).unwrap_or(0) + 1));
    Ok(wait.map(|wait| wait.min(SLEEP_MAX)))
}

/// One attempt, to its end on disk.
async fn deliver(relay: &Relay, sender: &Sender, outgoing: Outgoing) {
    let (id, tries) = (outgoing.id, outgoing.tries);
    let sent = sender.send(&outgoing, || relay.now()).await;
    let next = match sent.is_forbidden {
        true => Next::Dead,
        false => next(sent.attempt.status, tries, sender.backoff_ms(), sent.retry_after_ms, random_share()),
    };
    let outcome = match next {
        Next::Delivered => "delivered",
        Next::Again { .. } => "failed",
        Next::Dead => "dead",
    };
    metrics::counter!(metric::CALLBACK_ATTEMPTS, "outcome" => outcome).increment(1);
    let mut pause = PAUSE;
    // Until it is written down, nothing else of its line is begun, and it is not sent again.
    while let Err(error) = relay.note_attempt(id, sent.attempt.clone(), next).await {
        tracing::warn!(%error, callback.id = %id, "an attempt could not be written down; it tries again");
        tokio::select! {
            () = sleep(pause) => pause = (pause * 2).min(PAUSE_MAX),
            () = relay.draining().cancelled() => break,
        }
    }
}

/// Something between 0 and 1.
fn random_share() -> f64 {
    let mut bytes = [0; 4];
    // Without randomness what failed together is tried together, which is no reason to fail.
    getrandom::fill(&mut bytes).ok();
    f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX)
}
