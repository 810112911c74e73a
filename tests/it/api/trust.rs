//! What the page about trust says and no other test does. `tidy::trust` holds that each of its sentences has a test.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use agent_relay::sessions::TmuxChoice;
use reqwest::Method;
use rustix::process::Signal;
use serde_json::json;

use crate::program::{Serving, program};
use crate::server::{Client, Server};
use crate::spawn::{Bench, UP};

const TOKEN: &str = "ar_the-administrator";

#[tokio::test]
async fn a_credential_in_an_address_opens_nothing() {
    let server = Server::start_with_token(TOKEN).await;
    let stranger = server.client.with_token(None);
    for name in ["token", "access_token", "api_key", "ticket", "authorization", "X-Agent-Relay-Token"] {
        for path in ["/api/agents", "/api/events", "/metrics"] {
            stranger.get(&format!("{path}?{name}={TOKEN}")).await.problem(401, "unauthorized");
        }
    }
    let cookie = stranger.request(Method::GET, "/api/agents").header("Cookie", format!("token={TOKEN}"));
    stranger.call(cookie).await.problem(401, "unauthorized");
}

/// At every level: what somebody turned up to find a fault is sent to others.
#[tokio::test]
async fn no_line_of_the_log_holds_a_credential_or_what_a_message_says() {
    let home = tempfile::tempdir().expect("a temporary directory");
    let mut command = program(home.path());
    // All that sees a request. The compiler of plugins sees none, and writes a million lines.
    let filter =
        "info,agent_relay=trace,axum=trace,hyper=trace,hyper_util=trace,tokio=trace,tower=trace,tower_http=trace";
    command.env("AGENT_RELAY_LOG", filter).env("AGENT_RELAY_TOKEN", TOKEN);
    let serving = Serving::start(&mut command);
    let client = Client::new(&serving.url, Some(TOKEN));
    let (wrong, said) = ("ar_somebody-elses-token", "what-only-bob-should-read");
    client.with_token(Some(wrong)).get("/api/agents").await.problem(401, "unauthorized");
    let by_header = client.with_token(None).request(Method::GET, "/api/agents").header("X-Agent-Relay-Token", TOKEN);
    client.call(by_header).await.expect::<serde_json::Value>(200);
    client.register_all(&["bob"]).await;
    let mut stream = client.follow("agent=bob").await;
    client.send(json!({"from": "ada", "to": "bob", "subject": "a-quiet-subject", "body": said})).await;
    assert_eq!(stream.next().await.data["body"], said);
    client
        .post("/api/messages", json!({"from": "ada", "to": "bob", "body": said, "type": 7}))
        .await
        .problem(400, "invalid_request");
    assert_eq!(client.inbox("bob").await, [said]);
    serving.signal(Signal::TERM);
    let (_, _, log) = serving.ended();
    assert!(
        log.iter().any(|line| line.contains("DEBUG") && line.contains("/api/messages")),
        "it was turned up: {log:?}"
    );
    for secret in [TOKEN, wrong, said, "a-quiet-subject"] {
        let telling: Vec<_> = log.iter().filter(|line| line.contains(secret)).collect();
        assert!(telling.is_empty(), "{secret}: {telling:?}");
    }
}

#[tokio::test]
async fn without_a_token_the_start_says_who_is_an_administrator() {
    let home = tempfile::tempdir().expect("a temporary directory");
    let line = Serving::start(&mut program(home.path())).logged("no token is set");
    assert!(line.contains("whoever calls from this host is an administrator, agents included"), "{line}");
    assert!(line.contains("AGENT_RELAY_TOKEN"), "{line}");
}

/// Every file and directory below this one.
fn everything_below(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).expect("a directory").map(|entry| entry.expect("an entry")) {
        if entry.file_type().expect("a type").is_dir() {
            found.extend(everything_below(&entry.path()));
        }
        found.push(entry.path());
    }
    found
}

#[tokio::test]
async fn another_user_of_the_host_reads_no_file_of_the_relay() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED: only an administrator may become another user");
        return;
    }
    let home = tempfile::tempdir().expect("a temporary directory");
    let open = |path: &Path| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).expect("own directory");
    };
    // Others may come as far as the data directory, and into it if somebody opened it.
    open(home.path());
    let data = home.path().join("data");
    let serving = Serving::start(program(home.path()).env("AGENT_RELAY_DATA_DIR", &data));
    let client = Client::new(&serving.url, None);
    client.say("a", "b", "for b alone").await;
    let as_nobody = |program: &str, path: &Path| {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups", program]).arg(path);
        command.output().expect("setpriv").status.success()
    };
    assert!(as_nobody("ls", home.path()), "else this would prove nothing");
    assert!(!as_nobody("ls", &data));
    open(&data);
    let files: Vec<_> = everything_below(&data).into_iter().filter(|path| path.is_file()).collect();
    assert!(files.iter().any(|path| path.ends_with("relay.db-wal")), "{files:?}");
    for file in files {
        assert!(!as_nobody("cat", &file), "{} is readable by others", file.display());
    }
}

#[tokio::test]
async fn a_started_program_holds_nothing_of_the_relay_open() {
    let bench = Bench::start(TmuxChoice::Never, UP).await;
    // With something open that it could hold.
    let _stream = bench.client().follow("").await;
    let agent = bench.agent(json!({"label": "one"})).await;
    let held = std::fs::read_dir(format!("/proc/{}/fd", agent.pid)).expect("its files");
    let held: Vec<_> = held.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok()).collect();
    assert!(!held.is_empty());
    for file in held {
        let name = file.to_string_lossy();
        let is_the_relays = ["relay.db", "lock", "socket:", "eventpoll", "plugin-state", "cache"];
        assert!(!is_the_relays.iter().any(|part| name.contains(part)), "it holds {name}");
    }
}
