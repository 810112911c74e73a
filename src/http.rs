//! HTTP: every route in one screenful, and the server around them.
//!
//! A handler is a verb and a noun, and that is its operation id in the document. It parses, asks
//! whether the caller may, calls one verb of the store or one operation of the relay, and answers.

mod activity;
mod agents;
mod answer;
mod commands;
mod control;
mod decisions;
mod edge;
mod error;
mod events;
mod extract;
mod messages;
mod openapi;
mod orchestrators;
mod plugins;
mod serve;
mod system;

use axum::Router;
use axum::middleware::from_fn_with_state;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower_http::catch_panic::CatchPanicLayer;
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use self::error::ApiError;
use crate::domain::event::EventName;
use crate::relay::Relay;

pub use openapi::document_text;

/// Serves the relay until `shutdown`, then lets requests and streams end.
pub async fn serve(
    relay: Relay,
    listener: TcpListener,
    connections_max: usize,
    shutdown: CancellationToken,
    tasks: TaskTracker,
) {
    let router = router(relay);
    serve::serve(listener, router, connections_max, shutdown, tasks).await;
}

/// The routes with everything around them.
fn router(relay: Relay) -> Router {
    routes()
        .0
        .fallback(system::not_found)
        .layer(CatchPanicLayer::custom(|panic: Box<dyn std::any::Any + Send>| {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a handler panicked");
            axum::response::IntoResponse::into_response(ApiError::internal(text))
        }))
        .layer(from_fn_with_state(relay.clone(), edge::edge))
        .with_state(relay)
}

/// Every route.
fn routes() -> (Router<Relay>, OpenApi) {
    OpenApiRouter::with_openapi(openapi::base())
        // Agents
        .routes(routes!(agents::register_agent, agents::list_agents))
        .routes(routes!(agents::find_agents))
        .routes(routes!(agents::get_agent, agents::delete_agent))
        .routes(routes!(agents::set_agent_status))
        .routes(routes!(agents::set_agent_ready))
        .routes(routes!(agents::set_agent_label))
        .routes(routes!(agents::set_agent_tags))
        .routes(routes!(agents::heartbeat_agent))
        // Messages
        .routes(routes!(messages::create_message, messages::list_messages))
        .routes(routes!(messages::get_message_cursor))
        .routes(routes!(messages::get_message, messages::delete_message))
        .routes(routes!(messages::get_thread))
        .routes(routes!(messages::read_message))
        .routes(routes!(messages::claim_message))
        .routes(routes!(messages::renew_claim))
        .routes(routes!(messages::release_claim))
        .routes(routes!(messages::complete_claim))
        .routes(routes!(messages::broadcast))
        // Events
        .routes(routes!(events::stream_events))
        .routes(routes!(events::list_events))
        .routes(routes!(events::create_ticket))
        // Orchestrators
        .routes(routes!(orchestrators::register_orchestrator, orchestrators::list_orchestrators))
        .routes(routes!(orchestrators::get_orchestrator, orchestrators::delete_orchestrator))
        .routes(routes!(orchestrators::heartbeat_orchestrator))
        .routes(routes!(orchestrators::set_managed_agents))
        // Control
        .routes(routes!(control::create_agent_action))
        .routes(routes!(control::create_spawn))
        .routes(routes!(control::list_spawn_directories))
        .routes(routes!(control::create_orchestrator_spawn))
        .routes(routes!(control::create_orchestrator_action))
        .routes(routes!(commands::list_commands))
        .routes(routes!(commands::get_command, commands::report_command))
        // Plugins
        .routes(routes!(plugins::list_plugins))
        .routes(routes!(plugins::reload_plugins))
        .routes(routes!(plugins::evaluate_control))
        .routes(routes!(decisions::list_decisions))
        .routes(routes!(plugins::get_plugin))
        .routes(routes!(plugins::plan_spawn))
        .routes(routes!(plugins::rollback_plugin))
        .routes(routes!(plugins::enable_plugin))
        .routes(routes!(plugins::disable_plugin))
        .routes(routes!(plugins::allow_plugin))
        // Activity
        .routes(routes!(activity::create_activity, activity::list_activity))
        // System
        .routes(routes!(system::get_health))
        .routes(routes!(system::get_livez))
        .routes(routes!(system::get_readyz))
        .routes(routes!(system::get_stats))
        .routes(routes!(system::get_metrics))
        .routes(routes!(system::reap))
        .routes(routes!(system::get_spec))
        .split_for_parts()
}

/// The names of events, for the document.
fn events_schema() -> Value {
    let names: Vec<&str> = EventName::ALL.iter().map(|name| name.as_str()).collect();
    json!({"type": "string", "description": "The kinds of events on the stream.", "enum": names})
}
