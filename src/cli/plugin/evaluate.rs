//! `agent-relay plugin evaluate`: what the policies of a running relay would say.

use std::fmt::Write;
use std::io::{IsTerminal, Read};
use std::process::ExitCode;
use std::time::UNIX_EPOCH;

use agent_relay::client::plugins::Evaluation;
use agent_relay::config::Environment;
use agent_relay::domain::control::{PolicyMode, VerdictKind};
use serde_json::{Map, Value, json};

use super::super::connection::{ClientArgs, Connection};
use super::super::show::in_commands as told;
use super::super::{Failure, print};
use super::{CASE_BYTES_MAX, code};

/// Ask the policies of a running relay about a control. Nothing is done; 1 if it would be refused.
///
/// The control is a JSON object on standard input, such as `{"kind": "spawn", "provider": "claude",
/// "cwd": "/code/a"}`, or said by flags.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Evaluate {
    /// `spawn`, `restart` or `shutdown`
    #[arg(long)]
    kind: Option<String>,
    /// The agent it is aimed at; for a spawn the orchestrator, when it is not the relay's own host
    #[arg(long)]
    target: Option<String>,
    /// The provider of a spawn
    #[arg(long)]
    provider: Option<String>,
    /// Where a spawned agent works
    #[arg(long)]
    cwd: Option<String>,
    /// `open`, `guarded` or `read-only`
    #[arg(long)]
    approval_mode: Option<String>,
    /// A human name for the session
    #[arg(long)]
    label: Option<String>,
    /// Ask as somebody else: the name of a token, the id of an agent, or a JSON object with `name` and `scopes`
    #[arg(long = "as", value_name = "CALLER")]
    caller: Option<String>,
    /// Ask as at another time: `2026-01-31T09:00:00Z`, or milliseconds since the epoch
    #[arg(long, value_name = "TIME", value_parser = time)]
    at: Option<i64>,
    #[command(flatten)]
    client: ClientArgs,
}

pub(super) fn run(args: &Evaluate, env: &Environment) -> Result<ExitCode, Failure> {
    let flags = [
        ("kind", &args.kind),
        ("target", &args.target),
        ("provider", &args.provider),
        ("cwd", &args.cwd),
        ("approvalMode", &args.approval_mode),
        ("label", &args.label),
    ];
    let mut control: Map<String, Value> =
        if args.kind.is_some() || std::io::stdin().is_terminal() { Map::new() } else { standard_input()? };
    control.extend(flags.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value.clone()?.into()))));
    if let Some(caller) = &args.caller {
        let described = serde_json::from_str::<Map<String, Value>>(caller).map(Value::Object);
        control.insert("as".to_owned(), described.unwrap_or_else(|_| caller.as_str().into()));
    }
    if let Some(at) = args.at {
        control.insert("at".to_owned(), at.into());
    }
    if !control.contains_key("kind") {
        return Err(Failure::Usage("no control: give a JSON object on standard input, or --kind".into()));
    }
    let connection = Connection::open(&args.client, env)?;
    let answer = connection.ask(connection.client.plugins().evaluate(&control))?;
    let evaluation = answer.value()?;
    print(&if args.client.json { answer.text()?.to_owned() } else { shown(&evaluation) })?;
    Ok(code(evaluation.outcome == "allowed"))
}

/// Each verdict with its mode where it is not obeyed, what the policies made of the control, and the outcome.
fn shown(evaluation: &Evaluation) -> String {
    let mut text = String::new();
    for verdict in &evaluation.verdicts {
        let mode = match verdict.mode {
            PolicyMode::Enforce => String::new(),
            mode => format!(" ({}: not obeyed)", mode.as_str()),
        };
        let words =
            [verdict.code.as_deref(), verdict.reason.as_deref()].into_iter().flatten().map(|word| told(word) + " ");
        let _ = writeln!(
            text,
            "{}{mode}: {} {}({} us)",
            told(&verdict.plugin),
            json!(verdict.verdict).as_str().unwrap_or_default(),
            words.collect::<String>(),
            verdict.micros
        );
    }
    let amended = |verdict: &agent_relay::domain::control::VerdictRecord| {
        verdict.verdict == VerdictKind::Amend && verdict.mode == PolicyMode::Enforce
    };
    if let (Some(cwd), Some(mode)) = (&evaluation.cwd, evaluation.approval_mode) {
        let made = if evaluation.verdicts.iter().any(amended) { "amended: " } else { "" };
        let _ = writeln!(text, "{made}in {}, mode {}", told(cwd), mode.as_str());
    }
    text + &told(&evaluation.outcome)
}

fn time(text: &str) -> Result<i64, String> {
    if let Ok(millis) = text.parse() {
        return Ok(millis);
    }
    let time = humantime::parse_rfc3339_weak(text)
        .map_err(|_| "neither milliseconds since the epoch nor a time like 2026-01-31T09:00:00Z".to_owned())?;
    let since = time.duration_since(UNIX_EPOCH).map_err(|_| "before 1970".to_owned())?;
    i64::try_from(since.as_millis()).map_err(|_| "too far away".to_owned())
}

fn standard_input() -> Result<Map<String, Value>, Failure> {
    let mut text = String::new();
    std::io::stdin()
        .take(CASE_BYTES_MAX)
        .read_to_string(&mut text)
        .map_err(|error| Failure::Usage(format!("cannot read standard input: {error}")))?;
    if text.trim().is_empty() {
        return Ok(Map::new());
    }
    serde_json::from_str(&text).map_err(|error| Failure::Usage(format!("standard input is not a JSON object: {error}")))
}
