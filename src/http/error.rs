//! Errors on the wire: RFC 9457 problem details, from one table. The only place that knows which
//! status a refusal has.
//!
//! A handler fails with an [`ApiError`]; the edge adds the request id, writes the body and logs it,
//! so that each error is logged exactly once and names its request.

use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use super::edge::REQUEST_ID;
use super::rate::Standing;
use crate::domain::refusal::Refusal;
use crate::plugins::ActionError;
use crate::relay;
use crate::stream::TooManyStreams;

/// One row of the table of errors.
#[derive(Debug)]
pub(super) struct Code {
    /// Stable, snake_case; clients branch on it.
    pub(super) name: &'static str,
    status: StatusCode,
    title: &'static str,
    /// What the caller should do now. The reader is often a language model.
    next: &'static str,
}

macro_rules! codes {
    ($($constant:ident = $name:literal, $status:ident, $title:literal, $next:literal;)*) => {
        $(pub(super) const $constant: Code =
            Code { name: $name, status: StatusCode::$status, title: $title, next: $next };)*
        /// Every code, for the document.
        pub(super) const ALL: &[&Code] = &[$(&$constant),*];
    };
}

codes! {
    INVALID = "invalid_request", BAD_REQUEST, "The request is malformed or out of bounds",
        "Correct what the detail names and send the request again.";
    RESERVED_ID = "reserved_id", BAD_REQUEST, "The id is reserved",
        "Choose another id: not user, system or broadcast, not one that looks like them, and not beginning with tag:, cap:, label: or channel:.";
    RESERVED_META = "reserved_meta", BAD_REQUEST, "The meta key is reserved",
        "Leave the key out; control actions have routes of their own.";
    INVALID_ANSWER = "invalid_answer", BAD_REQUEST, "The answer is none of the options",
        "Answer with one of the options that the detail names, to the letter.";
    NOT_CONTROLLABLE = "not_controllable", BAD_REQUEST, "The agent cannot be controlled",
        "Choose an agent that is a running coding agent, not user, system or a channel.";
    NO_ORCHESTRATOR = "no_orchestrator", BAD_REQUEST, "Nobody can start this provider",
        "Start an orchestrator that offers the provider, or choose one that GET /api/plugins lists as active.";
    UNAUTHORIZED = "unauthorized", UNAUTHORIZED, "A credential is needed",
        "Send the token in the header Authorization: Bearer TOKEN or X-Agent-Relay-Token.";
    NOT_ALLOWED = "not_allowed", FORBIDDEN, "The credential does not allow this",
        "Ask the operator for a credential with the scope that the detail names.";
    FOREIGN_ORIGIN = "foreign_origin", FORBIDDEN, "The request comes from a foreign web page",
        "Call the relay from its own address, or configure a token and send it.";
    WRONG_IDENTITY = "wrong_identity", FORBIDDEN, "The credential belongs to another agent",
        "Act as the agent that the credential is bound to.";
    NOT_ADDRESSED = "not_addressed", FORBIDDEN, "The message does not reach this agent",
        "Claim or read only what GET /api/messages?for=AGENT lists.";
    NOT_OF_PAIR = "not_of_pair", FORBIDDEN, "The pair is of other agents",
        "Leave this step to the agent that the detail names.";
    OUTSIDE_BASE = "outside_base_directory", FORBIDDEN, "The path lies outside the base directory",
        "Choose a path below the base directory that the detail names.";
    POLICY_DENIED = "policy_denied", FORBIDDEN, "A policy denied the control action",
        "Follow the policy's reason; the command named in this answer records what each policy said.";
    NOT_FOUND = "not_found", NOT_FOUND, "There is no such thing",
        "Check the id or the path; GET /api/spec lists every route.";
    NO_RECIPIENT = "no_recipient", NOT_FOUND, "The message reaches nobody",
        "Send it to one of `similar`, or without strict: it then waits until somebody registers under that id.";
    METHOD_NOT_ALLOWED = "method_not_allowed", METHOD_NOT_ALLOWED, "The route does not take this method",
        "Use one of the methods in the Allow header.";
    STALE_SESSION = "stale_session", CONFLICT, "A newer session of this agent has registered",
        "Stop this session, or register again with a new instanceId.";
    ALREADY_CLAIMED = "already_claimed", CONFLICT, "Another agent holds the claim",
        "Take other work, or try again after claimExpiresAt.";
    NOT_CLAIMABLE = "not_claimable", CONFLICT, "The message cannot be claimed",
        "Read it and answer; only messages sent with claimable: true are claimed.";
    ALREADY_COMPLETED = "already_completed", CONFLICT, "The work is already done",
        "Take other work.";
    ALREADY_ANSWERED = "already_answered", CONFLICT, "The question is already answered",
        "Go on with the result of the task; the first answer counts.";
    STALE_CLAIM = "stale_claim", CONFLICT, "The claim is no longer held with this generation",
        "Stop working on it: somebody else may hold it. Claim it again to go on.";
    ALREADY_PAIRED = "already_paired", CONFLICT, "The agent is in another pair",
        "Wait until the pair that the detail names is over, or end it.";
    ILLEGAL_TRANSITION = "illegal_transition", CONFLICT, "The state does not allow this step",
        "Read the present state and choose a step that follows it.";
    PLUGIN_STATE = "plugin_state", CONFLICT, "The plugin's state does not allow this",
        "Do what the detail says; GET /api/plugins shows how every plugin is.";
    ORCHESTRATOR_OFFLINE = "orchestrator_offline", CONFLICT, "The orchestrator has not been heard from",
        "Start the orchestrator, or choose one that is online.";
    MALFORMED_HEAD = "malformed_request", BAD_REQUEST, "The request is not HTTP/1.1",
        "Send a request line and headers as RFC 9112 has them, over a connection without TLS.";
    URI_TOO_LONG = "uri_too_long", URI_TOO_LONG, "The target of the request is too long",
        "Send at most 16 KiB of path and query.";
    HEAD_TOO_LARGE = "head_too_large", REQUEST_HEADER_FIELDS_TOO_LARGE, "The head of the request is too large",
        "Send at most 32 KiB of request line and headers, and at most 100 headers.";
    HEAD_TOO_SLOW = "head_too_slow", REQUEST_TIMEOUT, "The head did not come in time",
        "Send the request again, all of it at once.";
    BODY_TOO_SLOW = "body_too_slow", REQUEST_TIMEOUT, "The body did not come in time",
        "Send the request again, all of it at once.";
    TOO_LARGE = "body_too_large", PAYLOAD_TOO_LARGE, "The body is too large",
        "Send at most 1 MiB.";
    NOT_JSON = "not_json", UNSUPPORTED_MEDIA_TYPE, "The body is not JSON",
        "Send JSON with the header Content-Type: application/json.";
    WRONG_HOST = "wrong_host", MISDIRECTED_REQUEST, "The Host header names another server",
        "Address the relay as localhost, 127.0.0.1 or [::1], or configure a token.";
    RATE_EXCEEDED = "rate_limited", TOO_MANY_REQUESTS, "Too many requests in too short a time",
        "Send the request again after Retry-After seconds; RateLimit-Policy says how many are allowed.";
    KEY_REUSED = "idempotency_key_reused", UNPROCESSABLE_ENTITY, "The idempotency key was used with another request",
        "Send the first request again unchanged, or choose a new key.";
    UNREADABLE = "unreadable_delivery", UNPROCESSABLE_ENTITY, "The body of the event cannot be read",
        "Correct what the detail names and send the event again. What came is kept: GET /api/integrations/NAME/deliveries lists it, and POST .../deliveries/ID/retry tries it again.";
    CUT_DELIVERY = "cut_delivery", CONFLICT, "The delivery was kept without its end",
        "Have its sender send it again.";
    LOOP_SUSPECTED = "loop_suspected", TOO_MANY_REQUESTS, "Agents answer each other in a loop",
        "Stop answering in this thread. Ask a person, or begin another thread if there is something new to say.";
    TOO_MANY_STREAMS = "too_many_streams", SERVICE_UNAVAILABLE, "Too many streams are open",
        "Close a stream, or try again later.";
    TOO_MANY_CONNECTIONS = "too_many_connections", SERVICE_UNAVAILABLE, "Too many connections are open",
        "Send the request again after Retry-After seconds, over a connection that is kept.";
    OVERLOADED = "overloaded", SERVICE_UNAVAILABLE, "The relay has more to do than it can promise",
        "Send the request again after Retry-After seconds.";
    DISK_FULL = "disk_full", SERVICE_UNAVAILABLE, "The disk is full",
        "Nothing was stored. Free space on the relay's host, then send the request again.";
    DATABASE_MISPLACED = "database_misplaced", SERVICE_UNAVAILABLE, "The database is not where it was",
        "Nothing was stored. Put the database file back where it was on the relay's host, then send the request again.";
    NOT_READY = "not_ready", SERVICE_UNAVAILABLE, "The relay is not ready",
        "Try again after Retry-After seconds; GET /readyz tells when.";
    POLICY_FAILED = "policy_failed", SERVICE_UNAVAILABLE, "A policy could not decide",
        "Nothing was done. Ask the operator to look at GET /api/plugins, then try again.";
    PROVIDER_FAILED = "provider_failed", BAD_GATEWAY, "The provider could not start the agent",
        "Follow the reason in the detail; a command named in this answer records it.";
    INTERNAL = "internal", INTERNAL_SERVER_ERROR, "The relay failed",
        "Try again; if it fails again, give the operator the requestId.";
}

