//! `agent-relay orchestrator`: from arguments to the daemon of one host, and out again.

use std::path::{Path, PathBuf};

use agent_relay::client::{Client, Credential, Options};
use agent_relay::config::{Config, Environment, Flags, Secret, base_url};
use agent_relay::domain::id::OrchestratorId;
use agent_relay::domain::text::causes;
use agent_relay::launcher::{Host, Launcher};
use agent_relay::orchestrator::{self, Limits};
use agent_relay::plugins::{self, Plugins};
use agent_relay::sessions::{SESSIONS_MAX, Sessions};
use agent_relay::telemetry;
use tokio_util::sync::CancellationToken;

use super::data_dir::DataDir;
use super::serve::{LEFTOVERS, end_on_signals, keep_from_others_of_this_user, share_arenas};
use super::{Failure, print};

/// Start and stop agents on this host for a relay elsewhere.
///
/// It registers with the relay under an id, prints one line on standard output when that is done,
/// and does what is asked of it until SIGTERM or SIGINT, which leave the agents running: the next
/// start finds them. A relay or network that is away is waited for.
///
/// The token is read from AGENT_RELAY_TOKEN or --token-file: one with the scope `orchestrator`,
/// bound to the agent `orchestrator-ID`.
#[derive(Debug, clap::Args)]
pub(super) struct Orchestrator {
    /// The relay [default: http://127.0.0.1:4850]
    ///
    /// The agents find it there as well. Environment: AGENT_RELAY_URL.
    #[arg(long, value_name = "URL")]
    relay_url: Option<String>,
    /// The directory in which agents are started here
    ///
    /// Environment: AGENT_RELAY_BASE_DIR.
    #[arg(long, value_name = "DIR")]
    base_dir: Option<PathBuf>,
    /// The orchestrator's id [default: the name of this host]
    ///
    /// Of two daemons of one id the later one wins, and the earlier one ends.
    #[arg(long, value_name = "ID")]
    id: Option<String>,
    /// The directory of this host's own plugins [default: plugins in the data directory]
    ///
    /// Each plugin is a folder in it; changes are noticed while the daemon runs. Its policies are
    /// asked after the relay's. Environment: AGENT_RELAY_PLUGINS.
    #[arg(long, value_name = "DIR")]
    plugins: Option<PathBuf>,
    /// Where the daemon keeps what it needs after its end [default: orchestrator in a relay's data directory]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// The configuration file: plugins, sessions and log, as for `serve` [default: none]
    ///
    /// Environment: AGENT_RELAY_CONFIG.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// A file that holds the token and nothing else
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// The most agents that run here at once
    #[arg(long, value_name = "N", default_value_t = AGENTS, value_parser = clap::value_parser!(u16).range(1..=AGENTS_MAX))]
    max_agents: u16,
    /// Start no agent while less memory than this is available, in MiB; 0 never looks
    #[arg(long, value_name = "MB", default_value_t = 256)]
    min_free_memory: u64,
    /// What is logged [default: info]
    ///
    /// As for `serve`. Environment: AGENT_RELAY_LOG.
    #[arg(long, value_name = "FILTER")]
    log: Option<String>,
}

/// Agents at once unless said otherwise.
const AGENTS: u16 = 64;
/// The most there may be: as many as there are sessions.
const AGENTS_MAX: i64 = SESSIONS_MAX as i64;
/// Where the daemon keeps its own within a relay's data directory.
const WITHIN: &str = "orchestrator";

