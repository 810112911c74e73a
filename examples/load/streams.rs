//! Thousands of event streams, read by one thread that looks at as few bytes as it can.
//!
//! Each stream knows which messages it must get and in which order, and checks each frame against
//! that: a gap, a repeat, a stranger or a wrong order is an error, and so is anything that still
//! comes after the last one.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io::BufRead;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::task::Poll;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::{Notify, Semaphore, watch};
use tokio::task::{JoinSet, LocalSet};

use crate::Outcome;
use crate::http::{get_request, now};
use crate::server::Target;

/// A stream to open, and the messages that it must get: `first`, `first + step`, and so on.
pub(crate) struct Wanted {
    /// The path with its query.
    pub(crate) path: String,
    /// The index of the first message.
    pub(crate) first: u64,
    /// How far the indexes are apart.
    pub(crate) step: u64,
    /// How many messages.
    pub(crate) count: u64,
}

/// The arrival of a message at a stream.
#[derive(Clone, Copy)]
pub(crate) struct Arrival {
    /// Which message.
    pub(crate) index: u64,
    /// When it was sent, as [`now`] had it.
    pub(crate) sent: u64,
    /// When the bytes were read.
    pub(crate) read: u64,
}

/// Open streams.
pub(crate) struct Streams {
    thread: JoinHandle<Outcome<Vec<Arrival>>>,
    all_sent: watch::Sender<bool>,
}

/// Streams that are opened at the same time: fewer than a listening socket queues.
const OPENING_MAX: usize = 64;
/// How long all streams may take to open, and to get the rest once everything is sent.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long nothing more may come once everything has.
const SILENCE: Duration = Duration::from_millis(200);

impl Streams {
    /// Opens the streams, and answers once each has said that it is ready.
    pub(crate) fn open(target: &Target, wanted: Vec<Wanted>) -> Outcome<Self> {
        let target = target.clone();
        let (all_sent, sent) = watch::channel(false);
        let (ready, is_ready) = sync_channel(1);
        let thread = std::thread::Builder::new().name("streams".to_owned()).spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            LocalSet::new().block_on(&runtime, follow(target, wanted, ready, sent))
        })?;
        let streams = Self { thread, all_sent };
        match wait_for(&is_ready) {
            true => Ok(streams),
            false => Err(streams.finish().err().unwrap_or_else(|| "not all streams opened in time".into())),
        }
    }

    /// Everything was sent: waits until each stream has all of it, checks that nothing more comes, and
    /// answers the arrivals.
    pub(crate) fn finish(self) -> Outcome<Vec<Arrival>> {
        self.all_sent.send_replace(true);
        self.thread.join().map_err(|_| "the thread of the streams panicked")?
    }
}

fn wait_for(ready: &Receiver<()>) -> bool {
    ready.recv_timeout(PATIENCE).is_ok()
}

/// What all streams of the thread share.
struct Shared {
    /// What is read goes here first: one buffer stays in the cache, thousands would not.
    buffer: RefCell<Vec<u8>>,
    arrivals: RefCell<Vec<Arrival>>,
    outstanding: Cell<u64>,
    complete: Notify,
}

async fn follow(
    target: Target,
    wanted: Vec<Wanted>,
    ready: SyncSender<()>,
    mut sent: watch::Receiver<bool>,
) -> Outcome<Vec<Arrival>> {
    let total = wanted.iter().map(|stream| stream.count).sum::<u64>();
    let shared = Rc::new(Shared {
        buffer: RefCell::new(vec![0; 256 * 1024]),
        arrivals: RefCell::new(Vec::with_capacity(usize::try_from(total)?)),
        outstanding: Cell::new(total),
        complete: Notify::new(),
    });
    let places = Rc::new(Semaphore::new(OPENING_MAX));
    let (mut opening, mut reading) = (JoinSet::new(), JoinSet::new());
    for wanted in wanted {
        let (target, shared, places) = (target.clone(), shared.clone(), places.clone());
        opening.spawn_local(async move {
            let _place = places.acquire().await?;
            let mut stream = Stream::open(&target, wanted).await?;
            while !stream.is_ready {
                stream.read(&shared).await?;
            }
            Outcome::Ok(stream)
        });
    }
    while let Some(opened) = opening.join_next().await {
        let (mut stream, shared) = (opened??, shared.clone());
        reading.spawn_local(async move {
            loop {
                stream.read(&shared).await?;
            }
        });
    }
    ready.send(())?;
    if total == 0 {
        shared.complete.notify_one();
    }
    // A reader only ends when something is wrong.
    let ended = |ended: Result<Outcome<()>, _>| ended.map_err(Into::into).flatten();
    let patience = async {
        if sent.wait_for(|sent| *sent).await.is_ok() {
            tokio::time::sleep(PATIENCE).await;
        }
    };
    tokio::select! {
        () = shared.complete.notified() => {}
        Some(reader) = reading.join_next() => ended(reader)?,
        () = patience => return Err(format!("{} deliveries never came", shared.outstanding.get()).into()),
    }
    tokio::select! {
        () = tokio::time::sleep(SILENCE) => {}
        Some(reader) = reading.join_next() => ended(reader)?,
    }
    Ok(shared.arrivals.take())
}

