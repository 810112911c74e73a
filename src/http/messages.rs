//! Messages: sending, finding, reading, claiming.

use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use serde_json::json;
use utoipa::{IntoParams, ToSchema};

use super::answer::{self, json_text, ok};
use super::error::ApiError;
use super::extract::{Json, Keyed, Path, Query, Who, fingerprint};
use crate::domain::agent::{SYSTEM, SessionGuard, USER};
use crate::domain::caller::Scope;
use crate::domain::event::EventName;
use crate::domain::event::EventTypes;
use crate::domain::id::{AgentId, MessageId};
use crate::domain::message::{CHANNEL_MAX, Draft, Message, MessageFilter, MessageType, NewMessage};
use crate::domain::page::{Limit, Page};
use crate::domain::refusal::Refusal;
use crate::domain::text;
use crate::domain::time::Timestamp;
use crate::relay::Relay;
use crate::store::Idempotency;
use crate::stream::Listen;

/// Send a message.
#[utoipa::path(post, path = "/api/messages", tag = "messages", request_body = Draft,
    responses((status = 201, description = "Stored; on disk and visible to readers and streams", body = Message),
              (status = 200, description = "Stored before under the same key", body = Message)))]
pub(super) async fn create_message(
    State(relay): State<Relay>,
    who: Who,
    Keyed { body: draft, idempotency }: Keyed<Draft>,
) -> Result<Response, ApiError> {
    who.require(&[Scope::Send, Scope::Agent])?;
    let message = draft.parse(who.agent_id.as_ref(), Timestamp::now())?;
    check_sender(&who, &message)?;
    let idempotency = key_of_body(&who, &message, idempotency)?;
    relay.store.touch(&message.from);
    let answer = relay.store.send(message, idempotency).await?;
    Ok(answer::created(answer))
}

fn check_sender(who: &Who, message: &NewMessage) -> Result<(), ApiError> {
    who.require_identity(&message.from)?;
    let administrator = who.is_administrator();
    let refusal = match message.from.as_str() {
        SYSTEM => Some("only the relay itself sends as \"system\""),
        USER if !administrator => Some("only an administrator sends as \"user\""),
        _ if message.kind == MessageType::System && !administrator => {
            Some("messages of type system need a credential with scope admin")
        }
        _ => None,
    };
    refusal.map_or(Ok(()), |text| Err(Refusal::NotAllowed(text.to_owned()).into()))
}

/// A key in the body counts as the header does; the header wins.
fn key_of_body(
    who: &Who,
    message: &NewMessage,
    of_header: Option<Idempotency>,
) -> Result<Option<Idempotency>, ApiError> {
    let (None, Some(key)) = (&of_header, &message.idempotency_key) else { return Ok(of_header) };
    let body = json!({
        "from": message.from, "to": message.to, "type": message.kind, "subject": message.subject,
        "body": message.body, "channel": message.channel, "replyTo": message.reply_to,
        "claimable": message.claimable, "meta": message.meta, "expiresAt": message.expires_at,
    });
    Ok(Some(Idempotency {
        scope: format!("{} POST /api/messages", who.principal()),
        key: key.clone(),
        fingerprint: fingerprint(body.to_string().as_bytes())?,
    }))
}

/// Which messages to list.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct ListMessages {
    /// Only those that reach this agent and are still to be delivered.
    r#for: Option<String>,
    /// Only those with a greater id.
    since: Option<i64>,
    /// With `for`: only those that agent has not marked read.
    unread: Option<bool>,
    /// Only those from this sender.
    from: Option<String>,
    /// Only those to this target.
    to: Option<String>,
    /// Only those of this channel.
    channel: Option<String>,
    /// Only those of this thread.
    thread: Option<i64>,
    /// `message` or `system`.
    r#type: Option<String>,
    /// 100 unless given; at most 1000.
    limit: Option<i64>,
    /// Wait up to this many seconds, at most 60, until there is one.
    wait: Option<u64>,
}

