//! agent-relay: coding agents find each other, exchange durable messages, claim work once, and are
//! started under policies that can be swapped while it runs.

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

use std::path::PathBuf;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::Config;
use crate::plugins::Plugins;
use crate::relay::access::Access;
use crate::relay::spawn::Host;
use crate::relay::{Ingredients, Relay, Settings};
use crate::sessions::Sessions;
use crate::store::{Retention, Store, StoreError};
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
    let serving = http::serve(relay, listener, config.limits.connections, shutdown, connections.clone());
    ready();
    serving.await;
    tasks.close();
    connections.close();
    if timeout(config.limits.drain, connections.wait()).await.is_err() {
        tracing::warn!(open = connections.len(), "connections still open after the drain are cut");
    }
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

fn host(config: &Config, address: std::net::SocketAddr) -> Host {
    // A directory that does not exist cannot be resolved; nothing can start in it either.
    let resolved = |path: &PathBuf| std::fs::canonicalize(path).unwrap_or_else(|_| path.clone());
    Host {
        roots: std::iter::once(&config.base_dir).chain(&config.roots).map(resolved).collect(),
        home: std::env::home_dir().unwrap_or_else(|| PathBuf::from("/")),
        hostname: rustix::system::uname().nodename().to_string_lossy().into_owned(),
        relay_url: config.spawn.relay_url.clone().unwrap_or_else(|| format!("http://{address}")),
        dry_run: config.spawn.dry_run,
    }
}
