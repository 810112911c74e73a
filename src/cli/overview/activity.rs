//! `agent-relay activity`: what happened, newest first.

use crate::cli::show::visible_line;
use agent_relay::client::activity::ActivityQuery;
use agent_relay::config::Environment;
use agent_relay::domain::activity::{Activity, ActivityKind};
use agent_relay::domain::id::ActivityId;

use crate::cli::Failure;
use crate::cli::connection::{ClientArgs, Connection};
use crate::cli::show::{Cell, DIM, STRONG, moment, painted, show, table};
use crate::cli::typed::{listed, words};

/// Show what happened, newest first.
///
/// Control requests and what was decided, agents that come and go, tasks, plugins, tokens, refused credentials.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct ActivityArgs {
    /// Only entries of this kind
    #[arg(long, value_parser = words::<ActivityKind>())]
    kind: Option<ActivityKind>,
    /// Only entries about this agent
    #[arg(long)]
    agent: Option<String>,
    /// Only entries after this one
    #[arg(long, value_name = "ID")]
    since: Option<i64>,
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 30, value_parser = listed())]
    limit: u32,
    #[command(flatten)]
    client: ClientArgs,
}

pub(in crate::cli) fn run(args: ActivityArgs, env: &Environment) -> Result<(), Failure> {
    let connection = Connection::open(&args.client, env)?;
    let query = ActivityQuery {
        since: args.since.map(ActivityId::new),
        kind: args.kind,
        agent: args.agent,
        limit: Some(args.limit.min(1_000)),
        ..ActivityQuery::default()
    };
    let pages = connection.client.activity().list(&query);
    let most = args.limit as usize;
    if args.client.json {
        return connection.print_all(pages, most);
    }
    let entries: Vec<Activity> = connection.ask_all(pages, most)?;
    if entries.is_empty() {
        return show(&painted(DIM, "nothing happened"));
    }
    let rows = entries.iter().map(|entry| {
        let note = entry.meta.as_deref().or(entry.body.as_deref()).unwrap_or_default();
        let cells = [
            Cell::styled(moment(entry.created_at), DIM),
            Cell::styled(entry.kind.as_str(), STRONG),
            Cell::from(entry.agent_id.as_deref().unwrap_or_default()),
            Cell::from(&entry.title),
            Cell::styled(visible_line(note), DIM),
        ];
        (cells, None)
    });
    show(&table(["TIME", "KIND", "AGENT", "WHAT", "NOTE"], rows))
}
