//! Attention: what waits for a person.

use reqwest::Method;

use super::{Client, Done, Pages, Request};
use crate::domain::attention::Attention;
use crate::domain::id::AttentionId;

/// Requests about what waits for a person. See [`Client::attention`].
#[derive(Clone, Copy, Debug)]
pub struct AttentionList<'a>(pub(super) &'a Client);

impl AttentionList<'_> {
    /// What waits, the most urgent first. `limit` is the size of a page: 100 unless given, at most 1000.
    pub fn list(&self, limit: Option<u32>) -> Pages<Attention> {
        Pages::from(self.0.request(Method::GET, "/api/attention").query("limit", limit))
    }

    /// Takes an item off the list. What caused it stays as it is.
    pub fn dismiss(&self, id: AttentionId) -> Request<Done> {
        self.0.request(Method::POST, &format!("/api/attention/{id}/dismiss"))
    }
}
