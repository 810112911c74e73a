//! What handlers take from a request, with our errors.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, header};
use bytes::BytesMut;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};
use tokio::time::{timeout, timeout_at};

use super::error::{ApiError, BODY_TOO_SLOW, INTERNAL, NOT_JSON, TOO_LARGE};
use super::serve::{Doing, Held, Seat};
use crate::domain::caller::Caller;
use crate::domain::text;
use crate::domain::text::json::Exact;
use crate::domain::text::media;
use crate::relay::Idempotency;

/// The largest body, in bytes.
pub(crate) const BODY_MAX: usize = 1 << 20;
/// How deep a body may be nested.
const BODY_DEPTH_MAX: usize = 127;
/// Of a body that is too large, so many bytes more are read, for so long, before the answer.
const DISCARD_MAX: usize = 8 << 20;
const DISCARD_TIME: Duration = Duration::from_secs(2);

/// Authenticated calls, as the edge found out.
#[derive(Clone)]
pub(super) struct Authenticated(pub(super) Arc<Caller>);

impl std::ops::Deref for Authenticated {
    type Target = Caller;

    fn deref(&self) -> &Caller {
        &self.0
    }
}

impl<S: Sync> FromRequestParts<S> for Authenticated {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        // Missing only on the open routes, whose handlers do not ask.
        parts.extensions.get::<Self>().cloned().ok_or_else(|| ApiError::new(&INTERNAL, "an internal error occurred"))
    }
}

/// A JSON body, together with what an idempotency key binds it to.
pub(super) struct Json<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Json<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        let bytes = read_body(request).await?;
        if bytes.is_empty() {
            return Err(ApiError::invalid("body required"));
        }
        parse(&bytes).map(Json)
    }
}

/// A JSON body that may be left out.
pub(super) struct OptionalJson<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned + Default> FromRequest<S> for OptionalJson<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        let bytes = read_body(request).await?;
        if bytes.is_empty() { Ok(Self(T::default())) } else { parse(&bytes).map(OptionalJson) }
    }
}

/// A JSON body that is bound to the request's `Idempotency-Key`, if it has one.
pub(super) struct Keyed<T> {
    /// The body.
    pub(super) body: T,
    /// The key with what it is bound to.
    pub(super) key: Option<Idempotency>,
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Keyed<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        let key = Unbound::of(&request)?;
        let bytes = read_body(request).await?;
        if bytes.is_empty() {
            return Err(ApiError::invalid("body required"));
        }
        let key = key.bind(&bytes)?;
        Ok(Self { body: parse(&bytes)?, key })
    }
}

/// The `Idempotency-Key` of a request whose body may be left out, and says nothing.
pub(super) struct Key(pub(super) Option<Idempotency>);

impl<S: Send + Sync> FromRequest<S> for Key {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        let key = Unbound::of(&request)?;
        let bytes = read_body(request).await?;
        key.bind(if bytes.is_empty() { b"null" } else { &bytes }).map(Self)
    }
}

/// A key and whose it is, before the body is read.
struct Unbound(Option<(String, String)>);

impl Unbound {
    fn of(request: &Request) -> Result<Self, ApiError> {
        let key = idempotency_key(request.headers())?;
        let caller = request.extensions().get::<Authenticated>();
        let scope =
            caller.map(|caller| format!("{} {} {}", caller.owner_of_keys(), request.method(), request.uri().path()));
        Ok(Self(key.zip(scope)))
    }

    fn bind(self, body: &[u8]) -> Result<Option<Idempotency>, ApiError> {
        let Some((key, scope)) = self.0 else { return Ok(None) };
        Ok(Some(Idempotency { scope, key, fingerprint: fingerprint(body)? }))
    }
}

