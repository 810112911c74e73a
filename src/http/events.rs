//! The event stream, and the same page by page.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::io::{ErrorKind, IoSlice};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until, timeout};
use utoipa::IntoParams;

use super::answer;
use super::error::{ApiError, TOO_MANY_STREAMS};
use super::extract::{Query, Who};
use super::messages::wait;
use super::serve::Takeover;
use crate::domain::caller::Scope;
use crate::domain::event::{Cursor, Event, EventName, EventTypes};
use crate::domain::id::AgentId;
use crate::domain::page::Limit;
use crate::relay::Relay;
use crate::stream::{Feed, Listen, Start, TooManyStreams};

/// A comment at least this often, so that proxies and clients know the stream is alive.
const KEEPALIVE: Duration = Duration::from_secs(15);
/// A reader that takes nothing at all for this long is gone.
const STALL_MAX: Duration = Duration::from_secs(60);
/// Frames written at once: what `writev` takes gladly.
const FRAMES_MAX: usize = 64;

/// Which events.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct StreamEvents {
    /// Only what concerns this agent.
    agent: Option<String>,
    /// Only these kinds, separated by commas.
    types: Option<String>,
    /// After this position. The header `Last-Event-ID` wins; without either, from now on.
    since: Option<String>,
    /// A ticket of `POST /api/events/ticket`, for browsers.
    #[serde(rename = "ticket")]
    _ticket: Option<String>,
}

/// The ticket of a stream's address.
pub(super) fn ticket_of(uri: &Uri) -> Option<String> {
    if uri.path() != "/api/events" {
        return None;
    }
    #[derive(Deserialize)]
    struct Ticket {
        ticket: Option<String>,
    }
    let query = axum::extract::Query::<Ticket>::try_from_uri(uri).ok()?;
    query.0.ticket
}

/// Follow what happens: replay, then live.
#[utoipa::path(get, path = "/api/events", tag = "events", params(StreamEvents,
        ("Last-Event-ID" = Option<String>, Header, description = "The id of the last event seen")),
    responses((status = 200, description = "Server-sent events. `relay.ready` comes first, after `relay.reset` when \
        the wanted position is no longer kept", content_type = "text/event-stream", body = String)))]
pub(super) async fn stream_events(
    State(relay): State<Relay>,
    who: Who,
    method: Method,
    headers: HeaderMap,
    Query(query): Query<StreamEvents>,
) -> Result<Response, ApiError> {
    let listen = listen(&who, query.agent)?;
    let types = types(query.types.as_deref())?;
    let since = position(&headers, query.since.as_deref())?;
    let response_headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (header::HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no")),
    ];
    let mut response = (StatusCode::OK, response_headers).into_response();
    // A HEAD gets here as well, and its answer has no body to take the connection over for.
    if method == Method::HEAD {
        return Ok(response);
    }
    let subscription = relay.subscribe(listen, types)?;
    let (feed, start) = Feed::open(relay.store.clone(), subscription, since).await?;
    let (draining, drain) = (relay.draining.clone(), relay.settings.drain);
    response.extensions_mut().insert(Takeover::new(move |socket, head| async move {
        let mut greeting = head;
        greeting.extend_from_slice(greet(&start).as_bytes());
        let outcome = run(socket, greeting, feed, drain, draining).await;
        if let Err(error) = outcome {
            tracing::debug!(%error, "stream ended");
        }
    }));
    Ok(response)
}

/// What comes before the first event.
fn greet(start: &Start) -> String {
    let mut text = String::new();
    // Spread, so that the clients of a relay that restarts do not come back in one wave.
    let retry_ms = 1_000 + u64::from(random_byte()) * 8;
    // Writing to a string cannot fail.
    let _ = write!(text, "retry: {retry_ms}\n\n");
    if let Some((reason, oldest)) = &start.reset {
        let data = json!({"reason": reason, "oldest": oldest.to_string()});
        let _ = write!(text, "event: relay.reset\ndata: {data}\n\n");
    }
    let data = json!({"latest": start.latest.to_string(), "from": start.from.to_string()});
    let _ = write!(text, "event: relay.ready\ndata: {data}\n\n");
    text
}

fn random_byte() -> u8 {
    let mut byte = [0];
    // Jitter is a courtesy; without randomness there is none.
    let _ = getrandom::fill(&mut byte);
    byte[0]
}

