//! Tools over MCP: what the protocol says in each of its versions, what each tool does, and what others may try.

mod protocol;
mod sdks;
mod session;
mod tools;
mod wait;

use reqwest::Method;
use serde_json::{Value, json};

use crate::server::{Answer, Client};

const TOKEN: &str = "the-administrators-own-token";

/// The versions that begin with a handshake.
const HANDSHAKES: [&str; 4] = ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"];
/// The one in which every request says everything.
const STATELESS: &str = "2026-07-28";

/// An agent that calls tools.
#[derive(Clone)]
pub(crate) struct Caller {
    pub(crate) client: Client,
    pub(crate) token: String,
}

impl Caller {
    /// Somebody with a token of an agent, which is registered.
    pub(crate) async fn new(admin: &Client, id: &str) -> Self {
        admin.register_all(&[id]).await;
        Self::with(admin, json!({"name": format!("of {id}"), "scopes": ["agent"], "agentId": id})).await
    }

    /// Somebody with this token.
    pub(crate) async fn with(admin: &Client, token: Value) -> Self {
        let card: Value = admin.post("/api/tokens", token).await.expect(201);
        let token = card["token"].as_str().expect("a token").to_owned();
        Self { client: admin.with_token(Some(&token)), token }
    }

    /// The result of a call.
    pub(crate) async fn call(&self, tool: &str, arguments: Value) -> Value {
        let params = json!({"name": tool, "arguments": arguments});
        let answer = post(&self.client, &[], &request("tools/call", params)).await;
        let body: Value = answer.expect(200);
        assert!(body["result"].is_object(), "{tool}: {body}");
        body["result"].clone()
    }

    /// The text of a call that must work.
    pub(crate) async fn say(&self, tool: &str, arguments: Value) -> String {
        let result = self.call(tool, arguments).await;
        assert_eq!(result["isError"], false, "{tool}: {result}");
        text(&result)
    }

    /// The text of a call that must not.
    pub(crate) async fn fails(&self, tool: &str, arguments: Value) -> String {
        let result = self.call(tool, arguments).await;
        assert_eq!(result["isError"], true, "{tool}: {result}");
        text(&result)
    }
}

/// The one text of a result.
fn text(result: &Value) -> String {
    let content = result["content"].as_array().expect("content");
    assert_eq!(content.len(), 1, "{result}");
    assert_eq!(content[0]["type"], "text", "{result}");
    content[0]["text"].as_str().expect("a text").to_owned()
}

/// A request of the older versions.
fn request(method: &str, params: Value) -> Value {
    json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
}

/// The same of the stateless one.
fn stateless(method: &str, mut params: Value) -> Value {
    params["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": STATELESS,
        "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    request(method, params)
}

/// Posts a message with these headers.
async fn post(client: &Client, headers: &[(&str, &str)], message: &Value) -> Answer {
    let mut request = client.request(Method::POST, "/mcp").json(message);
    for (name, value) in headers {
        request = request.header(name, value);
    }
    client.call(request).await
}

/// Posts a message of the stateless version, with the headers that belong to it.
async fn post_stateless(client: &Client, message: &Value) -> Answer {
    let method = message["method"].as_str().expect("a method");
    let mut headers = vec![("MCP-Protocol-Version", STATELESS), ("Mcp-Method", method)];
    headers.extend(message["params"]["name"].as_str().map(|name| ("Mcp-Name", name)));
    post(client, &headers, message).await
}

/// The error of an answer with this status.
#[track_caller]
fn error(answer: Answer, status: u16, code: i64) -> Value {
    let body: Value = answer.expect(status);
    assert_eq!(body["error"]["code"], code, "{body}");
    assert!(body["error"]["message"].as_str().is_some_and(|text| !text.is_empty()), "{body}");
    assert!(body.get("result").is_none(), "{body}");
    body["error"].clone()
}
