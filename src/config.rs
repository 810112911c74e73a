//! What the operator decided: flags, then the environment, then the file, then defaults.
//!
//! Configuration happens in two steps. What was typed is kept as it was typed ([`Flags`],
//! [`Environment`], and the file); [`Config::load`] turns it once into final types, and every
//! bound is checked there. Only the command line and `lib.rs` read a [`Config`]: a module that
//! has settings declares its own options, which are filled from here.

mod file;
mod plugin;
mod secret;
mod sources;

#[cfg(test)]
mod tests;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use file::{File, Retained};
pub use plugin::{PluginGrants, PluginOverride, Plugins, Pooling};
pub use secret::Secret;
pub use sources::{ConfigError, Environment, Flags, base_url};

use crate::telemetry;

/// Where the relay listens unless told otherwise.
pub const LISTEN_DEFAULT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 4850);

/// The longest time a setting may name, in days: ten years is longer than any relay lives.
const DAYS_MAX: u64 = 3_650;
/// The most rows a setting may ask to keep: what SQLite still handles well in one table.
const ROWS_MAX: u64 = 1_000_000_000;
/// The most directories `roots` may name; each is compared with every path that is asked for.
const ROOTS_MAX: usize = 64;
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Every setting, checked and in its final type.
#[derive(Clone, Debug, PartialEq)]
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
    /// When silent agents count as gone.
    pub agents: Agents,
    /// How much of the event stream can be replayed.
    pub events: Retention,
    /// How long messages are kept.
    pub messages: Retention,
    /// How long a control command waits for the one it is addressed to.
    pub command_lifetime: Duration,
    /// What the relay takes on at once.
    pub limits: Limits,
    /// Where plugins come from and what the operator grants them.
    pub plugins: Plugins,
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
    /// Open connections.
    pub connections: usize,
    /// Open event streams.
    pub streams: usize,
    /// Requests being answered, without event streams and long polls.
    pub requests: usize,
    /// Events queued for one stream before it is fed from the store instead.
    pub stream_queue: usize,
    /// Writes waiting for the database.
    pub write_queue: usize,
    /// How long open requests and streams have to end at shutdown.
    pub drain: Duration,
}

/// How the relay's own host starts agents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spawn {
    /// Whether sessions may run in tmux.
    pub tmux: Tmux,
    /// Plan and record, but start nothing.
    pub dry_run: bool,
    /// The address started agents are given; `None` is the one the relay listens on.
    pub relay_url: Option<String>,
}

/// Whether sessions may run in tmux.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tmux {
    /// Wherever tmux is installed.
    #[default]
    Auto,
    /// Never: sessions run detached, with a log and nothing to attach to.
    Never,
}

impl Config {
    /// Reads the file, if one is named, and resolves every setting.
    ///
    /// # Errors
    ///
    /// Names the first flag, variable or key that cannot be used, and what is allowed.
    pub fn load(flags: &Flags, env: &Environment) -> Result<Self, ConfigError> {
        let file = match config_path(flags, env)? {
            Some((place, path)) => File::read(&place, &path, env)?,
            None => File::default(),
        };
        let (listen_place, listen) = listen(flags, env, &file)?;
        let token = token(env, &file)?;
        if token.is_none() && !listen.ip().to_canonical().is_loopback() {
            return Err(ConfigError::at(
                listen_place,
                format!(
                    "{listen} can be reached from other machines, which needs a token: set \
                     AGENT_RELAY_TOKEN (or token_file in the configuration), or listen on 127.0.0.1"
                ),
            ));
        }
        let data_dir = match path_setting(
            ("--data-dir", &flags.data_dir),
            ("AGENT_RELAY_DATA_DIR", env),
            file.path("data_dir", &file.settings.data_dir)?,
        )? {
            Some((_, path)) => path,
            None => default_data_dir(env)?,
        };
        let base_dir = base_dir(flags, env, &file)?;
        let plugins_dir = path_setting(
            ("--plugins", &flags.plugins),
            ("AGENT_RELAY_PLUGINS", env),
            file.path("plugins.dir", &file.settings.plugins.dir)?,
        )?
        .map_or_else(|| data_dir.join("plugins"), |(_, path)| path);

        let agents = &file.settings.agents;
        let offline_after = file.number(
            "agents.offline_after_s",
            agents.offline_after_s,
            90,
            5..=86_400,
        )?;
        let prune_after = file.number(
            "agents.prune_after_days",
            agents.prune_after_days,
            7,
            1..=DAYS_MAX,
        )?;
        let lifetime = file.number(
            "commands.lifetime_ms",
            file.settings.commands.lifetime_ms,
            600_000,
            1_000..=86_400_000,
        )?;
        Ok(Self {
            listen,
            base_dir,
            roots: roots(&file)?,
            token,
            agents: Agents {
                offline_after: Duration::from_secs(offline_after),
                prune_after: days(prune_after),
            },
            events: retention(&file, "events", &file.settings.events, 1_000_000, 7)?,
            messages: retention(&file, "messages", &file.settings.messages, 10_000_000, 365)?,
            command_lifetime: Duration::from_millis(lifetime),
            limits: limits(&file)?,
            plugins: Plugins::resolve(&file, plugins_dir, &data_dir)?,
            spawn: spawn(env, &file)?,
            log: log(flags, env, &file)?,
            data_dir,
        })
    }
}

