//! The log: each line below a request, a control or a session says which.

use reqwest::Method;
use serde_json::{Value, json};

use crate::program::{Serving, program};
use crate::server::Client;

/// A relay that logs JSON, with everything at this level.
fn serving(home: &std::path::Path, level: &str) -> Serving {
    let config = home.join("relay.toml");
    std::fs::write(&config, "[log]\nformat = \"json\"\n").expect("a configuration");
    Serving::start(program(home).env("AGENT_RELAY_LOG", level).env("AGENT_RELAY_CONFIG", config))
}

/// A field of a line: its own, or that of a span around it.
fn field<'a>(line: &'a Value, name: &str) -> Option<&'a Value> {
    let spans = line["spans"].as_array().into_iter().flatten();
    std::iter::once(line).chain(spans).find_map(|part| part.get(name))
}

#[tokio::test]
async fn a_line_below_a_request_names_the_request_and_its_caller() {
    let home = tempfile::tempdir().expect("a temporary directory");
    let serving = serving(home.path(), "debug");
    let client = Client::new(&serving.url, None);
    let request = client.request(Method::POST, "/api/agents/spawn").header("X-Request-Id", "the-denied-one");
    let problem = client.call(request.json(&json!({"provider": "claude", "cwd": "/"}))).await;
    assert_eq!(problem.problem(403, "policy_denied")["requestId"], "the-denied-one");
    let line: Value = serde_json::from_str(&serving.logged("policy_denied")).expect("JSON");
    for (name, value) in [
        ("request.id", "the-denied-one"),
        ("caller", "dashboard"),
        ("http.method", "POST"),
        ("http.route", "/api/agents/spawn"),
        ("http.path", "/api/agents/spawn"),
    ] {
        assert_eq!(field(&line, name), Some(&Value::from(value)), "{name} in {line}");
    }
    let line: Value = serde_json::from_str(&serving.logged("answered")).expect("JSON");
    assert_eq!(field(&line, "request.id"), Some(&Value::from("the-denied-one")), "{line}");
}
