//! Integrations: services outside that send events, and what becomes of an event.
//!
//! An event comes as a [`Delivery`], from whoever has a token or by a [`signature`] over its raw body. What it says
//! is a [`Meaning`], the one type that everything which reads bodies fills: [`read`] does, with the generic JSON.

mod delivery;
mod meaning;
pub mod signature;
mod source;

use std::sync::Arc;

use serde::Serialize;

use self::signature::{Scheme, decoy};
use super::refusal::Refusal;
use super::task::SOURCE_OF_API;
use super::time::Timestamp;

pub use delivery::{
    BODY_KEPT_MAX, Delivery, DeliveryFilter, ID_HEADERS, KEPT_MAX, KeptDelivery, REPLAYS_COUNT, REPLAYS_MS,
    kept_headers,
};
pub use meaning::{EventDraft, Meaning, read};
pub use source::{Counts, LastError, LastEvent, SEEN_MAX, Source};

/// The longest name, in characters.
pub const NAME_MAX: usize = 64;
/// The most integrations that a configuration names.
pub const CONFIGURED_MAX: usize = 64;

/// What an integration is called: 1 to 64 ASCII letters, digits, `-`, `_` and `.`, the first a letter or a digit. It
/// is the `source` of its tasks, so none is called as those are that were asked for over the API.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct IntegrationName(String);

impl IntegrationName {
    /// The name, or what is wrong with it.
    pub fn parse(name: &str) -> Result<Self, Refusal> {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        let begins_well = name.as_bytes().first().is_some_and(u8::is_ascii_alphanumeric);
        if !begins_well || name.len() > NAME_MAX || !name.bytes().all(is_plain) {
            return Err(Refusal::invalid(format!(
                "the name of an integration is 1 to {NAME_MAX} letters, digits, hyphens, underscores and dots, and \
                 begins with a letter or a digit"
            )));
        }
        if name.eq_ignore_ascii_case(SOURCE_OF_API) {
            let text = format!("an integration must not be called {SOURCE_OF_API}, as tasks of the API are");
            return Err(Refusal::invalid(text));
        }
        Ok(Self(name.to_owned()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for IntegrationName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// One that was stored.
impl From<String> for IntegrationName {
    fn from(name: String) -> Self {
        Self(name)
    }
}

/// The integrations that the operator gave secrets to, by name: at most [`CONFIGURED_MAX`].
#[derive(Clone, Debug, Default)]
pub struct Integrations(Arc<[(IntegrationName, Scheme)]>);

impl Integrations {
    /// These, each name once.
    pub fn new(mut schemes: Vec<(IntegrationName, Scheme)>) -> Self {
        schemes.sort_by(|(one, _), (other, _)| one.cmp(other));
        Self(schemes.into())
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = &(IntegrationName, Scheme)> {
        self.0.iter()
    }

    /// The one of this name: its place among them, and its scheme.
    pub fn find(&self, name: &str) -> Option<(usize, &Scheme)> {
        let place = self.0.binary_search_by(|(known, _)| known.as_str().cmp(name)).ok()?;
        Some((place, &self.0[place].1))
    }

    /// Whether a request has a header in which any of them expects a signature: without one nobody needs to look
    /// further, whatever it calls.
    pub fn may_be_signed(&self, has: impl Fn(&str) -> bool) -> bool {
        self.0.iter().any(|(_, scheme)| has(scheme.header()))
    }

    /// The place of the integration of this name whose signature this body has. `header` answers a header that was
    /// sent once and is text. Who asks for a name that nobody configured waits as long as for one.
    pub fn verify<'h>(
        &self,
        name: &str,
        header: impl Fn(&str) -> Option<&'h str>,
        body: &[u8],
        now: Timestamp,
    ) -> Option<usize> {
        let Some((place, scheme)) = self.find(name) else {
            decoy(body);
            return None;
        };
        scheme.verify(header, body, now).then_some(place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stand_in_a_path_and_are_nobody_elses() {
        let longest = "x".repeat(NAME_MAX);
        for good in ["a", "GitHub", "build-1.example_org", "0", &longest] {
            assert_eq!(IntegrationName::parse(good).unwrap().as_str(), good);
        }
        let long = "x".repeat(NAME_MAX + 1);
        for wrong in ["", "-a", ".", "..", "_x", "a b", "a/b", "é", "a\n", "api", "API", &long] {
            assert!(IntegrationName::parse(wrong).is_err(), "{wrong}");
        }
    }
}