/// The longest a long poll waits, in seconds.
const WAIT_MAX: u64 = 60;

/// List messages, oldest first.
#[utoipa::path(get, path = "/api/messages", tag = "messages", params(ListMessages),
    responses((status = 200, description = "A page; the next one is in the Link header", body = Vec<Message>)))]
pub(super) async fn list_messages(
    State(relay): State<Relay>,
    who: Who,
    Query(query): Query<ListMessages>,
) -> Result<Response, ApiError> {
    who.require(&[Scope::Read, Scope::Agent])?;
    let wait = wait(query.wait)?;
    let reaching = AgentId::optional("for", query.r#for)?;
    if let Some(bound) = &who.agent_id {
        match &reaching {
            Some(agent) => who.require_identity(agent)?,
            None => {
                return Err(Refusal::WrongIdentity { bound: bound.clone(), asked: "everybody".to_owned() }.into());
            }
        }
    }
    if let Some(agent) = &reaching
        && who.agent_id.is_some()
    {
        relay.store.touch(agent);
    }
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
    if filter.unread && filter.reaching.is_none() {
        return Err(ApiError::invalid("unread needs for=AGENT"));
    }
    let page = poll_messages(&relay, filter.clone(), wait).await?;
    Ok(answer::page("/api/messages", &page, |last| filter.page_after(last)))
}

/// Reads, and while there is nothing waits for a message that may match and reads again.
async fn poll_messages(relay: &Relay, filter: MessageFilter, wait: Duration) -> Result<Page<Message>, ApiError> {
    if wait.is_zero() {
        return Ok(relay.store.messages(filter).await?);
    }
    let listen = filter.reaching.clone().map_or(Listen::All, Listen::Agent);
    // Subscribed before the first read, so that nothing falls between reading and waiting.
    let types = EventTypes::NONE.with(EventName::MessageNew);
    let subscription = relay.subscribe(listen.clone(), types)?;
    if let Listen::Agent(agent) = listen {
        let version = subscription.routes_version();
        subscription.set_routes(relay.store.routes(agent).await?, version);
    }
    let deadline = tokio::time::Instant::now() + wait;
    loop {
        let messages = relay.store.messages(filter.clone()).await?;
        if !messages.entries.is_empty() {
            return Ok(messages);
        }
        tokio::select! {
            _ = subscription.take() => {}
            () = tokio::time::sleep_until(deadline) => return Ok(messages),
            () = relay.draining.cancelled() => return Ok(messages),
        }
    }
}

/// How long a request may wait, checked.
pub(super) fn wait(asked: Option<u64>) -> Result<Duration, ApiError> {
    match asked.unwrap_or(0) {
        seconds if seconds <= WAIT_MAX => Ok(Duration::from_secs(seconds)),
        _ => Err(ApiError::invalid(format!("wait must be at most {WAIT_MAX} seconds"))),
    }
}

/// The id of the newest message.
#[utoipa::path(get, path = "/api/messages/cursor", tag = "messages",
    responses((status = 200, description = "`latestId`, 0 when there is none", body = Object)))]
pub(super) async fn get_message_cursor(State(relay): State<Relay>, who: Who) -> Result<Response, ApiError> {
    who.require(&[Scope::Read, Scope::Agent])?;
    let latest = relay.store.latest_message_id().await?;
    Ok(answer::json(StatusCode::OK, &json!({"latestId": latest})))
}

/// One message.
#[utoipa::path(get, path = "/api/messages/{id}", tag = "messages", params(("id" = i64, Path)),
    responses((status = 200, description = "The message, expired or not", body = Message)))]
pub(super) async fn get_message(
    State(relay): State<Relay>,
    who: Who,
    Path(id): Path<MessageId>,
) -> Result<Response, ApiError> {
    who.require(&[Scope::Read, Scope::Agent])?;
    let message = relay.store.message(id).await?;
    require_concerned(&relay, &who, &message).await?;
    Ok(answer::json(StatusCode::OK, &message))
}

