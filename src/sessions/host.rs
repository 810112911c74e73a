//! The host of one session: a small process of our own between tmux (or nothing) and the agent's program.
//!
//! It exists so that secrets reach the program through a file that is gone at once instead of through an argument
//! list, so that the program has exactly the environment it was given, and so that somebody notes how it
//! ended even when the relay is not there. In a terminal the program is the foreground job, as a
//! shell would make it; detached, it writes into a log.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, PipeReader, Read as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

use super::folder::{Folder, LaunchFile, StateFile};
use super::log::{self, LAST_OUTPUT_BYTES_MAX, LOG_BYTES_MAX, Log};
use super::place::Place;
use super::tmux::Tmux;
use super::{Ending, Exit, now_ms, process};

/// How long a program may take to end after its host was told to, before it is ended by force.
const TERMINATION_GRACE: Duration = Duration::from_secs(5);
/// How long the last output of an ended program is waited for.
const LAST_OUTPUT_DEADLINE: Duration = Duration::from_secs(3);
/// How long tmux is left alone between two questions whether it has shown everything.
const SHOWN_INTERVAL: Duration = Duration::from_millis(10);

/// Runs the program whose launch file is in `folder` to its end: the body of `agent-relay session-host FOLDER`,
/// which [`super::Sessions`] starts and nobody types.
pub fn host_main(folder: &Path) -> ExitCode {
    match host(&Folder::at(folder)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("agent-relay: failed to host the session in {}: {error}", folder.display());
            ExitCode::FAILURE
        }
    }
}

fn host(folder: &Folder) -> io::Result<()> {
    let starting = folder.hold_starting()?;
    let _alive = folder.hold_alive()?;
    let launch = folder.take_launch()?;
    if launch.terminal.is_none() {
        // Away from the terminal and the process group of whoever started us: neither its Ctrl-C nor its end reach us.
        rustix::process::setsid()?;
    }
    process::adopt_orphans();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(run(folder, launch, starting))
}

/// Starts the program, reports that by letting go of `starting`, and waits for its end.
async fn run(folder: &Folder, launch: LaunchFile, starting: File) -> io::Result<()> {
    // Before the program is there, so that no request to end it is missed.
    let mut hang_up = signal(SignalKind::hangup())?;
    let mut terminate = signal(SignalKind::terminate())?;
    // tmux leaves these two ignored, and a program would inherit that: reading in the moment before it
    // is in the foreground would then fail instead of waiting. What is caught here is the default there.
    let _tty_input = signal(SignalKind::from_raw(Signal::TTIN.as_raw()))?;
    let _tty_output = signal(SignalKind::from_raw(Signal::TTOU.as_raw()))?;
    let pane = launch.terminal.is_some().then(|| std::env::var("TMUX_PANE").unwrap_or_default());
    let program = start(folder, &launch);
    // The program works there, its host need not.
    std::env::set_current_dir("/")?;
    let program = match program {
        Ok(program) => program,
        Err(error) => {
            let how = Ending::NotStarted(error.to_string());
            let exit = Exit { how, at_ms: now_ms(), last_output: String::new(), survivors: Vec::new() };
            return folder.put_exit(&exit);
        }
    };
    let terminal = launch.terminal.as_ref().map(Tmux::at).zip(pane.clone());
    folder.put_state(&StateFile {
        identity: launch.identity,
        opening: launch.opening,
        pid: program.pid.as_raw_nonzero().get().unsigned_abs(),
        birth: process::birth(program.pid),
        boot_id: process::boot_id(),
        started_at_ms: now_ms(),
        pane,
    })?;
    drop(starting);

    let (report_end, mut end) = oneshot::channel();
    let in_terminal = terminal.is_some();
    thread::spawn(move || report_end.send(wait_for_end(program.pid, in_terminal)));
    let how = tokio::select! {
        how = &mut end => how,
        _ = hang_up.recv() => end_program(program.pid, &mut end).await,
        _ = terminate.recv() => end_program(program.pid, &mut end).await,
    };
    let how = how.unwrap_or(Ending::Lost);
    // Agents have servers in the background that would go on working, with a token that is not theirs any more.
    let all = folder.is_stopping() || matches!(how, Ending::Signal(_));
    let survivors = process::end_leftovers(program.pid, all);
    let last_output = match terminal {
        Some((tmux, pane)) => keep_screen(folder, &tmux, &pane).await,
        None => {
            // A daemon the program left on purpose may hold its output open: not for us to wait for.
            if let Some(log_ended) = program.log_ended {
                _ = log_ended.recv_timeout(LAST_OUTPUT_DEADLINE);
            }
            log::last(&log::tail(&folder.log(), LAST_OUTPUT_BYTES_MAX), LAST_OUTPUT_BYTES_MAX)
        }
    };
    folder.put_exit(&Exit { how, at_ms: now_ms(), last_output, survivors })
}

struct Program {
    pid: Pid,
    /// Hears when all output of a detached program is in the log.
    log_ended: Option<mpsc::Receiver<()>>,
}

