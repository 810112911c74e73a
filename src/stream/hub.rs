//! The open streams, indexed so that an event costs what it reaches.

use std::collections::{HashMap, HashSet, VecDeque};
use std::future::poll_fn;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use tokio::sync::oneshot;

use crate::domain::agent::Routes;
use crate::domain::event::{Event, EventTypes};
use crate::domain::id::AgentId;
use crate::store::Batch;
use crate::telemetry::metric;

/// Events a stream may be behind before it goes back to the store. A burst fits, and a full queue is
/// some kilobytes of pointers; the frames themselves are shared.
pub(crate) const QUEUE_MAX: usize = 512;
/// The same in bytes, beside the first.
pub(crate) const QUEUE_BYTES_MAX: usize = 1 << 20;
/// The same while the reader takes nothing, the first included.
const QUEUE_BYTES_FEW: usize = 16 << 10;

/// What a stream listens to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// Everything.
    All,
    /// What concerns this agent.
    Agent(AgentId),
}

/// There is no place for another stream.
#[derive(Debug, thiserror::Error)]
#[error("{0} streams are open, which is the limit")]
pub struct TooManyStreams(pub usize);

/// The open streams. Shared by everybody; cheap to clone.
#[derive(Clone, Default)]
pub struct Hub {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    index: Mutex<Index>,
    next_id: AtomicU64,
}

#[derive(Default)]
struct Index {
    all: HashMap<u64, Arc<Queue>>,
    agents: HashMap<AgentId, AgentStreams>,
    /// Which agents with open streams a group target reaches.
    groups: HashMap<String, HashSet<AgentId>>,
    open: usize,
    /// Who waits for a commit of its own to be told.
    echoes: HashMap<u64, oneshot::Sender<()>>,
}

struct AgentStreams {
    routes: Routes,
    /// Raised by every change of the routes, so that one that was read from the store before a later
    /// commit does not undo it.
    version: u64,
    streams: HashMap<u64, Arc<Queue>>,
}

/// What waits to be written to one stream.
struct Queue {
    types: EventTypes,
    state: Mutex<QueueState>,
}

#[derive(Default)]
struct QueueState {
    events: VecDeque<Arc<Event>>,
    bytes: usize,
    /// Whether the reader takes nothing.
    few: bool,
    overflowed: bool,
    waker: Option<Waker>,
}

impl Hub {
    /// Opens a subscription. From now on nothing is missed, if `routes` are kept up by
    /// [`Subscription::routes_version`] and [`Subscription::set_routes`].
    pub fn subscribe(&self, listen: Listen, types: EventTypes, limit: usize) -> Result<Subscription, TooManyStreams> {
        let id = self.shared.next_id.fetch_add(1, Ordering::Relaxed);
        let queue = Arc::new(Queue { types, state: Mutex::default() });
        let mut index = self.shared.index();
        if index.open >= limit {
            return Err(TooManyStreams(limit));
        }
        index.open += 1;
        match &listen {
            Listen::All => drop(index.all.insert(id, queue.clone())),
            Listen::Agent(agent) => {
                let streams = index.agents.entry(agent.clone()).or_insert_with(|| AgentStreams {
                    routes: Routes::unregistered(agent.clone()),
                    version: 0,
                    streams: HashMap::new(),
                });
                streams.streams.insert(id, queue.clone());
            }
        }
        drop(index);
        Ok(Subscription { shared: self.shared.clone(), queue, id, listen })
    }

    /// Hands a committed batch to the streams it concerns.
    pub fn publish(&self, batch: Batch) {
        let mut index = self.shared.index();
        for (agent, routes) in batch.routes {
            index.set_routes(&agent, routes.unwrap_or_else(|| Routes::unregistered(agent.clone())), None);
        }
        for event in &batch.events {
            index.publish(event);
        }
        for number in batch.echoes {
            if let Some(echo) = index.echoes.remove(&number) {
                // Who no longer waits need not know.
                let _ = echo.send(());
            }
        }
    }

    /// Listens for one commit that carries the number of this echo.
    pub fn echo(&self) -> Echo {
        let number = self.shared.next_id.fetch_add(1, Ordering::Relaxed);
        let (sender, heard) = oneshot::channel();
        self.shared.index().echoes.insert(number, sender);
        Echo { shared: self.shared.clone(), number, heard }
    }

    /// How many streams are open.
    pub fn open_streams(&self) -> usize {
        self.shared.index().open
    }

    /// The agents that have a stream open: they are alive.
    pub fn open_agents(&self) -> Vec<AgentId> {
        self.shared.index().agents.keys().cloned().collect()
    }
}

