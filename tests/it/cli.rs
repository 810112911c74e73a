//! The built program: what it prints, which exit code it ends with, and how signals end it.

mod completions;
mod control;
pub(crate) mod doctor;
mod keeping;
mod messages;
mod people;
mod reach;
pub(crate) mod shell;
mod tasks;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::mpsc::{Receiver, sync_channel};

use rustix::process::Signal;

use crate::program::{PATIENCE, Serving, program};

fn home() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary directory")
}

fn run(command: &mut Command) -> Output {
    command.output().expect("the program")
}

/// Runs `serve` with what cannot work: the exit code, and the one line it complains with.
fn refused(home: &Path, args: &[&str], variables: &[(&str, &str)]) -> (Option<i32>, String) {
    let output = run(program(home).arg("serve").args(args).envs(variables.iter().copied()));
    assert!(output.stdout.is_empty(), "nothing is announced: {output:?}");
    let stderr = String::from_utf8(output.stderr).expect("text");
    let complaint = stderr.lines().find(|line| line.starts_with("agent-relay: "));
    let complaint = complaint.unwrap_or_else(|| panic!("no complaint in {stderr}"));
    (output.status.code(), complaint.replace(home.to_str().expect("text"), "HOME"))
}

#[test]
fn help() {
    let home = home();
    let pages: [(&str, &[&str]); 19] = [
        ("help", &["--help"]),
        ("help-serve", &["serve", "--help"]),
        ("help-serve-short", &["serve", "-h"]),
        ("help-orchestrator", &["orchestrator", "--help"]),
        ("help-plugin", &["plugin", "--help"]),
        ("help-plugin-install", &["plugin", "install", "--help"]),
        ("help-plugin-list", &["plugin", "list", "--help"]),
        ("help-plugin-new", &["plugin", "new", "--help"]),
        ("help-plugin-build", &["plugin", "build", "--help"]),
        ("help-plugin-inspect", &["plugin", "inspect", "--help"]),
        ("help-plugin-check", &["plugin", "check", "--help"]),
        ("help-plugin-run", &["plugin", "run", "--help"]),
        ("help-plugin-test", &["plugin", "test", "--help"]),
        ("help-plugin-bench", &["plugin", "bench", "--help"]),
        ("help-plugin-replay", &["plugin", "replay", "--help"]),
        ("help-plugin-evaluate", &["plugin", "evaluate", "--help"]),
        ("help-plugin-allow", &["plugin", "allow", "--help"]),
        ("help-token-create", &["token", "create", "--help"]),
        ("help-openapi", &["openapi", "--help"]),
    ];
    for (name, args) in pages {
        let output = run(program(home.path()).args(args));
        assert_eq!(output.status.code(), Some(0), "{args:?}");
        insta::assert_snapshot!(name, String::from_utf8(output.stdout).expect("text"));
    }
}

#[test]
fn wrong_usage_exits_with_2() {
    let home = home();
    let wrong: [&[&str]; 5] =
        [&[], &["plugin"], &["serve", "--lisen", "x"], &["sreve"], &["plugin", "list", "--url", "::"]];
    for args in wrong {
        let output = run(program(home.path()).args(args));
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(output.stdout.is_empty() && !output.stderr.is_empty(), "{args:?}");
    }
}

#[test]
fn a_wrong_setting_is_named_with_its_place() {
    let home = home();
    let file = home.path().join("relay.toml");
    std::fs::write(&file, "[agents]\noffline_after = 90\n").expect("a file");
    let file = file.to_str().expect("text");
    let refusals = [
        refused(home.path(), &["--config", file], &[]),
        refused(home.path(), &["--config", "/nowhere.toml"], &[]),
        refused(home.path(), &[], &[("AGENT_RELAY_CONFIG", "/nowhere.toml")]),
        refused(home.path(), &["--listen", "4850"], &[]),
        refused(home.path(), &[], &[("AGENT_RELAY_LISTEN", "4850")]),
        refused(home.path(), &["--listen", "0.0.0.0:0"], &[]),
        refused(home.path(), &["--log", "loud"], &[]),
        refused(home.path(), &["--base-dir", "/nowhere/at/all"], &[]),
    ];
    assert!(refusals.iter().all(|(code, _)| *code == Some(2)), "{refusals:?}");
    insta::assert_snapshot!("refused", refusals.map(|(_, complaint)| complaint).join("\n"));
}

