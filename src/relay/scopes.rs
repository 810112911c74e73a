//! Which scopes open which operation, one line each; `admin` opens all of them.
//!
//! The routes name these constants, the document shows them as `security`, and each operation requires its own,
//! whichever front door it was called through. What a credential that is bound to an agent may do *within* an
//! operation (act as that agent alone) is checked there as well.

use crate::domain::caller::Scope::{Agent, Control, Integration, Metrics, Orchestrator, Read, Send};
use crate::domain::caller::Scopes;

/// Operations that need no credential at all: what a load balancer and a newcomer ask for.
pub const PUBLIC: Scopes = Scopes::Public;

const ADMIN: Scopes = Scopes::AnyOf(&[]);

// Agents
pub(crate) const REGISTER_AGENT: Scopes = Scopes::AnyOf(&[Agent]);
pub(crate) const CHANGE_AGENT: Scopes = Scopes::AnyOf(&[Agent]);
/// As the agent itself, or for it.
pub(crate) const SET_ATTENTION: Scopes = Scopes::AnyOf(&[Agent, Control]);
pub(crate) const SET_CONDITION: Scopes = Scopes::AnyOf(&[Agent, Orchestrator]);
pub(crate) const REMOVE_AGENT: Scopes = Scopes::AnyOf(&[Agent]);
pub(crate) const READ_AGENTS: Scopes = Scopes::AnyOf(&[Read, Agent, Control]);

// Messages
pub(crate) const SEND_MESSAGE: Scopes = Scopes::AnyOf(&[Send, Agent]);
pub(crate) const READ_MESSAGES: Scopes = Scopes::AnyOf(&[Read, Agent, Orchestrator]);
pub(crate) const MARK_READ: Scopes = Scopes::AnyOf(&[Agent, Orchestrator]);
pub(crate) const CLAIM: Scopes = Scopes::AnyOf(&[Agent]);
pub(crate) const READ_DELIVERIES: Scopes = Scopes::AnyOf(&[Read, Agent, Orchestrator]);
/// What whoever runs a session shows to it.
pub(crate) const SHOW_NOTICES: Scopes = Scopes::AnyOf(&[Orchestrator]);
pub(crate) const DELETE_MESSAGE: Scopes = ADMIN;
pub(crate) const BROADCAST: Scopes = ADMIN;

// Pairs
pub(crate) const PAIR: Scopes = Scopes::AnyOf(&[Agent]);
pub(crate) const TALK_IN_PAIR: Scopes = Scopes::AnyOf(&[Send, Agent]);
pub(crate) const READ_PAIRS: Scopes = Scopes::AnyOf(&[Read, Agent]);

// Channels
pub(crate) const DECLARE_CHANNEL: Scopes = Scopes::AnyOf(&[Send, Agent]);
pub(crate) const READ_CHANNELS: Scopes = Scopes::AnyOf(&[Read, Agent]);

// Tasks
pub(crate) const CREATE_TASK: Scopes = Scopes::AnyOf(&[Send, Agent]);
pub(crate) const READ_TASKS: Scopes = Scopes::AnyOf(&[Read, Agent]);
pub(crate) const WORK_ON_TASK: Scopes = Scopes::AnyOf(&[Agent]);
pub(crate) const ANSWER_TASK: Scopes = Scopes::AnyOf(&[Agent]);

// Integrations
/// A signature by an integration's own secret opens it as well, for that integration alone.
pub(crate) const SEND_EVENT: Scopes = Scopes::AnyOf(&[Integration]);
pub(crate) const READ_INTEGRATIONS: Scopes = Scopes::AnyOf(&[Read]);
pub(crate) const RETRY_DELIVERY: Scopes = Scopes::AnyOf(&[Control]);
// Callbacks
pub(crate) const READ_CALLBACKS: Scopes = Scopes::AnyOf(&[Read]);
pub(crate) const RETRY_CALLBACK: Scopes = Scopes::AnyOf(&[Control]);

// Events
pub(crate) const FOLLOW_EVENTS: Scopes = Scopes::AnyOf(&[Read, Agent, Orchestrator]);
/// Following what concerns everybody.
pub(crate) const FOLLOW_EVERYTHING: Scopes = Scopes::AnyOf(&[Read]);

// Orchestrators
pub(crate) const BE_ORCHESTRATOR: Scopes = Scopes::AnyOf(&[Orchestrator]);
pub(crate) const READ_ORCHESTRATORS: Scopes = Scopes::AnyOf(&[Read, Orchestrator, Control]);

// Control
pub(crate) const CONTROL: Scopes = Scopes::AnyOf(&[Control]);
pub(crate) const LIST_DIRECTORIES: Scopes = Scopes::AnyOf(&[Read, Control]);
pub(crate) const READ_COMMANDS: Scopes = Scopes::AnyOf(&[Read, Agent, Orchestrator, Control]);
pub(crate) const REPORT_COMMAND: Scopes = Scopes::AnyOf(&[Agent, Orchestrator]);

// Plugins
pub(crate) const READ_PLUGINS: Scopes = Scopes::AnyOf(&[Read, Control]);
pub(crate) const OPERATE_PLUGINS: Scopes = ADMIN;

// Activity
pub(crate) const READ_ACTIVITY: Scopes = Scopes::AnyOf(&[Read]);
pub(crate) const WRITE_ACTIVITY: Scopes = Scopes::AnyOf(&[Send, Agent, Orchestrator]);

// Attention
pub(crate) const READ_ATTENTION: Scopes = Scopes::AnyOf(&[Read]);
pub(crate) const DISMISS_ATTENTION: Scopes = Scopes::AnyOf(&[Control]);

// Tokens
/// An orchestrator's makes them for the agents that it was told to start.
pub(crate) const CREATE_TOKEN: Scopes = Scopes::AnyOf(&[Orchestrator]);
pub(crate) const SEE_TO_TOKENS: Scopes = ADMIN;

// Tools
/// Each tool needs the scopes of the operation behind it as well.
pub(crate) const USE_TOOLS: Scopes = Scopes::AnyOf(&[Read, Send, Agent, Control, Orchestrator]);

// The relay itself
pub(crate) const READ_STATS: Scopes = Scopes::AnyOf(&[Read]);
pub(crate) const READ_METRICS: Scopes = Scopes::AnyOf(&[Metrics]);
pub(crate) const REAP: Scopes = Scopes::AnyOf(&[Control]);
