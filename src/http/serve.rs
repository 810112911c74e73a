//! Connections: accepted, served by the router, and handed over whole to the event stream.
//!
//! An event stream lives for hours and there are thousands of them, so it should cost what it must:
//! a socket and a position. Its handler answers with a [`Takeover`]; the connection then leaves the
//! HTTP machinery, whose buffers it no longer needs, and the stream writes to the socket itself.

use std::convert::Infallible;
use std::future::pending;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::header::CONTENT_LENGTH;
use axum::http::{HeaderMap, Request, StatusCode};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;
use tower::ServiceExt;

use crate::telemetry::metric;

/// The address a request came from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer(pub(super) SocketAddr);

/// How long a client may take to send the head of a request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// The same for a client that comes while the relay drains.
const HEAD_TIMEOUT_DRAINING: Duration = Duration::from_secs(1);

type Continuation = Box<dyn FnOnce(TcpStream, Vec<u8>) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send>;

/// Put into a response's extensions to take its connection over. The continuation gets the socket
/// and the head of the response, which it must write first.
#[derive(Clone)]
pub(super) struct Takeover(Arc<Mutex<Option<Continuation>>>);

impl Takeover {
    pub(super) fn new<F>(continuation: impl FnOnce(TcpStream, Vec<u8>) -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let boxed: Continuation = Box::new(|socket, head| Box::pin(continuation(socket, head)));
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
    connections_max: usize,
    shutdown: CancellationToken,
    tasks: TaskTracker,
) {
    let permits = Arc::new(Semaphore::new(connections_max));
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
        let permit = tokio::select! {
            permit = permits.clone().acquire_owned() => permit,
            () = &mut drained => break,
        };
        let Ok(permit) = permit else { break };
        let (socket, peer) = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of descriptors, most likely: others must close before this can go on.
                    tracing::warn!(%error, "accept failed");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            },
            () = &mut drained => break,
        };
        if let Err(error) = socket.set_nodelay(true) {
            tracing::debug!(%error, "cannot set TCP_NODELAY");
        }
        let Ok(socket) = socket.into_std() else { continue };
        next = (next + 1) % threads.len().max(1);
        // Bounded by the permits; a thread that is gone drops the connection.
        if let Some(thread) = threads.get(next) {
            drop(thread.send(Accepted { socket, peer, permit, guard: tasks.token() }));
        }
    }
}

/// A connection on its way to the thread that answers it.
struct Accepted {
    socket: std::net::TcpStream,
    peer: SocketAddr,
    permit: OwnedSemaphorePermit,
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
#[expect(clippy::disallowed_methods, reason = "each entry holds a permit, of which there are only so many")]
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
            while let Some(Accepted { socket, peer, permit, guard }) = accepted.recv().await {
                let Ok(socket) = TcpStream::from_std(socket) else { continue };
                let context = context.clone();
                local.spawn(async move {
                    metrics::gauge!(metric::CONNECTIONS).increment(1);
                    answer_connection(socket, peer, permit, context).await;
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

async fn answer_connection(socket: TcpStream, peer: SocketAddr, permit: OwnedSemaphorePermit, context: Context) {
    let Context { router, shutdown, shared, tasks } = context;
    let taken = Box::pin(converse(socket, peer, router, shutdown)).await;
    if let Some((continuation, socket, head)) = taken {
        let Ok(socket) = socket.into_std() else { return };
        // A stream goes on in a task of its own, so that this one's memory is given back.
        tasks.spawn_on(
            async move {
                if let Ok(socket) = TcpStream::from_std(socket) {
                    continuation(socket, head).await;
                }
                drop(permit);
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
) -> Option<(Continuation, TcpStream, Vec<u8>)> {
    let handover = Arc::new(Handover::default());
    let of_service = handover.clone();
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(Peer(peer));
        let answering = router.clone().oneshot(request.map(Body::new));
        let handover = of_service.clone();
        async move {
            let mut response = answering.await.unwrap_or_else(|never: Infallible| match never {});
            if let Some(takeover) = response.extensions_mut().remove::<Takeover>() {
                let continuation = takeover.0.lock().unwrap_or_else(PoisonError::into_inner).take();
                if let Some(continuation) = continuation {
                    let head = head(response.status(), response.headers());
                    *handover.taken.lock().unwrap_or_else(PoisonError::into_inner) = Some((continuation, head));
                    handover.ready.notify_one();
                    // The connection is taken away from under this future.
                    return pending().await;
                }
            }
            Ok::<_, Infallible>(response)
        }
    });
    // One that comes while the relay drains is answered once and must not hold the drain up.
    let mut draining = shutdown.is_cancelled();
    let mut connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(if draining { HEAD_TIMEOUT_DRAINING } else { HEAD_TIMEOUT })
        .keep_alive(!draining)
        .max_buf_size(64 * 1024)
        .serve_connection(TokioIo::new(socket), service);
    let mut cancelled = pin!(shutdown.cancelled());
    loop {
        tokio::select! {
            biased;
            done = &mut connection => {
                if let Err(error) = done {
                    tracing::debug!(%error, "connection ended early");
                }
                return None;
            }
            () = handover.ready.notified() => {
                let (continuation, head) = handover.taken.lock().unwrap_or_else(PoisonError::into_inner).take()?;
                return Some((continuation, connection.into_parts().io.into_inner(), head));
            }
            () = &mut cancelled, if !draining => {
                draining = true;
                Pin::new(&mut connection).graceful_shutdown();
            }
        }
    }
}

/// The head of a response that ends with its connection.
fn head(status: StatusCode, headers: &HeaderMap) -> Vec<u8> {
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
    head.extend_from_slice(b"connection: close\r\n\r\n");
    head
}
