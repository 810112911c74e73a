//! `agent-relay send`, `reply` and `broadcast`. Who wants to know what becomes of a message waits for it, and is told how
//! far it truly came.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use crate::cli::show::visible_line;
use agent_relay::client::{Error, Request};
use agent_relay::config::Environment;
use agent_relay::domain::id::MessageId;
use agent_relay::domain::message::{Draft, Message, Reached, Receipt, Sent};
use agent_relay::domain::text::json;
use serde_json::json;

use super::{brought, deliveries};
use crate::cli::connection::{ClientArgs, Connection, Told};
use crate::cli::show::{DIM, GOOD, STRONG, WARN, count, is_watched, painted, say, show};
use crate::cli::typed::{Acting, As, text, words};
use crate::cli::{Failure, print};

/// Send a message. Once this ends well it is on disk.
///
/// TO is an agent's id, or a group: broadcast, tag:T, cap:C, label:L or channel:NAME.
#[derive(Debug, clap::Args)]
#[command(after_help = WAITING)]
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
    waiting: Waiting,
    #[command(flatten)]
    acting: Acting,
    #[command(flatten)]
    client: ClientArgs,
}

/// Answer a message, in its thread.
#[derive(Debug, clap::Args)]
#[command(after_help = WAITING)]
pub(in crate::cli) struct Reply {
    /// The message that is answered
    id: i64,
    /// The text; `-` reads standard input
    body: String,
    /// One line about it
    #[arg(long)]
    subject: Option<String>,
    #[command(flatten)]
    waiting: Waiting,
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

#[derive(Debug, clap::Args)]
struct Waiting {
    /// Wait until an agent has read, claimed or completed it
    ///
    /// What is to be claimed or completed is claimable.
    #[arg(long, value_name = "STATE", value_parser = words::<Receipt>())]
    wait_for: Option<Receipt>,
    /// How long to wait at most
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = humantime::parse_duration,
          requires = "wait_for")]
    timeout: Duration,
}

const WAITING: &str = "Exit codes: 0 sent, and what was waited for has happened; 1 it has not, and how far the message \
                       came is said; 2 wrong usage.";

/// The most that one request waits, in seconds.
const WAIT_MAX: u64 = 60;
/// How long a relay that was cut off while it answered is asked again, at least.
const CUT: Duration = Duration::from_secs(15);
/// The pause after the relay did not answer.
const RETRY: Duration = Duration::from_secs(1);

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
    post(&connection, draft, &args.waiting, &args.acting.named(env)?, args.client.json)
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
    post(&connection, draft, &args.waiting, &args.acting.named(env)?, args.client.json)
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

fn named(message: &Message) -> String {
    painted(STRONG, format!("message {}", message.id))
}

