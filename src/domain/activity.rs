//! Activity: the log of what happened, for people.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::refusal::Refusal;
use super::text;

/// What an entry is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ActivityKind {
    /// Messages.
    Message,
    /// Tasks.
    Task,
    /// Pairs.
    Pair,
    /// Agents and orchestrators coming and going.
    State,
    /// Control actions and what was decided.
    Control,
    /// Plugins.
    Plugin,
    /// Credentials.
    Security,
}

impl ActivityKind {
    /// The name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Message => "message",
            Self::Task => "task",
            Self::Pair => "pair",
            Self::State => "state",
            Self::Control => "control",
            Self::Plugin => "plugin",
            Self::Security => "security",
        }
    }

    /// The kind of this name.
    pub fn parse(name: &str) -> Result<Self, Refusal> {
        [Self::Message, Self::Task, Self::Pair, Self::State, Self::Control, Self::Plugin, Self::Security]
            .into_iter()
            .find(|kind| kind.as_str() == name)
            .ok_or_else(|| {
                Refusal::invalid("kind must be one of: message, task, pair, state, control, plugin, security")
            })
    }
}

/// An entry as clients see it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Activity {
    /// Increases with every entry.
    pub id: i64,
    /// Chosen by whoever wrote it; a repeat is ignored.
    pub client_id: String,
    /// What it is about.
    pub kind: ActivityKind,
    /// One line.
    pub title: String,
    /// More.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// A short note shown beside the title.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub meta: Option<String>,
    /// The icon of a dashboard.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub icon: Option<String>,
    /// The view of a dashboard that shows what it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub view: Option<String>,
    /// The message concerned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message_id: Option<i64>,
    /// The agent concerned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent_id: Option<String>,
    /// The task concerned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task_id: Option<i64>,
    /// Anything else.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub metadata: Option<Map<String, Value>>,
    /// When it was written, in milliseconds since the epoch.
    pub created_at: i64,
}

/// An entry to be written.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct NewActivity {
    /// Unique; a repeat is ignored.
    pub client_id: Option<String>,
    /// What it is about.
    pub kind: Option<String>,
    /// One line, at most 200 characters.
    pub title: Option<String>,
    /// More, at most 16 KiB.
    pub body: Option<String>,
    /// A short note.
    pub meta: Option<String>,
    /// The icon of a dashboard.
    pub icon: Option<String>,
    /// The view of a dashboard.
    pub view: Option<String>,
    /// The message concerned.
    pub message_id: Option<i64>,
    /// The agent concerned.
    pub agent_id: Option<String>,
    /// The task concerned.
    pub task_id: Option<i64>,
    /// Anything else, at most 16 KiB of JSON.
    #[schema(value_type = Option<Object>)]
    pub metadata: Option<Map<String, Value>>,
}

impl NewActivity {
    /// An entry the relay writes itself.
    pub fn new(kind: ActivityKind, client_id: String, title: impl Into<String>) -> Self {
        Self {
            client_id: Some(client_id),
            kind: Some(kind.as_str().to_owned()),
            title: Some(title.into()),
            ..Self::default()
        }
    }

    /// Checks bounds and trims; the id and the time are the store's to give.
    pub fn checked(self) -> Result<Activity, Refusal> {
        if let Some(metadata) = &self.metadata {
            text::object("metadata", metadata, text::META_BYTES_MAX)?;
        }
        Ok(Activity {
            id: 0,
            client_id: text::required("clientId", self.client_id, text::ID_MAX)?,
            kind: ActivityKind::parse(&text::required("kind", self.kind, text::WORD_MAX)?)?,
            title: text::required("title", self.title, 200)?,
            body: text::long("body", self.body, text::META_BYTES_MAX)?,
            meta: text::optional("meta", self.meta, text::ID_MAX)?,
            icon: text::optional("icon", self.icon, text::WORD_MAX)?,
            view: text::optional("view", self.view, text::WORD_MAX)?,
            message_id: self.message_id,
            agent_id: text::optional("agentId", self.agent_id, text::ID_MAX)?,
            task_id: self.task_id,
            metadata: self.metadata,
            created_at: 0,
        })
    }
}
