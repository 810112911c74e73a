//! Directories, disk and clock.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use agent_relay::config::Environment;
use agent_relay::plugins::network_file_system;
use serde_json::Value;

use super::Finding;
use super::programs::{SearchPath, said};
use crate::cli::connection::Connection;

/// Below this the disk is as good as full, and below that it soon is.
const FREE_LEAST: u64 = 64 << 20;
const FREE_LITTLE: u64 = 1 << 30;
/// The largest configuration of a program that is read.
const CONFIGURATION_BYTES_MAX: u64 = 16 << 20;

/// Where agents work: there, and trusted by the program that asks.
pub(super) fn base_directory(connection: &Connection, env: &Environment) -> Finding {
    const NAME: &str = "base directory";
    let told = connection.try_ask(connection.client.control().spawn_directories(None)).and_then(|told| told.read());
    let base = match told {
        Ok(told) => PathBuf::from(told.path),
        Err(error) => {
            let fix = "name a directory that is there with agent-relay serve --base-dir DIR";
            return Finding::error(NAME, agent_relay::domain::text::causes(&error), fix);
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
    match is_trusted_by_claude(&base, env) {
        Some(false) => Finding::warn(
            NAME,
            format!("{shown}; Claude Code was never told to trust it, and will ask in each first session"),
            format!("(cd {shown} && claude), and say yes; that holds for all below it"),
        ),
        Some(true) => Finding::ok(NAME, format!("{shown}, trusted by Claude Code")),
        None => Finding::ok(NAME, shown.to_string()),
    }
}

/// Whether Claude Code trusts a directory, as far as it was ever run by this user.
fn is_trusted_by_claude(directory: &Path, env: &Environment) -> Option<bool> {
    let home = env.path("HOME")?;
    let file = env.path("CLAUDE_CONFIG_DIR").map_or_else(|| home.join(".claude.json"), |dir| dir.join(".claude.json"));
    if file.metadata().ok()?.len() > CONFIGURATION_BYTES_MAX {
        return None;
    }
    let told: Value = serde_json::from_str(&std::fs::read_to_string(file).ok()?).ok()?;
    let is_trusted = |path: &Path| {
        let path = path.to_str().unwrap_or_default();
        told["projects"][path]["hasTrustDialogAccepted"] == true
    };
    Some(directory.ancestors().any(is_trusted))
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