fn start(folder: &Folder, launch: &LaunchFile) -> io::Result<Program> {
    // By its name once more, because this process was given no open directory; and only if it is the same one. What
    // is entered is the open directory, which the program inherits.
    let place = Place::open_again(Path::new(&launch.identity.cwd), launch.place).map_err(io::Error::other)?;
    place.enter()?;
    let mut command = Command::new(&launch.program);
    command.arg0(&launch.called).args(&launch.args);
    command.env_clear().envs(&launch.env).process_group(0);
    if launch.terminal.is_some() {
        let terminal_type: BTreeMap<String, String> = std::env::vars().filter(|(name, _)| name == "TERM").collect();
        let pid = spawned(command.envs(terminal_type))?;
        process::to_foreground(pid);
        return Ok(Program { pid, log_ended: None });
    }
    let log = Log::create(&folder.log())?;
    let (reader, writer) = io::pipe()?;
    command.stdin(Stdio::null()).stdout(writer.try_clone()?).stderr(writer);
    let pid = spawned(&mut command)?;
    let (report_end, log_ended) = mpsc::sync_channel(1);
    thread::spawn(move || {
        write_log(reader, log);
        _ = report_end.send(());
    });
    Ok(Program { pid, log_ended: Some(log_ended) })
}

/// The id of the started program. It is waited for by id, not through the child's handle.
fn spawned(command: &mut Command) -> io::Result<Pid> {
    let child = command.spawn()?;
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    pid.ok_or_else(|| io::Error::other("the system gave an impossible process id"))
}

/// Copies output into the log until nobody can write any more. A log that fails does not stop the program.
fn write_log(mut output: PipeReader, mut log: Log) {
    let mut buffer = [0; 64 * 1024];
    let mut sound = true;
    while let Ok(count @ 1..) = output.read(&mut buffer) {
        sound = sound && log.append(&buffer[..count]).is_ok();
    }
}

/// Waits until the program has ended, and leaves it unreaped: until this process ends too, its id belongs to
/// nobody else, so that whoever sends it a signal meets nobody else.
fn wait_for_end(pid: Pid, in_terminal: bool) -> Ending {
    let ended = WaitIdOptions::EXITED | WaitIdOptions::STOPPED | WaitIdOptions::NOWAIT;
    loop {
        let status = match waitid(WaitId::Pid(pid), ended) {
            Ok(Some(status)) => status,
            Ok(None) | Err(rustix::io::Errno::INTR) => continue,
            Err(_) => return Ending::Lost,
        };
        if let Some(code) = status.exit_status() {
            return Ending::Code(code);
        }
        if let Some(signal) = status.terminating_signal() {
            return Ending::Signal(signal);
        }
        // Stopped: by Ctrl-Z, where no shell could bring it back, or because it used the terminal in the
        // moment before it became the foreground job. Taking note of the stop keeps it from being reported again.
        _ = waitid(WaitId::Pid(pid), WaitIdOptions::STOPPED | WaitIdOptions::NOHANG);
        if in_terminal {
            process::to_foreground(pid);
            _ = kill_process_group(pid, Signal::CONT);
        }
    }
}

/// Ends the program because the host was told to end, or because its terminal is gone.
async fn end_program(pid: Pid, end: &mut oneshot::Receiver<Ending>) -> Result<Ending, oneshot::error::RecvError> {
    _ = kill_process_group(pid, Signal::TERM);
    _ = kill_process_group(pid, Signal::CONT);
    if let Ok(how) = timeout(TERMINATION_GRACE, &mut *end).await {
        return how;
    }
    _ = kill_process_group(pid, Signal::KILL);
    end.await
}

/// Writes what the terminal shows and remembers into the log, and answers its last lines.
async fn keep_screen(folder: &Folder, tmux: &Tmux, pane: &str) -> String {
    _ = timeout(LAST_OUTPUT_DEADLINE, everything_shown(tmux, pane)).await;
    let history = tmux.history(pane).await.unwrap_or_default();
    let lines: Vec<&str> = history.lines().map(str::trim_end).collect();
    let history = log::last(&lines.join("\n"), LOG_BYTES_MAX as usize / 2 - 1);
    let kept = Log::create(&folder.log()).and_then(|mut log| log.append(format!("{history}\n").as_bytes()));
    if let Err(error) = kept {
        eprintln!("agent-relay: failed to write {}: {error}", folder.log().display());
    }
    log::last(&history, LAST_OUTPUT_BYTES_MAX)
}

/// Waits until tmux has shown all output of the program: the terminal is first in, first out, so once
/// a title set now is there, all that was written before is too.
async fn everything_shown(tmux: &Tmux, pane: &str) {
    let title = format!("ended {}", std::process::id());
    // CAN ends a sequence the program may have died in.
    let sequence = format!("\u{18}\u{1b}]2;{title}\u{1b}\\");
    // Its own thread: a terminal whose output was paused with Ctrl-S takes nothing.
    thread::spawn(move || {
        let mut terminal = io::stdout().lock();
        _ = terminal.write_all(sequence.as_bytes()).and_then(|()| terminal.flush());
    });
    while tmux.title(pane).await.is_ok_and(|shown| shown != title) {
        sleep(SHOWN_INTERVAL).await;
    }
}