/// A failed request.
#[derive(Debug)]
pub(crate) struct ApiError {
    code: &'static Code,
    detail: String,
    /// Boxed because most errors have none of it, and every answer has room for an error.
    more: Box<More>,
}

#[derive(Debug, Default)]
struct More {
    /// Members beside the standard ones.
    members: Map<String, Value>,
    headers: HeaderMap,
    /// What only the log may know.
    cause: Option<String>,
}

impl ApiError {
    pub(super) fn new(code: &'static Code, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into(), more: Box::default() }
    }

    pub(super) fn invalid(detail: impl Into<String>) -> Self {
        Self::new(&INVALID, detail)
    }

    /// For whoever sends no credential that is one.
    pub(super) fn unauthorized(detail: &str) -> Self {
        Self::new(&UNAUTHORIZED, detail).with_header(header::WWW_AUTHENTICATE, "Bearer realm=\"agent-relay\"")
    }

    pub(super) fn not_found(what: &str) -> Self {
        Self::new(&NOT_FOUND, format!("{what} not found"))
    }

    fn with(mut self, member: &str, value: impl Into<Value>) -> Self {
        self.more.members.insert(member.to_owned(), value.into());
        self
    }

    pub(super) fn with_header(mut self, name: header::HeaderName, value: &'static str) -> Self {
        self.more.headers.insert(name, HeaderValue::from_static(value));
        self
    }

