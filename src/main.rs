//! The `agent-relay` program.

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    // The host of a session (see `sessions::host_main`): started by the relay itself, never typed, so not part of the help.
    // It comes before everything else because it needs no configuration, no log and none of the relay's threads.
    let mut args = std::env::args_os().skip(1);
    if args.next().is_some_and(|command| command == "session-host") {
        return match (args.next(), args.next()) {
            (Some(folder), None) => agent_relay::sessions::host_main(Path::new(&folder)),
            _ => ExitCode::from(2),
        };
    }
    ExitCode::SUCCESS
}
