//! The official SDKs as clients, in every version of the protocol that they speak, over HTTP and over standard input
//! and output. Where they are not installed the tests say so and prove nothing; `AGENT_RELAY_TEST_MCP=FOLDER` names the
//! folder that has them, as `.ci/run` fills it.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use super::{Caller, HANDSHAKES, STATELESS, TOKEN};
use crate::program::{Serving, program};
use crate::server::Client;

/// The folder of the SDKs, or none, which is said for everybody to see.
fn installed(what: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("AGENT_RELAY_TEST_MCP").filter(|folder| !folder.is_empty()).map(PathBuf::from);
    if folder.is_none() {
        eprintln!("SKIPPED with {what}: AGENT_RELAY_TEST_MCP names no folder that has it");
    }
    folder
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/api/mcp/sdks").join(name)
}

/// Runs a script against a relay and checks what came of each conversation. `asked` are the versions, with what they
/// must end with.
async fn converse(asked: &[(&str, &str)], command: impl FnOnce(&str) -> Command) {
    let home = tempfile::tempdir().expect("a home");
    let serving = Serving::start(program(home.path()).env("AGENT_RELAY_TOKEN", TOKEN));
    let admin = Client::new(&serving.url, Some(TOKEN));
    let sdk = Caller::new(&admin, "sdk").await;
    let mut command = command(&format!("{}/mcp", serving.url));
    command
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", home.path())
        .env("AGENT_RELAY_URL", &serving.url)
        .env("AGENT_RELAY_TOKEN", &sdk.token)
        .env("PYTHONDONTWRITEBYTECODE", "1");
    let output = tokio::task::spawn_blocking(move || command.output()).await.expect("an end").expect("it starts");
    let (said, complained) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}\n{said}\n{complained}", output.status);
    let told: Vec<Value> = said.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let expected: Vec<_> = ["http", "stdio"]
        .iter()
        .flat_map(|kind| asked.iter().map(move |(asked, agreed)| (*kind, *asked, *agreed)))
        .collect();
    assert_eq!(told.len(), expected.len(), "{said}");
    for (talk, (transport, asked, agreed)) in told.iter().zip(&expected) {
        assert_eq!((&talk["transport"], &talk["asked"]), (&json!(transport), &json!(asked)), "{talk}");
        assert_eq!(talk["agreed"], *agreed, "{talk}");
        // Who pins the stateless version asks nobody who is there.
        assert!(talk["server"] == "agent-relay" || *asked == STATELESS, "{talk}");
        assert_eq!(talk["tools"].as_array().map(Vec::len), Some(12), "{talk}");
        for (name, is_error, text) in [
            ("whoami", false, "You are \"sdk\""),
            ("sent", false, "to \"sdk\": it reaches 1 agent"),
            ("inbox", false, "> by an SDK"),
            ("refused", true, "message not found. Check the number"),
        ] {
            assert_eq!(talk[name]["isError"], is_error, "{talk}");
            assert!(talk[name]["text"].as_str().is_some_and(|said| said.contains(text)), "{name}: {talk}");
        }
        assert!(talk["unknown"].as_str().is_some_and(|said| said.contains("no such tool")), "{talk}");
    }
    assert_eq!(admin.inbox("sdk").await.len(), expected.len(), "each sent one message");
}

fn handshakes() -> Vec<(&'static str, &'static str)> {
    HANDSHAKES.iter().map(|version| (*version, *version)).collect()
}

fn all() -> Vec<(&'static str, &'static str)> {
    [handshakes(), vec![(STATELESS, STATELESS), ("auto", STATELESS)]].concat()
}

async fn python(package: &str, asked: &[(&str, &str)]) {
    let Some(folder) = installed("the Python SDK") else { return };
    converse(asked, |url| {
        let mut command = Command::new("python3");
        command.arg(script("python.py")).arg(folder.join(package)).args([url, env!("CARGO_BIN_EXE_agent-relay")]);
        command
    })
    .await;
}

async fn typescript(package: &str, asked: &[(&str, &str)]) {
    let Some(folder) = installed("the TypeScript SDK") else { return };
    converse(asked, |url| {
        let mut command = Command::new("node");
        command.arg(script("typescript.mjs")).arg(folder).args([package, url, env!("CARGO_BIN_EXE_agent-relay")]);
        command
    })
    .await;
}

#[tokio::test]
async fn the_first_python_sdk_speaks_with_the_relay() {
    python("python-1", &handshakes()).await;
}

#[tokio::test]
async fn the_second_python_sdk_speaks_with_the_relay() {
    python("python-2", &all()).await;
}

#[tokio::test]
async fn the_first_typescript_sdk_speaks_with_the_relay() {
    typescript("sdk", &handshakes()).await;
}

#[tokio::test]
async fn the_second_typescript_sdk_speaks_with_the_relay() {
    typescript("client", &all()).await;
}
