//! Events that are signed: let in by a signature over the raw body, where others are by a credential.
//!
//! The edge lets a request without a credential through to such a route as [`Unproven`], and [`Event`] finds out
//! whether its signature is good before anything of it is read, counted or kept. Whoever presents several proofs must
//! have all of them right. A refusal is the same whether or not somebody configured the integration.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::HeaderMap;
use axum::http::request::Parts;

use super::error::{ApiError, NOT_JSON};
use super::extract::{Authenticated, Path, raw_body};
use super::rate::{Rates, Standing, network_of};
use super::serve::Peer;
use crate::domain::caller::Caller;
use crate::domain::text::media;
use crate::relay::integrations::Proof;
use crate::relay::{Relay, scopes};

/// Marks a request that the edge let through without a credential. Where the relay has no token, whoever calls over
/// loopback is this administrator, but not in the name of an integration that signs.
#[derive(Clone)]
pub(super) struct Unproven(pub(super) Option<Arc<Caller>>);

/// An event from somebody who was let in, with its raw body.
pub(super) struct Event {
    /// Which integration it is said to be of.
    pub(super) name: String,
    headers: HeaderMap,
    pub(super) body: Bytes,
    /// Whose credential let it in; without one it is signed.
    caller: Option<Arc<Caller>>,
    /// How the integration stands with its rate, where that was not found out before.
    pub(super) standing: Option<Standing>,
}

impl Event {
    /// By what it was let in.
    pub(super) fn proof(&self) -> Proof<'_> {
        self.caller.as_deref().map_or(Proof::Signature, Proof::Credential)
    }

    /// A header that was sent once and is text.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        only(&self.headers, name)
    }

    /// Refuses what is neither JSON nor a form.
    pub(super) fn check_type(&self) -> Result<(), ApiError> {
        let known = self.header("content-type").is_some_and(|kind| media::is_json(kind) || media::is_form(kind));
        if known || self.body.is_empty() {
            return Ok(());
        }
        let text = "the body must be JSON in UTF-8 with Content-Type: application/json, or a form \
                    (application/x-www-form-urlencoded) with JSON in its field payload";
        Err(ApiError::new(&NOT_JSON, text))
    }
}

/// Two of them could be read as one by us and as the other by whoever signed.
fn only<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next().filter(|_| values.next().is_none())?;
    value.to_str().ok()
}

impl FromRequest<Relay> for Event {
    type Rejection = ApiError;

    async fn from_request(request: Request, relay: &Relay) -> Result<Self, ApiError> {
        let (mut parts, body) = request.into_parts();
        let Path(name) = Path::<String>::from_request_parts(&mut parts, relay).await?;
        let gate = Gate::of(&parts)?;
        let unproven = parts.extensions.get::<Unproven>().cloned();
        let body = match raw_body(&parts, body).await {
            Ok(body) => body,
            Err(error) if unproven.is_some() => return Err(gate.count_stranger().err().unwrap_or(error)),
            Err(error) => return Err(error),
        };
        let headers = std::mem::take(&mut parts.headers);
        let scheme = relay.integrations().find(&name).map(|(_, scheme)| scheme);
        let is_signed = scheme.is_some_and(|scheme| headers.contains_key(scheme.header()));
        let verify = || relay.verify_event(&name, |header| only(&headers, header), &body);
        let (caller, standing) = match unproven {
            None => {
                if is_signed && verify().is_none() {
                    return Err(gate.refuse(relay).await);
                }
                let Authenticated(caller) = Authenticated::from_request_parts(&mut parts, relay).await?;
                (Some(caller), None)
            }
            // Nobody's signature is asked for, and nobody needs a token.
            Some(Unproven(Some(administrator))) if scheme.is_none() => {
                let standing = gate.rates.count(scopes::SEND_EVENT, Some(&administrator), gate.peer());
                (Some(administrator), standing.transpose().map_err(ApiError::rate_exceeded)?)
            }
            Some(_) => {
                let Some(place) = verify() else { return Err(gate.refuse(relay).await) };
                let standing = gate.rates.count_integration(place);
                (None, standing.transpose().map_err(ApiError::rate_exceeded)?)
            }
        };
        let principal = caller.as_ref().map_or(name.as_str(), |caller| caller.principal());
        tracing::Span::current().record("caller", principal);
        Ok(Self { headers, body, caller, standing, name })
    }
}

/// What counts and writes down those who are refused.
struct Gate {
    rates: Arc<Rates>,
    peer: Option<Peer>,
}

impl Gate {
    fn of(parts: &Parts) -> Result<Self, ApiError> {
        let rates = parts.extensions.get::<Arc<Rates>>().cloned();
        let rates = rates.ok_or_else(|| ApiError::internal("a closed route was reached around the edge"))?;
        Ok(Self { rates, peer: parts.extensions.get::<Peer>().copied() })
    }

    fn peer(&self) -> Option<std::net::IpAddr> {
        self.peer.map(|peer| peer.0.ip())
    }

    /// Counts a request that proves nothing: against its address, and never against the integration that it names,
    /// so that nobody who floods takes anything from who is honest.
    fn count_stranger(&self) -> Result<(), ApiError> {
        self.rates.count_unsigned(self.peer()).map_err(ApiError::rate_exceeded)
    }

    async fn refuse(&self, relay: &Relay) -> ApiError {
        if let Err(error) = self.count_stranger() {
            return error;
        }
        relay.note_refused_credential(self.peer().map(network_of)).await;
        ApiError::unauthorized("neither a valid credential nor a valid signature was sent")
    }
}
