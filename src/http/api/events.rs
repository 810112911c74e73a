//! The event stream, and the same page by page.

mod stream;

use std::borrow::Cow;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::json;
use serde_json::value::{RawValue, to_raw_value};
use utoipa::{IntoParams, ToSchema};

use super::messages::wait;
use crate::domain::event::{Cursor, EventName, EventTypes};
use crate::domain::id::AgentId;
use crate::domain::page::Limit;
use crate::http::answer;
use crate::http::error::ApiError;
use crate::http::extract::{Authenticated, Key, Query};
use crate::http::serve::Takeover;
use crate::relay::Relay;
use crate::relay::events::EventQuery;

/// Which events.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct StreamEvents {
    /// Only what concerns this agent.
    #[param(max_length = 240)]
    agent: Option<String>,
    /// Only these kinds, separated by commas.
    #[param(max_length = 1000)]
    types: Option<String>,
    /// After this position. The header `Last-Event-ID` wins; without either, from now on.
    since: Option<String>,
    /// A ticket of `POST /api/events/ticket`, for browsers.
    #[serde(rename = "ticket")]
    _ticket: Option<String>,
}

/// The ticket of a stream's address.
pub(in crate::http) fn ticket_of(uri: &Uri) -> Option<String> {
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
    caller: Authenticated,
    method: Method,
    headers: HeaderMap,
    Query(query): Query<StreamEvents>,
) -> Result<Response, ApiError> {
    let wanted = EventQuery {
        agent: AgentId::optional("agent", query.agent)?,
        types: types(query.types.as_deref())?,
        since: position(&headers, query.since.as_deref())?,
    };
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
    let (feed, start, admission) = relay.follow_events(&caller, wanted).await?;
    let drain = (relay.draining().clone(), relay.drain_time());
    response.extensions_mut().insert(Takeover::new(move |socket, head, seat| async move {
        let mut greeting = head;
        greeting.extend_from_slice(stream::greet(&start).as_bytes());
        let outcome = stream::run(socket, greeting, feed, seat, admission, drain).await;
        if let Err(error) = outcome {
            tracing::debug!(%error, "stream ended");
        }
    }));
    Ok(response)
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

/// Which page of events.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct ListEvents {
    /// Only what concerns this agent.
    #[param(max_length = 240)]
    agent: Option<String>,
    /// Only these kinds, separated by commas.
    #[param(max_length = 1000)]
    types: Option<String>,
    /// After this position; without it, from the oldest event kept.
    since: Option<String>,
    /// 100 unless given; at most 1000.
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: Option<i64>,
    /// Wait up to this many seconds, at most 60, until there is one.
    #[param(minimum = 0, maximum = 60)]
    wait: Option<u64>,
}

/// An event of the log.
#[derive(Serialize, ToSchema)]
pub(super) struct LogEntry<'a> {
    /// Its position; `relay.reset` has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    /// Its name.
    #[schema(value_type = String)]
    event: &'static str,
    /// What it tells.
    #[schema(value_type = Object)]
    data: Cow<'a, RawValue>,
}

/// A ticket with which a browser opens one stream.
#[derive(Serialize, ToSchema)]
pub(super) struct Ticket {
    /// Good once, for 60 s; told once.
    #[serde(skip_serializing_if = "Option::is_none")]
    ticket: Option<String>,
    /// What to do now, when it was told before.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<&'static str>,
}

/// The same events page by page, for clients behind proxies that hold streams back.
#[utoipa::path(get, path = "/api/events/log", tag = "events", params(ListEvents),
    responses((status = 200, description = "In commit order; the Link header leads to the next \
        page while there is one. A `relay.reset` without an id comes first when the wanted position is no longer \
        kept", body = Vec<LogEntry>)))]
pub(super) async fn list_events(
    State(relay): State<Relay>,
    caller: Authenticated,
    Query(query): Query<ListEvents>,
) -> Result<Response, ApiError> {
    let wanted = EventQuery {
        agent: AgentId::optional("agent", query.agent.clone())?,
        types: types(query.types.as_deref())?,
        since: position(&HeaderMap::new(), query.since.as_deref())?,
    };
    let (limit, wait) = (Limit::parse(query.limit)?, wait(query.wait)?);
    let log = relay.list_events(&caller, wanted, limit, wait).await?;
    let mut entries: Vec<LogEntry> = Vec::with_capacity(log.events.len() + 1);
    if let Some((reason, oldest)) = &log.reset {
        let data =
            to_raw_value(&json!({"reason": reason, "oldest": oldest.to_string()})).map_err(ApiError::internal)?;
        entries.push(LogEntry { id: None, event: "relay.reset", data: Cow::Owned(data) });
    }
    for (id, event) in &log.events {
        // As it was told, to the last digit.
        let data = serde_json::from_str(event.data()).map_err(ApiError::internal)?;
        entries.push(LogEntry { id: Some(id.to_string()), event: event.name.as_str(), data: Cow::Borrowed(data) });
    }
    let next = log.next.map(|last| {
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
    responses((status = 201, description = "The ticket", body = Ticket),
              (status = 200, description = "Made before under the same key; without `ticket`", body = Ticket)))]
pub(super) async fn create_ticket(
    State(relay): State<Relay>,
    caller: Authenticated,
    Key(key): Key,
) -> Result<Response, ApiError> {
    match relay.create_ticket(caller.0, key).await? {
        Some(ticket) => Ok(answer::json(StatusCode::CREATED, &Ticket { ticket: Some(ticket), next: None })),
        None => {
            let next = Some("The ticket was told once and is good once: ask for another with a new key.");
            Ok(answer::replayed(answer::json(StatusCode::OK, &Ticket { ticket: None, next })))
        }
    }
}