fn post(
    connection: &Connection,
    draft: Draft,
    waiting: &Waiting,
    who: &As,
    is_json: bool,
) -> Result<ExitCode, Failure> {
    let draft = Draft { idempotency_key: Some(key()?), ..draft };
    let Some(receipt) = waiting.wait_for else {
        let told = first_answer(connection, &draft, who, Instant::now() + CUT)?;
        let sent = told.value()?;
        warn_of_nobody(&sent);
        if is_json {
            print(told.text()?)?;
        } else {
            show(&format!("{} is stored{}", named(&sent.message), reaches(&sent)))?;
        }
        return Ok(ExitCode::SUCCESS);
    };
    let claimable = draft.claimable.or(receipt.is_of_work().then_some(true));
    let draft = Draft { claimable, receipt: Some(receipt.to_string()), ..draft };
    let deadline = Instant::now().checked_add(waiting.timeout);
    let deadline =
        deadline.ok_or_else(|| Failure::Usage("--timeout: that is longer than any clock goes".to_owned()))?;
    // The first answer comes at once: from then on it is on disk, and everything else is waiting.
    let told = first_answer(connection, &draft, who, deadline.max(Instant::now() + CUT))?;
    let first = told.value()?;
    warn_of_nobody(&first);
    if is_watched() && !is_json {
        let patience = humantime::format_duration(waiting.timeout);
        let waits = format!("waiting up to {patience} until it is {receipt}");
        say(&format!("{} is stored{}; {}", named(&first.message), reaches(&first), painted(DIM, waits)));
    }
    let draft = Draft { from: Some(first.message.from.to_string()), ..draft };
    let told = await_receipt(connection, &draft, receipt, told, deadline)?;
    let sent = told.value()?;
    let reached = sent.outcome.receipt.unwrap_or(Reached::Stored);
    let is_reached = reached == receipt.into();
    if is_json {
        print(told.text()?)?;
        return Ok(if is_reached { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    let by = by_whom(connection, &sent.message, reached);
    if is_reached {
        show(&format!("{} is {}{by}", named(&sent.message), painted(GOOD, reached)))?;
    } else {
        let (reached, lacks) = (painted(WARN, reached), painted(WARN, format!("not {receipt}")));
        // Why it got no further, for each session that it is for.
        let rows = deliveries(connection, sent.message.id);
        let brought: String = rows.iter().map(|delivery| format!("\n    {}", brought(delivery))).collect();
        show(&format!("{} is {reached}{by}, {lacks}{}{brought}", named(&sent.message), reaches(&first)))?;
    }
    Ok(if is_reached { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn request(connection: &Connection, draft: &Draft, wait: u64) -> Request<Sent> {
    connection.client.messages().send(draft).wait(Some(wait).filter(|wait| *wait > 0))
}

/// Sends a message, and again under the same key where the relay was cut off while it answered: nobody can know then
/// whether it is stored, until it is.
fn first_answer(connection: &Connection, draft: &Draft, who: &As, deadline: Instant) -> Result<Told<Sent>, Failure> {
    let mut was_cut = false;
    loop {
        match who.try_ask(connection, |from| request(connection, &Draft { from, ..draft.clone() }, 0)) {
            Ok(told) => return Ok(told),
            Err(error) => {
                was_cut |= matches!(error, Error::Interrupted { .. } | Error::Timeout { .. });
                if !was_cut || !error.is_transient() || Instant::now() >= deadline {
                    return Err(connection.failure(error));
                }
                connection.pause(RETRY);
            }
        }
    }
}

/// Asks for the same message again and again, which sends it once, until its receipt is there or the time is over. A relay
/// that restarts meanwhile is asked on.
fn await_receipt(
    connection: &Connection,
    draft: &Draft,
    receipt: Receipt,
    mut told: Told<Sent>,
    deadline: Instant,
) -> Result<Told<Sent>, Failure> {
    let mut away = false;
    loop {
        if told.value()?.outcome.receipt == Some(receipt.into()) {
            return Ok(told);
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(told);
        }
        // Whole seconds are what can be asked for; the last one may begin late.
        let wait = left.as_secs().clamp(1, WAIT_MAX);
        let pause = left.min(RETRY);
        match connection.try_ask(request(connection, draft, wait)) {
            Ok(again) => {
                // One that answers before its time drains.
                if again.value()?.outcome.receipt != Some(receipt.into()) && deadline > Instant::now() {
                    connection.pause(pause.min(BRIEF));
                }
                (told, away) = (again, false);
            }
            Err(error) if error.is_transient() => {
                if !away && is_watched() {
                    say(&painted(WARN, "the relay does not answer; the message is stored, and is asked for again"));
                }
                away = true;
                connection.pause(pause);
            }
            Err(error) => return Err(connection.failure(error)),
        }
    }
}

/// The pause after an answer that was none.
const BRIEF: Duration = Duration::from_millis(100);

/// Who did it. What cannot be asked is left out: the receipt itself was told.
fn by_whom(connection: &Connection, sent: &Message, reached: Reached) -> String {
    let Ok(told) = connection.try_ask(connection.client.messages().get(sent.id)) else { return String::new() };
    let Ok(message) = told.value() else { return String::new() };
    let who = match reached {
        Reached::Claimed | Reached::Completed => message.claimed_by,
        Reached::Read => message.read_by.into_iter().next(),
        _ => None,
    };
    who.map(|who| format!(" by {}", visible_line(&who))).unwrap_or_default()
}

fn reaches(sent: &Sent) -> String {
    match sent.outcome.recipients {
        Some(0) => format!(", and reaches {}", painted(WARN, "nobody yet")),
        Some(agents) => format!(", and reaches {}", count(usize::try_from(agents).unwrap_or_default(), "agent")),
        None => String::new(),
    }
}

/// A name that was mistyped is a message that lies there for ever.
fn warn_of_nobody(sent: &Sent) {
    if sent.outcome.recipients != Some(0) || sent.message.to == agent_relay::domain::agent::USER {
        return;
    }
    let similar = sent.outcome.similar.as_deref().unwrap_or_default();
    let similar: Vec<_> = similar.iter().map(|name| visible_line(name)).collect();
    let meant = if similar.is_empty() { String::new() } else { format!("; did you mean {}?", similar.join(" or ")) };
    let to = visible_line(&sent.message.to);
    say(&painted(WARN, format!("agent-relay: nobody is {to} now: the message waits for whoever will be{meant}")));
}

/// What makes the repeats of one `send` one message.
fn key() -> Result<String, Failure> {
    let mut bytes = [0_u8; 16];
    getrandom::fill(&mut bytes).map_err(|error| Failure::Other(format!("no randomness: {error}")))?;
    Ok(format!("cli-{}", agent_relay::domain::text::hex::hex(&bytes)))
}
