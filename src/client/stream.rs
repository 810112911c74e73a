//! The event stream: it goes on where it was when a connection ends, and says so when it cannot.

pub mod backoff;
pub mod sse;

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use serde::Deserialize;
use tokio::time::error::Elapsed;
use tokio::time::{Instant, sleep_until, timeout_at};

use self::backoff::Backoff;
use self::sse::{Frame, Parser, Part};
use super::events::{Event, EventFilter};
use super::{Client, Error, Incoming, Request};
use crate::domain::text::causes;

/// The relay sends something at least every 15 s. After three times that long without a byte the
/// connection is dead, whatever the system thinks of it.
const SILENCE_MAX: Duration = Duration::from_secs(45);

/// What comes out of a stream.
#[derive(Debug)]
pub enum Received {
    /// Connected: what follows is all that happened after `from`.
    Ready {
        /// The position that the connection begins after: the last event that was received, unless a
        /// reset came before this.
        from: String,
        /// The newest event at that moment: what comes up to it happened earlier.
        latest: String,
    },
    /// Events are missing here: the relay no longer keeps what came after the last one received. Whoever
    /// holds state made of events has to fetch it anew.
    Reset {
        /// `too_old` or `unknown_epoch` from the relay; `not_resumed` when it began elsewhere than it was
        /// asked to without saying so.
        reason: String,
        /// The oldest event there is, when the relay said it.
        oldest: Option<String>,
    },
    /// Something happened.
    Event(Event),
    /// The connection is gone. The stream comes back by itself, and nothing is missed by that.
    Disconnected {
        /// Why, for people.
        reason: String,
        /// When the next try is made.
        retry_in: Duration,
    },
}

/// Follows what happens. It connects when it is first asked; dropping it hangs up.
pub struct EventStream {
    client: Client,
    filter: EventFilter,
    /// What was received last. Known from the first `relay.ready` on, even before any event.
    position: Option<String>,
    state: State,
    /// Received, and not yet handed on.
    received: VecDeque<Received>,
    backoff: Backoff,
    /// It was connected before: what passes by itself is waited out from then on.
    was_ready: bool,
}

enum State {
    /// No connection before this moment.
    Waiting(Instant),
    /// Kept, so that a caller who does other things meanwhile does not begin again each time.
    Connecting(BoxFuture<'static, Result<Connection, Error>>),
    Open(Box<Connection>),
}

struct Connection {
    incoming: Incoming,
    parser: Parser,
    /// When something came last.
    heard: Instant,
    /// A reset came, so that it begins elsewhere than asked.
    reset: bool,
}

impl Connection {
    /// The next bytes; an error of time after too long a silence, however often it is asked meanwhile.
    async fn chunk(&mut self) -> Result<Result<Option<Bytes>, Error>, Elapsed> {
        let chunk = timeout_at(self.heard + SILENCE_MAX, self.incoming.chunk()).await?;
        self.heard = Instant::now();
        Ok(chunk)
    }
}

async fn connect(request: Request<()>) -> Result<Connection, Error> {
    let incoming = request.header("accept", "text/event-stream").open().await?;
    let is_stream = incoming.header("content-type").is_some_and(|kind| kind.starts_with("text/event-stream"));
    if is_stream && incoming.status().is_success() {
        return Ok(Connection { incoming, parser: Parser::default(), heard: Instant::now(), reset: false });
    }
    let answer = incoming.read().await?.success()?;
    Err(answer.malformed("is no stream of events"))
}

impl EventStream {
    pub(super) fn new(client: Client, filter: EventFilter) -> Self {
        let position = filter.since.clone();
        Self {
            client,
            filter,
            position,
            state: State::Waiting(Instant::now()),
            received: VecDeque::new(),
            backoff: Backoff::default(),
            was_ready: false,
        }
    }

    /// The position after what was received last: where another stream could go on.
    pub fn position(&self) -> Option<&str> {
        self.position.as_deref()
    }

    /// Tries again at once if it waits for the next try: for the few who are waited for themselves. Everybody else comes
    /// back when the relay asks them to.
    pub fn retry_now(&mut self) {
        if let State::Waiting(until) = &mut self.state {
            *until = Instant::now();
        }
    }

