//! Tokens: named credentials.

use reqwest::Method;

use super::{Client, Done, Pages, Request};
use crate::domain::caller::token::{TokenCard, TokenDraft};
use crate::domain::id::TokenId;

/// Requests about tokens. See [`Client::tokens`].
#[derive(Clone, Copy, Debug)]
pub struct Tokens<'a>(pub(super) &'a Client);

impl Tokens<'_> {
    /// Makes a token, which the answer has this once.
    pub fn create(&self, draft: &TokenDraft) -> Request<TokenCard> {
        self.0.request(Method::POST, "/api/tokens").json(draft)
    }

    /// All of them, in the order in which they were made. `limit` is the size of a page: 100 unless given, at most
    /// 1000.
    pub fn list(&self, limit: Option<u32>) -> Pages<TokenCard> {
        Pages::from(self.0.request(Method::GET, "/api/tokens").query("limit", limit))
    }

    /// Revokes a token.
    pub fn revoke(&self, id: TokenId) -> Request<Done> {
        self.0.request(Method::DELETE, &format!("/api/tokens/{id}"))
    }
}
