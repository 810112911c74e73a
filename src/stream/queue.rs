//! What waits to be written to one stream, and who writes it.
//!
//! A stream whose task has written everything and waits for more is *parked*. What is published then is
//! written to its socket by whoever publishes, and the task sleeps on: to wake a task costs about as
//! much as the write itself, and an event may go to thousands of streams. Only when the socket takes no
//! more, or only a part, does the task wake up and go on from there.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;

use crate::domain::event::{Event, EventTypes};
use crate::store::now_ms;
use crate::telemetry::metric;

/// Events a stream may be behind before it goes back to the store. A burst fits, and a full queue is
/// some kilobytes of pointers; the frames themselves are shared.
const QUEUE_MAX: usize = 512;
/// Places of an empty queue that are kept: an idle stream should need no memory for a burst of long ago.
const PLACES_KEPT: usize = 8;
/// Frames written with one system call.
const FRAMES_MAX: usize = 64;

/// A socket that can be written to without waiting, by any thread.
pub trait Outlet: Send + Sync {
    /// Writes as much as is taken now, and answers how many bytes that were.
    ///
    /// # Errors
    /// [`ErrorKind::WouldBlock`] when nothing is taken now; others end the stream.
    fn try_write(&self, frames: &[IoSlice<'_>]) -> io::Result<usize>;
}

/// What waits to be written to one stream.
pub(super) struct Queue {
    pub(super) types: EventTypes,
    outlet: OnceLock<Arc<dyn Outlet>>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    events: VecDeque<Arc<Event>>,
    /// The end of a frame of which the outlet took only the beginning.
    rest: Option<Bytes>,
    /// The last event that was written, or that the task had behind it when it parked.
    written: i64,
    overflowed: bool,
    /// Whether the task waits, with nothing of its own left to write.
    parked: bool,
    /// Wakes the task. Taken by the first who publishes something, and put back when that was written.
    waker: Option<Waker>,
}

/// What a queue has for its reader.
#[derive(Debug)]
pub enum Taken {
    /// The end of a frame: it comes before anything else.
    Rest(Bytes),
    /// These, in commit order.
    Events(VecDeque<Arc<Event>>),
    /// More than the queue holds: read the store.
    Overflowed,
}

impl Queue {
    pub(super) fn new(types: EventTypes) -> Self {
        Self { types, outlet: OnceLock::new(), state: Mutex::default() }
    }

    /// From now on what is published may be written here directly while the reader waits.
    pub(super) fn write_to(&self, outlet: Arc<dyn Outlet>) {
        // Set once; a second one would be a second writer.
        let _ = self.outlet.set(outlet);
    }

    /// Adds an event. With a waker, the caller must [`Self::flush`] once it holds no lock.
    pub(super) fn push(&self, event: &Arc<Event>) -> Option<Waker> {
        if !self.types.contains(event.name) {
            return None;
        }
        let mut state = self.state();
        if state.overflowed {
            return None;
        }
        if state.events.len() >= QUEUE_MAX {
            // The store has them all; what is queued would only be read twice.
            state.events = VecDeque::new();
            state.overflowed = true;
            metrics::counter!(metric::STREAM_LAGS).increment(1);
        } else {
            state.events.push_back(event.clone());
        }
        // One is enough for everything queued until then.
        state.waker.take()
    }

    /// Writes what is queued, if the task is parked, or wakes it.
    pub(super) fn flush(&self, waker: Waker) {
        let mut state = self.state();
        if !state.parked {
            // It is at work and looks here before it parks.
            return;
        }
        if !state.overflowed
            && let Some(outlet) = self.outlet.get()
            && state.write(&**outlet).is_ok_and(|all| all)
        {
            state.waker.get_or_insert(waker);
            return;
        }
        state.parked = false;
        drop(state);
        waker.wake();
    }

    /// Takes what is there, with the last event that was written; parks otherwise. `position` is the last
    /// event that the reader has behind it.
    pub(super) fn poll_take(&self, position: i64, context: &Context<'_>) -> Poll<(i64, Taken)> {
        let mut state = self.state();
        state.written = state.written.max(position);
        let taken = if let Some(rest) = state.rest.take() {
            Taken::Rest(rest)
        } else if state.overflowed {
            state.overflowed = false;
            Taken::Overflowed
        } else if state.events.is_empty() {
            state.parked = true;
            match &mut state.waker {
                Some(waker) => waker.clone_from(context.waker()),
                empty => *empty = Some(context.waker().clone()),
            }
            return Poll::Pending;
        } else {
            Taken::Events(std::mem::take(&mut state.events))
        };
        state.parked = false;
        Poll::Ready((state.written, taken))
    }

    /// Nobody but the reader writes from now on, until it waits again. It must first write what is answered:
    /// the end of a frame that somebody began.
    pub(super) fn unpark(&self) -> Option<Bytes> {
        let mut state = self.state();
        state.parked = false;
        state.rest.take()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Writes everything; false when the outlet takes no more for now.
    fn write(&mut self, outlet: &dyn Outlet) -> io::Result<bool> {
        let (now, written) = (now_ms(), self.written);
        self.events.retain(|event| event.seq > written && event.is_deliverable(now));
        while !self.events.is_empty() {
            let mut slices = [IoSlice::new(&[]); FRAMES_MAX];
            let count = self.events.len().min(FRAMES_MAX);
            for (slice, event) in slices.iter_mut().zip(&self.events) {
                *slice = IoSlice::new(&event.frame);
            }
            let mut sent = match outlet.try_write(&slices[..count]) {
                Ok(sent) => sent,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            };
            while sent > 0
                && let Some(event) = self.events.pop_front()
            {
                self.written = event.seq;
                if sent < event.frame.len() {
                    self.rest = Some(event.frame.slice(sent..));
                    return Ok(false);
                }
                sent -= event.frame.len();
            }
        }
        if self.events.capacity() > PLACES_KEPT {
            self.events = VecDeque::new();
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests;
