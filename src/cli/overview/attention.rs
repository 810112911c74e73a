//! `agent-relay attention`: what waits for a person, and what can be done about it.

use std::process::ExitCode;

use crate::cli::show::visible_line;
use agent_relay::config::Environment;
use agent_relay::domain::attention::{Attention, AttentionKind};
use agent_relay::domain::id::AttentionId;
use anstyle::Style;

use crate::cli::connection::{ClientArgs, Connection};
use crate::cli::show::{BAD, DIM, PLAIN, STRONG, WARN, ago, painted, show};
use crate::cli::typed::listed;
use crate::cli::{Failure, print};

/// Show what waits for you, the most urgent first.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(in crate::cli) struct AttentionArgs {
    #[command(subcommand)]
    command: Option<What>,
    #[command(flatten)]
    list: List,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Show what waits, the most urgent first.
    List(List),
    /// Take something off the list. What caused it stays as it is.
    Dismiss {
        /// The item's number
        id: i64,
        #[command(flatten)]
        client: ClientArgs,
    },
}

#[derive(Debug, clap::Args)]
struct List {
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = listed())]
    limit: u32,
    #[command(flatten)]
    client: ClientArgs,
}

pub(in crate::cli) fn run(args: AttentionArgs, env: &Environment) -> Result<ExitCode, Failure> {
    match args.command {
        None => list(&args.list, env),
        Some(What::List(args)) => list(&args, env),
        Some(What::Dismiss { id, client }) => dismiss(id, &client, env),
    }?;
    Ok(ExitCode::SUCCESS)
}

fn list(args: &List, env: &Environment) -> Result<(), Failure> {
    let connection = Connection::open(&args.client, env)?;
    let pages = connection.client.attention().list(Some(args.limit.min(1_000)));
    let most = args.limit as usize;
    if args.client.json {
        return connection.print_all(pages, most);
    }
    show(&drawn(&connection.ask_all(pages, most)?))
}

fn dismiss(id: i64, args: &ClientArgs, env: &Environment) -> Result<(), Failure> {
    let connection = Connection::open(args, env)?;
    let told = connection.ask(connection.client.attention().dismiss(AttentionId::new(id)))?;
    if args.json { print(told.text()?) } else { show(&format!("{id} is off the list")) }
}

/// What waits, each with what to do about it.
pub(in crate::cli) fn drawn(items: &[Attention]) -> String {
    if items.is_empty() {
        return painted(DIM, "nothing waits for you");
    }
    let lines = items.iter().map(|item| {
        let (id, kind) = (painted(STRONG, item.id), painted(style(item.kind), item.kind));
        let (title, since) = (visible_line(&item.title), painted(DIM, ago(item.since)));
        let hint = crate::cli::show::in_commands(&item.hint);
        format!("{id} {kind}  {title}  {since}\n    {}", painted(DIM, hint))
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn style(kind: AttentionKind) -> Style {
    match kind.urgency() {
        0 | 1 => WARN,
        2 => BAD,
        _ => PLAIN,
    }
}
