//! `agent-relay plugin history`: what happened to one plugin of a running relay, as a table.

use std::process::ExitCode;
use std::time::{Duration, UNIX_EPOCH};

use agent_relay::client::plugins::Step;
use agent_relay::config::Environment;

use super::super::connection::Connection;
use super::super::show::in_commands as told;
use super::super::show::{show, table};
use super::super::{Failure, print};
use super::operate::{Named, checked};
use super::plain;

const HEADINGS: [&str; 5] = ["TIME", "STATE", "LOAD", "DIGEST", "BY"];
/// Digits of a digest that tell one from another at a glance.
const DIGEST_DIGITS: usize = 12;

/// Prints the history in `GET /api/plugins/ID`.
pub(super) fn run(args: &Named, env: &Environment) -> Result<ExitCode, Failure> {
    let id = checked(&args.id)?;
    let connection = Connection::open(&args.client, env)?;
    let told = connection.ask(connection.client.plugins().get(id))?;
    if args.client.json {
        print(told.text()?)?;
        return Ok(ExitCode::SUCCESS);
    }
    show(&table(HEADINGS, told.value()?.history.iter().map(|step| (cells(step), remark(step)))))?;
    Ok(ExitCode::SUCCESS)
}

fn cells(step: &Step) -> [String; HEADINGS.len()] {
    let text = |value: &Option<String>| value.as_deref().map_or("-".into(), plain);
    let digest = step.digest.as_ref().map(|digest| digest.chars().take(DIGEST_DIGITS).collect());
    [
        clock(step.at),
        plain(&step.state),
        step.generation.map_or("-".into(), |generation| generation.to_string()),
        text(&digest),
        text(&step.by),
    ]
}

/// As the relay's log has it.
pub(super) fn clock(millis: i64) -> String {
    let since = Duration::from_millis(u64::try_from(millis).unwrap_or_default());
    humantime::format_rfc3339_millis(UNIX_EPOCH + since).to_string()
}

fn remark(step: &Step) -> Option<String> {
    let reason = told(step.reason.as_ref()?);
    Some(step.stage.as_ref().map_or(reason.clone(), |stage| format!("{}: {reason}", plain(stage))))
}