fn config_path(flags: &Flags, env: &Environment) -> Result<Option<(String, PathBuf)>, ConfigError> {
    path_setting(
        ("--config", &flags.config),
        ("AGENT_RELAY_CONFIG", env),
        None,
    )
}

/// A path from the first of its three sources that names one, made absolute, with where it came
/// from.
fn path_setting(
    (flag, typed): (&'static str, &Option<PathBuf>),
    (variable, env): (&'static str, &Environment),
    in_file: Option<(String, PathBuf)>,
) -> Result<Option<(String, PathBuf)>, ConfigError> {
    if let Some(path) = typed {
        return Ok(Some((flag.into(), absolute(flag, path)?)));
    }
    if let Some(path) = env.path(variable) {
        return Ok(Some((variable.into(), absolute(variable, path)?)));
    }
    Ok(in_file)
}

fn absolute(place: &str, path: &Path) -> Result<PathBuf, ConfigError> {
    std::path::absolute(path)
        .map_err(|error| ConfigError::at(place, format!("{}: {error}", path.display())))
}

/// The address, with the place to blame for it. `HOST` and `PORT` each replace their half of
/// what the file says; neither is looked at when the whole address was given.
fn listen(
    flags: &Flags,
    env: &Environment,
    file: &File,
) -> Result<(String, SocketAddr), ConfigError> {
    if let Some(text) = &flags.listen {
        return Ok(("--listen".into(), parse_address("--listen", text)?));
    }
    if let Some(text) = env.text("AGENT_RELAY_LISTEN")? {
        return Ok((
            "AGENT_RELAY_LISTEN".into(),
            parse_address("AGENT_RELAY_LISTEN", text)?,
        ));
    }
    let mut place = file.place("listen");
    let mut address = match &file.settings.listen {
        Some(text) => parse_address(&place, text)?,
        None => LISTEN_DEFAULT,
    };
    if let Some(port) = env.text("PORT")? {
        address.set_port(port.parse().map_err(|_| {
            ConfigError::at(
                "PORT",
                format!("`{port}` is not a port; allowed are 0 to 65535, 0 meaning any free one"),
            )
        })?);
    }
    if let Some(host) = env.text("HOST")? {
        place = "HOST".into();
        address.set_ip(parse_host(host).ok_or_else(|| {
            ConfigError::at(
                "HOST",
                format!("`{host}` is not an IP address or localhost; unset it, or set AGENT_RELAY_LISTEN, which wins over HOST and PORT"),
            )
        })?);
    }
    Ok((place, address))
}

fn parse_address(place: &str, text: &str) -> Result<SocketAddr, ConfigError> {
    let local = text
        .strip_prefix("localhost:")
        .map(|port| format!("127.0.0.1:{port}"));
    local.as_deref().unwrap_or(text).parse().map_err(|_| {
        ConfigError::at(
            place,
            format!("`{text}` is not an address and port, such as {LISTEN_DEFAULT} or [::1]:4850"),
        )
    })
}

fn parse_host(text: &str) -> Option<IpAddr> {
    match text {
        "localhost" => Some(LISTEN_DEFAULT.ip()),
        _ => text
            .trim_start_matches('[')
            .trim_end_matches(']')
            .parse()
            .ok(),
    }
}

fn token(env: &Environment, file: &File) -> Result<Option<Secret>, ConfigError> {
    let settings = &file.settings;
    if settings.token.is_some() && settings.token_file.is_some() {
        return Err(file.error("token_file", "stands beside token; keep one of the two"));
    }
    if let Some(text) = env.text("AGENT_RELAY_TOKEN")? {
        return Secret::parse("AGENT_RELAY_TOKEN", text).map(Some);
    }
    if let Some(token) = &settings.token {
        return Secret::parse(&file.place("token"), token.expose()).map(Some);
    }
    match file.path("token_file", &settings.token_file)? {
        Some((place, path)) => Secret::read(&place, &path).map(Some),
        None => Ok(None),
    }
}

/// The data directory of somebody who did not choose one, as the XDG base directories say: a
/// relative `XDG_DATA_HOME` counts as none.
fn default_data_dir(env: &Environment) -> Result<PathBuf, ConfigError> {
    match env.path("XDG_DATA_HOME").filter(|path| path.is_absolute()) {
        Some(data_home) => Ok(data_home.join("agent-relay")),
        None => Ok(home(env, "--data-dir")?.join(".local/share/agent-relay")),
    }
}

fn base_dir(flags: &Flags, env: &Environment, file: &File) -> Result<PathBuf, ConfigError> {
    let given = path_setting(
        ("--base-dir", &flags.base_dir),
        ("AGENT_RELAY_BASE_DIR", env),
        file.path("base_dir", &file.settings.base_dir)?,
    )?;
    match given {
        Some((_, path)) if path.is_dir() => Ok(path),
        Some((place, path)) => Err(ConfigError::at(
            place,
            format!(
                "base directory {} is not a directory; create it or name another",
                path.display()
            ),
        )),
        None => home(env, "--base-dir"),
    }
}

fn home(env: &Environment, instead: &str) -> Result<PathBuf, ConfigError> {
    match env.path("HOME").filter(|path| path.is_absolute()) {
        Some(home) => Ok(home.to_owned()),
        None => Err(ConfigError::at(
            "HOME",
            format!("is not an absolute path; set it, or give {instead}"),
        )),
    }
}

fn roots(file: &File) -> Result<Vec<PathBuf>, ConfigError> {
    let roots = file.settings.roots.as_deref().unwrap_or_default();
    if roots.len() > ROOTS_MAX {
        return Err(file.error(
            "roots",
            format!(
                "names {} directories; at most {ROOTS_MAX} are allowed",
                roots.len()
            ),
        ));
    }
    let paths = roots.iter().map(|root| file.resolve("roots", root));
    paths.collect()
}

fn retention(
    file: &File,
    section: &str,
    kept: &Retained,
    count: u64,
    age_days: u64,
) -> Result<Retention, ConfigError> {
    Ok(Retention {
        count: file.number(
            &format!("{section}.keep_count"),
            kept.keep_count,
            count,
            1_000..=ROWS_MAX,
        )?,
        age: days(file.number(
            &format!("{section}.keep_days"),
            kept.keep_days,
            age_days,
            1..=DAYS_MAX,
        )?),
    })
}

fn limits(file: &File) -> Result<Limits, ConfigError> {
    let typed = &file.settings.limits;
    let size = |key: &str, typed, default, allowed| {
        let number = file.number(&format!("limits.{key}"), typed, default, allowed)?;
        Ok(usize::try_from(number).unwrap_or(usize::MAX))
    };
    Ok(Limits {
        connections: size("connections", typed.connections, 10_000, 8..=1_000_000)?,
        streams: size("streams", typed.streams, 8_000, 1..=1_000_000)?,
        requests: size("requests", typed.requests, 1_024, 1..=100_000)?,
        stream_queue: size("stream_queue", typed.stream_queue, 256, 1..=65_536)?,
        write_queue: size("write_queue", typed.write_queue, 4_096, 1..=65_536)?,
        drain: Duration::from_secs(file.number(
            "limits.drain_seconds",
            typed.drain_seconds,
            10,
            0..=600,
        )?),
    })
}

fn spawn(env: &Environment, file: &File) -> Result<Spawn, ConfigError> {
    let typed = &file.settings.spawn;
    let dry_run = match env.text("AGENT_RELAY_SPAWN_DRY_RUN")? {
        Some("1") => true,
        Some("0") => false,
        Some(other) => {
            return Err(ConfigError::at(
                "AGENT_RELAY_SPAWN_DRY_RUN",
                format!("`{other}` is neither 1 (start nothing) nor 0"),
            ));
        }
        None => typed.dry_run.unwrap_or(false),
    };
    // AGENT_RELAY_URL says where clients find a relay, so it is only a guess at where this one is.
    let relay_url = if let Some(url) = env.text("AGENT_RELAY_SPAWN_RELAY_URL")? {
        Some(("AGENT_RELAY_SPAWN_RELAY_URL".into(), url))
    } else if let Some(url) = &typed.relay_url {
        Some((file.place("spawn.relay_url"), url.as_str()))
    } else {
        env.text("AGENT_RELAY_URL")?
            .map(|url| ("AGENT_RELAY_URL".into(), url))
    };
    Ok(Spawn {
        tmux: typed.tmux.unwrap_or_default(),
        dry_run,
        relay_url: relay_url
            .map(|(place, url): (String, _)| sources::base_url(&place, url))
            .transpose()?,
    })
}

fn log(flags: &Flags, env: &Environment, file: &File) -> Result<telemetry::Options, ConfigError> {
    let typed = &file.settings.log;
    let (place, filter) = if let Some(filter) = &flags.log {
        ("--log".into(), filter.as_str())
    } else if let Some(filter) = env.text("AGENT_RELAY_LOG")? {
        ("AGENT_RELAY_LOG".into(), filter)
    } else {
        (
            file.place("log.level"),
            typed.level.as_deref().unwrap_or("info"),
        )
    };
    let filter = telemetry::Filter::parse(filter)
        .map_err(|error| ConfigError::at(place, error.to_string()))?;
    Ok(telemetry::Options {
        filter,
        format: typed.format.unwrap_or_default(),
    })
}

fn days(count: u64) -> Duration {
    DAY * u32::try_from(count).unwrap_or(u32::MAX)
}
