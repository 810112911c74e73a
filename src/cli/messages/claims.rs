//! `agent-relay claim`, `complete` and `release`: the work in a message, which exactly one agent holds.

use std::time::Duration;

use agent_relay::client::messages::Claimant;
use agent_relay::config::Environment;
use agent_relay::domain::id::MessageId;
use agent_relay::domain::message::Message;

use super::work;
use crate::cli::connection::{ClientArgs, Connection, Told};
use crate::cli::show::{STRONG, painted, show};
use crate::cli::typed::{Acting, millis};
use crate::cli::{Failure, print};

/// Take the work in a message, so that nobody else does.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Claim {
    /// The message's number
    id: i64,
    /// For how long, from 1s to 1h
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = humantime::parse_duration)]
    lease: Duration,
    #[command(flatten)]
    acting: Acting,
    #[command(flatten)]
    client: ClientArgs,
}

/// The work in a message that was claimed before.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Held {
    /// The message's number
    id: i64,
    #[command(flatten)]
    acting: Acting,
    #[command(flatten)]
    client: ClientArgs,
}

/// How it ends.
#[derive(Clone, Copy, Debug)]
pub(in crate::cli) enum End {
    /// It is done.
    Complete,
    /// Somebody else may take it.
    Release,
}

pub(in crate::cli) fn claim(args: &Claim, env: &Environment) -> Result<(), Failure> {
    let connection = Connection::open(&args.client, env)?;
    let (messages, id) = (connection.client.messages(), MessageId::new(args.id));
    let lease = Some(millis(args.lease));
    let told = args.acting.named(env)?.ask(&connection, |agent| messages.claim(id, &Claimant::of(agent), lease))?;
    tell(&told, &args.client)
}

/// A claim is ended by whoever holds it, under its number, which is asked for.
pub(in crate::cli) fn end(args: &Held, how: End, env: &Environment) -> Result<(), Failure> {
    let connection = Connection::open(&args.client, env)?;
    let (messages, id) = (connection.client.messages(), MessageId::new(args.id));
    let generation = connection.ask(messages.get(id))?.value()?.claim_generation;
    let told = args.acting.named(env)?.ask(&connection, |agent| match how {
        End::Complete => messages.complete_claim(id, &Claimant::of(agent), generation),
        End::Release => messages.release_claim(id, &Claimant::of(agent), generation),
    })?;
    tell(&told, &args.client)
}

fn tell(told: &Told<Message>, args: &ClientArgs) -> Result<(), Failure> {
    if args.json {
        return print(told.text()?);
    }
    let message = told.value()?;
    show(&format!("{} is {}", painted(STRONG, format!("message {}", message.id)), work(&message)))
}
