//! Drafts: a task as a client asks for it, and what is left to do once it is checked.

use serde::{Deserialize, Serialize};
use url::Url;
use utoipa::ToSchema;

use super::{NOTE_BYTES_MAX, Severity, TITLE_MAX, Task, TaskKind, TaskStatus};
use crate::domain::agent::USER;
use crate::domain::id::{AgentId, MessageId, TaskId};
use crate::domain::message::{NewMessage, Sender, check_target, is_group};
use crate::domain::refusal::Refusal;
use crate::domain::text;
use crate::domain::text::json;
use crate::domain::time::Timestamp;

/// The source of tasks that were asked for over the API.
pub const SOURCE_OF_API: &str = "api";
/// The most options of a question.
pub const OPTIONS_MAX: usize = 20;
/// The longest option, in characters.
pub const OPTION_MAX: usize = 200;
/// The most tasks that one may depend on.
pub const DEPENDENCIES_MAX: usize = 64;
/// The longest address of a callback.
pub const CALLBACK_URL_MAX: usize = 2_000;

/// A task as a client asks for it.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TaskDraft {
    /// Who asks for it; the credential's agent when left out, and nobody without one.
    #[schema(max_length = 240)]
    pub from: Option<String>,
    /// `work` (default), `question` or `approval`.
    #[schema(value_type = Option<TaskKind>)]
    pub kind: Option<String>,
    /// One line, at most 200 characters.
    #[schema(value_type = String, max_length = 200, pattern = r"\S")]
    pub title: Option<String>,
    /// At most 256 KiB; kept as it is.
    #[schema(max_length = 262144)]
    pub body: Option<String>,
    /// `info` (default), `warning` or `critical`.
    #[schema(value_type = Option<Severity>)]
    pub severity: Option<String>,
    /// Whom it is for, as in a message. Without one work is for anybody and no message is sent, and a question is
    /// for `user`.
    #[schema(max_length = 300)]
    pub target: Option<String>,
    /// While a task with the same key is not finished, this one only raises its `occurrences`.
    #[schema(max_length = 200)]
    pub dedupe_key: Option<String>,
    /// Where its changes are sent: `http` or `https`, without a user name or password.
    #[schema(max_length = 2000)]
    pub callback_url: Option<String>,
    /// What a question or an approval may be answered with.
    #[schema(max_items = 20, value_type = Option<Vec<OptionSchema>>)]
    pub options: Option<Vec<String>>,
    /// Tasks that must be done before this one is begun.
    #[schema(max_items = 64)]
    pub depends_on: Option<Vec<i64>>,
    /// Anything else, at most 16 KiB of JSON.
    #[schema(value_type = Option<Object>)]
    pub metadata: Option<json::Object>,
}

/// What a question may be answered with.
#[derive(ToSchema)]
#[schema(as = AnswerOption, value_type = String, max_length = 200, pattern = r"\S")]
#[expect(dead_code, reason = "describes the entries of a list")]
pub(super) struct OptionSchema(String);

/// A task that passed every check and waits to be stored.
#[derive(Clone, Debug, Default)]
pub struct NewTask {
    /// Where it comes from.
    pub source: String,
    /// What is wanted.
    pub kind: TaskKind,
    /// One line, at most 200 characters.
    pub title: String,
    /// At most 256 KiB.
    pub body: Option<String>,
    /// How much it matters.
    pub severity: Severity,
    /// A valid target.
    pub target: Option<String>,
    /// Who asks.
    pub from: Option<AgentId>,
    /// How it is known who asks.
    pub sender: Sender,
    /// What makes it the same as another.
    pub dedupe_key: Option<String>,
    /// A valid address.
    pub callback_url: Option<String>,
    /// What may be answered.
    pub options: Vec<String>,
    /// What must be done before, each once.
    pub depends_on: Vec<TaskId>,
    /// Anything else.
    pub metadata: json::Object,
}

