//! Connections: accepted, served by the router, and handed over whole to the event stream.
//!
//! - `connections`: who is connected, what each keeps in memory, and who has to go for others.
//! - `socket`: what moves, and who takes nothing.
//! - `refused`: what is refused before there is a request.
//!
//! An event stream lives for hours and there are thousands of them, so it should cost what it must:
//! a socket and a position. Its handler answers with a [`Takeover`]; the connection then leaves the
//! HTTP machinery, whose buffers it no longer needs, and the stream writes to the socket itself.

mod connections;
mod refused;
mod socket;

use std::convert::Infallible;
use std::future::pending;
use std::net::SocketAddr;
use std::os::fd::AsRawFd as _;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::header::CONTENT_LENGTH;
use axum::http::{HeaderMap, Request, Response, StatusCode};
use bytes::Bytes;
use hyper::body::{Body as _, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::{Notify, mpsc};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;
use tower::ServiceExt;

use self::connections::{Connections, Room, UNCOUNTED_BYTES_MAX};
use self::socket::Socket;
use super::Limits;
use super::edge::request_id;
use super::error::ApiError;
use crate::telemetry::metric;

pub(super) use self::connections::{Doing, Seat};
pub(crate) use self::refused::{HEAD_BYTES_MAX, HEADERS_MAX};

/// The address a request came from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer(pub(super) SocketAddr);

/// How long a client may take to send the head of a request that comes while the relay drains, or when every
/// connection is in use.
const HEAD_TIME_SHORT: Duration = Duration::from_secs(1);
/// What the system keeps of an answer that it cannot send yet, in bytes: beyond it, that nothing is taken shows.
const UNSENT_BYTES_MAX: libc::c_int = 128 << 10;
/// Of what a client goes on sending after it was refused, so many bytes are read, for so long: whoever is still
/// sending when the connection closes may never see the answer.
const LINGER_BYTES_MAX: usize = 256 << 10;
const LINGER_TIME: Duration = Duration::from_secs(2);

type Continuation = Box<dyn FnOnce(TcpStream, Vec<u8>, Arc<Seat>) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send>;

/// What a request keeps in memory until it is answered.
#[derive(Clone, Debug, Default)]
pub(super) struct Held(Arc<Mutex<Vec<Room>>>);

impl Held {
    pub(super) fn keep(&self, room: Room) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(room);
    }
}

/// Put into a response's extensions to take its connection over. The continuation gets the socket
/// and the head of the response, which it must write first.
#[derive(Clone)]
pub(super) struct Takeover(Arc<Mutex<Option<Continuation>>>);

impl Takeover {
    pub(super) fn new<F>(continuation: impl FnOnce(TcpStream, Vec<u8>, Arc<Seat>) -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let boxed: Continuation = Box::new(|socket, head, seat| Box::pin(continuation(socket, head, seat)));
        Self(Arc::new(Mutex::new(Some(boxed))))
    }
}

/// Serves the router until the token is cancelled and what was under way then has finished. Whoever
/// comes meanwhile is still answered, once: that is how a load balancer learns to go elsewhere.
///
/// Requests are answered on threads with a runtime each: a request then stays on one thread from its
/// first byte to its last, which at one connection is half of what it costs. Streams move to the shared
/// runtime, so that a burst to thousands of them does not hold up requests.
pub(super) async fn serve(
    listener: TcpListener,
    router: Router,
    limits: Limits,
    shutdown: CancellationToken,
    tasks: TaskTracker,
) {
    let connections = Connections::new(limits);
    bound_unsent(&listener);
    let shared = Handle::current();
    let count = std::thread::available_parallelism().map_or(2, usize::from);
    let threads: Vec<_> = (0..count)
        .filter_map(|number| {
            let context = Context {
                router: router.clone(),
                shutdown: shutdown.clone(),
                shared: shared.clone(),
                tasks: tasks.clone(),
            };
            answering_thread(number, context)
        })
        .collect();
    let mut next = 0;
    let of_drain = (shutdown.clone(), tasks.clone());
    let mut drained = pin!(async move {
        let (shutdown, tasks) = of_drain;
        shutdown.cancelled().await;
        tasks.close();
        tasks.wait().await;
    });
    loop {
        let (socket, peer) = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of descriptors, most likely: others must close before this can go on.
                    tracing::warn!(%error, "accept failed");
                    connections.make_place();
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            },
            () = &mut drained => break,
        };
        // Without a place, not even for a refusal, it is closed.
        let Some(seat) = connections.admit(peer.ip().to_canonical()) else { continue };
        if let Err(error) = socket.set_nodelay(true) {
            tracing::debug!(%error, "cannot set TCP_NODELAY");
        }
        let Ok(socket) = socket.into_std() else { continue };
        next = (next + 1) % threads.len().max(1);
        // Bounded by the seats; a thread that is gone drops the connection.
        if let Some(thread) = threads.get(next) {
            drop(thread.send(Accepted { socket, peer, seat: Arc::new(seat), guard: tasks.token() }));
        }
    }
}

