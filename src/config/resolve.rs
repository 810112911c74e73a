//! From what was typed to what is used: one function for each setting that is more than a number,
//! with its default, its bounds, and the origin to blame.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;

use super::file::{File, Retained, Tmux};
use super::secret::Secrets;
use super::sources::base_url;
use super::{Agents, ConfigError, Environment, Flags, LISTEN_DEFAULT, Limits, Retention, Secret, Spawn};
use crate::domain::message::THREAD_REPLIES_MAX;
use crate::domain::task::callback::address::Allowed;
use crate::jobs::deliver::{self, SigningSecret};
use crate::sessions::TmuxChoice;
use crate::{http, plugins, sessions, telemetry};

/// The longest time a setting may name, in days: ten years is longer than any relay lives.
const DAYS_MAX: u32 = 3_650;
/// The most rows a setting may ask to keep: what SQLite still handles well in one table.
const ROWS_MAX: u32 = 1_000_000_000;
/// The most directories `roots` may name; each is compared with every path that is asked for.
const ROOTS_MAX: usize = 64;
/// The most plugins one file may speak of.
const PLUGINS_MAX: usize = 256;
/// The most networks that callbacks may be allowed; each address is compared with all of them.
const NETWORKS_MAX: usize = 256;
/// The most secrets that callbacks are signed with at once; each adds a signature to every request.
const SECRETS_MAX: usize = 8;
/// The longest plugin id, in bytes.
const PLUGIN_ID_BYTES_MAX: usize = 64;
/// Open connections, unless set otherwise.
pub(crate) const CONNECTIONS: u32 = 10_000;
/// The same from one address.
pub(crate) const CONNECTIONS_PER_ADDRESS: u32 = 9_000;
/// Open event streams.
pub(crate) const STREAMS: u32 = 8_000;
/// Bodies and answers in memory, in MiB.
pub(crate) const BUFFERS_MB: u32 = 64;
/// How long a head may take.
pub(crate) const HEAD_SECONDS: u32 = 30;
/// How long a whole request may take.
pub(crate) const REQUEST_SECONDS: u32 = 60;
/// How long an answer may wait to be taken.
pub(crate) const STALL_SECONDS: u32 = 30;
/// Events of integrations that a caller may send in a minute.
pub(crate) const INTEGRATIONS_PER_MINUTE: u32 = 600;
/// The highest rate a minute may have: more than the relay answers.
const RATE_MAX: u32 = 100_000_000;
/// Replies by agents in a thread within ten minutes.
pub(crate) const THREAD_REPLIES: u32 = 200;
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

