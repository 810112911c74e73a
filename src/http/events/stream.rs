//! One event stream on its socket: the greeting, the frames, the comments that keep it alive, and its end.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::io::{ErrorKind, IoSlice};
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
use crate::stream::{Feed, Start};

/// A comment at least this often, so that proxies and clients know the stream is alive.
const KEEPALIVE: Duration = Duration::from_secs(15);
/// A reader that takes nothing at all for this long is gone.
const STALL_MAX: Duration = Duration::from_secs(60);
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

/// Writes a feed to its socket until either ends.
pub(super) async fn run(
    mut socket: TcpStream,
    greeting: Vec<u8>,
    mut feed: Feed,
    drain: Duration,
    draining: CancellationToken,
) -> std::io::Result<()> {
    write(&mut socket, &greeting).await?;
    drop(greeting);
    let mut last_write = Instant::now();
    let mut end: Option<Instant> = None;
    // Made once: a stream that is written to does not touch its timer.
    let mut timer = pin!(sleep_until(last_write + KEEPALIVE));
    let mut cancelled = pin!(draining.cancelled());
    loop {
        tokio::select! {
            biased;
            events = feed.next() => match events {
                Ok(events) => {
                    write_events(&socket, events).await?;
                    last_write = Instant::now();
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
                    write(&mut socket, b":\n\n").await?;
                    last_write = now;
                }
                let next_comment = last_write + KEEPALIVE;
                timer.as_mut().reset(end.map_or(next_comment, |end| end.min(next_comment)));
            }
            () = &mut cancelled, if end.is_none() => {
                // Spread over the first half of the drain, so that the clients do not move in one wave.
                let at = Instant::now() + drain.mul_f64(f64::from(random_byte()) / 512.0);
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

async fn write(socket: &mut TcpStream, bytes: &[u8]) -> std::io::Result<()> {
    timeout(STALL_MAX, socket.write_all(bytes)).await?
}

/// Writes what is queued with as few system calls as the socket allows. A stream that is behind has
/// many frames waiting, and each call costs more than a frame.
async fn write_events(socket: &TcpStream, mut events: VecDeque<Arc<Event>>) -> std::io::Result<()> {
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
                    Box::pin(timeout(STALL_MAX, socket.writable())).await??;
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
