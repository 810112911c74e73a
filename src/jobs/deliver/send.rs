//! One attempt: a signed request to an address that was checked, within its bounds.

use std::error::Error;
use std::time::{Duration, Instant};

use reqwest::header::{CONTENT_TYPE, RETRY_AFTER};
use reqwest::redirect;
use tokio::sync::OnceCell;
use tokio::time::timeout;
use url::Url;

use super::Options;
use super::resolve::Checked;
use super::sign::signatures;
use crate::domain::task::callback::address::Forbidden;
use crate::domain::task::callback::{ANSWER_BYTES_KEPT, Attempt, Outgoing, retry_after};
use crate::domain::text::causes;
use crate::domain::time::Timestamp;

/// How long one attempt may take in all, unless a test says otherwise.
pub const TIMEOUT: Duration = Duration::from_secs(30);
/// Of an answer so many bytes are read.
pub const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// Sends requests to receivers.
pub(super) struct Sender {
    options: Options,
    /// For addresses with certificates. The system's are read when the first one is called.
    secure: OnceCell<reqwest::Client>,
    /// For those without.
    plain: OnceCell<reqwest::Client>,
}

/// What came of an attempt.
pub(super) struct Sent {
    pub(super) attempt: Attempt,
    /// What the receiver asks for, if it does.
    pub(super) retry_after_ms: Option<i64>,
    /// The address may not be called, now or ever.
    pub(super) is_forbidden: bool,
}

/// What was seen of an answer so far.
#[derive(Default)]
struct Seen {
    status: Option<u16>,
    retry_after: Option<String>,
    answer: Vec<u8>,
}

impl Sender {
    pub(super) fn new(options: Options) -> Self {
        Self { options, secure: OnceCell::new(), plain: OnceCell::new() }
    }

    pub(super) fn backoff_ms(&self) -> &[i64] {
        &self.options.backoff_ms
    }

    /// Sends this once, by a clock that answers the time.
    pub(super) async fn send(&self, outgoing: &Outgoing, now: impl Fn() -> Timestamp) -> Sent {
        let (at, begun) = (now(), Instant::now());
        let mut seen = Seen::default();
        let ended = timeout(self.options.timeout, self.exchange(outgoing, at, &mut seen)).await;
        let ms = i64::try_from(begun.elapsed().as_millis()).unwrap_or(i64::MAX);
        let (mut error, mut is_forbidden) = (None, false);
        match ended {
            Ok(Ok(())) => {}
            Ok(Err(cause)) => {
                is_forbidden = forbidden(cause.as_ref()).is_some();
                error = Some(forbidden(cause.as_ref()).map_or_else(|| causes(cause.as_ref()), ToString::to_string));
            }
            Err(_) => {
                let limit = self.options.timeout;
                let what = if seen.status.is_some() { "the answer did not end" } else { "there was no answer" };
                error = Some(format!("{what} within {limit:?}"));
            }
        }
        match seen.status {
            Some(300..=399) => error = Some("redirects are not followed".to_owned()),
            Some(410) => error = Some("the receiver says that it is gone for good".to_owned()),
            _ => {}
        }
        Sent {
            attempt: Attempt::new(at, seen.status, ms, &seen.answer, error.as_deref()),
            retry_after_ms: seen.retry_after.and_then(|text| retry_after(&text, now())),
            is_forbidden,
        }
    }

    async fn exchange(
        &self,
        outgoing: &Outgoing,
        at: Timestamp,
        seen: &mut Seen,
    ) -> Result<(), Box<dyn Error + Send + Sync>> {
        let Outgoing { url, webhook_id, body, .. } = outgoing;
        let url = Url::parse(url)?;
        // An address that is written out is not resolved, so it is checked here.
        self.options.allow.check_url(&url)?;
        let timestamp = at.as_ms().div_euclid(1_000);
        let request = self
            .client(url.scheme() == "https")
            .await?
            .post(url)
            .header(CONTENT_TYPE, "application/json")
            .header("webhook-id", webhook_id)
            .header("webhook-timestamp", timestamp)
            .header("webhook-signature", signatures(&self.options.secrets, webhook_id, timestamp, body))
            .body(body.clone());
        let mut response = request.send().await.map_err(reqwest::Error::without_url)?;
        seen.status = Some(response.status().as_u16());
        let after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
        seen.retry_after = after.map(str::to_owned);
        let mut bytes = 0;
        while let Some(part) = response.chunk().await.map_err(reqwest::Error::without_url)? {
            let wanted = ANSWER_BYTES_KEPT.saturating_sub(seen.answer.len()).min(part.len());
            seen.answer.extend_from_slice(&part[..wanted]);
            bytes += part.len();
            if bytes >= ANSWER_BYTES_MAX {
                break;
            }
        }
        Ok(())
    }

    /// Made when it is first needed: many relays never call anybody.
    async fn client(&self, is_secure: bool) -> Result<&reqwest::Client, Box<dyn Error + Send + Sync>> {
        let cell = if is_secure { &self.secure } else { &self.plain };
        cell.get_or_try_init(|| async {
            let checked = Checked { resolver: self.options.resolver.clone(), allow: self.options.allow.clone() };
            // Reading certificates takes a while.
            Ok(tokio::task::spawn_blocking(move || client(checked, is_secure)).await??)
        })
        .await
    }
}

fn client(checked: Checked, is_secure: bool) -> reqwest::Result<reqwest::Client> {
    // Whoever was first has the same one.
    rustls::crypto::ring::default_provider().install_default().ok();
    let builder = reqwest::Client::builder();
    let builder = if is_secure { builder } else { builder.tls_certs_only([]) };
    builder
        .dns_resolver(std::sync::Arc::new(checked))
        // Whoever sets a proxy for the relay does not mean its callbacks: it would be the proxy that resolves names.
        .no_proxy()
        .redirect(redirect::Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
        // Every attempt has a connection of its own, so that each is to an address that was just checked.
        .pool_max_idle_per_host(0)
        .user_agent(concat!("agent-relay/", env!("CARGO_PKG_VERSION")))
        .build()
}

/// The refusal among the causes of an error.
fn forbidden<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e Forbidden> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(forbidden) = error.downcast_ref() {
            return Some(forbidden);
        }
        cause = error.source();
    }
    None
}
