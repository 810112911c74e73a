//! Messages: sending, finding, reading, claiming.

use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::{Deserialize, Deserializer, Serialize, de};
use utoipa::{IntoParams, ToSchema};

use crate::domain::agent::SessionGuard;
use crate::domain::id::{AgentId, MessageId};
use crate::domain::message::{CHANNEL_MAX, Draft, Message, MessageFilter, MessageType, Sent};
use crate::domain::page::Limit;
use crate::domain::text;
use crate::http::answer::{self, Done, Link, ok};
use crate::http::error::ApiError;
use crate::http::extract::{Authenticated, Json, Keyed, Path, Query};
use crate::relay::Relay;
use crate::relay::messages::Claimant;

/// How long whoever sends a message waits for its receipt.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct CreateMessage {
    /// With `receipt`: wait up to this many seconds, at most 60, until it has happened.
    #[serde(default, deserialize_with = "waiting")]
    #[param(value_type = Option<u64>, minimum = 0, maximum = 60)]
    wait: Duration,
}

/// Checked where the query is read: who waits too long is refused before the body is asked for.
fn waiting<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    match u64::deserialize(deserializer)? {
        seconds if seconds <= WAIT_MAX => Ok(Duration::from_secs(seconds)),
        _ => Err(de::Error::custom(format!("wait must be at most {WAIT_MAX} seconds"))),
    }
}

/// Send a message.
#[utoipa::path(post, path = "/api/messages", tag = "messages", request_body = Draft, params(CreateMessage),
    responses((status = 201, description = "Stored; on disk and visible to readers and streams", body = Sent),
              (status = 200, description = "Stored before under the same key", body = Sent)))]
pub(super) async fn create_message(
    State(relay): State<Relay>,
    caller: Authenticated,
    Query(query): Query<CreateMessage>,
    Keyed { body, key }: Keyed<Draft>,
) -> Result<Response, ApiError> {
    Ok(answer::created(relay.send_message(&caller, body, key, query.wait).await?))
}

/// Which messages to list.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct ListMessages {
    /// Only those that reach this agent and are still to be delivered.
    #[param(max_length = 240)]
    r#for: Option<String>,
    /// Only those with a greater id.
    since: Option<i64>,
    /// With `for`: only those that agent has not marked read.
    unread: Option<bool>,
    /// Only those from this sender.
    #[param(max_length = 240)]
    from: Option<String>,
    /// Only those to this target.
    #[param(max_length = 300)]
    to: Option<String>,
    /// Only those of this channel.
    #[param(max_length = 120)]
    channel: Option<String>,
    /// Only those of this thread.
    thread: Option<i64>,
    /// `message` or `system`.
    #[param(value_type = Option<MessageType>)]
    r#type: Option<String>,
    /// 100 unless given; at most 1000.
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: Option<i64>,
    /// Wait up to this many seconds, at most 60, until there is one.
    #[param(minimum = 0, maximum = 60)]
    wait: Option<u64>,
}

/// The longest a long poll waits, in seconds.
pub(crate) const WAIT_MAX: u64 = 60;

/// List messages, oldest first.
#[utoipa::path(get, path = "/api/messages", tag = "messages", params(ListMessages),
    responses((status = 200, description = "A page; the next one is in the Link header. One request looks at some \
        thousand messages: where few of them match, the page is short and the next one goes on", body = Vec<Message>)))]
pub(super) async fn list_messages(
    State(relay): State<Relay>,
    caller: Authenticated,
    Query(query): Query<ListMessages>,
) -> Result<Response, ApiError> {
    let wait = wait(query.wait)?;
    let reaching = AgentId::optional("for", query.r#for)?;
    let filter = MessageFilter {
        unread: query.unread.unwrap_or(false),
        since: query.since.map_or_else(MessageId::default, MessageId::new),
        from: AgentId::optional("from", query.from)?,
        to: text::optional("to", query.to, text::TARGET_MAX)?,
        channel: text::optional("channel", query.channel, CHANNEL_MAX)?,
        thread: query.thread.map(MessageId::new),
        kind: text::optional("type", query.r#type, text::WORD_MAX)?
            .map(|kind| MessageType::named("type", &kind))
            .transpose()?,
        limit: Limit::parse(query.limit)?,
        reaching,
    };
    let page = relay.list_messages(&caller, filter.clone(), wait).await?;
    Ok(answer::page("/api/messages", &page, |last| filter.page_after(*last)))
}

/// How long a request may wait, checked.
pub(super) fn wait(asked: Option<u64>) -> Result<Duration, ApiError> {
    match asked.unwrap_or(0) {
        seconds if seconds <= WAIT_MAX => Ok(Duration::from_secs(seconds)),
        _ => Err(ApiError::invalid(format!("wait must be at most {WAIT_MAX} seconds"))),
    }
}

/// Where the messages end.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Latest {
    #[schema(value_type = i64)]
    latest_id: MessageId,
}

/// The id of the newest message.
#[utoipa::path(get, path = "/api/messages/cursor", tag = "messages",
    responses((status = 200, description = "0 when there is none", body = Latest)))]
