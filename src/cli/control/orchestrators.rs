//! `agent-relay orchestrators`: the daemons on other hosts that start agents.

use agent_relay::config::Environment;
use agent_relay::domain::control::orchestrator::OrchestratorStatus;

use crate::cli::connection::{ClientArgs, Connection};
use crate::cli::show::{BAD, Cell, DIM, GOOD, STRONG, ago, painted, show, table};
use crate::cli::{Failure, print};

/// Show the daemons that start agents on their hosts.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Orchestrators {
    #[command(flatten)]
    client: ClientArgs,
}

pub(in crate::cli) fn list(args: &Orchestrators, env: &Environment) -> Result<(), Failure> {
    let connection = Connection::open(&args.client, env)?;
    let told = connection.ask(connection.client.orchestrators().list())?;
    if args.client.json {
        return print(told.text()?);
    }
    let found = told.value()?;
    if found.is_empty() {
        return show(&painted(DIM, "no orchestrators: agents are started on the relay's own host"));
    }
    let rows = found.iter().map(|one| {
        let cells = [
            Cell::styled(one.id.as_str(), STRONG),
            Cell::from(&one.hostname),
            Cell::styled(one.status.as_str(), if one.status == OrchestratorStatus::Online { GOOD } else { BAD }),
            Cell::from(one.providers.join(" ")),
            Cell::from(one.managed_agents.len().to_string()),
            Cell::from(&one.base_dir),
            Cell::styled(ago(one.last_seen), DIM),
        ];
        (cells, None)
    });
    show(&table(["ID", "HOST", "STATUS", "PROVIDERS", "AGENTS", "BASE", "SEEN"], rows))
}
