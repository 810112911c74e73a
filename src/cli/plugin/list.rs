//! `agent-relay plugin list`: the plugins of a running relay, as a table.

use agent_relay::config::Environment;
use serde::Deserialize;

use super::super::client::{ClientArgs, get};
use super::super::{Failure, print};
use super::operate::parse;
use super::plain;

/// What a table of plugins shows of each.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    id: String,
    kind: Option<String>,
    version: Option<String>,
    origin: Option<String>,
    state: String,
    error: Option<Rejection>,
    generation: Option<u64>,
    calls: Option<u64>,
    traps: Option<u64>,
    p50_micros: Option<u64>,
    p99_micros: Option<u64>,
}

/// Why a plugin was not loaded.
#[derive(Debug, Deserialize)]
struct Rejection {
    stage: String,
    reason: String,
}

const HEADINGS: [&str; 10] = ["ID", "KIND", "VERSION", "ORIGIN", "STATE", "LOADS", "CALLS", "TRAPS", "P50", "P99"];

/// Prints what `GET /api/plugins` answers.
pub(in crate::cli) fn list(args: &ClientArgs, env: &Environment) -> Result<(), Failure> {
    let body = get("/api/plugins", args, env)?;
    if args.json {
        return print(&body);
    }
    show(&body)
}

/// Prints a list of plugins as a table.
pub(super) fn show(body: &str) -> Result<(), Failure> {
    let rows: Vec<Row> = parse(body)?;
    let remark = |row: &Row| {
        let error = row.error.as_ref()?;
        Some(format!("{}: {}", plain(&error.stage), plain(&error.reason)))
    };
    print(&table(HEADINGS, rows.iter().map(|row| (cells(row), remark(row)))))
}

/// A table with aligned columns, and a remark below a row that has one.
pub(super) fn table<const N: usize>(
    headings: [&str; N],
    rows: impl Iterator<Item = ([String; N], Option<String>)>,
) -> String {
    let lines: Vec<_> = std::iter::once((headings.map(str::to_owned), None)).chain(rows).collect();
    let mut widths = [0; N];
    for (line, _) in &lines {
        for (width, cell) in widths.iter_mut().zip(line) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for (line, remark) in &lines {
        let cells = line.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
        if let Some(remark) = remark {
            text.push_str(&format!("    {remark}\n"));
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
