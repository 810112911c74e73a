//! `agent-relay command`: one control request, what was decided about it, and what came of it.

use agent_relay::config::Environment;
use agent_relay::domain::control::VerdictKind;
use agent_relay::domain::control::command::Command;
use agent_relay::domain::id::CommandId;

use super::follow::waits;
use crate::cli::connection::{ClientArgs, Connection};
use crate::cli::show::{BAD, Cell, DIM, GOOD, STRONG, WARN, ago, painted, show, table, visible_line, when};
use crate::cli::{Failure, print};

/// Show a command: what was asked for, what each policy said, and how far it has come.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct CommandArgs {
    /// The command's number
    id: i64,
    #[command(flatten)]
    client: ClientArgs,
}

pub(in crate::cli) fn show_command(args: &CommandArgs, env: &Environment) -> Result<(), Failure> {
    let connection = Connection::open(&args.client, env)?;
    let told = connection.ask(connection.client.control().command(CommandId::new(args.id)))?;
    if args.client.json { print(told.text()?) } else { show(&drawn(&told.value()?)) }
}

fn drawn(command: &Command) -> String {
    let line = |text: &str| visible_line(text).into_owned();
    let named = painted(STRONG, format!("command {}", command.id));
    let mut lines = vec![format!(
        "{named} {} of {}, asked for by {} {}",
        command.kind,
        line(&command.target),
        line(&command.requested_by),
        painted(DIM, ago(command.created_at)),
    )];
    let mut also = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            lines.push(format!("{} {value}", painted(DIM, format!("{name}:"))));
        }
    };
    let until = (!command.status.is_final()).then(|| painted(DIM, format!(" (expires {})", when(command.expires_at))));
    also("status", Some(format!("{}{}", command.status, until.unwrap_or_default())));
    also("error", command.error.as_deref().map(line));
    also("request", Some(line(&command.request.to_string())));
    also("message", command.message_id.map(|id| id.to_string()));
    also("result", command.result.as_ref().map(|result| line(result.as_str())));
    lines.extend(waits(command));
    if !command.decision.is_empty() {
        let rows = command.decision.iter().map(|verdict| {
            let style = match verdict.verdict {
                VerdictKind::Allow => GOOD,
                VerdictKind::Deny => BAD,
                _ => WARN,
            };
            let cells = [
                Cell::from(&verdict.plugin),
                Cell::styled(verdict.verdict.as_str(), style),
                Cell::from(verdict.mode.as_str()),
                Cell::from(&verdict.version),
                Cell::from(format!("{} us", verdict.micros)),
            ];
            (cells, verdict.reason.as_deref().map(line))
        });
        lines.push(format!("\n{}", table(["POLICY", "VERDICT", "MODE", "VERSION", "TIME"], rows).trim_end()));
    }
    lines.join("\n")
}
