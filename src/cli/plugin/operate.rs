//! Seeing to the plugins of a running relay: thin commands around its routes.

use std::io::{IsTerminal, Read};
use std::process::ExitCode;

use agent_relay::config::Environment;
use serde_json::{Map, Value, json};

use super::super::client::{ClientArgs, get, post};
use super::super::{Failure, print};
use super::{CASE_BYTES_MAX, code, plain, print_json};

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
    let body = post("/api/plugins/reload", None, args, env)?;
    if args.json {
        print(&body)?;
    } else {
        super::list::show(&body)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Posts to the route of this name below the plugin's.
pub(super) fn act(verb: &str, args: &Named, env: &Environment) -> Result<ExitCode, Failure> {
    let body = post(&format!("/api/plugins/{}/{verb}", segment(&args.id)?), None, &args.client, env)?;
    show(&body, &args.client)
}

pub(super) fn allow(args: &Allow, env: &Environment) -> Result<ExitCode, Failure> {
    let id = segment(&args.id)?;
    let Some(digest) = &args.digest else {
        let body = get("/api/plugins", &args.client, env)?;
        let plugins: Vec<Value> = parse(&body)?;
        let rejected = plugins.iter().find(|plugin| plugin["id"] == *id && plugin["error"]["digest"].is_string());
        let rejected = rejected.ok_or_else(|| Failure::Other(format!("nothing of {id} waits to be allowed")))?;
        let error = &rejected["error"];
        print(&format!(
            "{}\nto accept that: agent-relay plugin allow {id} {}",
            plain(error["reason"].as_str().unwrap_or_default()),
            error["digest"].as_str().unwrap_or_default()
        ))?;
        return Ok(ExitCode::FAILURE);
    };
    let body = json!({"digest": digest}).to_string();
    show(&post(&format!("/api/plugins/{id}/allow"), Some(body), &args.client, env)?, &args.client)
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
    let body = post("/api/plugins/evaluate", Some(Value::Object(control).to_string()), &args.client, env)?;
    let answer: Value = parse(&body)?;
    let allowed = answer["outcome"] == "allowed";
    if args.client.json {
        print(&body)?;
        return Ok(code(allowed));
    }
    let text = |value: &Value| plain(value.as_str().unwrap_or_default());
    let mut lines = String::new();
    for verdict in answer["verdicts"].as_array().into_iter().flatten() {
        lines.push_str(&format!(
            "{}: {} {} {} ({} us)\n",
            text(&verdict["plugin"]),
            text(&verdict["verdict"]),
            text(&verdict["code"]),
            text(&verdict["reason"]),
            verdict["micros"]
        ));
    }
    print(&format!("{lines}{}", text(&answer["outcome"])))?;
    Ok(code(allowed))
}

fn show(body: &str, args: &ClientArgs) -> Result<ExitCode, Failure> {
    if args.json {
        print(body)?;
        return Ok(ExitCode::SUCCESS);
    }
    let plugin: Value = parse(body)?;
    if !plugin.is_object() {
        print_json(&plugin)?;
        return Ok(ExitCode::SUCCESS);
    }
    let word = |key: &str| plain(plugin[key].as_str().unwrap_or("-"));
    print(&format!("{} {} is {}, load {}", word("id"), word("version"), word("state"), plugin["generation"]))?;
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

pub(super) fn parse<T: serde::de::DeserializeOwned>(body: &str) -> Result<T, Failure> {
    serde_json::from_str(body).map_err(|error| {
        Failure::Other(format!("failed to read the answer: {error}; is that a relay of this version?"))
    })
}

/// An id as one segment of a path: the alphabet of ids needs no escapes.
pub(super) fn segment(id: &str) -> Result<&str, Failure> {
    if !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-') {
        Ok(id)
    } else {
        Err(Failure::Usage(format!("`{id}` is not the id of a plugin: those are of a-z, 0-9 and `-`")))
    }
}
