//! A queue between those who publish, a socket that takes what it likes, and the task of the stream.

use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::task::noop_waker;
use proptest::prelude::*;

use super::*;
use crate::domain::event::{Audience, EventName};

/// A socket that takes a limited number of bytes before it blocks.
#[derive(Default)]
struct Socket {
    taken: Mutex<Vec<u8>>,
    room: Mutex<usize>,
    broken: AtomicBool,
}

impl Outlet for Socket {
    fn try_write(&self, frames: &[IoSlice<'_>]) -> io::Result<usize> {
        if self.broken.load(Ordering::Relaxed) {
            return Err(ErrorKind::BrokenPipe.into());
        }
        let mut room = self.room.lock().expect("no test panics with it");
        let mut sent = 0;
        for frame in frames {
            let count = frame.len().min(*room);
            self.taken.lock().expect("no test panics with it").extend_from_slice(&frame[..count]);
            *room -= count;
            sent += count;
        }
        if sent == 0 { Err(ErrorKind::WouldBlock.into()) } else { Ok(sent) }
    }
}

fn event(seq: i64) -> Arc<Event> {
    Arc::new(Event::new("e", seq, 0, EventName::AgentRemoved, Audience::nobody(), &format!("{{\"n\":{seq}}}")))
}

/// What the task does when it runs: takes everything and writes it, however long that takes.
fn run_task(queue: &Queue, socket: &Socket, position: &mut i64, overflows: &mut usize) {
    let waker = noop_waker();
    while let Poll::Ready((written, taken)) = queue.poll_take(*position, &Context::from_waker(&waker)) {
        *position = (*position).max(written);
        let mut sink = socket.taken.lock().expect("no test panics with it");
        match taken {
            Taken::Rest(rest) => sink.extend_from_slice(&rest),
            Taken::Events(events) => {
                for event in events {
                    if event.seq > *position {
                        sink.extend_from_slice(&event.frame);
                        *position = event.seq;
                    }
                }
            }
            Taken::Overflowed => *overflows += 1,
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    /// So many events are published in one batch.
    Publish(usize),
    /// Whoever published first writes.
    Flush,
    /// The socket takes so many bytes more.
    Room(usize),
    /// The task runs, because of its timer or because it was woken.
    Run,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1_usize..90).prop_map(Step::Publish),
        4 => Just(Step::Flush),
        3 => (0_usize..4_000).prop_map(Step::Room),
        2 => Just(Step::Run),
    ]
}

proptest! {
    /// Whoever writes, and wherever the socket stops: every event is there once, whole and in order.
    #[test]
    fn every_frame_is_written_once_and_whole(steps in proptest::collection::vec(step(), 1..60)) {
        let (queue, socket) = (Queue::new(EventTypes::ALL), Arc::new(Socket::default()));
        queue.write_to(socket.clone());
        let (mut next, mut position, mut overflows) = (1, 0, 0);
        let mut due = Vec::new();
        run_task(&queue, &socket, &mut position, &mut overflows);
        for step in steps {
            match step {
                Step::Publish(count) => {
                    for _ in 0..count {
                        due.extend(queue.push(&event(next)));
                        next += 1;
                    }
                    // Far less than a full queue, so that nothing goes back to the store.
                    if next % 300 < 90 {
                        run_task(&queue, &socket, &mut position, &mut overflows);
                    }
                }
                Step::Flush => due.drain(..).for_each(|waker| queue.flush(waker)),
                Step::Room(bytes) => *socket.room.lock().expect("no test panics with it") += bytes,
                Step::Run => run_task(&queue, &socket, &mut position, &mut overflows),
            }
        }
        run_task(&queue, &socket, &mut position, &mut overflows);
        if overflows == 0 {
            let expected: Vec<u8> = (1..next).flat_map(|seq| event(seq).frame.to_vec()).collect();
            let taken = socket.taken.lock().expect("no test panics with it");
            prop_assert_eq!(String::from_utf8_lossy(&taken), String::from_utf8_lossy(&expected));
        }
    }
}

#[test]
fn a_parked_stream_is_written_to_without_its_task() {
    let (queue, socket) = (Queue::new(EventTypes::ALL), Arc::new(Socket::default()));
    queue.write_to(socket.clone());
    *socket.room.lock().expect("free") = 10_000;
    let waker = noop_waker();
    let context = Context::from_waker(&waker);
    assert!(queue.poll_take(0, &context).is_pending());
    let due = queue.push(&event(1)).expect("the one who publishes writes");
    assert!(queue.push(&event(2)).is_none(), "once for all that is queued until then");
    queue.flush(due);
    assert_eq!(socket.taken.lock().expect("free").len(), event(1).frame.len() + event(2).frame.len());
    assert!(queue.poll_take(0, &context).is_pending(), "nothing is left for the task");
    assert!(queue.push(&event(3)).is_some(), "and the next one writes again");
}

#[test]
fn an_unparked_stream_is_left_to_its_task() {
    let (queue, socket) = (Queue::new(EventTypes::ALL), Arc::new(Socket::default()));
    queue.write_to(socket.clone());
    *socket.room.lock().expect("free") = 10_000;
    let waker = noop_waker();
    assert!(queue.poll_take(0, &Context::from_waker(&waker)).is_pending());
    assert!(queue.unpark().is_none(), "nobody began anything");
    let due = queue.push(&event(1)).expect("a waker");
    queue.flush(due);
    assert!(socket.taken.lock().expect("free").is_empty());
    let taken = queue.poll_take(0, &Context::from_waker(&waker));
    assert!(matches!(taken, Poll::Ready((0, Taken::Events(events))) if events.len() == 1));
}

#[test]
fn a_broken_socket_is_left_to_its_task_too() {
    let (queue, socket) = (Queue::new(EventTypes::ALL), Arc::new(Socket::default()));
    queue.write_to(socket.clone());
    socket.broken.store(true, Ordering::Relaxed);
    let waker = noop_waker();
    assert!(queue.poll_take(0, &Context::from_waker(&waker)).is_pending());
    queue.flush(queue.push(&event(1)).expect("a waker"));
    let taken = queue.poll_take(0, &Context::from_waker(&waker));
    assert!(matches!(taken, Poll::Ready((0, Taken::Events(events))) if events.len() == 1));
}
