//! Running the built program, and waiting for what it does.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

/// Far beyond what anything here takes, so that only a hang reaches it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The program, in an environment of its own with `home` as its home directory.
pub(crate) fn program(home: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_agent-relay"));
    command
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", home)
        .stdin(Stdio::null());
    command
}

/// A running `agent-relay serve`. Dropping it kills it.
pub(crate) struct Serving {
    child: Child,
    stdout: Receiver<String>,
    stderr: Receiver<String>,
    /// `http://ADDRESS`, from its own announcement.
    pub(crate) url: String,
}

impl Serving {
    /// Starts it on a free port and waits for its announcement.
    pub(crate) fn start(command: &mut Command) -> Self {
        Self::start_at(command, "127.0.0.1:0")
    }

    /// Starts it at this address and waits for its announcement.
    pub(crate) fn start_at(command: &mut Command, address: &str) -> Self {
        command.args(["serve", "--listen", address]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program");
        let stdout = lines(child.stdout.take().expect("piped"));
        let stderr = lines(child.stderr.take().expect("piped"));
        let mut serving = Self { child, stdout, stderr, url: String::new() };
        let Ok(announced) = serving.stdout.recv_timeout(PATIENCE) else {
            panic!("it did not start:\n{}", serving.stderr.iter().collect::<Vec<_>>().join("\n"));
        };
        let address = announced.strip_prefix("listening on ").expect("an announcement");
        serving.url = address.to_owned();
        serving
    }

    pub(crate) fn address(&self) -> &str {
        self.url.strip_prefix("http://").expect("an http address")
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("a living process");
    }

    /// The next line of the log that holds `text`.
    pub(crate) fn logged(&self, text: &str) -> String {
        loop {
            let line = self.stderr.recv_timeout(PATIENCE).expect("the log to go on");
            if line.contains(text) {
                return line;
            }
        }
    }

    /// Waits for its end.
    pub(crate) fn wait(&mut self) {
        self.child.wait().expect("an ended process");
    }

    /// Waits for its end: the exit code, and what was still printed and logged.
    pub(crate) fn ended(mut self) -> (Option<i32>, Vec<String>, Vec<String>) {
        let mut rest = [Vec::new(), Vec::new()];
        for (lines, rest) in [&self.stdout, &self.stderr].into_iter().zip(&mut rest) {
            // The channel closes with the process, so this is how its end is awaited.
            loop {
                match lines.recv_timeout(PATIENCE) {
                    Ok(line) => rest.push(line),
                    Err(RecvTimeoutError::Disconnected) => break,
                    Err(RecvTimeoutError::Timeout) => panic!("it did not end"),
                }
            }
        }
        let status = self.child.wait().expect("an ended process");
        let [stdout, stderr] = rest;
        (status.code(), stdout, stderr)
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A command of the program that goes on until it is ended. Dropping it kills it.
pub(crate) struct Running {
    child: Child,
    stdout: Receiver<String>,
    stderr: Receiver<String>,
}

impl Running {
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program");
        let stdout = lines(child.stdout.take().expect("piped"));
        let stderr = lines(child.stderr.take().expect("piped"));
        Self { child, stdout, stderr }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("a living process");
    }

    /// Waits for its end: the exit code, and what was still complained of.
    pub(crate) fn ended(mut self) -> (Option<i32>, Vec<String>) {
        let mut rest = Vec::new();
        loop {
            match self.stderr.recv_timeout(PATIENCE) {
                Ok(line) => rest.push(line),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => panic!("it did not end: {rest:?}"),
            }
        }
        (self.child.wait().expect("an ended process").code(), rest)
    }

    /// Waits for a line on standard output that holds `text`.
    pub(crate) fn said(&self, text: &str) {
        Self::wait_for(&self.stdout, text);
    }

    /// Waits for a line on standard error that holds `text`.
    pub(crate) fn complained(&self, text: &str) {
        Self::wait_for(&self.stderr, text);
    }

    fn wait_for(lines: &Receiver<String>, text: &str) {
        while !lines.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("it never said {text:?}")).contains(text) {}
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The lines of a stream, read by a thread so that waiting for one can be bounded.
fn lines(stream: impl Read + Send + 'static) -> Receiver<String> {
    // More than any test lets the program write.
    let (sender, receiver) = sync_channel(100_000);
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    receiver
}
