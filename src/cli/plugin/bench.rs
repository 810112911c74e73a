//! `agent-relay plugin bench`: what a call of a plugin costs.

use std::path::PathBuf;
use std::process::ExitCode;

use agent_relay::config::Environment;
use agent_relay::plugins::workbench::{Case, Loaded};
use serde_json::{Value, json};

use super::super::{Failure, print};
use super::{BenchArgs, load, memory, plain_question, print_json, read_case, settings, test, wait};

/// Measure calls of a plugin: median, 99th percentile and memory, of the instance alone and with the call.
///
/// Every call gets a fresh instance, as in a relay. Without --case the first case of tests/ is asked,
/// or else a plain question.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Bench {
    #[command(flatten)]
    plugin: BenchArgs,
    /// How many calls
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    calls: u32,
    /// The file that holds the question
    #[arg(long, value_name = "FILE")]
    case: Option<PathBuf>,
    /// Settings, laid over those of plugin.toml and under those of the case
    #[arg(long, value_name = "JSON")]
    settings: Option<String>,
}

/// Calls that are not counted: the first ones find nothing in any cache.
const WARM_UP: u32 = 20;

pub(super) fn run(args: &Bench, env: &Environment) -> Result<ExitCode, Failure> {
    let mut given = settings(args.settings.as_deref())?;
    let project = args.plugin.project()?;
    let chosen = match &args.case {
        Some(path) => Some(path.clone()),
        None => test::cases(project.folder()).ok().and_then(|cases| cases.into_iter().next()),
    };
    let text = chosen.as_deref().map(read_case).transpose().map_err(Failure::Usage)?;
    let workbench = args.plugin.workbench(env)?;
    let figures = wait(async {
        let mut loaded = load(&workbench, &project, &given).await?;
        let text = text.unwrap_or_else(|| plain_question(&loaded));
        let case = Case::parse(loaded.kind(), loaded.grants(), &text)
            .map_err(|problem| Failure::Usage(format!("the case: {problem}")))?;
        if !case.settings.is_empty() {
            given.extend(case.settings.clone());
            loaded = load(&workbench, &project, &given).await?;
        }
        measure(&loaded, &case, args.calls).await
    })??;
    if args.plugin.json {
        print_json(&figures)?;
    } else {
        print(&told(&figures))?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn measure(loaded: &Loaded, case: &Case, calls: u32) -> Result<Value, Failure> {
    let (mut whole, mut instances) = (Vec::new(), Vec::new());
    let mut peak = 0;
    for number in 0..calls.saturating_add(WARM_UP) {
        let called = loaded.call(&case.question).await;
        // A failure that nobody expected is not worth measuring.
        if let (None, Some(error)) = (&case.expect, called.answer.get("error").and_then(Value::as_str)) {
            return Err(Failure::Other(format!("the plugin fails on this question: {error}")));
        }
        let instance = loaded.instantiate().await.map_err(|error| Failure::Other(format!("the plugin {error}")))?;
        if number >= WARM_UP {
            whole.push(called.micros);
            instances.push(instance);
            peak = peak.max(called.peak_bytes);
        }
    }
    Ok(json!({
        "calls": calls, "peakBytes": peak, "build": if cfg!(debug_assertions) { "debug" } else { "release" },
        "instance": percentiles(whole_sorted(&mut instances)), "instanceAndCall": percentiles(whole_sorted(&mut whole)),
    }))
}

fn whole_sorted(micros: &mut [u64]) -> &[u64] {
    micros.sort_unstable();
    micros
}

fn percentiles(sorted: &[u64]) -> Value {
    let at = |percent: usize| sorted[(sorted.len() * percent).div_ceil(100).saturating_sub(1)];
    json!({"p50Micros": at(50), "p99Micros": at(99), "maxMicros": sorted[sorted.len() - 1]})
}

fn told(figures: &Value) -> String {
    let row = |name: &str, key: &str| {
        let of = &figures[key];
        format!("{name:17}  {:>8}  {:>8}  {:>8}\n", of["p50Micros"], of["p99Micros"], of["maxMicros"])
    };
    let peak = usize::try_from(figures["peakBytes"].as_u64().unwrap_or_default()).unwrap_or_default();
    let debug =
        if figures["build"] == "debug" { "\nthis agent-relay is a debug build: a release is faster" } else { "" };
    format!(
        "{:17}  {:>8}  {:>8}  {:>8}\n{}{}{} calls, {} at most{debug}",
        "microseconds",
        "median",
        "p99",
        "max",
        row("instance", "instance"),
        row("instance and call", "instanceAndCall"),
        figures["calls"],
        memory(peak)
    )
}
