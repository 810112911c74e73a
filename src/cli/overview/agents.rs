//! `agent-relay agents`: who is there, and what keeps them from working.

use crate::cli::show::visible_line;
use agent_relay::client::agents::AgentQuery;
use agent_relay::config::Environment;
use agent_relay::domain::agent::{Agent, AgentStatus, ConditionFilter, SYSTEM, USER};
use anstyle::Style;

use crate::cli::Failure;
use crate::cli::connection::{ClientArgs, Connection};
use crate::cli::show::{Cell, DIM, GOOD, STRONG, WARN, ago, painted, show, table, when};
use crate::cli::typed::{listed, words};

/// Show who is registered, live ones first.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Agents {
    /// Only those with this text in their id, name, label, tags or capabilities
    text: Option<String>,
    /// Only those that are doing so
    #[arg(long, value_parser = words::<AgentStatus>())]
    status: Option<AgentStatus>,
    /// Only those with this tag
    #[arg(long)]
    tag: Option<String>,
    /// Only those with this capability
    #[arg(long, value_name = "CAPABILITY")]
    cap: Option<String>,
    /// Only those with exactly this label
    #[arg(long)]
    label: Option<String>,
    /// Only those on this machine
    #[arg(long)]
    machine: Option<String>,
    /// Only those that take work
    #[arg(long)]
    ready: bool,
    /// Only those in this condition, or in any
    #[arg(long, value_name = "KIND", num_args = 0..=1, default_missing_value = "any", require_equals = true,
          value_parser = parse_condition)]
    condition: Option<ConditionFilter>,
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = listed())]
    limit: u32,
    #[command(flatten)]
    client: ClientArgs,
}

fn parse_condition(text: &str) -> Result<ConditionFilter, String> {
    ConditionFilter::named("--condition", text).map_err(|refusal| refusal.to_string())
}

pub(in crate::cli) fn run(args: Agents, env: &Environment) -> Result<(), Failure> {
    let connection = Connection::open(&args.client, env)?;
    let query = AgentQuery {
        status: args.status,
        tag: args.tag,
        capability: args.cap,
        label: args.label,
        machine: args.machine,
        ready: args.ready.then_some(true),
        condition: args.condition,
        limit: Some(args.limit.min(1_000)),
    };
    let agents = connection.client.agents();
    let pages = agents.find(args.text.as_deref().unwrap_or_default(), &query);
    let max = args.limit as usize;
    if args.client.json {
        return connection.print_all(pages, max);
    }
    let found: Vec<Agent> = connection.ask_all(pages, max)?;
    let known = |agent: &&Agent| args.text.is_some() || !matches!(agent.id.as_str(), USER | SYSTEM);
    show(&drawn(found.iter().filter(known)))
}

/// Agents as a table, or that there are none.
pub(in crate::cli) fn drawn<'a>(agents: impl Iterator<Item = &'a Agent>) -> String {
    let mut agents = agents.peekable();
    if agents.peek().is_none() {
        return painted(DIM, "no agents");
    }
    let rows = agents.map(|agent| {
        let cells = [
            Cell::styled(agent.id.as_str(), STRONG),
            Cell::from(named(agent)),
            Cell::styled(agent.status.as_str(), style_of(agent)),
            Cell::styled(if agent.ready { "ready" } else { "" }, GOOD),
            Cell::styled(condition(agent), WARN),
            Cell::from(agent.machine.as_deref().unwrap_or_default()),
            Cell::from(groups(agent)),
            Cell::styled(ago(agent.last_seen), DIM),
        ];
        (cells, None)
    });
    table(["ID", "LABEL", "STATUS", "READY", "CONDITION", "MACHINE", "GROUPS", "SEEN"], rows)
}

fn named(agent: &Agent) -> String {
    let name = Some(&agent.name).filter(|name| **name != agent.id.as_str());
    agent.label.as_ref().or(name).cloned().unwrap_or_default()
}

fn style_of(agent: &Agent) -> Style {
    match agent.status {
        AgentStatus::Online | AgentStatus::Idle => GOOD,
        AgentStatus::Busy => WARN,
        AgentStatus::Offline => DIM,
    }
}

/// What keeps it from working, until when.
pub(in crate::cli) fn condition(agent: &Agent) -> String {
    let Some(condition) = &agent.condition else { return String::new() };
    let until = condition.until.map(|until| format!(" (ends {})", when(until))).unwrap_or_default();
    format!("{}{until}", condition.kind)
}

fn groups(agent: &Agent) -> String {
    let tags = agent.tags.iter().map(|tag| format!("tag:{tag}"));
    tags.chain(agent.capabilities.iter().map(|cap| format!("cap:{cap}"))).collect::<Vec<_>>().join(" ")
}

/// Refuses in a way that helps: whoever names an agent that is not there is told whose names are near.
pub(in crate::cli) fn unknown(connection: &Connection, id: &str, failure: Failure) -> Failure {
    let pages = connection.client.agents().list(&AgentQuery { limit: Some(1_000), ..AgentQuery::default() });
    let Ok(agents) = connection.ask_all(pages, 1_000) else { return failure };
    let mut near: Vec<(f64, String)> = agents
        .into_iter()
        .map(|agent| (strsim::jaro_winkler(&agent.id.to_lowercase(), &id.to_lowercase()), agent.id.into_string()))
        .filter(|(similarity, _)| *similarity > NEAR)
        .collect();
    near.sort_by(|one, other| other.0.total_cmp(&one.0));
    let names: Vec<_> = near.iter().take(NEAR_MAX).map(|(_, id)| visible_line(id)).collect();
    let next = match names.as_slice() {
        [] => "`agent-relay agents` shows who is there".to_owned(),
        names => format!("did you mean {}?", names.join(" or ")),
    };
    Failure::Other(format!("there is no agent {}: {next}", visible_line(id)))
}

/// How much alike two ids are that a person may have mixed up, between 0 and 1, and how many of them are told.
const NEAR: f64 = 0.8;
const NEAR_MAX: usize = 3;
