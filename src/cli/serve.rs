//! `agent-relay serve`: from arguments to a running relay, and out again.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use agent_relay::config::{Config, Environment, Flags};
use agent_relay::domain::text::causes;
use agent_relay::telemetry;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::{TcpListener, TcpSocket};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::data_dir::{DataDir, Running};
use super::{Failure, print};

/// Run the relay.
///
/// It prints one line on standard output when it accepts connections, `listening on
/// http://ADDRESS`, and logs to standard error. SIGTERM and SIGINT let open requests and event
/// streams end first; a second signal ends at once.
///
/// Each setting is looked for among the flags, then in the environment, then in the configuration
/// file, and otherwise has its default; examples/relay.toml lists them all.
#[derive(Debug, clap::Args)]
#[command(after_long_help = ENVIRONMENT)]
pub(super) struct Serve {
    /// The address to listen on [default: 127.0.0.1:4850]
    ///
    /// Port 0 takes any free port. Any other than a loopback address needs a token.
    /// Environment: AGENT_RELAY_LISTEN, or HOST and PORT.
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<String>,
    /// Where the relay keeps everything [default: ~/.local/share/agent-relay]
    ///
    /// Made if it is not there, for this user alone. Where XDG_DATA_HOME is set, the default is
    /// agent-relay in there. Environment: AGENT_RELAY_DATA_DIR.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// The directory of plugins [default: plugins in the data directory]
    ///
    /// Each plugin is a folder in it; changes are noticed while the relay runs. It need not be
    /// there: the relay brings plugins of its own. Environment: AGENT_RELAY_PLUGINS.
    #[arg(long, value_name = "DIR")]
    plugins: Option<PathBuf>,
    /// The directory in which this host starts agents [default: the home directory]
    ///
    /// Environment: AGENT_RELAY_BASE_DIR.
    #[arg(long, value_name = "DIR")]
    base_dir: Option<PathBuf>,
    /// The configuration file [default: none]
    ///
    /// Environment: AGENT_RELAY_CONFIG.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// What is logged [default: info]
    ///
    /// One of off, error, warn, info, debug and trace, or directives such as
    /// info,agent_relay::plugins=debug. Environment: AGENT_RELAY_LOG.
    #[arg(long, value_name = "FILTER")]
    log: Option<String>,
}

const ENVIRONMENT: &str = "\
Environment without a flag:
  AGENT_RELAY_TOKEN            The administrator's token. Without one, the relay listens on
                               loopback only, and every caller there is the administrator
  AGENT_RELAY_SPAWN_DRY_RUN    1: spawns are planned and recorded, but nothing is started
  AGENT_RELAY_SPAWN_RELAY_URL  Where started agents find the relay [default: where it listens]";

/// How long work that the relay did not wait for, such as a name lookup, may hold up the end.
pub(super) const LEFTOVERS: Duration = Duration::from_secs(2);
/// Connections that wait to be accepted; the system may allow fewer (`net.core.somaxconn`).
const WAITING_MAX: u32 = 4_096;

/// Runs until a signal has drained it.
pub(super) fn run(args: Serve, env: &Environment) -> Result<(), Failure> {
    let Serve { listen, data_dir, plugins, base_dir, config, log } = args;
    let flags = Flags { listen, data_dir, plugins, base_dir, config, log };
    let mut config = Config::load(&flags, env)?;
    share_arenas();
    telemetry::start_log(&config.log);
    telemetry::start_metrics();
    match &config.token {
        Some(_) => keep_from_others_of_this_user(),
        None => tracing::info!(
            "no token is set, so whoever calls from this host is an administrator, agents included; \
             AGENT_RELAY_TOKEN or token_file changes that"
        ),
    }
    // Held to the end: it keeps a second relay away from the same database.
    let data_dir = DataDir::claim(&config.data_dir).map_err(Failure::Other)?;
    raise_open_files(&mut config.limits.http.connections);

    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("relay")
        .build()
        .map_err(|error| Failure::Other(format!("failed to start threads: {error}")))?;
    let outcome = runtime.block_on(listen_and_serve(config, &data_dir));
    runtime.shutdown_timeout(LEFTOVERS);
    outcome
}

