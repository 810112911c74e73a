//! A scripted language model on loopback, for the real agent programs: it speaks Anthropic's Messages and OpenAI's
//! Responses, notes what it is asked, and answers by its script. With it come the settings that make the
//! programs ask it, and nobody else.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::fs;
use std::future::ready;
use std::path::Path;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse as _, Response};
use futures_util::stream::{self, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::program::PATIENCE;

/// The key the programs are given. Claude Code notes the last 20 characters of keys it was allowed to use.
const KEY: &str = "sk-ant-relay-test-key-00000";

/// One turn of the model.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    /// It says this.
    Text(String),
    /// It says this, and never comes to an end.
    Held(String),
    /// It calls this tool; what came of it is in the next turn's request.
    Call {
        /// The room that the tool's name stands in, where it has one.
        room: Option<String>,
        tool: String,
        input: Value,
    },
    /// It says nothing before this moment, in seconds since the epoch: a limit is reached.
    Limited { until_s: i64 },
}

/// A model that listens until it is dropped.
pub(crate) struct Model {
    url: String,
    script: Script,
    server: JoinHandle<()>,
}

#[derive(Clone)]
struct Script {
    /// What it will answer, before it falls back to numbered answers.
    answers: Arc<Mutex<VecDeque<Answer>>>,
    /// The requests that were turns of a conversation, in order.
    turns: Arc<watch::Sender<Vec<Value>>>,
}

impl Model {
    pub(crate) async fn start() -> Self {
        let script = Script { answers: Arc::default(), turns: Arc::new(watch::Sender::default()) };
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port on loopback");
        let url = format!("http://{}", listener.local_addr().expect("its address"));
        let app = Router::new().fallback(answer).with_state(script.clone());
        let server = tokio::spawn(async move {
            axum::serve(listener, app).await.expect("the model serves");
        });
        Self { url, script, server }
    }

    /// Where it listens, without a slash at the end.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Adds to what it will answer. Without a script, turn N is answered "relay test answer N", counted from 1.
    pub(crate) fn will(&self, answer: Answer) {
        self.script.answers.lock().expect("no test has failed").push_back(answer);
    }

    /// The request of turn `number`, counted from 1, as soon as it is made.
    pub(crate) async fn turn(&self, number: usize) -> Value {
        let mut turns = self.script.turns.subscribe();
        let there = timeout(PATIENCE, turns.wait_for(|turns| turns.len() >= number)).await;
        let Ok(turns) = there else { panic!("turn {number} never came: there were {}", self.turns()) };
        turns.expect("the model lives")[number - 1].clone()
    }

    /// How many turns there were.
    pub(crate) fn turns(&self) -> usize {
        self.script.turns.borrow().len()
    }
}

