//! `agent-relay tasks answer`.

use agent_relay::config::Environment;
use agent_relay::domain::id::TaskId;
use agent_relay::domain::task::DraftAnswer;

use super::tell;
use crate::cli::Failure;
use crate::cli::connection::{ClientArgs, Connection};
use crate::cli::typed::{Acting, text};

/// Answer a question, or decide on an approval. The first answer counts.
#[derive(Debug, clap::Args)]
pub(super) struct Answer {
    /// The task's number
    id: i64,
    /// One of its options, where it has some; `-` reads standard input
    answer: String,
    /// More about it
    #[arg(long)]
    note: Option<String>,
    #[command(flatten)]
    acting: Acting,
    #[command(flatten)]
    client: ClientArgs,
}

pub(super) fn run(args: Answer, env: &Environment) -> Result<(), Failure> {
    let draft = DraftAnswer { answer: Some(text(args.answer)?), note: args.note, agent_id: None };
    let connection = Connection::open(&args.client, env)?;
    let (tasks, id) = (connection.client.tasks(), TaskId::new(args.id));
    let who = args.acting.named(env)?;
    let told = who.ask(&connection, |agent_id| tasks.answer(id, &DraftAnswer { agent_id, ..draft.clone() }))?;
    tell(&told, &args.client)
}