    /// What comes next. It waits for as long as it takes, and tries again for as long as the relay is
    /// away. Cancel safe: what is not handed on comes with the next call.
    ///
    /// # Errors
    ///
    /// Before the stream was ready for the first time, whatever keeps it from connecting; later only what
    /// does not pass by itself, such as a credential that is no longer good, or an event that is none. The
    /// next call tries again, after a pause.
    pub async fn next(&mut self) -> Result<Received, Error> {
        loop {
            if let Some(received) = self.received.pop_front() {
                self.note(&received);
                return Ok(received);
            }
            match &mut self.state {
                State::Waiting(until) => {
                    sleep_until(*until).await;
                    let request = self.filter.request(&self.client);
                    let request = match &self.position {
                        Some(position) => request.header("last-event-id", position),
                        None => request,
                    };
                    self.state = State::Connecting(Box::pin(connect(request)));
                }
                State::Connecting(connecting) => match connecting.await {
                    Ok(connection) => self.state = State::Open(Box::new(connection)),
                    Err(error) => self.failed(error)?,
                },
                State::Open(connection) => match connection.chunk().await {
                    Ok(Ok(Some(chunk))) => {
                        let mut parts = Vec::new();
                        let fed = connection.parser.feed(&chunk, |part| parts.push(part));
                        for part in parts {
                            if let Err(error) = self.take(part) {
                                self.failed(error)?;
                            }
                        }
                        if let Err(too_large) = fed {
                            self.failed(Error::malformed(self.client.address(), format!("has {too_large}")))?;
                        }
                    }
                    Ok(Ok(None)) => self.disconnected("the relay ended the stream".to_owned(), None),
                    Ok(Err(error)) => self.failed(error)?,
                    Err(_) => {
                        self.disconnected(format!("nothing came for {} s", SILENCE_MAX.as_secs()), None);
                    }
                },
            }
        }
    }

    /// The next event. Connections that come and go are passed over.
    ///
    /// # Errors
    ///
    /// As [`EventStream::next`], and [`Error::Malformed`] when events are missing, for whoever cannot do
    /// without one of them.
    pub async fn next_event(&mut self) -> Result<Event, Error> {
        loop {
            match self.next().await? {
                Received::Event(event) => return Ok(event),
                Received::Reset { reason, .. } => {
                    return Err(Error::malformed(self.client.address(), format!("leaves events out: {reason}")));
                }
                Received::Ready { .. } | Received::Disconnected { .. } => {}
            }
        }
    }

    /// Makes of a part of the connection what is received.
    fn take(&mut self, part: Part) -> Result<(), Error> {
        // Parts of a connection that failed meanwhile come again with the next one.
        let State::Open(connection) = &mut self.state else { return Ok(()) };
        let malformed = |error: serde_json::Error| {
            Error::malformed(self.client.address(), format!("holds an event that cannot be read: {error}"))
        };
        match part {
            Part::Comment => {}
            Part::Retry(retry) => self.backoff.set_retry(retry),
            // Nothing came since the position before it, so that one is as good while events wait.
            Part::Id(id) if self.received.is_empty() => self.position = Some(id),
            Part::Id(_) => {}
            Part::Frame(Frame { event, data, .. }) if event == "relay.reset" => {
                let Reset { reason, oldest } = serde_json::from_str(&data).map_err(malformed)?;
                connection.reset = true;
                self.received.push_back(Received::Reset { reason, oldest });
            }
            Part::Frame(Frame { event, data, .. }) if event == "relay.ready" => {
                let Ready { from, latest } = serde_json::from_str(&data).map_err(malformed)?;
                if !connection.reset && self.position.as_ref().is_some_and(|position| *position != from) {
                    self.received.push_back(Received::Reset { reason: "not_resumed".to_owned(), oldest: None });
                }
                self.backoff.reset();
                self.was_ready = true;
                self.received.push_back(Received::Ready { from, latest });
            }
            Part::Frame(Frame { id, event, data }) => {
                let data = serde_json::value::RawValue::from_string(data).map_err(malformed)?;
                self.received.push_back(Received::Event(Event { id, name: event, data }));
            }
        }
        Ok(())
    }

    /// What is handed on has been received, and what waits in the queue has not.
    fn note(&mut self, received: &Received) {
        match received {
            Received::Ready { from, .. } => self.position = Some(from.clone()),
            Received::Event(Event { id: Some(id), .. }) => self.position = Some(id.clone()),
            _ => {}
        }
    }

    fn failed(&mut self, error: Error) -> Result<(), Error> {
        let asked_for = error.problem().and_then(|problem| problem.retry_after);
        if self.was_ready && error.is_transient() {
            self.disconnected(causes(&error), asked_for);
            return Ok(());
        }
        self.state = State::Waiting(Instant::now() + self.backoff.next(asked_for));
        Err(error)
    }

    fn disconnected(&mut self, reason: String, asked_for: Option<Duration>) {
        let retry_in = self.backoff.next(asked_for);
        tracing::debug!(relay = self.client.address(), ?retry_in, "event stream lost: {reason}");
        self.state = State::Waiting(Instant::now() + retry_in);
        self.received.push_back(Received::Disconnected { reason, retry_in });
    }
}

impl fmt::Debug for EventStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("EventStream");
        debug.field("client", &self.client).field("filter", &self.filter).field("position", &self.position);
        debug.finish_non_exhaustive()
    }
}

#[derive(Deserialize)]
struct Ready {
    from: String,
    latest: String,
}

#[derive(Deserialize)]
struct Reset {
    reason: String,
    oldest: Option<String>,
}
