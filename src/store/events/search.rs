//! Finding events: which lists an agent and the wanted kinds name, and what is asked of each row. Messages are
//! events too, and have lists of their own.

use crate::domain::agent::Routes;
use crate::domain::event::{EventName, EventTypes};
use crate::domain::id::{EventSeq, OrchestratorId};
use crate::domain::time::Timestamp;
use crate::store::StoreError;
use crate::store::engine::{Conditions, stored};
use crate::store::tx::Snapshot;
use crate::store::tx::search::{self, Looked, Search, Step};

/// The number and the name of an event that was found.
pub(super) struct Found {
    pub(super) seq: EventSeq,
    pub(super) name: EventName,
}

stored! { read Found in events { seq, name } }

/// An ordered list of events.
#[derive(Clone, Copy)]
enum List<'r> {
    All,
    Named(EventName),
    Also(&'r str),
    Host(&'r str),
    To(&'r str),
}

/// More kinds than this are not leapt to: one of them is probably near.
const LEAPS_MAX: usize = 6;

/// The first events after a place, for everybody or for one agent, and up to where all was looked at; `None` for
/// that when it was looked at to the end.
pub(super) fn find(
    snapshot: &Snapshot<'_>,
    now: Timestamp,
    after: EventSeq,
    routes: Option<&Routes>,
    types: EventTypes,
    limit: usize,
) -> Result<(Vec<Found>, Option<EventSeq>), StoreError> {
    let mut names = types.names();
    if let Some(names) = &mut names {
        // Those are found among the messages.
        names.retain(|name| *name != EventName::MessageNew);
    }
    let leaps = names.as_deref().filter(|names| routes.is_some() && names.len() <= LEAPS_MAX);
    let lists: Vec<List<'_>> = match (&names, routes) {
        (Some(names), _) if names.is_empty() => Vec::new(),
        (_, Some(routes)) => {
            let targets = targets(routes).map(List::To);
            // Nobody else runs sessions.
            let host = OrchestratorId::of_agent(&routes.agent).map(|_| List::Host(routes.agent.as_str()));
            std::iter::once(List::Also(routes.agent.as_str())).chain(host).chain(targets).collect()
        }
        (Some(names), None) => names.iter().copied().map(List::Named).collect(),
        (None, None) => vec![List::All],
    };
    let messages: Vec<List<'_>> = match routes {
        _ if !types.contains(EventName::MessageNew) => Vec::new(),
        Some(routes) => targets(routes).map(List::To).collect(),
        None => vec![List::All],
    };
    let search = Search::new(after.get(), limit, lists.len() + messages.len());
    let mut found = Vec::with_capacity(lists.len() + messages.len());
    for list in lists {
        found.push(search.run(
            |at| step(snapshot, leaps, at),
            |after, _, count| walk_events(snapshot, list, routes, types, after, count),
        )?);
    }
    for list in messages {
        let walk = |after, _, count| walk_messages(snapshot, now, list, routes, after, count);
        found.push(search.run(|_| Ok(Step::Walk(None)), walk)?);
    }
    let (events, looked_to) = search::merge(found, limit);
    Ok((events, looked_to.map(EventSeq::new)))
}

fn targets(routes: &Routes) -> impl Iterator<Item = &str> {
    std::iter::once(routes.agent.as_str()).chain(routes.groups.iter().map(String::as_str))
}

/// Where the next event of one of these names is.
fn step(snapshot: &Snapshot<'_>, names: Option<&[EventName]>, at: i64) -> Result<Step, StoreError> {
    let Some(names) = names else { return Ok(Step::Walk(None)) };
    let mut nearest: Option<EventSeq> = None;
    for name in names {
        let sql = "SELECT seq FROM events WHERE name = $1 AND seq > $2 ORDER BY seq LIMIT 1";
        let first: Option<EventSeq> = snapshot.value(sql, &[name, &at])?;
        nearest = nearest.into_iter().chain(first).min();
    }
    Ok(match nearest {
        None => Step::End,
        Some(seq) if seq.get() > at + 1 => Step::Leap(seq.get() - 1),
        Some(_) => Step::Walk(None),
    })
}

/// From when on, and from whom not, what is sent to a target reaches an agent.
fn reach<'r>(list: List<'_>, routes: Option<&'r Routes>) -> Option<(EventSeq, &'r str)> {
    match (list, routes) {
        (List::To(target), Some(routes)) if routes.agent != *target => Some((routes.after, routes.agent.as_str())),
        _ => None,
    }
}

fn walk_events(
    snapshot: &Snapshot<'_>,
    list: List<'_>,
    routes: Option<&Routes>,
    types: EventTypes,
    after: i64,
    count: usize,
) -> Result<Vec<Looked<Found>>, StoreError> {
    let count = i64::try_from(count).unwrap_or(i64::MAX);
    let reach = reach(list, routes);
    let rows: Vec<Found> = match (list, &reach) {
        (List::All, _) => snapshot.rows("WHERE seq > $1 ORDER BY seq LIMIT $2", &[&after, &count])?,
        (List::Named(name), _) => {
            snapshot.rows("WHERE name = $1 AND seq > $2 ORDER BY seq LIMIT $3", &[&name, &after, &count])?
        }
        (List::Also(agent), _) => {
            snapshot.rows("WHERE also = $1 AND seq > $2 ORDER BY seq LIMIT $3", &[&agent, &after, &count])?
        }
        (List::Host(agent), _) => {
            snapshot.rows("WHERE host = $1 AND seq > $2 ORDER BY seq LIMIT $3", &[&agent, &after, &count])?
        }
        (List::To(target), None) => {
            snapshot.rows("WHERE target = $1 AND seq > $2 ORDER BY seq LIMIT $3", &[&target, &after, &count])?
        }
        (List::To(target), Some((joined_after, sender))) => snapshot.rows(
            "WHERE target = $1 AND seq > $2 AND (sender IS NULL OR sender <> $3) ORDER BY seq LIMIT $4",
            &[&target, &after.max(joined_after.get()), sender, &count],
        )?,
    };
    Ok(rows.into_iter().map(|event| (event.seq.get(), types.contains(event.name).then_some(event))).collect())
}

fn walk_messages(
    snapshot: &Snapshot<'_>,
    now: Timestamp,
    list: List<'_>,
    routes: Option<&Routes>,
    after: i64,
    count: usize,
) -> Result<Vec<Looked<Found>>, StoreError> {
    let count = i64::try_from(count).unwrap_or(i64::MAX);
    let reach = reach(list, routes);
    let mut query = Conditions::after("SELECT CASE");
    query.begin(" WHEN ");
    query.add("(expires_at IS NULL OR expires_at > ?)", &[&now]);
    if let Some((_, sender)) = &reach {
        query.add("sender <> ?", &[sender]);
    }
    query.push(" THEN id ELSE -id END FROM messages", &[]);
    query.begin(" WHERE ");
    let target = if let List::To(target) = list { Some(target) } else { None };
    query.add_if("target = ?", &target);
    let after = reach.map_or(after, |(joined_after, _)| after.max(joined_after.get()));
    query.add("id > ?", &[&after]);
    query.push(" ORDER BY id LIMIT ?", &[&count]);
    let (sql, values) = query.parts();
    let rows: Vec<i64> = snapshot.values(sql, values)?;
    let event = |id| Found { seq: EventSeq::new(id), name: EventName::MessageNew };
    Ok(rows.into_iter().map(search::looked).map(|(id, found)| (id, found.map(|()| event(id)))).collect())
}
