//! A process that the daemon is not allowed to end: it is named, and nothing is said to be done.
//!
//! The daemon runs as root without the right to signal other users' processes, and the agent's program starts one of those:
//! as on a host where a program gains another user's rights.

use std::process::Command;

use agent_relay::domain::agent::AgentStatus;
use agent_relay::sessions::TmuxChoice;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::{Site, gone};
use crate::sessions::runs;

/// Another user's, in a session of its own.
const SCRIPT: &str = "setsid setpriv --reuid=65534 --clear-groups sleep 1000 & echo $! > \"child-$AGENT_RELAY_LABEL\"\n\
                      while [ ! -e \"$AGENT_RELAY_LABEL\" ]; do sleep 0.02; done\n\
                      echo '(shift+tab to cycle)'; exec sleep 1000";

/// Without the right to signal processes of other users.
const UNABLE: [&str; 4] = ["setpriv", "--bounding-set=-kill", "--inh-caps=-kill", "--"];

fn can_run() -> bool {
    let is_root = rustix::process::geteuid().is_root();
    let works = is_root && Command::new(UNABLE[0]).args(&UNABLE[1..]).arg("true").status().is_ok_and(|it| it.success());
    if !works {
        eprintln!("SKIPPED: survivors: only root can give up the right to end processes, and have others");
    }
    works
}

/// Ends it after all, whatever the test comes to.
struct Survivor(u32);

impl Drop for Survivor {
    fn drop(&mut self) {
        let pid = i32::try_from(self.0).ok().and_then(Pid::from_raw).expect("a process id");
        let _ = kill_process(pid, Signal::KILL);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_ended_is_named_and_not_said_to_have_ended() {
    if !can_run() {
        return;
    }
    let site = Site::start_through(&UNABLE, TmuxChoice::Never, SCRIPT, "", &[]).await;
    let agent = site.agent("docs").await.agent;
    let (before, first) = (site.pid(&agent), site.child("docs"));
    let of_before = Survivor(first);
    // It is started again, beside what is left.
    let said = site.types(&["restart", &agent]).done();
    let named = format!("these processes could not be ended: {first} (sleep)\n");
    assert!(said.starts_with(&format!("agent {agent} is up again")) && said.ends_with(&named), "{said}");
    assert!(!runs(before) && runs(first));
    drop(of_before);
    gone(first).await;

    let (pid, child) = (site.pid(&agent), site.child("docs"));
    let survivor = Survivor(child);
    assert!(runs(pid) && runs(child));

    let said = site.types(&["shutdown", &agent]).failed(1);
    assert!(said.contains("failed") && !said.contains("has ended\n"), "{said}");
    assert!(said.contains(&format!("{child} (sleep)")), "it is named: {said}");
    assert!(!runs(pid), "its program has ended");
    assert!(runs(child), "and this has not, which is the truth");
    let commands: Value = site.client.get("/api/commands?kind=shutdown").await.expect(200);
    let command = &commands[0];
    assert_eq!((&command["status"], &command["target"]), (&json!("failed"), &json!("orchestrator-far")));
    let survivors = &command["result"]["survivors"];
    assert_eq!((survivors.as_array().map(Vec::len), &survivors[0]["pid"]), (Some(1), &json!(child)), "{command}");
    assert_eq!(site.card(&agent).await.status, AgentStatus::Offline, "its session has ended");
    drop(survivor);
    gone(child).await;
}
