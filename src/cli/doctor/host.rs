//! Directories, disk and clock.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use agent_relay::client::Error;
use agent_relay::plugins::network_file_system;

use super::Finding;
use super::programs::{SearchPath, said};
use crate::cli::connection::Connection;

/// Below this the disk is as good as full, and below that it soon is.
const FREE_LEAST: u64 = 64 << 20;
const FREE_LITTLE: u64 = 1 << 30;

/// The directory where agents work on the relay's host, as the relay says.
pub(super) fn base(connection: &Connection) -> Result<PathBuf, Error> {
    let told = connection.try_ask(connection.client.control().spawn_directories(None)).and_then(|told| told.read());
    told.map(|told| PathBuf::from(told.path))
}

/// Whether it is there, and nobody else's.
pub(super) fn base_directory(base: Result<&PathBuf, &Error>) -> Finding {
    const NAME: &str = "base directory";
    let base = match base {
        Ok(base) => base,
        Err(error) => {
            let fix = "name a directory that is there with agent-relay serve --base-dir DIR";
            return Finding::error(NAME, agent_relay::domain::text::causes(error), fix);
        }
    };
    let shown = base.display();
    let Ok(found) = base.metadata() else {
        return Finding::ok(NAME, format!("{shown}, on the relay's host"));
    };
    if found.permissions().mode() & 0o002 != 0 && found.permissions().mode() & 0o1000 == 0 {
        return Finding::warn(
            NAME,
            format!("every user of this host may write to {shown}"),
            format!("chmod o-w {shown}"),
        );
    }
    Finding::ok(NAME, shown.to_string())
}

/// Where the relay keeps everything.
pub(super) fn data_directory(data_dir: &Path) -> Vec<Finding> {
    const NAME: &str = "data directory";
    let shown = data_dir.display();
    let Ok(found) = data_dir.metadata() else {
        return vec![Finding::ok(NAME, format!("{shown} is not there yet"))];
    };
    let mut findings = Vec::new();
    let mode = found.permissions().mode();
    findings.push(if found.uid() != rustix::process::geteuid().as_raw() {
        Finding::warn(
            NAME,
            format!("{shown} belongs to another user"),
            "run this as that user, or name another with --data-dir",
        )
    } else if mode & 0o077 != 0 {
        Finding::warn(NAME, format!("other users may look into {shown}"), format!("chmod 700 {shown}"))
    } else {
        Finding::ok(NAME, format!("{shown}, for this user alone"))
    });
    findings.push(match network_file_system(data_dir) {
        Some(kind) => Finding::warn(
            "file system",
            format!("{shown} lies on {kind}, where locks may not hold and what is synced may be lost"),
            "agent-relay serve --data-dir DIR, on a disk of this host",
        ),
        None => Finding::ok("file system", "a disk of this host"),
    });
    if let Ok(disk) = rustix::fs::statvfs(data_dir) {
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        let detail = format!("{} MiB free", free >> 20);
        let fix = format!("free some of the disk of {shown}: du -xsh {shown}/*");
        findings.push(match free {
            free if free < FREE_LEAST => Finding::error("disk", detail, fix),
            free if free < FREE_LITTLE => Finding::warn("disk", detail, fix),
            _ => Finding::ok("disk", detail),
        });
    }
    findings
}

/// Whether somebody keeps the clock right: leases, expiry and the order of logs go by it.
pub(super) fn clock(path: &SearchPath) -> Finding {
    let synchronized =
        path.find("timedatectl").and_then(|program| said(&program, "show", &path.path).ok().map(|_| program));
    let shown = synchronized.and_then(|program| {
        let told =
            std::process::Command::new(program).args(["show", "-p", "NTPSynchronized", "--value"]).output().ok()?;
        String::from_utf8(told.stdout).ok()
    });
    match shown.as_deref().map(str::trim) {
        Some("no") => Finding::warn("clock", "nothing keeps the time of this host right", "timedatectl set-ntp true"),
        Some("yes") => Finding::ok("clock", "kept right"),
        _ => Finding::ok("clock", "who keeps the time of this host right is not known"),
    }
}
