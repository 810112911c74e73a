//! The activity log.

use reqwest::Method;

use super::{Client, Pages, Request};
use crate::domain::activity::{Activity, ActivityKind, NewActivity};
use crate::domain::id::ActivityId;

/// Requests about the activity log. See [`Client::activity`].
#[derive(Clone, Copy, Debug)]
pub struct ActivityLog<'a>(pub(super) &'a Client);

/// Which entries.
#[derive(Clone, Debug, Default)]
pub struct ActivityQuery {
    /// Only those with a greater id.
    pub since: Option<ActivityId>,
    /// Only those with a smaller id.
    pub before: Option<ActivityId>,
    /// Only those of this kind.
    pub kind: Option<ActivityKind>,
    /// Only those about this agent.
    pub agent: Option<String>,
    /// The size of a page: 100 unless given, at most 1000.
    pub limit: Option<u32>,
}

impl ActivityLog<'_> {
    /// Entries, newest first.
    pub fn list(&self, query: &ActivityQuery) -> Pages<Activity> {
        let request = self.0.request(Method::GET, "/api/activity");
        Pages::from(
            request
                .query("since", query.since)
                .query("before", query.before)
                .query("kind", query.kind.map(ActivityKind::as_str))
                .query("agent", query.agent.as_ref())
                .query("limit", query.limit),
        )
    }

    /// Writes an entry. One whose `client_id` is there already changes nothing, and that one is answered.
    pub fn write(&self, entry: &NewActivity) -> Request<Activity> {
        self.0.request(Method::POST, "/api/activity").json(entry)
    }
}
