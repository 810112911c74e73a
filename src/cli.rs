//! The command line: what can be typed, and which exit code follows.

mod connection;
mod data_dir;
mod mcp;
mod plugin;
mod serve;
mod token;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use agent_relay::config::{ConfigError, Environment};
use clap::{Parser, Subcommand};

/// Coding agents on any number of machines find each other, exchange durable messages, claim work
/// once, and are started under policies you can swap while the relay runs.
#[derive(Debug, Parser)]
#[command(
    name = "agent-relay",
    version,
    subcommand_required = true,
    arg_required_else_help = true,
    disable_help_subcommand = true,
    after_help = "Exit codes: 0 done, 2 wrong usage or configuration, 1 anything else."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::Serve),
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
    match obey(command) {
        Ok(code) => code,
        Err(Failure::Usage(problem)) => report(&problem, 2),
        Err(Failure::Other(problem)) => report(&problem, 1),
    }
}

fn obey(command: Command) -> Result<ExitCode, Failure> {
    let env = Environment::of_process()?;
    match command {
        Command::Serve(args) => serve::run(args, &env)?,
        Command::Plugin(command) => return plugin::run(command, &env),
        Command::Token(command) => return token::run(command, &env),
        Command::Mcp(args) => return mcp::run(&args, &env),
        Command::Openapi => print(agent_relay::http::document_text())?,
        Command::SessionHost { dir } => return Ok(agent_relay::sessions::host_main(&dir)),
    }
    Ok(ExitCode::SUCCESS)
}

fn report(problem: &str, code: u8) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "agent-relay: {problem}");
    ExitCode::from(code)
}

/// Writes to standard output, ending with a line feed. A reader that has seen enough, such as
/// `head`, is no failure.
fn print(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    let written =
        out.write_all(text.trim_end().as_bytes()).and_then(|()| out.write_all(b"\n")).and_then(|()| out.flush());
    match written {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Failure::Other(format!("failed to write to standard output: {error}")))
        }
        _ => Ok(()),
    }
}

/// An error with its causes, on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
