//! The protocol itself, by hand.

use reqwest::Method;
use serde_json::{Value, json};

use super::{Caller, HANDSHAKES, STATELESS, TOKEN, error, post, post_stateless, request, stateless};
use crate::server::{Client, Server};

const TOOLS: [&str; 12] =
    ["whoami", "agents", "send", "inbox", "read", "claim", "complete", "release", "wait", "task", "ask", "label"];

fn names(list: &Value) -> Vec<&str> {
    list["tools"].as_array().expect("tools").iter().map(|tool| tool["name"].as_str().expect("a name")).collect()
}

#[tokio::test]
async fn every_version_with_a_handshake_is_spoken() {
    let server = Server::start_with_token(TOKEN).await;
    let ada = Caller::new(&server.client, "ada").await;
    let client = &ada.client;
    for version in HANDSHAKES {
        let hello =
            json!({"protocolVersion": version, "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}});
        let answer = post(client, &[], &request("initialize", hello)).await;
        assert!(answer.header("mcp-session-id").is_none(), "no session is kept: {answer:?}");
        let body: Value = answer.expect(200);
        let result = &body["result"];
        assert_eq!((&body["jsonrpc"], &body["id"]), (&json!("2.0"), &json!(1)));
        assert_eq!(result["protocolVersion"], version);
        assert!(result["capabilities"]["tools"].is_object(), "{result}");
        assert_eq!(result["serverInfo"]["name"], "agent-relay");
        assert!(result["instructions"].as_str().is_some_and(|text| text.contains("whoami")));

        let headers = [("MCP-Protocol-Version", version), ("Mcp-Session-Id", "of-an-earlier-relay")];
        let told = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
        let answer = post(client, &headers, &told).await;
        assert_eq!((answer.status, answer.text.as_str()), (202, ""));
        assert_eq!(post(client, &headers, &request("ping", json!({}))).await.expect::<Value>(200)["result"], json!({}));
        let list: Value = post(client, &headers, &request("tools/list", json!({}))).await.expect(200);
        assert_eq!(names(&list["result"]), TOOLS);
        assert!(list["result"].get("resultType").is_none(), "{version} does not know it");
        let call = request("tools/call", json!({"name": "whoami"}));
        let called: Value = post(client, &headers, &call).await.expect(200);
        assert!(called["result"]["content"][0]["text"].as_str().is_some_and(|text| text.contains("\"ada\"")));
        assert!(called["result"].get("resultType").is_none(), "{version} does not know it");
        // Another status would be taken for a broken connection.
        error(post(client, &headers, &request("resources/list", json!({}))).await, 200, -32601);
    }
    for unknown in ["2026-07-28", "2099-01-01", "1999-01-01", "x"] {
        let body: Value =
            post(client, &[], &request("initialize", json!({"protocolVersion": unknown}))).await.expect(200);
        assert_eq!(body["result"]["protocolVersion"], "2025-11-25", "{unknown}");
    }
}

#[tokio::test]
async fn the_stateless_version_needs_no_handshake() {
    let server = Server::start_with_token(TOKEN).await;
    let ada = Caller::new(&server.client, "ada").await;
    let client = &ada.client;
    let body: Value = post_stateless(client, &stateless("server/discover", json!({}))).await.expect(200);
    let found = &body["result"];
    assert_eq!(found["resultType"], "complete");
    let versions: Vec<_> = [STATELESS].into_iter().chain(HANDSHAKES.into_iter().rev()).collect();
    assert_eq!(found["supportedVersions"], json!(versions), "newest first");
    assert!(found["capabilities"]["tools"].is_object() && found["ttlMs"].is_u64() && found["cacheScope"] == "public");
    assert_eq!(found["_meta"]["io.modelcontextprotocol/serverInfo"]["name"], "agent-relay");

    let list = post_stateless(client, &stateless("tools/list", json!({}))).await;
    let again = post_stateless(client, &stateless("tools/list", json!({}))).await;
    assert_eq!(list.text, again.text, "prompts are kept by what stands at their beginning");
    let body: Value = list.expect(200);
    assert_eq!(names(&body["result"]), TOOLS);
    assert_eq!(body["result"]["resultType"], "complete");
    assert!(body["result"]["ttlMs"].is_u64());
    for tool in body["result"]["tools"].as_array().expect("tools") {
        assert_eq!(tool["inputSchema"]["type"], "object", "{tool}");
        assert!(tool["description"].as_str().is_some_and(|text| !text.is_empty()), "{tool}");
        assert!(tool["inputSchema"]["properties"].get("from").is_none(), "nobody says who one is: {tool}");
    }
    let body: Value = post_stateless(client, &stateless("tools/call", json!({"name": "whoami"}))).await.expect(200);
    assert_eq!(body["result"]["resultType"], "complete");
    assert!(body["result"]["content"][0]["text"].as_str().is_some_and(|text| text.contains("\"ada\"")));
    for gone in ["ping", "resources/list", "nonsense"] {
        error(post_stateless(client, &stateless(gone, json!({}))).await, 404, -32601);
    }
    let told = json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}});
    let headers = [("MCP-Protocol-Version", STATELESS), ("Mcp-Method", "notifications/cancelled")];
    let mut with_version = told.clone();
    with_version["params"]["_meta"] = json!({"io.modelcontextprotocol/protocolVersion": STATELESS});
    assert_eq!(post(client, &headers, &with_version).await.status, 202);
}