pub(super) async fn get_message_cursor(
    State(relay): State<Relay>,
    caller: Authenticated,
) -> Result<Response, ApiError> {
    let latest_id = relay.latest_message_id(&caller).await?;
    Ok(answer::json(StatusCode::OK, &Latest { latest_id }))
}

/// One message.
#[utoipa::path(get, path = "/api/messages/{id}", tag = "messages", params(("id" = i64, Path)),
    responses((status = 200, description = "The message, expired or not", body = Message)))]
pub(super) async fn get_message(
    State(relay): State<Relay>,
    caller: Authenticated,
    Path(id): Path<MessageId>,
) -> Result<Response, ApiError> {
    Ok(answer::json(StatusCode::OK, &relay.get_message(&caller, id).await?))
}

/// Which part of a thread.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct GetThread {
    /// Only those with a greater id.
    since: Option<i64>,
    /// 100 unless given; at most 1000.
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: Option<i64>,
}

/// The thread of a message, oldest first, from any message of it.
#[utoipa::path(get, path = "/api/messages/{id}/thread", tag = "messages", params(("id" = i64, Path), GetThread),
    responses((status = 200, description = "A page; the next one is in the Link header", body = Vec<Message>)))]
pub(super) async fn get_thread(
    State(relay): State<Relay>,
    caller: Authenticated,
    Path(id): Path<MessageId>,
    Query(query): Query<GetThread>,
) -> Result<Response, ApiError> {
    let (since, limit) = (query.since.map_or_else(MessageId::default, MessageId::new), Limit::parse(query.limit)?);
    let (thread, next) = relay.get_thread(&caller, id, since, limit).await?;
    let next = next.map(|last| {
        let mut link = Link::new(&format!("/api/messages/{id}/thread"));
        link.add("limit", query.limit.map(|limit| limit.to_string()).as_deref());
        link.add("since", Some(&last.to_string()));
        link.finish()
    });
    Ok(answer::linked(&thread, next))
}

/// What a request about the claim of a message or a task says.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ClaimRequest {
    agent_id: Option<String>,
    pub(super) claim_generation: Option<i64>,
    pub(super) lease_ms: Option<i64>,
    instance_id: Option<String>,
    epoch: Option<i64>,
}

macro_rules! requests {
    ($($(#[$doc:meta])* $name:ident { $($(#[$of_field:meta])* $field:ident: $type:ty,)* })+) => {$(
        $(#[$doc])*
        #[derive(ToSchema)]
        #[schema(rename_all = "camelCase")]
        #[expect(dead_code, reason = "describes what a route takes of a claim request")]
        pub(super) struct $name {
            /// The agent; the credential's agent when left out.
            #[schema(max_length = 240)]
            agent_id: Option<String>,
            $($(#[$of_field])* $field: $type,)*
            /// The session guard.
            #[schema(max_length = 240)]
            instance_id: Option<String>,
            /// The session guard.
            epoch: Option<i64>,
        }
    )+};
}

requests! {
    /// Who reads a message.
    Reading {}
    /// Who claims a message.
    Claiming {
        /// How long the claim lasts, in milliseconds: 300000 unless given, 1000 to 3600000.
        #[schema(minimum = 1000, maximum = 3600000)]
        lease_ms: Option<i64>,
    }
    /// Who prolongs a claim.
    Renewing {
        /// The generation that the claim was answered with.
        claim_generation: i64,
        /// How long the claim lasts from now on, in milliseconds: as long as before unless given, 1000 to 3600000.
        #[schema(minimum = 1000, maximum = 3600000)]
        lease_ms: Option<i64>,
    }
    /// Who holds a claim.
    Holding {
        /// The generation that the claim was answered with.
        claim_generation: i64,
    }
}

impl ClaimRequest {
    pub(super) fn claimant(&self) -> Result<Claimant, ApiError> {
        let guard = SessionGuard::parse(self.instance_id.clone(), self.epoch)?;
        Ok(Claimant { agent: self.agent_id.clone(), guard })
    }
}

/// Mark a message read by an agent.
#[utoipa::path(post, path = "/api/messages/{id}/read", tag = "messages", params(("id" = i64, Path)),
    request_body = Reading, responses((status = 200, description = "The message", body = Message)))]
pub(super) async fn read_message(
    State(relay): State<Relay>,
    caller: Authenticated,
    Path(id): Path<MessageId>,
    Json(request): Json<ClaimRequest>,
) -> Result<Response, ApiError> {
    Ok(answer::json(StatusCode::OK, &relay.read_message(&caller, id, request.claimant()?).await?))
}

/// Claim a message: exactly one agent holds it.
#[utoipa::path(post, path = "/api/messages/{id}/claim", tag = "messages", params(("id" = i64, Path)),
    request_body = Claiming,
    responses((status = 200, description = "The message with its `claimGeneration`", body = Message)))]
