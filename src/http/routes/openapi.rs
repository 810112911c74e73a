//! The OpenAPI 3.1 document, made from the routes themselves.

use std::sync::OnceLock;

use serde_json::{Value, json};
use utoipa::openapi::{InfoBuilder, OpenApi, OpenApiBuilder};

use super::super::{error, events_schema};
use super::SECURITY_SCHEME;

/// What the operations are about.
const TAGS: [(&str, &str); 15] = [
    ("agents", "Who is there, what they can do, and whether they are heard from."),
    ("messages", "Durable messages, their threads, and claims of work that exactly one agent does."),
    ("pairs", "Two agents in a focused exchange, from the request to its end."),
    ("channels", "Named streams of messages that outside adapters carry in and out."),
    ("tasks", "Work, questions and approvals, each of which comes to an end that is told."),
    ("integrations", "Services outside, whose signed events become tasks, and what could not be read."),
    ("callbacks", "What is told to others of tasks that name an address, and what became of it."),
    ("events", "One stream of everything that happens, and its log."),
    ("control", "Starting, restarting and shutting down agents, and what became of it."),
    ("orchestrators", "The daemons that run agents on other hosts."),
    ("plugins", "Policies and providers: what is loaded, what they decide, and what operators decide about them."),
    ("tokens", "Named credentials: what each opens, and for how long."),
    ("activity", "What happened, for people."),
    ("attention", "What waits for a person, the most urgent first."),
    ("system", "The relay about itself."),
];

/// The document as text, made once.
pub fn document_text() -> &'static str {
    static TEXT: OnceLock<String> = OnceLock::new();
    TEXT.get_or_init(|| {
        let mut text = serde_json::to_string_pretty(&document(crate::http::api::routes().document)).unwrap_or_default();
        text.push('\n');
        text
    })
}

/// The head of the document; the routes add the rest.
pub(in crate::http) fn base() -> OpenApi {
    OpenApiBuilder::new()
        .info(
            InfoBuilder::new()
                .title("agent-relay")
                .version(env!("CARGO_PKG_VERSION"))
                .description(Some(
                    "Coding agents find each other, exchange durable messages, claim work once, follow one event \
                     stream, and are started under policies that can be swapped while the relay runs.",
                ))
                .build(),
        )
        .build()
}

/// Adds what holds for every route: what a credential is, and what an error looks like.
fn document(api: OpenApi) -> Value {
    let mut document = serde_json::to_value(api).unwrap_or_default();
    document["components"]["securitySchemes"] = json!({
        SECURITY_SCHEME: {
            "type": "http",
            "scheme": "bearer",
            "description": "A token, here or in the header X-Agent-Relay-Token. Each operation names the scopes that \
                open it. A relay without a token of its own listens on loopback only, where whoever sends none has \
                the scope admin.",
        },
    });
    document["info"]["contact"] = json!({"name": "Whoever runs this relay"});
    document["servers"] = json!([{"url": "/", "description": "The relay that this document came from."}]);
    document["info"]["license"] = json!({"name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0"});
    let tags = TAGS.map(|(name, description)| json!({"name": name, "description": description}));
    document["tags"] = json!(tags);
    let codes: Vec<&str> = error::ALL.iter().map(|code| code.name).collect();
    document["components"]["schemas"]["Problem"] = json!({
        "type": "object",
        "description": "RFC 9457 problem details.",
        "required": ["type", "title", "status", "detail", "error", "code", "next", "requestId"],
        "properties": {
            "type": {"type": "string"}, "title": {"type": "string"}, "status": {"type": "integer"},
            "detail": {"type": "string"},
            "error": {"type": "string", "description": "Equal to detail, for older clients."},
            "code": {"type": "string", "enum": codes},
            "next": {"type": "string", "description": "What the caller should do now."},
            "requestId": {"type": "string"},
        },
    });
    document["components"]["schemas"]["EventName"] = events_schema();
    document["components"]["schemas"]["LogEntry"]["properties"]["event"] = json!({
        "description": "Its name; `relay.reset` when the wanted position is no longer kept.",
        "anyOf": [{"$ref": "#/components/schemas/EventName"}, {"type": "string", "const": "relay.reset"}],
    });
    let problem = json!({
        "description": "Any error.",
        "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
    });
    if let Some(paths) = document["paths"].as_object_mut() {
        for operation in paths.values_mut().filter_map(Value::as_object_mut).flat_map(serde_json::Map::values_mut) {
            if operation.get("description").is_none() {
                let summary = operation["summary"].as_str().unwrap_or_default();
                operation["description"] = Value::from(format!("{summary} {}", who_may(&operation["security"])));
            }
            operation["responses"]["4XX"] = problem.clone();
            operation["responses"]["default"] = problem.clone();
        }
    }
    document
}

/// Who may call an operation, in words.
fn who_may(security: &Value) -> String {
    let scopes = security.as_array().into_iter().flatten().filter_map(|any| any[SECURITY_SCHEME][0].as_str());
    let scopes: Vec<_> = scopes.map(|scope| format!("`{scope}`")).collect();
    match scopes.as_slice() {
        [] => "It needs no credential.".to_owned(),
        [one] => format!("It needs a credential with the scope {one}."),
        _ => format!("It needs a credential with one of the scopes {}.", scopes.join(", ")),
    }
}