struct Stream {
    socket: TcpStream,
    wanted: Wanted,
    got: u64,
    /// Whether the greeting was read.
    is_ready: bool,
    /// The beginning of a frame whose end was not read yet.
    rest: Vec<u8>,
}

impl Stream {
    async fn open(target: &Target, wanted: Wanted) -> Outcome<Self> {
        let mut socket = TcpStream::connect(target.address).await?;
        socket.write_all(get_request(target, &wanted.path).as_bytes()).await?;
        Ok(Self { socket, wanted, got: 0, is_ready: false, rest: Vec::new() })
    }

    /// Waits for bytes and takes all there are.
    async fn read(&mut self, shared: &Shared) -> Outcome<()> {
        poll_fn(|context| {
            let mut buffer = shared.buffer.borrow_mut();
            let mut bytes = ReadBuf::new(&mut buffer);
            match Pin::new(&mut self.socket).poll_read(context, &mut bytes) {
                Poll::Pending => Poll::Pending,
                Poll::Ready(Err(error)) => Poll::Ready(Err(error.into())),
                Poll::Ready(Ok(())) if bytes.filled().is_empty() => {
                    Poll::Ready(Err(format!("the server ended the stream {}", self.wanted.path).into()))
                }
                Poll::Ready(Ok(())) => Poll::Ready(self.take(bytes.filled(), shared)),
            }
        })
        .await
    }

    fn take(&mut self, bytes: &[u8], shared: &Shared) -> Outcome<()> {
        let read = now();
        if self.rest.is_empty() {
            let used = self.take_frames(bytes, read, shared)?;
            self.rest.extend_from_slice(&bytes[used..]);
        } else {
            let mut rest = std::mem::take(&mut self.rest);
            rest.extend_from_slice(bytes);
            let used = self.take_frames(&rest, read, shared)?;
            rest.drain(..used);
            // An empty one gives its memory back: thousands of them would add up.
            self.rest = if rest.is_empty() { Vec::new() } else { rest };
        }
        Ok(())
    }

    /// Takes the complete frames at the beginning, and answers how many bytes they had.
    fn take_frames(&mut self, bytes: &[u8], read: u64, shared: &Shared) -> Outcome<usize> {
        let mut used = 0;
        while let Some(length) = frame_length(&bytes[used..]) {
            self.take_frame(&bytes[used..used + length], read, shared)?;
            used += length;
        }
        Ok(used)
    }

    fn take_frame(&mut self, frame: &[u8], read: u64, shared: &Shared) -> Outcome<()> {
        if !self.is_ready {
            if frame.starts_with(b"HTTP/1.1 ") && !frame.starts_with(b"HTTP/1.1 200") {
                return Err(format!("no stream: {}", String::from_utf8_lossy(frame)).into());
            }
            self.is_ready = frame.starts_with(b"event: relay.ready\n");
            return Ok(());
        }
        if frame.starts_with(b":") {
            return Ok(());
        }
        let unexpected = || format!("{} got an unexpected frame: {}", self.wanted.path, String::from_utf8_lossy(frame));
        let (index, sent) = mark(frame).ok_or_else(unexpected)?;
        let Wanted { path, first, step, count } = &self.wanted;
        if self.got == *count || index != first + step * self.got {
            return Err(format!("{path} got message {index} after {} of {count} messages", self.got).into());
        }
        self.got += 1;
        shared.arrivals.borrow_mut().push(Arrival { index, sent, read });
        shared.outstanding.set(shared.outstanding.get() - 1);
        if shared.outstanding.get() == 0 {
            shared.complete.notify_one();
        }
        Ok(())
    }
}

/// The length of the first frame with the empty line behind it; `None` while it is incomplete. The
/// head of the answer ends with an empty line as well, and counts as a frame.
fn frame_length(bytes: &[u8]) -> Option<usize> {
    let mut rest = bytes;
    loop {
        let line = rest;
        // Reading from a slice cannot fail. This looks for the byte faster than a loop would.
        let length = rest.skip_until(b'\n').unwrap_or(0);
        match &line[..length] {
            b"\n" | b"\r\n" => return Some(bytes.len() - rest.len()),
            line if line.ends_with(b"\n") => {}
            _ => return None,
        }
    }
}

/// The index of the message and when it was sent, from the mark in its body.
fn mark(frame: &[u8]) -> Option<(u64, u64)> {
    let mut rest = frame;
    rest.skip_until(b'~').ok()?;
    let mut number = || {
        let from = rest;
        let length = rest.skip_until(b'~').ok()?;
        std::str::from_utf8(from[..length].strip_suffix(b"~")?).ok()?.parse().ok()
    };
    Some((number()?, number()?))
}
