//! One client beside a relay that may be away: the handshake, the list of tools and whatever is wrong are answered
//! here, and calls are passed on.

use futures_util::future::join_all;
use rmcp::model::{CallToolResult, ContentBlock, ErrorCode, ErrorData, JsonObject, ProtocolVersion, ResultType};
use serde_json::{Value, json};

use super::exchange::BATCH_MAX;
use super::protocol::{Era, Incoming, ToolServer, failure, is_known, respond, unsupported, version_of};

/// The version in which calls are passed on: the newest that needs no more than a body.
pub const CALL_VERSION: &str = "2025-11-25";

/// Whoever brings a message to the relay.
pub trait Post: Sync {
    /// The relay's answer, or why there is none, with what to do next: for the model.
    fn post(&self, message: Value) -> impl Future<Output = Result<Value, String>> + Send;
}

/// Answers a message on behalf of a relay. Nothing for what wants no answer.
pub async fn answer_for(relay: &impl Post, message: Value) -> Option<Value> {
    let Value::Array(messages) = message else { return one(relay, message).await };
    if messages.is_empty() || messages.len() > BATCH_MAX {
        let problem = format!("a batch must have 1 to {BATCH_MAX} messages");
        return Some(failure(None, &ErrorData::invalid_request(problem, None)));
    }
    let answers = join_all(messages.into_iter().map(|message| one(relay, message))).await;
    let answers: Vec<Value> = answers.into_iter().flatten().collect();
    (!answers.is_empty()).then_some(Value::Array(answers))
}

/// What somebody is answered whose message cannot be read.
pub fn refusal(problem: &str) -> Value {
    failure(None, &ErrorData::parse_error(problem.to_owned(), None))
}

/// What somebody is answered who asks for too much at once.
pub fn overload(id: &Value, problem: &str) -> Value {
    let id = serde_json::from_value(id.clone()).ok();
    failure(id.as_ref(), &ErrorData::internal_error(problem.to_owned(), None))
}

async fn one(relay: &impl Post, message: Value) -> Option<Value> {
    match Incoming::parse(message) {
        Incoming::Request(request) => {
            let version = version_of(&request.params);
            if let Some(unknown) = version.filter(|version| !is_known(version)) {
                return Some(failure(Some(&request.id), &unsupported(unknown)));
            }
            let is_stateless = request.method == "server/discover"
                || version.is_some_and(|version| version >= ProtocolVersion::NO_INITIALIZE.as_str());
            let era = if is_stateless { Era::Stateless } else { Era::Handshake };
            Some(respond(&Passing(relay), request, era).await.0)
        }
        Incoming::Notification { .. } => None,
        Incoming::Wrong(id, problem) => Some(failure(id.as_ref(), &ErrorData::invalid_request(problem, None))),
    }
}

/// Passes calls on.
struct Passing<'p, P>(&'p P);

impl<P: Post> ToolServer for Passing<'_, P> {
    async fn call(&self, name: &str, arguments: JsonObject) -> Result<CallToolResult, ErrorData> {
        let call = json!({
            "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": name, "arguments": arguments},
        });
        match self.0.post(call).await {
            Ok(answer) => told(answer),
            Err(trouble) => Ok(failed(trouble)),
        }
    }
}

/// What a relay answered to a call, as it is passed back.
fn told(mut answer: Value) -> Result<CallToolResult, ErrorData> {
    // It may be anything: something in between may have answered.
    let result = answer.get_mut("result").map(Value::take).unwrap_or_default();
    if let Ok(mut result) = serde_json::from_value::<CallToolResult>(result) {
        result.result_type = Some(ResultType::COMPLETE);
        return Ok(result);
    }
    let error = &answer["error"];
    // There is no such tool, or the call is not one.
    if error["code"] == ErrorCode::INVALID_PARAMS.0
        && let Ok(error) = serde_json::from_value(error.clone())
    {
        return Err(error);
    }
    // Whatever else it refuses is for the model: clients do not show it errors of the protocol.
    let said = error["message"].as_str().unwrap_or("what answers is no relay");
    let next = error["data"]["next"].as_str().unwrap_or("Tell your user.");
    Ok(failed(format!("The relay refused the call: {said}. {next}")))
}

fn failed(text: String) -> CallToolResult {
    CallToolResult::error(vec![ContentBlock::text(text)])
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Relay(Result<Value, String>);

    impl Post for Relay {
        async fn post(&self, message: Value) -> Result<Value, String> {
            assert_eq!(message["method"], "tools/call", "nothing else is passed on");
            self.0.clone()
        }
    }

    fn ask(id: i64, method: &str, params: Value) -> Value {
        json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params})
    }

    #[tokio::test]
    async fn whatever_becomes_of_the_relay_the_client_is_answered() {
        let away = Relay(Err("The relay is away. Try again.".to_owned()));
        let hello = answer_for(&away, ask(1, "initialize", json!({"protocolVersion": "2025-06-18"}))).await;
        assert_eq!(hello.expect("an answer")["result"]["protocolVersion"], "2025-06-18");
        let list = answer_for(&away, ask(2, "tools/list", json!({}))).await.expect("an answer");
        assert_eq!(list["result"]["tools"][0]["name"], "whoami");
        let call = ask(3, "tools/call", json!({"name": "whoami"}));
        let answer = answer_for(&away, call.clone()).await.expect("an answer");
        assert_eq!((&answer["id"], &answer["result"]["isError"]), (&json!(3), &json!(true)));
        assert_eq!(answer["result"]["content"][0]["text"], "The relay is away. Try again.");
        assert!(answer_for(&away, json!({"jsonrpc": "2.0", "method": "notifications/initialized"})).await.is_none());
        let batch = answer_for(&away, json!([ask(4, "ping", json!({})), call.clone()])).await.expect("answers");
        assert_eq!(batch.as_array().map(Vec::len), Some(2));

        let refused = json!({"error": {"code": -32_600, "message": "no", "data": {"next": "Send the token."}}});
        let answer = answer_for(&Relay(Ok(refused)), call.clone()).await.expect("an answer");
        assert_eq!(answer["result"]["content"][0]["text"], "The relay refused the call: no. Send the token.");
        let unknown = json!({"error": {"code": -32_602, "message": "no such tool"}});
        let answer = answer_for(&Relay(Ok(unknown)), call.clone()).await.expect("an answer");
        assert_eq!(answer["error"]["code"], -32_602);
        let fine = json!({"result": {"content": [{"type": "text", "text": "hi"}], "isError": false}});
        let answer = answer_for(&Relay(Ok(fine)), call).await.expect("an answer");
        assert_eq!(answer["result"], json!({"content": [{"type": "text", "text": "hi"}], "isError": false}));
        let answer = answer_for(&Relay(Ok(json!("<html>"))), ask(5, "tools/call", json!({"name": "whoami"}))).await;
        assert_eq!(answer.expect("an answer")["result"]["isError"], true);
    }
}
