//! The command line: what can be typed, and which exit code follows.

mod backup;
mod completions;
mod connection;
mod control;
mod data_dir;
mod doctor;
mod mcp;
mod messages;
mod orchestrator;
mod overview;
mod plugin;
mod serve;
mod show;
mod tasks;
mod token;
mod typed;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use agent_relay::client::control::Action;
use agent_relay::config::{ConfigError, Environment};
use clap::{CommandFactory as _, Parser, Subcommand};

use self::messages::claims::End;

/// Coding agents on any number of machines find each other, exchange durable messages, claim work
/// once, and are started under policies you can swap while the relay runs.
#[derive(Debug, Parser)]
#[command(
    name = "agent-relay",
    version,
    disable_help_subcommand = true,
    after_help = "Exit codes: 0 done, 2 wrong usage or configuration, 1 anything else."
)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::Serve),
    Orchestrator(orchestrator::Orchestrator),
    Agents(overview::agents::Agents),
    Send(messages::send::Send),
    Inbox(messages::inbox::Inbox),
    Read(messages::read::Read),
    Reply(messages::send::Reply),
    Watch(messages::watch::Watch),
    Claim(messages::claims::Claim),
    /// Say that the work in a message is done.
    Complete(messages::claims::Held),
    /// Give the work in a message back, for somebody else to take.
    Release(messages::claims::Held),
    Broadcast(messages::send::Broadcast),
    Spawn(control::Spawn),
    /// Restart an agent, and wait until it is seen to be up again.
    Restart(control::Act),
    /// End an agent, and wait until it has ended.
    Shutdown(control::Act),
    #[command(name = "command")]
    Decision(control::CommandArgs),
    Orchestrators(control::Orchestrators),
    Sessions(control::SessionsArgs),
    Tasks(tasks::Tasks),
    Attention(overview::attention::AttentionArgs),
    Activity(overview::activity::ActivityArgs),
    /// Write, build and test plugins, and see to those of a running relay.
    #[command(
        subcommand,
        arg_required_else_help = true,
        disable_help_subcommand = true,
        after_help = "Exit codes: 0 done, 1 the plugin is not right, 2 wrong usage."
    )]
    Plugin(plugin::Plugin),
    /// Make, list and revoke the tokens of a running relay.
    #[command(subcommand, arg_required_else_help = true, disable_help_subcommand = true)]
    Token(token::Token),
    Mcp(mcp::Mcp),
    Backup(backup::Backup),
    Restore(backup::Restore),
    Doctor(doctor::Doctor),
    Completions(completions::Completions),
    /// Print the OpenAPI 3.1 document of the HTTP interface, without a running relay.
    Openapi,
    /// Hold one agent's process. The relay starts this by itself; nobody types it.
    #[command(hide = true)]
    SessionHost {
        /// The session's directory.
        dir: PathBuf,
    },
}

/// Why a command did not do what was asked. The exit code is all that anybody branches on.
#[derive(Debug)]
enum Failure {
    /// Wrong usage or configuration.
    Usage(String),
    /// Anything else.
    Other(String),
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::Usage(error.to_string())
    }
}

/// Runs the program.
pub(crate) fn run() -> ExitCode {
    let command = match Cli::try_parse() {
        Ok(cli) => cli.command,
        Err(error) => {
            // Help goes to standard output, errors to standard error; if that is closed, the exit
            // code still tells.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(1));
        }
    };
    match command.map_or_else(bare, obey) {
        Ok(code) => code,
        Err(Failure::Usage(problem)) => report(&problem, 2),
        Err(Failure::Other(problem)) => report(&problem, 1),
    }
}

/// What a person sees who types nothing: the relay beside it, or else the help, as everybody else does.
fn bare() -> Result<ExitCode, Failure> {
    if show::is_for_a_person() && matches!(overview::run(&Environment::of_process()?), Ok(true)) {
        return Ok(ExitCode::SUCCESS);
    }
    let _ = write!(anstream::stderr(), "{}", Cli::command().render_help().ansi());
    Ok(ExitCode::from(2))
}

fn obey(command: Command) -> Result<ExitCode, Failure> {
    let env = Environment::of_process()?;
    match command {
        Command::Serve(args) => serve::run(args, &env)?,
        Command::Orchestrator(args) => orchestrator::run(args, &env)?,
        Command::Agents(args) => overview::agents::run(args, &env)?,
        Command::Send(args) => return messages::send::send(args, &env),
        Command::Inbox(args) => messages::inbox::run(args, &env)?,
        Command::Read(args) => messages::read::run(args, &env)?,
        Command::Reply(args) => return messages::send::reply(args, &env),
        Command::Watch(args) => messages::watch::run(args, &env)?,
        Command::Claim(args) => messages::claims::claim(&args, &env)?,
        Command::Complete(args) => messages::claims::end(&args, End::Complete, &env)?,
        Command::Release(args) => messages::claims::end(&args, End::Release, &env)?,
        Command::Broadcast(args) => messages::send::broadcast(args, &env)?,
        Command::Spawn(args) => return control::spawn(args, &env),
        Command::Restart(args) => return control::act(&args, Action::Restart, &env),
        Command::Shutdown(args) => return control::act(&args, Action::Shutdown, &env),
        Command::Decision(args) => control::show_command(&args, &env)?,
        Command::Orchestrators(args) => control::list(&args, &env)?,
        Command::Tasks(args) => tasks::run(args, &env)?,
        Command::Attention(args) => return overview::attention::run(args, &env),
        Command::Activity(args) => overview::activity::run(args, &env)?,
        Command::Plugin(command) => return plugin::run(command, &env),
        Command::Token(command) => return token::run(command, &env),
        Command::Mcp(args) => return mcp::run(&args, &env),
        Command::Sessions(args) => return control::see_sessions(args, &env),
        Command::Backup(args) => backup::back_up(&args, &env)?,
        Command::Restore(args) => backup::restore(&args, &env)?,
        Command::Doctor(args) => return doctor::run(&args, &env),
        Command::Completions(args) => completions::run(&args)?,
        Command::Openapi => print(agent_relay::http::document_text())?,
        Command::SessionHost { dir } => return Ok(agent_relay::sessions::host_main(&dir)),
    }
    Ok(ExitCode::SUCCESS)
}

fn report(problem: &str, code: u8) -> ExitCode {
    let _ = writeln!(anstream::stderr(), "agent-relay: {problem}");
    ExitCode::from(code)
}

/// Writes to standard output as it is, ending with a line feed. A reader that has seen enough, such as `head`, is no
/// failure.
fn print(text: &str) -> Result<(), Failure> {
    show::go_on_printing(text).map(drop)
}

/// The same without a line feed that is not in it.
fn write(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Failure::Other(format!("failed to write to standard output: {error}")))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_can_be_typed() {
        Cli::command().debug_assert();
    }
}
