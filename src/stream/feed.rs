//! One reader's position in the stream.

use std::collections::VecDeque;
use std::sync::Arc;

use super::hub::{Listen, Subscription, Taken};
use crate::domain::event::{Cursor, Event};
use crate::domain::id::EventSeq;
use crate::store::{EventRange, Store, StoreError};

/// Events read from the store at a time.
const PAGE_EVENTS: usize = 256;
/// Their bytes, about, for a reader that takes them as fast as they are read.
const PAGE_BYTES_MAX: usize = 1 << 20;
/// The same for one that just did not.
const PAGE_BYTES_MIN: usize = 64 << 10;

/// Where a feed begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Start {
    /// The newest event when it began.
    pub latest: Cursor,
    /// The position it begins after.
    pub from: Cursor,
    /// Why it does not begin where it was asked to, and the oldest event there is.
    pub reset: Option<(&'static str, Cursor)>,
}

/// Replay, then live: every event once, in commit order.
pub struct Feed {
    store: Store,
    subscription: Subscription,
    /// The last event told, or looked at and not wanted.
    position: EventSeq,
    /// Whether the store may hold events that the subscription does not.
    replaying: bool,
    page_bytes: usize,
}

impl Feed {
    /// Begins after `since`, or from now on. The subscription must be open already.
    pub async fn open(
        store: Store,
        subscription: Subscription,
        since: Option<Cursor>,
    ) -> Result<(Self, Start), StoreError> {
        if let Listen::Agent(agent) = subscription.listen() {
            let version = subscription.routes_version();
            let routes = store.routes(agent.clone()).await?;
            subscription.set_routes(routes, version);
        }
        let EventRange { floor, latest } = store.event_range().await?;
        let cursor = |seq| Cursor { epoch: store.epoch().to_owned(), seq };
        let (position, reset) = match since {
            None => (latest, None),
            Some(since) if since.epoch != store.epoch() || since.seq > latest => (latest, Some("unknown_epoch")),
            // What is not above the floor may have been deleted unseen.
            Some(since) if since.seq < floor => (floor, Some("too_old")),
            Some(since) => (since.seq, None),
        };
        let start = Start {
            latest: cursor(latest),
            from: cursor(position),
            reset: reset.map(|reason| (reason, cursor(floor.next()))),
        };
        // Even without a position to replay from: what was committed since the subscription is in
        // its queue, and what was committed before it is at most `latest`.
        let replaying = position < latest;
        Ok((Self { store, subscription, position, replaying, page_bytes: PAGE_BYTES_MAX }, start))
    }

    /// The next events, at least one. Cancel safe.
    pub async fn next(&mut self) -> Result<VecDeque<Arc<Event>>, StoreError> {
        loop {
            let mut events = if self.replaying {
                // Boxed because it is rare: a stream that is live should not carry its size.
                Box::pin(self.replay()).await?
            } else {
                match self.subscription.take().await {
                    Taken::Events(events) => events,
                    Taken::Overflowed => {
                        self.replaying = true;
                        continue;
                    }
                }
            };
            let now = self.store.now();
            events.retain(|event| event.seq > self.position && event.is_deliverable(now));
            if let Some(last) = events.back() {
                self.position = last.seq;
                return Ok(events);
            }
        }
    }

    /// Goes back to just after an event that it told.
    pub fn go_back_to(&mut self, told: EventSeq) {
        self.position = told;
        self.replaying = true;
        self.page_bytes = PAGE_BYTES_MIN;
    }

    /// Whether to keep only a few bytes of what comes while the reader takes nothing: the store has it all.
    pub fn keep_few(&self, few: bool) {
        self.subscription.keep_few(few);
    }

    async fn replay(&mut self) -> Result<VecDeque<Arc<Event>>, StoreError> {
        let routes = match self.subscription.listen() {
            Listen::All => None,
            Listen::Agent(agent) => Some(self.store.routes(agent.clone()).await?),
        };
        let (types, bytes) = (self.subscription.types(), self.page_bytes);
        let page = self.store.events_after(self.position, routes, types, PAGE_EVENTS, bytes).await?;
        self.page_bytes = (bytes * 2).min(PAGE_BYTES_MAX);
        self.replaying = page.more;
        if page.events.is_empty() {
            self.position = self.position.max(page.scanned_to);
        }
        Ok(page.events.into())
    }
}
