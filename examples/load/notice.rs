//! `notice`: how long a message takes to the screen of an idle session.
//!
//! The server starts a program that shows an input and echoes what comes, in tmux, and notes when the first byte of a
//! notice came. A message is sent whenever it has been idle for a while. The time is from before the request to that
//! byte. Each message must be shown, and once. Then nobody does anything for a while: what the server needs beside a
//! session that is idle.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::http::Connection;
use crate::report::{Goal, Report};
use crate::server::Server;
use crate::{Load, Outcome, on_this_thread};

/// Messages sent.
const MESSAGES: usize = 25;
/// Longer than the pause between two notices, and until a screen counts as settled.
const PAUSE: Duration = Duration::from_millis(2_500);
/// Beyond this something is wrong.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// How long the server is left alone.
const IDLE: Duration = Duration::from_secs(10);

/// Measures.
pub(crate) fn measure(load: &Load, report: &mut Report) -> Outcome<()> {
    load.require_own("the server must start a program")?;
    let dir = tempfile::Builder::new().prefix("load-").tempdir_in(&load.dir)?;
    let work = place(dir.path(), "work")?;
    install(dir.path())?;
    let server = Server::start_spawning(&load.program, dir)?;
    on_this_thread(async {
        let mut connection = Connection::open(server.target()).await?;
        let agent = spawn(&mut connection).await?;
        let mut times = Vec::with_capacity(MESSAGES);
        for _ in 0..MESSAGES {
            sleep(PAUSE).await;
            times.push(notice(&mut connection, &agent, &work).await?);
        }
        report.add_times("message to screen", &mut times, Goal::AtMost(300.0), Goal::AtMost(1_000.0));
        sleep(PAUSE).await;
        let before = server.cpu_seconds()?;
        sleep(IDLE).await;
        if let (Some(before), Some(after)) = (before, server.cpu_seconds()?) {
            let share = (after - before) / IDLE.as_secs_f64() * 100.0;
            report.add("processor beside an idle session", share, "%", Goal::None);
        }
        let shutdown =
            ask(&mut connection, &format!("/api/agents/{agent}/actions"), r#"{"action":"shutdown"}"#).await?;
        outcome(&mut connection, &shutdown).await
    })
}

/// A program in this directory that runs the stand-in of the tests, and settings that make it what is started.
pub(crate) fn install(dir: &Path) -> Outcome<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let program = dir.join("claude");
    let stand_in = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/it/spawn/deliveries/agent.py");
    fs::write(&program, format!("#!/bin/sh\nexec python3 '{}'\n", stand_in.display()))?;
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
    let path = program.to_str().ok_or("the directory's name is no text")?;
    let settings = format!("[plugin.claude]\ngrants.executables = ['{path}']\nsettings.executable = '{path}'\n");
    Ok(fs::write(dir.join("relay.toml"), settings)?)
}

/// A directory in which the stand-in works.
pub(crate) fn place(dir: &Path, name: &str) -> Outcome<PathBuf> {
    let work = dir.join(name);
    fs::create_dir_all(&work)?;
    // That a turn begins is what shows that it was taken.
    fs::write(work.join("agent.json"), json!({"turn": 1, "shows": true}).to_string())?;
    Ok(work)
}

/// Starts the program, and waits until it is up.
async fn spawn(connection: &mut Connection) -> Outcome<String> {
    let answer = ask(connection, "/api/agents/spawn", r#"{"provider":"claude","cwd":"work"}"#).await?;
    outcome(connection, &answer).await?;
    Ok(answer["agentId"].as_str().ok_or("a spawn without an agent")?.to_owned())
}

/// Sends a message to an agent that works there, and answers the nanoseconds until its notice came.
pub(crate) async fn notice(connection: &mut Connection, agent: &str, work: &Path) -> Outcome<u64> {
    let sent_at = SystemTime::now().duration_since(UNIX_EPOCH)?;
    let body = json!({"from": "load", "to": agent, "body": "b"}).to_string();
    let answer = connection.post("/api/messages", &body).await?;
    answer.expect(201)?;
    let message: Value = serde_json::from_slice(answer.body)?;
    let id = message["id"].as_i64().ok_or("a message without an id")?;
    let came_at = came(work, &format!("[agent-relay] message {id} from load")).await?;
    Ok(u64::try_from(came_at.saturating_sub(sent_at).as_nanos())?)
}

/// Waits until the command that this answer tells of has succeeded.
pub(crate) async fn outcome(connection: &mut Connection, answer: &Value) -> Outcome<()> {
    let path = format!("/api/commands/{}", answer["command"]["id"]);
    let deadline = Instant::now() + PATIENCE;
    loop {
        let answer = connection.get(&path).await?;
        answer.expect(200)?;
        let command: Value = serde_json::from_slice(answer.body)?;
        match command["status"].as_str() {
            Some("succeeded") => return Ok(()),
            Some("pending" | "running") if Instant::now() < deadline => sleep(Duration::from_millis(50)).await,
            _ => return Err(format!("a command did not succeed: {command}").into()),
        }
    }
}

/// Asks for something that takes its time, and answers what is said at once.
pub(crate) async fn ask(connection: &mut Connection, path: &str, body: &str) -> Outcome<Value> {
    let answer = connection.post(path, body).await?;
    answer.expect(202)?;
    Ok(serde_json::from_slice(answer.body)?)
}

/// When the first byte of a line came that the program took, once.
async fn came(work: &Path, line: &str) -> Outcome<Duration> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let log = fs::read_to_string(work.join("agent.log")).unwrap_or_default();
        let notes: Vec<Value> = log.lines().filter_map(|note| serde_json::from_str(note).ok()).collect();
        let mut took = notes.iter().filter(|note| note["text"] == line);
        if let Some(at) = took.next().and_then(|note| note["came"].as_f64()) {
            return match took.next() {
                None => Ok(Duration::from_secs_f64(at)),
                Some(_) => Err(format!("it was shown twice: {line}").into()),
            };
        }
        if Instant::now() > deadline {
            return Err(format!("it was not shown: {line}").into());
        }
        sleep(Duration::from_millis(10)).await;
    }
}
