//! `agent-relay plugin`: writing, building and testing plugins, and seeing to those of a running relay.
//!
//! Whatever runs a component here runs it in the relay's own host code, with the same limits and checks.

mod bench;
mod build;
mod check;
mod evaluate;
mod history;
mod install;
mod list;
mod new;
mod operate;
mod replay;
mod run;
mod test;

use std::future::Future;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::cli::show::visible_line;
use agent_relay::config::Environment;
use agent_relay::plugins::workbench::{Called, Difference, Loaded, Project, Workbench, next_step};
use agent_relay::telemetry;
use serde_json::{Map, Value};

use super::connection::ClientArgs;
use super::{Failure, print};

#[derive(Debug, clap::Subcommand)]
pub(super) enum Plugin {
    New(new::New),
    Build(build::Build),
    Inspect(check::Inspect),
    Check(check::Check),
    Run(run::Run),
    Test(test::Test),
    Bench(bench::Bench),
    Replay(replay::Replay),
    Install(install::Install),
    /// List the plugins of a running relay, the rejected ones with the reason.
    List(ClientArgs),
    /// Show what happened to a plugin of a running relay: each step with its time, reason and digest.
    History(operate::Named),
    /// Have a running relay look at every plugin again, now.
    Reload(ClientArgs),
    Evaluate(evaluate::Evaluate),
    /// Go back to the load of a plugin before the active one.
    Rollback(operate::Named),
    /// Load a plugin again that was disabled, rolled back or rejected.
    Enable(operate::Named),
    /// Load a plugin no more, until `enable`.
    Disable(operate::Named),
    Allow(operate::Allow),
}

/// Does what one of the commands says.
pub(super) fn run(command: Plugin, env: &Environment) -> Result<ExitCode, Failure> {
    match command {
        Plugin::New(args) => new::run(&args),
        Plugin::Build(args) => build::run(&args),
        Plugin::Inspect(args) => check::inspect(&args, env),
        Plugin::Check(args) => check::check(&args, env),
        Plugin::Run(args) => run::run(&args, env),
        Plugin::Test(args) => test::run(&args, env),
        Plugin::Bench(args) => bench::run(&args, env),
        Plugin::Replay(args) => replay::run(&args, env),
        Plugin::Install(args) => install::run(&args, env),
        Plugin::List(args) => list::list(&args, env).map(|()| ExitCode::SUCCESS),
        Plugin::History(args) => history::run(&args, env),
        Plugin::Reload(args) => operate::reload(&args, env),
        Plugin::Evaluate(args) => evaluate::run(&args, env),
        Plugin::Rollback(args) => operate::act(operate::Verb::RollBack, &args, env),
        Plugin::Enable(args) => operate::act(operate::Verb::Enable, &args, env),
        Plugin::Disable(args) => operate::act(operate::Verb::Disable, &args, env),
        Plugin::Allow(args) => operate::allow(&args, env),
    }
}

/// Which plugin, and how it is looked at.
#[derive(Debug, clap::Args)]
struct BenchArgs {
    /// The plugin's folder, or a component
    #[arg(value_name = "DIR", default_value = ".")]
    path: PathBuf,
    /// Where compiled components are kept [default: agent-relay/workbench in the cache directory]
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

impl BenchArgs {
    fn project(&self) -> Result<Project, Failure> {
        if !self.path.exists() {
            return Err(Failure::Usage(format!("there is no {}; name a plugin's folder", self.path.display())));
        }
        Project::read(&self.path).map_err(Failure::Other)
    }

