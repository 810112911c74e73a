//! The README's commands, run against the real program as they are printed.

use std::io::ErrorKind;
use std::path::Path;
use std::process::{Command, Stdio};

use agent_relay::sessions::TmuxChoice;
use serde_json::{Value, json};

use crate::program::{Running, Serving, program};
use crate::real_clis::installed;
use crate::server::{Client, eventually};
use crate::spawn::{Host, UP, install};

const README: &str = include_str!("../../README.md");

/// The address that the commands speak to.
const DEFAULT: &str = "http://127.0.0.1:4850";

/// What stands between the fences of the block that begins with this word.
fn block(begin: &str) -> &'static str {
    let (_, rest) = README.split_once(&format!("```{begin}\n")).unwrap_or_else(|| panic!("no {begin} in the README"));
    rest.split_once("```").expect("its end").0
}

/// Whether all of these programs are installed; says so when one is not.
fn are_installed(tools: &[&str]) -> bool {
    let missing = tools.iter().find(|tool| {
        let found = Command::new(tool).arg("version").stdout(Stdio::null()).stderr(Stdio::null()).status();
        found.is_err_and(|error| error.kind() == ErrorKind::NotFound)
    });
    if let Some(tool) = missing {
        println!("SKIPPED: commands of the README were not run, because {tool} is not installed");
    }
    missing.is_none()
}

/// Runs a block of commands against this relay, and answers what they said and complained of.
fn run(script: &str, serving: &Serving, home: &Path, environment: &[(&str, &str)]) -> (String, String) {
    assert!(script.contains(DEFAULT), "the commands speak to the default address");
    run_beside(script, serving, home, environment)
}

/// The same of commands that find the relay by its data directory.
fn run_beside(script: &str, serving: &Serving, home: &Path, environment: &[(&str, &str)]) -> (String, String) {
    // What waits for something that never comes is ended by `timeout`, with 124. One that
    // fails must not leave its listener behind, which would hold these pipes open.
    let script = format!("trap 'kill $(jobs -p) 2>/dev/null || :' EXIT\n{}", script.replace(DEFAULT, &serving.url));
    let output = Command::new("timeout")
        .args(["60", "bash", "-euo", "pipefail", "-c", &script])
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", home)
        .envs(environment.iter().copied())
        .current_dir(home)
        .output()
        .expect("coreutils and bash");
    let (said, complained) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}\n{said}\n{complained}", output.status);
    (said.into_owned(), complained.into_owned())
}

#[test]
fn the_tour_works_as_it_is_printed() {
    if !are_installed(&["bash", "curl"]) {
        return;
    }
    let home = tempfile::tempdir().expect("a temporary directory");
    let serving = Serving::start(&mut program(home.path()));
    let (said, complained) = run(block("bash tour"), &serving, home.path(), &[]);
    // What a reader of the README will look for.
    for seen in ["message.new", "already_claimed", "completedAt", "\"program\"", "cwd must be within"] {
        assert!(said.contains(seen), "no {seen} in\n{said}\n{complained}");
    }
}

#[tokio::test]
async fn a_day_goes_as_it_is_printed() {
    if !are_installed(&["bash", "grep", "cut"]) {
        return;
    }
    let home = tempfile::tempdir().expect("a temporary directory");
    // A script stands in for Claude Code, and says its version as that does.
    let script = format!("[ \"$1\" = --version ] && {{ echo '9.9.9 (Stand-in)'; exit; }}; {UP}");
    let bin = install(home.path(), "claude", &script);
    let bin = bin.parent().expect("a folder").display().to_string();
    let program_folder = Path::new(env!("CARGO_BIN_EXE_agent-relay")).parent().expect("a folder");
    let system = std::env::var("PATH").expect("a path");
    let path = format!("{bin}:{}:{system}", program_folder.display());
    let serving = Serving::start(program(home.path()).env("PATH", &path));
    let _host = Host::at(&home.path().join(".local/share/agent-relay"), TmuxChoice::Auto).await;
    let (said, complained) = run_beside(block("bash day"), &serving, home.path(), &[("PATH", &path)]);
    let seen = [
        "is up",
        "is stored, and reaches 1 agent",
        ", not read",
        "Main is red",
        "task 1 is open: Review #7",
        "task 1 is done by claude-",
        "question  Merge #7?",
        "one of: yes, no",
        "task 2 is done by user",
        "(shift+tab to cycle)",
        "has ended",
        "today.backup has the database",
        "9.9.9 (Stand-in)",
    ];
    for seen in seen {
        assert!(said.contains(seen), "no {seen} in\n{said}\n{complained}");
    }
    assert!(home.path().join("today.backup").is_file());
}

