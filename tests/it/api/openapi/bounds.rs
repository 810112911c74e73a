//! What the document allows is taken, and what it does not allow is refused: for every operation, each parameter
//! and each member of its body at every bound, and one step past it.

use reqwest::Method;
use serde_json::{Map, Value, json};

use super::operations;
use crate::server::{Answer, Client, Server};

/// A body that each operation takes, by its id; a member is then changed to what it may be or may not.
fn valid(operation: &str) -> Value {
    match operation {
        "register_agent" => json!({"id": "a"}),
        "set_agent_status" => json!({"status": "idle"}),
        "set_agent_ready" => json!({"ready": true}),
        "set_agent_label" => json!({"label": "l"}),
        "set_agent_tags" => json!({"tags": ["t"]}),
        "set_agent_condition" => json!({"kind": "limit"}),
        "create_pair" => json!({"requesterId": "a", "targetId": "b"}),
        "accept_pair" | "reject_pair" | "end_pair" => json!({"agentId": "a"}),
        "create_pair_message" => json!({"from": "a", "body": "b"}),
        "create_channel" => json!({"name": "c"}),
        "create_message" => json!({"from": "a", "to": "a", "body": "b"}),
        "read_message" | "claim_message" => json!({"agentId": "a"}),
        "renew_claim" | "release_claim" | "complete_claim" => json!({"agentId": "a", "claimGeneration": 1}),
        "create_task" => json!({"title": "t", "kind": "question", "target": "a"}),
        "create_event" => json!({"type": "t", "title": "t"}),
        "claim_task" => json!({"agentId": "a"}),
        "renew_task" | "release_task" => json!({"agentId": "a", "claimGeneration": 1}),
        "report_task" => json!({"agentId": "a", "status": "in_progress"}),
        "answer_task" => json!({"answer": "x"}),
        "broadcast" => json!({"body": "b"}),
        "create_activity" => json!({"clientId": "c", "kind": "state", "title": "t"}),
        "register_orchestrator" => json!({"id": "o", "hostname": "h", "baseDir": "/o"}),
        "set_managed_agents" => json!({"agents": []}),
        "create_spawn" | "create_orchestrator_spawn" => json!({"provider": "claude"}),
        "create_agent_action" => json!({"action": "restart"}),
        "create_orchestrator_action" => json!({"action": "restart", "all": true}),
        "set_agent_attention" => json!({"attention": "focus"}),
        "report_notice" => json!({"messageIds": [1], "state": "failed", "reason": "r"}),
        "report_command" => json!({"status": "running"}),
        "allow_plugin" => json!({"digest": "d"}),
        "evaluate_control" => json!({"kind": "restart", "target": "a"}),
        "create_token" => json!({"name": "n", "scopes": ["read"]}),
        "heartbeat_agent" | "plan_spawn" => json!({}),
        other => panic!("say which body {other} takes"),
    }
}

/// A schema without references, and whether null is one of its values.
fn resolved<'d>(document: &'d Value, schema: &'d Value) -> (&'d Value, bool) {
    if let Some(reference) = schema["$ref"].as_str() {
        let pointer = reference.strip_prefix('#').expect("a place in the document");
        return resolved(document, document.pointer(pointer).expect("what is referred to"));
    }
    if let Some(any) = schema["oneOf"].as_array().or(schema["anyOf"].as_array()) {
        let null = any.iter().any(|one| one["type"] == "null");
        let rest: Vec<_> = any.iter().filter(|one| one["type"] != "null").collect();
        assert_eq!(rest.len(), 1, "{schema}");
        return (resolved(document, rest[0]).0, null);
    }
    (schema, schema["type"].as_array().is_some_and(|kinds| kinds.contains(&json!("null"))))
}

fn kind(schema: &Value) -> &str {
    match &schema["type"] {
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).find(|kind| *kind != "null").expect("a type"),
        kind => kind.as_str().unwrap_or_else(|| panic!("no type: {schema}")),
    }
}

