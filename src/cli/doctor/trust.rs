//! Whether each program trusts the directory where its agents work, or will ask in a first session, which nobody answers.
//!
//! What a provider's observer saw is the evidence: a session that came up there did not wait in a dialog, or somebody
//! answered it. Of the shipped providers' programs it is known besides what they keep of it by themselves.

use std::path::Path;

use agent_relay::client::control::CommandQuery;
use agent_relay::client::plugins::Plugin;
use agent_relay::config::Environment;
use agent_relay::domain::control::ControlKind;
use agent_relay::domain::control::command::{Command, CommandStatus};
use agent_relay::domain::id::OrchestratorId;
use serde_json::Value;

use super::Finding;
use crate::cli::connection::Connection;
use crate::cli::show::ago;

/// So many of the latest spawns are looked through for one of each provider.
const SPAWNS_MAX: usize = 200;
/// The largest configuration of a program that is read.
const CONFIGURATION_BYTES_MAX: u64 = 16 << 20;

/// Of each provider whose program can be run, whether `base` is trusted by it.
pub(super) fn findings(connection: &Connection, providers: &[&Plugin], base: &Path, env: &Environment) -> Vec<Finding> {
    let query = CommandQuery {
        kind: Some(ControlKind::Spawn),
        status: Some(CommandStatus::Succeeded),
        limit: Some(SPAWNS_MAX as u32),
        ..CommandQuery::default()
    };
    let spawns: Vec<Command> =
        connection.ask_all(connection.client.control().commands(&query), SPAWNS_MAX).unwrap_or_default();
    providers.iter().map(|provider| finding(&provider.id, &spawns, base, env)).collect()
}

fn finding(provider: &str, spawns: &[Command], base: &Path, env: &Environment) -> Finding {
    let (name, shown) = (format!("trust {provider}"), base.display());
    let kept = if provider == "claude" { is_kept_by_claude(base, env) } else { None };
    if kept == Some(true) {
        return Finding::ok(name, format!("{provider} was told to trust {shown}, or what it lies in"));
    }
    let came_up = spawns.iter().find(|spawn| {
        let text = |member: &str| spawn.request[member].as_str();
        // Elsewhere is another host, or another directory, and says nothing of this one.
        let is_own = OrchestratorId::of_agent(&spawn.target).is_none();
        is_own && text("provider") == Some(provider) && text("cwd").is_some_and(|cwd| Path::new(cwd) == base)
    });
    match (came_up, kept) {
        (Some(spawn), _) => Finding::ok(name, format!("a session of it came up in {shown} {}", ago(spawn.updated_at))),
        (None, Some(_)) => Finding::warn(
            name,
            format!("{provider} was never told to trust {shown}, and will ask in each first session there"),
            format!("(cd {shown} && {provider}), and say yes; that holds for all below it"),
        ),
        (None, None) => Finding::warn(
            name,
            format!(
                "whether {provider} trusts {shown} is not known before its first session there, which may wait in a dialog"
            ),
            format!("agent-relay spawn {provider}; where that waits, it says how to attach and answer"),
        ),
    }
}

/// Whether Claude Code keeps that a directory is trusted; none where it was never run by this user.
fn is_kept_by_claude(directory: &Path, env: &Environment) -> Option<bool> {
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
