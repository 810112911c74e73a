//! `agent-relay mcp`: the tools for one session, beside a relay that comes and goes.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::{Caller, TOKEN, text};
use crate::program::{PATIENCE, Serving, program};
use crate::server::Client;

/// A session of a program that started `agent-relay mcp`.
struct Session {
    child: Child,
    input: Option<ChildStdin>,
    said: Receiver<String>,
    next: i64,
}

impl Session {
    fn start(home: &Path, url: &str, token: Option<&str>) -> Self {
        let mut command = program(home);
        command.arg("mcp").env("AGENT_RELAY_URL", url);
        if let Some(token) = token {
            command.env("AGENT_RELAY_TOKEN", token);
        }
        Self::of(&mut command)
    }

    fn of(command: &mut Command) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the program");
        let output = BufReader::new(child.stdout.take().expect("piped"));
        let (sender, said) = sync_channel(1_000);
        std::thread::spawn(move || output.lines().map_while(Result::ok).all(|line| sender.send(line).is_ok()));
        Self { input: child.stdin.take(), child, said, next: 0 }
    }

    fn write(&mut self, bytes: &[u8]) {
        let input = self.input.as_mut().expect("an open input");
        input.write_all(bytes).and_then(|()| input.flush()).expect("it reads");
    }

    fn send(&mut self, message: &Value) {
        self.write(format!("{message}\n").as_bytes());
    }

    /// The next line that it says, which must be a message.
    #[track_caller]
    fn hear(&self) -> Value {
        let line = self.said.recv_timeout(PATIENCE).expect("an answer");
        let message: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert_eq!(message["jsonrpc"], "2.0", "nothing but messages: {line}");
        message
    }

    /// Sends a request without waiting for its answer.
    fn begin(&mut self, method: &str, params: Value) -> i64 {
        self.next += 1;
        self.send(&json!({"jsonrpc": "2.0", "id": self.next, "method": method, "params": params}));
        self.next
    }

    fn ask(&mut self, method: &str, params: Value) -> Value {
        let id = self.begin(method, params);
        let answer = self.hear();
        assert_eq!(answer["id"], id, "{answer}");
        answer
    }

    fn call(&mut self, tool: &str, arguments: Value) -> Value {
        let answer = self.ask("tools/call", json!({"name": tool, "arguments": arguments}));
        assert!(answer["result"].is_object(), "{answer}");
        answer["result"].clone()
    }

    /// Waits for its end.
    fn ended(mut self) -> ExitStatus {
        loop {
            match self.said.recv_timeout(PATIENCE) {
                Ok(_) => {}
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => panic!("it did not end"),
            }
        }
        self.child.wait().expect("an end")
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A relay with an administrator's token.
fn serve(home: &Path) -> Serving {
    Serving::start(program(home).env("AGENT_RELAY_TOKEN", TOKEN))
}

#[tokio::test]
async fn a_session_outlives_relays_and_is_answered_when_there_is_none() {
    let home = tempfile::tempdir().expect("a home");
    let serving = serve(home.path());
    let admin = Client::new(&serving.url, Some(TOKEN));
    let ada = Caller::new(&admin, "ada").await;
    let mut session = Session::start(home.path(), &serving.url, Some(&ada.token));
    let hello =
        json!({"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}});
    assert_eq!(session.ask("initialize", hello.clone())["result"]["protocolVersion"], "2025-06-18");
    session.send(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"}));
    assert!(text(&session.call("whoami", json!({}))).starts_with("You are \"ada\""));
    let unknown = session.ask("tools/call", json!({"name": "nonsense"}));
    assert_eq!(unknown["error"]["code"], -32602, "{unknown}");

    let address = serving.address().to_owned();
    serving.signal(Signal::KILL);
    drop(serving.ended());
    let away = session.call("whoami", json!({}));
    assert_eq!(away["isError"], true);
    assert!(text(&away).contains("nothing was done"), "{away}");
    assert_eq!(session.ask("tools/list", json!({}))["result"]["tools"].as_array().map(Vec::len), Some(12));
    // One that begins while there is none.
    let mut late = Session::start(home.path(), &format!("http://{address}"), Some(&ada.token));
    assert!(late.ask("initialize", hello)["result"]["capabilities"]["tools"].is_object());

    let id = session.begin("tools/call", json!({"name": "whoami"}));
    let next = Serving::start_at(program(home.path()).env("AGENT_RELAY_TOKEN", TOKEN), &address);
    let answer = session.hear();
    assert_eq!(answer["id"], id);
    assert!(text(&session.call("whoami", json!({}))).starts_with("You are \"ada\""), "after {answer}");
    assert!(text(&late.call("whoami", json!({}))).starts_with("You are \"ada\""));
    drop(next);
}

#[tokio::test]
async fn several_calls_go_on_at_once_and_one_can_be_called_off() {
    let home = tempfile::tempdir().expect("a home");
    let serving = serve(home.path());
    let admin = Client::new(&serving.url, Some(TOKEN));
    let ada = Caller::new(&admin, "ada").await;
    let mut session = Session::start(home.path(), &serving.url, Some(&ada.token));
    let waiting = async |count: u64| {
        crate::server::eventually("the wait", async || (super::wait::streams(&admin).await == count).then_some(()))
            .await;
    };
    let first = session.begin("tools/call", json!({"name": "wait"}));
    waiting(1).await;
    assert!(text(&session.call("whoami", json!({}))).starts_with("You are"), "while the other waits");
    session.send(&json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": first}}));
    waiting(0).await;
    let second = session.begin("tools/call", json!({"name": "wait"}));
    waiting(1).await;
    admin.say("x", "ada", "news").await;
    let answer = session.hear();
    assert_eq!(answer["id"], second, "what was called off is not answered: {answer}");
    assert!(text(&answer["result"]).contains("> news"), "{answer}");
}

#[test]
fn whatever_comes_in_only_messages_go_out() {
    let home = tempfile::tempdir().expect("a home");
    let mut session = Session::start(home.path(), "http://127.0.0.1:1", None);
    let code = |answer: &Value| answer["error"]["code"].clone();
    for line in ["nonsense", "{", "\u{1b}[2J", "[[[["] {
        session.write(format!("{line}\n").as_bytes());
        assert_eq!(code(&session.hear()), -32700, "{line}");
    }
    for line in ["7", "{}", "[]", r#"{"jsonrpc": "2.0", "id": 1, "result": {}}"#] {
        session.write(format!("{line}\r\n").as_bytes());
        assert_eq!(code(&session.hear()), -32600, "{line}");
    }
    session.write(b"\xff\xfe\n\n  \n");
    assert_eq!(code(&session.hear()), -32700);
    let long = vec![b'x'; 3 << 20];
    session.write(&long);
    session.write(b"\n");
    let refused = session.hear();
    assert!(refused["error"]["message"].as_str().is_some_and(|text| text.contains("1048576 bytes")), "{refused}");
    assert_eq!(session.ask("ping", json!({}))["result"], json!({}), "and goes on");
    let params = json!({"_meta": {"io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {}}});
    let found = session.ask("server/discover", params.clone());
    assert_eq!(found["result"]["supportedVersions"][0], "2026-07-28");
    assert_eq!(session.ask("tools/list", params)["result"]["resultType"], "complete");
}

#[test]
fn a_session_ends_with_its_input_a_signal_or_whoever_started_it() {
    let home = tempfile::tempdir().expect("a home");
    let start = || Session::start(home.path(), "http://127.0.0.1:1", None);
    let mut session = start();
    session.ask("ping", json!({}));
    session.begin("ping", json!({}));
    session.input = None;
    assert_eq!(session.hear()["result"], json!({}), "what was asked is answered");
    assert!(session.ended().success());

    for signal in [Signal::TERM, Signal::INT] {
        let mut session = start();
        session.ask("ping", json!({}));
        kill_process(Pid::from_child(&session.child), signal).expect("a living process");
        assert!(session.ended().success());
    }

    // Whoever started it is gone, and somebody else keeps its input open.
    let mut command = Command::new("bash");
    command
        .args(["-c", "\"$0\" mcp <&0 & echo \"{\\\"jsonrpc\\\": \\\"2.0\\\", \\\"pid\\\": $$}\"; read -t 60 < \"$1\""]);
    let fifo = home.path().join("fifo");
    assert!(Command::new("mkfifo").arg(&fifo).status().expect("coreutils").success());
    command.arg(env!("CARGO_BIN_EXE_agent-relay")).arg(&fifo);
    command.env("HOME", home.path()).env("AGENT_RELAY_URL", "http://127.0.0.1:1");
    let mut session = Session::of(&mut command);
    assert!(session.hear()["pid"].is_number());
    assert_eq!(session.ask("ping", json!({}))["result"], json!({}));
    session.child.kill().expect("a living process");
    // The input is still open: only the end of its parent can have ended it.
    assert!(session.input.is_some());
    session.ended();
}