impl Drop for Model {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// The environment that makes Claude Code ask the model, after preparing `home` so that it asks no person anything
/// about working in `cwd`.
pub(crate) fn for_claude(model: &str, home: &Path, cwd: &Path) -> Vec<(String, String)> {
    let settings = json!({
        "hasCompletedOnboarding": true,
        "theme": "dark",
        "projects": { cwd.to_str().expect("a plain path"): { "hasTrustDialogAccepted": true } },
        "customApiKeyResponses": { "approved": [&KEY[KEY.len() - 20..]], "rejected": [] },
    });
    fs::create_dir_all(home).expect("a home");
    fs::write(home.join(".claude.json"), settings.to_string()).expect("its settings");
    pairs(&[
        ("HOME", home.to_str().expect("a plain path")),
        ("ANTHROPIC_BASE_URL", model),
        ("ANTHROPIC_API_KEY", KEY),
        ("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1"),
        ("DISABLE_AUTOUPDATER", "1"),
        ("DISABLE_TELEMETRY", "1"),
    ])
}

/// The same for an account, whose limits Claude Code then tells of.
pub(crate) fn with_account(variables: Vec<(String, String)>) -> Vec<(String, String)> {
    let others = variables.into_iter().filter(|(name, _)| name != "ANTHROPIC_API_KEY");
    others.chain(pairs(&[("CLAUDE_CODE_OAUTH_TOKEN", "sk-ant-oat01-relay-test")])).collect()
}

/// The environment that makes Codex ask the model, after preparing `home` (its `CODEX_HOME` is `.codex` in there) so that it asks
/// no person anything about working in `cwd`.
pub(crate) fn for_codex(model: &str, home: &Path, cwd: &Path) -> Vec<(String, String)> {
    let codex = home.join(".codex");
    fs::create_dir_all(&codex).expect("a home");
    let settings = format!(
        "model = \"scripted\"\nmodel_provider = \"scripted\"\ncheck_for_update_on_startup = false\n\
         [model_providers.scripted]\nname = \"scripted\"\nbase_url = \"{model}/v1\"\nwire_api = \"responses\"\nenv_key = \"OPENAI_API_KEY\"\n\
         [projects.{cwd:?}]\ntrust_level = \"trusted\"\n"
    );
    fs::write(codex.join("config.toml"), settings).expect("its settings");
    pairs(&[
        ("HOME", home.to_str().expect("a plain path")),
        ("CODEX_HOME", codex.to_str().expect("a plain path")),
        ("OPENAI_API_KEY", KEY),
    ])
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

async fn answer(State(script): State<Script>, uri: Uri, body: Bytes) -> Response {
    let events: fn(&Value, usize, &Answer) -> String = match uri.path() {
        "/v1/messages" => messages_events,
        "/v1/responses" => responses_events,
        _ => return StatusCode::NOT_FOUND.into_response(),
    };
    let request: Value = serde_json::from_slice(&body).unwrap_or_default();
    // Beside the conversation both programs ask, without tools, for a title; that is no turn.
    let is_turn = request["tools"].as_array().is_some_and(|tools| !tools.is_empty());
    let (number, answer) = if is_turn {
        let mut number = 0;
        script.turns.send_modify(|turns| {
            turns.push(request.clone());
            number = turns.len();
        });
        let scripted = script.answers.lock().expect("no test has failed").pop_front();
        (number, scripted.unwrap_or_else(|| Answer::Text(format!("relay test answer {number}"))))
    } else {
        (0, Answer::Text(json!({ "title": "a test" }).to_string()))
    };
    if let Answer::Limited { until_s } = answer {
        return limited(until_s);
    }
    let events = events(&request["model"], number, &answer);
    if !matches!(answer, Answer::Held(_)) {
        return ([(header::CONTENT_TYPE, "text/event-stream")], events).into_response();
    }
    // All but what says that the answer is whole.
    let ends = ["event: content_block_stop", "event: response.output_item.done"];
    let end = ends.iter().find_map(|event| events.find(event)).expect("an event that ends what is said");
    let said = stream::once(ready(Ok::<_, Infallible>(events[..end].to_owned())));
    ([(header::CONTENT_TYPE, "text/event-stream")], Body::from_stream(said.chain(stream::pending()))).into_response()
}

/// The refusal of both: an error in the words of the one, with the headers of the other.
fn limited(until_s: i64) -> Response {
    let until = until_s.to_string();
    let headers = [
        ("anthropic-ratelimit-unified-status", "rejected"),
        ("anthropic-ratelimit-unified-reset", &until),
        ("anthropic-ratelimit-unified-representative-claim", "five_hour"),
        ("anthropic-ratelimit-unified-5h-status", "rejected"),
        ("anthropic-ratelimit-unified-5h-reset", &until),
        ("anthropic-ratelimit-unified-5h-utilization", "1.0"),
    ];
    let error = json!({
        "type": "error",
        "error": { "type": "usage_limit_reached", "message": "a limit is reached", "plan_type": "plus", "resets_at": until_s },
    });
    let mut response = (StatusCode::TOO_MANY_REQUESTS, axum::Json(error)).into_response();
    for (name, value) in headers {
        response.headers_mut().insert(name, value.parse().expect("a plain value"));
    }
    response
}

/// An answer as Anthropic's Messages API streams it.
pub(crate) fn messages_events(model: &Value, number: usize, answer: &Answer) -> String {
    let (block, delta, reason) = match answer {
        Answer::Text(text) | Answer::Held(text) => {
            let delta = json!({ "type": "text_delta", "text": text });
            (json!({ "type": "text", "text": "" }), delta, "end_turn")
        }
        Answer::Call { tool, input, .. } => {
            let block = json!({ "type": "tool_use", "id": format!("toolu_{number}"), "name": tool, "input": {} });
            (block, json!({ "type": "input_json_delta", "partial_json": input.to_string() }), "tool_use")
        }
        Answer::Limited { .. } => unreachable!("it is no stream"),
    };
    let message = json!({
        "id": format!("msg_{number}"), "type": "message", "role": "assistant", "model": model, "content": [],
        "stop_reason": null, "stop_sequence": null, "usage": { "input_tokens": 1, "output_tokens": 1 },
    });
    let stopped = json!({ "stop_reason": reason, "stop_sequence": null });
    frames(&[
        json!({ "type": "message_start", "message": message }),
        json!({ "type": "content_block_start", "index": 0, "content_block": block }),
        json!({ "type": "content_block_delta", "index": 0, "delta": delta }),
        json!({ "type": "content_block_stop", "index": 0 }),
        json!({ "type": "message_delta", "delta": stopped, "usage": { "output_tokens": 1 } }),
        json!({ "type": "message_stop" }),
    ])
}

/// An answer as OpenAI's Responses API streams it.
pub(crate) fn responses_events(_model: &Value, number: usize, answer: &Answer) -> String {
    let item = match answer {
        Answer::Text(text) | Answer::Held(text) => json!({
            "type": "message", "role": "assistant", "id": format!("msg_{number}"),
            "content": [{ "type": "output_text", "text": text }],
        }),
        Answer::Call { room, tool, input } => {
            let call = json!({
                "type": "function_call", "call_id": format!("call_{number}"), "name": tool,
                "arguments": input.to_string(),
            });
            room.iter().fold(call, |mut call, room| {
                call["namespace"] = json!(room);
                call
            })
        }
        Answer::Limited { .. } => unreachable!("it is no stream"),
    };
    let id = format!("resp_{number}");
    let usage = json!({
        "input_tokens": 1, "input_tokens_details": null, "output_tokens": 1, "output_tokens_details": null, "total_tokens": 2,
    });
    frames(&[
        json!({ "type": "response.created", "response": { "id": id } }),
        json!({ "type": "response.output_item.done", "output_index": 0, "item": item }),
        json!({ "type": "response.completed", "response": { "id": id, "usage": usage } }),
    ])
}

fn frames(events: &[Value]) -> String {
    let frame = |event: &Value| format!("event: {}\ndata: {event}\n\n", event["type"].as_str().unwrap_or_default());
    events.iter().map(frame).collect()
}
