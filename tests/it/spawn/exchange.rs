//! Names that lead elsewhere a moment after they were looked at.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use agent_relay::domain::control::command::CommandStatus;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use serde_json::{Value, json};

use super::{Bench, Running, UP};
use crate::sessions::choices;

/// How often a start is tried, and how many must come about among them, or the test has shown nothing.
const TRIES_MIN: usize = 30;
const TRIES_MAX: usize = 600;
const STARTS_MIN: usize = 5;

/// Exchanges two names without a pause until it is dropped.
struct Exchange {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Exchange {
    fn start(one: PathBuf, other: PathBuf) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                renameat_with(CWD, &one, CWD, &other, RenameFlags::EXCHANGE).expect("they are exchanged");
            }
        });
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let ended = self.thread.take().is_none_or(|thread| thread.join().is_ok());
        assert!(ended || std::thread::panicking(), "they were exchanged to the end");
    }
}

fn directory_of(pid: u32) -> u64 {
    fs::metadata(format!("/proc/{pid}/cwd")).expect("a process that runs").ino()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_starts_outside_while_a_directory_is_exchanged_for_a_link() {
    for tmux in choices("an exchange") {
        let bench = Bench::start(tmux, UP).await;
        let outside = bench.base.with_file_name("outside");
        for folder in [bench.base.join("x/y"), outside.join("y")] {
            fs::create_dir_all(folder).expect("a folder");
        }
        symlink(&outside, bench.base.join("link")).expect("a link");
        let approved = fs::metadata(bench.base.join("x/y")).expect("a folder").ino();
        let exchange = Exchange::start(bench.base.join("x"), bench.base.join("link"));
        let (mut tries, mut started) = (0, Vec::new());
        while tries < TRIES_MIN || started.len() < STARTS_MIN && tries < TRIES_MAX {
            tries += 1;
            let answer = bench.spawn(json!({"cwd": "x/y"})).await;
            if answer.status == 202 {
                let agent = Running::read(&answer.parse::<Value>());
                assert_eq!(directory_of(agent.pid), approved, "try {tries}");
                started.push(agent);
            } else {
                assert!(matches!(answer.status, 400 | 403 | 502), "{answer:?}");
            }
        }
        assert!(started.len() >= STARTS_MIN, "{} of {tries} came about", started.len());

        // Started again, it is there or not at all, and what cannot start again is told.
        let agent = &started[0];
        for _ in 0..10 {
            let path = format!("/api/agents/{}/actions", agent.id);
            let answer = bench.client().post(&path, json!({"action": "restart"})).await;
            if answer.status == 202 {
                let command = answer.parse::<Value>()["command"]["id"].as_i64().expect("a command");
                let command = bench.client().outcome(command).await;
                assert!(matches!(command.status, CommandStatus::Succeeded | CommandStatus::Failed), "{command:?}");
            }
            for session in bench.host.running() {
                if let agent_relay::sessions::SessionState::Running { pid } = session.state {
                    assert_eq!(directory_of(pid), approved, "{session:?}");
                }
            }
        }
        // However often that failed, the next one is carried out.
        drop(exchange);
        if !fs::symlink_metadata(bench.base.join("x")).expect("a name").is_dir() {
            let (one, other) = (bench.base.join("x"), bench.base.join("link"));
            renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE).expect("they are exchanged");
        }
        let command = bench.act(agent, "restart").await;
        assert_eq!(command.status, CommandStatus::Succeeded, "{command:?}");
    }
}
