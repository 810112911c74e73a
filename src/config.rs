//! What the operator decided: flags, then the environment, then the file, then defaults.
//!
//! Configuration happens in two steps. What was typed is kept as it was typed ([`Flags`],
//! [`Environment`], and the file); [`Config::load`] turns it once into final types, and every
//! bound is checked there. Only the command line and `lib.rs` read a [`Config`]: a module that
//! has settings declares its own options, which are filled from here.

mod beside;
mod file;
mod integrations;
mod resolve;
mod secret;
mod sources;

#[cfg(test)]
mod tests;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

pub use beside::Beside;
use file::File;
pub(crate) use resolve::{
    BUFFERS_MB, CONNECTIONS, CONNECTIONS_PER_ADDRESS, HEAD_SECONDS, INTEGRATIONS_PER_MINUTE, REQUEST_SECONDS,
    STALL_SECONDS, STREAMS, THREAD_REPLIES,
};
pub use secret::Secret;
pub use sources::{ConfigError, Environment, Flags, base_url};

use crate::domain::integration::Integrations;
use crate::jobs::deliver;
use crate::{http, plugins, sessions, telemetry};

/// Where the relay listens unless told otherwise.
pub const LISTEN_DEFAULT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 4850);

/// Every setting, checked and in its final type.
#[derive(Clone, Debug)]
pub struct Config {
    /// The address to bind; port 0 lets the system choose.
    pub listen: SocketAddr,
    /// Where the relay keeps its database, plugins, sessions and cache. Absolute.
    pub data_dir: PathBuf,
    /// The directory in which the relay's own host starts agents, and above which nobody may look.
    /// Absolute.
    pub base_dir: PathBuf,
    /// Directories besides `base_dir` in which agents may be started. Absolute, at most 64.
    pub roots: Vec<PathBuf>,
    /// The administrator's credential. Always present when `listen` is not a loopback address.
    pub token: Option<Secret>,
    /// The file that the credential was read from, where it was. Absolute.
    pub token_file: Option<PathBuf>,
    /// When silent agents count as gone.
    pub agents: Agents,
    /// How much of the event stream can be replayed.
    pub events: Retention,
    /// How long messages are kept.
    pub messages: Retention,
    /// Replies by agents that a thread may have within ten minutes; 0 is no limit.
    pub thread_replies: usize,
    /// How long a control command waits for the one it is addressed to.
    pub command_lifetime: Duration,
    /// What the relay takes on at once.
    pub limits: Limits,
    /// The integrations whose events are signed, with their secrets: at most 64.
    pub integrations: Integrations,
    /// Where callbacks may go, and what they are signed with.
    pub callbacks: deliver::Options,
    /// Where plugins come from and what the operator says about them, without those in the
    /// binary, which `lib.rs` adds.
    pub plugins: plugins::Options,
    /// Where and how agent processes run on this host.
    pub sessions: sessions::Options,
    /// How the relay's own host starts agents.
    pub spawn: Spawn,
    /// What is logged, and how.
    pub log: telemetry::Options,
}

/// When silent agents count as gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agents {
    /// Silence after which an agent is set offline.
    pub offline_after: Duration,
    /// Time offline after which an agent is forgotten.
    pub prune_after: Duration,
}

/// How much of something is kept; whichever bound is reached first counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retention {
    /// The most rows kept.
    pub count: u64,
    /// The oldest row kept.
    pub age: Duration,
}

/// What the relay takes on at once. Beyond a limit it refuses or makes wait; it never grows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Open event streams.
    pub streams: usize,
    /// What connections may take up.
    pub http: http::Limits,
    /// How long open requests and streams have to end at shutdown.
    pub drain: Duration,
}

/// How the relay's own host starts agents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spawn {
    /// Plan and record, but start nothing.
    pub dry_run: bool,
    /// The address started agents are given; `None` is the one the relay listens on.
    pub relay_url: Option<String>,
}

impl Config {
    /// Reads the file, if one is named, and resolves every setting.
    ///
    /// # Errors
    ///
    /// Names the first flag, variable or key that cannot be used, and what is allowed.
    pub fn load(flags: &Flags, env: &Environment) -> Result<Self, ConfigError> {
        let file = match resolve::config_path(flags, env)? {
            Some((origin, path)) => File::read(&origin, &path, env)?,
            None => File::default(),
        };
        let (listen_place, listen) = resolve::listen(flags, env, &file)?;
        let token = resolve::token(env, &file)?;
        if token.is_none() && !listen.ip().to_canonical().is_loopback() {
            return Err(ConfigError::at(
                listen_place,
                format!(
                    "{listen} can be reached from other machines, which needs a token: set \
                     AGENT_RELAY_TOKEN (or token_file in the configuration), or listen on 127.0.0.1"
                ),
            ));
        }
        let data_dir = resolve::data_dir(flags, env, &file)?;
        Ok(Self {
            listen,
            base_dir: resolve::base_dir(flags, env, &file)?,
            roots: resolve::roots(&file)?,
            token_file: resolve::token_file(env, &file)?,
            token,
            agents: resolve::agents(&file)?,
            events: resolve::retention(&file, "events", &file.settings.events, 1_000_000, 7)?,
            messages: resolve::retention(&file, "messages", &file.settings.messages.kept(), 10_000_000, 365)?,
            thread_replies: resolve::thread_replies(&file)?,
            command_lifetime: resolve::command_lifetime(&file)?,
            limits: resolve::limits(&file)?,
            integrations: integrations::resolve(&file, &file.settings.integrations)?,
            callbacks: resolve::callbacks(&file, &data_dir)?,
            plugins: resolve::plugins(flags, env, &file, &data_dir)?,
            sessions: resolve::sessions(env, &file, &data_dir),
            spawn: resolve::spawn(env, &file)?,
            log: resolve::log(flags, env, &file)?,
            data_dir,
        })
    }
}
