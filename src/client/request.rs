//! One request: put together, then sent, within its bounds.

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use super::{Answer, Client, Error};

/// The longest answer that is read, in bytes. A page of a hundred messages, each as long as a message
/// may be, has 26 MB; whoever asks for larger pages of such messages is told to ask for less.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// A request whose answer is a `T`. Nothing happens before it is sent.
#[must_use = "nothing is asked before the request is sent"]
pub struct Request<T> {
    client: Client,
    method: Method,
    /// Path and query.
    target: String,
    headers: HeaderMap,
    body: Option<Bytes>,
    timeout: Duration,
    /// The first part that cannot be sent; told by whoever sends it.
    unsendable: Option<String>,
    answered: PhantomData<fn() -> T>,
}

impl<T> Request<T> {
    pub(super) fn new(client: Client, method: Method, target: &str) -> Self {
        let timeout = client.timeout;
        Self {
            client,
            method,
            target: target.to_owned(),
            headers: HeaderMap::new(),
            body: None,
            timeout,
            unsendable: None,
            answered: PhantomData,
        }
    }

    /// Adds a parameter to the query, if there is a value.
    pub fn query(mut self, name: &str, value: Option<impl fmt::Display>) -> Self {
        if let Some(value) = value {
            self.target.push(if self.target.contains('?') { '&' } else { '?' });
            self.target.push_str(name);
            self.target.push('=');
            self.target.push_str(&escaped(&value.to_string()));
        }
        self
    }

    /// Adds a header.
    pub fn header(mut self, name: &str, value: impl AsRef<str>) -> Self {
        match (HeaderName::try_from(name), HeaderValue::try_from(value.as_ref())) {
            (Ok(name), Ok(value)) => {
                self.headers.append(name, value);
            }
            // Its value may be a secret.
            _ => self.refuse(format!("the header {name} cannot be sent")),
        }
        self
    }

    /// Makes a repeat of this request do nothing: the same key with the same body is answered as the
    /// first was, for 24 h. At most 200 characters.
    pub fn idempotency_key(self, key: &str) -> Self {
        self.header("idempotency-key", key)
    }

    /// Sends a value as JSON.
    pub fn json(mut self, value: &(impl Serialize + ?Sized)) -> Self {
        match serde_json::to_vec(value) {
            Ok(text) => {
                self.headers.entry(CONTENT_TYPE).or_insert(HeaderValue::from_static("application/json"));
                self.body(text)
            }
            Err(error) => {
                self.refuse(format!("the body cannot be sent: {error}"));
                self
            }
        }
    }

    /// Sends these bytes, without saying what they are.
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = Some(body.into());
        self
    }

    /// How long the answer may take, instead of the client's own time.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Asks the relay to wait up to so many seconds, at most 60, until there is something to answer. The
    /// answer has that much more time.
    pub fn wait(mut self, seconds: Option<u64>) -> Self {
        self.timeout += Duration::from_secs(seconds.unwrap_or(0));
        self.query("wait", seconds)
    }

    /// The answer, whatever it is: a refusal is an answer too.
    ///
    /// # Errors
    ///
    /// All but [`Error::Refused`].
    pub async fn answer(self) -> Result<Answer, Error> {
        let (client, time) = (self.client.clone(), self.timeout);
        let whole = async { self.respond().await?.read_all().await };
        timeout(time, whole).await.unwrap_or_else(|_| Err(client.timed_out(time)))
    }

    /// The beginning of an answer that is read as it comes. Only the beginning has to be there in time.
    ///
    /// # Errors
    ///
    /// All but [`Error::Refused`].
    pub async fn open(self) -> Result<Incoming, Error> {
        let (client, time) = (self.client.clone(), self.timeout);
        timeout(time, self.respond()).await.unwrap_or_else(|_| Err(client.timed_out(time)))
    }

    async fn respond(self) -> Result<Incoming, Error> {
        let Self { client, method, target, headers, body, timeout, unsendable, .. } = self;
        if let Some(problem) = unsendable {
            return Err(Error::Unsendable(problem));
        }
        let mut request = client.http.request(method, format!("{}{target}", client.address));
        if let Some(credential) = &client.credential {
            request = request.header(AUTHORIZATION, credential.0.clone());
        }
        // After the credential: a header that was given by hand replaces it.
        request = request.headers(headers);
        if let Some(body) = body {
            request = request.body(body);
        }
        let response = request.send().await.map_err(|error| Error::of_transport(&client.address, timeout, error))?;
        Ok(Incoming { client, response, timeout })
    }

    fn refuse(&mut self, problem: String) {
        self.unsendable.get_or_insert(problem);
    }

    pub(super) fn into_parts(self) -> (Client, String, Duration) {
        (self.client, self.target, self.timeout)
    }
}

impl<T: DeserializeOwned> Request<T> {
    /// The answer's value.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] when the relay says no, and whatever keeps an answer from coming.
    pub async fn send(self) -> Result<T, Error> {
        self.answer().await?.success()?.json()
    }
}

impl<T> fmt::Debug for Request<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}{}", self.method, self.client.address, self.target)
    }
}

impl Client {
    fn timed_out(&self, after: Duration) -> Error {
        Error::Timeout { address: self.address.to_string(), after }
    }
}

/// An answer of which only the beginning is here. Dropping it hangs up.
#[derive(Debug)]
pub struct Incoming {
    client: Client,
    response: reqwest::Response,
    timeout: Duration,
}

impl Incoming {
    /// The status.
    pub fn status(&self) -> StatusCode {
        self.response.status()
    }

    /// The text of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.response.headers().get(name)?.to_str().ok()
    }

    /// What comes next, or `None` at the end. Cancel safe.
    ///
    /// # Errors
    ///
    /// [`Error::Interrupted`] when the connection breaks before the end.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        let chunk = self.response.chunk().await;
        chunk.map_err(|error| Error::of_transport(&self.client.address, self.timeout, error))
    }

    /// The whole answer, which has as long as its beginning had.
    ///
    /// # Errors
    ///
    /// [`Error::Malformed`] when it is longer than 64 MiB, [`Error::Timeout`], and as [`Incoming::chunk`].
    pub async fn read(self) -> Result<Answer, Error> {
        let (client, time) = (self.client.clone(), self.timeout);
        timeout(time, self.read_all()).await.unwrap_or_else(|_| Err(client.timed_out(time)))
    }

    async fn read_all(mut self) -> Result<Answer, Error> {
        let mut body = BytesMut::new();
        while let Some(chunk) = self.chunk().await? {
            if chunk.len() > ANSWER_BYTES_MAX - body.len() {
                let problem = format!("is longer than {ANSWER_BYTES_MAX} bytes: ask for fewer entries");
                return Err(Error::malformed(&self.client.address, problem));
            }
            body.extend_from_slice(&chunk);
        }
        let (status, headers) = (self.response.status(), self.response.headers().clone());
        Ok(Answer::new(self.client, status, headers, body.freeze()))
    }
}

/// A text as one segment of a path, or as a value in a query.
pub(super) fn escaped(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}
