//! `agent-relay doctor`: what is wrong, and the command that mends it. It looks at this host, at the relay, and at how each
//! agent can be woken; it changes nothing.

mod agents;
mod host;
mod programs;
mod service;
mod trust;

use std::process::ExitCode;
use std::time::Duration;

use agent_relay::client::Error;
use agent_relay::client::agents::AgentQuery;
use agent_relay::client::plugins::Plugin;
use agent_relay::config::Environment;
use agent_relay::domain::agent::Agent;
use serde::Serialize;

use super::connection::{ClientArgs, Connection};
use super::data_dir::Running;
use super::show::in_commands;
use super::show::{BAD, DIM, GOOD, STRONG, WARN, painted, show, visible_line};
use super::{Failure, print};

/// Find out what is wrong here, and what mends it.
///
/// It looks at this host (tmux, the programs that providers start and the PATH they are found on, directories and
/// whether programs trust them, the service that the relay runs in, disk, clock), at the relay and its plugins, and says
/// of each agent whether and how it can be woken. Programs are run once with --version.
#[derive(Debug, clap::Args)]
#[command(after_help = "Exit codes: 0 nothing is broken, 1 something is, 2 wrong usage.")]
pub(super) struct Doctor {
    #[command(flatten)]
    client: ClientArgs,
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Status {
    /// As it should be.
    Ok,
    /// It works, and something will surprise.
    Warn,
    /// It does not work.
    Error,
}

/// What was looked at, and what was found.
#[derive(Debug, Serialize)]
struct Finding {
    name: String,
    status: Status,
    detail: String,
    /// What mends it.
    #[serde(skip_serializing_if = "Option::is_none")]
    fix: Option<String>,
}

impl Finding {
    fn ok(name: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { name: name.into(), status: Status::Ok, detail: detail.into(), fix: None }
    }

    fn warn(name: impl Into<String>, detail: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { status: Status::Warn, fix: Some(fix.into()), ..Self::ok(name, detail) }
    }

    fn error(name: impl Into<String>, detail: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { status: Status::Error, ..Self::warn(name, detail, fix) }
    }
}

/// A relay that does not answer by then is not well.
const PATIENCE: Duration = Duration::from_secs(10);
/// Agents that are looked at.
const AGENTS_MAX: usize = 1_000;

pub(super) fn run(args: &Doctor, env: &Environment) -> Result<ExitCode, Failure> {
    let beside = args.client.beside(env)?;
    let running = Running::of(&beside.data_dir);
    let connection = Connection::open_patiently(&args.client, env, PATIENCE)?;
    let mut findings = Vec::new();
    let is_there = relay(&connection, &mut findings);
    let plugins = if is_there { plugins(&connection, &mut findings) } else { Vec::new() };
    let path = programs::path(running.as_ref(), env)?;
    findings.push(programs::tmux(&path, env));
    findings.extend(programs::of_providers(&plugins, &path));
    if is_there {
        let base = host::base(&connection);
        findings.push(host::base_directory(base.as_ref()));
        if let Ok(base) = &base
            && base.is_dir()
        {
            let startable: Vec<&Plugin> = plugins.iter().filter(|plugin| programs::is_found(plugin, &path)).collect();
            findings.extend(trust::findings(&connection, &startable, base, env));
        }
    }
    findings.extend(host::data_directory(&beside.data_dir));
    findings.push(host::clock(&path));
    findings.extend(running.as_ref().and_then(|running| service::kill_mode(running.pid, &path)));
    if is_there {
        let listed = connection.client.agents().list(&AgentQuery { limit: Some(1_000), ..AgentQuery::default() });
        let listed: Vec<Agent> = connection.ask_all(listed, AGENTS_MAX).unwrap_or_default();
        let orchestrators = connection.try_ask(connection.client.orchestrators().list()).and_then(|told| told.read());
        findings.extend(agents::findings(&connection, &listed, &orchestrators.unwrap_or_default()));
    }
    let is_broken = findings.iter().any(|finding| finding.status == Status::Error);
    if args.client.json {
        print(&serde_json::to_string(&findings).map_err(|error| Failure::Other(error.to_string()))?)?;
    } else {
        show(&findings.iter().map(drawn).collect::<Vec<_>>().join("\n"))?;
    }
    Ok(if is_broken { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn drawn(finding: &Finding) -> String {
    let (style, word) = match finding.status {
        Status::Ok => (GOOD, "ok   "),
        Status::Warn => (WARN, "warn "),
        Status::Error => (BAD, "error"),
    };
    let (name, detail) = (painted(STRONG, visible_line(&finding.name)), visible_line(&finding.detail));
    let fix = finding.fix.as_ref().map(|fix| painted(DIM, format!("\n       mend it: {}", visible_line(fix))));
    format!("{}  {name}: {detail}{}", painted(style, word), fix.unwrap_or_default())
}

/// How well the relay is, by its own checks. Whether it answers at all.
fn relay(connection: &Connection, findings: &mut Vec<Finding>) -> bool {
    let health = connection.try_ask(connection.client.system().health()).and_then(|told| told.read());
    let health = match health {
        Ok(health) => health,
        Err(error) => {
            let is_away = matches!(error, Error::Unreachable { .. });
            let (Failure::Usage(detail) | Failure::Other(detail)) = connection.failure(error);
            let fix = if is_away { "agent-relay serve" } else { "see the relay's log" };
            findings.push(Finding::error("relay", detail, fix));
            return false;
        }
    };
    let (address, own) = (connection.client.address(), env!("CARGO_PKG_VERSION"));
    let detail = format!("version {} at {address}", health.version);
    findings.push(if health.version == own {
        Finding::ok("relay", detail)
    } else {
        Finding::warn("relay", format!("{detail}, and this program is {own}"), "restart the relay with this program")
    });
    for check in health.checks {
        let name = format!("relay {}", check.name);
        // What is to be done stands in the relay's own words.
        let (detail, fix) = check.detail.split_once("; ").unwrap_or((&check.detail, "see the relay's log"));
        findings.push(match check.status.as_str() {
            "ok" => Finding::ok(name, check.detail),
            "warn" => Finding::warn(name, detail, in_commands(fix)),
            _ => Finding::error(name, detail, in_commands(fix)),
        });
    }
    // Health needs no token, and everything else does.
    if let Err(error) = connection.try_ask(connection.client.system().stats()) {
        let (Failure::Usage(detail) | Failure::Other(detail)) = connection.failure(error);
        findings.push(Finding::error(
            "token",
            detail,
            "agent-relay token create NAME --scope read, as an administrator",
        ));
        return false;
    }
    true
}

/// The plugins, and what is wrong with any.
fn plugins(connection: &Connection, findings: &mut Vec<Finding>) -> Vec<Plugin> {
    let listed = connection.try_ask(connection.client.plugins().list()).and_then(|told| told.read());
    let Ok(listed) = listed else { return Vec::new() };
    for plugin in &listed {
        let Some(error) = &plugin.error else { continue };
        let (name, id) = (format!("plugin {}", plugin.id), &plugin.id);
        let detail = in_commands(&format!("{} at stage {}: {}", plugin.state, error.stage, error.reason));
        let fix = match error.stage.as_str() {
            "grants" => format!("agent-relay plugin allow {id}"),
            _ => format!("agent-relay plugin history {id}"),
        };
        findings.push(if plugin.required {
            Finding::error(name, detail, fix)
        } else {
            Finding::warn(name, detail, fix)
        });
    }
    listed
}