#[test]
fn events_come_in_as_they_are_printed() {
    if !are_installed(&["bash", "curl", "openssl"]) {
        return;
    }
    let home = tempfile::tempdir().expect("a temporary directory");
    let config = home.path().join("relay.toml");
    std::fs::write(&config, block("toml integrations")).expect("a file");
    let mut relay = program(home.path());
    relay.env("AGENT_RELAY_CONFIG", config).env("AGENT_RELAY_TOKEN", "the-administrators");
    let serving = Serving::start(&mut relay);
    let token = [("TOKEN", "the-administrators")];
    let (said, complained) = run(block("bash integrations"), &serving, home.path(), &token);
    let sources: Vec<String> = said
        .lines()
        .map(|line| {
            let task: serde_json::Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("{said}\n{complained}"));
            assert_eq!((&task["title"], &task["occurrences"]), (&"Main is red".into(), &1.into()), "{line}");
            task["source"].as_str().unwrap_or_else(|| panic!("{line}")).to_owned()
        })
        .collect();
    assert_eq!(sources, ["anything", "alerts", "repo", "build"]);
}

/// The program's folder, and those that PATH has, after `first`.
fn path(first: &[&Path]) -> String {
    let folders = [Path::new(env!("CARGO_BIN_EXE_agent-relay")).parent().expect("a folder")];
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = first.iter().chain(&folders).map(|folder| folder.to_path_buf()).chain(std::env::split_paths(&path));
    std::env::join_paths(folders).expect("a PATH").into_string().expect("a plain PATH")
}

#[test]
fn tools_are_called_as_it_is_printed() {
    if !are_installed(&["bash", "curl"]) {
        return;
    }
    let home = tempfile::tempdir().expect("a temporary directory");
    let serving = Serving::start(&mut program(home.path()));
    let (said, complained) = run(block("bash mcp"), &serving, home.path(), &[("PATH", &path(&[]))]);
    let answer: Value = serde_json::from_str(&said).unwrap_or_else(|_| panic!("{said}\n{complained}"));
    assert!(
        answer["result"]["content"][0]["text"].as_str().is_some_and(|text| text.starts_with("You are \"ada\"")),
        "{said}"
    );
}

#[test]
fn the_programs_take_the_relay_as_a_server_as_it_is_printed() {
    let (Some(claude), Some(codex)) = (installed("claude"), installed("codex")) else { return };
    let home = tempfile::tempdir().expect("a temporary directory");
    let serving = Serving::start(&mut program(home.path()));
    let folders = [&claude, &codex].map(|program| program.parent().expect("a folder"));
    // The token stands in the environment; what the programs keep names it alone.
    let script = format!("{}{}claude mcp list\ncodex mcp list\n", block("bash mcp"), block("bash mcp-clients"));
    let (said, complained) = run(&script, &serving, home.path(), &[("PATH", &path(&folders))]);
    let all = format!("{said}\n{complained}");
    let claude = said.lines().find(|line| line.starts_with("relay: ")).unwrap_or_else(|| panic!("{all}"));
    assert!(claude.contains(&format!("{}/mcp", serving.url)) && claude.contains("Connected"), "{all}");
    let codex = said.lines().find(|line| line.starts_with("relay ")).unwrap_or_else(|| panic!("{all}"));
    assert!(codex.contains(&format!("{}/mcp", serving.url)) && codex.contains("AGENT_RELAY_TOKEN"), "{all}");
    for kept in [".claude.json", ".codex/config.toml"] {
        let text = std::fs::read_to_string(home.path().join(kept)).unwrap_or_else(|error| panic!("{kept}: {error}"));
        assert!(!text.contains("ar_"), "a token is kept in {kept}:\n{text}");
    }
}

#[tokio::test]
async fn the_receiver_takes_what_is_signed_and_nothing_else() {
    let found = Command::new("python3").arg("--version").stdout(Stdio::null()).status();
    if found.is_err_and(|error| error.kind() == ErrorKind::NotFound) {
        println!("SKIPPED: the README's receiver was not run, because python3 is not installed");
        return;
    }
    let home = tempfile::tempdir().expect("a temporary directory");
    let settings = home.path().join("relay.toml");
    std::fs::write(&settings, "[callbacks]\nallow = [\"127.0.0.1/32\"]\n").expect("settings");
    let serving = Serving::start(program(home.path()).env("AGENT_RELAY_CONFIG", settings));
    let (_, rest) = README.split_once("```python receiver\n").expect("a receiver in the README");
    let script = rest.split_once("```").expect("the end of the receiver").0;
    // Free a moment ago.
    let address = std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    let address = address.expect("a free port");
    assert!(script.contains("8080"), "the receiver has this port");
    let mut python = Command::new("python3");
    python.args(["-c", &script.replace("8080", &address.port().to_string())]).env("HOME", home.path());
    let receiver = Running::start(python.stdin(Stdio::null()));
    eventually("it listens", async || std::net::TcpStream::connect(address).ok()).await;
    let (client, url) = (Client::new(&serving.url, None), format!("http://{address}/"));
    let forged = reqwest::Client::builder().timeout(crate::program::PATIENCE).build().expect("a client");
    let forged = forged
        .post(&url)
        .header("webhook-id", "x")
        .header("webhook-timestamp", "1")
        .header("webhook-signature", "v1,x");
    assert_eq!(forged.body("forged").send().await.expect("an answer").status(), 401);
    client.post("/api/tasks", json!({"title": "Be told", "callbackUrl": url})).await.expect::<Value>(201);
    receiver.said("Be told");
}
