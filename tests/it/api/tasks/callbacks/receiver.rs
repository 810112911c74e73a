//! Somebody outside who is told of tasks, as a test wants it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use agent_relay::config::Config;
use agent_relay::domain::task::callback::address::Allowed;
use agent_relay::jobs::deliver::SigningSecret;
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde_json::Value;
use standardwebhooks::Webhook;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use crate::server::PATIENCE;

pub(super) const SECRET: &str = "whsec_b2xkIG9sZCBvbGQgb2xkIG9sZCBvbGQgb2xkISE=";
pub(super) const NEW_SECRET: &str = "whsec_bmV3IG5ldyBuZXcgbmV3IG5ldyBuZXcgbmV3IG5ldyE=";

/// Lets callbacks reach this machine, signed with [`SECRET`], and has those that fail tried again as late as said.
pub(crate) fn local(backoff_ms: &[i64]) -> impl FnOnce(&mut Config) {
    let backoff_ms = backoff_ms.to_vec();
    move |config| {
        config.callbacks.allow = Allowed::new(vec!["127.0.0.1/32".parse().expect("a network")]);
        config.callbacks.secrets = vec![SigningSecret::parse(SECRET).expect("a secret")];
        config.callbacks.backoff_ms = backoff_ms;
    }
}

/// Takes requests and hands them to a test, which answers each.
pub(crate) struct Receiver {
    pub(crate) address: SocketAddr,
    hooks: mpsc::Receiver<Hook>,
}

/// One request, not yet answered.
pub(crate) struct Hook {
    headers: HeaderMap,
    /// As it came.
    pub(crate) body: String,
    answer: oneshot::Sender<Response>,
}

impl Receiver {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let (hand_over, hooks) = mpsc::channel(1_000);
        let take = move |request: Request| {
            let hand_over = hand_over.clone();
            async move {
                let (head, body) = request.into_parts();
                let body = to_bytes(body, usize::MAX).await.expect("a body");
                let (answer, answered) = oneshot::channel();
                let body = String::from_utf8(body.to_vec()).expect("text");
                hand_over.send(Hook { headers: head.headers, body, answer }).await.ok();
                // A test that is over answers nobody.
                answered.await.unwrap_or_default()
            }
        };
        tokio::spawn(async move { axum::serve(listener, Router::new().fallback(take)).await });
        Self { address, hooks }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    /// The next request.
    pub(crate) async fn next(&mut self) -> Hook {
        timeout(PATIENCE, self.hooks.recv()).await.expect("a request in time").expect("a receiver")
    }

    /// Takes the next request, and answers what happened to which task.
    pub(crate) async fn take(&mut self) -> (i64, String) {
        let hook = self.next().await;
        let told = hook.told();
        hook.answer(200);
        told
    }

    /// Whether nothing has come that was not taken.
    pub(crate) fn is_idle(&mut self) -> bool {
        self.hooks.try_recv().is_err()
    }
}

impl Hook {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).unwrap_or_else(|| panic!("no {name}")).to_str().expect("text")
    }

    pub(crate) fn id(&self) -> String {
        self.header("webhook-id").to_owned()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).expect("JSON")
    }

    /// Which task it is of, and what happened to it.
    pub(crate) fn told(&self) -> (i64, String) {
        let data = &self.json()["data"];
        let kind = data["event"]["type"].as_str().expect("a type").to_owned();
        (data["task"]["id"].as_i64().expect("an id"), kind)
    }

    /// Whether the official library takes it, with this secret, for this body.
    pub(super) fn is_signed(&self, secret: &str, body: &str) -> bool {
        let secret = secret.strip_prefix("whsec_").expect("a secret");
        Webhook::new(secret).expect("a secret").verify(body.as_bytes(), &self.headers).is_ok()
    }

    pub(crate) fn answer(self, status: u16) {
        self.answer_with(status, &[], "");
    }

    pub(crate) fn answer_with(self, status: u16, headers: &[(&str, &str)], body: &str) {
        let mut answer = Response::new(Body::from(body.to_owned()));
        *answer.status_mut() = StatusCode::from_u16(status).expect("a status");
        for (name, value) in headers {
            let name = axum::http::HeaderName::try_from(*name).expect("a name");
            answer.headers_mut().insert(name, value.parse().expect("a value"));
        }
        // Nobody may wait for it any more.
        self.answer.send(answer).ok();
    }
}

/// An address on which nothing listens.
pub(super) async fn nobody() -> SocketAddr {
    let listener = TcpListener::bind((IpAddr::from(Ipv4Addr::LOCALHOST), 0)).await.expect("a free port");
    listener.local_addr().expect("an address")
}
