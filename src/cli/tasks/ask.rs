//! `agent-relay tasks new`.

use agent_relay::config::Environment;
use agent_relay::domain::task::{Severity, TaskDraft, TaskKind};

use super::tell;
use crate::cli::Failure;
use crate::cli::connection::{ClientArgs, Connection};
use crate::cli::typed::{Acting, text, words};

/// Ask for a task. Whom it is for gets a claimable message about it.
#[derive(Debug, clap::Args)]
pub(super) struct New {
    /// One line
    title: String,
    /// Whom it is for: an agent, or a group such as cap:review [default: anybody; user for a question]
    #[arg(long)]
    target: Option<String>,
    /// More about it; `-` reads standard input
    #[arg(long)]
    body: Option<String>,
    /// What is wanted [default: work]
    #[arg(long, value_parser = words::<TaskKind>())]
    kind: Option<TaskKind>,
    /// What a question may be answered with; may be given several times
    #[arg(long = "option", value_name = "ANSWER")]
    options: Vec<String>,
    /// How much it matters [default: info]
    #[arg(long, value_parser = words::<Severity>())]
    severity: Option<Severity>,
    /// A task that must be done before; may be given several times
    #[arg(long = "depends-on", value_name = "ID", value_delimiter = ',')]
    depends_on: Vec<i64>,
    /// While a task with the same key is not finished, this one only raises its occurrences
    #[arg(long, value_name = "KEY")]
    dedupe_key: Option<String>,
    /// Where every step of it is sent, signed
    #[arg(long, value_name = "URL")]
    callback_url: Option<String>,
    #[command(flatten)]
    acting: Acting,
    #[command(flatten)]
    client: ClientArgs,
}

pub(super) fn run(args: New, env: &Environment) -> Result<(), Failure> {
    let draft = TaskDraft {
        title: Some(args.title),
        target: args.target,
        body: args.body.map(text).transpose()?,
        kind: args.kind.map(|kind| kind.to_string()),
        options: Some(args.options).filter(|options| !options.is_empty()),
        severity: args.severity.map(|severity| severity.to_string()),
        depends_on: Some(args.depends_on).filter(|ids| !ids.is_empty()),
        dedupe_key: args.dedupe_key,
        callback_url: args.callback_url,
        ..TaskDraft::default()
    };
    let connection = Connection::open(&args.client, env)?;
    let tasks = connection.client.tasks();
    let who = args.acting.named(env)?;
    tell(&who.ask(&connection, |from| tasks.create(&TaskDraft { from, ..draft.clone() }))?, &args.client)
}
