//! Where plugins come from, and what the operator grants each of them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::ConfigError;
use super::file::File;
use crate::domain::control::PolicyMode;

/// The most plugins one file may speak of.
const PLUGINS_MAX: usize = 256;
/// The longest plugin id, in bytes.
const ID_BYTES_MAX: usize = 64;
/// The most entries in one list of grants.
const GRANTS_MAX: usize = 256;
/// The largest settings of one plugin, in bytes of JSON: they are copied into each call.
const SETTINGS_BYTES_MAX: usize = 64 * 1024;

/// Where plugins come from, and what the operator says about them.
#[derive(Clone, Debug, PartialEq)]
pub struct Plugins {
    /// The watched directory: one folder for each plugin. Absolute.
    pub dir: PathBuf,
    /// Where compiled plugins are kept, a private directory below the data directory.
    pub cache_dir: PathBuf,
    /// Whether a change in `dir` is noticed by itself.
    pub watch: bool,
    /// Policies without which every control request is refused.
    pub required: Vec<String>,
    /// How instances get their memory.
    pub pooling: Pooling,
    /// By plugin id. A plugin that is not named has what its manifest and the defaults say.
    pub overrides: BTreeMap<String, PluginOverride>,
}

/// How plugin instances get their memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Pooling {
    /// From a pool reserved at the start, where the machine has the address space for one.
    #[default]
    Auto,
    /// From the system, for each instance anew.
    Never,
}

/// What the operator says about one plugin; `None` leaves it to the plugin's manifest.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PluginOverride {
    /// Whether it is loaded at all.
    pub enabled: Option<bool>,
    /// Its place among the policies, lowest first.
    pub order: Option<i32>,
    /// Whether its verdicts are obeyed.
    pub mode: Option<PolicyMode>,
    /// What it may use at most.
    pub grants: PluginGrants,
    /// The memory of one call, in MiB.
    pub memory_mb: Option<u32>,
    /// The time of one call, in milliseconds.
    pub deadline_ms: Option<u32>,
    /// Its settings. They replace the manifest's as a whole.
    pub settings: Option<serde_json::Map<String, serde_json::Value>>,
}

/// What the operator lets a plugin use; a plugin has what is both wanted by its manifest and
/// granted here. `None` means nothing was said.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PluginGrants {
    /// Programs its plans may start: names or absolute paths.
    pub executables: Option<Vec<String>>,
    /// Host variables its plans may pass on.
    pub env: Option<Vec<String>>,
    /// Whether its plans may write files into the session's directory.
    pub files: Option<bool>,
}

/// The file's `[plugins]`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct PluginsSection {
    pub(super) dir: Option<String>,
    watch: Option<bool>,
    required: Option<Vec<String>>,
    pooling: Option<Pooling>,
}

/// The file's `[plugin.ID]`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct PluginSection {
    enabled: Option<bool>,
    order: Option<i32>,
    mode: Option<PolicyMode>,
    grants: PluginGrants,
    limits: PluginLimitsSection,
    settings: Option<toml::Table>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct PluginLimitsSection {
    memory_mb: Option<u32>,
    deadline_ms: Option<u32>,
}

impl Plugins {
    pub(super) fn resolve(file: &File, dir: PathBuf, data_dir: &Path) -> Result<Self, ConfigError> {
        let section = &file.settings.plugins;
        let required = section.required.clone().unwrap_or_default();
        if required.len() > PLUGINS_MAX || file.settings.plugin.len() > PLUGINS_MAX {
            return Err(file.error(
                "plugins",
                format!("more than {PLUGINS_MAX} plugins are named"),
            ));
        }
        for id in &required {
            check_id(file, "plugins.required", id)?;
        }
        let mut overrides = BTreeMap::new();
        for (id, section) in &file.settings.plugin {
            let key = format!("plugin.{id}");
            check_id(file, &key, id)?;
            overrides.insert(id.clone(), section.resolve(file, &key)?);
        }
        Ok(Self {
            dir,
            cache_dir: data_dir.join("cache"),
            watch: section.watch.unwrap_or(true),
            required,
            pooling: section.pooling.unwrap_or_default(),
            overrides,
        })
    }
}

impl PluginSection {
    fn resolve(&self, file: &File, key: &str) -> Result<PluginOverride, ConfigError> {
        let bounded = |name: &str, typed: Option<u32>, allowed: std::ops::RangeInclusive<u64>| {
            if let Some(number) = typed {
                file.number(
                    &format!("{key}.limits.{name}"),
                    Some(number.into()),
                    0,
                    allowed,
                )?;
            }
            Ok::<_, ConfigError>(typed)
        };
        let PluginGrants {
            executables, env, ..
        } = &self.grants;
        for (name, list) in [("executables", executables), ("env", env)] {
            if list.as_ref().is_some_and(|list| list.len() > GRANTS_MAX) {
                let key = format!("{key}.grants.{name}");
                return Err(file.error(&key, format!("has more than {GRANTS_MAX} entries")));
            }
        }
        Ok(PluginOverride {
            enabled: self.enabled,
            order: self.order,
            mode: self.mode,
            grants: self.grants.clone(),
            memory_mb: bounded("memory_mb", self.limits.memory_mb, 1..=1_024)?,
            deadline_ms: bounded("deadline_ms", self.limits.deadline_ms, 1..=10_000)?,
            settings: self
                .settings
                .as_ref()
                .map(|table| json_object(file, &format!("{key}.settings"), table))
                .transpose()?,
        })
    }
}

fn check_id(file: &File, key: &str, id: &str) -> Result<(), ConfigError> {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if !id.is_empty() && id.len() <= ID_BYTES_MAX && id.bytes().all(allowed) {
        return Ok(());
    }
    Err(file.error(
        key,
        format!(
            "`{id}` is not a plugin id: 1 to {ID_BYTES_MAX} lower-case letters, digits and hyphens"
        ),
    ))
}

/// Plugins get their settings as JSON, which has no dates: those must be written as strings.
fn json_object(
    file: &File,
    key: &str,
    table: &toml::Table,
) -> Result<serde_json::Map<String, serde_json::Value>, ConfigError> {
    if let Some(problem) = table.values().find_map(not_json) {
        return Err(file.error(key, problem));
    }
    let Ok(serde_json::Value::Object(object)) = serde_json::to_value(table) else {
        return Err(file.error(key, "cannot be written as JSON"));
    };
    let bytes = serde_json::Value::Object(object.clone()).to_string().len();
    if bytes > SETTINGS_BYTES_MAX {
        return Err(file.error(
            key,
            format!("are {bytes} bytes as JSON; allowed are {SETTINGS_BYTES_MAX}"),
        ));
    }
    Ok(object)
}

fn not_json(value: &toml::Value) -> Option<String> {
    match value {
        toml::Value::Datetime(date) => Some(format!("write {date} in quotes: JSON has no dates")),
        toml::Value::Float(number) if !number.is_finite() => {
            Some(format!("{number} is not a number in JSON"))
        }
        toml::Value::Array(values) => values.iter().find_map(not_json),
        toml::Value::Table(table) => table.values().find_map(not_json),
        _ => None,
    }
}
