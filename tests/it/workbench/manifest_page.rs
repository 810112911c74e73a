//! The page about plugin.toml is held to the parser: every key, its bounds and defaults, and its examples.

use std::collections::BTreeSet;
use std::fs;

use agent_relay::plugins::workbench::identity;
use agent_relay::plugins::{
    CALLS_MAX, DEADLINE_MS_MAX, INPUT_KB_MAX, LOG_LINES_MAX, Limits, MEMORY_MB_MAX, OUTPUT_KB_MAX,
};

const PAGE: &str = include_str!("../../../plugins/MANIFEST.md");

/// What the parser says of a manifest.
fn parse(manifest: &str) -> Result<(), String> {
    let folder = tempfile::tempdir().expect("a directory");
    fs::write(folder.path().join("plugin.toml"), manifest).expect("written");
    identity(folder.path()).map(drop)
}

/// The keys that the parser knows at this place, as it tells those who write another.
fn known(table: &str) -> BTreeSet<String> {
    let kind = if table == "grants" { "provider" } else { "policy" };
    let head = format!("id = 'a'\nkind = '{kind}'\n");
    let manifest =
        if table.is_empty() { format!("nonsense = 1\n{head}") } else { format!("{head}[{table}]\nnonsense = 1\n") };
    let refusal = parse(&manifest).expect_err("there is no such key");
    let (_, listed) = refusal.split_once("expected ").expect("the refusal lists the keys");
    let place = if table.is_empty() { String::new() } else { format!("{table}.") };
    listed.split('`').skip(1).step_by(2).map(|key| format!("{place}{key}")).collect()
}

/// The cells of the row of each key.
fn rows() -> Vec<Vec<&'static str>> {
    let rows = PAGE.lines().filter(|line| line.starts_with("| `"));
    rows.map(|line| line.trim_matches('|').split(" | ").map(str::trim).collect()).collect()
}

#[test]
fn the_page_has_every_key_and_no_other() {
    let on_page: BTreeSet<String> =
        rows().iter().map(|cells| cells[0].trim_matches(['`', '|', ' ']).replace(['[', ']'], "")).collect();
    let of_parser = ["", "grants", "limits"].into_iter().flat_map(known).collect();
    assert_eq!(on_page, of_parser);
    for cells in rows() {
        assert_eq!(cells.len(), 5, "{cells:?}");
        assert!(cells[1..4].iter().all(|cell| !cell.is_empty()), "{cells:?}");
    }
}

#[test]
fn bounds_and_defaults_are_those_that_hold() {
    let defaults = Limits::default();
    let limits = [
        ("memory_mb", MEMORY_MB_MAX, defaults.memory_mb),
        ("deadline_ms", DEADLINE_MS_MAX, defaults.deadline_ms),
        ("log_lines", LOG_LINES_MAX, defaults.log_lines),
        ("input_kb", INPUT_KB_MAX, defaults.input_kb),
        ("output_kb", OUTPUT_KB_MAX, defaults.output_kb),
        ("calls", CALLS_MAX, defaults.calls),
    ];
    for (key, max, default) in limits {
        let row = PAGE.lines().find(|line| line.starts_with(&format!("| `limits.{key}`"))).expect("a row");
        assert!(row.contains(&format!("| `{default}` | 1 to {max} ")), "{row}");
        let with = |value: u32| parse(&format!("id = 'a'\nkind = 'policy'\n[limits]\n{key} = {value}\n"));
        assert_eq!((with(1), with(max)), (Ok(()), Ok(())), "{key}");
        assert!(with(0).is_err() && with(max + 1).is_err(), "{key}");
    }
}

#[test]
fn the_examples_are_taken() {
    let examples: Vec<&str> = PAGE.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert_eq!(examples.len(), 2);
    for example in &examples {
        assert_eq!(parse(example), Ok(()), "{example}");
    }
    // Each key stands in one of them.
    for cells in rows() {
        let key = cells[0].trim_matches(['`', '|', ' ', '[', ']']).rsplit('.').next().unwrap_or_default();
        assert!(examples.iter().any(|example| example.contains(key)), "{key}");
    }
}
