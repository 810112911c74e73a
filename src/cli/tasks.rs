//! `agent-relay tasks`: work, questions and approvals, from the wish to the end.

mod answer;
mod ask;
mod find;
mod work;

use crate::cli::show::visible_line;
use agent_relay::config::Environment;
use agent_relay::domain::task::{Task, TaskStatus};
use anstyle::Style;

use super::connection::{ClientArgs, Told};
use super::show::{BAD, DIM, GOOD, PLAIN, STRONG, WARN, painted, show, when};
use super::{Failure, print};

/// See what is to be done, and do it.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(super) struct Tasks {
    #[command(subcommand)]
    command: Option<What>,
    #[command(flatten)]
    list: find::List,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    List(find::List),
    Show(find::Show),
    New(ask::New),
    Claim(work::Claim),
    Progress(work::Progress),
    Done(work::Done),
    Fail(work::Fail),
    Release(work::Release),
    Cancel(work::Cancel),
    Answer(answer::Answer),
}

/// Does what one of the commands says.
pub(super) fn run(args: Tasks, env: &Environment) -> Result<(), Failure> {
    match args.command {
        None => find::list(args.list, env),
        Some(What::List(args)) => find::list(args, env),
        Some(What::Show(args)) => find::show_task(&args, env),
        Some(What::New(args)) => ask::run(args, env),
        Some(What::Claim(args)) => work::claim(&args, env),
        Some(What::Progress(args)) => work::progress(args, env),
        Some(What::Done(args)) => work::done(args, env),
        Some(What::Fail(args)) => work::fail(args, env),
        Some(What::Release(args)) => work::release(&args, env),
        Some(What::Cancel(args)) => work::cancel(args, env),
        Some(What::Answer(args)) => answer::run(args, env),
    }
}

/// Prints what became of a task: the whole of it for programs, one line for people.
fn tell(told: &Told<Task>, args: &ClientArgs) -> Result<(), Failure> {
    if args.json {
        return print(told.text()?);
    }
    let task = told.value()?;
    show(&format!(
        "{} is {}{}: {}",
        painted(STRONG, format!("task {}", task.id)),
        painted(style(task.status), task.status),
        held(&task),
        visible_line(&task.title)
    ))
}

/// Who has it, until when, or what it waits for.
fn held(task: &Task) -> String {
    if !task.blocked_by.is_empty() {
        let ids: Vec<_> = task.blocked_by.iter().map(ToString::to_string).collect();
        return format!(" until {} done", is_or_are(&ids));
    }
    let Some(holder) = task.claimed_by.as_deref().map(visible_line) else { return String::new() };
    let until = task.claim_expires_at.map(|at| painted(DIM, format!(" (the claim ends {})", when(at))));
    format!(" by {holder}{}", until.unwrap_or_default())
}

fn is_or_are(ids: &[String]) -> String {
    match ids {
        [id] => format!("task {id} is"),
        ids => format!("tasks {} are", ids.join(", ")),
    }
}

fn style(status: TaskStatus) -> Style {
    match status {
        TaskStatus::Open => STRONG,
        TaskStatus::Claimed | TaskStatus::InProgress => WARN,
        TaskStatus::Blocked | TaskStatus::Failed => BAD,
        TaskStatus::Done => GOOD,
        TaskStatus::Canceled => PLAIN,
    }
}