/// Values that a schema allows and values that it does not, with why.
fn values(document: &Value, schema: &Value, place: &str) -> (Vec<Value>, Vec<Value>) {
    let (schema, null) = resolved(document, schema);
    if schema["type"].is_null() {
        // Anything.
        return (vec![Value::Null, json!("x"), json!([]), json!({})], Vec::new());
    }
    let (mut good, mut bad) = (Vec::new(), Vec::new());
    if null {
        good.push(Value::Null);
    } else {
        bad.push(Value::Null);
    }
    match kind(schema) {
        "string" => {
            if let Some(words) = schema["enum"].as_array() {
                good.extend(words.iter().cloned());
                bad.push(json!("nonsense"));
            } else {
                let most = schema["maxLength"].as_u64().unwrap_or_else(|| panic!("{place} has no maxLength")) as usize;
                let pattern = schema["pattern"].as_str();
                let text = |length: usize| match pattern {
                    // A path.
                    Some(pattern) if pattern.contains('/') => format!("/{}", "x".repeat(length - 1)),
                    _ => "x".repeat(length),
                };
                good.push(json!(text(most)));
                bad.push(json!(text(most + 1)));
                let empty = if pattern.is_some() { &mut bad } else { &mut good };
                empty.extend([json!(""), json!("  ")]);
            }
            bad.push(json!(7));
        }
        "integer" => {
            for (name, past) in [("minimum", -1), ("maximum", 1)] {
                if let Some(bound) = schema[name].as_i64() {
                    good.push(json!(bound));
                    bad.push(json!(bound + past));
                }
            }
            bad.push(json!("nonsense"));
        }
        "boolean" => bad.push(json!("nonsense")),
        "array" => {
            let most = schema["maxItems"].as_u64().unwrap_or_else(|| panic!("{place} has no maxItems")) as usize;
            if kind(resolved(document, &schema["items"]).0) == "string" {
                let words = resolved(document, &schema["items"]).0["enum"].as_array();
                let entry =
                    |n: usize| words.map_or(json!(format!("entry {n}")), |words| words[n % words.len()].clone());
                let list = |count: usize| (0..count).map(entry).collect::<Vec<_>>();
                bad.extend(schema["minItems"].as_u64().map(|_| json!([])));
                bad.push(json!(list(most + 1)));
                good.push(json!(list(most)));
                let (taken, refused) = values(document, &schema["items"], place);
                good.extend(taken.into_iter().map(|entry| json!([entry])));
                bad.extend(refused.into_iter().map(|entry| json!([entry])));
            }
            bad.push(json!("nonsense"));
        }
        "object" => {
            good.push(json!({}));
            bad.extend([json!([]), json!("nonsense")]);
        }
        other => panic!("{place}: {other}"),
    }
    (good, bad)
}

/// Whether a request was taken for what it says, whatever came of it.
fn is_taken(answer: &Answer) -> bool {
    let refused =
        ["invalid_request", "reserved_id", "unreadable_delivery", "not_json", "body_too_large", "uri_too_long"];
    assert!(answer.status != 500, "{answer:?}");
    answer.status < 400 || !refused.contains(&answer.parse::<Value>()["code"].as_str().unwrap_or_default())
}

async fn send(client: &Client, method: &Method, address: &str, body: Option<&Value>) -> Answer {
    let request = client.request(method.clone(), address);
    client
        .call(match body {
            Some(body) => request.json(body),
            None => request,
        })
        .await
}

/// What the relay refuses for another reason than the form of this one member.
fn is_of_more_than_form(operation: &str, member: &str, value: &Value) -> bool {
    match (operation, member) {
        // Only who is bound to an agent may leave its name out.
        ("create_message" | "create_pair_message", "from") | ("create_pair", "requesterId") => {
            value.as_str().map_or(value.is_null(), |text| text.trim().is_empty())
        }
        (_, "agentId") if !matches!(operation, "create_activity" | "create_orchestrator_action") => {
            value.as_str().map_or(value.is_null(), |text| text.trim().is_empty())
        }
        // Where a provider must be loaded, a path be there, or an agent be named or all of them.
        (_, "provider") | ("register_orchestrator", "providers") => value.is_string() || value.is_array(),
        ("create_orchestrator_action", "agentId" | "all") => true,
        ("create_spawn" | "plan_spawn" | "create_orchestrator_spawn", "cwd") => value.is_string(),
        ("list_spawn_directories", "path") | (_, "since" | "ticket" | "types") => true,
        ("list_messages", "unread") => true,
        // An address is more than a text.
        ("create_task" | "create_event", "callbackUrl") => value.is_string(),
        // Work is claimed, and nothing else.
        ("create_message", "receipt") => value == "claimed" || value == "completed",
        // Each state of a notice is said with something else, and a moment has words of its own.
        ("report_notice", "state") => value.is_string(),
        ("report_notice", "reason") => value.as_str().map_or(value.is_null(), |text| text.trim().is_empty()),
        // A word of a state that is not one of a report.
        ("report_command", "status") => value.is_string(),
        _ => false,
    }
}

