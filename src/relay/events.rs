//! The event stream, and the same page by page.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::access::Admission;
use super::{Error, Relay, scopes};
use crate::domain::caller::Caller;
use crate::domain::event::{Cursor, Event, EventTypes};
use crate::domain::id::AgentId;
use crate::domain::page::{BYTES_MAX, Limit};
use crate::store::Idempotency;
use crate::stream::{Feed, Listen, Start, Subscription};

/// Which events.
#[derive(Clone, Debug)]
pub struct EventQuery {
    /// Only what concerns this agent.
    pub agent: Option<AgentId>,
    /// Only these kinds.
    pub types: EventTypes,
    /// After this position.
    pub since: Option<Cursor>,
}

/// A page of events in commit order.
#[derive(Debug)]
pub struct EventLog {
    /// Why it does not begin where it was asked to, and the oldest event there is.
    pub reset: Option<(&'static str, Cursor)>,
    /// The events, with their positions.
    pub events: Vec<(Cursor, Arc<Event>)>,
    /// Where the next page begins, while there is one.
    pub next: Option<Cursor>,
}

/// The largest event, about: a message whose body has a line end for every character.
const EVENT_BYTES_MAX: usize = 1 << 20;

impl Relay {
    /// Opens a stream: replay after `since`, or from now on, then live, for as long as the caller is admitted.
    pub async fn follow_events(&self, caller: &Caller, query: EventQuery) -> Result<(Feed, Start, Admission), Error> {
        let listen = listen(caller, query.agent)?;
        let admission = self.admission(caller).await?;
        let subscription = self.subscribe(listen, query.types)?;
        let (feed, start) = Feed::open(self.store.clone(), subscription, query.since).await?;
        Ok((feed, start, admission))
    }

    /// The events after `since`, or from the oldest kept, at most `limit`. While there is none, waits up to
    /// `wait` for one.
    pub async fn list_events(
        &self,
        caller: &Caller,
        query: EventQuery,
        limit: Limit,
        wait: Duration,
    ) -> Result<EventLog, Error> {
        let listen = listen(caller, query.agent)?;
        let at = |seq| Cursor { epoch: self.store.epoch().to_owned(), seq };
        let since = match query.since {
            Some(since) => since,
            None => at(self.store.event_range().await?.floor),
        };
        let subscription = self.subscribe(listen.clone(), query.types)?;
        let (mut feed, start) = Feed::open(self.store.clone(), subscription, Some(since)).await?;
        let routes = match &listen {
            Listen::All => None,
            Listen::Agent(agent) => Some(self.store.routes(agent.clone()).await?),
        };
        let page = self
            .store
            .events_after(start.from.seq, routes, query.types, limit.get(), BYTES_MAX - EVENT_BYTES_MAX)
            .await?;
        let mut next = page.more.then_some(page.scanned_to);
        let mut events: VecDeque<Arc<Event>> = page.events.into();
        if events.is_empty() && !wait.is_zero() && start.reset.is_none() {
            let admission = self.admission(caller).await?;
            let wait = admission.expires_in.map_or(wait, |left| left.min(wait));
            tokio::select! {
                biased;
                () = admission.until.cancelled() => {}
                found = timeout(wait, feed.next()) => {
                    if let Ok(found) = found {
                        events = found?;
                        events.truncate(limit.get());
                        next = next.and(events.back().map(|last| last.seq));
                    }
                }
            }
        }
        let events: Vec<_> = events.into_iter().map(|event| (at(event.seq), event)).collect();
        let next = next.map(at);
        Ok(EventLog { reset: start.reset, events, next })
    }

    /// A ticket with which its bearer opens one stream as this caller; none to a repeat under the same key.
    pub async fn create_ticket(&self, caller: Arc<Caller>, key: Option<Idempotency>) -> Result<Option<String>, Error> {
        caller.require(scopes::FOLLOW_EVENTS)?;
        if let Some(key) = key
            && !self.store.is_first(key).await?
        {
            return Ok(None);
        }
        self.tickets.issue(caller).map(Some).map_err(Error::internal)
    }

    /// Opens a subscription, unless there are too many.
    pub(super) fn subscribe(&self, listen: Listen, types: EventTypes) -> Result<Subscription, Error> {
        Ok(self.hub.subscribe(listen, types, self.settings.streams_max)?)
    }
}

/// A credential that is bound to an agent follows what concerns that agent, and nothing else.
fn listen(caller: &Caller, agent: Option<AgentId>) -> Result<Listen, Error> {
    caller.require(scopes::FOLLOW_EVENTS)?;
    match (&caller.agent_id, agent) {
        (Some(bound), None) => Ok(Listen::Agent(bound.clone())),
        (Some(_), Some(agent)) => {
            caller.require_identity(&agent)?;
            Ok(Listen::Agent(agent))
        }
        (None, Some(agent)) => Ok(Listen::Agent(agent)),
        (None, None) => {
            caller.require(scopes::FOLLOW_EVERYTHING)?;
            Ok(Listen::All)
        }
    }
}