async fn listen_and_serve(config: Config, data_dir: &DataDir) -> Result<(), Failure> {
    let address = config.listen;
    let bound = bind(address).and_then(|listener| {
        let local = listener.local_addr()?;
        Ok((listener, local))
    });
    let (listener, local) = bound.map_err(|error| {
        Failure::Other(format!("failed to listen on {address}: {error}; choose another address with --listen"))
    })?;
    let shutdown = CancellationToken::new();
    end_on_signals(shutdown.clone()).map_err(|error| Failure::Other(format!("failed to await signals: {error}")))?;
    let running = Running {
        url: format!("http://{}", agent_relay::reachable(local)),
        token_file: config.token_file.clone(),
        pid: std::process::id(),
    };
    // Scripts and tests wait for this line, and for nothing else on standard output.
    let ready = || {
        data_dir.announce(&running);
        if let Err(Failure::Other(problem)) = print(&format!("listening on http://{local}")) {
            tracing::warn!("{problem}");
        }
    };
    agent_relay::serve(config, listener, shutdown, ready).await.map_err(|error| Failure::Other(causes(&error)))
}

/// As [`TcpListener::bind`], with room for everybody who reconnects at once after a restart: whoever finds none waits a
/// second and more for the next try.
fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(WAITING_MAX)
}

/// Closes this process's memory and initial environment, where the operator's token may stand, to the other
/// processes of the same user: the agents it starts are among them. Programs that it starts are open again.
pub(super) fn keep_from_others_of_this_user() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable) {
        tracing::warn!(%error, "other processes of this user can read the token of this one");
    }
}

/// The first SIGTERM or SIGINT cancels `shutdown`; the second ends the process, for whoever does
/// not want to wait for the drain.
pub(super) fn end_on_signals(shutdown: CancellationToken) -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::spawn(async move {
        loop {
            let name = tokio::select! {
                _ = terminate.recv() => "SIGTERM",
                _ = interrupt.recv() => "SIGINT",
            };
            if shutdown.is_cancelled() {
                tracing::warn!(signal = name, "ending at once");
                end_now();
            }
            tracing::info!(signal = name, "draining; a second signal ends at once");
            shutdown.cancel();
        }
    });
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "whoever signals twice wants no orderly end; the store survives it")]
fn end_now() -> ! {
    std::process::exit(1)
}

/// What is larger than this is given back to the system as soon as it is freed. Left alone, glibc raises the bound
/// to the largest that ever was, and keeps all below it.
#[cfg(target_env = "gnu")]
const LARGE_BYTES: libc::c_int = 128 << 10;

/// Has threads share the allocator's arenas, one for each processor. Left alone, glibc gives every thread
/// its own, up to eight for each processor, and what compiling a plugin took from one stays there:
/// the relay would be a third larger. Whoever sets `MALLOC_ARENA_MAX` has the last word.
#[cfg(target_env = "gnu")]
#[expect(unsafe_code, reason = "a setting of the C library")]
pub(super) fn share_arenas() {
    if std::env::var_os("MALLOC_ARENA_MAX").is_some() {
        return;
    }
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let arenas = libc::c_int::try_from(processors.max(2)).unwrap_or(libc::c_int::MAX);
    // SAFETY: it takes two numbers, and there is no other thread yet.
    unsafe { libc::mallopt(libc::M_ARENA_MAX, arenas) };
    // SAFETY: as before.
    unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE_BYTES) };
}

#[cfg(not(target_env = "gnu"))]
pub(super) fn share_arenas() {}

/// What the database, plugins, sessions and logs need of the files that the system allows.
const FILES_BESIDE_CONNECTIONS: u64 = 256;

/// Lets this process open as many files as the system allows it: each connection is one, and the
/// usual soft limit of 1,024 is far below what the relay carries.
fn raise_open_files(connections: &mut usize) {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current.is_none() || setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).is_ok() {
        let allowed = maximum.unwrap_or(u64::MAX);
        let most = usize::try_from(allowed.saturating_sub(FILES_BESIDE_CONNECTIONS)).unwrap_or(usize::MAX).max(8);
        if most < *connections {
            tracing::warn!(
                "the system lets this process open {allowed} files: it takes {most} connections, not \
                 limits.connections ({connections}); raise ulimit -n"
            );
            *connections = most;
        }
    }
}
