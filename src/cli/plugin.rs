//! `agent-relay plugin`: the plugins of a running relay.

use agent_relay::config::Environment;
use serde::Deserialize;

use super::client::{ClientArgs, get};
use super::{Failure, print};

#[derive(Debug, clap::Subcommand)]
pub(super) enum Plugin {
    /// List the plugins of a running relay, the rejected ones with the reason.
    List(ClientArgs),
}

/// What a table of plugins shows of each.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    id: String,
    kind: Option<String>,
    version: Option<String>,
    origin: Option<String>,
    state: String,
    error: Option<String>,
    generation: Option<u64>,
    calls: Option<u64>,
    traps: Option<u64>,
    p50_micros: Option<u64>,
    p99_micros: Option<u64>,
}

const HEADINGS: [&str; 10] = ["ID", "KIND", "VERSION", "ORIGIN", "STATE", "LOADS", "CALLS", "TRAPS", "P50", "P99"];

/// Prints what `GET /api/plugins` answers.
pub(super) fn list(args: &ClientArgs, env: &Environment) -> Result<(), Failure> {
    let body = get("/api/plugins", args, env)?;
    if args.json {
        return print(&body);
    }
    let rows: Vec<Row> = serde_json::from_str(&body).map_err(|error| {
        Failure::Other(format!("failed to read the answer: {error}; is that a relay of this version?"))
    })?;
    print(&table(&rows))
}

fn table(rows: &[Row]) -> String {
    let mut lines = vec![HEADINGS.map(str::to_owned)];
    lines.extend(rows.iter().map(cells));
    let mut widths = [0; HEADINGS.len()];
    for line in &lines {
        for (width, cell) in widths.iter_mut().zip(line) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    let errors = std::iter::once(None).chain(rows.iter().map(|row| row.error.as_deref()));
    for (line, error) in lines.iter().zip(errors) {
        let cells = line.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
        if let Some(error) = error {
            text.push_str(&format!("    {}\n", plain(error)));
        }
    }
    text
}

fn cells(row: &Row) -> [String; HEADINGS.len()] {
    let text = |value: &Option<String>| value.as_deref().map_or("-".into(), plain);
    let number = |value: Option<u64>| value.map_or("-".into(), |value| value.to_string());
    let time = |micros: Option<u64>| micros.map_or("-".into(), |micros| format!("{micros} us"));
    [
        plain(&row.id),
        text(&row.kind),
        text(&row.version),
        text(&row.origin),
        plain(&row.state),
        number(row.generation),
        number(row.calls),
        number(row.traps),
        time(row.p50_micros),
        time(row.p99_micros),
    ]
}

/// Without control characters: a plugin writes its own version and errors, and must not write to
/// the operator's terminal.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
