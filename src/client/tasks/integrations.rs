//! Integrations: events from outside, and how those who send them are doing.

use reqwest::Method;
use serde::{Deserialize, Deserializer, Serialize, de};
use serde_json::value::RawValue;

use crate::client::request::escaped;
use crate::client::{Client, Pages, Request};
use crate::domain::id::DeliveryId;
use crate::domain::integration::{KeptDelivery, Source};
use crate::domain::task::Task;

/// Requests about integrations. See [`Client::integrations`].
#[derive(Clone, Copy, Debug)]
pub struct Integrations<'a>(pub(in crate::client) &'a Client);

/// What became of an event.
#[derive(Clone, Debug, PartialEq)]
pub enum Taken {
    /// The task that it is about, as it is now.
    Task(Box<Task>),
    /// Nothing was to be done.
    Nothing(Nothing),
}

/// Why an event made nothing.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Nothing {
    /// Always true.
    pub ok: bool,
    /// Why nothing was to be done.
    pub ignored: Option<String>,
    /// Whether the same id had come before.
    pub replayed: Option<bool>,
}

// Not `untagged`, which would take numbers for what they are not.
impl<'de> Deserialize<'de> for Taken {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let answer = Box::<RawValue>::deserialize(deserializer)?;
        let text = answer.get();
        let task = serde_json::from_str(text).map(|task| Self::Task(Box::new(task)));
        task.or_else(|_| serde_json::from_str(text).map(Self::Nothing)).map_err(de::Error::custom)
    }
}

impl Integrations<'_> {
    /// Integrations by name: those that are configured, and those that were heard from. `limit` is the size of a page:
    /// 100 unless given, at most 1000.
    pub fn list(&self, limit: Option<u32>) -> Pages<Source> {
        Pages::from(self.0.request(Method::GET, "/api/integrations").query("limit", limit))
    }

    /// Tells of an event under this integration's name. The same delivery id again makes nothing.
    pub fn send(&self, name: &str, delivery: Option<&str>, event: &impl Serialize) -> Request<Taken> {
        let request = self.0.request(Method::POST, &path(name, "/events")).json(event);
        match delivery {
            Some(id) => request.idempotency_key(id),
            None => request,
        }
    }

    /// Deliveries of an integration that could not be read, newest first.
    pub fn deliveries(&self, name: &str, limit: Option<u32>) -> Pages<KeptDelivery> {
        Pages::from(self.0.request(Method::GET, &path(name, "/deliveries")).query("limit", limit))
    }

    /// Tries one of them again.
    pub fn retry(&self, name: &str, id: DeliveryId) -> Request<Taken> {
        self.0.request(Method::POST, &path(name, &format!("/deliveries/{id}/retry")))
    }
}

fn path(name: &str, what: &str) -> String {
    format!("/api/integrations/{}{what}", escaped(name))
}