impl Shared {
    fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Index {
    fn publish(&self, event: &Arc<Event>) {
        for queue in self.all.values() {
            queue.push(event);
        }
        let reach = |agent: &str| {
            if let Some(streams) = self.agents.get(agent)
                && event.audience.concerns(&streams.routes, event.seq)
            {
                streams.streams.values().for_each(|queue| queue.push(event));
            }
        };
        let (to, also) = (event.audience.to.as_deref(), event.audience.also.as_deref());
        if let Some(also) = also {
            reach(also);
        }
        if let Some(host) = event.audience.host.as_deref().filter(|host| Some(*host) != to && Some(*host) != also) {
            reach(host);
        }
        let Some(to) = to else { return };
        if event.audience.is_group() {
            for agent in self.groups.get(to).into_iter().flatten().filter(|agent| Some(agent.as_str()) != also) {
                reach(agent);
            }
        } else if Some(to) != also {
            reach(to);
        }
    }

    fn set_routes(&mut self, agent: &AgentId, routes: Routes, only_at: Option<u64>) {
        let Some(streams) = self.agents.get_mut(agent) else { return };
        if only_at.is_some_and(|version| version != streams.version) {
            return;
        }
        streams.version += 1;
        let before = std::mem::replace(&mut streams.routes, routes);
        let after = streams.routes.groups.clone();
        self.leave_groups(agent, &before.groups);
        for group in after {
            self.groups.entry(group).or_default().insert(agent.clone());
        }
    }

    fn leave_groups(&mut self, agent: &str, groups: &[String]) {
        for group in groups {
            if let Some(members) = self.groups.get_mut(group) {
                members.remove(agent);
                if members.is_empty() {
                    self.groups.remove(group);
                }
            }
        }
    }
}

impl Queue {
    fn state(&self) -> MutexGuard<'_, QueueState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, event: &Arc<Event>) {
        if !self.types.contains(event.name) {
            return;
        }
        let waker = {
            let mut state = self.state();
            if state.overflowed {
                return;
            }
            state.events.push_back(event.clone());
            state.bytes += event.frame.len();
            state.check();
            // One wake is enough for everything queued until the reader comes.
            state.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl QueueState {
    /// Lets go of everything when it is too much. The store has it all; what is queued would only be read twice.
    fn check(&mut self) {
        let count = self.events.len();
        let bytes_max = if self.few { QUEUE_BYTES_FEW } else { QUEUE_BYTES_MAX };
        let is_first = count == 1 && !self.few;
        if count > QUEUE_MAX || (self.bytes > bytes_max && !is_first) {
            (self.events, self.bytes) = (VecDeque::new(), 0);
            self.overflowed = true;
            metrics::counter!(metric::STREAM_LAGS).increment(1);
        }
    }
}

/// Whether commits come through, tried by one of its own. No stream gets it.
pub struct Echo {
    shared: Arc<Shared>,
    number: u64,
    heard: oneshot::Receiver<()>,
}

impl Echo {
    /// What the commit has to carry.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Waits until that commit was told.
    pub async fn heard(&mut self) {
        // The other end is dropped only by what drops this one.
        let _ = (&mut self.heard).await;
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.shared.index().echoes.remove(&self.number);
    }
}

/// One open stream. Dropping it closes it.
pub struct Subscription {
    shared: Arc<Shared>,
    queue: Arc<Queue>,
    id: u64,
    listen: Listen,
}

/// What a subscription has for its reader.
#[derive(Debug)]
pub enum Taken {
    /// These, in commit order.
    Events(VecDeque<Arc<Event>>),
    /// More than the queue holds: read the store.
    Overflowed,
}

impl Subscription {
    /// What this listens to.
    pub fn listen(&self) -> &Listen {
        &self.listen
    }

    /// Which kinds of events are wanted.
    pub fn types(&self) -> EventTypes {
        self.queue.types
    }

    /// The version of the agent's routes as the hub knows them.
    pub fn routes_version(&self) -> u64 {
        match &self.listen {
            Listen::All => 0,
            Listen::Agent(agent) => self.shared.index().agents.get(agent).map_or(0, |streams| streams.version),
        }
    }

    /// Gives the hub the agent's routes as read from the store, unless a commit was faster.
    pub fn set_routes(&self, routes: Routes, version: u64) {
        if let Listen::Agent(agent) = &self.listen {
            self.shared.index().set_routes(agent, routes, Some(version));
        }
    }

    /// Whether to keep only a few bytes, because the reader takes nothing.
    pub fn keep_few(&self, few: bool) {
        let mut state = self.queue.state();
        state.few = few;
        state.check();
    }

    /// Waits until there is something, and takes all of it. Cancel safe: nothing is taken unless it
    /// is answered.
    pub async fn take(&self) -> Taken {
        poll_fn(|context| {
            let mut state = self.queue.state();
            if state.overflowed {
                state.overflowed = false;
                return Poll::Ready(Taken::Overflowed);
            }
            if state.events.is_empty() {
                match &mut state.waker {
                    Some(waker) => waker.clone_from(context.waker()),
                    empty => *empty = Some(context.waker().clone()),
                }
                return Poll::Pending;
            }
            // Takes the allocation as well: an idle stream keeps none.
            state.bytes = 0;
            Poll::Ready(Taken::Events(std::mem::take(&mut state.events)))
        })
        .await
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut index = self.shared.index();
        index.open -= 1;
        match &self.listen {
            Listen::All => drop(index.all.remove(&self.id)),
            Listen::Agent(agent) => {
                let Some(streams) = index.agents.get_mut(agent) else { return };
                streams.streams.remove(&self.id);
                if streams.streams.is_empty()
                    && let Some(gone) = index.agents.remove(agent)
                {
                    index.leave_groups(agent, &gone.routes.groups);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future as _;
    use std::pin::pin;
    use std::task::Context;

    use super::*;

    #[test]
    fn an_echo_is_heard_once_its_own_commit_was_told_and_nothing_is_kept_of_one_that_is_given_up() {
        let hub = Hub::default();
        let (mut mine, other) = (hub.echo(), hub.echo());
        let told = |number| {
            let mut batch = Batch::default();
            batch.echoes.push(number);
            batch
        };
        let mut context = Context::from_waker(Waker::noop());
        let mut is_heard = |echo: &mut Echo| pin!(echo.heard()).poll(&mut context).is_ready();
        assert!(!is_heard(&mut mine));
        hub.publish(told(other.number()));
        assert!(!is_heard(&mut mine));
        hub.publish(told(mine.number()));
        assert!(is_heard(&mut mine));
        let given_up = hub.echo();
        drop((mine, other, given_up));
        assert!(hub.shared.index().echoes.is_empty());
    }
}
