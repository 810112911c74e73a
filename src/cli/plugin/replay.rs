//! `agent-relay plugin replay`: what a candidate would change, before it goes live.

use std::path::PathBuf;
use std::process::ExitCode;

use agent_relay::config::Environment;
use agent_relay::plugins::workbench::{self, Change, Ruled};
use serde_json::json;

use super::super::connection::{ClientArgs, Connection};
use super::super::{Failure, print};
use super::{BenchArgs, code, load, plain, print_json, settings, wait};

/// Ask a candidate everything that a running relay's policies were asked, and print what would change.
///
/// The recorded verdict of the policy with the candidate's id is held against what the candidate says
/// to the same question. 1 when something would change, unless --exit-zero is given.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Replay {
    /// The candidate's folder
    #[arg(value_name = "DIR", default_value = ".")]
    path: PathBuf,
    /// How many decisions, newest first
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    limit: u32,
    /// Settings, laid over those of the candidate's plugin.toml, as the relay's operator has them
    #[arg(long, value_name = "JSON")]
    settings: Option<String>,
    /// Where compiled components are kept [default: agent-relay/workbench in the cache directory]
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,
    /// Exit with 0 even when something would change
    #[arg(long)]
    exit_zero: bool,
    #[command(flatten)]
    client: ClientArgs,
}

/// Decisions in one request.
const PAGE: usize = 100;

pub(super) fn run(args: &Replay, env: &Environment) -> Result<ExitCode, Failure> {
    let given = settings(args.settings.as_deref())?;
    let plugin = BenchArgs { path: args.path.clone(), cache: args.cache.clone(), json: args.client.json };
    let project = plugin.project()?;
    let workbench = plugin.workbench(env)?;
    let candidate = wait(load(&workbench, &project, &given))??;
    if !workbench::guide(candidate.kind()).is_replayable {
        return Err(Failure::Usage("only policies are replayed: providers decide nothing".into()));
    }

    let connection = Connection::open(&args.client, env)?;
    let (mut asked, mut before, mut changes) = (0, None, Vec::new());
    let limit = usize::try_from(args.limit).unwrap_or(usize::MAX);
    while asked < limit {
        let decisions = connection.client.plugins().decisions(before, Some(PAGE.min(limit - asked)));
        let page = connection.ask(decisions)?.value()?;
        let Some(last) = page.last() else { break };
        before = Some(last.command_id);
        asked += page.len();
        let changed = wait(async {
            let mut changed = Vec::new();
            for decision in &page {
                changed.extend(candidate.replay(decision).await);
            }
            changed
        })?;
        changes.extend(changed);
    }

    if args.client.json {
        print_json(&json!({"decisions": asked, "changes": changes}))?;
    } else {
        let lines: String = changes.iter().map(line).collect();
        print(&format!("{lines}{asked} decisions: {} would change", changes.len()))?;
    }
    Ok(code(changes.is_empty() || args.exit_zero))
}

fn line(change: &Change) -> String {
    format!(
        "#{} {} {} by {}: {} -> {}\n",
        change.command_id,
        change.kind.as_str(),
        plain(&change.target),
        plain(&change.caller),
        ruled(change.recorded.as_ref()),
        ruled(change.candidate.as_ref())
    )
}

fn ruled(ruled: Option<&Ruled>) -> String {
    let Some(ruled) = ruled else { return "not asked".to_owned() };
    let mut text = json!(ruled.verdict).as_str().unwrap_or_default().to_owned();
    let mode = ruled.approval_mode.map(|mode| mode.as_str().to_owned());
    for part in [&ruled.code, &ruled.cwd, &mode].into_iter().flatten() {
        text.push_str(&format!(" {}", plain(part)));
    }
    if let Some(reason) = &ruled.reason {
        text.push_str(&format!(" ({})", plain(reason)));
    }
    text
}
