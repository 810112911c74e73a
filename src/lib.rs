//! agent-relay: coding agents find each other, exchange durable messages, claim work once, and are
//! started under policies that can be swapped while it runs.
//!
//! # The map
//!
//! ```text
//! clients --HTTP/SSE--> http -> relay -> store (SQLite)          storage, and events in commit order
//! models  --MCP-------> http -> mcp ->|                          the same operations, as tools
//!                                 |        +--> stream           every commit's events, to whom they concern
//!                                 +--> launcher                  plan, check, start, watch, deliver, stop
//!                                 |        +--> plugins          may this happen? what exactly would be run?
//!                                 |        +--> sessions (tmux)  run it, watch it, end it
//!                                 +--> plugins (wasmtime)
//! ```
//!
//! - [`domain`]: the nouns and their rules, and what is on the wire. Pure functions; no I/O, nothing that waits.
//!   [`domain::time::Clock`] is the one clock: it notices that the wall clock was set, or that nobody was here.
//! - [`store`]: what is on disk and in which order. One writer with group commit, read-only readers; a verb is
//!   one transaction, written once over rows in and rows out. Knows nothing of HTTP or plugins.
//! - [`stream`]: replay, then live. The hub indexes open streams by what they listen to; a feed is one reader's
//!   position.
//! - [`plugins`]: WebAssembly components in fresh instances with limits, watched, loaded on threads of their
//!   own, replaced whole, and put back when they fail. What operators decide about them is kept in files of its
//!   own: it knows nothing of the store. [`plugins::workbench`] runs the same code for authors, without a relay.
//!   The contract is in `wit/`.
//! - [`sessions`]: agent processes on this host. They outlive the relay.
//! - [`launcher`]: plugins and sessions put together: one approved spawn from its plan to its end. Reports to
//!   whoever asked, and knows no store and no HTTP, so that a daemon on another host can use it as it is. It attends to
//!   each session: what that does is seen, and one notice at a time is shown at the right moment.
//! - [`relay`]: the operations, one function for each thing a caller can ask: who may, idempotency, policies,
//!   the verb, the audit entry. [`relay::scopes`] is the table of who may; [`relay::control`] the pipeline that
//!   decides and records.
//! - [`jobs`]: what time does, what a crash left, telling about plugins, and [`jobs::deliver`]: what is to be sent to
//!   others.
//! - [`mcp`]: the same operations as tools for models, answered with texts. The protocol and the tools; carried by
//!   [`http`], and by the command line for one session.
//! - [`http`]: every route with the scopes that open it, the edge in front of them, and the connections. Parses,
//!   calls one operation, answers. The one module that knows status codes.
//! - [`client`]: how others ask a relay: typed requests, and a stream of events that goes on where it was. The
//!   command line and the tests use it. Knows nothing of the relay but the domain.
//! - [`orchestrator`]: the daemon of another host, on [`client`] and [`launcher`]: what a relay asks for is done there,
//!   and told to the relay until it knows.
//! - [`bounds`]: what everything may have at most, by one look.
//! - [`config`], [`telemetry`]: what the operator decided; log, spans and metrics.
//! - The `agent-relay` program (`src/main.rs`, `src/cli`) turns arguments into a [`config::Config`] and calls
//!   [`serve`]; everything else that is typed asks a running relay by [`client`], or is about a whole data directory
//!   ([`back_up`], [`restore`]).
//!
//! Who may import whom: `main -> cli -> {lib, client} -> {http -> mcp, jobs} -> relay -> {stream -> store, launcher ->
//! {plugins, sessions}} -> domain`, and `cli -> orchestrator -> {client, launcher}`; anyone may use the constants of
//! `telemetry`. A test reads the sources and holds this.
//!
//! # Three walks
//!
//! **A message.** The edge in `http::edge` opens the request's span, finds the caller and lets the route's
//! scopes admit it. `http::api::messages::create_message` parses the body and calls `Relay::send_message`, which
//! checks the sender and calls the verb `Store::send`. The writer takes what is queued, runs each job in a
//! savepoint and commits once; the message's row is its event, so its JSON is made once, for the answer and for
//! every stream. The hub gets the committed batch before anybody is answered, and wakes the streams that the
//! message concerns; a stream that is behind reads the store until it has caught up.
//!
//! **A spawn.** `Relay::spawn_agent` takes the current set of plugins and keeps it to the end. The launcher finds
//! the facts of the directory, the policies decide, and one transaction writes the command with every verdict,
//! its audit entry, the answer and the events; a denial is written too. Through an orchestrator, that transaction
//! holds the message which the daemon gets from its stream. On the relay's own host [`launcher`] has the provider
//! plan, checks the plan, reports the session before its process is started and the process once it runs, and
//! follows it in a task of its own: up or not, its prompt, its end. Row first, side effect second, outcome third:
//! after a crash `jobs` finds what was left half done.
//!
//! **A reload.** The directory watch says that something changed; the folder is the truth. The registry scans it,
//! and a loader on a thread of its own stages, inspects, compiles and probes the candidate while everybody goes
//! on with the set there is. A slot then takes one transition and says what follows from it: the new set is
//! published with one store of a pointer, the step is kept and told, and the generation before it drains until
//! the last request that began with it has ended. A candidate that fails changes nothing but the list of what
//! was rejected, and why.