    /// With the time after which it may work, in whole seconds and at least one.
    fn after_ms(mut self, wait_ms: i64) -> Self {
        let seconds = wait_ms.saturating_add(999).max(1_000) / 1_000;
        self.more.headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        self
    }

    fn because(mut self, cause: impl ToString) -> Self {
        self.more.cause = Some(cause.to_string());
        self
    }

    fn retry_later(code: &'static Code, detail: &str) -> Self {
        Self::new(code, detail).with_header(header::RETRY_AFTER, "1")
    }

    /// For whoever sends more than its rate allows.
    pub(super) fn rate_exceeded(standing: Standing) -> Self {
        let seconds = standing.wait_seconds;
        let mut error = Self::new(&RATE_EXCEEDED, format!("there is room for another request in {seconds} s"));
        error.more.headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        standing.tell(&mut error.more.headers);
        error
    }

    /// For whoever opens, resumes or ends a stream of a protocol that has none here.
    pub(super) fn takes_only_post(method: &Method) -> Self {
        Self::new(&METHOD_NOT_ALLOWED, format!("tools are called by POST alone, not by {method}"))
            .with_header(header::ALLOW, "POST")
    }

    /// For whoever comes when every connection is in use.
    pub(super) fn too_many_connections() -> Self {
        Self::retry_later(&TOO_MANY_CONNECTIONS, "every connection that the relay may have is in use")
    }

