//! Following a command to its end, over restarts of the relay.

use std::process::ExitCode;
use std::time::Duration;

use agent_relay::client::events::EventFilter;
use agent_relay::client::stream::{EventStream, Received};
use agent_relay::client::{Answer, Error};
use agent_relay::domain::control::command::{Command, CommandStatus};
use agent_relay::domain::event::EventName;
use agent_relay::domain::id::CommandId;
use serde::Deserialize;
use serde_json::Value;
use tokio::time::{Instant, sleep, sleep_until};

use crate::cli::connection::{ClientArgs, Connection};
use crate::cli::show::{BAD, DIM, GOOD, STRONG, WARN, block, is_watched, painted, say, show, visible_line};
use crate::cli::{Failure, print};

/// How long a command is followed.
#[derive(Debug, clap::Args)]
pub(super) struct Following {
    /// Do not wait for its end
    #[arg(long, visible_alias = "detach")]
    pub(super) no_wait: bool,
    /// How long to wait for its end at most
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = humantime::parse_duration,
          conflicts_with = "no_wait")]
    timeout: Duration,
}

/// What is typed beside it.
pub(super) const EXIT_CODES: &str =
    "Exit codes: 0 done, and seen to be so; 1 not done, or not in time, and how far it came is said; 2 wrong usage.";

/// The pause between two questions where the relay is away, or its events cannot be followed.
const PAUSE: Duration = Duration::from_secs(1);

impl Following {
    /// Follows a command to its end and says what came of it: `done` is how that reads where it was done.
    pub(super) fn follow(
        &self,
        connection: &Connection,
        id: CommandId,
        args: &ClientArgs,
        done: impl Fn(&Command) -> String,
    ) -> Result<ExitCode, Failure> {
        let deadline = Instant::now().checked_add(self.timeout);
        let deadline = deadline.ok_or_else(|| Failure::Usage("--timeout: longer than any clock goes".to_owned()))?;
        let mut steps = Steps { is_shown: is_watched() && !args.json, said: String::new() };
        let ended = connection.wait(to_its_end(connection, id, deadline, &mut steps));
        let answer = ended.map_err(|error| connection.failure(error))?;
        let command: Command = answer.json()?;
        let code = if command.status == CommandStatus::Succeeded { ExitCode::SUCCESS } else { ExitCode::FAILURE };
        if args.json {
            print(answer.text()?)?;
            return Ok(code);
        }
        if command.status == CommandStatus::Succeeded {
            show(&done(&command))?;
            return Ok(code);
        }
        let what = painted(STRONG, format!("command {id}"));
        let after = humantime::format_duration(self.timeout);
        let why = command.error.as_deref().map(|error| format!(": {}", visible_line(error))).unwrap_or_default();
        Err(Failure::Other(match command.status {
            CommandStatus::Expired => format!("{what} expired: nobody took it up in time"),
            status if status.is_final() => format!("{what} is {}{why}", painted(BAD, status)),
            status => {
                let waits = waits(&command).map(|waits| format!("\n{waits}")).unwrap_or_default();
                let next = format!("`agent-relay command {id}` shows how it goes on");
                format!("{what} is still {} after {after}; {next}{waits}", painted(WARN, status))
            }
        }))
    }
}

/// What is told on the way, once each, to whoever looks on.
struct Steps {
    is_shown: bool,
    said: String,
}

impl Steps {
    fn tell(&mut self, command: &Command) {
        let result = command.result.as_ref().map(|result| result.value()).unwrap_or_default();
        let text = |name: &str| result[name].as_str().map(visible_line);
        let agent = text("agentId").map(|agent| format!(", agent {agent}")).unwrap_or_default();
        let session = text("session").map(|session| format!(", session {session}")).unwrap_or_default();
        let pid = result["pid"].as_u64().map(|pid| format!(", process {pid}")).unwrap_or_default();
        let status = painted(style(command.status), command.status);
        let mut step = format!("{} {status}{agent}{session}{pid}", painted(DIM, format!("{}:", command.kind)));
        if !command.status.is_final()
            && let Some(waits) = waits(command)
        {
            step.push_str(&format!("\n{waits}"));
        }
        if self.is_shown && step != self.said {
            say(&step);
        }
        self.said = step;
    }
}

fn style(status: CommandStatus) -> anstyle::Style {
    match status {
        CommandStatus::Succeeded => GOOD,
        CommandStatus::Failed | CommandStatus::Expired | CommandStatus::Denied => BAD,
        _ => WARN,
    }
}

/// What its program waits for, where it runs and is not up, with the end of its screen.
pub(super) fn waits(command: &Command) -> Option<String> {
    let result = command.result.as_ref()?.value();
    let seen = result["seen"].as_str()?;
    let screen = result["screen"].as_str().filter(|screen| !screen.trim().is_empty());
    let screen = screen.map(|screen| format!("\n{}", block(screen))).unwrap_or_default();
    let name = result["agentId"].as_str().or(result["session"].as_str());
    let attach = name.map(|name| format!("; agent-relay sessions attach {}", visible_line(name)));
    let what =
        if seen == "dialog" { "it waits in a dialog, which nobody answers for you" } else { "it is not seen to be up" };
    Some(format!("{}{}{screen}", painted(WARN, what), attach.unwrap_or_default()))
}

async fn to_its_end(
    connection: &Connection,
    id: CommandId,
    deadline: Instant,
    steps: &mut Steps,
) -> Result<Answer, Error> {
    let client = &connection.client;
    let filter = EventFilter { types: vec![EventName::CommandUpdated], ..EventFilter::default() };
    // Opened before the command is looked at again, so that nothing falls between looking and waiting.
    let mut stream = client.events().follow(filter);
    loop {
        match client.control().command(id).answer().await.and_then(Answer::success) {
            Ok(answer) => {
                let command: Command = answer.json()?;
                steps.tell(&command);
                if command.status.is_final() || Instant::now() >= deadline {
                    return Ok(answer);
                }
            }
            Err(error) if error.is_transient() && Instant::now() < deadline => sleep(PAUSE).await,
            Err(error) => return Err(error),
        }
        tokio::select! {
            () = changed(&mut stream, id) => {}
            () = sleep_until(deadline) => {}
        }
    }
}

/// Waits until the command may have changed.
async fn changed(stream: &mut EventStream, id: CommandId) {
    #[derive(Deserialize)]
    struct About {
        id: Value,
    }
    loop {
        match stream.next().await {
            Ok(Received::Event(event)) => {
                let about = event.parse::<About>().ok().and_then(|about| about.id.as_i64());
                if about == Some(id.get()) {
                    return;
                }
            }
            Ok(Received::Ready { .. } | Received::Reset { .. }) => return,
            Ok(Received::Disconnected { .. }) => {}
            // A token that may control need not follow everything: then it is asked now and then.
            Err(_) => return sleep(PAUSE).await,
        }
    }
}
