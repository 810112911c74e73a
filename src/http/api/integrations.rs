//! Integrations: events that services outside send, and those that could not be read.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::domain::id::DeliveryId;
use crate::domain::integration::{DeliveryFilter, EventDraft, IntegrationName, KeptDelivery, NAME_MAX, Source};
use crate::domain::page::{self, Limit};
use crate::domain::task::Task;
use crate::domain::text;
use crate::http::answer;
use crate::http::error::ApiError;
use crate::http::extract::{Authenticated, Path, Query};
use crate::http::signed::Event;
use crate::relay::{Created, Relay, Taken};

/// What is answered where there is no task to show.
#[derive(Serialize, ToSchema)]
pub(super) struct NoTask {
    /// True.
    ok: bool,
    /// Why nothing was to be done.
    #[serde(skip_serializing_if = "Option::is_none")]
    ignored: Option<String>,
    /// Whether the same id had come before.
    #[serde(skip_serializing_if = "Option::is_none")]
    replayed: Option<bool>,
}

/// The task, or why there is none.
#[derive(ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "describes an answer")]
pub(super) enum EventAnswer {
    /// The task that the event is about, as it is now.
    Task(Box<Task>),
    /// Nothing was to be done.
    NoTask(NoTask),
}

/// The form in which some services send JSON.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes a body")]
pub(super) struct EventForm {
    /// The event as JSON.
    payload: String,
}

fn answer(taken: Taken) -> Response {
    let task = |json, created| answer::created(Created { json, replayed: false, created });
    let none = |ignored, replayed| answer::json(StatusCode::OK, &NoTask { ok: true, ignored, replayed });
    match taken {
        Taken::Created(json) => task(json, true),
        Taken::Raised(json) | Taken::Resolved(json) => task(json, false),
        Taken::Replayed(Some(json)) => answer::replayed(task(json, false)),
        Taken::Replayed(None) => answer::replayed(none(None, Some(true))),
        Taken::Ignored(reason) => none(Some(reason), None),
        Taken::Unreadable(id, reason) => ApiError::internal(format!("delivery {id}: {reason}")).into_response(),
    }
}

/// Tell of an event: it becomes a task.
///
/// A credential with the scope `integration` lets it in, or `admin`; for an integration that is configured, a signature
/// over the raw body by its scheme does as well. Whoever presents both must have both right. `webhook-id`,
/// `X-GitHub-Delivery` or `Idempotency-Key` is the id of the delivery: the same again makes nothing. What cannot be read is refused with 422
/// and kept as the delivery `deliveryId`, which can be tried again.
#[utoipa::path(post, path = "/api/integrations/{name}/events", tag = "integrations",
    params(("name" = String, Path, max_length = 64, pattern = "^[A-Za-z0-9][A-Za-z0-9._-]*$")),
    request_body(content((EventDraft = "application/json"), (EventForm = "application/x-www-form-urlencoded"))),
    responses((status = 201, description = "The task, on disk", body = Task),
              (status = 200, description = "The task of the same `dedupeKey` that is not finished, with one more of its \
                  `occurrences`; or the one that was made under the same id, marked by `Idempotency-Replayed: true`; or \
                  why there is none", body = EventAnswer)))]
pub(super) async fn create_event(State(relay): State<Relay>, event: Event) -> Response {
    let standing = event.standing;
    let mut response = match take(&relay, event).await {
        Ok(taken) => answer(taken),
        Err(error) => error.into_response(),
    };
    if let Some(standing) = standing {
        response.extensions_mut().insert(standing);
    }
    response
}

async fn take(relay: &Relay, event: Event) -> Result<Taken, ApiError> {
    event.check_type()?;
    let body = event.body.to_vec();
    Ok(relay.take_event(event.proof(), &event.name, |name| event.header(name), body).await?)
}

/// Which integrations.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct ListIntegrations {
    /// 100 unless given; at most 1000.
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: Option<i64>,
    /// Only those after this name: the next page.
    #[param(max_length = 64)]
    after: Option<String>,
}

/// List integrations by name: those that are configured, and those that were heard from.
///
/// Of the others than configured ones the 100 heard from last are shown. No secret is.
#[utoipa::path(get, path = "/api/integrations", tag = "integrations", params(ListIntegrations),
    responses((status = 200, description = "A page; the next one is in the Link header", body = Vec<Source>)))]
pub(super) async fn list_integrations(
    State(relay): State<Relay>,
    caller: Authenticated,
    Query(query): Query<ListIntegrations>,
) -> Result<Response, ApiError> {
    let (after, limit) = (text::optional("after", query.after, NAME_MAX)?, Limit::parse(query.limit)?);
    let page = relay.list_integrations(&caller, after.as_deref(), limit).await?;
    let next = |last: &String| page::Query::default().with("limit", Some(limit)).with("after", Some(last));
    Ok(answer::page("/api/integrations", &page, next))
}

/// Which deliveries.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct ListDeliveries {
    /// 100 unless given; at most 1000.
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: Option<i64>,
    /// Only those with a smaller id: the next page.
    before: Option<i64>,
}

/// List deliveries of an integration that could not be read, newest first.
///
/// The newest 100 of each integration are kept, with up to 64 KiB of the body and with headers that are no
/// credentials.
#[utoipa::path(get, path = "/api/integrations/{name}/deliveries", tag = "integrations",
    params(("name" = String, Path, max_length = 64, pattern = "^[A-Za-z0-9][A-Za-z0-9._-]*$"), ListDeliveries),
    responses((status = 200, description = "A page; the next one is in the Link header", body = Vec<KeptDelivery>)))]
pub(super) async fn list_deliveries(
    State(relay): State<Relay>,
    caller: Authenticated,
    Path(name): Path<String>,
    Query(query): Query<ListDeliveries>,
) -> Result<Response, ApiError> {
    let limit = Limit::parse(query.limit)?;
    let integration = IntegrationName::parse(&name)?;
    let filter = DeliveryFilter { integration, before: query.before.map(DeliveryId::new), limit };
    let page = relay.list_deliveries(&caller, filter.clone()).await?;
    Ok(answer::page(&format!("/api/integrations/{name}/deliveries"), &page, |last| filter.page_after(*last)))
}

/// Try a delivery again that could not be read. Once it can be, it is kept no more; until then it is refused with 422.
#[utoipa::path(post, path = "/api/integrations/{name}/deliveries/{id}/retry", tag = "integrations",
    params(("name" = String, Path, max_length = 64, pattern = "^[A-Za-z0-9][A-Za-z0-9._-]*$"), ("id" = i64, Path)),
    responses((status = 201, description = "The task that it made", body = Task),
              (status = 200, description = "The task that was there, or why there is none", body = EventAnswer)))]
pub(super) async fn retry_delivery(
    State(relay): State<Relay>,
    caller: Authenticated,
    Path((name, id)): Path<(String, DeliveryId)>,
) -> Result<Response, ApiError> {
    Ok(answer(relay.retry_delivery(&caller, &name, id).await?))
}
