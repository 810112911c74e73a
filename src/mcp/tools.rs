//! The tools: few, with short schemas, in a fixed order, because clients keep the list in front of every prompt.
//!
//! - `agents`, `messages`, `claims`, `tasks`: the tools, by noun.
//! - `text`: how messages and lists are told; what others wrote is marked on every line.
//! - `problem`: what went wrong, and what to do next.
//! - `waits`: how many may wait at once.

mod agents;
mod claims;
mod messages;
mod problem;
mod tasks;
mod text;
mod waits;

use std::time::Instant;

use rmcp::model::{CallToolResult, ContentBlock, ErrorData, JsonObject, Tool, ToolAnnotations};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, de};
use serde_json::{Value, json};
use tracing::Instrument as _;

use self::problem::Problem;
use super::protocol::ToolServer;
use crate::domain::caller::Caller;
use crate::domain::id::AgentId;
use crate::relay::Relay;
use crate::telemetry::metric;

pub use self::text::ANSWER_BYTES_MAX;
pub use self::waits::{WAIT_SECONDS_MAX, WAITS_MAX, Waits};

/// What a tool answers: a text, or a problem.
type Answer = Result<String, Problem>;

/// A tool as it is listed: its name, what it does, its arguments, those that must be there, and whether it only reads.
struct Listed(&'static str, &'static str, Value, &'static [&'static str], bool);

/// All tools, always in the same order.
pub(super) fn list() -> Vec<Tool> {
    let number = |text: &str| json!({"type": "integer", "description": text});
    let words = |text: &str| json!({"type": "string", "description": text});
    let id = number("Number of the message");
    let to = words("An agent's id, user, broadcast, tag:T, cap:C, label:L or channel:NAME");
    [
        Listed("whoami", "Who you are, your condition, your open claims and how much is unread.", json!({}), &[], true),
        Listed(
            "agents",
            "Agents you can write to, those that are there first.",
            json!({"q": words("Only those whose id, name, label, tags or capabilities have this"), "after": words("Next page")}),
            &[],
            true,
        ),
        Listed(
            "send",
            "Send a message. The answer says how many it reaches.",
            json!({"to": to, "subject": words("One line"), "body": words("The text"),
                   "replyTo": number("Message you answer; then `to` may be left out"),
                   "claimable": {"type": "boolean", "description": "Work that exactly one agent takes"}}),
            &["body"],
            false,
        ),
        Listed(
            "inbox",
            "Your unread messages, oldest first. Marks nothing as read.",
            json!({"since": number("Only after this message")}),
            &[],
            true,
        ),
        Listed(
            "read",
            "A whole message. Marks it as read.",
            json!({"id": id, "offset": number("Characters to skip of a long one")}),
            &["id"],
            false,
        ),
        Listed(
            "claim",
            "Take the work in a message, so that nobody else does it. Again: prolong it.",
            json!({"id": id, "minutes": number("How long, 1 to 60; 30 unless given")}),
            &["id"],
            false,
        ),
        Listed("complete", "Finish claimed work for good.", json!({"id": id}), &["id"], false),
        Listed("release", "Give claimed work back, undone.", json!({"id": id}), &["id"], false),
        Listed(
            "wait",
            "Wait until a message is there, at most 45 s. Takes nothing away.",
            json!({"seconds": number("1 to 45; 45 unless given"), "since": number("Only after this message")}),
            &[],
            true,
        ),
        Listed(
            "task",
            "Work with a state that is followed: create one, claim it, report progress, finish it, or show it.",
            json!({"action": {"type": "string", "enum": ["create", "claim", "progress", "finish", "show"]},
                   "id": number("Number of the task; not to create"), "title": words("To create: one line"),
                   "to": to, "body": words("To create: details. Otherwise a note"),
                   "status": {"type": "string", "enum": ["in_progress", "blocked", "done", "failed", "canceled"],
                              "description": "progress: in_progress or blocked; finish: done, failed or canceled"}}),
            &["action"],
            false,
        ),
        Listed(
            "ask",
            "Ask your user a question and wait for the answer, at most 45 s; a later one comes as a message.",
            json!({"question": words("The question"),
                   "options": {"type": "array", "items": {"type": "string"}, "description": "Possible answers"},
                   "kind": {"type": "string", "enum": ["question", "approval"]},
                   "to": words("Somebody else than the user"), "id": number("Task of an earlier question: wait on")}),
            &[],
            false,
        ),
        Listed(
            "label",
            "Set the name by which people find you.",
            json!({"label": {"type": ["string", "null"], "description": "The name; null for none"}}),
            &["label"],
            false,
        ),
    ]
    .into_iter()
    .map(Listed::into_tool)
    .collect()
}

