//! A scripted model that decides by what it reads, as a real one does: a rule looks at the request and says what is
//! answered. What it was asked is kept, so that a test can say what an agent was shown, and how often.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse as _, Response};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::real_clis::model::{Answer, messages_events, responses_events};

/// What is answered to what was said last.
type Rule = Box<dyn Fn(&Said) -> Reply + Send + Sync>;

/// What an agent says to its model in one request.
pub(super) struct Said {
    /// The newest of the conversation: what came from its user since the model last spoke, or what a tool answered.
    pub(super) text: String,
    tools: Vec<(Option<String>, String)>,
}

impl Said {
    /// The relay's tool of this name, as it is offered.
    fn tool(&self, name: &str) -> Option<(Option<String>, String)> {
        let is_it = |offered: &str| offered == name || offered.ends_with(&format!("relay__{name}"));
        self.tools.iter().find(|(_, offered)| is_it(offered)).cloned()
    }
}

/// What the model does.
pub(super) enum Reply {
    /// It says this.
    Says(&'static str),
    /// It says this once it is let go on; until then its agent is busy.
    SaysLater(&'static str),
    /// It uses this tool of the relay.
    Uses(&'static str, Value),
}

/// A mind that listens until it is dropped.
pub(super) struct Mind {
    pub(super) url: String,
    thoughts: Arc<Thoughts>,
    server: JoinHandle<()>,
}

struct Thoughts {
    rule: Rule,
    /// What was said in each turn, in order.
    turns: watch::Sender<Vec<String>>,
    /// How many answers that wait may go on.
    released: watch::Sender<usize>,
    held: Mutex<usize>,
    /// The tool that its agent had to be asked for first, with what it is to be called with.
    sought: Mutex<Option<(&'static str, Value)>>,
}

impl Mind {
    /// One that answers at this address by this rule.
    pub(super) async fn start(address: &str, rule: impl Fn(&Said) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind((address, 0)).await.expect("a port of ours");
        let url = format!("http://{}", listener.local_addr().expect("its address"));
        let thoughts = Arc::new(Thoughts {
            rule: Box::new(rule),
            turns: watch::Sender::default(),
            released: watch::Sender::default(),
            held: Mutex::default(),
            sought: Mutex::default(),
        });
        let app = Router::new().fallback(answer).with_state(thoughts.clone());
        let server = tokio::spawn(async move { axum::serve(listener, app).await.expect("the model serves") });
        Self { url, thoughts, server }
    }

    /// Waits until something was said that holds this text, and answers it.
    pub(super) async fn heard(&self, text: &str) -> String {
        let mut turns = self.thoughts.turns.subscribe();
        let turns = turns.wait_for(|turns| turns.iter().any(|said| said.contains(text)));
        let turns = tokio::time::timeout(std::time::Duration::from_mins(3), turns).await;
        let Ok(turns) = turns else {
            panic!("it never heard {text:?}, but: {:#?}", self.thoughts.turns.borrow());
        };
        let turns = turns.expect("the model lives");
        turns.iter().find(|said| said.contains(text)).expect("it was there").clone()
    }

    /// In how many turns this was said.
    pub(super) fn times(&self, text: &str) -> usize {
        self.thoughts.turns.borrow().iter().filter(|said| said.contains(text)).count()
    }

    /// Lets the next answer that waits go on.
    pub(super) fn release(&self) {
        self.thoughts.released.send_modify(|released| *released += 1);
    }
}

impl Drop for Mind {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn answer(State(thoughts): State<Arc<Thoughts>>, uri: Uri, body: Bytes) -> Response {
    let request: Value = serde_json::from_slice(&body).unwrap_or_default();
    let events: fn(&Value, usize, &Answer) -> String = match uri.path() {
        "/v1/messages" => messages_events,
        "/v1/responses" => responses_events,
        _ => return StatusCode::NOT_FOUND.into_response(),
    };
    let tools = tools(&request);
    let (number, answer) = if tools.is_empty() {
        // Beside the conversation both programs ask for a title; that is no turn.
        (0, Answer::Text(json!({"title": "a test"}).to_string()))
    } else {
        let said = Said { text: newest(&request), tools };
        let sought = thoughts.sought.lock().expect("no test has failed").take();
        let has_sought = sought.is_some();
        let reply = sought.map_or_else(|| (thoughts.rule)(&said), |(tool, input)| Reply::Uses(tool, input));
        let mut number = 0;
        thoughts.turns.send_modify(|turns| {
            turns.push(said.text.clone());
            number = turns.len();
        });
        let answer = match reply {
            Reply::Says(text) => Answer::Text(text.to_owned()),
            Reply::SaysLater(text) => {
                let place = {
                    let mut held = thoughts.held.lock().expect("no test has failed");
                    *held += 1;
                    *held
                };
                let mut released = thoughts.released.subscribe();
                released.wait_for(|released| *released >= place).await.expect("the model lives");
                Answer::Text(text.to_owned())
            }
            Reply::Uses(tool, input) => match said.tool(tool) {
                Some((room, tool)) => Answer::Call { room, tool, input },
                // Claude Code holds back tools of servers that it was not connected to when the conversation began.
                None if has_sought => Answer::Call { room: None, tool: format!("mcp__relay__{tool}"), input },
                None => {
                    *thoughts.sought.lock().expect("no test has failed") = Some((tool, input));
                    let query = json!({"query": format!("select:mcp__relay__{tool}")});
                    Answer::Call { room: None, tool: "ToolSearch".to_owned(), input: query }
                }
            },
        };
        (number, answer)
    };
    ([(header::CONTENT_TYPE, "text/event-stream")], events(&request["model"], number, &answer)).into_response()
}

/// The tools that an agent may use, each with the room that its name stands in, where it has one.
fn tools(request: &Value) -> Vec<(Option<String>, String)> {
    let mut found = Vec::new();
    for tool in request["tools"].as_array().into_iter().flatten() {
        let name = tool["name"].as_str().unwrap_or_default().to_owned();
        match tool["tools"].as_array() {
            Some(inner) => found.extend(
                inner.iter().filter_map(|inner| Some((Some(name.clone()), inner["name"].as_str()?.to_owned()))),
            ),
            None => found.push((None, name)),
        }
    }
    found
}

/// What came last in a conversation, after what the model said itself.
fn newest(request: &Value) -> String {
    let list = request["messages"].as_array().or_else(|| request["input"].as_array());
    let items: Vec<&Value> = list.into_iter().flatten().collect();
    let own = |item: &&Value| {
        item["role"] == "assistant" || matches!(item["type"].as_str(), Some("function_call" | "reasoning"))
    };
    let begin = items.iter().rposition(own).map_or(0, |last| last + 1);
    items[begin..].iter().map(|item| texts(item)).collect::<Vec<_>>().join("\n")
}

/// Every text in a value.
fn texts(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(list) => list.iter().map(texts).collect::<Vec<_>>().join("\n"),
        Value::Object(members) => {
            let told = members.iter().filter(|(name, _)| matches!(name.as_str(), "content" | "text" | "output"));
            told.map(|(_, value)| texts(value)).collect::<Vec<_>>().join("\n")
        }
        _ => String::new(),
    }
}