#[tokio::test]
async fn headers_say_what_the_body_says_or_nothing_is_done() {
    let server = Server::start_with_token(TOKEN).await;
    let ada = Caller::new(&server.client, "ada").await;
    let client = &ada.client;
    let call = stateless("tools/call", json!({"name": "send", "arguments": {"to": "ada", "body": "x"}}));
    let (version, method, name) =
        (("MCP-Protocol-Version", STATELESS), ("Mcp-Method", "tools/call"), ("Mcp-Name", "send"));
    for headers in [
        &[method, name][..],
        &[version, name],
        &[version, method],
        &[("MCP-Protocol-Version", "2025-11-25"), method, name],
        &[version, ("Mcp-Method", "tools/list"), name],
        &[version, method, ("Mcp-Name", "read")],
        &[version, method, ("Mcp-Name", "=?base64?!?=")],
        &[version, version, method, name],
        &[version, method, method, name],
        &[version, method, name, ("Mcp-Name", "read")],
    ] {
        let wrong = post(client, headers, &call).await;
        let found = error(wrong, 400, -32020);
        assert!(found["message"].as_str().is_some_and(|text| text.contains("header") || text.contains("Mcp-Name")));
    }
    assert_eq!(server.client.inbox("ada").await, Vec::<String>::new(), "nothing was sent");
    // As other characters are sent.
    let coded = [version, method, ("Mcp-Name", "=?base64?c2VuZA==?=")];
    post(client, &coded, &call).await.expect::<Value>(200);
    assert_eq!(server.client.inbox("ada").await, ["x"]);

    for unknown in ["2099-01-01", "1999-01-01", "x"] {
        let mut message = stateless("tools/list", json!({}));
        message["params"]["_meta"]["io.modelcontextprotocol/protocolVersion"] = json!(unknown);
        let headers = [("MCP-Protocol-Version", unknown), ("Mcp-Method", "tools/list")];
        for message in [&message, &request("tools/list", json!({}))] {
            let found = error(post(client, &headers, message).await, 400, -32022);
            assert_eq!(found["data"]["requested"], unknown);
            assert_eq!(found["data"]["supported"][0], STATELESS);
            assert_eq!(found["data"]["supported"].as_array().map(Vec::len), Some(5));
        }
    }
    // It does not say for itself what it speaks.
    let headers = [version, ("Mcp-Method", "tools/list")];
    error(post(client, &headers, &request("tools/list", json!({}))).await, 400, -32602);
}

#[tokio::test]
async fn only_post_is_taken_and_answered_with_json_whatever_is_accepted() {
    let server = Server::start_with_token(TOKEN).await;
    let ada = Caller::new(&server.client, "ada").await;
    let stranger = server.client.with_token(None);
    let wrong = server.client.with_token(Some("ar_wrong"));
    for client in [&ada.client, &stranger, &wrong] {
        for method in ["GET", "DELETE", "PUT", "PATCH", "OPTIONS", "HEAD", "NONSENSE"] {
            for accept in [None, Some("text/event-stream"), Some("application/json"), Some("image/png")] {
                let method = Method::from_bytes(method.as_bytes()).expect("a method");
                let mut request = client.request(method.clone(), "/mcp").header("Mcp-Session-Id", "x");
                if let Some(accept) = accept {
                    request = request.header("Accept", accept);
                }
                let answer = client.call(request).await;
                assert_eq!(answer.status, 405, "{method} {accept:?}: {answer:?}");
                assert_eq!(answer.header("allow"), Some("POST"), "{method} {accept:?}: {answer:?}");
            }
        }
    }
    for accept in
        ["", "*/*", "application/json", "text/event-stream", "application/json, text/event-stream", "image/png"]
    {
        let mut request = ada.client.request(Method::POST, "/mcp").json(&super::request("tools/list", json!({})));
        if !accept.is_empty() {
            request = request.header("Accept", accept);
        }
        let body: Value = ada.client.call(request).await.expect(200);
        assert_eq!(names(&body["result"]), TOOLS, "{accept}");
    }
}