impl Listed {
    fn into_tool(self) -> Tool {
        let Self(name, description, properties, required, reads) = self;
        let mut schema = json!({"type": "object", "properties": properties, "additionalProperties": false});
        if !required.is_empty() {
            schema["required"] = json!(required);
        }
        let schema = schema.as_object().cloned().unwrap_or_default();
        let annotations = ToolAnnotations::from_raw(None, Some(reads), Some(false), None, Some(false));
        Tool::new(name, description, schema).with_annotations(annotations)
    }
}

/// The tools of one caller.
pub struct Toolbox<'t> {
    relay: &'t Relay,
    caller: &'t Caller,
    waits: &'t Waits,
}

impl<'t> Toolbox<'t> {
    /// The tools as this caller may use them.
    pub fn new(relay: &'t Relay, caller: &'t Caller, waits: &'t Waits) -> Self {
        Self { relay, caller, waits }
    }

    /// As whom the caller acts.
    fn me(&self) -> Result<&'t AgentId, Problem> {
        self.caller.agent_id.as_ref().ok_or_else(|| Problem::unbound(self.relay.access().is_loopback()))
    }

    async fn answer(&self, name: &'static str, arguments: JsonObject) -> Answer {
        match name {
            "agents" => self.agents(taken(arguments)?).await,
            // All others act as somebody: who that is comes first.
            _ if self.caller.agent_id.is_none() => self.me().map(|_| String::new()),
            "whoami" => self.whoami(taken(arguments)?).await,
            "send" => self.send(taken(arguments)?).await,
            "inbox" => self.inbox(taken(arguments)?).await,
            "read" => self.read(taken(arguments)?).await,
            "claim" => self.claim(taken(arguments)?).await,
            "complete" => self.complete(taken(arguments)?).await,
            "release" => self.release(taken(arguments)?).await,
            "wait" => self.wait(taken(arguments)?).await,
            "task" => self.task(taken(arguments)?).await,
            "ask" => self.ask(taken(arguments)?).await,
            _ => self.label(taken(arguments)?).await,
        }
    }
}

/// The names, in the order of the list.
const NAMES: [&str; 12] =
    ["whoami", "agents", "send", "inbox", "read", "claim", "complete", "release", "wait", "task", "ask", "label"];

impl ToolServer for Toolbox<'_> {
    async fn call(&self, name: &str, arguments: JsonObject) -> Result<CallToolResult, ErrorData> {
        let Some(name) = NAMES.into_iter().find(|known| *known == name) else {
            let text = format!("no such tool; there are {}", NAMES.join(", "));
            return Err(ErrorData::invalid_params(text, None));
        };
        let started = Instant::now();
        let answer = self.answer(name, arguments).instrument(tracing::info_span!("tool", mcp.tool = name)).await;
        let outcome = if answer.is_ok() { "ok" } else { "error" };
        metrics::histogram!(metric::TOOL_SECONDS, "tool" => name, "outcome" => outcome)
            .record(started.elapsed().as_secs_f64());
        Ok(match answer {
            Ok(text) => CallToolResult::success(vec![ContentBlock::text(text)]),
            Err(problem) => CallToolResult::error(vec![ContentBlock::text(problem.to_string())]),
        })
    }
}

/// The arguments of a tool. Unknown ones are refused: a misspelt one must not be taken for one that was left out.
fn taken<T: DeserializeOwned>(arguments: JsonObject) -> Result<T, Problem> {
    serde_json::from_value(Value::Object(arguments)).map_err(|error| {
        Problem::new(format!("the arguments are wrong: {error}"), "Call the tool again as its schema has it.")
    })
}

/// Reads a number that a model may have written as text.
fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<i64>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Written {
        Number(i64),
        Text(String),
    }
    match Option::<Written>::deserialize(deserializer)? {
        None => Ok(None),
        Some(Written::Number(number)) => Ok(Some(number)),
        Some(Written::Text(text)) => {
            text.trim().parse().map(Some).map_err(|_| de::Error::custom(format!("`{text}` is not a number")))
        }
    }
}

/// A tool's arguments with nothing in them.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_has_every_tool_once_and_is_short() {
        let tools = list();
        assert_eq!(tools.iter().map(|tool| tool.name.as_ref()).collect::<Vec<_>>(), NAMES);
        assert_eq!(tools, list(), "always the same");
        let bytes = serde_json::to_string(&tools).expect("JSON").len();
        assert!(bytes < 6_000, "{bytes} bytes stand before every prompt");
    }
}
