//! The document of the API: kept under review, and true.

mod bounds;

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::{Map, Value, json};

use crate::server::{Client, Server};

#[tokio::test]
async fn the_document_is_what_was_reviewed() {
    let server = Server::start().await;
    let answer = server.client.get("/api/spec").await;
    assert_eq!(answer.text, agent_relay::http::document_text(), "the same as `agent-relay openapi` prints");
    insta::assert_snapshot!("openapi", answer.text);
}

/// Every operation: method, path, and what the document says of it.
fn operations(document: &Value) -> Vec<(Method, String, &Map<String, Value>)> {
    let paths = document["paths"].as_object().expect("paths");
    let each = |(path, methods): (&String, &'_ Value)| -> Vec<(Method, String)> {
        let methods = methods.as_object().expect("methods").keys();
        methods.map(|method| (method.to_uppercase().parse().expect("a method"), path.clone())).collect()
    };
    let names: Vec<_> = paths.iter().flat_map(each).collect();
    names
        .into_iter()
        .map(|(method, path)| {
            let said = document["paths"][&path][method.as_str().to_lowercase()].as_object().expect("an operation");
            (method, path, said)
        })
        .collect()
}

#[tokio::test]
async fn every_operation_has_a_name_of_its_own_and_exists() {
    let server = Server::start().await;
    let client = &server.client;
    let document: Value = client.get("/api/spec").await.expect(200);
    assert!(document["openapi"].as_str().is_some_and(|version| version.starts_with("3.1.")));
    let operations = operations(&document);
    assert!(operations.len() > 30, "only {} operations", operations.len());
    let mut names = BTreeSet::new();
    for (method, path, said) in operations {
        let name = said["operationId"].as_str().expect("an operation id");
        assert!(names.insert(name.to_owned()), "{name} twice");
        let parameters = said.get("parameters").and_then(Value::as_array).cloned().unwrap_or_default();
        let mut address = path.clone();
        for parameter in parameters.iter().filter(|parameter| parameter["in"] == "path") {
            let place = format!("{{{}}}", parameter["name"].as_str().expect("a name"));
            assert!(address.contains(&place), "{path} has no {place}");
            address = address.replace(&place, "999");
        }
        assert!(!address.contains('{'), "a parameter of {path} is not described");
        if path == "/api/events" {
            client.follow("").await;
            continue;
        }
        // What it answers depends on the route; that there is one does not.
        let request = client.request(method.clone(), &address);
        let request = if method == Method::GET { request } else { request.json(&json!({})) };
        let answer = client.call(request).await;
        assert_ne!(answer.status, 405, "{method} {path}");
        assert!(answer.status < 500, "{method} {path}: {answer:?}");
        assert!(!answer.text.contains("\"detail\":\"route "), "{method} {path}: {answer:?}");
        if answer.status >= 400 {
            conforms(&document, &json!({"$ref": "#/components/schemas/Problem"}), &answer.parse(), &path);
        }
    }
}

/// Fails unless a value has the form of a schema, as far as the document uses schemas.
fn conforms(document: &Value, schema: &Value, value: &Value, place: &str) {
    if let Some(name) = schema["$ref"].as_str() {
        let pointer = name.strip_prefix('#').expect("a place in the document");
        let target = document.pointer(pointer).unwrap_or_else(|| panic!("{name} is not there"));
        return conforms(document, target, value, place);
    }
    if let Some(all) = schema["allOf"].as_array() {
        all.iter().for_each(|part| conforms(document, part, value, place));
    }
    let kinds: Vec<&str> = match &schema["type"] {
        Value::String(kind) => vec![kind],
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
        _ => return,
    };
    let fits = kinds.iter().any(|kind| match *kind {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        other => panic!("no such type: {other}"),
    });
    assert!(fits, "{place} must be {kinds:?}: {value}");
    if let Some(allowed) = schema["enum"].as_array() {
        assert!(allowed.contains(value), "{place} must be one of {allowed:?}: {value}");
    }
    for required in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        assert!(value.get(required).is_some(), "{place}.{required} is missing: {value}");
    }
    for (name, part) in schema["properties"].as_object().into_iter().flatten() {
        if let Some(member) = value.get(name) {
            conforms(document, part, member, &format!("{place}.{name}"));
        }
    }
    for entry in value.as_array().into_iter().flatten() {
        conforms(document, &schema["items"], entry, &format!("{place}[]"));
    }
}

/// Calls a route and holds the answer against what the document says of it.
async fn true_to(
    client: &Client,
    document: &Value,
    method: Method,
    route: &str,
    path: &str,
    body: Option<Value>,
) -> Value {
    let said = &document["paths"][route][method.as_str().to_lowercase()];
    assert!(said.is_object(), "{method} {route} is not in the document");
    let request = client.request(method.clone(), path);
    let answer = client
        .call(match body {
            Some(body) => request.json(&body),
            None => request,
        })
        .await;
    let place = format!("{method} {route}");
    let described = &said["responses"][answer.status.to_string()];
    assert!(described.is_object(), "{place} does not say that it answers {answer:?}");
    let schema = &described["content"]["application/json"]["schema"];
    assert!(schema.is_object(), "{place} does not say what it answers");
    let value = answer.parse();
    conforms(document, schema, &value, &place);
    value
}

