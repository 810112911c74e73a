//! Events: what a stream replays. A message is its own event, numbered by its id; every other event
//! has a row here.

use std::sync::Arc;

use rusqlite::{Connection, params};

use super::super::{StoreError, now_ms};
use super::tx::{Tx, json};
use super::{Store, messages};
use crate::domain::activity::NewActivity;
use crate::domain::agent::Routes;
use crate::domain::event::{Audience, Event, EventName, EventTypes};
use crate::domain::message::Message;

/// A page of events in commit order.
#[derive(Clone, Debug)]
pub struct EventPage {
    /// The events.
    pub events: Vec<Arc<Event>>,
    /// Everything up to here was looked at; the next page begins after it.
    pub scanned_to: i64,
    /// Whether there may be more by now.
    pub more: bool,
}

/// Which events can be replayed: those after `floor`, up to `latest`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventRange {
    /// The newest event that retention deleted, or 0. What comes after it is all there, but for
    /// messages that somebody deleted.
    pub floor: i64,
    /// The newest event, or 0.
    pub latest: i64,
}

/// A page ends after this many bytes of data, so that large messages do not add up in memory.
const PAGE_BYTES_MAX: usize = 1 << 20;

impl Store {
    /// The events after `after`, for everybody or for one agent.
    pub async fn events_after(
        &self,
        after: i64,
        routes: Option<Routes>,
        types: EventTypes,
        limit: usize,
    ) -> Result<EventPage, StoreError> {
        let epoch = self.inner.epoch.clone();
        self.read(move |connection| {
            let snapshot = connection.unchecked_transaction()?;
            let range = range(&snapshot)?;
            let after = after.max(range.floor);
            let found = match &routes {
                Some(routes) => concerning(&snapshot, after, routes, types, limit + 1)?,
                None => all(&snapshot, after, types, limit + 1)?,
            };
            let mut page = EventPage { events: Vec::new(), scanned_to: range.latest.max(after), more: false };
            let mut bytes = 0;
            for (seq, name) in found {
                if page.events.len() == limit || bytes > PAGE_BYTES_MAX {
                    page.more = true;
                    page.scanned_to = page.events.last().map_or(after, |event| event.seq);
                    break;
                }
                let event = load(&snapshot, &epoch, seq, name)?;
                bytes += event.frame.len();
                page.events.push(Arc::new(event));
            }
            Ok(page)
        })
        .await
    }

    /// Announces a change of the plugins, and writes it to the activity log.
    pub async fn announce_plugin(&self, plugin: serde_json::Value, entry: NewActivity) -> Result<(), StoreError> {
        self.write(move |tx| {
            tx.emit(EventName::PluginUpdated, Audience::nobody(), &plugin)?;
            super::activity::insert(tx, entry)?;
            Ok(())
        })
        .await
    }

    /// Which events can be replayed.
    pub async fn event_range(&self) -> Result<EventRange, StoreError> {
        self.read(|connection| range(&*connection.unchecked_transaction()?)).await
    }
}

/// Which events can be replayed.
pub(super) fn range(connection: &Connection) -> Result<EventRange, StoreError> {
    let (floor, latest): (i64, i64) = connection
        .prepare_cached(
            "SELECT coalesce((SELECT CAST(value AS INTEGER) FROM meta WHERE key = 'event_floor'), 0),
                    max(coalesce((SELECT max(seq) FROM events), 0), coalesce((SELECT max(id) FROM messages), 0))",
        )?
        .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(EventRange { floor, latest: latest.max(floor) })
}

/// Moves the floor up and deletes what is below it. Messages outlive their events, if they may.
pub(super) fn raise_floor(tx: &Tx<'_>, floor: i64) -> Result<(), StoreError> {
    tx.sql("DELETE FROM events WHERE seq <= ?1")?.execute([floor])?;
    tx.sql(
        "INSERT INTO meta (key, value) VALUES ('event_floor', ?1) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
    )?
    .execute([floor.to_string()])?;
    Ok(())
}

/// The event that a stored message is, from its JSON as it was sent.
pub(super) fn of_message(epoch: &str, message: &Message, json: &str) -> Event {
    let audience = Audience { from: Some(message.from.as_str().into()), ..Audience::only(&message.to) };
    let mut event = Event::new(epoch, message.id, message.created_at, EventName::MessageNew, audience, json);
    event.expires_at = message.expires_at;
    event
}