#[tokio::test]
async fn the_document_allows_what_the_relay_takes_and_nothing_else() {
    let server = Server::start_with(|config| config.spawn.dry_run = true).await;
    let client = &server.client;
    client.register_all(&["a"]).await;
    client.post("/api/orchestrators", valid("register_orchestrator")).await.expect::<Value>(201);
    let document: Value = client.get("/api/spec").await.expect(200);
    let (mut tried, mut wrong) = (0, Vec::new());
    for (method, path, said) in operations(&document) {
        let operation = said["operationId"].as_str().expect("a name");
        if operation == "stream_events" {
            // Its parameters are those of the log; its answer does not end.
            continue;
        }
        let id = match path.split('/').nth(2) {
            Some("agents") => "a".to_owned(),
            Some("orchestrators") => "o".to_owned(),
            // A message of its own, whose claim is held.
            Some("messages") if path.contains("{id}") => {
                let work = json!({"from": "x", "to": "a", "body": "b", "claimable": true});
                let id = client.send(work).await.id;
                if operation != "claim_message" {
                    let claimed = client.post(&format!("/api/messages/{id}/claim"), json!({"agentId": "a"})).await;
                    assert_eq!(claimed.expect::<Value>(200)["claimGeneration"], 1);
                }
                id.to_string()
            }
            // A task of its own, which is answered or held.
            Some("tasks") if path.contains("{id}") => {
                let kind = if operation == "answer_task" { "question" } else { "work" };
                let task: Value =
                    client.post("/api/tasks", json!({"title": "t", "kind": kind, "target": "a"})).await.expect(201);
                let id = task["id"].to_string();
                if operation != "claim_task" {
                    let claimed = client.post(&format!("/api/tasks/{id}/claim"), json!({"agentId": "a"})).await;
                    assert_eq!(claimed.expect::<Value>(200)["claimGeneration"], 1);
                }
                id
            }
            _ => "1".to_owned(),
        };
        let address = path.replace("{id}", &id).replace("{name}", "ci");
        let parameters = said.get("parameters").and_then(Value::as_array).cloned().unwrap_or_default();
        // What a request must have beside the parameter.
        let beside = said.get("requestBody").filter(|body| body["required"] == true).map(|_| valid(operation));
        for parameter in parameters.iter().filter(|parameter| parameter["in"] == "query") {
            let name = parameter["name"].as_str().expect("a name");
            let place = format!("{operation}?{name}");
            if is_of_more_than_form(operation, name, &Value::Null) {
                continue;
            }
            // A deletion is tried once, with what does not let it happen.
            let (good, bad) = values(&document, &parameter["schema"], &place);
            let good = if method == Method::DELETE { Vec::new() } else { good };
            for (value, allowed) in good.iter().map(|value| (value, true)).chain(bad.iter().map(|value| (value, false)))
            {
                // What a query says is text, where nothing is no null.
                let text = match value {
                    Value::Null => continue,
                    Value::String(text) => text.clone(),
                    Value::Number(_) if !allowed && kind(resolved(&document, &parameter["schema"]).0) == "string" => {
                        continue;
                    }
                    other => other.to_string(),
                };
                let text = text.replace(' ', "%20");
                let answer = send(client, &method, &format!("{address}?{name}={text}"), beside.as_ref()).await;
                tried += 1;
                if is_taken(&answer) != allowed {
                    wrong
                        .push(format!("{place}={text:.40}: allowed {allowed}, {} {:.200}", answer.status, answer.text));
                }
            }
        }
        if operation == "heartbeat_orchestrator" {
            // It took its leave in between.
            client.post(&address, json!({})).await.expect::<Value>(200);
        }
        let Some(described) = said.get("requestBody") else { continue };
        let required = described["required"] == true;
        let schema = resolved(&document, &described["content"]["application/json"]["schema"]).0;
        let answer = send(client, &method, &address, None).await;
        if is_taken(&answer) == required && operation != "delete_agent" {
            wrong.push(format!(
                "{operation} without a body: required {required}, {} {:.200}",
                answer.status, answer.text
            ));
        }
        let valid = valid(operation);
        let answer = send(client, &method, &address, Some(&valid)).await;
        assert!(is_taken(&answer), "{operation} does not take {valid}: {answer:?}");
        let needed: Vec<&str> = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        for name in needed.iter().filter(|name| !is_of_more_than_form(operation, name, &Value::Null)) {
            let mut without = valid.clone();
            without.as_object_mut().expect("an object").remove(*name);
            let answer = send(client, &method, &address, Some(&without)).await;
            tried += 1;
            if is_taken(&answer) {
                wrong.push(format!("{operation} without {name}: {} {:.200}", answer.status, answer.text));
            }
        }
        let none = Map::new();
        for (name, part) in schema["properties"].as_object().unwrap_or(&none) {
            let place = format!("{operation}.{name}");
            let (good, bad) = values(&document, part, &place);
            for (value, allowed) in
                good.into_iter().map(|value| (value, true)).chain(bad.into_iter().map(|value| (value, false)))
            {
                if is_of_more_than_form(operation, name, &value) {
                    continue;
                }
                let mut body = valid.clone();
                body[name] = value;
                let answer = send(client, &method, &address, Some(&body)).await;
                tried += 1;
                if is_taken(&answer) != allowed {
                    let value = body[name].to_string();
                    wrong.push(format!(
                        "{place}={value:.40}: allowed {allowed}, {} {:.200}",
                        answer.status, answer.text
                    ));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {tried}:\n{}", wrong.len(), wrong.join("\n"));
    assert!(tried > 400, "only {tried} were tried");
}
