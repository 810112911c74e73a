//! `daemons`: what hosts of their own cost, and how soon they follow again.
//!
//! A daemon is asked for many sessions at once, of a program that shows an input and echoes what comes: the time is from
//! the first request to the last that is up. Then messages go to idle ones, as in `notice`, but through the daemon.
//! Then nobody does anything for a while: the processor time is that of relay and daemon together. Last, with many
//! more daemons, the relay is killed and started again: the time is from its line that it listens to the last daemon
//! whose stream is open.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::time::{Instant, sleep};

use crate::http::Connection;
use crate::notice::{PATIENCE, ask, install, notice, outcome, place};
use crate::report::{Goal, Report};
use crate::server::{Server, Target, announced, cpu_seconds};
use crate::{Load, Outcome, on_this_thread};

/// Sessions of one daemon.
const SESSIONS: usize = 50;
/// Messages sent, each to another of its sessions.
const MESSAGES: usize = 25;
/// Between two messages, and before the idle time.
const PAUSE: Duration = Duration::from_millis(500);
const SETTLED: Duration = Duration::from_secs(5);
/// How long all is left alone.
const IDLE: Duration = Duration::from_secs(20);
/// Daemons that follow.
const DAEMONS: usize = 20;

/// Measures.
pub(crate) fn measure(load: &Load, report: &mut Report) -> Outcome<()> {
    load.require_own("the server must be killed")?;
    let dir = tempfile::Builder::new().prefix("load-").tempdir_in(&load.dir)?;
    let path = dir.path().to_owned();
    for number in 0..SESSIONS {
        place(&path, &format!("work-{number}"))?;
    }
    install(&path)?;
    let server = Server::start_spawning(&load.program, dir)?;
    let mut daemons = vec![Daemon::start(&load.program, server.target(), &path, 0)?];
    on_this_thread(async {
        let mut connection = Connection::open(server.target()).await?;
        let agents = start_all(&mut connection, report).await?;
        sleep(SETTLED).await;
        let mut times = Vec::with_capacity(MESSAGES);
        for (number, agent) in agents.iter().enumerate().take(MESSAGES) {
            sleep(PAUSE).await;
            times.push(notice(&mut connection, agent, &path.join(format!("work-{number}"))).await?);
        }
        report.add_times("message to screen", &mut times, Goal::AtMost(300.0), Goal::AtMost(1_000.0));
        sleep(SETTLED).await;
        let used = || -> Outcome<[f64; 2]> {
            Ok([server.cpu_seconds()?.unwrap_or_default(), cpu_seconds(daemons[0].child.id())?])
        };
        let before = used()?;
        sleep(IDLE).await;
        let after = used()?;
        let share = |before: f64, after: f64| (after - before) / IDLE.as_secs_f64() * 100.0;
        let both = share(before[0] + before[1], after[0] + after[1]);
        report.add(format!("processor, {SESSIONS} idle sessions"), both, "%", Goal::AtMost(2.0));
        report.add("of that, the relay", share(before[0], after[0]), "%", Goal::None);
        let mut ending = Vec::with_capacity(SESSIONS);
        for agent in &agents {
            let path = format!("/api/agents/{agent}/actions");
            ending.push(ask(&mut connection, &path, r#"{"action":"shutdown"}"#).await?);
        }
        for command in &ending {
            outcome(&mut connection, command).await?;
        }
        Ok(())
    })?;
    for number in 1..DAEMONS {
        daemons.push(Daemon::start(&load.program, server.target(), &path, number)?);
    }
    on_this_thread(following(server.target()))?;
    let server = server.crash_and_start(&load.program)?;
    let listens = Instant::now();
    on_this_thread(following(server.target()))?;
    let name = format!("{DAEMONS} daemons follow again");
    report.add(name, listens.elapsed().as_secs_f64(), "s", Goal::AtMost(3.0));
    Ok(())
}

/// Asks for all sessions at once, and waits until each is up.
async fn start_all(connection: &mut Connection, report: &mut Report) -> Outcome<Vec<String>> {
    let began = Instant::now();
    let mut starting = Vec::with_capacity(SESSIONS);
    for number in 0..SESSIONS {
        let spawn = format!(r#"{{"provider":"claude","cwd":"work-{number}"}}"#);
        starting.push(ask(connection, "/api/orchestrators/load-0/spawn", &spawn).await?);
    }
    let mut agents = Vec::with_capacity(SESSIONS);
    for command in &starting {
        outcome(connection, command).await?;
        let agent = command["command"]["request"]["agentId"].as_str().ok_or("a spawn without an agent")?;
        agents.push(agent.to_owned());
    }
    report.add(format!("{SESSIONS} sessions started"), began.elapsed().as_secs_f64(), "s", Goal::AtMost(15.0));
    Ok(agents)
}

/// Waits until as many streams are open as there are daemons.
async fn following(target: &Target) -> Outcome<()> {
    let mut connection = Connection::open(target).await?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        let answer = connection.get("/metrics").await?;
        answer.expect(200)?;
        let text = std::str::from_utf8(answer.body)?;
        let open = text.lines().find_map(|line| line.strip_prefix("agent_relay_streams ")?.parse::<f64>().ok());
        match open {
            Some(open) if open >= DAEMONS as f64 => return Ok(()),
            _ if Instant::now() > deadline => return Err(format!("only {open:?} daemons follow").into()),
            _ => sleep(Duration::from_millis(20)).await,
        }
    }
}

/// A daemon. Dropping it ends it.
struct Daemon {
    child: Child,
}

impl Daemon {
    /// Starts one, and waits until it is registered.
    fn start(program: &Path, relay: &Target, dir: &Path, number: usize) -> Outcome<Self> {
        let log = dir.join(format!("daemon-{number}.log"));
        let mut child = Command::new(program)
            .args(["orchestrator", "--log", "warn", "--id", &format!("load-{number}")])
            .args(["--relay-url", &format!("http://{}", relay.address)])
            .arg("--config")
            .arg(dir.join("relay.toml"))
            .arg("--base-dir")
            .arg(dir)
            .arg("--data-dir")
            .arg(dir.join(format!("daemon-{number}")))
            .env_remove("AGENT_RELAY_TOKEN")
            .env_remove("AGENT_RELAY_CONFIG")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(fs::File::create(&log)?)
            .spawn()?;
        let line = announced(&mut child)?;
        let daemon = Self { child };
        if line.starts_with("registered as ") {
            return Ok(daemon);
        }
        drop(daemon);
        Err(format!("daemon {number} did not register: {}", fs::read_to_string(&log).unwrap_or_default()).into())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        // One that is gone already is fine.
        let _ = pid.map(|pid| kill_process(pid, Signal::TERM));
        let _ = self.child.wait();
    }
}
