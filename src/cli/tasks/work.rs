//! `agent-relay tasks claim`, `progress`, `done`, `fail`, `release` and `cancel`: doing it.

use std::time::Duration;

use agent_relay::client::messages::Claimant;
use agent_relay::client::tasks::TaskProgress;
use agent_relay::config::Environment;
use agent_relay::domain::id::TaskId;
use agent_relay::domain::task::TaskStatus;
use agent_relay::domain::text::json::{DEPTH_MAX, Exact};

use super::tell;
use crate::cli::Failure;
use crate::cli::connection::{ClientArgs, Connection};
use crate::cli::typed::{Acting, millis, text};

/// Take a task, so that nobody else does.
#[derive(Debug, clap::Args)]
pub(super) struct Claim {
    /// The task's number
    id: i64,
    /// For how long, from 1s to 1h; `progress` prolongs it
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = humantime::parse_duration)]
    lease: Duration,
    #[command(flatten)]
    acting: Acting,
    #[command(flatten)]
    client: ClientArgs,
}

/// Say that you are at it, or what keeps you from it. The claim goes on from now.
#[derive(Debug, clap::Args)]
pub(super) struct Progress {
    /// The task's number
    id: i64,
    /// How far it is; `-` reads standard input
    note: Option<String>,
    /// It cannot go on: the note says why
    #[arg(long, requires = "note")]
    blocked: bool,
    #[command(flatten)]
    acting: Acting,
    #[command(flatten)]
    client: ClientArgs,
}

/// Say that it is done.
#[derive(Debug, clap::Args)]
pub(super) struct Done {
    /// The task's number
    id: i64,
    /// Words about it; `-` reads standard input
    note: Option<String>,
    /// What came of it, as JSON
    #[arg(long, value_name = "JSON")]
    result: Option<String>,
    #[command(flatten)]
    acting: Acting,
    #[command(flatten)]
    client: ClientArgs,
}

/// Say that it was tried and is not done.
#[derive(Debug, clap::Args)]
pub(super) struct Fail {
    /// The task's number
    id: i64,
    /// Why; `-` reads standard input
    reason: String,
    #[command(flatten)]
    acting: Acting,
    #[command(flatten)]
    client: ClientArgs,
}

/// Give a task back, for somebody else to take.
#[derive(Debug, clap::Args)]
pub(super) struct Release {
    /// The task's number
    id: i64,
    #[command(flatten)]
    acting: Acting,
    #[command(flatten)]
    client: ClientArgs,
}

/// Say that a task is not wanted any more.
#[derive(Debug, clap::Args)]
pub(super) struct Cancel {
    /// The task's number
    id: i64,
    /// Why; `-` reads standard input
    reason: Option<String>,
    #[command(flatten)]
    acting: Acting,
    #[command(flatten)]
    client: ClientArgs,
}

pub(super) fn claim(args: &Claim, env: &Environment) -> Result<(), Failure> {
    let connection = Connection::open(&args.client, env)?;
    let (tasks, lease) = (connection.client.tasks(), Some(millis(args.lease)));
    let who = args.acting.named(env)?;
    let told = who.ask(&connection, |agent| tasks.claim(TaskId::new(args.id), &Claimant::of(agent), lease))?;
    tell(&told, &args.client)
}

pub(super) fn progress(args: Progress, env: &Environment) -> Result<(), Failure> {
    let status = if args.blocked { TaskStatus::Blocked } else { TaskStatus::InProgress };
    let progress = TaskProgress { note: args.note.map(text).transpose()?, ..TaskProgress::to(status) };
    let connection = Connection::open(&args.client, env)?;
    let (tasks, id) = (connection.client.tasks(), TaskId::new(args.id));
    let who = args.acting.named(env)?;
    let told = who.ask(&connection, |agent| tasks.report(id, &Claimant::of(agent), &progress))?;
    let generation = told.value()?.claim_generation;
    let told = who.ask(&connection, |agent| tasks.renew(id, &Claimant::of(agent), generation, None))?;
    tell(&told, &args.client)
}

pub(super) fn done(args: Done, env: &Environment) -> Result<(), Failure> {
    let parsed = |json: String| {
        Exact::parse(json.as_bytes(), DEPTH_MAX)
            .map_err(|error| Failure::Usage(format!("--result: `{json}` is not JSON: {error}")))
    };
    let (note, result) = (args.note.map(text).transpose()?, args.result.map(parsed).transpose()?);
    let progress = TaskProgress { note, result, ..TaskProgress::to(TaskStatus::Done) };
    report(args.id, &progress, &args.acting, &args.client, env)
}

pub(super) fn fail(args: Fail, env: &Environment) -> Result<(), Failure> {
    let progress = TaskProgress { note: Some(text(args.reason)?), ..TaskProgress::to(TaskStatus::Failed) };
    report(args.id, &progress, &args.acting, &args.client, env)
}

pub(super) fn release(args: &Release, env: &Environment) -> Result<(), Failure> {
    report(args.id, &TaskProgress::to(TaskStatus::Open), &args.acting, &args.client, env)
}

pub(super) fn cancel(args: Cancel, env: &Environment) -> Result<(), Failure> {
    let note = args.reason.map(text).transpose()?;
    report(args.id, &TaskProgress { note, ..TaskProgress::to(TaskStatus::Canceled) }, &args.acting, &args.client, env)
}

/// Says how far a task has come. The claim is meant that whoever acts holds: its number is not asked for, since nothing
/// was seen of the one before.
fn report(
    id: i64,
    progress: &TaskProgress,
    acting: &Acting,
    client: &ClientArgs,
    env: &Environment,
) -> Result<(), Failure> {
    let connection = Connection::open(client, env)?;
    let tasks = connection.client.tasks();
    let who = acting.named(env)?;
    let told = who.ask(&connection, |agent| tasks.report(TaskId::new(id), &Claimant::of(agent), progress))?;
    tell(&told, client)
}