#[test]
fn a_taken_port_exits_with_1() {
    let home = home();
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("an address").to_string();
    let (code, complaint) = refused(home.path(), &["--listen", &address], &[]);
    assert_eq!(code, Some(1));
    assert!(complaint.contains(&address) && complaint.contains("--listen"), "{complaint}");
}

#[test]
fn a_second_relay_on_the_same_data_is_refused_until_the_first_is_gone() {
    let home = home();
    let data = home.path().join("data");
    let data = data.to_str().expect("text");
    let first = Serving::start(program(home.path()).env("AGENT_RELAY_DATA_DIR", data));
    let (code, complaint) = refused(home.path(), &["--listen", "127.0.0.1:0", "--data-dir", data], &[]);
    assert_eq!(code, Some(1));
    assert!(complaint.contains("HOME/data is in use by another agent-relay"), "{complaint}");
    assert!(complaint.contains(&format!("process {}", first.id())), "{complaint}");

    // However it ends: the kernel gives the lock back.
    first.signal(Signal::KILL);
    first.ended();
    Serving::start(program(home.path()).env("AGENT_RELAY_DATA_DIR", data));
}

#[test]
fn the_data_directory_is_made_for_this_user_alone() {
    let home = home();
    let _serving = Serving::start(&mut program(home.path()));
    let data = home.path().join(".local/share/agent-relay");
    let mode = std::fs::metadata(data).expect("a data directory").permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
}

#[test]
fn what_is_stored_is_for_this_user_alone_whatever_the_directory_is() {
    let home = home();
    let data = home.path().join("data");
    std::fs::create_dir(&data).expect("a directory");
    let set = |mode| std::fs::set_permissions(&data, std::fs::Permissions::from_mode(mode)).expect("own directory");
    set(0o755);
    // As an earlier version left it.
    std::fs::write(data.join("lock"), "").expect("a file");
    std::fs::set_permissions(data.join("lock"), std::fs::Permissions::from_mode(0o644)).expect("own file");
    let serving = Serving::start(program(home.path()).env("AGENT_RELAY_DATA_DIR", &data));
    for name in ["relay.db", "relay.db-wal", "relay.db-shm", "lock"] {
        let mode = std::fs::metadata(data.join(name)).expect(name).permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    serving.signal(Signal::TERM);
    let (code, _, stderr) = serving.ended();
    let stderr = stderr.join("\n");
    assert_eq!(code, Some(0), "{stderr}");
    assert!(stderr.contains("other users may look into the data directory"), "{stderr}");

    set(0o777);
    let refused = program(home.path()).env("AGENT_RELAY_DATA_DIR", &data).arg("serve").output().expect("it runs");
    let complaint = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && complaint.contains("may write to the data directory"), "{complaint}");
    assert!(complaint.contains("chmod 700"), "{complaint}");
}

/// The agents it starts are processes of the same user.
#[test]
fn an_operators_token_is_not_for_other_processes_of_the_user() {
    // An administrator may read everything, so the test becomes somebody else.
    const NOBODY: u32 = 65534;
    let home = home();
    let is_root = rustix::process::geteuid().is_root();
    let copy = home.path().join("agent-relay");
    std::fs::copy(env!("CARGO_BIN_EXE_agent-relay"), &copy).expect("a copy that others reach");
    let as_user = |program: &Path| {
        if !is_root {
            return Command::new(program);
        }
        let mut command = Command::new("setpriv");
        command.args([&format!("--reuid={NOBODY}"), &format!("--regid={NOBODY}"), "--clear-groups"]).arg(program);
        command
    };
    if is_root {
        std::os::unix::fs::chown(home.path(), Some(NOBODY), Some(NOBODY)).expect("given away");
    }
    for (token, is_open) in [(None, true), (Some("a-token-of-the-operator"), false)] {
        let data = home.path().join(if is_open { "open" } else { "closed" });
        let mut command = as_user(&copy);
        command.env_clear().env("HOME", home.path()).env("AGENT_RELAY_DATA_DIR", data);
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.envs(token.map(|token| ("AGENT_RELAY_TOKEN", token)));
        let serving = Serving::start(&mut command);
        let reading = run(as_user(Path::new("cat")).arg(format!("/proc/{}/environ", serving.id())));
        assert_eq!(reading.status.success(), is_open, "{token:?}: {reading:?}");
        assert!(!String::from_utf8_lossy(&reading.stdout).contains("a-token"), "{reading:?}");
    }
}

