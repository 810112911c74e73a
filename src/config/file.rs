//! The configuration file: its shape, and reading it.

use std::collections::BTreeMap;
use std::io::Read;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::integrations::Sections;
use super::secret::Secrets;
use super::{ConfigError, Environment, Secret};
use crate::plugins::PluginConfig;
use crate::telemetry::LogFormat;

/// The largest file that is read: far more than any configuration, and not a device that never
/// ends.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// A configuration file as it was read, and where from.
#[derive(Debug, Default)]
pub(super) struct File {
    path: PathBuf,
    /// What `~/` at the beginning of a path stands for.
    home: Option<PathBuf>,
    pub(super) settings: Settings,
}

/// The keys of the file. Everything is optional; defaults are decided where sources meet.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Settings {
    pub(super) listen: Option<String>,
    pub(super) data_dir: Option<String>,
    pub(super) base_dir: Option<String>,
    pub(super) roots: Option<Vec<String>>,
    pub(super) token: Option<Secret>,
    pub(super) token_file: Option<String>,
    pub(super) agents: AgentsSection,
    pub(super) events: Retained,
    pub(super) messages: MessagesSection,
    pub(super) commands: CommandsSection,
    pub(super) limits: LimitsSection,
    pub(super) integrations: Sections,
    pub(super) callbacks: CallbacksSection,
    pub(super) plugins: PluginsSection,
    pub(super) plugin: BTreeMap<String, PluginConfig>,
    pub(super) spawn: SpawnSection,
    pub(super) log: LogSection,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct AgentsSection {
    pub(super) offline_after_s: Option<i64>,
    pub(super) prune_after_days: Option<i64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Retained {
    pub(super) keep_count: Option<i64>,
    pub(super) keep_days: Option<i64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct MessagesSection {
    pub(super) keep_count: Option<i64>,
    pub(super) keep_days: Option<i64>,
    pub(super) thread_replies: Option<i64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct CommandsSection {
    pub(super) lifetime_ms: Option<i64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct LimitsSection {
    pub(super) connections: Option<i64>,
    pub(super) connections_per_address: Option<i64>,
    pub(super) buffers_mb: Option<i64>,
    pub(super) head_seconds: Option<i64>,
    pub(super) request_seconds: Option<i64>,
    pub(super) stall_seconds: Option<i64>,
    pub(super) integrations_per_minute: Option<i64>,
    pub(super) requests_per_minute: Option<i64>,
    pub(super) streams: Option<i64>,
    pub(super) drain_seconds: Option<i64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct CallbacksSection {
    pub(super) allow: Option<Vec<String>>,
    pub(super) secret: Option<Secrets>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct PluginsSection {
    pub(super) dir: Option<String>,
    pub(super) watch: Option<bool>,
    pub(super) required: Option<Vec<String>>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Tmux {
    Auto,
    Never,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct SpawnSection {
    pub(super) tmux: Option<Tmux>,
    pub(super) dry_run: Option<bool>,
    pub(super) relay_url: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct LogSection {
    pub(super) format: Option<LogFormat>,
    pub(super) level: Option<String>,
}

impl MessagesSection {
    pub(super) fn kept(&self) -> Retained {
        Retained { keep_count: self.keep_count, keep_days: self.keep_days }
    }
}

impl File {
    /// Reads the file that `origin` (a flag or a variable) named.
    pub(super) fn read(origin: &str, path: &Path, env: &Environment) -> Result<Self, ConfigError> {
        let text =
            read_text(path).map_err(|problem| ConfigError::at(origin, format!("{}: {problem}", path.display())))?;
        Ok(Self { settings: parse(path, &text)?, path: path.to_owned(), home: env.path("HOME").map(Path::to_owned) })
    }

    /// How an error names one of this file's keys.
    pub(super) fn origin(&self, key: &str) -> String {
        if self.path.as_os_str().is_empty() {
            return key.to_owned();
        }
        format!("{}: {key}", self.path.display())
    }

    pub(super) fn error(&self, key: &str, problem: impl Into<String>) -> ConfigError {
        ConfigError::at(self.origin(key), problem)
    }

    /// A number within its bounds, or its default. Signed, so that a negative one gets the same
    /// answer as any other that is out of bounds.
    pub(super) fn number(
        &self,
        key: &str,
        typed: Option<i64>,
        default: u32,
        allowed: RangeInclusive<u32>,
    ) -> Result<u32, ConfigError> {
        let number = typed.unwrap_or(default.into());
        let known = u32::try_from(number).ok().filter(|number| allowed.contains(number));
        known.ok_or_else(|| {
            let (least, most) = (allowed.start(), allowed.end());
            self.error(key, format!("{number} is out of bounds; allowed are {least} to {most}"))
        })
    }

    /// A path of this file, see [`Self::resolve`], with its origin.
    pub(super) fn path(&self, key: &str, typed: &Option<String>) -> Result<Option<(String, PathBuf)>, ConfigError> {
        let Some(text) = typed else { return Ok(None) };
        Ok(Some((self.origin(key), self.resolve(key, text)?)))
    }

    /// A path as the file means it: `~/` is the home directory, and a relative path starts where
    /// the file lies, so that the file means the same from wherever the relay is started.
    pub(super) fn resolve(&self, key: &str, text: &str) -> Result<PathBuf, ConfigError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(self.error(key, "is empty; leave the key out or name a path"));
        }
        if text != "~" && !text.starts_with("~/") {
            return Ok(self.path.parent().unwrap_or(Path::new("/")).join(text));
        }
        match &self.home {
            Some(home) if text == "~" => Ok(home.clone()),
            Some(home) => Ok(home.join(&text[2..])),
            None => Err(self.error(key, format!("`{text}` needs HOME to be set; name an absolute path"))),
        }
    }
}

/// Reads a small text file.
pub(super) fn read_text(path: &Path) -> Result<String, String> {
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(|error| error.to_string())?;
    file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text).map_err(|error| error.to_string())?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(format!("is larger than {FILE_BYTES_MAX} bytes"));
    }
    Ok(text)
}

/// The error names line, column and key. It does not quote the line, which may hold a token.
fn parse(path: &Path, text: &str) -> Result<Settings, ConfigError> {
    let refused = |key: &str, error: &toml::de::Error| {
        let before = &text[..error.span().map_or(0, |span| span.start.min(text.len()))];
        let line = before.matches('\n').count() + 1;
        let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
        let mut problem = error.message().replace("unknown field", "unknown key").replace('\n', " ");
        if !key.is_empty() && !problem.starts_with("unknown key") {
            problem.insert_str(0, &format!("{key}: "));
        }
        ConfigError::at(format!("{}:{line}:{column}", path.display()), problem)
    };
    let document = toml::Deserializer::parse(text).map_err(|error| refused("", &error))?;
    serde_path_to_error::deserialize(document).map_err(|error| {
        let key = error.path().to_string();
        refused(&key, error.inner())
    })
}
