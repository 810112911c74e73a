//! Activity: the log of what happened, for people.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::id::{ActivityId, AgentId, MessageId, TaskId};
use super::page::{Limit, Query};
use super::refusal::Refusal;
use super::text;
use super::text::json;
use super::text::word::words;
use super::time::Timestamp;

/// The longest title, in characters.
pub const TITLE_MAX: usize = 200;

words! {
    /// What an entry is about.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
    #[serde(rename_all = "lowercase")]
    pub enum ActivityKind {
        /// Messages.
        Message = "message",
        /// Tasks.
        Task = "task",
        /// Pairs.
        Pair = "pair",
        /// Agents and orchestrators coming and going.
        State = "state",
        /// Control actions and what was decided.
        Control = "control",
        /// Plugins.
        Plugin = "plugin",
        /// Credentials.
        Security = "security",
    }
}

/// An entry as clients see it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Activity {
    /// Increases with every entry.
    #[schema(value_type = i64)]
    pub id: ActivityId,
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
    #[schema(value_type = Option<i64>)]
    pub message_id: Option<MessageId>,
    /// The agent concerned.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub agent_id: Option<AgentId>,
    /// The task concerned.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<i64>)]
    pub task_id: Option<TaskId>,
    /// Anything else.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub metadata: Option<json::Object>,
    /// When it was written, in milliseconds since the epoch.
    #[schema(value_type = i64)]
    pub created_at: Timestamp,
}

/// An entry to be written.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct NewActivity {
    /// Unique; a repeat is ignored. What begins with `server-` is the relay's own.
    #[schema(value_type = String, max_length = 240, pattern = r"\S")]
    pub client_id: Option<String>,
    /// What it is about.
    #[schema(value_type = ActivityKind)]
    pub kind: Option<String>,
    /// One line, at most 200 characters.
    #[schema(value_type = String, max_length = 200, pattern = r"\S")]
    pub title: Option<String>,
    /// More, at most 16 KiB.
    #[schema(max_length = 16384)]
    pub body: Option<String>,
    /// A short note.
    #[schema(max_length = 240)]
    pub meta: Option<String>,
    /// The icon of a dashboard.
    #[schema(max_length = 120)]
    pub icon: Option<String>,
    /// The view of a dashboard.
    #[schema(max_length = 120)]
    pub view: Option<String>,
    /// The message concerned.
    pub message_id: Option<i64>,
    /// The agent concerned.
    #[schema(max_length = 240)]
    pub agent_id: Option<String>,
    /// The task concerned.
    pub task_id: Option<i64>,
    /// Anything else, at most 16 KiB of JSON.
    #[schema(value_type = Option<Object>)]
    pub metadata: Option<json::Object>,
}

impl NewActivity {
    /// Checks bounds and trims.
    pub fn parse(self) -> Result<Entry, Refusal> {
        if let Some(metadata) = &self.metadata {
            text::object("metadata", metadata, text::META_BYTES_MAX)?;
        }
        Ok(Entry {
            client_id: text::required("clientId", self.client_id, text::ID_MAX)?,
            kind: ActivityKind::named("kind", &text::required("kind", self.kind, text::WORD_MAX)?)?,
            title: text::required("title", self.title, TITLE_MAX)?,
            body: text::long("body", self.body, text::META_BYTES_MAX)?,
            meta: text::optional("meta", self.meta, text::ID_MAX)?,
            icon: text::optional("icon", self.icon, text::WORD_MAX)?,
            view: text::optional("view", self.view, text::WORD_MAX)?,
            message_id: self.message_id.map(MessageId::new),
            agent_id: AgentId::optional("agentId", self.agent_id)?,
            task_id: self.task_id.map(TaskId::new),
            metadata: self.metadata,
        })
    }
}

/// An entry within its bounds, to be written.
///
/// The relay's own entries are made of what was checked elsewhere under other bounds, so what is too
/// long for a field here is cut: an audit entry never makes the transaction fail that it tells about.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    client_id: String,
    kind: ActivityKind,
    title: String,
    body: Option<String>,
    meta: Option<String>,
    icon: Option<String>,
    view: Option<String>,
    message_id: Option<MessageId>,
    agent_id: Option<AgentId>,
    task_id: Option<TaskId>,
    metadata: Option<json::Object>,
}

impl Entry {
    /// What it is about.
    pub fn kind(&self) -> ActivityKind {
        self.kind
    }

    /// The agent concerned, if there is one.
    pub fn concerns(&self) -> Option<&AgentId> {
        self.agent_id.as_ref()
    }