#[test]
fn either_signal_drains_and_standard_output_holds_one_line() {
    for signal in [Signal::TERM, Signal::INT] {
        let home = home();
        let serving = Serving::start(&mut program(home.path()));
        TcpStream::connect(serving.address()).expect("a relay that accepts connections");
        serving.signal(signal);
        let (code, stdout, stderr) = serving.ended();
        assert_eq!(code, Some(0), "{stderr:?}");
        assert!(stdout.is_empty(), "more than the announcement: {stdout:?}");
        assert!(stderr.iter().any(|line| line.contains("draining")), "{stderr:?}");
    }
}

#[test]
fn a_second_signal_ends_at_once() {
    let home = home();
    let config = home.path().join("relay.toml");
    std::fs::write(&config, "limits.drain_seconds = 600").expect("a file");
    let serving = Serving::start(program(home.path()).env("AGENT_RELAY_CONFIG", config));

    // A request that is being read keeps the drain from ending: the relay has asked for its body.
    let mut open = TcpStream::connect(serving.address()).expect("a connection");
    open.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let head = format!(
        "POST /api/agents HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: 20\r\nExpect: 100-continue\r\n\r\n",
        serving.address()
    );
    open.write_all(head.as_bytes()).expect("a connection");
    let mut answer = [0; 12];
    open.read_exact(&mut answer).expect("an interim answer");
    assert_eq!(&answer, b"HTTP/1.1 100");

    serving.signal(Signal::TERM);
    serving.logged("draining");
    serving.signal(Signal::TERM);
    let (code, _, stderr) = serving.ended();
    assert_eq!(code, Some(1), "{stderr:?}");
}

#[test]
fn the_log_can_be_json_and_never_holds_the_token() {
    let home = home();
    let config = home.path().join("relay.toml");
    std::fs::write(&config, "log.format = \"json\"").expect("a file");
    let serving = Serving::start(
        program(home.path())
            .env("AGENT_RELAY_CONFIG", config)
            .env("AGENT_RELAY_LOG", "info,agent_relay=trace")
            .env("AGENT_RELAY_TOKEN", "hush-hush"),
    );
    let listed =
        run(program(home.path()).args(["plugin", "list", "--url", &serving.url]).env("AGENT_RELAY_TOKEN", "hush-hush"));
    assert_eq!(listed.status.code(), Some(0), "{listed:?}");
    serving.signal(Signal::TERM);
    let (_, _, stderr) = serving.ended();
    assert!(stderr.len() > 3, "a trace says something: {stderr:?}");
    for line in stderr {
        assert!(!line.contains("hush-hush"), "{line}");
        serde_json::from_str::<serde_json::Value>(&line).expect(&line);
    }
}

#[test]
fn openapi_prints_the_document() {
    let home = home();
    let output = run(program(home.path()).arg("openapi"));
    assert_eq!(output.status.code(), Some(0));
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert!(document["openapi"].as_str().expect("a version").starts_with("3.1"), "{document}");
}

#[test]
fn plugin_list_asks_the_running_relay() {
    let home = home();
    let serving = Serving::start(&mut program(home.path()));
    let list = |args: &[&str]| {
        let command = &mut program(home.path());
        let output = run(command.args(["plugin", "list"]).args(args).env("AGENT_RELAY_URL", &serving.url));
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        String::from_utf8(output.stdout).expect("text")
    };
    assert!(list(&[]).starts_with("ID"), "a table");
    let plugins: serde_json::Value = serde_json::from_str(&list(&["--json"])).expect("JSON");
    for plugin in plugins.as_array().expect("a list") {
        assert!(list(&[]).contains(plugin["id"].as_str().expect("an id")));
    }
}

/// Answers one request with `status` and `body`, and gives back the request's head.
fn answer_once(status: &'static str, body: &'static str) -> (String, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let (sender, head) = sync_channel(1);
    std::thread::spawn(move || {
        let (stream, _) = listener.accept().expect("a connection");
        let lines = BufReader::new(&stream).lines().map_while(Result::ok);
        let asked: Vec<_> = lines.take_while(|line| !line.is_empty()).collect();
        let length = body.len();
        write!(&stream, "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}")
            .expect("a connection");
        sender.send(asked.join("\n").to_lowercase()).expect("a waiting test");
    });
    (url, head)
}

