//! Seeing to the plugins of a running relay: thin commands around its routes.

use std::process::ExitCode;

use agent_relay::client::plugins::Plugin;
use agent_relay::config::Environment;

use super::super::connection::{ClientArgs, Connection, Told};
use super::super::show::in_commands as told;
use super::super::{Failure, print};

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

pub(super) fn reload(args: &ClientArgs, env: &Environment) -> Result<ExitCode, Failure> {
    let connection = Connection::open(args, env)?;
    let answer = connection.ask(connection.client.plugins().reload())?;
    if args.json {
        print(answer.text()?)?;
    } else {
        super::list::show(&answer.value()?)?;
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
    let answer = connection.ask(match verb {
        Verb::RollBack => plugins.roll_back(id),
        Verb::Enable => plugins.enable(id),
        Verb::Disable => plugins.disable(id),
    })?;
    show(&answer, &args.client)
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
    print(&format!("{}\nto accept that: agent-relay plugin allow {id} {digest}", told(&reason)))?;
    Ok(ExitCode::FAILURE)
}

fn show(answer: &Told<Plugin>, args: &ClientArgs) -> Result<ExitCode, Failure> {
    if args.json {
        print(answer.text()?)?;
        return Ok(ExitCode::SUCCESS);
    }
    let plugin = answer.value()?;
    let generation = plugin.generation.map_or("null".to_owned(), |generation| generation.to_string());
    print(&format!(
        "{} {} is {}, load {generation}",
        told(&plugin.id),
        told(plugin.version.as_deref().unwrap_or("-")),
        told(&plugin.state)
    ))?;
    Ok(ExitCode::SUCCESS)
}

/// An id of a plugin. Anything else is a mistake that no relay needs to be asked about.
pub(super) fn checked(id: &str) -> Result<&str, Failure> {
    if !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-') {
        Ok(id)
    } else {
        Err(Failure::Usage(format!("`{id}` is not the id of a plugin: those are of a-z, 0-9 and `-`")))
    }
}