pub mod bounds;
pub mod client;
pub mod config;
pub mod domain;
pub mod http;
pub mod jobs;
pub mod launcher;
pub mod mcp;
pub mod orchestrator;
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
use crate::domain::time::Clock;
use crate::launcher::{Host, Launcher};
use crate::plugins::Plugins;
use crate::relay::access::Access;
use crate::relay::{Ingredients, Relay, Settings};
use crate::sessions::Sessions;
use crate::store::{Store, StoreError};
use crate::stream::Hub;

pub use crate::store::{Backup, back_up, restore};

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
    /// There is nothing to sign callbacks with.
    #[error(transparent)]
    Secret(#[from] jobs::deliver::SecretError),
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
    serve_by(Clock::host(), config, listener, shutdown, ready).await
}

/// [`serve`] by another clock than this machine's, for tests of what clocks do.
///
/// # Errors
///
/// As [`serve`] has them.
pub async fn serve_by(
    clock: Clock,
    config: Config,
    listener: TcpListener,
    shutdown: CancellationToken,
    ready: impl FnOnce(),
) -> Result<(), ServeError> {
    let hub = Hub::default();
    let of_store = hub.clone();
    let options = store::Options { path: config.data_dir.join("relay.db"), readers: READERS, clock };
    let store = Store::open(&options, Box::new(move |batch| of_store.publish(batch)))?;
    // Made so that there is something to watch, and somewhere to put a plugin.
    if let Some(directory) = &config.plugins.directory
        && let Err(error) = std::fs::create_dir_all(directory)
    {
        tracing::warn!(%error, path = %directory.display(), "cannot make the plugin directory");
    }
    let address = listener.local_addr().map_err(ServeError::Listener)?;
    let deliverer = jobs::deliver::Deliverer::new(config.callbacks.clone())?;
    let ingredients = Ingredients {
        store: store.clone(),
        hub,
        plugins: Plugins::open(plugins::Options { embedded: plugins::EMBEDDED.to_vec(), ..config.plugins.clone() })
            .await?,
        launcher: Launcher::new(host(&config, address), Sessions::open(config.sessions.clone()).await?),
        access: Access::new(config.token.as_ref().map(config::Secret::expose)),
        settings: settings(&config),
    };
    if let Some(kind) = ingredients.settings.network_file_system {
        tracing::warn!(path = %config.data_dir.display(), "the data directory lies on {kind}; use a disk of this host");
    }
    let relay = Relay::new(ingredients, shutdown.clone());

    let tasks = relay.tasks().clone();
    jobs::start(&relay, deliverer, &tasks).await;
    let connections = TaskTracker::new();
    let serving = http::serve(relay, listener, config.limits.http.clone(), shutdown.clone(), connections.clone());
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
        thread_replies: config.thread_replies,
        integrations: config.integrations.clone(),
        callbacks_allow: config.callbacks.allow.clone(),
        streams_max: config.limits.streams,
        drain: config.limits.drain,
        network_file_system: plugins::network_file_system(&config.data_dir),
    }
}

fn host(config: &Config, address: SocketAddr) -> Host {
    // A directory that does not exist cannot be resolved; nothing can start in it either.
    let resolved = |path: &PathBuf| std::fs::canonicalize(path).unwrap_or_else(|_| path.clone());
    Host {
        roots: std::iter::once(&config.base_dir).chain(&config.roots).map(resolved).collect(),
        home: std::env::home_dir().unwrap_or_else(|| PathBuf::from("/")),
        hostname: rustix::system::uname().nodename().to_string_lossy().into_owned(),
        orchestrator: None,
        relay_url: config.spawn.relay_url.clone().unwrap_or_else(|| format!("http://{}", reachable(address))),
        dry_run: config.spawn.dry_run,
    }
}

/// An address under which processes of this host reach a listener: one that listens everywhere is
/// reached over loopback.
pub fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(if address.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() });
    }
    address
}
