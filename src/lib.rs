//! agent-relay: coding agents find each other, exchange durable messages, claim work once, and are
//! started under policies that can be swapped while it runs.
//!
//! # The map
//!
//! ```text
//! clients --HTTP/SSE--> http -> relay -> store (SQLite)        storage, routing, events
//!                         |       |        |
//!                         |       |        +--> stream          every commit's events, to whom they concern
//!                         |       +--> plugins (wasmtime)       may this happen? what exactly would be run?
//!                         |       +--> sessions (tmux)          run it, watch it, end it
//!                         +--> stream                           a connection becomes a reader of the feed
//! ```
//!
//! - [`domain`]: the nouns and their rules. Pure functions; no I/O, nothing that waits.
//! - [`store`]: what is on disk and in which order. One writer with group commit, read-only readers; a
//!   verb is one transaction. Knows nothing of HTTP or plugins.
//! - [`stream`]: replay, then live. The hub indexes open streams by what they listen to; a feed is one
//!   reader's position.
//! - [`plugins`]: WebAssembly components in fresh instances with limits, watched, loaded on threads of
//!   their own, replaced whole, and put back when they fail. What operators decide about them is kept in
//!   files of its own: it knows nothing of the store. [`plugins::workbench`] runs the same code for authors, without a relay. The
//!   contract is in `wit/`.
//! - [`sessions`]: agent processes on this host. They outlive the relay.
//! - [`relay`]: the state of every handler and job, and the operations that touch several parts:
//!   [`relay::control`] decides and records, [`relay::spawn`] starts and watches, `ending` ends and
//!   restarts, one request at a time for each agent.
//! - [`jobs`]: what time does, what a crash left, and telling about plugins.
//! - [`http`]: every route, the edge in front of them, and the connections. The only place that knows
//!   status codes.
//! - [`config`], [`telemetry`]: what the operator decided; log and metrics.
//! - The `agent-relay` program (`src/main.rs`, `src/cli`) turns arguments into a [`config::Config`] and
//!   calls [`serve`].
//!
//! Who may import whom: `main -> cli -> lib -> {http, jobs} -> relay -> {stream -> store, plugins,
//! sessions} -> domain`; anyone may use the constants of `telemetry`. A test reads the sources and
//! holds this.
//!
//! # One control request, start to end
//!
//! `http::control` parses and authenticates; [`relay::control`] takes the current set of plugins, gathers
//! facts and asks the policies; one transaction writes the command with every verdict, its message,
//! the activity entry and the events. A denial is written too, then answered. An orchestrator picks
//! its message up from the stream; on the relay's own host [`relay::spawn`] has the provider plan, writes
//! the session's row, starts it, and records what became of it. Row first, side effect second,
//! outcome third: after a crash `jobs` finds what was left half done.

pub mod config;
pub mod domain;
pub mod http;
pub mod jobs;
pub mod plugins;
pub mod relay;
pub mod sessions;
pub mod store;
pub mod stream;
pub mod telemetry;

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::Config;
use crate::domain::retention::Retention;
use crate::plugins::Plugins;
use crate::relay::access::Access;
use crate::relay::spawn::Host;
use crate::relay::{Ingredients, Relay, Settings};
use crate::sessions::Sessions;
use crate::store::{Store, StoreError};
use crate::stream::Hub;

/// Why the relay could not serve.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The database cannot be used.
    #[error("failed to open the store")]
    Store(#[from] StoreError),
    /// The plugin engine does not start.
    #[error(transparent)]
    Plugins(#[from] plugins::OpenError),
    /// The sessions directory cannot be used.
    #[error(transparent)]
    Sessions(#[from] sessions::OpenError),
    /// The listener has no address.
    #[error("failed to find out where the relay runs")]
    Listener(#[source] std::io::Error),
}

/// Read connections: two cores read at most two at a time, and a long read must not hold up others.
const READERS: usize = 4;

/// Runs a relay on this listener until `shutdown`, then drains it. `ready` is called once requests
/// are answered.
///
/// # Errors
///
/// When the database cannot be opened. Once it serves, it ends only by `shutdown`.
pub async fn serve(
    config: Config,
    listener: TcpListener,
    shutdown: CancellationToken,
    ready: impl FnOnce(),
) -> Result<(), ServeError> {
    let hub = Hub::default();
    let of_store = hub.clone();
    let options = store::Options { path: config.data_dir.join("relay.db"), readers: READERS };
    let store = Store::open(&options, Box::new(move |batch| of_store.publish(batch)))?;
    // Made so that there is something to watch, and a place to put a plugin.
    if let Some(directory) = &config.plugins.directory
        && let Err(error) = std::fs::create_dir_all(directory)
    {
        tracing::warn!(%error, path = %directory.display(), "cannot make the plugin directory");
    }
    let address = listener.local_addr().map_err(ServeError::Listener)?;
    let ingredients = Ingredients {
        store: store.clone(),
        hub,
        plugins: Plugins::open(plugins::Options { embedded: plugins::EMBEDDED.to_vec(), ..config.plugins.clone() })
            .await?,
        sessions: Sessions::open(config.sessions.clone()).await?,
        host: host(&config, address),
        access: Access::new(config.token.as_ref().map(config::Secret::expose)),
        settings: settings(&config),
    };
    let relay = Relay::new(ingredients, shutdown.clone());

    let tasks = relay.tasks.clone();
    jobs::start(&relay, &tasks);
    let connections = TaskTracker::new();
    let serving = http::serve(relay, listener, config.limits.connections, shutdown.clone(), connections.clone());
    ready();
    let drain_over = async {
        shutdown.cancelled().await;
        tokio::time::sleep(config.limits.drain).await;
    };
    tokio::select! {
        () = serving => {}
        () = drain_over => tracing::warn!(open = connections.len(), "connections still open after the drain are cut"),
    }
    tasks.close();
    if timeout(Duration::from_secs(5), tasks.wait()).await.is_err() {
        tracing::warn!("background work did not end in time");
    }
    store.close().await;
    tracing::info!("drained");
    Ok(())
}

fn settings(config: &Config) -> Settings {
    let millis = |duration: Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
    let count = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    Settings {
        offline_after: config.agents.offline_after,
        prune_after: config.agents.prune_after,
        command_lifetime: config.command_lifetime,
        retention: Retention {
            events_count: count(config.events.count),
            events_ms: millis(config.events.age),
            messages_count: count(config.messages.count),
            messages_ms: millis(config.messages.age),
            records_ms: millis(config.messages.age),
        },
        streams_max: config.limits.streams,
        drain: config.limits.drain,
    }
}

fn host(config: &Config, address: SocketAddr) -> Host {
    // A directory that does not exist cannot be resolved; nothing can start in it either.
    let resolved = |path: &PathBuf| std::fs::canonicalize(path).unwrap_or_else(|_| path.clone());
    Host {
        roots: std::iter::once(&config.base_dir).chain(&config.roots).map(resolved).collect(),
        home: std::env::home_dir().unwrap_or_else(|| PathBuf::from("/")),
        hostname: rustix::system::uname().nodename().to_string_lossy().into_owned(),
        relay_url: config.spawn.relay_url.clone().unwrap_or_else(|| format!("http://{}", reachable(address))),
        dry_run: config.spawn.dry_run,
    }
}

/// An address under which processes of this host reach a listener: one that listens everywhere is
/// reached over loopback.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(if address.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() });
    }
    address
}
