//! Sources: how an integration is doing, for people.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::IntegrationName;
use super::signature::SchemeKind;
use crate::domain::id::TaskId;
use crate::domain::time::Timestamp;

/// Of the integrations that nobody configured, so many are counted: those heard from last. Whoever has a token may
/// call itself anything, so one more takes the place of the one that was silent longest, with what was kept of it.
/// Tasks are made either way.
pub const SEEN_MAX: usize = 100;

/// An integration, as far as it was heard from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Source {
    /// Its name.
    pub name: String,
    /// Whether the configuration has a secret for it.
    pub configured: bool,
    /// How its events are signed, if they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scheme: Option<SchemeKind>,
    /// What it sent.
    pub counts: Counts,
    /// The latest event.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_event: Option<LastEvent>,
    /// The latest that could not be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error: Option<LastError>,
}

impl Source {
    /// One that was not heard from.
    pub fn silent(name: &IntegrationName) -> Self {
        Self {
            name: name.to_string(),
            configured: false,
            scheme: None,
            counts: Counts::default(),
            last_event: None,
            last_error: None,
        }
    }
}

/// What an integration sent, and what came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Counts {
    /// All of it.
    pub events: i64,
    /// Tasks that were made.
    pub created: i64,
    /// Tasks that were asked for once more.
    pub raised: i64,
    /// Tasks that ended.
    pub resolved: i64,
    /// What nothing was to be done about.
    pub ignored: i64,
    /// What had been sent before under the same id.
    pub replayed: i64,
    /// What could not be read.
    pub unreadable: i64,
}

/// The latest event of an integration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct LastEvent {
    /// When it came, in milliseconds since the epoch.
    #[schema(value_type = i64)]
    pub at: Timestamp,
    /// The task that it was about.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<i64>)]
    pub task_id: Option<TaskId>,
}

/// The latest delivery of an integration that could not be read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct LastError {
    /// When it came, in milliseconds since the epoch.
    #[schema(value_type = i64)]
    pub at: Timestamp,
    /// Why it could not be read.
    pub reason: String,
}