/// Bounds what the system keeps of an answer that it cannot send yet. Each connection has it from its listener.
#[expect(unsafe_code, reason = "rustix has no name for this option")]
fn bound_unsent(listener: &TcpListener) {
    #[cfg(target_os = "linux")]
    {
        let most = UNSENT_BYTES_MAX;
        let size = libc::socklen_t::try_from(size_of_val(&most)).unwrap_or_default();
        let value = (&raw const most).cast();
        // SAFETY: the descriptor is open for as long as the listener is borrowed, and the value is a number of that size.
        let set =
            unsafe { libc::setsockopt(listener.as_raw_fd(), libc::IPPROTO_TCP, libc::TCP_NOTSENT_LOWAT, value, size) };
        if set != 0 {
            tracing::debug!(error = %std::io::Error::last_os_error(), "cannot set TCP_NOTSENT_LOWAT");
        }
    }
}

/// A connection on its way to the thread that answers it.
struct Accepted {
    socket: std::net::TcpStream,
    peer: SocketAddr,
    seat: Arc<Seat>,
    /// Counts the connection as under way.
    guard: TaskTrackerToken,
}

#[derive(Clone)]
struct Context {
    router: Router,
    shutdown: CancellationToken,
    /// Where streams run.
    shared: Handle,
    tasks: TaskTracker,
}

/// Starts a thread that answers the connections it is sent, until no more can come and all have ended.
#[expect(clippy::disallowed_methods, reason = "each entry has a seat, of which there are only so many")]
fn answering_thread(number: usize, context: Context) -> Option<mpsc::UnboundedSender<Accepted>> {
    let (sender, mut accepted) = mpsc::unbounded_channel::<Accepted>();
    let body = move || {
        // What one request waits for holds up this thread's connections at most.
        crate::relay::allow_commits_on_this_thread();
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(BLOCKING_MAX).build();
        let Ok(runtime) = runtime else { return tracing::error!("cannot make a runtime for requests") };
        let local = TaskTracker::new();
        runtime.block_on(async {
            while let Some(Accepted { socket, peer, seat, guard }) = accepted.recv().await {
                let Ok(socket) = TcpStream::from_std(socket) else { continue };
                let context = context.clone();
                local.spawn(async move {
                    metrics::gauge!(metric::CONNECTIONS).increment(1);
                    answer_connection(socket, peer, seat, context).await;
                    metrics::gauge!(metric::CONNECTIONS).decrement(1);
                    drop(guard);
                });
            }
            local.close();
            local.wait().await;
        });
    };
    let started = std::thread::Builder::new().name(format!("http-{number}")).spawn(body);
    if let Err(error) = &started {
        tracing::error!(%error, "cannot start a thread for requests");
    }
    started.ok().map(|_| sender)
}

/// Reads of the store under way for one thread: as many as there are connections to read with, twice.
const BLOCKING_MAX: usize = 8;

async fn answer_connection(socket: TcpStream, peer: SocketAddr, seat: Arc<Seat>, context: Context) {
    let Context { router, shutdown, shared, tasks } = context;
    let conversation = Box::pin(converse(socket, peer, router, shutdown, seat.clone()));
    let taken = tokio::select! {
        taken = conversation => taken,
        () = seat.must_leave() => None,
    };
    if let Some((continuation, socket, head)) = taken {
        let Ok(socket) = socket.into_std() else { return };
        // A stream goes on in a task of its own, so that this one's memory is given back.
        tasks.spawn_on(
            async move {
                if let Ok(socket) = TcpStream::from_std(socket) {
                    continuation(socket, head, seat).await;
                }
            },
            &shared,
        );
    }
}

#[derive(Default)]
struct Handover {
    taken: Mutex<Option<(Continuation, Vec<u8>)>>,
    ready: Notify,
}

