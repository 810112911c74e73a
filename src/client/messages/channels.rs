//! Channels: named streams that adapters carry in and out.

use reqwest::Method;

use crate::client::{Client, Pages, Request};
use crate::domain::message::{Channel, ChannelDeclaration};

/// Requests about channels. See [`Client::channels`].
#[derive(Clone, Copy, Debug)]
pub struct Channels<'a>(pub(in crate::client) &'a Client);

impl Channels<'_> {
    /// Channels by name. `limit` is the size of a page: 100 unless given, at most 1000.
    pub fn list(&self, limit: Option<u32>) -> Pages<Channel> {
        Pages::from(self.0.request(Method::GET, "/api/channels").query("limit", limit))
    }

    /// Declares a channel, or which way one carries messages.
    pub fn declare(&self, declaration: &ChannelDeclaration) -> Request<Channel> {
        self.0.request(Method::POST, "/api/channels").json(declaration)
    }
}
