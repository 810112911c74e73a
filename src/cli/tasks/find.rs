//! `agent-relay tasks list` and `show`.

use crate::cli::show::{visible, visible_line};
use agent_relay::client::tasks::TaskQuery;
use agent_relay::config::Environment;
use agent_relay::domain::id::TaskId;
use agent_relay::domain::task::{Severity, Task, TaskEvent, TaskHistory, TaskKind, TaskStatus};

use super::{held, style};
use crate::cli::connection::{ClientArgs, Connection};
use crate::cli::show::{BAD, Cell, DIM, PLAIN, STRONG, WARN, ago, block, moment, painted, show, table};
use crate::cli::typed::{listed, words};
use crate::cli::{Failure, print};

/// List tasks, newest first.
#[derive(Debug, clap::Args)]
pub(super) struct List {
    /// Only those with this status
    #[arg(long, value_parser = words::<TaskStatus>())]
    status: Option<TaskStatus>,
    /// Only those from this source: api, or an integration
    #[arg(long)]
    source: Option<String>,
    /// Only those of this severity
    #[arg(long, value_parser = words::<Severity>())]
    severity: Option<Severity>,
    /// Only those for exactly this target
    #[arg(long)]
    target: Option<String>,
    /// Only those that this agent asked for, holds or finished, or that are for it
    #[arg(long)]
    agent: Option<String>,
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = listed())]
    limit: u32,
    #[command(flatten)]
    client: ClientArgs,
}

/// Show one task, with what happened to it.
#[derive(Debug, clap::Args)]
pub(super) struct Show {
    /// The task's number
    id: i64,
    #[command(flatten)]
    client: ClientArgs,
}

pub(super) fn list(args: List, env: &Environment) -> Result<(), Failure> {
    let connection = Connection::open(&args.client, env)?;
    let query = TaskQuery {
        status: args.status,
        source: args.source,
        severity: args.severity,
        target: args.target,
        agent: args.agent,
        limit: Some(args.limit.min(1_000)),
        ..TaskQuery::default()
    };
    let pages = connection.client.tasks().list(&query);
    let most = args.limit as usize;
    if args.client.json {
        return connection.print_all(pages, most);
    }
    let tasks: Vec<Task> = connection.ask_all(pages, most)?;
    if tasks.is_empty() {
        return show(&painted(DIM, "no tasks"));
    }
    let rows = tasks.iter().map(|task| {
        let cells = [
            Cell::styled(task.id.to_string(), STRONG),
            Cell::styled(task.status.as_str(), style(task.status)),
            Cell::styled(what(task), severity(task)),
            Cell::from(task.target.as_deref().unwrap_or_default()),
            Cell::from(task.claimed_by.as_deref().unwrap_or_default()),
            Cell::from(&task.title),
            Cell::styled(ago(task.updated_at), DIM),
        ];
        (cells, None)
    });
    show(&table(["ID", "STATUS", "KIND", "FOR", "BY", "TITLE", "CHANGED"], rows))
}

fn what(task: &Task) -> String {
    match (task.severity, task.kind) {
        (Severity::Info, kind) => kind.to_string(),
        (severity, TaskKind::Work) => severity.to_string(),
        (severity, kind) => format!("{severity} {kind}"),
    }
}

fn severity(task: &Task) -> anstyle::Style {
    match task.severity {
        Severity::Info => PLAIN,
        Severity::Warning => WARN,
        Severity::Critical => BAD,
    }
}

pub(super) fn show_task(args: &Show, env: &Environment) -> Result<(), Failure> {
    let connection = Connection::open(&args.client, env)?;
    let told = connection.ask(connection.client.tasks().get(TaskId::new(args.id)))?;
    if args.client.json {
        return print(told.text()?);
    }
    show(&drawn(&told.value()?))
}

fn drawn(TaskHistory { task, events }: &TaskHistory) -> String {
    let state = painted(style(task.status), task.status);
    let mut lines = vec![format!(
        "{} {}\n{} {state}{}",
        painted(STRONG, format!("task {}", task.id)),
        painted(STRONG, visible_line(&task.title)),
        painted(DIM, format!("{}:", what(task))),
        held(task),
    )];
    let mut also = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            lines.push(format!("{} {value}", painted(DIM, format!("{name}:"))));
        }
    };
    let line = |text: &str| visible_line(text).into_owned();
    also("for", task.target.as_deref().map(line));
    also("from", task.from.as_deref().map(line).or_else(|| (task.source != "api").then(|| line(&task.source))));
    also("message", task.message_id.map(|id| id.to_string()));
    also("asked", (task.occurrences > 1).then(|| format!("{} times", task.occurrences)));
    also("may be answered with", (!task.options.is_empty()).then(|| line(&task.options.join(", "))));
    also("told to", task.callback_url.as_deref().map(line));
    also("result", task.result.as_ref().map(|result| line(result.as_str())));
    if let Some(body) = &task.body {
        lines.push(format!("\n{}", block(body)));
    }
    lines.push(format!("\n{}", events.iter().map(step).collect::<Vec<_>>().join("\n")));
    lines.join("\n")
}

fn step(event: &TaskEvent) -> String {
    let by = event.agent_id.as_deref().map(|by| format!(" by {}", visible_line(by))).unwrap_or_default();
    let body = event.body.as_deref().map(|body| visible(body).trim_end().replace('\n', "\n    ")).unwrap_or_default();
    let body = if body.is_empty() { body } else { format!(": {body}") };
    format!("{}  {}{by}{body}", painted(DIM, moment(event.created_at)), event.kind)
}
