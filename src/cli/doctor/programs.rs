//! The programs that sessions need: found where the relay would find them, and able to run.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use agent_relay::client::plugins::Plugin;
use agent_relay::config::Environment;
use rustix::fs::Access;
use serde_json::Value;

use super::Finding;
use crate::cli::Failure;
use crate::cli::data_dir::Running;

/// The path that programs are found on, and whose it is.
pub(super) struct SearchPath {
    pub(super) path: String,
    whose: &'static str,
}

/// How long a program may take to say its version. Some are scripts that load half of a package first.
const PATIENCE: Duration = Duration::from_secs(20);
/// The most that is read of what one says, and of the beginning of a script.
const SAID_MAX: u64 = 4 * 1024;
/// The oldest tmux that does what sessions rely on.
const TMUX_OLDEST: (u32, u32) = (3, 0);

/// The PATH of the running relay, as far as it lets itself be looked at; otherwise that of this shell.
pub(super) fn path(running: Option<&Running>, env: &Environment) -> Result<SearchPath, Failure> {
    let of_relay = running.and_then(|running| {
        let variables = std::fs::read(format!("/proc/{}/environ", running.pid)).ok()?;
        let path = variables.split(|byte| *byte == 0).find_map(|variable| variable.strip_prefix(b"PATH="))?;
        String::from_utf8(path.to_vec()).ok()
    });
    Ok(match of_relay {
        Some(path) => SearchPath { path, whose: "the relay's PATH" },
        None => SearchPath { path: env.text("PATH")?.unwrap_or_default().to_owned(), whose: "the PATH of this shell" },
    })
}

impl SearchPath {
    /// Where a program is: as sessions look for it, on absolute entries alone.
    pub(super) fn find(&self, program: &str) -> Option<PathBuf> {
        let is_program = |file: &Path| file.is_file() && rustix::fs::access(file, Access::EXEC_OK).is_ok();
        if program.starts_with('/') {
            return Some(PathBuf::from(program)).filter(|file| is_program(file));
        }
        let folders = self.path.split(':').filter(|folder| folder.starts_with('/'));
        folders.map(|folder| Path::new(folder).join(program)).find(|file| is_program(file))
    }
}

pub(super) fn tmux(path: &SearchPath, env: &Environment) -> Finding {
    let Some(program) = path.find("tmux") else {
        let detail = format!("not on {}: agents run without a terminal, and nobody can look on or type", path.whose);
        return Finding::warn("tmux", detail, install(env, "tmux"));
    };
    let said = match said(&program, "-V", &path.path) {
        Ok(said) => said,
        Err(problem) => {
            return Finding::warn(
                "tmux",
                format!("{} does not run: {problem}", program.display()),
                install(env, "tmux"),
            );
        }
    };
    let number = said.split_whitespace().last().unwrap_or_default();
    let mut parts = number.split('.').map(|part| part.chars().filter(char::is_ascii_digit).collect::<String>());
    let mut part = || parts.next().and_then(|part| part.parse::<u32>().ok()).unwrap_or(0);
    let version = (part(), part());
    if version < TMUX_OLDEST {
        let detail = format!("{said} is older than 3.0: agents run without a terminal");
        return Finding::warn("tmux", detail, install(env, "tmux"));
    }
    Finding::ok("tmux", format!("{said}, {}", program.display()))
}

fn install(env: &Environment, package: &str) -> String {
    let manager = ["apt-get", "dnf", "pacman", "apk", "brew"];
    let path = env.text("PATH").ok().flatten().unwrap_or_default();
    let search = SearchPath { path: path.to_owned(), whose: "" };
    match manager.into_iter().find(|manager| search.find(manager).is_some()) {
        Some("pacman") => format!("pacman -S {package}"),
        Some("apk") => format!("apk add {package}"),
        Some(manager) => format!("{manager} install {package}"),
        None => format!("install {package}"),
    }
}

/// Where the programs of the shipped providers come from.
const PACKAGES: [(&str, &str); 2] = [("claude", "@anthropic-ai/claude-code"), ("codex", "@openai/codex")];

/// The programs of each provider that is in use; of the shipped ones where no relay says which are.
pub(super) fn of_providers(plugins: &[Plugin], path: &SearchPath) -> Vec<Finding> {
    let mut programs: Vec<(String, String)> = Vec::new();
    for plugin in plugins {
        programs.extend(of_plugin(plugin).map(|program| (plugin.id.clone(), program.to_owned())));
    }
    if plugins.is_empty() {
        programs.extend(PACKAGES.map(|(program, _)| (program.to_owned(), program.to_owned())));
    }
    programs.iter().map(|(provider, program)| of_provider(provider, program, path)).collect()
}

