//! What was typed, before anybody has judged it, and the one error that judging it can give.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

/// A setting that cannot be used: where it stands, what is wrong, and what is allowed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{origin}: {problem}")]
pub struct ConfigError {
    origin: String,
    problem: String,
}

impl ConfigError {
    /// An error in what stands at `origin`: a flag, a variable, or a file's key.
    pub fn at(origin: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { origin: origin.into(), problem: problem.into() }
    }
}

/// The flags of `serve`, as typed.
#[derive(Clone, Debug, Default)]
pub struct Flags {
    /// `--listen`
    pub listen: Option<String>,
    /// `--data-dir`
    pub data_dir: Option<PathBuf>,
    /// `--plugins`
    pub plugins: Option<PathBuf>,
    /// `--base-dir`
    pub base_dir: Option<PathBuf>,
    /// `--config`
    pub config: Option<PathBuf>,
    /// `--log`
    pub log: Option<String>,
}

/// What the program was started with: its environment variables, and itself. A variable set to
/// nothing counts as not set.
///
/// It is a value, not the process's own environment, so that tests can make one.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    variables: BTreeMap<OsString, OsString>,
    program: PathBuf,
}

impl Environment {
    /// The environment of this process.
    ///
    /// # Errors
    ///
    /// When the system does not tell which program this is.
    pub fn of_process() -> Result<Self, ConfigError> {
        let program = std::env::current_exe()
            .map_err(|error| ConfigError::at("program", format!("its own path is unknown: {error}")))?;
        Ok(Self { program, ..std::env::vars_os().collect() })
    }

    /// The running program, which hosts each session by a process of its own. Empty in an
    /// environment that was put together.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// The variable's value, trimmed.
    ///
    /// # Errors
    ///
    /// When it is not UTF-8.
    pub fn text(&self, name: &str) -> Result<Option<&str>, ConfigError> {
        let Some(value) = self.variables.get(OsStr::new(name)) else {
            return Ok(None);
        };
        match value.to_str() {
            Some(text) => Ok(Some(text.trim()).filter(|text| !text.is_empty())),
            None => Err(ConfigError::at(name, "is not valid UTF-8")),
        }
    }

    /// The variable's value as a path, which need not be UTF-8.
    pub fn path(&self, name: &str) -> Option<&Path> {
        let value = self.variables.get(OsStr::new(name))?;
        (!value.is_empty()).then_some(Path::new(value))
    }
}

impl<K: Into<OsString>, V: Into<OsString>> FromIterator<(K, V)> for Environment {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(variables: I) -> Self {
        let variables = variables.into_iter();
        Self {
            variables: variables.map(|(name, value)| (name.into(), value.into())).collect(),
            program: PathBuf::new(),
        }
    }
}

/// The address of a relay, without a slash at its end so that a path can follow.
///
/// # Errors
///
/// When it is not an `http` or `https` address of a host, or carries a password, which would end
/// up in logs and process lists.
pub fn base_url(origin: &str, text: &str) -> Result<String, ConfigError> {
    let url = reqwest::Url::parse(text)
        .ok()
        .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
        .ok_or_else(|| {
        ConfigError::at(origin, format!("`{text}` is not an address such as http://127.0.0.1:4850"))
    })?;
    if url.password().is_some() || !url.username().is_empty() {
        return Err(ConfigError::at(origin, "holds a name or password; credentials go into AGENT_RELAY_TOKEN"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(ConfigError::at(origin, format!("`{text}` has something after its path; leave it out")));
    }
    Ok(url.as_str().trim_end_matches('/').to_owned())
}