/// Runs until a signal, or until another daemon takes over.
pub(super) fn run(args: Orchestrator, env: &Environment) -> Result<(), Failure> {
    let address = match &args.relay_url {
        Some(url) => base_url("--relay-url", url)?,
        None => base_url("AGENT_RELAY_URL", env.text("AGENT_RELAY_URL")?.unwrap_or("http://127.0.0.1:4850"))?,
    };
    if args.base_dir.is_none() && env.path("AGENT_RELAY_BASE_DIR").is_none() {
        return Err(Failure::Usage(
            "--base-dir: name the directory in which agents are started here, or set AGENT_RELAY_BASE_DIR".to_owned(),
        ));
    }
    let config = configure(&args, env)?;
    let hostname = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let id = OrchestratorId::required("--id", Some(args.id.clone().unwrap_or_else(|| hostname.clone())))
        .map_err(|refusal| Failure::Usage(refusal.to_string()))?;
    let token = match &args.token_file {
        Some(path) => Some(Secret::read("--token-file", path)?),
        None => config.token.clone(),
    };
    share_arenas();
    telemetry::start_log(&config.log);
    if token.is_some() {
        keep_from_others_of_this_user();
    }
    // Held to the end: it keeps a second daemon away from the same sessions.
    let _data_dir = DataDir::claim(&config.data_dir).map_err(Failure::Other)?;
    let credential = token.map(|token| Credential::parse(token.expose())).transpose()?;
    let client = Client::new(Options { credential, ..Options::new(address.clone()) })?;
    let host = Host {
        roots: vec![resolved(&config.base_dir)],
        home: std::env::home_dir().unwrap_or_else(|| PathBuf::from("/")),
        hostname,
        orchestrator: Some(id.to_string()),
        relay_url: config.spawn.relay_url.clone().filter(|_| args.relay_url.is_none()).unwrap_or(address),
        dry_run: config.spawn.dry_run,
    };
    let limits = Limits { agents: args.max_agents.into(), free_memory_mb: args.min_free_memory };
    let options = orchestrator::Options { id, data_dir: config.data_dir.clone(), limits };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("orchestrator")
        .build()
        .map_err(|error| Failure::Other(format!("failed to start threads: {error}")))?;
    let outcome = runtime.block_on(serve(options, client, host, config));
    runtime.shutdown_timeout(LEFTOVERS);
    outcome
}

async fn serve(options: orchestrator::Options, client: Client, host: Host, config: Config) -> Result<(), Failure> {
    if let Some(directory) = &config.plugins.directory
        && let Err(error) = std::fs::create_dir_all(directory)
    {
        tracing::warn!(%error, path = %directory.display(), "cannot make the plugin directory");
    }
    let failed = |error: &(dyn std::error::Error + 'static)| Failure::Other(causes(error));
    let embedded = plugins::Options { embedded: plugins::EMBEDDED.to_vec(), ..config.plugins };
    let plugins = Plugins::open(embedded).await.map_err(|error| failed(&error))?;
    let sessions = Sessions::open(config.sessions).await.map_err(|error| failed(&error))?;
    let shutdown = CancellationToken::new();
    end_on_signals(shutdown.clone()).map_err(|error| Failure::Other(format!("failed to await signals: {error}")))?;
    let ready = {
        let line = format!("registered as {} at {}", options.id, client.address());
        move || {
            if let Err(Failure::Other(problem)) = print(&line) {
                tracing::warn!("{problem}");
            }
        }
    };
    let launcher = Launcher::new(host, sessions);
    let ran = orchestrator::run(options, client, plugins, launcher, shutdown, ready).await;
    ran.map_err(|error| failed(&error))
}

/// The settings of a relay, of which a daemon needs some, with a data directory of its own.
fn configure(args: &Orchestrator, env: &Environment) -> Result<Config, Failure> {
    let flags = |data_dir: Option<PathBuf>| Flags {
        listen: None,
        data_dir,
        plugins: args.plugins.clone(),
        base_dir: args.base_dir.clone(),
        config: args.config.clone(),
        log: args.log.clone(),
    };
    let config = Config::load(&flags(args.data_dir.clone()), env)?;
    if args.data_dir.is_some() {
        return Ok(config);
    }
    // A relay may run on this host as well.
    Ok(Config::load(&flags(Some(config.data_dir.join(WITHIN))), env)?)
}

/// With every link followed, since agents start where it leads.
fn resolved(path: &Path) -> PathBuf {
    std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())
}