/// The programs that a provider may start, where it is in use.
fn of_plugin(plugin: &Plugin) -> impl Iterator<Item = &str> {
    let is_used = plugin.kind.as_deref() == Some("provider") && plugin.state == "active";
    let granted = plugin.grants["executables"].as_array().filter(|_| is_used);
    granted.into_iter().flatten().filter_map(Value::as_str)
}

/// Whether a provider is in use, and one of its programs is there.
pub(super) fn is_found(plugin: &Plugin, path: &SearchPath) -> bool {
    of_plugin(plugin).any(|program| path.find(program).is_some())
}

fn of_provider(provider: &str, program: &str, path: &SearchPath) -> Finding {
    let name =
        if provider == program { format!("program {program}") } else { format!("program {program} of {provider}") };
    let package = PACKAGES.into_iter().find(|(known, _)| *known == program).map(|(_, package)| package);
    let fix = package.map_or_else(
        || format!("put {program} on {}, or grant {provider} another", path.whose),
        |package| format!("npm install -g {package}"),
    );
    let Some(file) = path.find(program) else {
        return Finding::warn(name, format!("not on {}: {provider} starts nothing", path.whose), fix);
    };
    // An interpreter that is not there is told of by its name: the program would only say 127.
    if let Some(interpreter) = missing_interpreter(&file, path) {
        let detail = format!("{} is a script for {interpreter}, which is not on {}", file.display(), path.whose);
        let fix = format!("install {interpreter}, or start the relay with a PATH that has it");
        return Finding::error(name, detail, fix);
    }
    match said(&file, "--version", &path.path) {
        Ok(version) => Finding::ok(name, format!("{version}, {}", file.display())),
        Err(problem) => Finding::error(name, format!("{} does not run: {problem}", file.display()), fix),
    }
}

/// The program that a script wants and that is not there.
fn missing_interpreter(file: &Path, path: &SearchPath) -> Option<String> {
    let mut begin = Vec::new();
    std::fs::File::open(file).ok()?.take(SAID_MAX).read_to_end(&mut begin).ok()?;
    let line = begin.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
    let line = std::str::from_utf8(line).ok()?;
    let mut words = line.split_whitespace();
    let first = words.next()?;
    let wanted =
        if first.ends_with("/env") { words.find(|word| !word.starts_with('-') && !word.contains('='))? } else { first };
    path.find(wanted).is_none().then(|| wanted.to_owned())
}

/// The first line that a program says when it is asked for its version, in the environment of nobody.
pub(super) fn said(program: &Path, argument: &str, path: &str) -> Result<String, String> {
    let mut command = Command::new(program);
    command.arg(argument).env_clear().env("PATH", path).stdin(Stdio::null());
    command.envs(
        ["HOME", "LANG", "XDG_RUNTIME_DIR", "DBUS_SESSION_BUS_ADDRESS"]
            .iter()
            .filter_map(|name| std::env::var_os(name).map(|value| (name, value))),
    );
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().map_err(|error| error.to_string())?;
    let streams = (child.stdout.take(), child.stderr.take());
    let (sender, receiver) = sync_channel(1);
    std::thread::spawn(move || {
        let read = |stream: Option<&mut dyn std::io::Read>| {
            let mut text = Vec::new();
            // What goes beyond it is not read, and whoever writes it is ended.
            let _ = stream.map(|stream| stream.take(SAID_MAX).read_to_end(&mut text));
            String::from_utf8_lossy(&text).into_owned()
        };
        let (mut out, mut err) = streams;
        let out = read(out.as_mut().map(|stream| stream as &mut dyn std::io::Read));
        let err = read(err.as_mut().map(|stream| stream as &mut dyn std::io::Read));
        // Whoever waited too long is gone.
        let _ = sender.send((out, err));
    });
    let heard = receiver.recv_timeout(PATIENCE);
    if heard.is_err() {
        let _ = child.kill();
    }
    let status = child.wait().map_err(|error| error.to_string())?;
    let (out, err) = heard.map_err(|_| format!("it said nothing within {} s", PATIENCE.as_secs()))?;
    let first = |text: &str| text.lines().find(|line| !line.trim().is_empty()).map(|line| line.trim().to_owned());
    if status.success() {
        return Ok(first(&out).or_else(|| first(&err)).unwrap_or_else(|| "no version".to_owned()));
    }
    Err(first(&err).or_else(|| first(&out)).unwrap_or_else(|| status.to_string()))
}
