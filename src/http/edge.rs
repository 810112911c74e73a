//! The edge: what every request passes, and every answer.
//!
//! One layer does it all, in the order in which a stranger should be turned away: whose address was
//! meant, who is calling, and only then what is wanted. A route is closed unless it says that it is public.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use metrics::Histogram;
use tracing::Instrument as _;

use super::Limits;
use super::error::{ApiError, FOREIGN_ORIGIN, METHOD_NOT_ALLOWED, URI_TOO_LONG, Unrendered, WRONG_HOST};
use super::extract::{Authenticated, is_unsafe};
use super::rate::{Rates, Standing, network_of};
use super::serve::{Peer, Seat};
use super::signed::Unproven;
use crate::domain::caller::Caller;
use crate::mcp;
use crate::relay::Relay;
use crate::telemetry::metric;

pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const RELAY_TOKEN: HeaderName = HeaderName::from_static("x-agent-relay-token");

/// What the edge works with. Cheap to clone.
#[derive(Clone)]
pub(super) struct Edge {
    relay: Relay,
    /// The paths that need no credential, as their routes say.
    public: Arc<BTreeSet<String>>,
    /// The routes that a signature opens as well.
    signed: Arc<BTreeSet<String>>,
    rates: Arc<Rates>,
}

impl Edge {
    pub(super) fn new(relay: Relay, public: BTreeSet<String>, signed: BTreeSet<String>, limits: &Limits) -> Self {
        let (public, signed) = (Arc::new(public), Arc::new(signed));
        Self { relay, public, signed, rates: Arc::new(Rates::new(limits)) }
    }
}

/// The layer around every route.
pub(super) async fn edge(State(edge): State<Edge>, request: Request, next: Next) -> Response {
    let started = Instant::now();
    let id = request_id(request.headers());
    // Every line below it names the request, and who made it.
    let span = tracing::info_span!(
        "request",
        request.id = id,
        http.method = request.method().as_str(),
        http.route = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str),
        http.path = request.uri().path(),
        caller = tracing::field::Empty,
    );
    let mut response = answer(&edge, request, next, &id, started).instrument(span).await;
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    response
}

async fn answer(edge: &Edge, request: Request, next: Next, id: &str, started: Instant) -> Response {
    let relay = &edge.relay;
    let method = request.method().clone();
    let uri = request.uri().clone();
    let path = uri.path();
    // Taken apart because a body cannot be shared between threads while a credential is looked up.
    let (parts, body) = request.into_parts();
    let admitted = admit(edge, &parts).await;
    let mut request = Request::from_parts(parts, body);
    let response = match admitted {
        // What was begun before is finished; what comes now finds the next relay, or waits for it.
        Ok(_) if relay.draining().is_cancelled() && !edge.public.contains(path) => ApiError::draining().into_response(),
        Ok(admitted) => {
            if let Admitted::Caller(caller) = admitted {
                tracing::Span::current().record("caller", caller.principal());
                relay.note_alive(&caller);
                request.extensions_mut().insert(Authenticated(caller));
            } else if let Admitted::Unproven(unproven) = admitted {
                request.extensions_mut().insert(unproven);
            }
            request.extensions_mut().insert(edge.rates.clone());
            let route = request.extensions().get::<MatchedPath>().cloned();
            let response = next.run(request).await;
            count(&method, route.as_ref(), response.status(), started);
            response
        }
        Err(error) => error.into_response(),
    };
    let standing = response.extensions().get::<Standing>().copied();
    let mut response = render(response, id, method.as_str(), path);
    if let Some(standing) = standing {
        standing.tell(response.headers_mut());
    }
    tracing::debug!(
        http.status = response.status().as_u16(),
        took.us = started.elapsed().as_micros() as u64,
        "answered"
    );
    response
}

fn render(mut response: Response, id: &str, method: &str, path: &str) -> Response {
    if let Some(Unrendered(error)) = response.extensions_mut().remove::<Unrendered>() {
        let error = error.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        let is_rpc = path == mcp::PATH;
        return error.map_or(response, |error| if is_rpc { error.render_for_tools(id) } else { error.render(id) });
    }
    if response.status() == StatusCode::METHOD_NOT_ALLOWED {
        let allow = response.headers().get(header::ALLOW).cloned();
        let mut rendered = ApiError::new(&METHOD_NOT_ALLOWED, format!("{path} does not take {method}")).render(id);
        if let Some(allow) = allow {
            rendered.headers_mut().insert(header::ALLOW, allow);
        }
        return rendered;
    }
    response
}

