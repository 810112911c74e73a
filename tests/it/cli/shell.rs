//! Typing commands: with their output into pipes, as scripts have it, or on a terminal, as people have it.

use std::fs::File;
use std::io::{Read, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use serde_json::Value;
use tempfile::TempDir;

use crate::program::{Serving, program};
use crate::server::Client;

/// A home directory with a relay on it, which every command typed here finds by itself.
pub(crate) struct Shell {
    pub(crate) home: TempDir,
    pub(crate) serving: Serving,
}

/// What a command said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Said {
    /// What was said, by a command that must have done what was asked.
    #[track_caller]
    pub(crate) fn done(self) -> String {
        assert_eq!(self.code, Some(0), "{self:?}");
        self.out
    }

    /// The JSON, of a command that must have done what was asked.
    #[track_caller]
    pub(crate) fn json(self) -> Value {
        serde_json::from_str(&self.done()).expect("JSON")
    }

    /// What was complained of, by a command that must have ended so.
    #[track_caller]
    pub(crate) fn failed(self, code: i32) -> String {
        assert_eq!(self.code, Some(code), "{self:?}");
        assert!(self.out.is_empty(), "nothing is answered: {self:?}");
        self.err
    }
}

impl Shell {
    pub(crate) fn new() -> Self {
        Self::with(&[])
    }

    /// One whose relay has these variables.
    pub(crate) fn with(variables: &[(&str, &str)]) -> Self {
        Self::at(tempfile::tempdir().expect("a temporary directory"), variables)
    }

    /// The same in a home that has something in it already.
    pub(crate) fn at(home: TempDir, variables: &[(&str, &str)]) -> Self {
        let serving = Serving::start(program(home.path()).envs(variables.iter().copied()));
        Self { home, serving }
    }

    /// The relay, asked without the command line.
    pub(crate) fn client(&self) -> Client {
        Client::new(&self.serving.url, None)
    }

    /// Types a command.
    pub(crate) fn run(&self, args: &[&str]) -> Said {
        typed(self.command().args(args), None)
    }

    /// Types a command that reads this on standard input.
    pub(crate) fn run_with_input(&self, args: &[&str], input: &str) -> Said {
        typed(self.command().args(args), Some(input))
    }

    /// Types a command in a terminal of this width, and answers its exit code and all that is on the screen, as it was
    /// written.
    pub(crate) fn on_terminal(&self, columns: u16, args: &[&str]) -> (Option<i32>, String) {
        on_terminal(self.command().args(args), columns)
    }

    /// The program, at home.
    pub(crate) fn command(&self) -> Command {
        program(self.home.path())
    }

    /// Text with what differs from run to run made the same.
    pub(crate) fn steady(&self, text: &str) -> String {
        let text = text.replace(&self.serving.url, "RELAY").replace(home_of(self.home.path()), "HOME");
        steady(&text)
    }
}

fn home_of(home: &Path) -> &str {
    home.to_str().expect("a plain path")
}

/// Runs a command with pipes.
pub(crate) fn typed(command: &mut Command, input: Option<&str>) -> Said {
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    if input.is_some() {
        command.stdin(Stdio::piped());
    }
    let mut child = command.spawn().expect("the program");
    if let Some(input) = input {
        // One that refuses before it reads has hung up.
        let _ = child.stdin.take().expect("piped").write_all(input.as_bytes());
    }
    let output = child.wait_with_output().expect("its end");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    Said { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}

/// Runs a command on a terminal of its own.
pub(crate) fn on_terminal(command: &mut Command, columns: u16) -> (Option<i32>, String) {
    let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).expect("a terminal");
    grantpt(&terminal).and_then(|()| unlockpt(&terminal)).expect("a terminal of our own");
    let size = Winsize { ws_row: 50, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    let name = ptsname(&terminal, Vec::new()).expect("its name");
    let open = || {
        let name = name.to_str().expect("a plain path");
        File::options().read(true).write(true).open(name).expect("its other side")
    };
    tcsetwinsize(open(), size).expect("a size");
    command.env("TERM", "xterm-256color").stdin(open()).stdout(open()).stderr(open());
    let mut child = command.spawn().expect("the program");
    // Ours are closed with the command, so that the end of the program is the end of the terminal.
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut seen = Vec::new();
    let mut bytes = [0; 4096];
    let mut terminal = File::from(terminal);
    // A terminal whose other side is closed answers an error, not an end.
    while let Ok(read @ 1..) = terminal.read(&mut bytes) {
        seen.extend_from_slice(&bytes[..read]);
    }
    let code = child.wait().expect("its end").code();
    (code, String::from_utf8(seen).expect("text").replace("\r\n", "\n"))
}

/// Text without the times in it: `2 s ago` and `now` are AGO, and a moment is TIME.
pub(crate) fn steady(text: &str) -> String {
    text.split('\n').map(steady_line).collect::<Vec<_>>().join("\n")
}

fn steady_line(line: &str) -> String {
    let mut line = line.to_owned();
    let digits = |text: &str| text.bytes().rev().take_while(u8::is_ascii_digit).count();
    let mut from = 0;
    while let Some(found) = line[from..].find(" s ago").map(|at| at + from) {
        let begin = found - digits(&line[..found]);
        line.replace_range(begin..found + " s ago".len(), "AGO");
        from = begin;
    }
    for (now, ago) in [("(now", "(AGO"), (" now ", " AGO "), ("mnow", "mAGO"), (", now", ", AGO")] {
        line = line.replace(now, ago);
    }
    if let Some(begin) = line.strip_suffix("now") {
        line = format!("{begin}AGO");
    }
    let mut from = 0;
    while let Some(at) = line[from..].find("Z").map(|at| at + from) {
        let is_time = at >= 19 && line.as_bytes()[at - 9] == b'T' && line.is_char_boundary(at - 19);
        if is_time {
            line.replace_range(at - 19..=at, "TIME");
            from = at - 15;
        } else {
            from = at + 1;
        }
    }
    line
}