    fn workbench(&self, env: &Environment) -> Result<Workbench, Failure> {
        let cache = self.cache.clone().unwrap_or_else(|| cache_directory(env));
        Workbench::open(&cache).map_err(|error| Failure::Other(error.to_string()))
    }
}

fn cache_directory(env: &Environment) -> PathBuf {
    let absolute = |name| env.path(name).filter(|path: &&Path| path.is_absolute());
    let base = absolute("XDG_CACHE_HOME").map(Path::to_owned);
    base.or_else(|| absolute("HOME").map(|home| home.join(".cache")))
        .map_or_else(|| std::env::temp_dir().join("agent-relay-workbench"), |base| base.join("agent-relay/workbench"))
}

/// Runs to the end what waits for a component.
fn wait<T>(work: impl Future<Output = T>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    Ok(runtime.map_err(|error| Failure::Other(format!("failed to start: {error}")))?.block_on(work))
}

async fn load(workbench: &Workbench, project: &Project, settings: &Map<String, Value>) -> Result<Loaded, Failure> {
    workbench.load(project, settings).await.map_err(|rejection| {
        let next = next_step(rejection.stage).map(|next| format!("; {next}")).unwrap_or_default();
        Failure::Other(format!(
            "a relay would reject {} at stage {}: {}{next}",
            project.folder().display(),
            rejection.stage.as_str(),
            plain(&rejection.reason)
        ))
    })
}

/// What plugins log from here on, at this level and above, goes to standard error; so does where in them a call failed.
fn show_log(level: &str) {
    let filter = format!("off,plugin={level},agent_relay::plugins::runtime::sandbox=debug");
    if let Ok(filter) = telemetry::Filter::parse(&filter) {
        telemetry::start_log(&telemetry::Options { filter, ..telemetry::Options::default() });
    }
}

/// Settings given as a JSON object.
fn settings(text: Option<&str>) -> Result<Map<String, Value>, Failure> {
    text.map_or_else(
        || Ok(Map::new()),
        |text| {
            serde_json::from_str(text)
                .map_err(|error| Failure::Usage(format!("--settings: `{text}` is not a JSON object: {error}")))
        },
    )
}

/// The question a plugin is asked when nobody says one.
fn plain_question(loaded: &Loaded) -> String {
    let kinds = &loaded.abilities()["kinds"];
    match kinds.as_array() {
        None => "{}".to_owned(),
        Some(kinds) => match kinds.first().and_then(Value::as_str) {
            None | Some("spawn") => r#"{"control": {"spawn": {}}}"#.to_owned(),
            Some(kind) => format!(r#"{{"control": {{"{kind}": {{"agent": {{}}}}}}}}"#),
        },
    }
}

/// The most bytes of a case.
const CASE_BYTES_MAX: u64 = 1 << 20;

fn read_case(path: &Path) -> Result<String, String> {
    let size = path.metadata().map_err(|error| format!("cannot read {}: {error}", path.display()))?.len();
    if size > CASE_BYTES_MAX {
        return Err(format!("{} has {size} bytes; a case may have {CASE_BYTES_MAX}", path.display()));
    }
    std::fs::read_to_string(path).map_err(|error| format!("cannot read {}: {error}", path.display()))
}

/// Time and memory of a call, in words.
fn cost(called: &Called) -> String {
    format!("{} us, {}", called.micros, memory(called.peak_bytes))
}

fn memory(bytes: usize) -> String {
    #[expect(clippy::cast_precision_loss, reason = "one decimal is shown")]
    let kib = bytes as f64 / 1024.0;
    if kib < 1024.0 { format!("{kib:.0} KiB") } else { format!("{:.1} MiB", kib / 1024.0) }
}

/// The differences as a diff.
fn diff(differences: &[Difference]) -> String {
    let mut text = String::new();
    for difference in differences {
        let at = if difference.at.is_empty() { String::new() } else { format!("{}: ", difference.at) };
        text.push_str(&format!("    - {at}{}\n", difference.expected));
        text.push_str(&format!("    + {at}{}\n", difference.answered));
    }
    text
}

fn print_json(value: &impl serde::Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value).map_err(|error| Failure::Other(error.to_string()))?;
    print(&text)
}

fn code(right: bool) -> ExitCode {
    if right { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// On one line, with what is not text made visible: a plugin writes its own version and errors, and must not write to
/// the operator's terminal.
pub(super) fn plain(text: &str) -> String {
    visible_line(text).into_owned()
}
