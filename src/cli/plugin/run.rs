//! `agent-relay plugin run`: one call of a plugin, with its time and memory.

use std::io::Read;
use std::path::PathBuf;
use std::process::ExitCode;

use agent_relay::config::Environment;
use agent_relay::plugins::workbench::{Case, differences};
use serde_json::json;

use super::super::{Failure, print};
use super::{BenchArgs, CASE_BYTES_MAX, code, cost, diff, load, print_json, read_case, settings, show_log, wait};

/// Call a plugin once, under the real limits; 1 if it fails, or answers otherwise than expected.
///
/// The question is a case as in tests/: for a policy `{"control": {"spawn": {...}}, "context": {...}}`,
/// for a provider `{"request": {...}, "site": {...}}` (plan), `{"message": {"body": "hi"}}` (present) or
/// `{"reason": "shutdown"}` (stop). What is left out is taken from a sample. What the plugin logs goes to
/// standard error.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Run {
    #[command(flatten)]
    plugin: BenchArgs,
    /// The file that holds the question [default: standard input]
    #[arg(long, value_name = "FILE")]
    case: Option<PathBuf>,
    /// Settings, laid over those of plugin.toml and under those of the case
    #[arg(long, value_name = "JSON")]
    settings: Option<String>,
}

pub(super) fn run(args: &Run, env: &Environment) -> Result<ExitCode, Failure> {
    let mut given = settings(args.settings.as_deref())?;
    let text = match &args.case {
        Some(path) => read_case(path).map_err(Failure::Usage)?,
        None => standard_input()?,
    };
    let project = args.plugin.project()?;
    let workbench = args.plugin.workbench(env)?;
    show_log("trace");
    wait(async {
        let loaded = load(&workbench, &project, &given).await?;
        let case = Case::parse(loaded.kind(), loaded.grants(), &text)
            .map_err(|problem| Failure::Usage(format!("the case: {problem}")))?;
        let loaded = if case.settings.is_empty() {
            loaded
        } else {
            given.extend(case.settings);
            load(&workbench, &project, &given).await?
        };
        let called = loaded.call(&case.question).await;
        let found = case.expect.as_ref().map(|expect| differences(expect, &called.answer)).unwrap_or_default();
        if args.plugin.json {
            let mut answer = json!(called);
            answer["differences"] = json!(found);
            print_json(&answer)?;
        } else {
            let answer = serde_json::to_string_pretty(&called.answer).unwrap_or_default();
            let asked = if called.asked { "" } else { "\nit is not asked about this kind of control" };
            let differs =
                if found.is_empty() { String::new() } else { format!("\nexpected otherwise:\n{}", diff(&found)) };
            print(&format!("{answer}\n{}, the fresh instance included{asked}{differs}", cost(&called)))?;
        }
        let failed = case.expect.is_none() && called.answer.get("error").is_some();
        Ok(code(!failed && found.is_empty()))
    })?
}

fn standard_input() -> Result<String, Failure> {
    let mut text = String::new();
    std::io::stdin()
        .take(CASE_BYTES_MAX)
        .read_to_string(&mut text)
        .map_err(|error| Failure::Usage(format!("cannot read a case from standard input: {error}")))?;
    if text.trim().is_empty() {
        return Err(Failure::Usage("no case on standard input; give one there, or name a file with --case".into()));
    }
    Ok(text)
}
