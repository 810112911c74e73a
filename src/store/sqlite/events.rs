//! Events: what a stream replays.

use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::super::{StoreError, now_ms};
use super::Store;
use crate::domain::activity::NewActivity;
use crate::domain::agent::Routes;
use crate::domain::event::{Audience, Event, EventName, EventTypes};

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
            let latest = last_seq(&snapshot)?;
            let seqs = match &routes {
                Some(routes) => concerning(&snapshot, after, routes, types, limit + 1)?,
                None => all(&snapshot, after, types, limit + 1)?,
            };
            let mut page = EventPage { events: Vec::new(), scanned_to: latest.max(after), more: false };
            let mut bytes = 0;
            for seq in seqs {
                if page.events.len() == limit || bytes > PAGE_BYTES_MAX {
                    page.more = true;
                    page.scanned_to = page.events.last().map_or(after, |event| event.seq);
                    break;
                }
                let mut statement = snapshot.prepare_cached(
                    "SELECT seq, at, name, target, also, sender, expires, data FROM events WHERE seq = ?1",
                )?;
                let event = statement.query_row([seq], |row| from_row(&epoch, row)).optional()?;
                if let Some(event) = event {
                    bytes += event.frame.len();
                    page.events.push(Arc::new(event));
                }
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

    /// The oldest and the newest event kept; 0 and 0 when there is none.
    pub async fn event_range(&self) -> Result<(i64, i64), StoreError> {
        self.read(|connection| {
            let oldest = connection
                .prepare_cached("SELECT coalesce(min(seq), 0) FROM events")?
                .query_row([], |row| row.get(0))?;
            Ok((oldest, last_seq(connection)?))
        })
        .await
    }
}

fn last_seq(connection: &Connection) -> Result<i64, StoreError> {
    Ok(connection.prepare_cached("SELECT coalesce(max(seq), 0) FROM events")?.query_row([], |row| row.get(0))?)
}

fn all(connection: &Connection, after: i64, types: EventTypes, limit: usize) -> Result<Vec<i64>, StoreError> {
    let mut statement =
        connection.prepare_cached("SELECT seq, name, expires FROM events WHERE seq > ?1 ORDER BY seq")?;
    let mut rows = statement.query([after])?;
    let now = now_ms();
    let mut seqs = Vec::new();
    while let Some(row) = rows.next()? {
        if wanted(row, types, now)? {
            seqs.push(row.get(0)?);
            if seqs.len() == limit {
                break;
            }
        }
    }
    Ok(seqs)
}

/// A union over the agent's targets, each an index range, merged in commit order.
fn concerning(
    connection: &Connection,
    after: i64,
    routes: &Routes,
    types: EventTypes,
    limit: usize,
) -> Result<Vec<i64>, StoreError> {
    let now = now_ms();
    let mut seqs = Vec::new();
    let agent = routes.agent.as_str();
    {
        let mut statement = connection
            .prepare_cached("SELECT seq, name, expires FROM events WHERE also = ?1 AND seq > ?2 ORDER BY seq")?;
        let mut rows = statement.query(params![agent, after])?;
        collect(&mut rows, types, now, limit, &mut seqs)?;
    }
    for target in std::iter::once(agent).chain(routes.groups.iter().map(String::as_str)) {
        let (since, sender) = if target == agent { (i64::MIN, "") } else { (routes.since, agent) };
        let mut statement = connection.prepare_cached(
            "SELECT seq, name, expires FROM events
             WHERE target = ?1 AND seq > ?2 AND at >= ?3 AND (sender IS NULL OR sender <> ?4) ORDER BY seq",
        )?;
        let mut rows = statement.query(params![target, after, since, sender])?;
        collect(&mut rows, types, now, limit, &mut seqs)?;
    }
    seqs.sort_unstable();
    seqs.dedup();
    seqs.truncate(limit);
    Ok(seqs)
}

fn collect(
    rows: &mut rusqlite::Rows<'_>,
    types: EventTypes,
    now: i64,
    limit: usize,
    seqs: &mut Vec<i64>,
) -> Result<(), StoreError> {
    let mut found = 0;
    while found < limit
        && let Some(row) = rows.next()?
    {
        if wanted(row, types, now)? {
            seqs.push(row.get(0)?);
            found += 1;
        }
    }
    Ok(())
}

fn wanted(row: &Row<'_>, types: EventTypes, now: i64) -> Result<bool, rusqlite::Error> {
    let name = EventName::parse(row.get_ref(1)?.as_str().unwrap_or_default());
    let expires: Option<i64> = row.get(2)?;
    Ok(name.is_some_and(|name| types.contains(name)) && expires.is_none_or(|at| at > now))
}

fn from_row(epoch: &str, row: &Row<'_>) -> Result<Event, rusqlite::Error> {
    let text = |index: usize| -> Result<Option<Arc<str>>, rusqlite::Error> {
        Ok(row.get::<_, Option<String>>(index)?.map(Into::into))
    };
    let name = EventName::parse(row.get_ref(2)?.as_str().unwrap_or_default()).unwrap_or(EventName::ActivityNew);
    let audience = Audience { to: text(3)?, also: text(4)?, from: text(5)? };
    let data: String = row.get(7)?;
    let mut event = Event::new(epoch, row.get(0)?, row.get(1)?, name, audience, &data);
    event.expires_at = row.get(6)?;
    Ok(event)
}