/// Writes a feed to its socket until either ends.
async fn run(
    mut socket: TcpStream,
    greeting: Vec<u8>,
    mut feed: Feed,
    drain: Duration,
    draining: tokio_util::sync::CancellationToken,
) -> std::io::Result<()> {
    write(&mut socket, &greeting).await?;
    drop(greeting);
    let mut last_write = Instant::now();
    let mut end: Option<Instant> = None;
    // Made once: a stream that is written to does not touch its timer.
    let mut timer = pin!(sleep_until(last_write + KEEPALIVE));
    let mut cancelled = pin!(draining.cancelled());
    loop {
        tokio::select! {
            biased;
            events = feed.next() => match events {
                Ok(events) => {
                    write_events(&socket, events).await?;
                    last_write = Instant::now();
                }
                Err(error) => {
                    // The client comes back and goes on where it was.
                    tracing::warn!(%error, "stream cannot read the store");
                    return Ok(());
                }
            },
            () = &mut timer => {
                let now = Instant::now();
                if end.is_some_and(|end| end <= now) {
                    return socket.shutdown().await;
                }
                if now >= last_write + KEEPALIVE {
                    write(&mut socket, b":\n\n").await?;
                    last_write = now;
                }
                let next_comment = last_write + KEEPALIVE;
                timer.as_mut().reset(end.map_or(next_comment, |end| end.min(next_comment)));
            }
            () = &mut cancelled, if end.is_none() => {
                // Spread over the first half of the drain, so that the clients do not move in one wave.
                let at = Instant::now() + drain.mul_f64(f64::from(random_byte()) / 512.0);
                end = Some(at);
                timer.as_mut().reset(at);
            }
            readable = socket.readable() => {
                readable?;
                // Nothing is expected; what comes is dropped, and an end is an end.
                let mut scrap = [0_u8; 64];
                match socket.try_read(&mut scrap) {
                    Ok(0) => return Ok(()),
                    Ok(_) => {}
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                    Err(error) => return Err(error),
                }
            }
        }
    }
}

async fn write(socket: &mut TcpStream, bytes: &[u8]) -> std::io::Result<()> {
    timeout(STALL_MAX, socket.write_all(bytes)).await?
}

/// Writes what is queued with as few system calls as the socket allows. A stream that is behind has
/// many frames waiting, and each call costs more than a frame.
async fn write_events(socket: &TcpStream, mut events: VecDeque<Arc<Event>>) -> std::io::Result<()> {
    let mut written = 0;
    while let Some(front) = events.front() {
        let sent = {
            let mut slices = [IoSlice::new(&[]); FRAMES_MAX];
            slices[0] = IoSlice::new(&front.frame[written..]);
            let count = events.len().min(FRAMES_MAX);
            for (slice, event) in slices[1..count].iter_mut().zip(events.iter().skip(1)) {
                *slice = IoSlice::new(&event.frame);
            }
            match socket.try_io(tokio::io::Interest::WRITABLE, || {
                rustix::io::writev(socket, &slices[..count]).map_err(std::io::Error::from)
            }) {
                Ok(sent) => sent,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    // Boxed because it is rare: a reader that keeps up never waits here.
                    Box::pin(timeout(STALL_MAX, socket.writable())).await??;
                    continue;
                }
                Err(error) => return Err(error),
            }
        };
        written += sent;
        while let Some(front) = events.front()
            && written >= front.frame.len()
        {
            written -= front.frame.len();
            events.pop_front();
        }
    }
    Ok(())
}

/// A credential that is bound to an agent follows what concerns that agent, and nothing else.
fn listen(who: &Who, agent: Option<String>) -> Result<Listen, ApiError> {
    who.require(&[Scope::Read, Scope::Agent])?;
    let agent = AgentId::optional("agent", agent)?;
    match (&who.agent_id, agent) {
        (Some(bound), None) => Ok(Listen::Agent(bound.clone())),
        (Some(_), Some(agent)) => {
            who.require_identity(&agent)?;
            Ok(Listen::Agent(agent))
        }
        (None, Some(agent)) => Ok(Listen::Agent(agent)),
        (None, None) => {
            who.require(&[Scope::Read])?;
            Ok(Listen::All)
        }
    }
}

fn types(names: Option<&str>) -> Result<EventTypes, ApiError> {
    let names = names.unwrap_or_default().split(',').map(str::trim).filter(|name| !name.is_empty());
    let mut types = EventTypes::NONE;
    for name in names {
        let Some(name) = EventName::parse(name) else {
            let allowed: Vec<_> = EventName::ALL.iter().map(|name| name.as_str()).collect();
            return Err(ApiError::invalid(format!(
                "types: \"{name}\" is no event; allowed are {}",
                allowed.join(", ")
            )));
        };
        types = types.with(name);
    }
    Ok(if types == EventTypes::NONE { EventTypes::ALL } else { types })
}

