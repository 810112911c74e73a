//! What sessions ask of the kernel about processes.

use std::collections::BTreeMap;
use std::io::{self, Read as _};
use std::path::Path;
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitOptions, kill_process, kill_process_group, waitpid};

/// How often processes left behind are ended again, and how long each round waits.
const ROUNDS: usize = 100;
const ROUND: Duration = Duration::from_millis(10);
/// The most processes of a session that are told, and bytes of an environment that are read.
const TREE_MAX: usize = 64;
const ENVIRONMENT_BYTES_MAX: u64 = 2 * 1024 * 1024;

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
        let left: Vec<Pid> = children("self").into_iter().filter(|child| *child != pid).collect();
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

/// A program's process id, then those of what it has started, what its host took over from it included: children before
/// theirs, at most [`TREE_MAX`]. Where the system does not say, only its own.
pub(super) fn tree(program: u32, folder: &Path) -> Vec<u32> {
    let mut tree = vec![program];
    let mut at = 0;
    while let Some(pid) = tree.get(at).copied() {
        add(&mut tree, pid);
        at += 1;
        // What lost its parent belongs to the session's host, and that is the parent of the program.
        if at == tree.len()
            && let Some(host) = host_of(program, folder)
        {
            add(&mut tree, host);
            if at == tree.len() {
                break;
            }
        }
    }
    tree
}

fn add(tree: &mut Vec<u32>, parent: u32) {
    for child in children(&parent.to_string()) {
        let child = child.as_raw_nonzero().get().unsigned_abs();
        if tree.len() < TREE_MAX && !tree.contains(&child) {
            tree.push(child);
        }
    }
}

/// The process that hosts a program's session: its parent, as long as that lives.
fn host_of(program: u32, folder: &Path) -> Option<u32> {
    let status = std::fs::read_to_string(format!("/proc/{program}/stat")).ok()?;
    let parent: u32 = status.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()?;
    let called = std::fs::read(format!("/proc/{parent}/cmdline")).ok()?;
    let mut words = called.split(|byte| *byte == 0).skip(1);
    let hosts = words.next() == Some(b"session-host") && words.next() == Some(folder.as_os_str().as_encoded_bytes());
    hosts.then_some(parent)
}

/// What a program was started with, as far as it is text.
pub(super) fn environment(pid: u32) -> Option<BTreeMap<String, String>> {
    let mut bytes = Vec::new();
    let file = std::fs::File::open(format!("/proc/{pid}/environ")).ok()?;
    file.take(ENVIRONMENT_BYTES_MAX).read_to_end(&mut bytes).ok()?;
    let variables = bytes.split(|byte| *byte == 0).filter_map(|variable| {
        let (name, value) = std::str::from_utf8(variable).ok()?.split_once('=')?;
        Some((name.to_owned(), value.to_owned()))
    });
    Some(variables.collect())
}

/// The children of a process, adopted ones included.
fn children(pid: &str) -> Vec<Pid> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    tasks
        .filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok())
        .flat_map(|list| list.split_whitespace().filter_map(|id| id.parse().ok()).collect::<Vec<i32>>())
        .filter_map(Pid::from_raw)
        .collect()
}