    /// An entry of the relay's own. `id` tells it apart from all others: an entry whose id is there
    /// already is not written again. It is kept as `server-ID`, which clients cannot send.
    pub fn new(kind: ActivityKind, id: &str, title: &str) -> Self {
        Self {
            client_id: text::clipped(&format!("server-{id}"), text::ID_MAX),
            kind,
            title: text::clipped(title, TITLE_MAX),
            body: None,
            meta: None,
            icon: None,
            view: None,
            message_id: None,
            agent_id: None,
            task_id: None,
            metadata: None,
        }
    }

    /// With more text below the title.
    #[must_use]
    pub fn body(self, body: &str) -> Self {
        let body = text::clipped_bytes(body, text::META_BYTES_MAX);
        Self { body: (!body.trim().is_empty()).then(|| body.to_owned()), ..self }
    }

    /// With a short note beside the title.
    #[must_use]
    pub fn meta(self, meta: &str) -> Self {
        let meta = text::clipped(meta, text::ID_MAX);
        Self { meta: (!meta.is_empty()).then_some(meta), ..self }
    }

    /// With this icon of the dashboard.
    #[must_use]
    pub fn icon(self, icon: &'static str) -> Self {
        Self { icon: Some(icon.to_owned()), ..self }
    }

    /// With the view of the dashboard that shows what it is about.
    #[must_use]
    pub fn view(self, view: &'static str) -> Self {
        Self { view: Some(view.to_owned()), ..self }
    }

    /// About this message.
    #[must_use]
    pub fn message(self, message: impl Into<Option<MessageId>>) -> Self {
        Self { message_id: message.into(), ..self }
    }

    /// About this task.
    #[must_use]
    pub fn task(self, task: TaskId) -> Self {
        Self { task_id: Some(task), ..self }
    }

    /// About this agent, whose streams are told of it.
    #[must_use]
    pub fn agent(self, agent: impl Into<Option<AgentId>>) -> Self {
        Self { agent_id: agent.into(), ..self }
    }

    /// With more for programs. What is no object, or larger than 16 KiB of JSON, is left out.
    #[must_use]
    pub fn metadata(self, metadata: Value) -> Self {
        if !metadata.is_object() {
            return self;
        }
        let metadata = json::Object::from(metadata);
        let fits = text::object("metadata", &metadata, text::META_BYTES_MAX).is_ok();
        Self { metadata: fits.then_some(metadata), ..self }
    }

    /// What tells it apart from all others.
    pub fn client_id(&self) -> &str {
        &self.client_id
    }

    /// The entry as it is stored under this id.
    pub fn stored(self, id: ActivityId, now: Timestamp) -> Activity {
        Activity {
            id,
            client_id: self.client_id,
            kind: self.kind,
            title: self.title,
            body: self.body,
            meta: self.meta,
            icon: self.icon,
            view: self.view,
            message_id: self.message_id,
            agent_id: self.agent_id,
            task_id: self.task_id,
            metadata: self.metadata,
            created_at: now,
        }
    }
}

/// Which entries to list.
#[derive(Clone, Debug, Default)]
pub struct ActivityFilter {
    /// Only those with a greater id.
    pub since: ActivityId,
    /// Only those with a smaller id: the next page.
    pub before: Option<ActivityId>,
    /// Only those of this kind.
    pub kind: Option<ActivityKind>,
    /// Only those about this agent.
    pub agent: Option<AgentId>,
    /// At most this many, newest first.
    pub limit: Limit,
}

impl ActivityFilter {
    /// The query of the page after this entry.
    pub fn page_after(&self, last: ActivityId) -> Query {
        Query::default()
            .with("since", (self.since > 0).then_some(self.since))
            .with("kind", self.kind)
            .with("agent", self.agent.as_ref())
            .with("limit", Some(self.limit))
            .with("before", Some(last))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_entry_of_the_relay_is_cut_to_what_a_client_might_have_sent() {
        let id = "x".repeat(400);
        let entry = Entry::new(ActivityKind::State, &id, &format!("one\ntwo {}", "t".repeat(400)))
            .body(&"\u{e9}".repeat(20_000))
            .meta(&id)
            .metadata(json!({"large": "y".repeat(20_000)}));
        let sent = NewActivity {
            client_id: Some(entry.client_id.clone()),
            kind: Some(entry.kind.to_string()),
            title: Some(entry.title.clone()),
            body: entry.body.clone(),
            meta: entry.meta.clone(),
            ..NewActivity::default()
        };
        assert_eq!(entry.body.as_ref().map(String::len), Some(16 * 1024));
        assert_eq!(sent.parse().unwrap(), entry);
    }

    #[test]
    fn what_is_blank_is_left_out() {
        let entry = Entry::new(ActivityKind::State, "id", "title").body(" \n").meta("\u{7}");
        assert_eq!((entry.body, entry.meta), (None, None));
    }
}