#[tokio::test]
async fn batches_are_taken_where_the_version_has_them() {
    let server = Server::start_with_token(TOKEN).await;
    let ada = Caller::new(&server.client, "ada").await;
    let client = &ada.client;
    let numbered = |id: i64, method: &str| json!({"jsonrpc": "2.0", "id": id, "method": method});
    let told = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
    let batch = json!([
        numbered(1, "ping"),
        told,
        numbered(2, "tools/list"),
        numbered(3, "nonsense"),
        numbered(4, "initialize"),
        {"jsonrpc": "2.0", "id": 5, "method": "tools/call", "params": {"name": "whoami"}},
        7,
    ]);
    for headers in [&[][..], &[("MCP-Protocol-Version", "2024-11-05")], &[("MCP-Protocol-Version", "2025-03-26")]] {
        let answers: Vec<Value> = post(client, headers, &batch).await.expect(200);
        assert_eq!(answers.len(), 6, "{answers:?}");
        assert_eq!(answers[0]["result"], json!({}));
        assert_eq!(names(&answers[1]["result"]), TOOLS);
        assert_eq!((&answers[2]["id"], &answers[2]["error"]["code"]), (&json!(3), &json!(-32601)));
        assert_eq!((&answers[3]["id"], &answers[3]["error"]["code"]), (&json!(4), &json!(-32600)));
        assert!(answers[4]["result"]["content"][0]["text"].as_str().is_some_and(|text| text.contains("\"ada\"")));
        assert_eq!(answers[5]["error"]["code"], -32600);
        let silent = post(client, headers, &json!([told, told])).await;
        assert_eq!((silent.status, silent.text.as_str()), (202, ""));
        error(post(client, headers, &json!([])).await, 400, -32600);
        let many: Vec<_> = (0..17).map(|id| numbered(id, "ping")).collect();
        error(post(client, headers, &json!(many)).await, 400, -32600);
    }
    for version in ["2025-06-18", "2025-11-25", STATELESS] {
        let found = error(post(client, &[("MCP-Protocol-Version", version)], &batch).await, 400, -32600);
        assert!(found["message"].as_str().is_some_and(|text| text.contains("no batches")), "{found}");
    }
    error(post(client, &[("MCP-Protocol-Version", "x")], &batch).await, 400, -32022);
}

#[tokio::test]
async fn what_is_no_message_is_refused_in_the_form_of_the_protocol() {
    let server = Server::start_with_token(TOKEN).await;
    let ada = Caller::new(&server.client, "ada").await;
    let client = &ada.client;
    let raw = async |content_type: &str, body: Vec<u8>| {
        let request = client.request(Method::POST, "/mcp").header("Content-Type", content_type).body(body);
        client.call(request).await
    };
    for body in [&b"{"[..], b"", b"\xff\xfe", b"{\"jsonrpc\": \"2.0\"", &b"[".repeat(100_000)] {
        error(raw("application/json", body.to_vec()).await, 400, -32700);
    }
    for body in
        ["7", "null", "\"x\"", "{}", r#"{"jsonrpc": "2.0", "id": 1, "result": {}}"#, r#"{"id": 1, "method": "ping"}"#]
    {
        error(raw("application/json", body.as_bytes().to_vec()).await, 400, -32600);
    }
    error(raw("text/plain", b"{}".to_vec()).await, 415, -32600);
    error(raw("application/json", vec![b' '; (1 << 20) + 1]).await, 413, -32600);
    for params in [json!({}), json!({"name": 7}), json!({"name": "send", "arguments": []}), json!({"name": "no\u{1b}"})]
    {
        error(post(client, &[], &request("tools/call", params)).await, 200, -32602);
    }

    let refused = async |client: &Client, status| {
        error(post(client, &[], &request("tools/list", json!({}))).await, status, -32600)
    };
    let found = refused(&server.client.with_token(None), 401).await;
    assert_eq!(found["data"]["code"], "unauthorized", "the problem is told as everywhere: {found}");
    let found = refused(&server.client.with_token(Some("ar_wrong")), 401).await;
    assert_eq!(found["data"]["code"], "unauthorized");
    for scopes in [json!(["metrics"]), json!(["integration"])] {
        let other = Caller::with(&server.client, json!({"name": "o", "scopes": scopes})).await;
        assert_eq!(refused(&other.client, 403).await["data"]["code"], "not_allowed");
    }
}

#[tokio::test]
async fn a_page_of_another_origin_calls_no_tool() {
    let server = Server::start().await;
    let client = &server.client;
    let list = request("tools/list", json!({}));
    let found = error(post(client, &[("Origin", "http://evil.example")], &list).await, 403, -32600);
    assert_eq!(found["data"]["code"], "foreign_origin");
    let found = error(post(client, &[("Host", "evil.example")], &list).await, 421, -32600);
    assert_eq!(found["data"]["code"], "wrong_host");
    post(client, &[("Origin", &client.base.clone())], &list).await.expect::<Value>(200);
}

#[tokio::test]
async fn calls_count_against_the_rate_of_their_caller() {
    let server = Server::start_with(|config| {
        config.token = Some(agent_relay::config::Secret::parse("test", TOKEN).expect("a token"));
        config.limits.http.requests_per_minute = 3;
    })
    .await;
    let card: Value = server
        .client
        .post("/api/tokens", json!({"name": "a", "scopes": ["agent"], "agentId": "ada"}))
        .await
        .expect(201);
    let client = server.client.with_token(card["token"].as_str());
    for _ in 0..3 {
        let answer = post(&client, &[], &request("tools/list", json!({}))).await;
        assert!(answer.header("ratelimit").is_some(), "{answer:?}");
        answer.expect::<Value>(200);
    }
    let answer = post(&client, &[], &request("tools/list", json!({}))).await;
    assert!(answer.header("retry-after").is_some(), "{answer:?}");
    assert_eq!(error(answer, 429, -32600)["data"]["code"], "rate_limited");
}
