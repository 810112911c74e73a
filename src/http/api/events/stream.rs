//! One event stream on its socket: the greeting, the frames, the comments that keep it alive, and its end.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::io::{Error, ErrorKind, IoSlice};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use rustix::net::{SendAncillaryBuffer, SendFlags, sendmsg};
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use crate::domain::event::Event;
use crate::http::serve::{Doing, Seat};
use crate::relay::access::Admission;
use crate::stream::{Feed, Start};

/// A comment at least this often, so that proxies and clients know the stream is alive.
const KEEPALIVE: Duration = Duration::from_secs(15);
/// What a stream keeps of the events that its reader does not take, in bytes, beside the one that it is at.
const UNTAKEN_BYTES_MAX: usize = 16 << 10;
/// How often a stream whose reader takes nothing counts what it keeps: fewer streams may share it by then.
const COUNT_EVERY: Duration = Duration::from_secs(1);
/// Frames written at once: what one system call takes gladly.
const FRAMES_MAX: usize = 64;

/// What comes before the first event.
pub(super) fn greet(start: &Start) -> String {
    let mut text = String::new();
    // Spread, so that the clients of a relay that restarts do not come back in one wave.
    let retry_ms = 1_000 + u64::from(random_byte()) * 8;
    // Writing to a string cannot fail.
    let _ = write!(text, "retry: {retry_ms}\n\n");
    if let Some((reason, oldest)) = &start.reset {
        let data = json!({"reason": reason, "oldest": oldest.to_string()});
        let _ = write!(text, "event: relay.reset\ndata: {data}\n\n");
    }
    let data = json!({"latest": start.latest.to_string(), "from": start.from.to_string()});
    let _ = write!(text, "event: relay.ready\ndata: {data}\n\n");
    text
}

fn random_byte() -> u8 {
    let mut byte = [0];
    // Jitter is a courtesy; without randomness there is none.
    let _ = getrandom::fill(&mut byte);
    byte[0]
}

/// Writes a feed to its socket until either ends, or its reader's admission does.
pub(super) async fn run(
    mut socket: TcpStream,
    greeting: Vec<u8>,
    mut feed: Feed,
    seat: Arc<Seat>,
    admission: Admission,
    (draining, drain): (CancellationToken, Duration),
) -> std::io::Result<()> {
    let stall = seat.limits().stall;
    write(&mut socket, &greeting, stall).await?;
    drop(greeting);
    let mut last_write = Instant::now();
    let mut is_over = false;
    let mut end = admission.expires_in.and_then(|left| last_write.checked_add(left));
    let first = last_write + KEEPALIVE;
    // Made once: a stream that is written to does not touch its timer.
    let mut timer = pin!(sleep_until(end.map_or(first, |end| end.min(first))));
    let mut cancelled = pin!(admission.until.cancelled());
    loop {
        tokio::select! {
            biased;
            events = feed.next() => match events {
                Ok(events) => {
                    write_events(&socket, events, &mut feed, &seat).await?;
                    last_write = Instant::now();
                    // Here too: whoever always has more to write comes to nothing else.
                    if admission.may_end && (end.is_some_and(|end| end <= last_write) || admission.has_ended(&draining)) {
                        return socket.shutdown().await;
                    }
                }
                Err(error) => {
                    // The client comes back and goes on where it was.
                    tracing::warn!(%error, "stream cannot read the store");
                    return Ok(());
                }
            },
            () = &mut timer => {
                let now = Instant::now();
                if end.is_some_and(|end| end <= now) {
                    return socket.shutdown().await;
                }
                if now >= last_write + KEEPALIVE {
                    write(&mut socket, b":\n\n", stall).await?;
                    last_write = now;
                }
                let next_comment = last_write + KEEPALIVE;
                timer.as_mut().reset(end.map_or(next_comment, |end| end.min(next_comment)));
            }
            () = &mut cancelled, if !is_over => {
                is_over = true;
                if admission.has_ended(&draining) {
                    return socket.shutdown().await;
                }
                // Spread over the first half of the drain, so that the clients do not move in one wave.
                let at = Instant::now() + drain.mul_f64(f64::from(random_byte()) / 512.0);
                let at = end.map_or(at, |end| end.min(at));
                end = Some(at);
                timer.as_mut().reset(at);
            }
            readable = socket.readable() => {
                readable?;
                // Nothing is expected; what comes is dropped, and an end is an end.
                let mut scrap = [0_u8; 64];
                match socket.try_read(&mut scrap) {
                    Ok(0) => return Ok(()),
                    Ok(_) => {}
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                    Err(error) => return Err(error),
                }
            }
        }
    }
}

