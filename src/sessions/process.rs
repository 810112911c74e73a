//! What sessions ask of the kernel about processes.

use std::io;
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitOptions, kill_process, kill_process_group, waitpid};

/// How often processes left behind are ended again, and how long each round waits.
const ROUNDS: usize = 100;
const ROUND: Duration = Duration::from_millis(10);

/// Makes this process the parent of every descendant whose own parent ends, so that none gets out of sight.
pub(super) fn adopt_orphans() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::set_child_subreaper(Some(rustix::process::getpid())) {
        eprintln!("agent-relay: cannot watch over what the program leaves behind: {error}");
    }
}

/// Makes the process group of `pid` the one that the terminal on standard input listens to.
pub(super) fn to_foreground(pid: Pid) {
    // Should it fail, the program finds out by itself when it uses the terminal.
    _ = rustix::termios::tcsetpgrp(io::stdin(), pid);
    _ = kill_process_group(pid, Signal::CONT);
}

/// Ends what the ended program `pid` left behind: its process group always, `all` of its descendants when it was
/// stopped or killed. One that ended by itself may have left a daemon on purpose.
pub(super) fn end_leftovers(pid: Pid, all: bool) {
    _ = kill_process_group(pid, Signal::KILL);
    if !all {
        return;
    }
    // Ending a process hands us its children: again until there are none.
    for _ in 0..ROUNDS {
        let left: Vec<Pid> = children().into_iter().filter(|child| *child != pid).collect();
        if left.is_empty() {
            return;
        }
        for child in left {
            _ = kill_process(child, Signal::KILL);
            _ = waitpid(Some(child), WaitOptions::NOHANG);
        }
        #[expect(
            clippy::disallowed_methods,
            reason = "nothing tells of the death of a process that is no child of ours"
        )]
        thread::sleep(ROUND);
    }
}

/// When the process of this id began, in the kernel's ticks since boot; none when it has ended or the
/// system does not say.
pub(super) fn birth(pid: Pid) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?;
    // The name, in parentheses, may hold anything; the third field follows it.
    let mut fields = status.rsplit_once(')')?.1.split_whitespace();
    if matches!(fields.next()?, "Z" | "X") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

/// The children of this process, adopted ones included.
fn children() -> Vec<Pid> {
    let tasks = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    tasks
        .filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok())
        .flat_map(|list| list.split_whitespace().filter_map(|id| id.parse().ok()).collect::<Vec<i32>>())
        .filter_map(Pid::from_raw)
        .collect()
}
