//! What sessions ask of the kernel about processes.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, Read as _};
use std::path::Path;
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitOptions, kill_process, kill_process_group, waitpid};

use crate::domain::control::spawn::Survivor;

/// The most processes that are named of those that could not be ended.
const SURVIVORS_MAX: usize = 16;
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
/// stopped or killed. One that ended by itself may have left a daemon on purpose. Answers what could not be ended.
pub(super) fn end_leftovers(pid: Pid, all: bool) -> Vec<Survivor> {
    _ = kill_process_group(pid, Signal::KILL);
    if !all {
        return Vec::new();
    }
    // Ending a process hands us its children: again until there are none.
    let mut left = Vec::new();
    for _ in 0..ROUNDS {
        left = children("self").into_iter().filter(|child| *child != pid).collect::<Vec<Pid>>();
        if left.is_empty() {
            return Vec::new();
        }
        for child in &left {
            _ = kill_process(*child, Signal::KILL);
            _ = waitpid(Some(*child), WaitOptions::NOHANG);
        }
        #[expect(
            clippy::disallowed_methods,
            reason = "nothing tells of the death of a process that is no child of ours"
        )]
        thread::sleep(ROUND);
    }
    left.into_iter().filter_map(Survivor::of).take(SURVIVORS_MAX).collect()
}

/// Ends by force what this process started and what came of that, itself included, where nobody hosts it any more: all
/// that can be reached through parents, by what the kernel says at this moment. Each is told from a later process with
/// its id by when it began.
pub(super) fn end_tree(root: Pid, birth_of_root: u64) {
    let mut parents: HashMap<i32, Vec<Pid>> = HashMap::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let id = entry.file_name().to_str().and_then(|name| name.parse().ok()).and_then(Pid::from_raw);
        if let Some((id, stat)) = id.and_then(|id| Some((id, Stat::of(id)?))) {
            parents.entry(stat.parent).or_default().push(id);
        }
    }
    // Whatever began before the program is none of its descendants.
    let (mut reached, mut next) = (Vec::new(), vec![root]);
    while let Some(id) = next.pop() {
        let birth = birth(id).filter(|birth| *birth >= birth_of_root);
        if let Some(birth) = birth.filter(|_| reached.iter().all(|(known, _)| *known != id)) {
            reached.push((id, birth));
            next.extend(parents.get(&id.as_raw_nonzero().get()).into_iter().flatten());
        }
    }
    for (id, known) in reached {
        if birth(id) == Some(known) {
            _ = kill_process(id, Signal::KILL);
        }
    }
}

/// When the process of this id began, in the kernel's ticks since boot; none when it has ended or the
/// system does not say.
pub(super) fn birth(pid: Pid) -> Option<u64> {
    Stat::of(pid).map(|stat| stat.birth)
}

/// What the kernel says of a process that has not ended.
struct Stat {
    parent: i32,
    birth: u64,
}

impl Stat {
    fn of(pid: Pid) -> Option<Self> {
        let status = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?;
        // The name, in parentheses, may hold anything; the third field follows it.
        let mut fields = status.rsplit_once(')')?.1.split_whitespace();
        if matches!(fields.next()?, "Z" | "X") {
            return None;
        }
        let parent = fields.next()?.parse().ok()?;
        Some(Self { parent, birth: fields.nth(17)?.parse().ok()? })
    }
}

/// Which run of this machine it is; none when the system does not say.
pub(super) fn boot_id() -> Option<String> {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(id.trim().to_owned()).filter(|id| !id.is_empty())
}

impl Survivor {
    fn of(pid: Pid) -> Option<Self> {
        birth(pid)?;
        let program = std::fs::read_to_string(format!("/proc/{}/comm", pid.as_raw_nonzero())).unwrap_or_default();
        Some(Self { pid: pid.as_raw_nonzero().get().unsigned_abs(), program: program.trim().to_owned() })
    }
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
    let parent = Stat::of(Pid::from_raw(i32::try_from(program).ok()?)?)?.parent;
    let called = std::fs::read(format!("/proc/{parent}/cmdline")).ok()?;
    let mut words = called.split(|byte| *byte == 0).skip(1);
    let hosts = words.next() == Some(b"session-host") && words.next() == Some(folder.as_os_str().as_encoded_bytes());
    u32::try_from(parent).ok().filter(|_| hosts)
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
