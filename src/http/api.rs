//! Every route in one screenful, a file for each noun.
//!
//! A handler is a verb and a noun, and that is its operation id in the document. It parses, calls one operation
//! of the relay, and answers. Who may is said beside each route, by the scopes that open its operation.

mod activity;
mod agents;
mod attention;
mod callbacks;
mod channels;
mod commands;
mod control;
mod deliveries;
pub(super) mod events;
mod integrations;
pub(super) mod messages;
mod orchestrators;
mod pairs;
mod plugins;
pub(super) mod system;
mod tasks;
mod tokens;

use utoipa_axum::routes;

use super::routes::{Assembled, Routes, openapi};
use crate::mcp;
use crate::relay::scopes;

/// Every route, with the scopes that open it.
pub(super) fn routes() -> Assembled {
    Routes::new(openapi::base())
        // Agents
        .add(scopes::REGISTER_AGENT, routes!(agents::register_agent))
        .add(scopes::READ_AGENTS, routes!(agents::list_agents))
        .add(scopes::READ_AGENTS, routes!(agents::find_agents))
        .add(scopes::READ_AGENTS, routes!(agents::get_agent))
        .add(scopes::REMOVE_AGENT, routes!(agents::delete_agent))
        .add(scopes::CHANGE_AGENT, routes!(agents::set_agent_status))
        .add(scopes::CHANGE_AGENT, routes!(agents::set_agent_ready))
        .add(scopes::CHANGE_AGENT, routes!(agents::set_agent_label))
        .add(scopes::CHANGE_AGENT, routes!(agents::set_agent_tags))
        .add(scopes::SET_CONDITION, routes!(agents::set_agent_condition))
        .add(scopes::SET_ATTENTION, routes!(agents::set_agent_attention))
        .add(scopes::CHANGE_AGENT, routes!(agents::heartbeat_agent))
        .add(scopes::SHOW_NOTICES, routes!(deliveries::get_notice))
        .add(scopes::SHOW_NOTICES, routes!(deliveries::report_notice))
        // Messages
        .add(scopes::SEND_MESSAGE, routes!(messages::create_message))
        .add(scopes::READ_MESSAGES, routes!(messages::list_messages))
        .add(scopes::READ_MESSAGES, routes!(messages::get_message_cursor))
        .add(scopes::READ_MESSAGES, routes!(messages::get_message))
        .add(scopes::DELETE_MESSAGE, routes!(messages::delete_message))
        .add(scopes::READ_MESSAGES, routes!(messages::get_thread))
        .add(scopes::READ_DELIVERIES, routes!(deliveries::list_message_deliveries))
        .add(scopes::MARK_READ, routes!(messages::read_message))
        .add(scopes::CLAIM, routes!(messages::claim_message))
        .add(scopes::CLAIM, routes!(messages::renew_claim))
        .add(scopes::CLAIM, routes!(messages::release_claim))
        .add(scopes::CLAIM, routes!(messages::complete_claim))
        .add(scopes::BROADCAST, routes!(messages::broadcast))
        // Pairs
        .add(scopes::PAIR, routes!(pairs::create_pair))
        .add(scopes::READ_PAIRS, routes!(pairs::list_pairs))
        .add(scopes::READ_PAIRS, routes!(pairs::get_pair))
        .add(scopes::PAIR, routes!(pairs::accept_pair))
        .add(scopes::PAIR, routes!(pairs::reject_pair))
        .add(scopes::PAIR, routes!(pairs::end_pair))
        .add(scopes::TALK_IN_PAIR, routes!(pairs::create_pair_message))
        // Channels
        .add(scopes::DECLARE_CHANNEL, routes!(channels::create_channel))
        .add(scopes::READ_CHANNELS, routes!(channels::list_channels))
        // Tasks
        .add(scopes::CREATE_TASK, routes!(tasks::create_task))
        .add(scopes::READ_TASKS, routes!(tasks::list_tasks))
        .add(scopes::READ_TASKS, routes!(tasks::get_task))
        .add(scopes::WORK_ON_TASK, routes!(tasks::claim_task))
        .add(scopes::WORK_ON_TASK, routes!(tasks::renew_task))
        .add(scopes::WORK_ON_TASK, routes!(tasks::release_task))
        .add(scopes::WORK_ON_TASK, routes!(tasks::report_task))
        .add(scopes::ANSWER_TASK, routes!(tasks::answer_task))
        // Integrations
        .add_signed(scopes::SEND_EVENT, routes!(integrations::create_event))
        .add(scopes::READ_INTEGRATIONS, routes!(integrations::list_integrations))
        .add(scopes::READ_INTEGRATIONS, routes!(integrations::list_deliveries))
        .add(scopes::RETRY_DELIVERY, routes!(integrations::retry_delivery))
        // Callbacks
        .add(scopes::READ_CALLBACKS, routes!(callbacks::list_callbacks))
        .add(scopes::RETRY_CALLBACK, routes!(callbacks::retry_callback))
        // Events
        .add(scopes::FOLLOW_EVENTS, routes!(events::stream_events))
        .add(scopes::FOLLOW_EVENTS, routes!(events::list_events))
        .add(scopes::FOLLOW_EVENTS, routes!(events::create_ticket))
        // Orchestrators
        .add(scopes::BE_ORCHESTRATOR, routes!(orchestrators::register_orchestrator))
        .add(scopes::READ_ORCHESTRATORS, routes!(orchestrators::list_orchestrators))
        .add(scopes::READ_ORCHESTRATORS, routes!(orchestrators::get_orchestrator))
        .add(scopes::BE_ORCHESTRATOR, routes!(orchestrators::delete_orchestrator))
        .add(scopes::BE_ORCHESTRATOR, routes!(orchestrators::heartbeat_orchestrator))
        .add(scopes::BE_ORCHESTRATOR, routes!(orchestrators::set_managed_agents))
        // Control
        .add(scopes::CONTROL, routes!(control::create_agent_action))
        .add(scopes::CONTROL, routes!(control::create_spawn))
        .add(scopes::LIST_DIRECTORIES, routes!(control::list_spawn_directories))
        .add(scopes::CONTROL, routes!(control::create_orchestrator_spawn))
        .add(scopes::CONTROL, routes!(control::create_orchestrator_action))
        .add(scopes::READ_COMMANDS, routes!(commands::list_commands))
        .add(scopes::READ_COMMANDS, routes!(commands::get_command))
        .add(scopes::REPORT_COMMAND, routes!(commands::report_command))
        // Plugins
        .add(scopes::READ_PLUGINS, routes!(plugins::list_plugins))
        .add(scopes::OPERATE_PLUGINS, routes!(plugins::reload_plugins))
        .add(scopes::CONTROL, routes!(plugins::evaluate_control))
        .add(scopes::READ_PLUGINS, routes!(commands::list_decisions))
        .add(scopes::READ_PLUGINS, routes!(plugins::get_plugin))
        .add(scopes::CONTROL, routes!(plugins::plan_spawn))
        .add(scopes::OPERATE_PLUGINS, routes!(plugins::rollback_plugin))
        .add(scopes::OPERATE_PLUGINS, routes!(plugins::enable_plugin))
        .add(scopes::OPERATE_PLUGINS, routes!(plugins::disable_plugin))
        .add(scopes::OPERATE_PLUGINS, routes!(plugins::allow_plugin))
        // Tokens
        .add(scopes::CREATE_TOKEN, routes!(tokens::create_token))
        .add(scopes::SEE_TO_TOKENS, routes!(tokens::list_tokens))
        .add(scopes::SEE_TO_TOKENS, routes!(tokens::delete_token))
        // Activity
        .add(scopes::WRITE_ACTIVITY, routes!(activity::create_activity))
        .add(scopes::READ_ACTIVITY, routes!(activity::list_activity))
        // Attention
        .add(scopes::READ_ATTENTION, routes!(attention::list_attention))
        .add(scopes::DISMISS_ATTENTION, routes!(attention::dismiss_attention))
        // System
        .add(scopes::PUBLIC, routes!(system::get_health))
        .add(scopes::PUBLIC, routes!(system::get_livez))
        .add(scopes::PUBLIC, routes!(system::get_readyz))
        .add(scopes::READ_STATS, routes!(system::get_stats))
        .add(scopes::READ_METRICS, routes!(system::get_metrics))
        .add(scopes::REAP, routes!(system::reap))
        .add(scopes::PUBLIC, routes!(system::get_spec))
        // Tools for models, by a protocol of their own
        .add_beside(scopes::USE_TOOLS, mcp::PATH, super::mcp::route())
        .assemble()
}