async fn write(socket: &mut TcpStream, bytes: &[u8], stall: Duration) -> std::io::Result<()> {
    timeout(stall, socket.write_all(bytes)).await?
}

/// Writes what is queued with as few system calls as the socket allows. A stream that is behind has
/// many frames waiting, and each call costs more than a frame.
async fn write_events(
    socket: &TcpStream,
    mut events: VecDeque<Arc<Event>>,
    feed: &mut Feed,
    seat: &Seat,
) -> std::io::Result<()> {
    let mut written = 0;
    while let Some(front) = events.front() {
        let sent = {
            let mut slices = [IoSlice::new(&[]); FRAMES_MAX];
            slices[0] = IoSlice::new(&front.frame[written..]);
            let count = events.len().min(FRAMES_MAX);
            for (slice, event) in slices[1..count].iter_mut().zip(events.iter().skip(1)) {
                *slice = IoSlice::new(&event.frame);
            }
            match socket.try_io(tokio::io::Interest::WRITABLE, || {
                // What `writev` does, without its detour through the file system's checks.
                let flags = SendFlags::NOSIGNAL;
                sendmsg(socket, &slices[..count], &mut SendAncillaryBuffer::default(), flags).map_err(Into::into)
            }) {
                Ok(sent) => sent,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    // Boxed because it is rare: a reader that keeps up never waits here.
                    Box::pin(wait_for_reader(socket, &mut events, feed, seat)).await?;
                    continue;
                }
                Err(error) => return Err(error),
            }
        };
        written += sent;
        while let Some(front) = events.front()
            && written >= front.frame.len()
        {
            written -= front.frame.len();
            events.pop_front();
        }
    }
    Ok(())
}

/// Waits until the reader takes more. Most of what it did not take is let go meanwhile, and read from the store
/// when its turn comes; what is kept is counted, unless others have it as well.
async fn wait_for_reader(
    socket: &TcpStream,
    events: &mut VecDeque<Arc<Event>>,
    feed: &mut Feed,
    seat: &Seat,
) -> std::io::Result<()> {
    let mut bytes = 0;
    let kept = 1 + events
        .iter()
        .skip(1)
        .take_while(|event| {
            bytes += event.frame.len();
            bytes <= UNTAKEN_BYTES_MAX
        })
        .count();
    if kept < events.len() {
        events.truncate(kept);
        if let Some(last) = events.back() {
            feed.go_back_to(last.seq);
        }
    }
    feed.keep_few(true);
    seat.begin(Doing::Untaken);
    let end = Instant::now() + seat.limits().stall;
    loop {
        let share = events.front().map_or(0, |event| event.frame.len() / Arc::strong_count(event).max(1));
        let _room = seat.room_for_answer(share).await.map_err(|_| Error::other("no room for a slow stream"))?;
        tokio::select! {
            writable = socket.writable() => {
                writable?;
                break;
            }
            () = seat.must_leave() => return Err(Error::other("it went for others")),
            () = sleep_until(end.min(Instant::now() + COUNT_EVERY)) => {}
        }
        if Instant::now() >= end {
            return Err(Error::new(ErrorKind::TimedOut, "nothing was taken"));
        }
    }
    if seat.is_leaving() {
        return Err(Error::other("it went for others"));
    }
    seat.begin(Doing::Stream);
    feed.keep_few(false);
    Ok(())
}
