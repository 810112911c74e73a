//! A credential that does not print.

use std::fmt;
use std::path::Path;

use serde::{Deserialize, Deserializer};

use super::ConfigError;

/// A credential. It can be compared and passed on, but neither printed nor logged.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

/// The longest credential: what fits a header with room to spare.
const SECRET_CHARS_MAX: usize = 1_024;

impl Secret {
    /// Checks a credential, trimmed of white space around it: 1 to 1,024 visible ASCII characters, since it travels
    /// in a header.
    ///
    /// # Errors
    ///
    /// Names `origin`, never the text.
    pub fn parse(origin: &str, text: &str) -> Result<Self, ConfigError> {
        let text = text.trim();
        if text.is_empty() || text.len() > SECRET_CHARS_MAX || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(ConfigError::at(
                origin,
                format!("a token is 1 to {SECRET_CHARS_MAX} visible ASCII characters without spaces"),
            ));
        }
        Ok(Self(text.to_owned()))
    }

    /// Reads a credential from a file that holds nothing else.
    ///
    /// # Errors
    ///
    /// When the file cannot be read or holds something else.
    pub fn read(origin: &str, path: &Path) -> Result<Self, ConfigError> {
        let text = super::file::read_text(path)
            .map_err(|problem| ConfigError::at(origin, format!("{}: {problem}", path.display())))?;
        Self::parse(&format!("{origin} ({})", path.display()), &text)
    }

    /// The credential itself, for the one who must compare or send it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

impl<'de> Deserialize<'de> for Secret {
    /// Takes any value first: serde's own "invalid type" error would print it.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match toml::Value::deserialize(deserializer)? {
            toml::Value::String(text) => Ok(Self(text)),
            other => {
                Err(serde::de::Error::custom(format_args!("a token is a string in quotes, not {}", other.type_str())))
            }
        }
    }
}

/// One secret, or a list of them while one is replaced. Whoever uses them checks them.
#[derive(Debug)]
pub(super) struct Secrets(pub(super) Vec<Secret>);

impl<'de> Deserialize<'de> for Secrets {
    /// As [`Secret`] does.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let secret = |value: toml::Value| match value {
            toml::Value::String(text) => Ok(Secret(text)),
            other => Err(serde::de::Error::custom(format_args!(
                "a secret is a string in quotes, or a list of such strings, and holds no {}",
                other.type_str()
            ))),
        };
        match toml::Value::deserialize(deserializer)? {
            toml::Value::Array(values) => values.into_iter().map(secret).collect::<Result<_, _>>().map(Self),
            value => secret(value).map(|secret| Self(vec![secret])),
        }
    }
}