async fn converse(
    socket: TcpStream,
    peer: SocketAddr,
    router: Router,
    shutdown: CancellationToken,
    seat: Arc<Seat>,
) -> Option<(Continuation, TcpStream, Vec<u8>)> {
    let handover = Arc::new(Handover::default());
    let (of_service, of_seat) = (handover.clone(), seat.clone());
    let service = service_fn(move |mut request: Request<Incoming>| {
        of_seat.begin(Doing::Work);
        let held = Held::default();
        request.extensions_mut().insert(Peer(peer));
        request.extensions_mut().insert(of_seat.clone());
        request.extensions_mut().insert(held.clone());
        let answering = router.clone().oneshot(request.map(Body::new));
        let (handover, seat) = (of_service.clone(), of_seat.clone());
        async move {
            let mut response = answering.await.unwrap_or_else(|never: Infallible| match never {});
            if let Some(takeover) = response.extensions_mut().remove::<Takeover>() {
                let continuation = takeover.0.lock().unwrap_or_else(PoisonError::into_inner).take();
                if let Some(continuation) = continuation {
                    let head = head(response.status(), response.headers(), None);
                    seat.begin(Doing::Stream);
                    *handover.taken.lock().unwrap_or_else(PoisonError::into_inner) = Some((continuation, head));
                    handover.ready.notify_one();
                    // The connection is taken away from under this future.
                    return pending().await;
                }
            }
            drop(held);
            let response = make_room(&seat, response).await;
            seat.begin(Doing::Answer);
            Ok::<_, Infallible>(response)
        }
    });
    // One that comes while the relay drains is answered once and must not hold the drain up.
    let mut draining = shutdown.is_cancelled();
    let brief = draining || seat.is_reserve;
    let head_time = if brief { HEAD_TIME_SHORT } else { seat.limits().head };
    let mut connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(head_time)
        .keep_alive(!brief)
        .max_headers(HEADERS_MAX)
        .max_header_size(HEAD_BYTES_MAX)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(Socket::new(socket, seat.clone())), service);
    let mut cancelled = pin!(shutdown.cancelled());
    loop {
        tokio::select! {
            biased;
            done = &mut connection => {
                if let Err(error) = done {
                    tracing::debug!(%error, "connection ended early");
                    let socket = connection.into_parts().io.into_inner();
                    let said = match () {
                        () if socket.has_refused() => None,
                        () if error.is_timeout() && seat.has_begun() => Some(refused::too_slow(head_time)),
                        () if error.is_parse() && seat.has_begun() => Some(refused::malformed()),
                        // Whatever else ended it, there is nobody to tell.
                        () => return None,
                    };
                    linger(socket.into_inner(), said).await;
                }
                return None;
            }
            () = handover.ready.notified() => {
                let (continuation, head) = handover.taken.lock().unwrap_or_else(PoisonError::into_inner).take()?;
                return Some((continuation, connection.into_parts().io.into_inner().into_inner(), head));
            }
            () = &mut cancelled, if !draining => {
                draining = true;
                Pin::new(&mut connection).graceful_shutdown();
            }
        }
    }
}

/// Counts what the answer takes up in memory until it is taken. An answer that there is no room for is refused.
async fn make_room(seat: &Seat, response: Response<Body>) -> Response<Body> {
    let length = response.body().size_hint().exact().unwrap_or(0) as usize;
    if length <= UNCOUNTED_BYTES_MAX {
        return response;
    }
    let (parts, body) = response.into_parts();
    let (Ok(bytes), room) = tokio::join!(axum::body::to_bytes(body, length), seat.room_for_answer(length)) else {
        return ApiError::internal("an answer that cannot be read").render(&request_id(&parts.headers));
    };
    match room {
        // Given back with the last piece of it, wherever that is.
        Ok(room) => Response::from_parts(parts, Body::from(Bytes::from_owner(Counted { bytes, _room: room }))),
        Err(_) => {
            drop(bytes);
            ApiError::no_room().render(&request_id(&parts.headers))
        }
    }
}

/// Bytes that are counted.
struct Counted {
    bytes: Bytes,
    _room: Room,
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Says the last word to a client that may still be sending, and waits a moment for it to have been heard.
async fn linger(mut socket: TcpStream, said: Option<Vec<u8>>) {
    let listening = async {
        if let Some(said) = said {
            socket.write_all(&said).await?;
        }
        socket.shutdown().await?;
        let (mut scrap, mut count) = ([0; 4096], 0);
        while count < LINGER_BYTES_MAX {
            match socket.read(&mut scrap).await? {
                0 => break,
                read => count += read,
            }
        }
        Ok::<_, std::io::Error>(())
    };
    // Whether it was heard is the client's affair.
    let _ = timeout(LINGER_TIME, listening).await;
}

/// The head of a response that ends with its connection.
fn head(status: StatusCode, headers: &HeaderMap, length: Option<usize>) -> Vec<u8> {
    let mut head = Vec::with_capacity(512);
    head.extend_from_slice(b"HTTP/1.1 ");
    head.extend_from_slice(status.as_str().as_bytes());
    head.extend_from_slice(b" ");
    head.extend_from_slice(status.canonical_reason().unwrap_or("").as_bytes());
    head.extend_from_slice(b"\r\n");
    // The router counts an empty body; this one ends with its connection.
    for (name, value) in headers.iter().filter(|(name, _)| *name != CONTENT_LENGTH) {
        head.extend_from_slice(name.as_str().as_bytes());
        head.extend_from_slice(b": ");
        head.extend_from_slice(value.as_bytes());
        head.extend_from_slice(b"\r\n");
    }
    if let Some(length) = length {
        head.extend_from_slice(format!("content-length: {length}\r\n").as_bytes());
    }
    head.extend_from_slice(b"connection: close\r\n\r\n");
    head
}
