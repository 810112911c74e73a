//! The relay's own client, with what tests expect of answers: it checks, with every one, what holds for
//! all of them.

use std::time::Duration;

use agent_relay::client::{Credential, Error, Method, Options, Request};
use agent_relay::domain::activity::Activity;
use agent_relay::domain::agent::{Agent, Registration};
use agent_relay::domain::control::command::Command;
use agent_relay::domain::id::CommandId;
use agent_relay::domain::message::{Draft, Message};
use reqwest::header::HeaderMap;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{PATIENCE, Stream, eventually_within};

/// Calls one relay, with one credential or without.
#[derive(Clone)]
pub(crate) struct Client {
    /// For its typed requests.
    pub(crate) relay: agent_relay::client::Client,
    /// `http://ADDRESS`
    pub(crate) base: String,
}

impl Client {
    pub(crate) fn new(base: &str, token: Option<&str>) -> Self {
        let options = Options {
            credential: token.map(|token| Credential::parse(token).expect("a token")),
            connect_timeout: PATIENCE,
            timeout: PATIENCE * 2,
            ..Options::new(base)
        };
        let relay = agent_relay::client::Client::new(options).expect("a client");
        Self { relay, base: base.to_owned() }
    }

    /// The same relay with another credential.
    pub(crate) fn with_token(&self, token: Option<&str>) -> Self {
        Self::new(&self.base, token)
    }

    /// `HOST:PORT`
    pub(crate) fn address(&self) -> &str {
        self.base.strip_prefix("http://").expect("an http address")
    }

    /// A request to be sent by [`Client::call`].
    pub(crate) fn request(&self, method: Method, path: &str) -> Request<Value> {
        self.relay.request(method, path)
    }

    pub(crate) async fn call<T>(&self, request: Request<T>) -> Answer {
        self.try_call(request).await.expect("an answer")
    }

    /// As [`Client::call`], for a relay that may be killed meanwhile.
    pub(crate) async fn try_call<T>(&self, request: Request<T>) -> Result<Answer, Error> {
        let answer = request.answer().await?;
        let text = answer.text().expect("text").to_owned();
        Ok(Answer { status: answer.status().as_u16(), headers: answer.headers().clone(), text })
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.call(self.request(Method::GET, path)).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Answer {
        self.call(self.request(Method::POST, path).json(&body)).await
    }

    pub(crate) async fn patch(&self, path: &str, body: Value) -> Answer {
        self.call(self.request(Method::PATCH, path).json(&body)).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.call(self.request(Method::DELETE, path)).await
    }

    /// Registers an agent, new or not.
    pub(crate) async fn register(&self, card: Value) -> Agent {
        let answer = self.post("/api/agents", card).await;
        assert!(matches!(answer.status, 200 | 201), "{answer:?}");
        answer.parse()
    }

    /// Registers agents of which nothing matters but that they are there.
    pub(crate) async fn register_all(&self, ids: &[&str]) {
        for id in ids {
            let registration = Registration { id: Some((*id).to_owned()), ..Registration::default() };
            self.relay.agents().register(&registration).send().await.expect("an agent");
        }
    }

    /// Sends a message.
    pub(crate) async fn send(&self, draft: Value) -> Message {
        self.post("/api/messages", draft).await.expect(201)
    }

    /// Sends a message of which only sender, target and text matter.
    pub(crate) async fn say(&self, from: &str, to: &str, body: &str) -> Message {
        let text = |text: &str| Some(text.to_owned());
        let draft = Draft { from: text(from), to: text(to), body: text(body), ..Draft::default() };
        self.call(self.relay.messages().send(&draft)).await.expect(201)
    }

    /// Messages by a query.
    pub(crate) async fn messages(&self, query: &str) -> Vec<Message> {
        self.get(&format!("/api/messages?{query}")).await.expect(200)
    }

    /// The bodies of what reaches an agent, oldest first.
    pub(crate) async fn inbox(&self, agent: &str) -> Vec<String> {
        let messages = self.messages(&format!("for={agent}&limit=1000")).await;
        messages.into_iter().map(|message| message.body).collect()
    }

    /// A command, once it has come to its end.
    pub(crate) async fn outcome(&self, command: impl Into<i64>) -> Command {
        self.outcome_within(super::PATIENCE, command).await
    }

    /// The same for one that takes its time.
    pub(crate) async fn outcome_within(&self, patience: Duration, command: impl Into<i64>) -> Command {
        let command = CommandId::new(command.into());
        eventually_within(patience, &format!("the end of command {command}"), async || {
            let command = self.relay.control().command(command).send().await.expect("a command");
            command.status.is_final().then_some(command)
        })
        .await
    }

    /// Commands by a query, newest first.
    pub(crate) async fn commands(&self, query: &str) -> Vec<Command> {
        self.get(&format!("/api/commands?limit=1000&{query}")).await.expect(200)
    }

    /// The entries of the activity log by a query, newest first.
    pub(crate) async fn activity(&self, query: &str) -> Vec<Activity> {
        self.get(&format!("/api/activity?limit=1000&{query}")).await.expect(200)
    }

    /// Follows the events of a query from now on. The first frame, `relay.ready`, is taken.
    pub(crate) async fn follow(&self, query: &str) -> Stream {
        let mut stream = self.open_stream(query, None).await;
        stream.ready().await;
        stream
    }

    /// Opens an event stream, after a position or from now on.
    pub(crate) async fn open_stream(&self, query: &str, last_event_id: Option<&str>) -> Stream {
        let mut request = self.request(Method::GET, &format!("/api/events?{query}"));
        if let Some(id) = last_event_id {
            request = request.header("Last-Event-ID", id);
        }
        let incoming = request.open().await.expect("an answer");
        if incoming.status() != 200 {
            panic!("{:?}", incoming.read().await);
        }
        Stream::new(incoming)
    }
}

/// What was answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    /// The body as JSON, whatever the status.
    pub(crate) fn parse<T: DeserializeOwned>(&self) -> T {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error} in {self:?}"))
    }

    /// The body, of an answer that must have this status.
    #[track_caller]
    pub(crate) fn expect<T: DeserializeOwned>(self, status: u16) -> T {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(self.header("content-type"), Some("application/json"), "{self:?}");
        assert!(self.header("x-request-id").is_some_and(|id| !id.is_empty()), "{self:?}");
        self.parse()
    }

    /// The problem, of an answer that must be this one. Everything that holds for all problems is
    /// checked.
    #[track_caller]
    pub(crate) fn problem(self, status: u16, code: &str) -> Value {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self:?}");
        let problem: Value = self.parse();
        assert_eq!(problem["code"], code, "{self:?}");
        assert_eq!(problem["status"], status, "{self:?}");
        assert_eq!(problem["error"], problem["detail"], "{self:?}");
        assert_eq!(problem["requestId"].as_str(), self.header("x-request-id"), "{self:?}");
        for member in ["type", "title", "detail", "next", "requestId"] {
            assert!(problem[member].as_str().is_some_and(|text| !text.is_empty()), "{member} in {self:?}");
        }
        problem
    }

    /// A problem of a field: 400, and the detail holds this text.
    #[track_caller]
    pub(crate) fn invalid(self, text: &str) {
        let problem = self.problem(400, "invalid_request");
        assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains(text)), "no {text:?} in {problem}");
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The path and query of the next page.
    pub(crate) fn next_page(&self) -> Option<String> {
        let link = self.header("link")?;
        let address = link.strip_suffix(">; rel=\"next\"").and_then(|link| link.strip_prefix('<'));
        Some(address.unwrap_or_else(|| panic!("a Link header of another form: {link}")).to_owned())
    }
}
