//! What was answered, and lists that come in pages.

use std::marker::PhantomData;
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::HeaderMap;
use reqwest::{Method, StatusCode};
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use super::{Client, Error, Problem, Request};

/// A whole answer, whatever its status.
#[derive(Debug)]
pub struct Answer {
    client: Client,
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl Answer {
    pub(super) fn new(client: Client, status: StatusCode, headers: HeaderMap, body: Bytes) -> Self {
        Self { client, status, headers, body }
    }

    /// The status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The headers.
    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// The text of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// Whether this is the answer to an earlier request with the same idempotency key.
    pub fn is_replayed(&self) -> bool {
        self.header("idempotency-replayed") == Some("true")
    }

    /// The body as text.
    ///
    /// # Errors
    ///
    /// [`Error::Malformed`] when it is none.
    pub fn text(&self) -> Result<&str, Error> {
        std::str::from_utf8(&self.body).map_err(|_| self.malformed("is not text"))
    }

    /// The body as JSON of this type.
    ///
    /// # Errors
    ///
    /// [`Error::Malformed`] when it is something else.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Error> {
        serde_json::from_slice(&self.body).map_err(|error| self.malformed(&format!("cannot be read: {error}")))
    }

    /// This answer, if it is no refusal.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] with any status but 2xx.
    pub fn success(self) -> Result<Self, Error> {
        if self.status.is_success() {
            return Ok(self);
        }
        let problem = Box::new(Problem::of(&self));
        Err(Error::Refused { address: self.client.address().to_owned(), problem })
    }

    /// The path and query of the next page, when the answer is a page with one after it.
    ///
    /// # Errors
    ///
    /// [`Error::Malformed`] when the `Link` header leads away from the relay: the token must not go there.
    pub fn next_page(&self) -> Result<Option<&str>, Error> {
        let Some(link) = self.header("link") else { return Ok(None) };
        let next = link.split(',').map(str::trim).find_map(|link| {
            let (target, parameters) = link.strip_prefix('<')?.split_once('>')?;
            let mut parameters = parameters.split(';').map(str::trim);
            parameters.any(|parameter| matches!(parameter, "rel=\"next\"" | "rel=next")).then_some(target)
        });
        match next {
            Some(target) if !target.starts_with('/') || target.starts_with("//") => {
                Err(self.malformed("has a next page that is elsewhere"))
            }
            next => Ok(next),
        }
    }

    pub(super) fn malformed(&self, problem: &str) -> Error {
        Error::malformed(self.client.address(), problem)
    }
}

/// A part of a list.
#[derive(Clone, Debug, PartialEq)]
pub struct Page<T> {
    /// The entries, in the order of the list.
    pub items: Vec<T>,
    /// The path and query of what comes after them; `None` on the last page.
    pub next: Option<String>,
}

/// A list, walked page by page.
#[derive(Debug)]
#[must_use = "nothing is asked before a page is"]
pub struct Pages<T> {
    client: Client,
    /// The page to be asked for; `None` after the last.
    target: Option<String>,
    timeout: Duration,
    entries: PhantomData<fn() -> T>,
}

impl<T> Pages<T> {
    /// The same list with its entries as they came, members included that are not known here.
    pub fn untyped(self) -> Pages<Box<RawValue>> {
        let Self { client, target, timeout, entries: _ } = self;
        Pages { client, target, timeout, entries: PhantomData }
    }
}

impl<T: DeserializeOwned> Pages<T> {
    /// The pages from this one on.
    pub(super) fn from(first: Request<Vec<T>>) -> Self {
        let (client, target, timeout) = first.into_parts();
        Self { client, target: Some(target), timeout, entries: PhantomData }
    }

    /// The next page; `None` after the last. After an error the same page is asked for again.
    ///
    /// # Errors
    ///
    /// As [`Request::send`].
    pub async fn next(&mut self) -> Result<Option<Page<T>>, Error> {
        let Some(target) = &self.target else { return Ok(None) };
        let request: Request<Vec<T>> = self.client.request(Method::GET, target);
        let answer = request.timeout(self.timeout).answer().await?.success()?;
        let items = answer.json()?;
        self.target = answer.next_page()?.map(str::to_owned);
        Ok(Some(Page { items, next: self.target.clone() }))
    }

    /// The entries of the first page.
    ///
    /// # Errors
    ///
    /// As [`Request::send`].
    pub async fn first(mut self) -> Result<Vec<T>, Error> {
        Ok(self.next().await?.map(|page| page.items).unwrap_or_default())
    }

    /// The entries of all pages, at most `max` of them.
    ///
    /// # Errors
    ///
    /// As [`Request::send`].
    pub async fn collect(mut self, max: usize) -> Result<Vec<T>, Error> {
        let mut entries = Vec::new();
        while entries.len() < max
            && let Some(page) = self.next().await?
        {
            entries.extend(page.items);
        }
        entries.truncate(max);
        Ok(entries)
    }
}

#[cfg(test)]
mod tests {
    use reqwest::header::{HeaderValue, LINK};

    use super::super::Options;
    use super::*;

    fn answer(link: Option<&str>) -> Answer {
        let client = Client::new(Options::new("http://127.0.0.1:1")).expect("a client");
        let link = link.map(|link| (LINK, HeaderValue::from_str(link).expect("a header")));
        Answer::new(client, StatusCode::OK, link.into_iter().collect(), Bytes::new())
    }

    #[test]
    fn the_next_page_is_at_the_same_relay_or_nowhere() {
        for (link, next) in [
            (None, None),
            (Some("</api/agents?after=a>; rel=\"next\""), Some("/api/agents?after=a")),
            (Some("</x>; rel=\"prev\", </y?a=1>; title=t; rel=next"), Some("/y?a=1")),
            (Some("</x>; rel=\"prev\""), None),
            (Some("nonsense"), None),
        ] {
            assert_eq!(answer(link).next_page().expect("no refusal"), next, "{link:?}");
        }
        for elsewhere in ["<http://evil.example/>; rel=\"next\"", "<//evil.example/>; rel=\"next\"", "<>; rel=\"next\""]
        {
            let answer = answer(Some(elsewhere));
            assert!(matches!(answer.next_page(), Err(Error::Malformed { .. })), "{elsewhere}");
        }
    }

    #[test]
    fn a_refusal_says_what_was_sent_and_no_more() {
        let refused = |status: StatusCode, body: &'static str| {
            let answer = Answer { status, body: Bytes::from_static(body.as_bytes()), ..answer(None) };
            answer.success().expect_err("a refusal")
        };
        let held = refused(
            StatusCode::CONFLICT,
            r#"{"type": "t", "title": "t", "status": 409, "code": "already_claimed", "detail": "held", "error": "held",
                "next": "Take other work.", "requestId": "r", "claimedBy": "bob"}"#,
        );
        assert!(held.is("already_claimed") && !held.is_transient());
        assert_eq!(held.to_string(), "the relay at http://127.0.0.1:1 answered 409 Conflict: held. Take other work.");
        let problem = held.problem().expect("a problem");
        assert_eq!(problem.request_id, "r");
        assert_eq!(problem.members.keys().collect::<Vec<_>>(), ["claimedBy"]);

        let bare = refused(StatusCode::BAD_GATEWAY, "<html>");
        assert!(bare.is_transient());
        assert_eq!(bare.to_string(), "the relay at http://127.0.0.1:1 answered 502 Bad Gateway");
    }
}