#[test]
fn plugin_list_shows_a_table_that_no_plugin_can_write_over() {
    let home = home();
    let (url, head) = answer_once(
        "200 OK",
        r#"[{"id": "claude", "kind": "provider", "version": "0.1.0", "origin": "built-in", "state": "active",
             "generation": 2, "calls": 1204, "traps": 0, "p50Micros": 41, "p99Micros": 220, "digest": "ab"},
            {"id": "mine", "kind": "policy", "origin": "directory", "state": "rejected",
             "error": {"stage": "compile", "reason": "not a component\u001b[2J\nbuilt for another world", "at": 1}}]"#,
    );
    let output = run(program(home.path()).args(["plugin", "list", "--url", &url]).env("AGENT_RELAY_TOKEN", "ar_test"));
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    insta::assert_snapshot!("plugin-list", String::from_utf8(output.stdout).expect("text"));
    let head = head.recv_timeout(PATIENCE).expect("a request");
    assert!(head.starts_with("get /api/plugins http/1.1"), "{head}");
    assert!(head.contains("authorization: bearer ar_test"), "{head}");
}

#[test]
fn plugin_list_says_what_to_do_next() {
    let home = home();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let nobody = format!("http://{}", listener.local_addr().expect("an address"));
    drop(listener);
    let (locked, _head) = answer_once("401 Unauthorized", r#"{"detail": "a token is needed"}"#);
    let (broken, _head) = answer_once("503 Service Unavailable", r#"{"detail": "draining", "next": "Try again."}"#);
    let expected = [
        (nobody, "start one with `agent-relay serve`"),
        (locked, "401 Unauthorized: a token is needed. Set AGENT_RELAY_TOKEN"),
        (broken, "503 Service Unavailable: draining. Try again."),
    ];
    for (url, text) in expected {
        let output = run(program(home.path()).args(["plugin", "list", "--url", &url]));
        let stderr = String::from_utf8(output.stderr).expect("text");
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        assert!(stderr.contains(text) && stderr.contains(&url), "{stderr}");
    }
}

#[test]
fn tokens_are_made_listed_and_revoked_from_the_command_line() {
    let home = home();
    let serving = Serving::start(program(home.path()).env("AGENT_RELAY_TOKEN", "ar_the-administrator"));
    let token = |with: &str, args: &[&str]| {
        let mut command = program(home.path());
        command.env("AGENT_RELAY_TOKEN", with).arg("token").args(args).args(["--url", &serving.url]);
        let output = run(&mut command);
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("text");
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    let admin = |args: &[&str]| token("ar_the-administrator", args);
    let (code, made, said) =
        admin(&["create", "ci", "--scope", "send", "--scope", "read", "--agent", "ada", "--expires", "30d"]);
    assert_eq!(code, Some(0), "{said}");
    let made = made.trim_end();
    assert!(made.starts_with("ar_") && made.len() == 46, "the token alone: {made}");
    assert!(said.contains("send,read as ada until 20") && said.contains("not shown again"), "{said}");
    let (code, listed, _) = admin(&["list"]);
    assert!(code == Some(0) && listed.contains("ci") && listed.contains("ada") && !listed.contains(made), "{listed}");
    let (_, listed, _) = admin(&["list", "--json"]);
    let listed: serde_json::Value = serde_json::from_str(&listed).expect("JSON");
    let id = listed[0]["id"].to_string();
    let lifetime = listed[0]["expiresAt"].as_i64().expect("a time") - listed[0]["createdAt"].as_i64().expect("a time");
    assert!((30 * 86_400_000 - 60_000..=30 * 86_400_000).contains(&lifetime), "{listed}");
    let (code, _, refused) = token(made, &["list"]);
    assert!(code == Some(1) && refused.contains("403"), "{refused}");
    let (code, said, _) = admin(&["revoke", &id]);
    assert_eq!((code, said.as_str()), (Some(0), format!("token {id} is revoked\n").as_str()));
    let (code, _, refused) = token(made, &["list"]);
    assert!(code == Some(1) && refused.contains("401"), "{refused}");
    let (code, _, refused) = admin(&["create", "ci", "--scope", "sned"]);
    assert!(code == Some(1) && refused.contains("scopes must be one of: admin"), "{refused}");
    assert_eq!(admin(&["create", "ci", "--scope", "send", "--expires", "soon"]).0, Some(2));
}
