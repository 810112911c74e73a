//! Seeing to the plugins of a running relay: thin commands around its routes.

use std::io::{IsTerminal, Read};
use std::process::ExitCode;

use agent_relay::client::plugins::Plugin;
use agent_relay::config::Environment;
use serde_json::{Map, Value, json};

use super::super::connection::{ClientArgs, Connection, Told};
use super::super::{Failure, print};
use super::{CASE_BYTES_MAX, code, plain};

/// One plugin of a running relay.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Named {
    /// The plugin's id
    pub(super) id: String,
    #[command(flatten)]
    pub(super) client: ClientArgs,
}

/// Accept that a plugin asks for more than the load before it.
///
/// Without DIGEST it says what the plugin asks for, and changes nothing.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Allow {
    /// The plugin's id
    id: String,
    /// The digest of the rejection, so that nothing is accepted that nobody has seen
    digest: Option<String>,
    #[command(flatten)]
    client: ClientArgs,
}

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
    #[command(flatten)]
    client: ClientArgs,
}

pub(super) fn reload(args: &ClientArgs, env: &Environment) -> Result<ExitCode, Failure> {
    let connection = Connection::open(args, env)?;
    let told = connection.ask(connection.client.plugins().reload())?;
    if args.json {
        print(told.text()?)?;
    } else {
        super::list::show(&told.value()?)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// What is done to one plugin.
#[derive(Clone, Copy, Debug)]
pub(super) enum Verb {
    RollBack,
    Enable,
    Disable,
}

pub(super) fn act(verb: Verb, args: &Named, env: &Environment) -> Result<ExitCode, Failure> {
    let id = checked(&args.id)?;
    let connection = Connection::open(&args.client, env)?;
    let plugins = connection.client.plugins();
    let told = connection.ask(match verb {
        Verb::RollBack => plugins.roll_back(id),
        Verb::Enable => plugins.enable(id),
        Verb::Disable => plugins.disable(id),
    })?;
    show(&told, &args.client)
}

pub(super) fn allow(args: &Allow, env: &Environment) -> Result<ExitCode, Failure> {
    let id = checked(&args.id)?;
    let connection = Connection::open(&args.client, env)?;
    let plugins = connection.client.plugins();
    if let Some(digest) = &args.digest {
        return show(&connection.ask(plugins.allow(id, digest))?, &args.client);
    }
    let listed = connection.ask(plugins.list())?.value()?;
    let errors = listed.into_iter().filter(|plugin| plugin.id == *id).filter_map(|plugin| plugin.error);
    let rejected = errors.filter_map(|error| Some((error.reason, error.digest?))).next();
    let (reason, digest) = rejected.ok_or_else(|| Failure::Other(format!("nothing of {id} waits to be allowed")))?;
    print(&format!("{}\nto accept that: agent-relay plugin allow {id} {digest}", plain(&reason)))?;
    Ok(ExitCode::FAILURE)
}

pub(super) fn evaluate(args: &Evaluate, env: &Environment) -> Result<ExitCode, Failure> {
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
    if !control.contains_key("kind") {
        return Err(Failure::Usage("no control: give a JSON object on standard input, or --kind".into()));
    }
    let connection = Connection::open(&args.client, env)?;
    let told = connection.ask(connection.client.plugins().evaluate(&control))?;
    let answer = told.value()?;
    let allowed = answer.outcome == "allowed";
    if args.client.json {
        print(told.text()?)?;
        return Ok(code(allowed));
    }
    let mut lines = String::new();
    for verdict in &answer.verdicts {
        lines.push_str(&format!(
            "{}: {} {} {} ({} us)\n",
            plain(&verdict.plugin),
            json!(verdict.verdict).as_str().unwrap_or_default(),
            plain(verdict.code.as_deref().unwrap_or_default()),
            plain(verdict.reason.as_deref().unwrap_or_default()),
            verdict.micros
        ));
    }
    print(&format!("{lines}{}", plain(&answer.outcome)))?;
    Ok(code(allowed))
}

fn show(told: &Told<Plugin>, args: &ClientArgs) -> Result<ExitCode, Failure> {
    if args.json {
        print(told.text()?)?;
        return Ok(ExitCode::SUCCESS);
    }
    let plugin = told.value()?;
    let generation = plugin.generation.map_or("null".to_owned(), |generation| generation.to_string());
    print(&format!(
        "{} {} is {}, load {generation}",
        plain(&plugin.id),
        plain(plugin.version.as_deref().unwrap_or("-")),
        plain(&plugin.state)
    ))?;
    Ok(ExitCode::SUCCESS)
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

/// An id of a plugin. Anything else is a mistake that no relay needs to be asked about.
pub(super) fn checked(id: &str) -> Result<&str, Failure> {
    if !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-') {
        Ok(id)
    } else {
        Err(Failure::Usage(format!("`{id}` is not the id of a plugin: those are of a-z, 0-9 and `-`")))
    }
}
