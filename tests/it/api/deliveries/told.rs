//! What an agent was told by a tool that it called is handed over, and not said to be more.

use serde_json::{Value, json};

use super::{deliveries, due, ids, report, send, state, with_bob};
use crate::api::mcp::Caller;

#[tokio::test]
async fn what_a_tool_told_is_offered_once_and_read_when_it_is_read() {
    let server = with_bob().await;
    let client = &server.client;
    let bob = Caller::with(client, json!({"name": "b", "scopes": ["agent"], "agentId": "bob"})).await;
    report(client, &[], "presented", json!({"evidence": "e", "start": true})).await.expect::<Value>(200);
    let first = send(client, "ada", "bob", json!({})).await;
    let second = send(client, "ada", "tag:t", json!({})).await;
    report(client, &[second], "waiting", json!({"reason": "busy"})).await.expect::<Value>(200);
    for _ in 0..3 {
        bob.say("wait", json!({})).await;
        bob.say("inbox", json!({})).await;
    }
    for id in [first, second] {
        let told = deliveries(client, id).await;
        let at = told[0]["updatedAt"].as_i64().expect("a time");
        assert_eq!(told, [json!({"agentId": "bob", "state": "offered", "how": "mcp", "attempts": 1, "updatedAt": at})]);
    }
    assert_eq!(due(client).await["notice"], Value::Null, "it is not shown in the same moment again");
    bob.say("read", json!({"id": first})).await;
    assert_eq!(state(client, first).await, ("read".to_owned(), None));

    // Whoever says more says it: what was seen stays seen, and what came later is shown.
    report(client, &[second], "presented", json!({"evidence": "a turn began"})).await.expect::<Value>(200);
    bob.say("inbox", json!({})).await;
    assert_eq!(state(client, second).await, ("presented".to_owned(), None));
    let third = send(client, "ada", "bob", json!({})).await;
    assert_eq!(ids(&due(client).await), [third]);
}
