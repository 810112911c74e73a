//! Events: what a stream replays. A message is its own event, numbered by its id; every other event
//! has a row here.

mod search;

use std::sync::Arc;

use self::search::{Found, find};
use super::engine::stored;
use super::tx::{Snapshot, Tx};
use super::{Fault, Json, Store, StoreError, activity, messages};
use crate::domain::activity::Entry;
use crate::domain::agent::Routes;
use crate::domain::event::{Audience, Event, EventName, EventTypes};
use crate::domain::id::EventSeq;
use crate::domain::message::Message;
use crate::domain::time::Timestamp;

/// A page of events in commit order.
#[derive(Clone, Debug)]
pub struct EventPage {
    /// The events.
    pub events: Vec<Arc<Event>>,
    /// Everything up to here was looked at; the next page begins after it.
    pub scanned_to: EventSeq,
    /// Whether there may be more. A page that looked at as much as it may and found little is short, or empty.
    pub more: bool,
}

/// Which events can be replayed: those after `floor`, up to `latest`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventRange {
    /// The newest event that retention deleted, or 0. What comes after it is all there, but for
    /// messages that somebody deleted.
    pub floor: EventSeq,
    /// The newest event, or 0.
    pub latest: EventSeq,
}

impl Store {
    /// The events after `after`, for everybody or for one agent: at most `limit`, and none after the first that
    /// ends beyond `bytes` of data.
    pub async fn events_after(
        &self,
        after: EventSeq,
        routes: Option<Routes>,
        types: EventTypes,
        limit: usize,
        bytes_max: usize,
    ) -> Result<EventPage, StoreError> {
        let (epoch, now) = (self.inner.epoch.clone(), self.now());
        self.read_page(move |snapshot| {
            let range = range(snapshot)?;
            let after = after.max(range.floor);
            let (found, looked_to) = find(snapshot, now, after, routes.as_ref(), types, limit + 1)?;
            let mut page = EventPage {
                events: Vec::new(),
                scanned_to: looked_to.unwrap_or(range.latest.max(after)),
                more: looked_to.is_some(),
            };
            let mut bytes = 0;
            for Found { seq, name } in found {
                if page.events.len() == limit || bytes > bytes_max {
                    page.more = true;
                    page.scanned_to = page.events.last().map_or(after, |event| event.seq);
                    break;
                }
                let event = load(snapshot, &epoch, seq, name)?;
                bytes += event.frame.len();
                page.events.push(Arc::new(event));
            }
            Ok(page)
        })
        .await
    }

    /// Announces a change of the plugins, and writes it to the activity log.
    pub async fn announce_plugin(&self, plugin: serde_json::Value, entry: Entry) -> Result<(), StoreError> {
        self.write(move |tx| {
            tx.emit(EventName::PluginUpdated, Audience::nobody(), &plugin)?;
            activity::insert(tx, entry)?;
            Ok(())
        })
        .await
    }

    /// Which events can be replayed.
    pub async fn event_range(&self) -> Result<EventRange, StoreError> {
        self.read(range).await
    }
}

/// Which events can be replayed.
pub(super) fn range(snapshot: &Snapshot<'_>) -> Result<EventRange, StoreError> {
    let floor: Option<String> = snapshot.value("SELECT value FROM meta WHERE key = 'event_floor'", &[])?;
    let floor = match floor {
        None => EventSeq::default(),
        Some(text) => EventSeq::new(text.parse().map_err(|_| Fault {
            table: "meta",
            column: "value",
            row: "\"event_floor\"".to_owned(),
            problem: format!("{text:?} is no number"),
        })?),
    };
    let event: Option<EventSeq> = snapshot.value("SELECT coalesce(max(seq), 0) FROM events", &[])?;
    let message: Option<EventSeq> = snapshot.value("SELECT coalesce(max(id), 0) FROM messages", &[])?;
    Ok(EventRange { floor, latest: floor.max(event.unwrap_or_default()).max(message.unwrap_or_default()) })
}

/// Moves the floor up, if it is lower, and deletes the events up to it. The messages up to it are told no more; so
/// few may lie between the floors that they can be counted.
pub(super) fn raise_floor(tx: &mut Tx<'_>, floor: EventSeq) -> Result<(), StoreError> {
    let old = range(tx)?.floor;
    if floor <= old {
        return Ok(());
    }
    let told = tx.count("SELECT count(*) FROM messages WHERE id > $1 AND id <= $2", &[&old, &floor])?;
    let events = tx.execute("DELETE FROM events WHERE seq <= $1", &[&floor])?;
    let counts = tx.counts();
    counts.told -= told;
    counts.events -= i64::try_from(events).unwrap_or(i64::MAX);
    tx.execute(
        "INSERT INTO meta (key, value) VALUES ('event_floor', $1) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
        &[&floor.to_string()],
    )?;
    Ok(())
}

/// The event that a stored message is, from its JSON as it was sent.
pub(super) fn of_message(epoch: &str, message: &Message, json: &Json<Message>) -> Event {
    let audience = Audience { from: Some((&message.from).into()), ..Audience::only(&message.to) };
    let seq = message.id.into();
    let mut event = Event::new(epoch, seq, message.created_at, EventName::MessageNew, audience, json.as_str());
    event.expires_at = message.expires_at;
    event
}

/// An event as it is kept.
struct Kept {
    seq: EventSeq,
    at: Timestamp,
    target: Option<Arc<str>>,
    also: Option<Arc<str>>,
    sender: Option<Arc<str>>,
    host: Option<Arc<str>>,
    data: String,
}

stored! { read Kept in events { seq, at, target, also, sender, host, data } }

fn load(snapshot: &Snapshot<'_>, epoch: &str, seq: EventSeq, name: EventName) -> Result<Event, StoreError> {
    if name == EventName::MessageNew {
        // Whatever became of it since: an event tells what happened then.
        let message = messages::load_as_stored(snapshot, seq.into())?.as_sent();
        return Ok(of_message(epoch, &message, &Json::of(&message)));
    }
    let kept: Option<Kept> = snapshot.row("WHERE seq = $1", &[&seq])?;
    let gone = || Fault { table: "events", column: "seq", row: seq.to_string(), problem: "it was there before".into() };
    let Kept { seq, at, target, also, sender, host, data } = kept.ok_or_else(gone)?;
    Ok(Event::new(epoch, seq, at, name, Audience { to: target, also, from: sender, host }, &data))
}

/// Looks at the first event beside messages that is not before this place.
pub(super) fn load_near(snapshot: &Snapshot<'_>, place: EventSeq) -> Result<(), StoreError> {
    snapshot.row::<Kept>("WHERE seq >= $1 ORDER BY seq LIMIT 1", &[&place]).map(drop)
}