impl TaskDraft {
    /// Checks bounds, trims, and fills in the asker of a bound credential.
    pub fn parse(self, bound_to: Option<&AgentId>) -> Result<NewTask, Refusal> {
        let from = AgentId::optional("from", self.from)?.or_else(|| bound_to.cloned());
        if let Some(from) = from.as_ref().filter(|from| is_group(from)) {
            return Err(Refusal::ReservedId(from.to_string()));
        }
        let word = |field, value| text::optional(field, value, text::WORD_MAX);
        let kind = word("kind", self.kind)?.map_or(Ok(TaskKind::Work), |kind| TaskKind::named("kind", &kind))?;
        let target = text::optional("target", self.target, text::TARGET_MAX)?;
        // A question is asked of somebody: of the human, unless it says.
        let target = target.or_else(|| (kind != TaskKind::Work).then(|| USER.to_owned()));
        if let Some(target) = &target {
            check_target(target)?;
        }
        let options = parse_options(self.options.unwrap_or_default())?;
        if kind == TaskKind::Work && !options.is_empty() {
            return Err(Refusal::invalid("options are for a question or an approval"));
        }
        let metadata = self.metadata.unwrap_or_default();
        text::object("metadata", &metadata, text::META_BYTES_MAX)?;
        Ok(NewTask {
            source: SOURCE_OF_API.to_owned(),
            kind,
            title: text::required("title", self.title, TITLE_MAX)?,
            body: text::long("body", self.body, text::BODY_BYTES_MAX)?,
            severity: word("severity", self.severity)?
                .map_or(Ok(Severity::Info), |severity| Severity::named("severity", &severity))?,
            target,
            // Whoever knows the caller says how.
            sender: Sender::default(),
            from,
            dedupe_key: text::optional("dedupeKey", self.dedupe_key, text::KEY_MAX)?,
            callback_url: parse_callback_url(self.callback_url)?,
            options,
            depends_on: parse_dependencies(self.depends_on.unwrap_or_default())?,
            metadata,
        })
    }
}

fn parse_options(options: Vec<String>) -> Result<Vec<String>, Refusal> {
    if options.len() > OPTIONS_MAX {
        return Err(Refusal::invalid(format!("options must have at most {OPTIONS_MAX} entries")));
    }
    let mut parsed: Vec<String> = Vec::with_capacity(options.len());
    for option in options {
        let option = text::required("option", Some(option), OPTION_MAX)?;
        if !parsed.contains(&option) {
            parsed.push(option);
        }
    }
    Ok(parsed)
}

fn parse_dependencies(ids: Vec<i64>) -> Result<Vec<TaskId>, Refusal> {
    if ids.len() > DEPENDENCIES_MAX {
        return Err(Refusal::invalid(format!("dependsOn must have at most {DEPENDENCIES_MAX} entries")));
    }
    let mut parsed: Vec<TaskId> = Vec::with_capacity(ids.len());
    for id in ids.into_iter().map(TaskId::new) {
        if !parsed.contains(&id) {
            parsed.push(id);
        }
    }
    Ok(parsed)
}

