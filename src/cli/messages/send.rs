//! `agent-relay send`, `reply` and `broadcast`.

use std::process::ExitCode;

use agent_relay::config::Environment;
use agent_relay::domain::id::MessageId;
use agent_relay::domain::message::{Draft, Message};
use agent_relay::domain::text::json;
use serde_json::json;

use super::follow::{FOLLOWING, Following, post};
use crate::cli::connection::{ClientArgs, Connection};
use crate::cli::show::{STRONG, painted, show};
use crate::cli::typed::{Acting, text};
use crate::cli::{Failure, print};

/// Send a message, and show how it is brought into the sessions that it is for.
///
/// TO is an agent's id, or a group: broadcast, tag:T, cap:C, label:L or channel:NAME.
#[derive(Debug, clap::Args)]
#[command(after_help = FOLLOWING)]
pub(in crate::cli) struct Send {
    /// An agent's id, or broadcast, tag:T, cap:C, label:L, channel:NAME
    to: String,
    /// The text; `-` reads standard input
    body: String,
    /// One line about it
    #[arg(long)]
    subject: Option<String>,
    /// The channel it belongs to
    #[arg(long)]
    channel: Option<String>,
    /// The message it answers
    #[arg(long, value_name = "ID")]
    reply_to: Option<i64>,
    /// It is work that exactly one agent takes
    #[arg(long)]
    claimable: bool,
    /// It may break into what the agent does; for administrators, and agents whose policy allows it
    #[arg(long)]
    interrupt: bool,
    /// Store nothing when it reaches nobody
    #[arg(long)]
    strict: bool,
    #[command(flatten)]
    following: Following,
    #[command(flatten)]
    acting: Acting,
    #[command(flatten)]
    client: ClientArgs,
}

/// Answer a message, in its thread, and show how the answer is brought.
#[derive(Debug, clap::Args)]
#[command(after_help = FOLLOWING)]
pub(in crate::cli) struct Reply {
    /// The message that is answered
    id: i64,
    /// The text; `-` reads standard input
    body: String,
    /// One line about it
    #[arg(long)]
    subject: Option<String>,
    #[command(flatten)]
    following: Following,
    #[command(flatten)]
    acting: Acting,
    #[command(flatten)]
    client: ClientArgs,
}

/// Tell every agent something, as the relay. For administrators.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Broadcast {
    /// The text; `-` reads standard input
    body: String,
    /// One line about it
    #[arg(long)]
    subject: Option<String>,
    #[command(flatten)]
    client: ClientArgs,
}

pub(in crate::cli) fn send(args: Send, env: &Environment) -> Result<ExitCode, Failure> {
    let mut meta = json::Object::default();
    if args.interrupt {
        meta.insert("delivery", json!("interrupt"));
    }
    let draft = Draft {
        to: Some(args.to),
        body: Some(text(args.body)?),
        subject: args.subject,
        channel: args.channel,
        reply_to: args.reply_to,
        claimable: args.claimable.then_some(true),
        strict: args.strict.then_some(true),
        meta: Some(meta).filter(|meta| !meta.is_empty()),
        ..Draft::default()
    };
    let connection = Connection::open(&args.client, env)?;
    post(&connection, draft, &args.following, &args.acting.named(env)?, args.client.json)
}

/// An answer goes to whoever wrote.
pub(in crate::cli) fn reply(args: Reply, env: &Environment) -> Result<ExitCode, Failure> {
    let body = text(args.body)?;
    let connection = Connection::open(&args.client, env)?;
    let messages = connection.client.messages();
    let answered: Message = connection.ask(messages.get(MessageId::new(args.id)))?.value()?;
    let draft = Draft {
        to: Some(answered.from.into_string()),
        body: Some(body),
        subject: args.subject,
        reply_to: Some(args.id),
        // What came over a channel is answered there.
        channel: answered.channel,
        ..Draft::default()
    };
    post(&connection, draft, &args.following, &args.acting.named(env)?, args.client.json)
}

pub(in crate::cli) fn broadcast(args: Broadcast, env: &Environment) -> Result<(), Failure> {
    let body = text(args.body)?;
    let connection = Connection::open(&args.client, env)?;
    let told = connection.ask(connection.client.messages().broadcast(args.subject.as_deref(), &body))?;
    if args.client.json {
        return print(told.text()?);
    }
    show(&format!("{} is sent to every agent", named(&told.value()?)))
}

pub(super) fn named(message: &Message) -> String {
    painted(STRONG, format!("message {}", message.id))
}