pub(super) fn config_path(flags: &Flags, env: &Environment) -> Result<Option<(String, PathBuf)>, ConfigError> {
    path_setting(("--config", &flags.config), ("AGENT_RELAY_CONFIG", env), None)
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

fn absolute(origin: &str, path: &Path) -> Result<PathBuf, ConfigError> {
    std::path::absolute(path).map_err(|error| ConfigError::at(origin, format!("{}: {error}", path.display())))
}

/// The address, with the origin to blame for it. `HOST` and `PORT` each replace their half of
/// what the file says; neither is looked at when the whole address was given.
pub(super) fn listen(flags: &Flags, env: &Environment, file: &File) -> Result<(String, SocketAddr), ConfigError> {
    if let Some(text) = &flags.listen {
        return Ok(("--listen".into(), parse_address("--listen", text)?));
    }
    if let Some(text) = env.text("AGENT_RELAY_LISTEN")? {
        return Ok(("AGENT_RELAY_LISTEN".into(), parse_address("AGENT_RELAY_LISTEN", text)?));
    }
    let mut origin = file.origin("listen");
    let mut address = match &file.settings.listen {
        Some(text) => parse_address(&origin, text)?,
        None => LISTEN_DEFAULT,
    };
    if let Some(port) = env.text("PORT")? {
        address.set_port(port.parse().map_err(|_| {
            ConfigError::at("PORT", format!("`{port}` is not a port; allowed are 0 to 65535, 0 meaning any free one"))
        })?);
    }
    if let Some(host) = env.text("HOST")? {
        origin = "HOST".into();
        address.set_ip(parse_host(host).ok_or_else(|| {
            ConfigError::at(
                "HOST",
                format!("`{host}` is not an IP address or localhost; unset it, or set AGENT_RELAY_LISTEN, which wins over HOST and PORT"),
            )
        })?);
    }
    Ok((origin, address))
}

fn parse_address(origin: &str, text: &str) -> Result<SocketAddr, ConfigError> {
    let local = text.strip_prefix("localhost:").map(|port| format!("127.0.0.1:{port}"));
    local.as_deref().unwrap_or(text).parse().map_err(|_| {
        ConfigError::at(origin, format!("`{text}` is not an address and port, such as {LISTEN_DEFAULT} or [::1]:4850"))
    })
}

fn parse_host(text: &str) -> Option<IpAddr> {
    match text {
        "localhost" => Some(LISTEN_DEFAULT.ip()),
        _ => text.trim_start_matches('[').trim_end_matches(']').parse().ok(),
    }
}

pub(super) fn token(env: &Environment, file: &File) -> Result<Option<Secret>, ConfigError> {
    let settings = &file.settings;
    if settings.token.is_some() && settings.token_file.is_some() {
        return Err(file.error("token_file", "stands beside token; keep one of the two"));
    }
    if let Some(text) = env.text("AGENT_RELAY_TOKEN")? {
        return Secret::parse("AGENT_RELAY_TOKEN", text).map(Some);
    }
    if let Some(token) = &settings.token {
        return Secret::parse(&file.origin("token"), token.expose()).map(Some);
    }
    match file.path("token_file", &settings.token_file)? {
        Some((origin, path)) => Secret::read(&origin, &path).map(Some),
        None => Ok(None),
    }
}

/// The file that [`token`] comes from, where it does.
pub(super) fn token_file(env: &Environment, file: &File) -> Result<Option<PathBuf>, ConfigError> {
    if env.text("AGENT_RELAY_TOKEN")?.is_some() {
        return Ok(None);
    }
    Ok(file.path("token_file", &file.settings.token_file)?.map(|(_, path)| path))
}

pub(super) fn data_dir(flags: &Flags, env: &Environment, file: &File) -> Result<PathBuf, ConfigError> {
    let given = path_setting(
        ("--data-dir", &flags.data_dir),
        ("AGENT_RELAY_DATA_DIR", env),
        file.path("data_dir", &file.settings.data_dir)?,
    )?;
    match given {
        Some((_, path)) => Ok(path),
        None => default_data_dir(env),
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

pub(super) fn base_dir(flags: &Flags, env: &Environment, file: &File) -> Result<PathBuf, ConfigError> {
    let given = path_setting(
        ("--base-dir", &flags.base_dir),
        ("AGENT_RELAY_BASE_DIR", env),
        file.path("base_dir", &file.settings.base_dir)?,
    )?;
    match given {
        Some((_, path)) if path.is_dir() => Ok(path),
        Some((origin, path)) => Err(ConfigError::at(
            origin,
            format!("base directory {} is not a directory; create it or name another", path.display()),
        )),
        None => home(env, "--base-dir"),
    }
}

fn home(env: &Environment, instead: &str) -> Result<PathBuf, ConfigError> {
    match env.path("HOME").filter(|path| path.is_absolute()) {
        Some(home) => Ok(home.to_owned()),
        None => Err(ConfigError::at("HOME", format!("is not an absolute path; set it, or give {instead}"))),
    }
}

pub(super) fn roots(file: &File) -> Result<Vec<PathBuf>, ConfigError> {
    let roots = file.settings.roots.as_deref().unwrap_or_default();
    if roots.len() > ROOTS_MAX {
        return Err(file.error("roots", format!("names {} directories; at most {ROOTS_MAX} are allowed", roots.len())));
    }
    let paths = roots.iter().map(|root| file.resolve("roots", root));
    paths.collect()
}

pub(super) fn agents(file: &File) -> Result<Agents, ConfigError> {
    let typed = &file.settings.agents;
    let offline_after = file.number("agents.offline_after_s", typed.offline_after_s, 90, 5..=86_400)?;
    let prune_after = file.number("agents.prune_after_days", typed.prune_after_days, 7, 1..=DAYS_MAX)?;
    Ok(Agents { offline_after: Duration::from_secs(offline_after.into()), prune_after: days(prune_after) })
}

pub(super) fn command_lifetime(file: &File) -> Result<Duration, ConfigError> {
    let typed = file.settings.commands.lifetime_ms;
    let allowed = 1_000..=86_400_000;
    file.number("commands.lifetime_ms", typed, 600_000, allowed).map(|ms| Duration::from_millis(ms.into()))
}

pub(super) fn retention(
    file: &File,
    section: &str,
    kept: &Retained,
    count: u32,
    age_days: u32,
) -> Result<Retention, ConfigError> {
    Ok(Retention {
        count: file.number(&format!("{section}.keep_count"), kept.keep_count, count, 1_000..=ROWS_MAX)?.into(),
        age: days(file.number(&format!("{section}.keep_days"), kept.keep_days, age_days, 1..=DAYS_MAX)?),
    })
}

pub(super) fn thread_replies(file: &File) -> Result<usize, ConfigError> {
    let typed = file.settings.messages.thread_replies;
    let most = u32::try_from(THREAD_REPLIES_MAX).unwrap_or(u32::MAX);
    file.number("messages.thread_replies", typed, THREAD_REPLIES, 0..=most).map(|replies| replies as usize)
}

pub(super) fn limits(file: &File) -> Result<Limits, ConfigError> {
    let typed = &file.settings.limits;
    let size = |key: &str, typed, default, allowed| {
        let number = file.number(&format!("limits.{key}"), typed, default, allowed)?;
        Ok::<_, ConfigError>(number as usize)
    };
    let seconds = |key: &str, typed, default| {
        let number = file.number(&format!("limits.{key}"), typed, default, 1..=3_600)?;
        Ok::<_, ConfigError>(Duration::from_secs(number.into()))
    };
    let rate = |key: &str, typed, default| file.number(&format!("limits.{key}"), typed, default, 0..=RATE_MAX);
    let connections = size("connections", typed.connections, CONNECTIONS, 8..=1_000_000)?;
    let of_address =
        size("connections_per_address", typed.connections_per_address, CONNECTIONS_PER_ADDRESS, 1..=1_000_000)?;
    Ok(Limits {
        streams: size("streams", typed.streams, STREAMS, 1..=1_000_000)?,
        http: http::Limits {
            connections,
            connections_per_address: of_address.min(connections),
            buffers_bytes: size("buffers_mb", typed.buffers_mb, BUFFERS_MB, 4..=65_536)? << 20,
            head: seconds("head_seconds", typed.head_seconds, HEAD_SECONDS)?,
            request: seconds("request_seconds", typed.request_seconds, REQUEST_SECONDS)?,
            stall: seconds("stall_seconds", typed.stall_seconds, STALL_SECONDS)?,
            integrations_per_minute: rate(
                "integrations_per_minute",
                typed.integrations_per_minute,
                INTEGRATIONS_PER_MINUTE,
            )?,
            requests_per_minute: rate("requests_per_minute", typed.requests_per_minute, 0)?,
        },
        drain: Duration::from_secs(file.number("limits.drain_seconds", typed.drain_seconds, 10, 0..=600)?.into()),
    })
}

pub(super) fn callbacks(file: &File, data_dir: &Path) -> Result<deliver::Options, ConfigError> {
    let typed = &file.settings.callbacks;
    let mut options = deliver::Options::new(data_dir.join(deliver::SECRET_FILE));
    let networks = typed.allow.as_deref().unwrap_or_default();
    if networks.len() > NETWORKS_MAX {
        let problem = format!("names {} networks; at most {NETWORKS_MAX} are allowed", networks.len());
        return Err(file.error("callbacks.allow", problem));
    }
    let network = |text: &String| {
        text.trim().parse::<IpNet>().map_err(|_| {
            let problem = format!("`{text}` is not a network of addresses, such as 127.0.0.1/32 or fd00::/8");
            file.error("callbacks.allow", problem)
        })
    };
    options.allow = Allowed::new(networks.iter().map(network).collect::<Result<_, _>>()?);
    if let Some(Secrets(secrets)) = &typed.secret {
        if !(1..=SECRETS_MAX).contains(&secrets.len()) {
            let problem = format!("is a list of {}; allowed are 1 to {SECRETS_MAX}", secrets.len());
            return Err(file.error("callbacks.secret", problem));
        }
        let secret = |secret: &Secret| {
            SigningSecret::parse(secret.expose()).map_err(|problem| file.error("callbacks.secret", problem))
        };
        options.secrets = secrets.iter().map(secret).collect::<Result<_, _>>()?;
    }
    Ok(options)
}

pub(super) fn plugins(
    flags: &Flags,
    env: &Environment,
    file: &File,
    data_dir: &Path,
) -> Result<plugins::Options, ConfigError> {
    let dir = path_setting(
        ("--plugins", &flags.plugins),
        ("AGENT_RELAY_PLUGINS", env),
        file.path("plugins.dir", &file.settings.plugins.dir)?,
    )?;
    let section = &file.settings.plugins;
    let required = section.required.clone().unwrap_or_default();
    if required.len().max(file.settings.plugin.len()) > PLUGINS_MAX {
        return Err(file.error("plugins", format!("more than {PLUGINS_MAX} plugins are named")));
    }
    for id in &required {
        check_plugin_id(file, "plugins.required", id)?;
    }
    for (id, plugin) in &file.settings.plugin {
        let key = format!("plugin.{id}");
        check_plugin_id(file, &key, id)?;
        if let Some(public_key) = &plugin.public_key {
            plugins::check_public_key(public_key)
                .map_err(|problem| file.error(&format!("{key}.public_key"), format!("`{public_key}` {problem}")))?;
        }
        for (name, typed, max) in [
            ("memory_mb", plugin.limits.memory_mb, plugins::MEMORY_MB_MAX),
            ("deadline_ms", plugin.limits.deadline_ms, plugins::DEADLINE_MS_MAX),
            ("log_lines", plugin.limits.log_lines, plugins::LOG_LINES_MAX),
            ("input_kb", plugin.limits.input_kb, plugins::INPUT_KB_MAX),
            ("output_kb", plugin.limits.output_kb, plugins::OUTPUT_KB_MAX),
            ("calls", plugin.limits.calls, plugins::CALLS_MAX),
        ] {
            let key = format!("{key}.limits.{name}");
            file.number(&key, typed.map(i64::from), 1, 1..=max)?;
        }
    }
    Ok(plugins::Options {
        directory: Some(dir.map_or_else(|| data_dir.join("plugins"), |(_, path)| path)),
        cache_directory: data_dir.join("cache"),
        state_directory: Some(data_dir.join("plugin-state")),
        limits: plugins::Limits::default(),
        pauses: plugins::Pauses::default(),
        plugins: file.settings.plugin.clone(),
        required,
        watch: section.watch.unwrap_or(true),
        embedded: Vec::new(),
    })
}

fn check_plugin_id(file: &File, key: &str, id: &str) -> Result<(), ConfigError> {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if !id.is_empty() && id.len() <= PLUGIN_ID_BYTES_MAX && id.bytes().all(allowed) {
        return Ok(());
    }
    Err(file.error(
        key,
        format!("`{id}` is not a plugin id: 1 to {PLUGIN_ID_BYTES_MAX} lower-case letters, digits and hyphens"),
    ))
}

pub(super) fn sessions(env: &Environment, file: &File, data_dir: &Path) -> sessions::Options {
    sessions::Options {
        directory: data_dir.join("sessions"),
        tmux: match file.settings.spawn.tmux {
            None | Some(Tmux::Auto) => TmuxChoice::Auto,
            Some(Tmux::Never) => TmuxChoice::Never,
        },
        host_program: env.program().to_owned(),
    }
}

pub(super) fn spawn(env: &Environment, file: &File) -> Result<Spawn, ConfigError> {
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
        Some((file.origin("spawn.relay_url"), url.as_str()))
    } else {
        env.text("AGENT_RELAY_URL")?.map(|url| ("AGENT_RELAY_URL".into(), url))
    };
    Ok(Spawn { dry_run, relay_url: relay_url.map(|(origin, url): (String, _)| base_url(&origin, url)).transpose()? })
}

pub(super) fn log(flags: &Flags, env: &Environment, file: &File) -> Result<telemetry::Options, ConfigError> {
    let typed = &file.settings.log;
    let (origin, filter) = if let Some(filter) = &flags.log {
        ("--log".into(), filter.as_str())
    } else if let Some(filter) = env.text("AGENT_RELAY_LOG")? {
        ("AGENT_RELAY_LOG".into(), filter)
    } else {
        (file.origin("log.level"), typed.level.as_deref().unwrap_or("info"))
    };
    let filter = telemetry::Filter::parse(filter).map_err(|error| ConfigError::at(origin, error.to_string()))?;
    Ok(telemetry::Options { filter, format: typed.format.unwrap_or_default() })
}

fn days(count: u32) -> Duration {
    DAY * count
}