fn load(connection: &Connection, epoch: &str, seq: i64, name: EventName) -> Result<Event, StoreError> {
    if name == EventName::MessageNew {
        // Whatever became of it since: an event tells what happened then.
        let message = messages::load(connection, seq)?.as_sent();
        return Ok(of_message(epoch, &message, &json(&message)));
    }
    let event = connection
        .prepare_cached("SELECT seq, at, target, also, sender, data FROM events WHERE seq = ?1")?
        .query_row([seq], |row| {
            let text = |index: usize| -> Result<Option<Arc<str>>, rusqlite::Error> {
                Ok(row.get::<_, Option<String>>(index)?.map(Into::into))
            };
            let audience = Audience { to: text(2)?, also: text(3)?, from: text(4)? };
            let data: String = row.get(5)?;
            Ok(Event::new(epoch, row.get(0)?, row.get(1)?, name, audience, &data))
        })?;
    Ok(event)
}

/// The number and the name of an event that was found.
type Found = (i64, EventName);

fn all(connection: &Connection, after: i64, types: EventTypes, limit: usize) -> Result<Vec<Found>, StoreError> {
    let mut found = Vec::new();
    let mut statement = connection.prepare_cached("SELECT seq, name FROM events WHERE seq > ?1 ORDER BY seq")?;
    collect(&mut statement.query([after])?, types, limit, &mut found)?;
    if types.contains(EventName::MessageNew) {
        let mut statement = connection.prepare_cached(
            "SELECT id, 'message.new' FROM messages
             WHERE id > ?1 AND (expires_at IS NULL OR expires_at > ?2) ORDER BY id",
        )?;
        collect(&mut statement.query([after, now_ms()])?, types, limit, &mut found)?;
    }
    Ok(first(found, limit))
}

/// A union over the agent's targets, each an index range, merged in commit order.
fn concerning(
    connection: &Connection,
    after: i64,
    routes: &Routes,
    types: EventTypes,
    limit: usize,
) -> Result<Vec<Found>, StoreError> {
    let mut found = Vec::new();
    let agent = routes.agent.as_str();
    {
        let mut statement =
            connection.prepare_cached("SELECT seq, name FROM events WHERE also = ?1 AND seq > ?2 ORDER BY seq")?;
        collect(&mut statement.query(params![agent, after])?, types, limit, &mut found)?;
    }
    for target in std::iter::once(agent).chain(routes.groups.iter().map(String::as_str)) {
        let (since, sender) = if target == agent { (i64::MIN, "") } else { (routes.since, agent) };
        let mut statement = connection.prepare_cached(
            "SELECT seq, name FROM events
             WHERE target = ?1 AND seq > ?2 AND at >= ?3 AND (sender IS NULL OR sender <> ?4) ORDER BY seq",
        )?;
        collect(&mut statement.query(params![target, after, since, sender])?, types, limit, &mut found)?;
        if types.contains(EventName::MessageNew) {
            let mut statement = connection.prepare_cached(
                "SELECT id, 'message.new' FROM messages
                 WHERE target = ?1 AND id > ?2 AND created_at >= ?3 AND sender <> ?4
                   AND (expires_at IS NULL OR expires_at > ?5) ORDER BY id",
            )?;
            let mut rows = statement.query(params![target, after, since, sender, now_ms()])?;
            collect(&mut rows, types, limit, &mut found)?;
        }
    }
    Ok(first(found, limit))
}

/// Takes the wanted ones of ordered rows, at most `limit`.
fn collect(
    rows: &mut rusqlite::Rows<'_>,
    types: EventTypes,
    limit: usize,
    found: &mut Vec<Found>,
) -> Result<(), StoreError> {
    let mut wanted = 0;
    while wanted < limit
        && let Some(row) = rows.next()?
    {
        let name = EventName::parse(row.get_ref(1)?.as_str().unwrap_or_default());
        if let Some(name) = name.filter(|name| types.contains(*name)) {
            found.push((row.get(0)?, name));
            wanted += 1;
        }
    }
    Ok(())
}

/// Merges ordered findings into one order, each event once.
fn first(mut found: Vec<Found>, limit: usize) -> Vec<Found> {
    found.sort_unstable_by_key(|(seq, _)| *seq);
    found.dedup_by_key(|(seq, _)| *seq);
    found.truncate(limit);
    found
}