/// The longest target of a request, in bytes: every parameter at its longest fits.
pub(crate) const URI_BYTES_MAX: usize = 16 << 10;

/// Who was let through.
enum Admitted {
    /// Everybody is.
    Anybody,
    /// Somebody who is known.
    Caller(Arc<Caller>),
    /// Somebody whose signature is looked at later.
    Unproven(Unproven),
}

/// Who is calling.
async fn admit(edge: &Edge, request: &Parts) -> Result<Admitted, ApiError> {
    if request.uri.path() == mcp::PATH && request.method != Method::POST {
        // Before anything else: whoever is told another reason asks again and again.
        return Err(ApiError::takes_only_post(&request.method));
    }
    let is_public = edge.public.contains(request.uri.path());
    if request.extensions.get::<Arc<Seat>>().is_some_and(|seat| seat.is_reserve) && !is_public {
        return Err(ApiError::too_many_connections());
    }
    let length = request.uri.path_and_query().map_or(0, |target| target.as_str().len());
    if length > URI_BYTES_MAX {
        let detail = format!("the target of the request has {length} bytes, more than {URI_BYTES_MAX}");
        return Err(ApiError::new(&URI_TOO_LONG, detail));
    }
    let (relay, headers) = (&edge.relay, &request.headers);
    let peer = request.extensions.get::<Peer>().map(|peer| peer.0.ip());
    let loopback = peer.is_some_and(|address| address.to_canonical().is_loopback());
    for name in [header::HOST, header::ORIGIN] {
        // Two could be read as one by us and as the other by somebody before us.
        if headers.get_all(&name).iter().nth(1).is_some() {
            return Err(ApiError::invalid(format!("the header {name} must not be sent twice")));
        }
    }
    if relay.access().is_loopback() {
        check_host(&request.uri, headers)?;
        if is_unsafe(&request.method) {
            check_origin(headers)?;
        }
    } else {
        if is_public {
            return Ok(Admitted::Anybody);
        }
        if let Some(ticket) = super::api::events::ticket_of(&request.uri)
            && let Some(caller) = relay.redeem_ticket(&ticket)
        {
            return Ok(Admitted::Caller(caller));
        }
    }
    let credential = credential(headers);
    if credential.is_none() && may_be_signed(edge, request) {
        return Ok(Admitted::Unproven(Unproven(relay.authenticate(None, loopback).await?)));
    }
    if let Some(caller) = relay.authenticate(credential, loopback).await? {
        // Only how it is recorded: a request says this of itself.
        let agent = headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let is_cli = agent.starts_with("agent-relay-cli/");
        return Ok(Admitted::Caller(if is_cli { Arc::new(caller.at_command_line()) } else { caller }));
    }
    if let Err(standing) = edge.rates.count_stranger(peer) {
        return Err(ApiError::rate_exceeded(standing));
    }
    relay.note_refused_credential(peer.map(network_of)).await;
    Err(ApiError::unauthorized("no valid credential was sent"))
}

/// Whether a request without a credential is an event that a signature lets in. Where the relay has no token, whoever
/// signs nothing is looked at as well: not every integration takes an administrator's word.
fn may_be_signed(edge: &Edge, request: &Parts) -> bool {
    let (headers, access) = (&request.headers, edge.relay.access());
    let route = request.extensions.get::<MatchedPath>();
    request.method == Method::POST
        && route.is_some_and(|route| edge.signed.contains(route.as_str()))
        && (access.is_loopback()
            || !headers.contains_key(header::AUTHORIZATION)
                && !headers.contains_key(RELAY_TOKEN)
                && edge.relay.integrations().may_be_signed(|header| headers.contains_key(header)))
}

fn credential(headers: &HeaderMap) -> Option<&str> {
    if let Some(token) = headers.get(RELAY_TOKEN) {
        return token.to_str().ok().map(str::trim).filter(|token| !token.is_empty());
    }
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    (scheme.eq_ignore_ascii_case("bearer")).then(|| token.trim()).filter(|token| !token.is_empty())
}

