//! `agent-relay plugin list`: the plugins of a running relay, as a table.

use agent_relay::client::plugins::Plugin;
use agent_relay::config::Environment;

use super::super::connection::{ClientArgs, Connection};
use super::super::show::in_commands as told;
use super::super::show::{show as show_text, table};
use super::super::{Failure, print};
use super::plain;

const HEADINGS: [&str; 11] =
    ["ID", "KIND", "MODE", "VERSION", "ORIGIN", "STATE", "LOADS", "CALLS", "TRAPS", "P50", "P99"];

/// Prints what `GET /api/plugins` answers.
pub(in crate::cli) fn list(args: &ClientArgs, env: &Environment) -> Result<(), Failure> {
    let connection = Connection::open(args, env)?;
    let told = connection.ask(connection.client.plugins().list())?;
    if args.json { print(told.text()?) } else { show(&told.value()?) }
}

/// Prints plugins as a table.
pub(super) fn show(plugins: &[Plugin]) -> Result<(), Failure> {
    let remark = |plugin: &Plugin| {
        let error = plugin.error.as_ref()?;
        Some(format!("{}: {}", plain(&error.stage), told(&error.reason)))
    };
    show_text(&table(HEADINGS, plugins.iter().map(|plugin| (cells(plugin), remark(plugin)))))
}

fn cells(plugin: &Plugin) -> [String; HEADINGS.len()] {
    let text = |value: &Option<String>| value.as_deref().map_or("-".into(), plain);
    let number = |value: Option<u64>| value.map_or("-".into(), |value| value.to_string());
    let time = |micros: Option<u64>| micros.map_or("-".into(), |micros| format!("{micros} us"));
    [
        plain(&plugin.id),
        text(&plugin.kind),
        text(&plugin.mode) + if plugin.required { ", required" } else { "" },
        text(&plugin.version),
        text(&plugin.origin),
        plain(&plugin.state),
        number(plugin.generation),
        number(plugin.calls),
        number(plugin.traps),
        time(plugin.p50_micros),
        time(plugin.p99_micros),
    ]
}