/// The JSON value, not its spelling: another order of members is the same request.
fn fingerprint(bytes: &[u8]) -> Result<[u8; 32], ApiError> {
    let value = Exact::parse(bytes, BODY_DEPTH_MAX).map_err(malformed)?;
    Ok(Sha256::digest(value.as_str().as_bytes()).into())
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, ApiError> {
    let Some(value) = headers.get("idempotency-key") else { return Ok(None) };
    let value = value.to_str().map_err(|_| ApiError::invalid("Idempotency-Key must be plain text"))?;
    // A structured-field string has quotes; most clients send the bare key.
    let bare = value.trim().strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(value);
    Ok(text::optional("Idempotency-Key", Some(bare.to_owned()), text::KEY_MAX)?)
}

/// A body that is JSON, or empty.
pub(super) async fn read_body(request: Request) -> Result<Bytes, ApiError> {
    let (parts, body) = request.into_parts();
    let bytes = raw_body(&parts, body).await?;
    let content_type = parts.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    if !bytes.is_empty() && !content_type.is_some_and(media::is_json) {
        return Err(ApiError::new(&NOT_JSON, "the body must be JSON in UTF-8 with Content-Type: application/json"));
    }
    Ok(bytes)
}

/// A body as it came, whatever it says that it is.
pub(super) async fn raw_body(parts: &Parts, mut body: Body) -> Result<Bytes, ApiError> {
    let declared =
        parts.headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    let too_large = || ApiError::new(&TOO_LARGE, format!("the body has more than {BODY_MAX} bytes"));
    if declared.is_some_and(|length| length > BODY_MAX + DISCARD_MAX) {
        return Err(too_large());
    }
    if parts.headers.get(header::CONTENT_ENCODING).is_some_and(|coding| coding != "identity") {
        return Err(ApiError::new(&NOT_JSON, "the body must not be compressed: leave Content-Encoding out"));
    }
    let Some(seat) = parts.extensions.get::<Arc<Seat>>() else {
        return Err(ApiError::internal("a request without a connection"));
    };
    if !body.is_end_stream() {
        hold(parts, seat, declared).await?;
    }
    seat.begin(Doing::Body);
    let read = timeout_at(seat.request_deadline().into(), read(&mut body)).await;
    let bytes = match read {
        Ok(Ok(Some(bytes))) => bytes,
        Ok(Ok(None)) => {
            // Whoever is still sending when the connection closes may never see the answer.
            let _ = timeout(DISCARD_TIME, discard(&mut body)).await;
            return Err(too_large());
        }
        Ok(Err(error)) => return Err(error),
        Err(_) => {
            let within = seat.limits().request.as_secs_f64();
            return Err(ApiError::new(&BODY_TOO_SLOW, format!("the request was not there within {within} s")));
        }
    };
    seat.begin(Doing::Work);
    Ok(bytes)
}

/// Room for the body and what becomes of it, until the request is answered.
async fn hold(parts: &Parts, seat: &Seat, declared: Option<usize>) -> Result<(), ApiError> {
    let room = seat.room(declared.unwrap_or(BODY_MAX).min(BODY_MAX)).await.map_err(|_| ApiError::no_room())?;
    if let Some(held) = parts.extensions.get::<Held>() {
        held.keep(room);
    }
    Ok(())
}

/// A body, or nothing if it is too large.
async fn read(body: &mut Body) -> Result<Option<Bytes>, ApiError> {
    let mut bytes = BytesMut::new();
    while let Some(data) = next(body).await? {
        if data.len() > BODY_MAX - bytes.len() {
            return Ok(None);
        }
        bytes.extend_from_slice(&data);
    }
    Ok(Some(bytes.freeze()))
}

async fn discard(body: &mut Body) -> Result<(), ApiError> {
    let mut discarded = 0;
    while let Some(data) = next(body).await? {
        discarded += data.len();
        if discarded > DISCARD_MAX {
            break;
        }
    }
    Ok(())
}

/// The next piece of a body; nothing at its end.
async fn next(body: &mut Body) -> Result<Option<Bytes>, ApiError> {
    loop {
        let Some(frame) = poll_fn(|context| Pin::new(&mut *body).poll_frame(context)).await else {
            return Ok(None);
        };
        // Trailers are nobody's business here.
        if let Ok(data) = frame.map_err(|_| ApiError::invalid("the body ended early"))?.into_data() {
            return Ok(Some(data));
        }
    }
}

/// Reads JSON. Who is refused is told the field.
pub(super) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    serde_json::from_slice(bytes).map_err(|error| {
        // Only who is refused has to wait for the name of the field.
        let mut deserializer = serde_json::Deserializer::from_slice(bytes);
        match serde_path_to_error::deserialize::<_, T>(&mut deserializer) {
            Err(located) if located.path().iter().next().is_some() => malformed(located),
            _ => malformed(error),
        }
    })
}

fn malformed(error: impl std::fmt::Display) -> ApiError {
    ApiError::invalid(format!("body is not what this route takes: {error}"))
}

/// The query string, with our errors. Unknown parameters are ignored.
pub(super) struct Query<T>(pub(super) T);

impl<S: Sync, T: DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        axum::extract::Query::try_from_uri(&parts.uri)
            .map(|axum::extract::Query(query)| Self(query))
            .map_err(|error| ApiError::invalid(format!("query: {}", deepest(&error))))
    }
}

/// A path parameter, with our errors.
pub(super) struct Path<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Path<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        axum::extract::Path::from_request_parts(parts, state)
            .await
            .map(|axum::extract::Path(path)| Self(path))
            .map_err(|error| ApiError::invalid(format!("path: {}", deepest(&error))))
    }
}

fn deepest(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

/// Whether a request of this method may change something.
pub(super) fn is_unsafe(method: &Method) -> bool {
    !matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}
