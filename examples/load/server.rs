//! The server that is measured: started, watched from outside, and ended.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, setrlimit};
use tempfile::TempDir;

use crate::Outcome;

/// Where requests go. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Target {
    /// The server's address.
    pub(crate) address: SocketAddr,
    /// The whole header line of the credential, or nothing.
    pub(crate) authorization: Arc<str>,
}

impl Target {
    /// The target of an address such as `http://127.0.0.1:4850`, with the token of the environment.
    pub(crate) fn parse(url: &str) -> Outcome<Self> {
        let address = url.trim_end_matches('/').strip_prefix("http://").and_then(|rest| rest.parse().ok());
        let address =
            address.ok_or_else(|| format!("{url} is not http://ADDRESS:PORT, with a number for an address"))?;
        let authorization = match std::env::var("AGENT_RELAY_TOKEN") {
            Ok(token) => format!("Authorization: Bearer {token}\r\n"),
            Err(_) => String::new(),
        };
        Ok(Self { address, authorization: authorization.into() })
    }
}

/// A server. Dropping it ends it, if it was started here.
pub(crate) struct Server {
    target: Target,
    pid: Option<u32>,
    own: Option<(Child, TempDir)>,
    /// From the start of the program to the line that says it accepts connections.
    pub(crate) starting: Duration,
}

impl Server {
    /// One that is running already.
    pub(crate) fn running(target: Target, pid: Option<u32>) -> Self {
        Self { target, pid, own: None, starting: Duration::ZERO }
    }

    /// Starts one on a free port with an empty data directory, and waits until it takes requests.
    pub(crate) fn start(program: &Path, dir: &Path) -> Outcome<Self> {
        Self::start_in(program, tempfile::Builder::new().prefix("load-").tempdir_in(dir)?)
    }

    /// Starts one on what an earlier one left in its data directory, with the settings in `relay.toml` if it is there.
    pub(crate) fn start_in(program: &Path, dir: TempDir) -> Outcome<Self> {
        // Control requests are measured up to the plan, not the programs that they would start.
        Self::start_with(program, dir, "1", "127.0.0.1:0")
    }

    /// The same, and it starts the programs that it is asked for.
    pub(crate) fn start_spawning(program: &Path, dir: TempDir) -> Outcome<Self> {
        Self::start_with(program, dir, "0", "127.0.0.1:0")
    }

    /// Kills it as a crash would, and starts it again at the same address on what it left.
    pub(crate) fn crash_and_start(mut self, program: &Path) -> Outcome<Self> {
        let (mut child, dir) = self.own.take().ok_or("the server was not started here")?;
        child.kill()?;
        child.wait()?;
        Self::start_with(program, dir, "0", &self.target.address.to_string())
    }

    fn start_with(program: &Path, dir: TempDir, dry_run: &str, listen: &str) -> Outcome<Self> {
        let log = dir.path().join("stderr");
        fs::create_dir_all(dir.path().join("plugins"))?;
        let config = dir.path().join("relay.toml");
        let config = config.is_file().then(|| [PathBuf::from("--config"), config]);
        let started = Instant::now();
        let mut child = Command::new(program)
            .args(["serve", "--listen", listen, "--log", "warn", "--data-dir"])
            .arg(dir.path().join("data"))
            .arg("--plugins")
            .arg(dir.path().join("plugins"))
            .arg("--base-dir")
            .arg(dir.path())
            .args(config.iter().flatten())
            .env_remove("AGENT_RELAY_TOKEN")
            .env_remove("AGENT_RELAY_CONFIG")
            .env("AGENT_RELAY_SPAWN_DRY_RUN", dry_run)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(fs::File::create(&log)?)
            .spawn()?;
        let line = announced(&mut child)?;
        let starting = started.elapsed();
        let Some(url) = line.trim_end().strip_prefix("listening on ") else {
            let ended = child.kill().and_then(|()| child.wait());
            let log = fs::read_to_string(&log).unwrap_or_default();
            return Err(format!("the server did not say where it listens ({ended:?}): {log}").into());
        };
        let target = Target { authorization: Arc::from(""), ..Target::parse(url)? };
        Ok(Self { target, pid: Some(child.id()), own: Some((child, dir)), starting })
    }

    /// Where it takes requests.
    pub(crate) fn target(&self) -> &Target {
        &self.target
    }

    /// The directory of plugins of a server that was started here.
    pub(crate) fn plugins_dir(&self) -> Option<std::path::PathBuf> {
        self.own.as_ref().map(|(_, dir)| dir.path().join("plugins"))
    }

    /// The processor time it used so far, in seconds; `None` when its process is not known.
    pub(crate) fn cpu_seconds(&self) -> Outcome<Option<f64>> {
        self.pid.map(cpu_seconds).transpose()
    }

    /// The memory that is in use by it, in bytes; `None` when its process is not known.
    pub(crate) fn memory_bytes(&self) -> Outcome<Option<f64>> {
        let Some(pid) = self.pid else { return Ok(None) };
        let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
        let kilobytes = text.lines().find_map(|line| line.strip_prefix("Rss:")?.trim().strip_suffix(" kB"));
        let kilobytes: f64 = kilobytes.ok_or("/proc/PID/smaps_rollup has no Rss")?.trim().parse()?;
        Ok(Some(kilobytes * 1024.0))
    }

    /// Its threads; `None` when its process is not known.
    pub(crate) fn threads(&self) -> Outcome<Option<f64>> {
        let Some(pid) = self.pid else { return Ok(None) };
        Ok(Some(fs::read_dir(format!("/proc/{pid}/task"))?.count() as f64))
    }

    /// Ends it in order, and answers its directory, so that another can go on there.
    pub(crate) fn stop(mut self) -> Outcome<TempDir> {
        let (mut child, dir) = self.own.take().ok_or("the server was not started here")?;
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).ok_or("the server has no process id")?;
        kill_process(pid, Signal::TERM)?;
        let status = child.wait()?;
        if status.success() { Ok(dir) } else { Err(format!("the server ended with {status}").into()) }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some((child, _)) = &mut self.own {
            // Its data goes as well, so nobody needs an orderly end; one that is gone already is fine.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// The line by which a program says that it can be used; empty when it ends without one.
pub(crate) fn announced(child: &mut Child) -> Outcome<String> {
    let mut line = String::new();
    if let Some(stdout) = child.stdout.take() {
        BufReader::new(stdout).read_line(&mut line)?;
    }
    Ok(line)
}

/// The processor time that a process used so far, in seconds.
pub(crate) fn cpu_seconds(pid: u32) -> Outcome<f64> {
    /// What Linux shows times in, on every architecture that this runs on.
    const TICKS_A_SECOND: f64 = 100.0;
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The program's name may hold anything, so fields are counted from the parenthesis behind it.
    let fields = stat.rsplit_once(')').ok_or("/proc/PID/stat has no name")?.1;
    let ticks = fields.split_ascii_whitespace().skip(11).take(2).map(str::parse::<u64>);
    Ok(ticks.sum::<Result<u64, _>>()? as f64 / TICKS_A_SECOND)
}

/// Lets this program open as many sockets as the system allows.
pub(crate) fn raise_open_files() -> Outcome<()> {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    Ok(setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?)
}
