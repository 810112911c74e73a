//! The `agent-relay` program. Its commands are in [`cli`]; everything they do is in the library.

mod cli;

fn main() -> std::process::ExitCode {
    cli::run()
}
