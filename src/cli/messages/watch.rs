//! `agent-relay watch`: what happens, as it happens. It comes back by itself when the relay was away, goes on where it
//! was, and says so where that cannot be.

use std::time::Duration;

use crate::cli::show::visible_line;
use agent_relay::client::events::{Event, EventFilter};
use agent_relay::client::stream::Received;
use agent_relay::config::Environment;
use agent_relay::domain::agent::Agent;
use agent_relay::domain::attention::Attention;
use agent_relay::domain::event::EventName;
use agent_relay::domain::message::Message;
use agent_relay::domain::task::Task;
use agent_relay::domain::time::Timestamp;
use serde_json::{Value, json};

use super::inbox::gist;
use crate::cli::Failure;
use crate::cli::connection::{ClientArgs, Connection};
use crate::cli::overview::agents::condition;
use crate::cli::show::{BAD, DIM, STRONG, WARN, columns, cut, go_on_printing, go_on_showing, moment, painted, say};
use crate::cli::typed::words;

/// Show what happens as it happens, until it is interrupted.
///
/// With --json each event is one line, {"id", "event", "data"}: where it began or went on is a relay.ready, and where
/// events are missing a relay.reset.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Watch {
    /// Only what concerns this agent
    agent: Option<String>,
    /// Only these kinds of events; may be given several times
    #[arg(long = "type", value_name = "EVENT", value_delimiter = ',', value_parser = words::<EventName>())]
    types: Vec<EventName>,
    /// Begin after this event instead of now
    #[arg(long, value_name = "EVENT ID")]
    since: Option<String>,
    /// End after so many events
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    #[command(flatten)]
    client: ClientArgs,
}

pub(in crate::cli) fn run(args: Watch, env: &Environment) -> Result<(), Failure> {
    let connection = Connection::open(&args.client, env)?;
    let agent = match args.agent {
        Some(agent) => Some(agent),
        None => env.text("AGENT_RELAY_AGENT_ID")?.map(str::to_owned),
    };
    let filter = EventFilter { agent, types: args.types, since: args.since };
    let mut stream = connection.client.events().follow(filter);
    let mut left = args.count.unwrap_or(u64::MAX);
    let mut was_away = false;
    // What was the newest event when the stream began or went on: up to it, everything is past.
    let mut past = None;
    while left > 0 {
        let received = connection.wait(stream.next()).map_err(|error| connection.failure(error))?;
        let mut out = Vec::new();
        match &received {
            Received::Event(event) => {
                left -= 1;
                out.push(if args.client.json { line_of(event) } else { drawn(event, past.is_some()) });
                past = past.filter(|latest| Some(latest) != event.id.as_ref());
            }
            Received::Disconnected { reason, retry_in } => {
                was_away = true;
                let retry = humantime::format_duration(Duration::from_secs(retry_in.as_secs().max(1)));
                let reason = visible_line(reason);
                say(&painted(WARN, format!("the relay is away ({reason}); trying again in {retry}")));
            }
            Received::Reset { reason, oldest } if args.client.json => {
                out.push(control("relay.reset", &json!({"reason": reason, "oldest": oldest})));
            }
            Received::Reset { reason, .. } => {
                let why = match reason.as_str() {
                    "too_old" => "they are no longer kept",
                    "unknown_epoch" => "the relay's past is another: it was restored or moved",
                    _ => "it did not go on where it was",
                };
                out.push(painted(BAD, format!("events are missing here: {why}")));
            }
            Received::Ready { from, latest } => {
                past = Some(latest.clone()).filter(|latest| latest != from);
                if args.client.json {
                    out.push(control("relay.ready", &json!({"from": from, "latest": latest})));
                } else if was_away {
                    say(&painted(DIM, "the relay is back; nothing is missed, unless that is said"));
                } else {
                    say(&painted(DIM, format!("watching {}", visible_line(connection.client.address()))));
                }
                was_away = false;
            }
        }
        for line in out {
            let is_read = if args.client.json { go_on_printing(&line)? } else { go_on_showing(&line)? };
            if !is_read {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// An event as the log has it, on one line, its data as it came.
fn line_of(event: &Event) -> String {
    let (id, name) = (Value::from(event.id.clone()), Value::from(event.name.as_str()));
    format!("{{\"id\":{id},\"event\":{name},\"data\":{}}}", event.data.get())
}

/// What is no event, as programs are told of it.
fn control(name: &str, data: &Value) -> String {
    json!({"id": null, "event": name, "data": data}).to_string()
}

/// The columns before what happened: the time, and the longest name of an event.
const TIME: usize = 8;
const NAME: usize = 22;

fn drawn(event: &Event, is_past: bool) -> String {
    let at = at(event).or_else(|| (!is_past).then(Timestamp::now)).map(moment).unwrap_or_default();
    // The day is on the calendar of whoever watches.
    let time = at.split_once('T').map_or("", |(_, time)| time.trim_end_matches('Z'));
    let time = painted(DIM, format!("{time:TIME$}"));
    let name = painted(STRONG, format!("{:NAME$}", visible_line(&event.name)));
    let told = told(event);
    let told = columns().map_or(told.clone(), |columns| cut(&told, columns.saturating_sub(TIME + NAME + 4)));
    format!("{time}  {name}  {told}")
}

/// When it happened, where that is told.
fn at(event: &Event) -> Option<Timestamp> {
    let data: Value = event.parse().ok()?;
    let told = ["updatedAt", "createdAt", "lastSeen", "since"].iter().find_map(|name| data.get(name)?.as_i64());
    told.map(Timestamp::from_ms)
}

/// What happened, in a few words.
fn told(event: &Event) -> String {
    let known = match event.kind() {
        Some(EventName::MessageNew) => event.parse::<Message>().ok().map(|message| {
            let (from, to) = (visible_line(&message.from), visible_line(&message.to));
            format!("{} {from} -> {to}: {}", message.id, gist(&message))
        }),
        Some(EventName::AgentStatus) => event.parse::<Agent>().ok().map(|agent| {
            let state = [agent.status.as_str().to_owned(), condition(&agent)];
            let state: Vec<_> = state.into_iter().filter(|word| !word.is_empty()).collect();
            format!("{} {}", visible_line(&agent.id), state.join(", "))
        }),
        Some(EventName::TaskCreated | EventName::TaskUpdated) => event.parse::<Task>().ok().map(|task| {
            let holder = task.claimed_by.as_deref().map(|by| format!(" by {}", visible_line(by))).unwrap_or_default();
            format!("{} {}{holder}: {}", task.id, task.status, visible_line(&task.title))
        }),
        Some(EventName::AttentionAdded) => event
            .parse::<Attention>()
            .ok()
            .map(|item| format!("{} {}: {}", item.id, item.kind, visible_line(&item.title))),
        _ => None,
    };
    known.unwrap_or_else(|| few_words(event))
}

/// Members that say what an event is about, in this order.
const TELLING: [&str; 10] =
    ["id", "taskId", "messageId", "kind", "status", "state", "reason", "agentId", "target", "title"];

fn few_words(event: &Event) -> String {
    let data: Value = event.parse().unwrap_or_default();
    let words = TELLING.iter().filter_map(|name| match data.get(name)? {
        Value::String(text) => Some(visible_line(text).into_owned()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    });
    words.collect::<Vec<_>>().join(" ")
}