    /// For whoever sends or asks for much while others do.
    pub(super) fn no_room() -> Self {
        Self::retry_later(&OVERLOADED, "others send or fetch so much that there is no room for more")
    }

    /// For whoever comes while the relay ends.
    pub(super) fn draining() -> Self {
        Self::retry_later(&NOT_READY, "the relay is shutting down")
    }

    /// A panic in a handler, told apart from nothing else on purpose.
    pub(super) fn internal(cause: impl ToString) -> Self {
        Self::new(&INTERNAL, "an internal error occurred").because(cause)
    }

    /// The answer of this error under a request id. Logs it, in the span of its request.
    pub(super) fn render(self, request_id: &str) -> Response {
        let (status, headers, body) = self.parts(request_id);
        (status, headers, body).into_response()
    }

    /// The same as an error of JSON-RPC, with the problem as its data: for whoever calls tools, whose request may not
    /// even have been read.
    pub(super) fn render_for_tools(self, request_id: &str) -> Response {
        let (status, mut headers, problem) = self.parts(request_id);
        let problem: Value = serde_json::from_str(&problem).unwrap_or_default();
        let code = if status.is_server_error() { -32_603 } else { -32_600 };
        let body = json!({"jsonrpc": "2.0", "error": {"code": code, "message": problem["detail"], "data": problem}});
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        (status, headers, body.to_string()).into_response()
    }

    /// The same in parts, for where there is no request to answer.
    pub(super) fn parts(self, request_id: &str) -> (StatusCode, HeaderMap, String) {
        let status = self.code.status;
        let (code, cause) = (self.code.name, self.more.cause.as_deref());
        if status.is_server_error() {
            tracing::error!(error.code = code, cause = cause.unwrap_or(""), "{}", self.detail);
        } else {
            tracing::info!(error.code = code, "{}", self.detail);
        }
        let More { members: mut problem, mut headers, .. } = *self.more;
        let standard = json!({
            "type": format!("urn:agent-relay:error:{}", self.code.name),
            "title": self.code.title,
            "status": status.as_u16(),
            "detail": self.detail,
            "error": self.detail,
            "code": self.code.name,
            "next": self.code.next,
            "requestId": request_id,
        });
        if let Value::Object(standard) = standard {
            problem.extend(standard);
        }
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Ok(id) = HeaderValue::from_str(request_id) {
            headers.insert(REQUEST_ID, id);
        }
        (status, headers, Value::Object(problem).to_string())
    }
}

