//! `agent-relay inbox`: what reaches an agent. Looking takes nothing away.

use crate::cli::show::visible_line;
use agent_relay::client::messages::MessageQuery;
use agent_relay::config::Environment;
use agent_relay::domain::id::MessageId;
use agent_relay::domain::message::Message;
use serde_json::value::RawValue;

use crate::cli::connection::{ClientArgs, Connection};
use crate::cli::show::{Cell, DIM, GOOD, STRONG, WARN, ago, count, painted, show, table};
use crate::cli::typed::{As, listed};
use crate::cli::{Failure, print};

/// Show what an agent has not read, oldest first. It stays unread.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Inbox {
    /// Whose [default: the token's own agent, or user]
    agent: Option<String>,
    /// What was read too
    #[arg(long)]
    all: bool,
    /// Only messages after this one
    #[arg(long, value_name = "ID")]
    since: Option<i64>,
    /// Only those from this sender
    #[arg(long, value_name = "AGENT")]
    from: Option<String>,
    /// Only those of this channel
    #[arg(long)]
    channel: Option<String>,
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = listed())]
    limit: u32,
    #[command(flatten)]
    client: ClientArgs,
}

pub(in crate::cli) fn run(args: Inbox, env: &Environment) -> Result<(), Failure> {
    let connection = Connection::open(&args.client, env)?;
    let query = MessageQuery {
        unread: !args.all,
        since: args.since.map(MessageId::new),
        from: args.from,
        channel: args.channel,
        limit: Some(args.limit.saturating_add(1).min(100)),
        ..MessageQuery::default()
    };
    let most = args.limit as usize;
    // One more tells whether there are more.
    let pages = |reaching| connection.client.messages().list(&MessageQuery { reaching, ..query.clone() });
    let who = As::named(args.agent, env)?;
    if args.client.json {
        let entries: Vec<Box<RawValue>> = who.list(&connection, |agent| pages(agent).untyped(), most)?;
        return print(&serde_json::to_string(&entries).map_err(|error| Failure::Other(error.to_string()))?);
    }
    let mut found: Vec<Message> = who.list(&connection, pages, most + 1)?;
    let is_more = found.len() > most;
    found.truncate(most);
    let Some(last) = found.last() else {
        return show(&painted(DIM, if args.all { "nothing there" } else { "nothing unread" }));
    };
    let more = is_more
        .then(|| format!("\nthe first {}; for what comes after them: --since {}", count(most, "message"), last.id));
    show(&(drawn(&found) + &more.map(|more| painted(DIM, more)).unwrap_or_default()))
}

/// Messages as a table.
pub(in crate::cli) fn drawn(messages: &[Message]) -> String {
    let rows = messages.iter().map(|message| {
        let cells = [
            Cell::styled(message.id.to_string(), STRONG),
            Cell::styled(&*message.from, if message.sender.verified { GOOD } else { WARN }),
            Cell::from(&message.to),
            Cell::styled(claim(message), WARN),
            Cell::from(gist(message)),
            Cell::styled(ago(message.created_at), DIM),
        ];
        (cells, None)
    });
    table(["ID", "FROM", "TO", "WORK", "MESSAGE", "AGE"], rows)
}

fn claim(message: &Message) -> &'static str {
    match (message.claimable, &message.claimed_by, message.completed_at) {
        (_, _, Some(_)) => "done",
        (_, Some(_), None) => "claimed",
        (true, None, None) => "free",
        (false, None, None) => "",
    }
}

/// The subject, or the first line of the body.
pub(in crate::cli) fn gist(message: &Message) -> String {
    let first = message.body.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
    let text = message.subject.as_deref().unwrap_or(first);
    let short: String = text.chars().take(GIST_MAX).collect();
    let cut = if short.len() < text.len() { "…" } else { "" };
    format!("{}{cut}", visible_line(short.trim()))
}

/// The most characters of a body that stand in a list.
const GIST_MAX: usize = 100;
