//! `agent-relay spawn`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use agent_relay::client::control::{SpawnOrder, Spawned};
use agent_relay::config::Environment;
use agent_relay::domain::control::ApprovalMode;
use agent_relay::domain::control::command::Command;

use super::follow::{EXIT_CODES, Following};
use crate::cli::connection::{ClientArgs, Connection};
use crate::cli::show::{DIM, GOOD, STRONG, painted, show, visible_line};
use crate::cli::typed::{text, words};
use crate::cli::{Failure, print};

/// Start an agent, and wait until it is seen to be up.
#[derive(Debug, clap::Args)]
#[command(after_help = EXIT_CODES)]
pub(in crate::cli) struct Spawn {
    /// What it is an agent of, such as claude or codex: the id of a provider
    provider: String,
    /// Where it works [default: the base directory]; a relative path begins where you are
    #[arg(long, value_name = "DIR")]
    cwd: Option<PathBuf>,
    /// Its first prompt; `-` reads standard input
    #[arg(long, value_name = "TEXT")]
    prompt: Option<String>,
    /// A name for people
    #[arg(long)]
    label: Option<String>,
    /// What it may do by itself [default: guarded]
    #[arg(long, value_name = "MODE", value_parser = words::<ApprovalMode>())]
    approval_mode: Option<ApprovalMode>,
    /// The orchestrator that starts it [default: whichever suits, or the relay's own host]
    #[arg(long, value_name = "ID")]
    orchestrator: Option<String>,
    #[command(flatten)]
    following: Following,
    #[command(flatten)]
    client: ClientArgs,
}

/// A plugin may plan for long before the relay answers.
const PATIENCE: Duration = Duration::from_secs(60);

pub(in crate::cli) fn spawn(args: Spawn, env: &Environment) -> Result<ExitCode, Failure> {
    let order = SpawnOrder {
        provider: args.provider,
        approval_mode: args.approval_mode,
        cwd: args.cwd.as_deref().map(absolute).transpose()?,
        label: args.label,
        prompt: args.prompt.map(text).transpose()?,
    };
    let connection = Connection::open_patiently(&args.client, env, PATIENCE)?;
    let control = connection.client.control();
    let (answered, id) = match &args.orchestrator {
        Some(orchestrator) => {
            let told = connection.ask(control.spawn_through(orchestrator, &order))?;
            (told.text()?.to_owned(), told.value()?.command.id)
        }
        None => {
            let told = connection.ask(control.spawn(&order))?;
            let id = match told.value()? {
                Spawned::Here(here) => here.command.id,
                Spawned::Through(through) => through.command.id,
            };
            (told.text()?.to_owned(), id)
        }
    };
    if args.following.no_wait {
        return match args.client.json {
            true => print(&answered),
            false => show(&format!("{} starts it", painted(STRONG, format!("command {id}")))),
        }
        .map(|()| ExitCode::SUCCESS);
    }
    args.following.follow(&connection, id, &args.client, started)
}

/// What was typed means what it means in the shell, not in the relay's base directory.
fn absolute(path: &Path) -> Result<String, Failure> {
    let absolute = std::path::absolute(path).map_err(|error| Failure::Usage(format!("--cwd: {error}")))?;
    let text = absolute.to_str().map(str::to_owned);
    text.ok_or_else(|| Failure::Usage("--cwd: a path that is not UTF-8 cannot be sent".to_owned()))
}

fn started(command: &Command) -> String {
    let result = command.result.as_ref().map(|result| result.value()).unwrap_or_default();
    if result["dryRun"] == true {
        return "planned, and not started: this relay starts nothing".to_owned();
    }
    let agent = result["agentId"].as_str().map(str::to_owned);
    let agent = agent.or_else(|| command.starts().map(|agent| agent.into_string())).unwrap_or_default();
    let agent = visible_line(&agent).into_owned();
    // Without a terminal there is nothing to look at.
    let attach = result["attach"].as_str().map(|_| painted(DIM, format!("; agent-relay sessions attach {agent}")));
    format!("agent {} is {}{}", painted(STRONG, &agent), painted(GOOD, "up"), attach.unwrap_or_default())
}