/// The address that is called, as it was written. Whether it may be reached is for whoever calls it to say.
pub(crate) fn parse_callback_url(address: Option<String>) -> Result<Option<String>, Refusal> {
    let Some(address) = text::optional("callbackUrl", address, CALLBACK_URL_MAX)? else { return Ok(None) };
    let url = Url::parse(&address).map_err(|error| Refusal::invalid(format!("callbackUrl is no address: {error}")))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(Refusal::invalid("callbackUrl must begin with http:// or https://"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(Refusal::invalid("callbackUrl must not contain a user name or password"));
    }
    Ok(Some(address))
}

impl NewTask {
    /// The task as it is stored: it waits for these of its dependencies, and is canceled from the beginning where
    /// one of them came to another end than it should.
    pub fn stored(self, waits_for: Vec<TaskId>, is_canceled: bool, now: Timestamp) -> Task {
        let status = match (is_canceled, waits_for.is_empty()) {
            (true, _) => TaskStatus::Canceled,
            (false, true) => TaskStatus::Open,
            (false, false) => TaskStatus::Blocked,
        };
        Task {
            id: TaskId::default(),
            source: self.source,
            kind: self.kind,
            title: self.title,
            body: self.body,
            severity: self.severity,
            status,
            target: self.target,
            from: self.from,
            asked_by: self.sender,
            dedupe_key: self.dedupe_key,
            occurrences: 1,
            claimed_by: None,
            claimed_at: None,
            claim_expires_at: None,
            claim_generation: 0,
            callback_url: self.callback_url,
            options: self.options,
            result: None,
            metadata: self.metadata,
            depends_on: self.depends_on,
            blocked_by: if is_canceled { Vec::new() } else { waits_for },
            message_id: None,
            created_at: now,
            updated_at: now,
            finished_at: is_canceled.then_some(now),
            lease_ms: 0,
            event_count: 0,
        }
    }
}

impl Task {
    /// The message that brings it to those it is for, if it is for somebody.
    pub fn message(&self) -> Option<NewMessage> {
        let target = self.target.clone()?;
        let from = self.from.clone().unwrap_or_else(AgentId::system);
        let mut message = NewMessage::plain(from, target, self.body.clone().unwrap_or_else(|| self.title.clone()));
        message.sender = self.asked_by.clone();
        message.subject = Some(self.title.clone());
        message.claimable = true;
        message.channel = self.target.as_deref().and_then(|target| target.strip_prefix("channel:")).map(str::to_owned);
        message.meta.insert("taskId", self.id);
        message.meta.insert("kind", self.kind.as_str());
        message.meta.insert("severity", self.severity.as_str());
        if !self.options.is_empty() {
            message.meta.insert("options", self.options.clone());
        }
        Some(message)
    }

    /// The message that brings its answer to who asked, if that is somebody: in the thread of the question, where
    /// that is still there.
    pub fn answer_message(&self, answer: &super::Answer, thread: Option<MessageId>) -> Option<NewMessage> {
        let mut body = answer.answer.clone();
        if let Some(note) = &answer.note {
            body.push_str("\n\n");
            body.push_str(note);
        }
        let mut message = NewMessage::plain(answer.agent.clone(), self.from.clone()?.into_string(), body);
        message.sender = answer.sender.clone();
        message.subject = Some(text::clipped(&format!("Answer: {}", self.title), crate::domain::message::SUBJECT_MAX));
        message.reply_to = thread;
        message.meta.insert("taskId", self.id);
        Some(message)
    }
}

/// An answer as a client gives it.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DraftAnswer {
    /// One of the options, where the question has some; otherwise any text of at most 16 KiB.
    #[schema(value_type = String, max_length = 16384, pattern = r"\S")]
    pub answer: Option<String>,
    /// More about it, at most 16 KiB.
    #[schema(max_length = 16384)]
    pub note: Option<String>,
    /// Who answers; the credential's agent when left out, and `user` for an administrator.
    #[schema(max_length = 240)]
    pub agent_id: Option<String>,
}

impl DraftAnswer {
    /// Checks bounds; `agent` is who answers, and `sender` how that is known.
    pub fn parse(self, agent: AgentId, sender: Sender, is_administrator: bool) -> Result<super::Answer, Refusal> {
        let answer = text::long("answer", self.answer, NOTE_BYTES_MAX)?;
        Ok(super::Answer {
            agent,
            sender,
            is_administrator,
            answer: answer.ok_or_else(|| Refusal::invalid("answer required"))?.trim().to_owned(),
            note: text::long("note", self.note, NOTE_BYTES_MAX)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draft(json: serde_json::Value) -> Result<NewTask, Refusal> {
        serde_json::from_value::<TaskDraft>(json).expect("a draft").parse(None)
    }

    #[test]
    fn only_addresses_that_can_be_called_without_secrets_in_them_are_taken() {
        for wrong in
            ["x", "ftp://h/", "http://", "//h/x", "http://u@h/", "https://u:p@h/", "https://:p@h/", "file:///x"]
        {
            assert!(parse_callback_url(Some(wrong.to_owned())).is_err(), "{wrong}");
        }
        let long = format!("https://h/{}", "x".repeat(CALLBACK_URL_MAX));
        assert!(parse_callback_url(Some(long.clone())).is_err());
        let longest = long[..CALLBACK_URL_MAX].to_owned();
        assert_eq!(parse_callback_url(Some(longest.clone())).unwrap(), Some(longest));
    }

    #[test]
    fn options_belong_to_what_is_answered_and_that_is_asked_of_somebody() {
        assert!(draft(serde_json::json!({"title": "t", "options": ["a"]})).is_err());
        let asked = draft(serde_json::json!({"title": "t", "kind": "question"})).unwrap();
        assert_eq!(asked.target.as_deref(), Some("user"));
        let asked = draft(serde_json::json!({
            "title": "t", "kind": "approval", "target": "user", "options": [" yes", "no", "yes"], "dependsOn": [2, 1, 2],
        }));
        let asked = asked.unwrap();
        assert_eq!(asked.options, ["yes", "no"]);
        assert_eq!(asked.depends_on, [TaskId::new(2), TaskId::new(1)]);
    }
}
