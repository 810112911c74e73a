//! One POST: a message, or in the versions that have them a batch, and the whole answer.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::future::join_all;
use rmcp::model::{ErrorCode, ErrorData, ProtocolVersion, RequestId};
use serde_json::{Map, Value};

use super::protocol::{Era, Incoming, Request, ToolServer, failure, is_known, respond, unsupported, version_of};

/// The most messages of a batch.
pub const BATCH_MAX: usize = 16;

/// The version of whoever says none.
const UNSAID: &str = "2025-03-26";
/// The first version without batches.
const WITHOUT_BATCHES: &str = "2025-06-18";

/// The headers of a request that the protocol knows, each as often as it was sent. `None` is one that is no text.
#[derive(Clone, Debug, Default)]
pub struct Head {
    /// `MCP-Protocol-Version`
    pub version: Vec<Option<String>>,
    /// `Mcp-Method`
    pub method: Vec<Option<String>>,
    /// `Mcp-Name`
    pub name: Vec<Option<String>>,
}

/// How a request went, for those who know statuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is answered.
    Answered,
    /// It was taken, and there is nothing to answer.
    Taken,
    /// It is not what the protocol has.
    Malformed,
    /// There is no such method.
    Unknown,
}

/// The answer to a POST.
#[derive(Clone, Debug, PartialEq)]
pub struct Reply {
    /// How it went.
    pub outcome: Outcome,
    /// The body; none where nothing is answered.
    pub body: Option<Value>,
}

impl Reply {
    fn malformed(id: Option<&RequestId>, error: &ErrorData) -> Self {
        Self { outcome: Outcome::Malformed, body: Some(failure(id, error)) }
    }
}

/// Answers what was posted.
pub async fn exchange(tools: &impl ToolServer, head: &Head, body: &[u8]) -> Reply {
    let message: Value = match serde_json::from_slice(body) {
        Ok(message) => message,
        Err(error) => return Reply::malformed(None, &ErrorData::parse_error(format!("not JSON: {error}"), None)),
    };
    match message {
        Value::Array(messages) => batch(tools, head, messages).await,
        message => single(tools, head, message).await,
    }
}

async fn single(tools: &impl ToolServer, head: &Head, message: Value) -> Reply {
    match Incoming::parse(message) {
        Incoming::Request(request) => {
            let era = match era(head, &request.method, &request.params) {
                Ok(era) => era,
                Err(error) => return Reply::malformed(Some(&request.id), &error),
            };
            let (body, error) = respond(tools, request, era).await;
            // Clients of the versions with a handshake take another status for a broken connection.
            let outcome = match error {
                Some(ErrorCode::METHOD_NOT_FOUND) if era == Era::Stateless => Outcome::Unknown,
                _ => Outcome::Answered,
            };
            Reply { outcome, body: Some(body) }
        }
        Incoming::Notification { method, params } => match era(head, &method, &params) {
            Ok(_) => Reply { outcome: Outcome::Taken, body: None },
            Err(error) => Reply::malformed(None, &error),
        },
        Incoming::Wrong(id, problem) => Reply::malformed(id.as_ref(), &ErrorData::invalid_request(problem, None)),
    }
}

async fn batch(tools: &impl ToolServer, head: &Head, messages: Vec<Value>) -> Reply {
    let refuse = |problem: String| Reply::malformed(None, &ErrorData::invalid_request(problem, None));
    let version = match only(&head.version, "MCP-Protocol-Version") {
        Ok(version) => version.unwrap_or(UNSAID),
        Err(error) => return Reply::malformed(None, &error),
    };
    if !is_known(version) {
        return Reply::malformed(None, &unsupported(version));
    }
    if version >= WITHOUT_BATCHES {
        return refuse(format!("version {version} has no batches: send one message in each request"));
    }
    if messages.is_empty() || messages.len() > BATCH_MAX {
        return refuse(format!("a batch must have 1 to {BATCH_MAX} messages"));
    }
    let answers = join_all(messages.into_iter().map(|message| one_of_batch(tools, message))).await;
    let answers: Vec<Value> = answers.into_iter().flatten().collect();
    if answers.is_empty() {
        return Reply { outcome: Outcome::Taken, body: None };
    }
    Reply { outcome: Outcome::Answered, body: Some(Value::Array(answers)) }
}