/// An error on its way to the edge, which renders it.
#[derive(Clone)]
pub(super) struct Unrendered(pub(super) std::sync::Arc<std::sync::Mutex<Option<ApiError>>>);

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = self.code.status.into_response();
        response.extensions_mut().insert(Unrendered(std::sync::Arc::new(std::sync::Mutex::new(Some(self)))));
        response
    }
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        let detail = refusal.to_string();
        match refusal {
            Refusal::Invalid(_) => Self::new(&INVALID, detail),
            Refusal::ReservedId(_) => Self::new(&RESERVED_ID, detail),
            Refusal::ReservedMeta(_) => Self::new(&RESERVED_META, detail),
            Refusal::NotControllable => Self::new(&NOT_CONTROLLABLE, detail),
            Refusal::NoOrchestrator(_) => Self::new(&NO_ORCHESTRATOR, detail),
            Refusal::NotFound(_) => Self::new(&NOT_FOUND, detail),
            Refusal::NotAllowed(_) => Self::new(&NOT_ALLOWED, detail),
            Refusal::CredentialEnded => Self::unauthorized(&detail),
            Refusal::WrongIdentity { .. } => Self::new(&WRONG_IDENTITY, detail),
            Refusal::NotAddressed { .. } => Self::new(&NOT_ADDRESSED, detail),
            Refusal::NoRecipient { similar, .. } => Self::new(&NO_RECIPIENT, detail).with("similar", similar),
            Refusal::LoopSuspected { thread, wait_ms, .. } => {
                Self::new(&LOOP_SUSPECTED, detail).with("threadId", thread).after_ms(wait_ms)
            }
            Refusal::OutsideBase(_) => Self::new(&OUTSIDE_BASE, detail),
            Refusal::NotClaimable(_) => Self::new(&NOT_CLAIMABLE, detail),
            Refusal::AlreadyClaimed { by, until, .. } => {
                Self::new(&ALREADY_CLAIMED, detail).with("claimedBy", by).with("claimExpiresAt", until)
            }
            Refusal::AlreadyAnswered(_) => Self::new(&ALREADY_ANSWERED, detail),
            Refusal::InvalidAnswer(options) => Self::new(&INVALID_ANSWER, detail).with("options", options),
            Refusal::AlreadyCompleted(_) => Self::new(&ALREADY_COMPLETED, detail),
            Refusal::StaleClaim { .. } => Self::new(&STALE_CLAIM, detail),
            Refusal::AlreadyPaired { agent, pair } => {
                Self::new(&ALREADY_PAIRED, detail).with("agentId", agent).with("pairId", pair)
            }
            Refusal::NotOfPair { .. } => Self::new(&NOT_OF_PAIR, detail),
            Refusal::StaleSession(_) => Self::new(&STALE_SESSION, detail),
            Refusal::KeyReused(_) => Self::new(&KEY_REUSED, detail),
            Refusal::IllegalTransition { .. } => Self::new(&ILLEGAL_TRANSITION, detail),
            Refusal::OrchestratorOffline => Self::new(&ORCHESTRATOR_OFFLINE, detail),
            Refusal::Denied { plugin, policy_code, command, .. } => Self::new(&POLICY_DENIED, detail)
                .with("policy", plugin)
                .with("policyCode", policy_code)
                .with("commandId", command),
            Refusal::PolicyFailed { plugin, command, .. } => {
                Self::new(&POLICY_FAILED, detail).with("policy", plugin).with("commandId", command)
            }
            Refusal::ProviderFailed { plugin, command, .. } => {
                let error = Self::new(&PROVIDER_FAILED, detail).with("provider", plugin);
                match command {
                    Some(command) => error.with("commandId", command),
                    None => error,
                }
            }
            Refusal::ProviderLoading(_) => Self::retry_later(&NOT_READY, &detail),
            Refusal::Unreadable { delivery, .. } => Self::new(&UNREADABLE, detail).with("deliveryId", delivery),
            Refusal::CutDelivery(_) => Self::new(&CUT_DELIVERY, detail),
            Refusal::Overloaded => Self::retry_later(&OVERLOADED, &detail),
        }
    }
}

impl From<ActionError> for ApiError {
    fn from(error: ActionError) -> Self {
        match error {
            ActionError::Unknown => Self::not_found("plugin"),
            ActionError::Conflict(problem) => Self::new(&PLUGIN_STATE, problem),
            ActionError::NotKept(problem) => {
                Self::retry_later(&NOT_READY, "what was decided could not be kept on disk, so nothing was done")
                    .because(problem)
            }
        }
    }
}

impl From<TooManyStreams> for ApiError {
    fn from(error: TooManyStreams) -> Self {
        Self::new(&TOO_MANY_STREAMS, error.to_string()).with_header(header::RETRY_AFTER, "5")
    }
}

impl From<relay::Error> for ApiError {
    fn from(error: relay::Error) -> Self {
        use relay::Error;
        match error {
            Error::Refused(refusal) => refusal.into(),
            Error::Overloaded => Self::retry_later(&OVERLOADED, &error.to_string()),
            Error::DiskFull => Self::retry_later(&DISK_FULL, &error.to_string()),
            Error::Misplaced(problem) => {
                Self::retry_later(&DATABASE_MISPLACED, "the database file is not where it was").because(problem)
            }
            Error::Unavailable(cause) => Self::retry_later(&NOT_READY, "the store takes no writes").because(cause),
            Error::TooManyStreams(error) => error.into(),
            Error::Plugin(error) => error.into(),
            Error::Internal(cause) => Self::internal(cause),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_and_snake_case() {
        let mut names: Vec<_> = ALL.iter().map(|code| code.name).collect();
        names.sort_unstable();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count);
        assert!(names.iter().all(|name| name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')));
    }
}