/// The whole thread of a message, oldest first.
#[utoipa::path(get, path = "/api/messages/{id}/thread", tag = "messages", params(("id" = i64, Path)),
    responses((status = 200, description = "At most 1000 messages", body = Vec<Message>)))]
pub(super) async fn get_thread(
    State(relay): State<Relay>,
    who: Who,
    Path(id): Path<MessageId>,
) -> Result<Response, ApiError> {
    who.require(&[Scope::Read, Scope::Agent])?;
    let mut thread = relay.store.thread(id).await?;
    if let Some(agent) = &who.agent_id {
        let routes = relay.store.routes(agent.clone()).await?;
        thread.retain(|message| message.from == *agent || routes.reach(&message.to, &message.from, message.created_at));
    }
    Ok(answer::json(StatusCode::OK, &thread))
}

/// A credential that is bound to an agent reads what that agent sent or got.
async fn require_concerned(relay: &Relay, who: &Who, message: &Message) -> Result<(), ApiError> {
    let Some(agent) = &who.agent_id else { return Ok(()) };
    let routes = relay.store.routes(agent.clone()).await?;
    if message.from == *agent || routes.reach(&message.to, &message.from, message.created_at) {
        return Ok(());
    }
    Err(Refusal::NotAddressed { id: message.id, agent: agent.clone() }.into())
}

/// What a request about a message's claim says.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct ClaimRequest {
    /// The agent that claims; the credential's agent when left out.
    agent_id: Option<String>,
    /// The generation that the claim was answered with.
    claim_generation: Option<i64>,
    /// How long the claim lasts, in milliseconds: 300000 unless given, 1000 to 3600000.
    lease_ms: Option<i64>,
    /// The session guard.
    instance_id: Option<String>,
    /// The session guard.
    epoch: Option<i64>,
}

impl ClaimRequest {
    fn agent(&self, who: &Who) -> Result<AgentId, ApiError> {
        who.require(&[Scope::Send, Scope::Agent])?;
        let named = AgentId::optional("agentId", self.agent_id.clone())?;
        let agent = named.or_else(|| who.agent_id.clone()).ok_or_else(|| ApiError::invalid("agentId required"))?;
        who.require_identity(&agent)?;
        Ok(agent)
    }

    fn guard(&self) -> SessionGuard {
        SessionGuard { instance_id: self.instance_id.clone(), epoch: self.epoch }
    }

    fn generation(&self) -> Result<i64, ApiError> {
        self.claim_generation.ok_or_else(|| ApiError::invalid("claimGeneration required"))
    }
}

/// Mark a message read by an agent.
#[utoipa::path(post, path = "/api/messages/{id}/read", tag = "messages", params(("id" = i64, Path)),
    request_body = ClaimRequest, responses((status = 200, description = "The message", body = Message)))]
pub(super) async fn read_message(
    State(relay): State<Relay>,
    who: Who,
    Path(id): Path<MessageId>,
    Json(request): Json<ClaimRequest>,
) -> Result<Response, ApiError> {
    let agent = request.agent(&who)?;
    relay.store.touch(&agent);
    Ok(answer::json(StatusCode::OK, &relay.store.mark_read(id, agent, request.guard()).await?))
}

/// Claim a message: exactly one agent holds it.
#[utoipa::path(post, path = "/api/messages/{id}/claim", tag = "messages", params(("id" = i64, Path)),
    request_body = ClaimRequest,
    responses((status = 200, description = "The message with its `claimGeneration`", body = Message)))]
pub(super) async fn claim_message(
    State(relay): State<Relay>,
    who: Who,
    Path(id): Path<MessageId>,
    Json(request): Json<ClaimRequest>,
) -> Result<Response, ApiError> {
    let agent = request.agent(&who)?;
    relay.store.touch(&agent);
    Ok(answer::json(StatusCode::OK, &relay.store.claim(id, agent, request.guard(), request.lease_ms).await?))
}

