//! Answers: JSON, pages, and what was made.

use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;

use super::error::ApiError;
use crate::domain::page::{Page, Query};
use crate::relay::Created;

const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// A value as JSON.
pub(super) fn json(status: StatusCode, value: &impl Serialize) -> Response {
    match serde_json::to_string(value) {
        Ok(text) => (status, [(header::CONTENT_TYPE, JSON)], text).into_response(),
        Err(error) => ApiError::internal(error).into_response(),
    }
}

/// What is answered where there is nothing to tell.
#[derive(utoipa::ToSchema)]
#[expect(dead_code, reason = "describes `ok`")]
pub(super) struct Done {
    /// True.
    ok: bool,
}

/// `{"ok":true}`
pub(super) fn ok() -> Response {
    (StatusCode::OK, [(header::CONTENT_TYPE, JSON)], r#"{"ok":true}"#).into_response()
}

/// JSON that is there as text; marked when it answers a repeat.
fn json_text<T>(status: StatusCode, answer: Created<T>) -> Response {
    let response = (status, [(header::CONTENT_TYPE, JSON)], answer.json.into_string()).into_response();
    if answer.replayed { replayed(response) } else { response }
}

/// Marks what answers a repeat.
pub(super) fn replayed(mut response: Response) -> Response {
    response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
    response
}

/// 201 for what was made, 200 for what was there.
pub(super) fn created<T>(answer: Created<T>) -> Response {
    json_text(if answer.created { StatusCode::CREATED } else { StatusCode::OK }, answer)
}

/// 202 for what was begun, 200 for a repeat.
pub(super) fn accepted<T>(answer: Created<T>) -> Response {
    json_text(if answer.replayed { StatusCode::OK } else { StatusCode::ACCEPTED }, answer)
}

/// A page, with the address of the next one while there may be one: that of `path` with the query that
/// follows from the place where this one ends.
pub(super) fn page<T: Serialize, P>(path: &str, page: &Page<T, P>, next: impl FnOnce(&P) -> Query) -> Response {
    let next = page.next.as_ref().map(|last| {
        let mut link = Link::new(path);
        next(last).parameters().for_each(|(name, value)| link.add(name, Some(value)));
        link.finish()
    });
    linked(&page.entries, next)
}

/// Entries, with the address of those that follow, if there is one.
pub(super) fn linked(entries: &impl Serialize, next: Option<String>) -> Response {
    let mut response = json(StatusCode::OK, entries);
    if let Some(link) = next.and_then(|next| HeaderValue::try_from(format!("<{next}>; rel=\"next\"")).ok()) {
        response.headers_mut().insert(header::LINK, link);
    }
    response
}

/// An address with a query.
pub(super) struct Link(String);

impl Link {
    pub(super) fn new(path: &str) -> Self {
        Self(path.to_owned())
    }

    /// Adds a parameter that is there.
    pub(super) fn add(&mut self, name: &str, value: Option<&str>) {
        let Some(value) = value else { return };
        self.0.push(if self.0.contains('?') { '&' } else { '?' });
        self.0.push_str(name);
        self.0.push('=');
        self.0.extend(utf8_percent_encode(value, NON_ALPHANUMERIC));
    }

    pub(super) fn finish(self) -> String {
        self.0
    }
}
