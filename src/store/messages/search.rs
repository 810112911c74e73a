//! Finding messages: which lists a filter names, and what it asks of each row.

use super::{MessageId, reads};
use crate::domain::agent::Routes;
use crate::domain::id::AgentId;
use crate::domain::message::{MessageFilter, MessageType, is_group};
use crate::domain::time::Timestamp;
use crate::store::engine::Conditions;
use crate::store::tx::Snapshot;
use crate::store::tx::search::{self, Found, Search, Step};
use crate::store::{StoreError, agents};

/// An ordered list of messages: the range of an index.
#[derive(Clone, Copy)]
enum List<'f> {
    All,
    To(&'f str),
    From(&'f AgentId),
    Channel(&'f String),
    /// The first message of a thread, which is found by its id.
    Root(&'f MessageId),
    /// The others.
    Replies(&'f MessageId),
    System,
}

impl<'f> List<'f> {
    fn narrow(&'f self, query: &mut Conditions<'f>) {
        match self {
            Self::All => {}
            Self::To(target) => query.add("target = ?", &[target]),
            Self::From(sender) => query.add("sender = ?", &[*sender]),
            Self::Channel(name) => query.add("channel = ?", &[*name]),
            Self::Root(id) => query.add("id = ?", &[*id]),
            Self::Replies(id) => query.add("reply_to IS NOT NULL AND thread_id = ?", &[*id]),
            Self::System => query.add("type = 'system'", &[]),
        }
    }

    /// The first of its messages with a greater id.
    fn first_after(&self, snapshot: &Snapshot<'_>, after: i64) -> Result<Option<MessageId>, StoreError> {
        let mut query = Conditions::after("SELECT id FROM messages");
        self.narrow(&mut query);
        query.add("id > ?", &[&after]);
        query.push(" ORDER BY id LIMIT 1", &[]);
        let (sql, values) = query.parts();
        snapshot.value(sql, values)
    }
}

/// The ids of a page, and the place after which the next one begins if there may be one.
pub(super) fn find(
    snapshot: &Snapshot<'_>,
    filter: &MessageFilter,
    now: Timestamp,
) -> Result<(Vec<MessageId>, Option<MessageId>), StoreError> {
    let routes = filter.reaching.as_ref().map(|agent| agents::routes(snapshot, agent)).transpose()?;
    // Each of the others has some of the messages that match; those of the first are walked.
    let mut lists = lists(filter);
    let walked = match &routes {
        Some(routes) => {
            let targets = std::iter::once(routes.agent.as_str()).chain(routes.groups.iter().map(String::as_str));
            targets.filter(|target| filter.to.as_deref().is_none_or(|to| to == *target)).map(List::To).collect()
        }
        None if lists.is_empty() => vec![List::All],
        None => lists.remove(0),
    };
    let mut found = Vec::with_capacity(walked.len());
    for list in &walked {
        let one = Walk { snapshot, filter, routes: routes.as_ref(), list: *list, others: &lists, now };
        found.push(one.run(Search::new(filter.since.get(), filter.limit.get(), walked.len()))?);
    }
    let (ids, looked_to) = search::merge(found, filter.limit.get());
    Ok((ids, looked_to.map(MessageId::new)))
}

/// The lists that a message must be in, by what the filter names: in one of each. The shortest come first, as far
/// as one can tell.
fn lists(filter: &MessageFilter) -> Vec<Vec<List<'_>>> {
    let mut lists = Vec::new();
    lists.extend(filter.thread.as_ref().map(|thread| vec![List::Root(thread), List::Replies(thread)]));
    // What reaches an agent is walked by its targets.
    let target = filter.to.as_deref().filter(|_| filter.reaching.is_none());
    lists.extend(target.map(|target| vec![List::To(target)]));
    lists.extend(filter.channel.as_ref().map(|channel| vec![List::Channel(channel)]));
    lists.extend(filter.from.as_ref().map(|sender| vec![List::From(sender)]));
    lists.extend((filter.kind == Some(MessageType::System)).then(|| vec![List::System]));
    lists
}

/// One list and what is asked of its rows.
struct Walk<'w> {
    snapshot: &'w Snapshot<'w>,
    filter: &'w MessageFilter,
    routes: Option<&'w Routes>,
    list: List<'w>,
    others: &'w [Vec<List<'w>>],
    now: Timestamp,
}

impl Walk<'_> {
    fn run(&self, search: Search) -> Result<Found<MessageId>, StoreError> {
        search.run(|at| self.step(at), |after, before, count| self.walk(after, before, count))
    }

    fn step(&self, at: i64) -> Result<Step, StoreError> {
        let mut before = None;
        if let (true, Some(routes), List::To(target)) = (self.filter.unread, self.routes, self.list)
            && let Some(read) = reads::first_ending_after(self.snapshot, &routes.agent, target, at)?
        {
            if read.from_id.get() <= at + 1 {
                return Ok(Step::Leap(read.to_id.get()));
            }
            before = Some(read.from_id.get());
        }
        let mut furthest = at;
        for lists in self.others {
            let mut nearest: Option<MessageId> = None;
            for list in lists {
                let first = list.first_after(self.snapshot, at)?;
                nearest = nearest.into_iter().chain(first).min();
            }
            let Some(nearest) = nearest else { return Ok(Step::End) };
            furthest = furthest.max(nearest.get() - 1);
        }
        Ok(if furthest > at { Step::Leap(furthest) } else { Step::Walk(before) })
    }

    fn walk(
        &self,
        after: i64,
        before: Option<i64>,
        count: usize,
    ) -> Result<Vec<search::Looked<MessageId>>, StoreError> {
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        let mut query = Conditions::after("SELECT CASE");
        query.begin(" WHEN ");
        query.add("id > ?", &[&after]);
        self.ask(&mut query);
        query.push(" THEN id ELSE -id END FROM messages", &[]);
        query.begin(" WHERE ");
        self.list.narrow(&mut query);
        query.add("id > ?", &[&after]);
        query.add_if("id < ?", &before);
        if let Some(routes) = self.routes
            && self.is_of_group(routes)
        {
            query.add("id > ?", &[&routes.after]);
        }
        query.push(" ORDER BY id LIMIT ?", &[&count]);
        let (sql, values) = query.parts();
        let rows: Vec<i64> = self.snapshot.values(sql, values)?;
        Ok(rows.into_iter().map(search::looked).map(|(id, found)| (id, found.map(|()| MessageId::new(id)))).collect())
    }

    /// What a row has to be.
    fn ask<'q>(&'q self, query: &mut Conditions<'q>) {
        let filter = self.filter;
        query.add_if("sender = ?", &filter.from);
        query.add_if("channel = ?", &filter.channel);
        query.add_if("type = ?", &filter.kind);
        query.add_if("thread_id = ?", &filter.thread);
        query.add_if("target = ?", &filter.to);
        let Some(routes) = self.routes else { return };
        query.add("(expires_at IS NULL OR expires_at > ?)", &[&self.now]);
        if self.is_of_group(routes) {
            query.add("sender <> ?", &[&routes.agent]);
        }
        if filter.unread {
            let unread = "NOT EXISTS (SELECT 1 FROM reads WHERE message_id = messages.id AND agent_id = ?)";
            query.add(unread, &[&routes.agent]);
        }
    }

    fn is_of_group(&self, routes: &Routes) -> bool {
        matches!(self.list, List::To(target) if routes.agent != *target && is_group(target))
    }
}