fn position(headers: &HeaderMap, since: Option<&str>) -> Result<Option<Cursor>, ApiError> {
    let (name, text) = match headers.get("last-event-id") {
        Some(value) => ("Last-Event-ID", value.to_str().unwrap_or("?").trim()),
        None => ("since", since.unwrap_or_default().trim()),
    };
    if text.is_empty() {
        return Ok(None);
    }
    Cursor::parse(text)
        .map(Some)
        .ok_or_else(|| ApiError::invalid(format!("{name} must be the id of an event, as EPOCH-NUMBER")))
}

impl From<TooManyStreams> for ApiError {
    fn from(error: TooManyStreams) -> Self {
        Self::new(&TOO_MANY_STREAMS, error.to_string()).with_header(header::RETRY_AFTER, "5")
    }
}

/// Which page of events.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct ListEvents {
    /// Only what concerns this agent.
    agent: Option<String>,
    /// Only these kinds, separated by commas.
    types: Option<String>,
    /// After this position; without it, from the oldest event kept.
    since: Option<String>,
    /// 100 unless given; at most 1000.
    limit: Option<i64>,
    /// Wait up to this many seconds, at most 60, until there is one.
    wait: Option<u64>,
}

/// The same events page by page, for clients behind proxies that hold streams back.
#[utoipa::path(get, path = "/api/events/log", tag = "events", params(ListEvents),
    responses((status = 200, description = "`[{id, event, data}]` in commit order; the Link header leads to the next \
        page while there is one. A `relay.reset` without an id comes first when the wanted position is no longer \
        kept", body = Vec<Object>)))]
pub(super) async fn list_events(
    State(relay): State<Relay>,
    who: Who,
    Query(query): Query<ListEvents>,
) -> Result<Response, ApiError> {
    let listen = listen(&who, query.agent.clone())?;
    let wanted = types(query.types.as_deref())?;
    let (limit, wait) = (Limit::parse(query.limit)?.get(), wait(query.wait)?);
    let since = match position(&HeaderMap::new(), query.since.as_deref())? {
        Some(since) => since,
        None => {
            let floor = relay.store.event_range().await?.floor;
            Cursor { epoch: relay.store.epoch().to_owned(), seq: floor }
        }
    };
    let subscription = relay.subscribe(listen.clone(), wanted)?;
    let (mut feed, start) = Feed::open(relay.store.clone(), subscription, Some(since)).await?;
    let mut entries: Vec<Value> = Vec::new();
    if let Some((reason, oldest)) = &start.reset {
        entries.push(json!({"event": "relay.reset", "data": {"reason": reason, "oldest": oldest.to_string()}}));
    }
    let routes = match &listen {
        Listen::All => None,
        Listen::Agent(agent) => Some(relay.store.routes(agent.clone()).await?),
    };
    let page = relay.store.events_after(start.from.seq, routes, wanted, limit).await?;
    let mut events: VecDeque<Arc<Event>> = page.events.into();
    if events.is_empty() && !wait.is_zero() && entries.is_empty() {
        tokio::select! {
            next = timeout(wait, feed.next()) => {
                if let Ok(next) = next {
                    events = next?;
                    events.truncate(limit);
                }
            }
            () = relay.draining.cancelled() => {}
        }
    }
    let epoch = relay.store.epoch();
    let last = events.back().map(|event| Cursor { epoch: epoch.to_owned(), seq: event.seq });
    for event in &events {
        let data: Value = serde_json::from_str(event.data()).map_err(ApiError::internal)?;
        let id = Cursor { epoch: epoch.to_owned(), seq: event.seq };
        entries.push(json!({"id": id.to_string(), "event": event.name.as_str(), "data": data}));
    }
    let next = last.filter(|_| page.more).map(|last| {
        let mut link = answer::Link::new("/api/events/log");
        link.add("agent", query.agent.as_deref());
        link.add("types", query.types.as_deref());
        link.add("limit", Some(&limit.to_string()));
        link.add("since", Some(&last.to_string()));
        link.finish()
    });
    Ok(answer::linked(&entries, next))
}

/// A ticket with which a browser opens one stream.
#[utoipa::path(post, path = "/api/events/ticket", tag = "events",
    responses((status = 201, description = "`ticket`, good once for 60 s", body = Object)))]
pub(super) async fn create_ticket(State(relay): State<Relay>, who: Who) -> Result<Response, ApiError> {
    who.require(&[Scope::Read, Scope::Agent])?;
    let ticket = relay.tickets.issue(who.0).map_err(ApiError::internal)?;
    Ok(answer::json(StatusCode::CREATED, &json!({"ticket": ticket})))
}
