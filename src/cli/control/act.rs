//! `agent-relay restart` and `shutdown`.

use std::process::ExitCode;

use agent_relay::client::control::{Action, Managed};
use agent_relay::config::Environment;
use agent_relay::domain::control::command::Command;
use agent_relay::domain::control::spawn::Survivor;

use super::follow::{EXIT_CODES, Following};
use crate::cli::connection::{ClientArgs, Connection};
use crate::cli::overview::agents::unknown;
use crate::cli::show::{GOOD, STRONG, WARN, painted, show, visible_line};
use crate::cli::{Failure, print};

/// Which agent.
#[derive(Debug, clap::Args)]
#[command(after_help = EXIT_CODES)]
pub(in crate::cli) struct Act {
    /// The agent's id
    agent: String,
    #[command(flatten)]
    following: Following,
    #[command(flatten)]
    client: ClientArgs,
}

pub(in crate::cli) fn act(args: &Act, action: Action, env: &Environment) -> Result<ExitCode, Failure> {
    let connection = Connection::open(&args.client, env)?;
    let (control, agent) = (connection.client.control(), args.agent.as_str());
    // The one that runs it sees to it; an agent that nobody runs is asked itself.
    let orchestrators = connection.ask(connection.client.orchestrators().list())?.value()?;
    let runs = orchestrators.iter().find(|one| one.managed_agents.iter().any(|managed| *managed.agent_id == *agent));
    let request = match runs {
        Some(orchestrator) => control.act_on_managed(&orchestrator.id, action, Managed::One(agent)),
        None => control.act_on_agent(agent, action),
    };
    let told = match connection.try_ask(request) {
        Err(error) if error.is("not_found") => return Err(unknown(&connection, agent, connection.failure(error))),
        told => told.map_err(|error| connection.failure(error))?,
    };
    let id = told.value()?.command.id;
    if args.following.no_wait {
        return match args.client.json {
            true => print(told.text()?),
            false => show(&format!("{} sees to it", painted(STRONG, format!("command {id}")))),
        }
        .map(|()| ExitCode::SUCCESS);
    }
    args.following.follow(&connection, id, &args.client, |command| done(agent, action, command))
}

fn done(agent: &str, action: Action, command: &Command) -> String {
    let agent = painted(STRONG, visible_line(agent));
    let result = command.result.as_ref().map(|result| result.value()).unwrap_or_default();
    let survivors: Vec<Survivor> = serde_json::from_value(result["survivors"].clone()).unwrap_or_default();
    let left = if survivors.is_empty() {
        String::new()
    } else {
        let named = survivors.iter().map(|left| visible_line(&left.to_string()).into_owned()).collect::<Vec<_>>();
        painted(WARN, format!("\nof its session before, these processes could not be ended: {}", named.join(", ")))
    };
    let done = match (action, result["resumed"].as_bool()) {
        (Action::Shutdown, _) => format!("agent {agent} has {}", painted(GOOD, "ended")),
        (Action::Restart, Some(true)) => format!("agent {agent} is {}, in its conversation", painted(GOOD, "up again")),
        (Action::Restart, Some(false)) => {
            format!("agent {agent} is {}, in a new conversation", painted(GOOD, "up again"))
        }
        (Action::Restart, None) => format!("agent {agent} is {}", painted(GOOD, "up again")),
    };
    done + &left
}