/// Prolong a claim.
#[utoipa::path(post, path = "/api/messages/{id}/claim/renew", tag = "messages", params(("id" = i64, Path)),
    request_body = ClaimRequest, responses((status = 200, description = "The message", body = Message)))]
pub(super) async fn renew_claim(
    State(relay): State<Relay>,
    who: Who,
    Path(id): Path<MessageId>,
    Json(request): Json<ClaimRequest>,
) -> Result<Response, ApiError> {
    let (agent, generation) = (request.agent(&who)?, request.generation()?);
    relay.store.touch(&agent);
    let message = relay.store.renew_claim(id, agent, request.guard(), generation, request.lease_ms).await?;
    Ok(answer::json(StatusCode::OK, &message))
}

/// Give a claim back.
#[utoipa::path(post, path = "/api/messages/{id}/claim/release", tag = "messages", params(("id" = i64, Path)),
    request_body = ClaimRequest, responses((status = 200, description = "The message", body = Message)))]
pub(super) async fn release_claim(
    State(relay): State<Relay>,
    who: Who,
    Path(id): Path<MessageId>,
    Json(request): Json<ClaimRequest>,
) -> Result<Response, ApiError> {
    let (agent, generation) = (request.agent(&who)?, request.generation()?);
    relay.store.touch(&agent);
    Ok(answer::json(StatusCode::OK, &relay.store.release_claim(id, agent, request.guard(), generation).await?))
}

/// Finish claimed work for good.
#[utoipa::path(post, path = "/api/messages/{id}/claim/complete", tag = "messages", params(("id" = i64, Path)),
    request_body = ClaimRequest, responses((status = 200, description = "The message", body = Message)))]
pub(super) async fn complete_claim(
    State(relay): State<Relay>,
    who: Who,
    Path(id): Path<MessageId>,
    Json(request): Json<ClaimRequest>,
) -> Result<Response, ApiError> {
    let (agent, generation) = (request.agent(&who)?, request.generation()?);
    relay.store.touch(&agent);
    Ok(answer::json(StatusCode::OK, &relay.store.complete_claim(id, agent, request.guard(), generation).await?))
}

/// Delete a message for good.
#[utoipa::path(delete, path = "/api/messages/{id}", tag = "messages", params(("id" = i64, Path)),
    responses((status = 200, description = "`ok`", body = Object)))]
pub(super) async fn delete_message(
    State(relay): State<Relay>,
    who: Who,
    Path(id): Path<MessageId>,
) -> Result<Response, ApiError> {
    who.require(&[Scope::Send, Scope::Agent])?;
    if who.agent_id.is_some() {
        let message = relay.store.message(id).await?;
        who.require_identity(&message.from)?;
    }
    relay.store.delete_message(id).await?;
    Ok(ok())
}

/// What the relay tells everybody.
#[derive(Deserialize, ToSchema)]
pub(super) struct Broadcast {
    /// At most 200 characters.
    subject: Option<String>,
    /// At most 256 KiB.
    body: Option<String>,
}

/// Send a message from the relay to everybody.
#[utoipa::path(post, path = "/api/system/broadcast", tag = "system", request_body = Broadcast,
    responses((status = 201, description = "The message", body = Message)))]
pub(super) async fn broadcast(
    State(relay): State<Relay>,
    who: Who,
    Keyed { body, idempotency }: Keyed<Broadcast>,
) -> Result<Response, ApiError> {
    who.require(&[])?;
    let draft = Draft {
        from: Some(SYSTEM.to_owned()),
        to: Some("broadcast".to_owned()),
        kind: Some(MessageType::System.as_str().to_owned()),
        subject: body.subject,
        body: body.body,
        ..Draft::default()
    };
    let answer = relay.store.send(draft.parse(None, Timestamp::now())?, idempotency).await?;
    Ok(json_text(if answer.replayed { StatusCode::OK } else { StatusCode::CREATED }, answer))
}
