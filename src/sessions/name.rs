//! Names of sessions: safe in a path, in tmux and in a log line without any quoting.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The longest a session's name may be, in bytes.
pub const SESSION_NAME_BYTES_MAX: usize = 80;
/// How much of a provider or a label goes into a name.
const PART_BYTES_MAX: usize = 24;
/// What a random ending is made of: nothing that is mistaken for something else when read aloud.
const ENDING_ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";

/// The name of a session: `ar-PROVIDER-SLUG-XXXX`, of small letters, digits and dashes only.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SessionName(String);

/// A text that is no session's name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a session name: {0:?}; names look like ar-claude-docs-x7k2")]
pub struct InvalidSessionName(String);

impl SessionName {
    /// The name that `text` is. Anything a path, tmux or a shell could read otherwise is refused.
    pub fn parse(text: &str) -> Result<Self, InvalidSessionName> {
        let fits = text.len() <= SESSION_NAME_BYTES_MAX
            && text.starts_with("ar-")
            && text.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'));
        if fits {
            Ok(Self(text.to_owned()))
        } else {
            let shown: String = text.chars().take(SESSION_NAME_BYTES_MAX).collect();
            Err(InvalidSessionName(shown))
        }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A new name that says what runs in the session. `random` makes it unlike others of its kind.
    pub(super) fn make(provider: &str, label: &str, random: [u8; 4]) -> Self {
        let ending: String = random.iter().map(|byte| char::from(ENDING_ALPHABET[usize::from(byte % 32)])).collect();
        let parts = ["ar".to_owned(), slug(provider), slug(label), ending];
        let kept: Vec<String> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        Self(kept.join("-"))
    }
}

impl fmt::Display for SessionName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl TryFrom<String> for SessionName {
    type Error = InvalidSessionName;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text)
    }
}

impl From<SessionName> for String {
    fn from(name: SessionName) -> Self {
        name.0
    }
}

/// `text` as small letters and digits with single dashes between the words; empty when it has none.
fn slug(text: &str) -> String {
    let mut slug = String::new();
    for character in text.chars().take(4 * PART_BYTES_MAX) {
        if character.is_ascii_alphanumeric() {
            slug.push(character.to_ascii_lowercase());
        } else if !slug.is_empty() && !slug.ends_with('-') {
            slug.push('-');
        }
    }
    slug.truncate(PART_BYTES_MAX);
    slug.trim_end_matches('-').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_made_name_is_a_name() {
        for (provider, label) in [
            ("claude", "Docs & Tests"),
            ("", ""),
            ("../../etc", "$(rm -rf /);\n\0"),
            ("code x", "žluťoučký 🐎"),
            ("p", &"x".repeat(10_000)),
        ] {
            let name = SessionName::make(provider, label, [0, 31, 32, 255]);
            assert_eq!(SessionName::parse(name.as_str()), Ok(name));
        }
        let name = SessionName::make("claude", "Docs & Tests", [0, 1, 2, 3]);
        assert_eq!(name.as_str(), "ar-claude-docs-tests-abcd");
    }

    #[test]
    fn what_a_path_or_tmux_reads_otherwise_is_refused() {
        for text in ["", "ar", "..", "ar-../x", "ar-x/y", "ar-x:1", "ar-x.0", "ar-X", "ar-x y", "ar-x\n", "=ar-x"] {
            assert!(SessionName::parse(text).is_err(), "{text:?}");
        }
        assert!(SessionName::parse(&format!("ar-{}", "x".repeat(200))).is_err());
    }
}
