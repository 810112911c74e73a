//! The bare program: what waits for its user, who is there, and what can be typed.

pub(super) mod activity;
pub(super) mod agents;
pub(super) mod attention;

use std::time::Duration;

use crate::cli::show::visible_line;
use agent_relay::client::agents::AgentQuery;
use agent_relay::config::Environment;
use agent_relay::domain::agent::{Agent, SYSTEM, USER};
use clap::{Args as _, CommandFactory as _, FromArgMatches as _};

use super::Failure;
use super::connection::{ClientArgs, Connection};
use super::show::{DIM, STRONG, columns, cut, painted, show};

/// Whoever types nothing waits for nothing.
const PATIENCE: Duration = Duration::from_secs(3);
/// So much fits on a screen.
const ITEMS_MAX: usize = 8;
const AGENTS_MAX: usize = 15;

/// Shows it, where a relay answers; says whether one did.
pub(super) fn run(env: &Environment) -> Result<bool, Failure> {
    let nothing = ClientArgs::augment_args(clap::Command::new("agent-relay"));
    let typed = nothing.no_binary_name(true).try_get_matches_from::<_, &str>([]).map_err(|error| error.to_string());
    let args = typed.and_then(|typed| ClientArgs::from_arg_matches(&typed).map_err(|error| error.to_string()));
    let connection = Connection::open_patiently(&args.map_err(Failure::Other)?, env, PATIENCE)?;
    let attention = connection.client.attention().list(Some(1 + u32::try_from(ITEMS_MAX).unwrap_or_default()));
    let Ok(items) = connection.ask_all(attention, ITEMS_MAX + 1) else { return Ok(false) };
    let pages = connection.client.agents().find("", &AgentQuery { limit: Some(100), ..AgentQuery::default() });
    let agents: Vec<Agent> = connection.ask_all(pages, 100)?;
    let agents: Vec<_> = agents.iter().filter(|agent| !matches!(agent.id.as_str(), USER | SYSTEM)).collect();

    let shown = items.len().min(ITEMS_MAX);
    let mut text = heading("What waits for you");
    text.push_str(&attention::drawn(&items[..shown]));
    if items.len() > shown {
        text.push_str(&painted(DIM, "\nand more: agent-relay attention"));
    }
    text.push_str(&format!("\n\n{}", heading("Who is there")));
    text.push_str(agents::drawn(agents.iter().copied().take(AGENTS_MAX)).trim_end());
    if agents.len() > AGENTS_MAX {
        text.push_str(&painted(DIM, "\nand more: agent-relay agents"));
    }
    text.push_str(&format!("\n\n{}{}", heading("What you can type"), commands()));
    let address = painted(DIM, format!("asked: {}", visible_line(connection.client.address())));
    show(&format!("{text}\n\n{address}"))?;
    Ok(true)
}

fn heading(text: &str) -> String {
    format!("{}\n", painted(STRONG, text))
}

/// The commands with their first line of help.
fn commands() -> String {
    let cli = super::Cli::command();
    let listed: Vec<_> = cli.get_subcommands().filter(|command| !command.is_hide_set()).collect();
    let width = listed.iter().map(|command| command.get_name().len()).max().unwrap_or_default();
    let lines = listed.iter().map(|command| {
        let about = command.get_about().map(ToString::to_string).unwrap_or_default();
        let about = columns().map_or(about.clone(), |columns| cut(&about, columns.saturating_sub(width + 4)));
        format!("  {}  {about}", painted(STRONG, format!("{:width$}", command.get_name())))
    });
    lines.collect::<Vec<_>>().join("\n")
}
