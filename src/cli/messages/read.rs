//! `agent-relay read`: one message, which is read by that.

use crate::cli::show::visible;
use agent_relay::client::messages::Claimant;
use agent_relay::config::Environment;
use agent_relay::domain::id::MessageId;
use agent_relay::domain::message::Message;

use super::brought::deliveries;
use super::drawn;
use crate::cli::connection::{ClientArgs, Connection};
use crate::cli::show::{is_for_a_person, show};
use crate::cli::typed::Acting;
use crate::cli::{Failure, print};

/// Show a message, and mark it read.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Read {
    /// The message's number
    id: i64,
    /// Leave it unread
    #[arg(long)]
    peek: bool,
    /// The whole thread that it belongs to, oldest first; only this message is marked
    #[arg(long, conflicts_with = "body")]
    thread: bool,
    /// Nothing but its text, as it was sent
    #[arg(long, conflicts_with = "json")]
    body: bool,
    #[command(flatten)]
    acting: Acting,
    #[command(flatten)]
    client: ClientArgs,
}

/// The most messages of a thread that are shown.
const THREAD_MAX: usize = 10_000;

pub(in crate::cli) fn run(args: Read, env: &Environment) -> Result<(), Failure> {
    let connection = Connection::open(&args.client, env)?;
    let messages = connection.client.messages();
    let id = MessageId::new(args.id);
    let told = if args.peek {
        connection.ask(messages.get(id))?
    } else {
        let claimant = |agent_id| Claimant { agent_id, ..Claimant::default() };
        args.acting.named(env)?.ask(&connection, |agent| messages.mark_read(id, &claimant(agent)))?
    };
    if args.thread {
        if args.client.json {
            return connection.print_all(messages.thread(id), THREAD_MAX);
        }
        let thread: Vec<Message> = connection.ask_all(messages.thread(id), THREAD_MAX)?;
        return show(&thread.iter().map(|message| drawn(message, &[])).collect::<Vec<_>>().join("\n\n"));
    }
    if args.client.json {
        return print(told.text()?);
    }
    let message = told.value()?;
    if args.body {
        // A file or a program gets what was sent; a terminal would obey it.
        let text = if is_for_a_person() { visible(&message.body) } else { message.body.as_str().into() };
        return crate::cli::write(&text);
    }
    show(&drawn(&message, &deliveries(&connection, id)))
}
