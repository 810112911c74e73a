//! Events: what happens, as a stream or page by page.

use reqwest::Method;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::stream::EventStream;
use super::{Client, Pages, Request};
use crate::domain::event::EventName;

/// Requests about events. See [`Client::events`].
#[derive(Clone, Copy, Debug)]
pub struct Events<'a>(pub(super) &'a Client);

/// Which events.
#[derive(Clone, Debug, Default)]
pub struct EventFilter {
    /// Only what concerns this agent.
    pub agent: Option<String>,
    /// Only these kinds; all when there are none.
    pub types: Vec<EventName>,
    /// After this position. Without one a stream begins now, and the log at the oldest event kept.
    pub since: Option<String>,
}

impl EventFilter {
    /// What concerns this agent.
    pub fn agent(id: impl Into<String>) -> Self {
        Self { agent: Some(id.into()), ..Self::default() }
    }

    /// A request for a stream of these, without the position.
    pub(super) fn request(&self, client: &Client) -> Request<()> {
        self.fill(client.request(Method::GET, "/api/events"))
    }

    fn fill<T>(&self, request: Request<T>) -> Request<T> {
        let types: Vec<_> = self.types.iter().map(|name| name.as_str()).collect();
        let types = (!types.is_empty()).then(|| types.join(","));
        request.query("agent", self.agent.as_ref()).query("types", types)
    }
}

/// Something that happened.
#[derive(Clone, Debug, Deserialize)]
pub struct Event {
    /// The position after it, in a form that only the relay understands; `None` when it is not part of
    /// the history.
    pub id: Option<String>,
    /// Its name on the wire, such as `message.new`.
    #[serde(rename = "event")]
    pub name: String,
    /// What happened, as JSON: the thing as it is now, or what is left of it.
    pub data: Box<RawValue>,
}

impl Event {
    /// What kind it is; `None` when this version knows no such kind.
    pub fn kind(&self) -> Option<EventName> {
        EventName::parse(&self.name)
    }

    /// The data as this type: a `message.new` has a [`Message`](crate::domain::message::Message).
    ///
    /// # Errors
    ///
    /// When it is something else.
    pub fn parse<'de, T: Deserialize<'de>>(&'de self) -> Result<T, serde_json::Error> {
        serde_json::from_str(self.data.get())
    }
}

/// What opens one stream, for a client that cannot send a header.
#[derive(Clone, Deserialize)]
pub struct Ticket {
    /// Good once, for 60 s.
    pub ticket: String,
}

impl Events<'_> {
    /// Follows what happens. The stream comes back by itself and goes on where it was.
    pub fn follow(&self, filter: EventFilter) -> EventStream {
        EventStream::new(self.0.clone(), filter)
    }

    /// The same events page by page, in commit order. A `relay.reset` without an id comes first when the
    /// wanted position is no longer kept. With `wait` the first page waits so many seconds, at most 60,
    /// until there is something.
    pub fn log(&self, filter: &EventFilter, limit: Option<u32>, wait: Option<u64>) -> Pages<Event> {
        let request = filter.fill(self.0.request(Method::GET, "/api/events/log"));
        Pages::from(request.query("since", filter.since.as_ref()).query("limit", limit).wait(wait))
    }

    /// Issues a ticket for a browser's stream, which is then opened as this caller.
    pub fn ticket(&self) -> Request<Ticket> {
        self.0.request(Method::POST, "/api/events/ticket")
    }
}
