//! Pairs: two agents in a focused exchange.

use reqwest::Method;
use serde::Serialize;

use super::Claimant;
use crate::client::{Client, Pages, Request};
use crate::domain::agent::SessionGuard;
use crate::domain::id::PairId;
use crate::domain::message::Message;
use crate::domain::pair::{Pair, PairRequest, PairStatus, PairStep};

/// Requests about pairs. See [`Client::pairs`].
#[derive(Clone, Copy, Debug)]
pub struct Pairs<'a>(pub(in crate::client) &'a Client);

/// Which pairs.
#[derive(Clone, Debug, Default)]
pub struct PairQuery {
    /// Only those that this agent is, or was, one of the two of.
    pub agent: Option<String>,
    /// Only those with this status.
    pub status: Option<PairStatus>,
    /// Only those with a smaller id.
    pub before: Option<PairId>,
    /// The size of a page: 100 unless given, at most 1000.
    pub limit: Option<u32>,
}

#[derive(Serialize)]
struct Talk<'a> {
    from: Option<&'a str>,
    body: &'a str,
    #[serde(flatten)]
    guard: &'a SessionGuard,
}

impl Pairs<'_> {
    /// Asks another agent for a pair.
    pub fn create(&self, request: &PairRequest) -> Request<Pair> {
        self.0.request(Method::POST, "/api/pairs").json(request)
    }

    /// Pairs, newest first.
    pub fn list(&self, query: &PairQuery) -> Pages<Pair> {
        let request = self.0.request(Method::GET, "/api/pairs");
        Pages::from(
            request
                .query("agent", query.agent.as_ref())
                .query("status", query.status.map(PairStatus::as_str))
                .query("before", query.before)
                .query("limit", query.limit),
        )
    }

    /// One pair.
    pub fn get(&self, id: PairId) -> Request<Pair> {
        self.0.request(Method::GET, &path(id, ""))
    }

    /// Accepts or rejects a pair, or ends it.
    pub fn step(&self, id: PairId, step: PairStep, who: &Claimant) -> Request<Pair> {
        let what = match step {
            PairStep::Accept => "/accept",
            PairStep::Reject => "/reject",
            PairStep::End => "/end",
        };
        self.0.request(Method::POST, &path(id, what)).json(who)
    }

    /// Says something to the other one of the two; `from` is the credential's agent when `None`.
    pub fn say(&self, id: PairId, from: Option<&str>, body: &str, guard: &SessionGuard) -> Request<Message> {
        self.0.request(Method::POST, &path(id, "/messages")).json(&Talk { from, body, guard })
    }
}

fn path(id: PairId, what: &str) -> String {
    format!("/api/pairs/{id}{what}")
}
