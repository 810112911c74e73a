//! What the machine gives at this moment, to hold the figures against.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::http::now;
use crate::report::{Goal, Report};
use crate::server::Target;
use crate::{Load, Outcome};

/// How often each kind of write is synced in a round.
const SYNCS: u64 = 400;
/// What is written before each sync.
const BLOCK: [u8; 512] = [0x5a; 512];

/// A loop of `pwrite` and `fdatasync`, in place and growing.
pub(crate) fn sync(load: &Load, report: &mut Report) -> Outcome<()> {
    let dir = tempfile::Builder::new().prefix("load-").tempdir_in(&load.dir)?;
    let file = File::create(dir.path().join("sync"))?;
    let growing = timed_syncs(&file, 0)?;
    let overwriting = timed_syncs(&file, 0)?;
    for (name, mut times) in [("sync, growing", growing), ("sync, overwriting", overwriting)] {
        report.add_times(name, &mut times, Goal::None, Goal::None);
    }
    Ok(())
}

fn timed_syncs(file: &File, from: u64) -> Outcome<Vec<u64>> {
    let mut times = Vec::with_capacity(SYNCS as usize);
    for index in 0..SYNCS {
        let started = now();
        file.write_all_at(&BLOCK, from + index * BLOCK.len() as u64)?;
        file.sync_data()?;
        times.push(now() - started);
    }
    Ok(times)
}

/// Refuses a directory in memory: every figure of a durable write would be a lie.
pub(crate) fn require_disk(dir: &Path) -> Outcome<PathBuf> {
    const TMPFS: u64 = 0x0102_1994;
    let kind = rustix::fs::statfs(dir).map_err(|error| format!("cannot use {}: {error}", dir.display()))?.f_type;
    if u64::try_from(kind) == Ok(TMPFS) {
        return Err(format!("{} is in memory; name a directory on a disk with --dir", dir.display()).into());
    }
    Ok(dir.to_owned())
}

/// An nginx that answers every request at once. Dropping it ends it.
pub(crate) struct Nginx {
    target: Target,
    child: Child,
    _dir: TempDir,
}

impl Nginx {
    /// Starts one worker on a free port and waits until it takes connections.
    pub(crate) fn start(load: &Load) -> Outcome<Self> {
        let dir = tempfile::Builder::new().prefix("load-").tempdir_in(&load.dir)?;
        // It cannot be told to take any free port, so one is found for it.
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let config = dir.path().join("nginx.conf");
        std::fs::write(&config, configuration(dir.path(), address))?;
        let child = Command::new("nginx")
            .args(["-e", "/dev/null", "-p"])
            .arg(dir.path())
            .arg("-c")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .map_err(|error| format!("cannot start nginx: {error}; leave --baseline away, or install it"))?;
        let nginx = Self { target: Target { address, authorization: Arc::from("") }, child, _dir: dir };
        let patience = Instant::now() + Duration::from_secs(5);
        while TcpStream::connect(address).is_err() {
            if Instant::now() > patience {
                return Err("nginx did not take a connection within 5 seconds".into());
            }
            std::thread::yield_now();
        }
        Ok(nginx)
    }

    /// Where it takes requests.
    pub(crate) fn target(&self) -> &Target {
        &self.target
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // A kill would leave its worker behind; the signal reaches the master, which ends both.
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(rustix::process::Pid::from_raw) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        let _ = self.child.wait();
    }
}

fn configuration(dir: &Path, address: SocketAddr) -> String {
    let dir = dir.display();
    format!(
        "daemon off; worker_processes 1; pid {dir}/pid; error_log /dev/null;
         events {{ worker_connections 1024; }}
         http {{
             access_log off; keepalive_requests 100000000; tcp_nodelay on;
             client_body_temp_path {dir}; proxy_temp_path {dir}; fastcgi_temp_path {dir};
             uwsgi_temp_path {dir}; scgi_temp_path {dir};
             server {{ listen {address}; location / {{ return 200 '{{}}'; }} }}
         }}"
    )
}
