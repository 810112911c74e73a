//! Deliveries: an event as it came, and what is kept of one that could not be read.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::IntegrationName;
use crate::domain::id::DeliveryId;
use crate::domain::message::Sender;
use crate::domain::page::{Limit, Query};
use crate::domain::text;
use crate::domain::text::media;
use crate::domain::time::Timestamp;

/// Of the deliveries of an integration that could not be read, the newest so many are kept.
pub const KEPT_MAX: i64 = 100;
/// So many bytes of the body of one.
pub const BODY_KEPT_MAX: usize = 64 * 1024;
/// How long the id of a delivery is remembered, in milliseconds: services send again for up to three days.
pub const REPLAYS_MS: i64 = 7 * 24 * 60 * 60 * 1_000;
/// How many of them, over all integrations.
pub const REPLAYS_COUNT: i64 = 1_000_000;
/// The headers that may hold the id of a delivery; the first that is there counts.
pub const ID_HEADERS: [&str; 3] = ["webhook-id", "x-github-delivery", "idempotency-key"];

/// The headers that say what a body is and by which its sender finds it again. None of them is a credential.
const HEADERS_KEPT: [&str; 9] = [
    "content-type",
    "idempotency-key",
    "user-agent",
    "webhook-id",
    "webhook-timestamp",
    "x-github-delivery",
    "x-github-event",
    "x-github-hook-id",
    "x-github-hook-installation-target-id",
];
/// Of the value of each, so many characters.
const HEADER_VALUE_MAX: usize = 240;

/// An event as it came, from somebody who was let in.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// Whose it is.
    pub integration: IntegrationName,
    /// What its sender calls it; the same again is the same event.
    pub id: Option<String>,
    /// How the relay knows who sent it.
    pub sender: Sender,
    /// The chosen headers, in lower case.
    pub headers: BTreeMap<String, String>,
    /// The raw body.
    pub body: Vec<u8>,
}

impl Delivery {
    /// Whether the body is a form, and not JSON.
    pub fn is_form(&self) -> bool {
        self.headers.get("content-type").is_some_and(|kind| media::is_form(kind))
    }
}

/// The headers of a request that are kept with its body: `header` answers one that was sent once and is text.
pub fn kept_headers<'h>(header: impl Fn(&str) -> Option<&'h str>) -> BTreeMap<String, String> {
    let values = HEADERS_KEPT.iter().filter_map(|name| Some((*name, header(name)?)));
    values.map(|(name, value)| (name.to_owned(), text::clipped(value, HEADER_VALUE_MAX))).collect()
}

/// A delivery that could not be read, kept so that it can be tried again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct KeptDelivery {
    /// Increases with every one; never given to another.
    #[schema(value_type = i64)]
    pub id: DeliveryId,
    /// When it came, in milliseconds since the epoch.
    #[schema(value_type = i64)]
    pub at: Timestamp,
    /// Why it could not be read.
    pub reason: String,
    /// The headers that say what it is, in lower case; no credential, no signature.
    pub headers: BTreeMap<String, String>,
    /// Its body, as far as it is text: at most 64 KiB.
    pub body: String,
    /// How many bytes the body had, where it was longer than what is kept of it. Such a one cannot be tried again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body_bytes: Option<i64>,
    /// How often it was tried.
    pub tries: i64,
}

/// Which kept deliveries to list.
#[derive(Clone, Debug)]
pub struct DeliveryFilter {
    /// Whose.
    pub integration: IntegrationName,
    /// Only those with a smaller id: the next page.
    pub before: Option<DeliveryId>,
    /// At most this many, newest first.
    pub limit: Limit,
}

impl DeliveryFilter {
    /// The query of the page after this delivery.
    pub fn page_after(&self, last: DeliveryId) -> Query {
        Query::default().with("limit", Some(self.limit)).with("before", Some(last))
    }
}
