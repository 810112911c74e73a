//! Plans: what exactly a provider would run, and what it is told to make one.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::ApprovalMode;

/// What a provider is asked to plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SpawnRequest {
    /// The id the agent registers under.
    pub agent_id: String,
    /// What it may do by itself.
    pub approval_mode: ApprovalMode,
    /// A human name for the session.
    pub label: Option<String>,
    /// The first prompt.
    pub prompt: Option<String>,
    /// The program's own conversation that it is to go on with, as the session before it was seen to name it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resume: Option<String>,
    /// A fresh UUID that a new conversation may be given as its name, for a program that takes one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conversation: Option<String>,
}

/// The place a process starts in, as far as a plan needs to know it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LaunchSite {
    /// The approved working directory: absolute, resolved.
    pub cwd: String,
    /// The home directory of the user the process runs as.
    pub home: String,
    /// The name of this host.
    pub hostname: String,
    /// The session's private directory.
    pub session_dir: String,
    /// Where the agent finds the relay.
    pub relay_url: String,
    /// The environment variable that will hold the agent's own token.
    pub token_variable: String,
    /// The relay as a Model Context Protocol server, when it offers that.
    pub mcp_url: Option<String>,
    /// Host environment variables a plan may pass on by name.
    pub host_variables: Vec<String>,
    /// Whether the process would run as root.
    pub root: bool,
}

/// Where the value of an environment variable comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum EnvValue {
    /// This text.
    Literal(String),
    /// The value that this variable has on the host; left out when it has none.
    FromHost(String),
}

/// One environment variable of a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EnvVar {
    /// Its name.
    pub name: String,
    /// Where its value comes from.
    pub value: EnvValue,
}

/// A file to be written into the session directory before the program starts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SessionFile {
    /// A plain file name.
    pub name: String,
    /// Its contents.
    pub contents: String,
}

/// How the prompt reaches the program.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum PromptDelivery {
    /// There is none, or it is already among the arguments.
    #[default]
    InArguments,
    /// It is in this session file.
    InFile(String),
    /// The host types it once an input is seen on the screen.
    Typed,
    /// The relay sends it as the agent's first message.
    Message,
}

/// When a started program may be called up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Readiness {
    /// Up once one of these is on its screen, and no dialog below it. Without any, or besides, once its screen
    /// stands still with something that looks like an input, or once the agent says so itself.
    pub screen_texts: Vec<String>,
    /// In how many milliseconds it should be, at most [`SETTLE_MS_MAX`]. After them whoever asked is told what its
    /// screen shows; living on is no sign of being up.
    pub settle_ms: u32,
}

impl Default for Readiness {
    fn default() -> Self {
        Self { screen_texts: Vec::new(), settle_ms: SETTLE_MS_MAX }
    }
}

/// The longest a plan may ask the host to wait before it tells that a program is not up.
pub const SETTLE_MS_MAX: u32 = 60_000;

/// What exactly would be run. [`crate::plugins`] checks every plan before anybody sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// A program name or absolute path.
    pub program: String,
    /// Its arguments; no shell reads them.
    pub args: Vec<String>,
    /// Its environment, beside what the host always gives.
    pub env: Vec<EnvVar>,
    /// The approved working directory.
    pub cwd: String,
    /// Files for the session directory.
    pub files: Vec<SessionFile>,
    /// How the prompt reaches the program.
    pub prompt: PromptDelivery,
    /// When the program may be called up.
    pub ready: Readiness,
    /// Whether it goes on with the conversation that was asked for.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub resumed: bool,
}

/// A message about to be typed into a running session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct IncomingMessage {
    /// The message's id.
    pub id: u64,
    /// Who sent it.
    pub sender: String,
    /// Its subject.
    pub subject: Option<String>,
    /// Its text.
    pub body: String,
    /// Whether it may disturb a turn in progress.
    pub interrupt: bool,
}

/// What is typed into a running session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Presentation {
    /// Keys pressed before the text, in the terminal's names.
    pub keys_before: Vec<String>,
    /// The text.
    pub text: String,
    /// Whether Enter follows.
    pub submit: bool,
}

/// Why a session is asked to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// Somebody asked for it.
    Shutdown,
    /// It will be started again.
    Restart,
    /// It never came up.
    Failed,
}

/// How a running session is asked to end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StopPlan {
    /// Keys that ask the program to end, pressed in order.
    pub keys: Vec<String>,
    /// How long it may take, in milliseconds, before it is ended by force.
    pub grace_ms: u32,
}