#[tokio::test]
async fn answers_have_the_form_that_the_document_gives() {
    let server = Server::start().await;
    let client = &server.client;
    let document: Value = client.get("/api/spec").await.expect(200);
    let call = async |method: Method, route: &str, path: &str, body: Option<Value>| {
        true_to(client, &document, method, route, path, body).await
    };
    let card = json!({"id": "ada", "label": "L", "tags": ["t"], "machine": "m", "instanceId": "i", "meta": {"k": 1}});
    for _ in 0..2 {
        call(Method::POST, "/api/agents", "/api/agents", Some(card.clone())).await;
    }
    call(Method::GET, "/api/agents", "/api/agents", None).await;
    call(Method::GET, "/api/agents/find", "/api/agents/find?q=a", None).await;
    call(Method::GET, "/api/agents/{id}", "/api/agents/ada", None).await;
    for (part, value) in
        [("status", json!("busy")), ("ready", json!(true)), ("label", json!(null)), ("tags", json!(["t"]))]
    {
        let (route, path) = (format!("/api/agents/{{id}}/{part}"), format!("/api/agents/ada/{part}"));
        call(Method::PATCH, &route, &path, Some(json!({part: value}))).await;
    }
    call(Method::POST, "/api/agents/{id}/heartbeat", "/api/agents/ada/heartbeat", Some(json!({}))).await;

    let draft = json!({"from": "x", "to": "tag:t", "body": "b", "subject": "s", "channel": "c", "claimable": true,
        "idempotencyKey": "k", "meta": {"k": 1}, "expiresAt": 4_000_000_000_000_i64});
    let message = call(Method::POST, "/api/messages", "/api/messages", Some(draft.clone())).await;
    call(Method::POST, "/api/messages", "/api/messages", Some(draft)).await;
    let id = message["id"].as_i64().expect("an id");
    call(Method::GET, "/api/messages", "/api/messages?for=ada", None).await;
    call(Method::GET, "/api/messages/cursor", "/api/messages/cursor", None).await;
    call(Method::GET, "/api/messages/{id}", &format!("/api/messages/{id}"), None).await;
    call(Method::GET, "/api/messages/{id}/thread", &format!("/api/messages/{id}/thread"), None).await;
    for step in ["read", "claim", "claim/renew", "claim/release", "claim", "claim/complete"] {
        let generation = if step == "claim/complete" { 2 } else { 1 };
        let body = json!({"agentId": "ada", "claimGeneration": generation});
        let (route, path) = (format!("/api/messages/{{id}}/{step}"), format!("/api/messages/{id}/{step}"));
        call(Method::POST, &route, &path, Some(body)).await;
    }
    call(Method::GET, "/api/events/log", "/api/events/log?limit=1000", None).await;
    call(Method::POST, "/api/events/ticket", "/api/events/ticket", None).await;
    let entry = json!({"clientId": "c", "kind": "state", "title": "t", "metadata": {}, "agentId": "ada"});
    for _ in 0..2 {
        call(Method::POST, "/api/activity", "/api/activity", Some(entry.clone())).await;
    }
    call(Method::GET, "/api/activity", "/api/activity", None).await;
    let action = Some(json!({"action": "restart"}));
    call(Method::POST, "/api/agents/{id}/actions", "/api/agents/ada/actions", action).await;
    call(Method::GET, "/api/commands", "/api/commands", None).await;
    call(Method::GET, "/api/plugins", "/api/plugins", None).await;
    call(Method::GET, "/api/orchestrators", "/api/orchestrators", None).await;
    call(Method::POST, "/api/system/broadcast", "/api/system/broadcast", Some(json!({"body": "b"}))).await;
    call(Method::POST, "/api/system/reap", "/api/system/reap", None).await;
    for path in ["/api/health", "/api/stats", "/api/spec"] {
        call(Method::GET, path, path, None).await;
    }
    call(Method::DELETE, "/api/messages/{id}", &format!("/api/messages/{id}"), None).await;
    call(Method::DELETE, "/api/agents/{id}", "/api/agents/ada", None).await;
}

/// A bound that the document names is the relay's, and a tag that an operation has is explained.
#[tokio::test]
async fn bounds_of_pages_and_tags_are_said() {
    let server = Server::start().await;
    let client = &server.client;
    let document: Value = client.get("/api/spec").await.expect(200);
    let declared: BTreeSet<&str> =
        document["tags"].as_array().expect("tags").iter().filter_map(|tag| tag["name"].as_str()).collect();
    assert_eq!(document["servers"][0]["url"], "/");
    let (mut used, mut pages) = (BTreeSet::new(), 0);
    for (method, path, said) in operations(&document) {
        used.extend(said["tags"].as_array().expect("tags").iter().filter_map(Value::as_str));
        let parameters = said.get("parameters").and_then(Value::as_array).cloned().unwrap_or_default();
        for parameter in parameters.iter().filter(|parameter| parameter["in"] == "query") {
            let name = parameter["name"].as_str().expect("a name");
            let schema = &parameter["schema"];
            assert!(!matches!(name, "limit" | "wait") || schema["maximum"].is_i64(), "{path}: {name} has no maximum");
            let Some(most) = schema["maximum"].as_i64() else { continue };
            pages += 1;
            let address = path.replace("{id}", "1");
            client.call(client.request(method.clone(), &format!("{address}?{name}={}", most + 1))).await.invalid(name);
            if let Some(least) = schema["minimum"].as_i64().filter(|least| *least > 0) {
                let address = format!("{address}?{name}={}", least - 1);
                client.call(client.request(method.clone(), &address)).await.invalid(name);
            }
        }
    }
    assert_eq!(used, declared);
    assert!(pages > 7, "only {pages} bounds");
}
