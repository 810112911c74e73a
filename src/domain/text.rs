//! Bounds of text and lists, checked once at the edge.
//!
//! Bounds count Unicode characters unless they say bytes. Short texts are trimmed, and empty counts
//! as absent; bodies and prompts are kept as they are, because leading spaces and last newlines of
//! code and patches matter.

pub mod hex;
pub mod json;
pub mod media;
pub mod path;
pub mod visible;
pub mod word;

use super::refusal::Refusal;

/// The most entries in a list of tags or capabilities.
pub const LIST_MAX: usize = 64;
/// The longest tag, capability, label or name.
pub const WORD_MAX: usize = 120;
/// The longest agent id, and of what is as long as one.
pub const ID_MAX: usize = 240;
/// The longest target of a message.
pub const TARGET_MAX: usize = 300;
/// The longest idempotency key.
pub const KEY_MAX: usize = 200;
/// The longest path.
pub const PATH_MAX: usize = 500;
/// The largest `meta`, in bytes of its JSON.
pub const META_BYTES_MAX: usize = 16 * 1024;
/// The largest body of a message, in bytes.
pub const BODY_BYTES_MAX: usize = 256 * 1024;

/// A tag, a capability, or the like.
#[derive(utoipa::ToSchema)]
#[schema(as = Word, value_type = String, max_length = 120)]
#[expect(dead_code, reason = "describes the entries of a list")]
pub struct WordSchema(String);

/// A short text: trimmed, absent when empty.
pub fn optional(field: &str, value: Option<String>, max: usize) -> Result<Option<String>, Refusal> {
    let Some(value) = value else { return Ok(None) };
    let trimmed = value.trim();
    if trimmed.is_empty() {
        return Ok(None);
    }
    if trimmed.chars().nth(max).is_some() {
        return Err(Refusal::invalid(format!("{field} must have at most {max} characters")));
    }
    if let Some(control) = trimmed.chars().find(|c| c.is_control()) {
        return Err(Refusal::invalid(format!(
            "{field} must not contain control characters, found {}",
            control.escape_unicode()
        )));
    }
    if trimmed.len() == value.len() { Ok(Some(value)) } else { Ok(Some(trimmed.to_owned())) }
}

/// A short text that must be there. The message is the one that clients of this protocol know.
pub fn required(field: &str, value: Option<String>, max: usize) -> Result<String, Refusal> {
    optional(field, value, max)?.ok_or_else(|| Refusal::invalid(format!("{field} required")))
}

/// An id: a short text that can stand in a path and looks like what it is.
pub fn id(field: &str, value: Option<String>, max: usize) -> Result<Option<String>, Refusal> {
    let id = optional(field, value, max)?;
    match id.as_deref() {
        Some("." | "..") => Err(Refusal::invalid(format!("{field} must not be \".\" or \"..\""))),
        Some(text) => match text.chars().find(|c| is_invisible(*c)) {
            Some(hidden) => Err(Refusal::invalid(format!(
                "{field} must not contain invisible characters, found {}",
                hidden.escape_unicode()
            ))),
            None => Ok(id),
        },
        None => Ok(None),
    }
}

/// Whether a character shows nothing, or changes the direction of what stands beside it: with one of them, an id
/// looks like another. What Unicode calls default-ignorable, and its separators of lines and directions.
pub(in crate::domain) fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
        | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}'
        | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fff8}' | '\u{1d173}'..='\u{1d17a}'
        | '\u{e0000}'..='\u{e0fff}')
}

/// Refuses control characters other than line feed and tab: whatever shows or types the text would take them
/// for more than text.
pub fn plain(field: &str, value: &str) -> Result<(), Refusal> {
    match value.chars().find(|c| c.is_control() && !matches!(c, '\n' | '\t')) {
        None => Ok(()),
        Some(control) => Err(Refusal::invalid(format!(
            "{field} must not contain control characters other than line feed and tab, found {}",
            control.escape_unicode()
        ))),
    }
}

/// A long text, kept as it is. Blank counts as absent.
pub fn long(field: &str, value: Option<String>, bytes_max: usize) -> Result<Option<String>, Refusal> {
    let Some(value) = value else { return Ok(None) };
    if value.len() > bytes_max {
        return Err(Refusal::invalid(format!("{field} must have at most {bytes_max} bytes")));
    }
    Ok(if value.trim().is_empty() { None } else { Some(value) })
}

/// A text of a few lines: trimmed, absent when empty, without control characters but line feed and tab.
pub fn lines(field: &str, value: Option<String>, max: usize) -> Result<Option<String>, Refusal> {
    let Some(value) = value else { return Ok(None) };
    let trimmed = value.trim();
    if trimmed.chars().nth(max).is_some() {
        return Err(Refusal::invalid(format!("{field} must have at most {max} characters")));
    }
    plain(field, trimmed)?;
    Ok((!trimmed.is_empty()).then(|| trimmed.to_owned()))
}

/// A list of words: trimmed, empty ones and repeats left out, order kept.
pub fn words(field: &str, values: Vec<String>) -> Result<Vec<String>, Refusal> {
    if values.len() > LIST_MAX {
        return Err(Refusal::invalid(format!("{field} must have at most {LIST_MAX} entries")));
    }
    let mut words: Vec<String> = Vec::with_capacity(values.len());
    for value in values {
        if let Some(word) = optional(field, Some(value), WORD_MAX)?
            && !words.contains(&word)
        {
            words.push(word);
        }
    }
    Ok(words)
}

/// A JSON object of bounded size.
pub fn object(field: &str, value: &json::Object, bytes_max: usize) -> Result<(), Refusal> {
    // Serialising to count is linear in what the request already cost to parse.
    let size = serde_json::to_string(value).map_or(usize::MAX, |text| text.len());
    if size > bytes_max {
        return Err(Refusal::invalid(format!("{field} must have at most {bytes_max} bytes of JSON")));
    }
    Ok(())
}

/// A short text of the relay's own that fits into a field of this size: cut where it is too long, with
/// spaces in place of control characters.
pub fn clipped(value: &str, max: usize) -> String {
    let plain = value.trim().chars().map(|c| if c.is_control() { ' ' } else { c });
    let mut text: String = plain.take(max).collect();
    text.truncate(text.trim_end().len());
    text
}

/// The start of a long text that fits into so many bytes.
pub fn clipped_bytes(value: &str, bytes_max: usize) -> &str {
    &value[..value.floor_char_boundary(bytes_max)]
}

/// The start of an id: so much of it that what is built from it stays within the bound of an id.
pub fn short(id: &str) -> &str {
    id.char_indices().nth(100).map_or(id, |(end, _)| &id[..end])
}

/// Deserialises a field that tells "left out" from "null": the first keeps, the second clears.
pub fn present<'de, T, D>(deserializer: D) -> Result<Option<Option<T>>, D::Error>
where
    T: serde::Deserialize<'de>,
    D: serde::Deserializer<'de>,
{
    serde::Deserialize::deserialize(deserializer).map(Some)
}