/// Without a token, a web page that resolves its own name to 127.0.0.1 would be the administrator.
fn check_host(uri: &Uri, headers: &HeaderMap) -> Result<(), ApiError> {
    let host = headers.get(header::HOST).and_then(|value| value.to_str().ok()).unwrap_or_default();
    // A target in absolute form says it again, and counts more than the header (RFC 9112, section 3.2.2).
    let target = uri.authority().is_none_or(|authority| is_local(authority.as_str()));
    if is_local(host) && target {
        return Ok(());
    }
    Err(ApiError::new(
        &WRONG_HOST,
        "the Host header must be localhost, 127.0.0.1 or [::1], and so must the host of an absolute target",
    ))
}

/// Without a token, a page from elsewhere must not change anything through its visitor's browser.
fn check_origin(headers: &HeaderMap) -> Result<(), ApiError> {
    let Some(origin) = headers.get(header::ORIGIN) else { return Ok(()) };
    let host = headers.get(header::HOST).map(HeaderValue::as_bytes).unwrap_or_default();
    if origin.as_bytes().strip_prefix(b"http://") == Some(host) {
        return Ok(());
    }
    Err(ApiError::new(&FOREIGN_ORIGIN, "a page of another origin must not change anything here"))
}

fn is_local(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) && !name.ends_with(':') => name,
        _ => host,
    };
    name.eq_ignore_ascii_case("localhost") || name == "127.0.0.1" || name == "[::1]"
}

/// The client's own id when it sent a decent one.
pub(super) fn request_id(headers: &HeaderMap) -> String {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    static RUN: std::sync::OnceLock<u32> = std::sync::OnceLock::new();
    let decent = |id: &&str| {
        (1..=64).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
    };
    if let Some(id) = headers.get(REQUEST_ID).and_then(|value| value.to_str().ok()).filter(decent) {
        return id.to_owned();
    }
    let run = RUN.get_or_init(|| {
        let mut bytes = [0; 4];
        // Only tells runs apart in a log; any value does.
        let _ = getrandom::fill(&mut bytes);
        u32::from_ne_bytes(bytes)
    });
    format!("{run:08x}-{:x}", COUNTER.fetch_add(1, Ordering::Relaxed))
}

/// What is counted together: a method and a status.
type Answered = (&'static str, StatusCode, Histogram);

thread_local! {
    /// By route, the histograms of what was answered there: to look one up by its labels takes much longer than
    /// to record in it.
    static ANSWERED: RefCell<HashMap<String, Vec<Answered>>> = RefCell::default();
}

fn count(method: &Method, route: Option<&MatchedPath>, status: StatusCode, started: Instant) {
    let (method, route) = (label_of(method), route.map_or("none", MatchedPath::as_str));
    ANSWERED.with_borrow_mut(|answered| {
        let known = answered.get(route).and_then(|known| known.iter().find(|(m, s, _)| (*m, *s) == (method, status)));
        if let Some((_, _, histogram)) = known {
            return histogram.record(started.elapsed().as_secs_f64());
        }
        let labels =
            [("method", method.to_owned()), ("route", route.to_owned()), ("status", status.as_str().to_owned())];
        let histogram = metrics::histogram!(metric::HTTP_SECONDS, &labels);
        histogram.record(started.elapsed().as_secs_f64());
        answered.entry(route.to_owned()).or_default().push((method, status, histogram));
    });
}

/// The label of a method. Whatever word a client makes up has the same one: labels are kept for ever.
fn label_of(method: &Method) -> &'static str {
    const KNOWN: [&str; 7] = ["GET", "POST", "PATCH", "DELETE", "PUT", "HEAD", "OPTIONS"];
    KNOWN.into_iter().find(|known| *known == method.as_str()).unwrap_or("other")
}

#[cfg(test)]
mod tests {
    use super::is_local;

    #[test]
    fn only_names_of_this_machine_are_local() {
        for host in ["localhost", "LOCALHOST:4850", "127.0.0.1", "127.0.0.1:1", "[::1]", "[::1]:4850"] {
            assert!(is_local(host), "{host}");
        }
        for host in ["", "evil.example", "localhost.evil.example:4850", "127.0.0.1.evil", "[::2]", "::1:4850"] {
            assert!(!is_local(host), "{host}");
        }
    }
}