async fn one_of_batch(tools: &impl ToolServer, message: Value) -> Option<Value> {
    let wrong = |id: Option<&RequestId>, problem| Some(failure(id, &ErrorData::invalid_request(problem, None)));
    match Incoming::parse(message) {
        Incoming::Request(Request { id, method, .. }) if method == "initialize" => {
            wrong(Some(&id), "initialize must not be part of a batch")
        }
        Incoming::Request(request) => Some(respond(tools, request, Era::Handshake).await.0),
        Incoming::Notification { .. } => None,
        Incoming::Wrong(id, problem) => wrong(id.as_ref(), problem),
    }
}

/// In which way a message speaks. In the stateless one its headers must say what its body says: whoever stands
/// between may have decided by them.
fn era(head: &Head, method: &str, params: &Map<String, Value>) -> Result<Era, ErrorData> {
    // The handshake is only in the older versions, whatever else is said.
    if method == "initialize" {
        return Ok(Era::Handshake);
    }
    let (said, meant) = (only(&head.version, "MCP-Protocol-Version")?, version_of(params));
    if let Some(unknown) = said.into_iter().chain(meant).find(|version| !is_known(version)) {
        // Two that disagree are the smaller problem: neither could be spoken.
        return Err(unsupported(unknown));
    }
    let (said, meant) = match (said, meant) {
        (said, Some(meant)) => (said.ok_or_else(|| missing("MCP-Protocol-Version"))?, meant),
        (Some(said), None) if is_stateless(said) => {
            return Err(ErrorData::invalid_params(
                format!("version {said} needs params._meta with io.modelcontextprotocol/protocolVersion"),
                None,
            ));
        }
        (None, None) if method == "server/discover" => return Err(missing("MCP-Protocol-Version")),
        (_, None) => return Ok(Era::Handshake),
    };
    if said != meant {
        return Err(mismatch("MCP-Protocol-Version", said, meant));
    }
    if !is_stateless(meant) {
        return Ok(Era::Handshake);
    }
    match only(&head.method, "Mcp-Method")? {
        None => return Err(missing("Mcp-Method")),
        Some(said) if said != method => return Err(mismatch("Mcp-Method", said, method)),
        Some(_) => {}
    }
    if let Some(name) = named(method, params) {
        let said = only(&head.name, "Mcp-Name")?.ok_or_else(|| missing("Mcp-Name"))?;
        let said = plain(said).ok_or_else(|| bad_header("Mcp-Name is not the Base64 that it says it is".to_owned()))?;
        if said != name {
            return Err(mismatch("Mcp-Name", &said, name));
        }
    }
    Ok(Era::Stateless)
}

fn is_stateless(version: &str) -> bool {
    version >= ProtocolVersion::NO_INITIALIZE.as_str()
}

/// What a request is about, where the protocol has a header for it.
fn named<'p>(method: &str, params: &'p Map<String, Value>) -> Option<&'p str> {
    let member = match method {
        "tools/call" | "prompts/get" => "name",
        "resources/read" | "resources/subscribe" | "resources/unsubscribe" => "uri",
        "tasks/get" | "tasks/update" | "tasks/cancel" => "taskId",
        _ => return None,
    };
    params.get(member)?.as_str()
}

/// A header that was sent at most once. Two could be read as one by us and as the other by somebody before us.
fn only<'h>(values: &'h [Option<String>], header: &str) -> Result<Option<&'h str>, ErrorData> {
    match values {
        [] => Ok(None),
        [Some(value)] => Ok(Some(value)),
        [None] => Err(bad_header(format!("the header {header} is no text"))),
        _ => Err(bad_header(format!("the header {header} must not be sent twice"))),
    }
}

/// A header as it is meant: what cannot stand in one is sent as Base64.
fn plain(value: &str) -> Option<String> {
    match value.strip_prefix("=?base64?").and_then(|rest| rest.strip_suffix("?=")) {
        Some(coded) => String::from_utf8(STANDARD.decode(coded).ok()?).ok(),
        None => Some(value.to_owned()),
    }
}

fn missing(header: &str) -> ErrorData {
    bad_header(format!("the header {header} is missing"))
}

fn mismatch(header: &str, said: &str, meant: &str) -> ErrorData {
    let clip = |text| crate::domain::text::clipped_bytes(text, 200).escape_debug().to_string();
    bad_header(format!("the header {header} says {}, the body {}", clip(said), clip(meant)))
}

fn bad_header(problem: String) -> ErrorData {
    ErrorData::header_mismatch(problem, None)
}
