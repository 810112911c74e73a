//! `agent-relay completions`: what a shell needs to know to complete what is typed.

use clap::CommandFactory as _;
use clap_complete::{Shell, generate};

use super::{Cli, Failure, write};

/// Print the completions of a shell.
///
/// For bash: agent-relay completions bash > ~/.local/share/bash-completion/completions/agent-relay
#[derive(Debug, clap::Args)]
pub(super) struct Completions {
    /// The shell
    shell: Shell,
}

pub(super) fn run(args: &Completions) -> Result<(), Failure> {
    let mut script = Vec::new();
    generate(args.shell, &mut Cli::command(), "agent-relay", &mut script);
    write(&String::from_utf8_lossy(&script))
}