pub(super) async fn claim_message(
    State(relay): State<Relay>,
    caller: Authenticated,
    Path(id): Path<MessageId>,
    Json(request): Json<ClaimRequest>,
) -> Result<Response, ApiError> {
    let message = relay.claim_message(&caller, id, request.claimant()?, request.lease_ms).await?;
    Ok(answer::json(StatusCode::OK, &message))
}

/// Prolong a claim.
#[utoipa::path(post, path = "/api/messages/{id}/claim/renew", tag = "messages", params(("id" = i64, Path)),
    request_body = Renewing, responses((status = 200, description = "The message", body = Message)))]
pub(super) async fn renew_claim(
    State(relay): State<Relay>,
    caller: Authenticated,
    Path(id): Path<MessageId>,
    Json(request): Json<ClaimRequest>,
) -> Result<Response, ApiError> {
    let (who, generation) = (request.claimant()?, request.claim_generation);
    let message = relay.renew_claim(&caller, id, who, generation, request.lease_ms).await?;
    Ok(answer::json(StatusCode::OK, &message))
}

/// Give a claim back.
#[utoipa::path(post, path = "/api/messages/{id}/claim/release", tag = "messages", params(("id" = i64, Path)),
    request_body = Holding, responses((status = 200, description = "The message", body = Message)))]
pub(super) async fn release_claim(
    State(relay): State<Relay>,
    caller: Authenticated,
    Path(id): Path<MessageId>,
    Json(request): Json<ClaimRequest>,
) -> Result<Response, ApiError> {
    let message = relay.release_claim(&caller, id, request.claimant()?, request.claim_generation).await?;
    Ok(answer::json(StatusCode::OK, &message))
}

/// Finish claimed work for good.
#[utoipa::path(post, path = "/api/messages/{id}/claim/complete", tag = "messages", params(("id" = i64, Path)),
    request_body = Holding, responses((status = 200, description = "The message", body = Message)))]
pub(super) async fn complete_claim(
    State(relay): State<Relay>,
    caller: Authenticated,
    Path(id): Path<MessageId>,
    Json(request): Json<ClaimRequest>,
) -> Result<Response, ApiError> {
    let message = relay.complete_claim(&caller, id, request.claimant()?, request.claim_generation).await?;
    Ok(answer::json(StatusCode::OK, &message))
}

/// Delete a message for good.
#[utoipa::path(delete, path = "/api/messages/{id}", tag = "messages", params(("id" = i64, Path)),
    responses((status = 200, description = "It is gone", body = Done)))]
pub(super) async fn delete_message(
    State(relay): State<Relay>,
    caller: Authenticated,
    Path(id): Path<MessageId>,
) -> Result<Response, ApiError> {
    relay.delete_message(&caller, id).await?;
    Ok(ok())
}

/// What the relay tells everybody.
#[derive(Deserialize, ToSchema)]
pub(super) struct Broadcast {
    /// At most 200 characters.
    #[schema(max_length = 200)]
    subject: Option<String>,
    /// At most 256 KiB.
    #[schema(value_type = String, max_length = 262144, pattern = r"\S")]
    body: Option<String>,
}

/// Send a message from the relay to everybody.
#[utoipa::path(post, path = "/api/system/broadcast", tag = "system", request_body = Broadcast,
    responses((status = 201, description = "The message", body = Message)))]
pub(super) async fn broadcast(
    State(relay): State<Relay>,
    caller: Authenticated,
    Keyed { body, key }: Keyed<Broadcast>,
) -> Result<Response, ApiError> {
    Ok(answer::created(relay.broadcast(&caller, body.subject, body.body, key).await?))
}
