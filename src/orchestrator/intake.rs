//! Which commands are taken up, by whom, and what they are asked for.

use serde_json::{Value, json};

use super::Daemon;
use super::link::Failed;
use crate::client::control::CommandReport;
use crate::client::messages::Claimant;
use crate::client::{Client, Method, Request};
use crate::domain::agent::SessionGuard;
use crate::domain::control::command::{Command, CommandStatus};
use crate::domain::control::{
    AgentFacts, CallerFacts, Context, Control, ControlKind, Outcome, RUNNING_MAX, RunningAgent,
};
use crate::domain::id::{AgentId, CommandId};
use crate::domain::time::Timestamp;
use crate::plugins::PluginSet;

use super::records::{Ending, Record};

/// Commands that are read at once.
const PAGE: u32 = 1_000;
/// Of each agent, the newest: those before them have been done or have expired.
const OF_AGENT: u32 = 5;
/// The most of a reason that is reported, in bytes.
const REASON_BYTES_MAX: usize = 3_900;
/// How an administrator of the relay is called. No token bears these names unless an administrator made it so.
const ADMINISTRATORS: [&str; 2] = ["dashboard", "cli"];
/// In the result of a command that was taken up and is not begun: by which daemon.
const TAKEN_BY: &str = "takenBy";

impl Daemon {
    /// Takes up every command that waits.
    pub(super) async fn look_for_commands(&self) -> Result<(), Failed> {
        for command in self.open_commands(&[CommandStatus::Pending]).await? {
            self.take_up(command);
        }
        Ok(())
    }

    /// The commands for this daemon and its agents that have come this far, oldest first.
    pub(super) async fn open_commands(&self, statuses: &[CommandStatus]) -> Result<Vec<Command>, Failed> {
        let list = |client: &Client, target: &AgentId, status: Option<CommandStatus>, limit: u32| {
            let list: Request<Vec<Command>> = client.request(Method::GET, "/api/commands");
            list.query("target", Some(target))
                .query("status", status.map(CommandStatus::as_str))
                .query("limit", Some(limit))
        };
        let mut open = Vec::new();
        for status in statuses {
            let page = self.link.ask(|client| list(client, &self.agent_id, Some(*status), PAGE)).await?;
            open.extend(page);
        }
        for record in self.records.all() {
            let agent = &record.spec.agent_id;
            match self.link.ask(|client| list(client, agent, None, OF_AGENT)).await {
                Ok(newest) => open.extend(newest.into_iter().filter(|command| statuses.contains(&command.status))),
                Err(Failed::Ended) => return Err(Failed::Ended),
                // The relay may have forgotten that this daemon had to do with it.
                Err(failed) => tracing::debug!(agent.id = %agent, error = %failed, "no commands of an agent"),
            }
        }
        open.sort_by_key(|command| command.id);
        Ok(open)
    }

    /// Carries out a command, unless somebody here does already.
    pub(super) fn take_up(&self, command: Command) {
        self.go_on_with(command, Vec::new());
    }

    /// The same, of a command by which agents count as asked to end meanwhile.
    pub(super) fn go_on_with(&self, command: Command, asked: Vec<Ending>) {
        if !self.begin_work(command.id) {
            return;
        }
        let daemon = self.clone();
        self.tasks.spawn(async move {
            let id = command.id;
            let Ok(_hand) = daemon.hands.acquire().await else { return };
            if command.status != CommandStatus::Pending || daemon.take(&command).await {
                match command.kind {
                    ControlKind::Spawn => daemon.spawn(&command).await,
                    ControlKind::Restart | ControlKind::Shutdown => daemon.act(&command).await,
                }
            }
            drop(asked);
            daemon.end_work(id);
        });
    }

    /// Tells the relay that this daemon does it; false when it is not this one's to do any more.
    async fn take(&self, command: &Command) -> bool {
        let taken = json!({TAKEN_BY: self.records.home(), "host": self.launcher.host().hostname});
        let accepted = CommandReport { status: CommandStatus::Accepted, result: Some(taken.into()), error: None };
        let taken = match self.link.ask(|client| client.control().report(command.id, &accepted)).await {
            Ok(_) => true,
            // The answer may have been lost on its way.
            Err(failed) if failed.is("illegal_transition") => {
                let now = self.link.ask(|client| client.control().command(command.id)).await;
                now.is_ok_and(|now| now.status == CommandStatus::Accepted && self.has_taken(&now))
            }
            Err(Failed::Ended) => false,
            Err(failed) => {
                tracing::warn!(command.id = %command.id, error = %failed, "a command cannot be taken up");
                false
            }
        };
        if taken
            && command.target == self.agent_id
            && let Some(message) = command.message_id
        {
            // So that nobody takes it for unread. Nothing depends on it.
            let reader = Claimant { agent_id: Some(self.agent_id.to_string()), ..Claimant::default() };
            let read = self.link.ask(|client| client.messages().mark_read(message, &reader)).await;
            if let Err(failed) = read {
                tracing::debug!(message.id = %message, error = %failed, "the message of a command stays unread");
            }
        }
        taken
    }

    /// Whether this daemon, in this run or an earlier one, has taken up a command.
    pub(super) fn has_taken(&self, command: &Command) -> bool {
        let result = command.result.as_ref().map(|result| result.value());
        result.is_some_and(|result| result[TAKEN_BY] == self.records.home())
    }

    /// Reports how far a command has come. One that has ended meanwhile stays as it is.
    pub(super) async fn report(
        &self,
        id: CommandId,
        status: CommandStatus,
        result: Option<Value>,
        error: Option<String>,
    ) {
        let error = error.map(|error| {
            let end = error.floor_char_boundary(REASON_BYTES_MAX);
            error[..end].to_owned()
        });
        let report = CommandReport { status, result: result.map(Into::into), error };
        match self.link.ask(|client| client.control().report(id, &report)).await {
            Ok(_) | Err(Failed::Ended) => {}
            Err(failed) if failed.is("illegal_transition") => {
                tracing::debug!(command.id = %id, %status, "a command is further than reported");
            }
            Err(failed) => tracing::warn!(command.id = %id, %status, error = %failed, "a report is not taken"),
        }
    }

    /// Fails a command.
    pub(super) async fn fail(&self, id: CommandId, reason: impl Into<String>) {
        let reason = reason.into();
        tracing::info!(command.id = %id, reason, "a command failed");
        self.report(id, CommandStatus::Failed, None, Some(reason)).await;
    }

    /// Asks the policies of this host, which see what the relay's could not. Answers the control as they left it, or
    /// why it may not happen here.
    pub(super) async fn decide(
        &self,
        plugins: &std::sync::Arc<PluginSet>,
        control: Control,
        requested_by: &str,
    ) -> Result<Control, String> {
        let context = self.context(requested_by);
        match plugins.decide(control, &context).await.outcome {
            Outcome::Allowed(control) => Ok(control),
            Outcome::Denied { plugin, reason, .. } => Err(format!("policy {plugin} of this host: {reason}")),
            Outcome::Failed { plugin, reason } => {
                Err(format!("policy {plugin} of this host could not decide: {reason}"))
            }
        }
    }

    /// What is known here. Of who asked, that is a name: what they may do was for the relay to know.
    fn context(&self, requested_by: &str) -> Context {
        let records = self.records.running();
        let administrator = ADMINISTRATORS.contains(&requested_by);
        let agent_id = records.iter().find(|record| record.spec.agent_id == requested_by);
        let caller = CallerFacts {
            name: requested_by.to_owned(),
            agent_id: agent_id.map(|record| record.spec.agent_id.to_string()),
            administrator,
            scopes: vec![if administrator { "admin" } else { "control" }.to_owned()],
            loopback: false,
        };
        let mut running: Vec<_> = records.into_iter().map(|record| self.running_agent(record)).collect();
        running.sort_by_key(|agent| std::cmp::Reverse(agent.started_at));
        running.truncate(RUNNING_MAX);
        Context { caller, now: Timestamp::now().as_ms(), running, extensions: Vec::new() }
    }

    fn running_agent(&self, record: Record) -> RunningAgent {
        let Record { spec, started_at, .. } = record;
        RunningAgent {
            agent_id: spec.agent_id.into_string(),
            provider: spec.provider,
            cwd: spec.cwd,
            label: spec.label,
            approval_mode: spec.approval_mode,
            orchestrator: Some(self.id.to_string()),
            started_at,
        }
    }

    /// What policies are told of an agent that is to be controlled.
    pub(super) fn facts(&self, record: &Record) -> AgentFacts {
        let spec = &record.spec;
        let status = if record.ended.is_none() { "online" } else { "offline" };
        AgentFacts {
            id: spec.agent_id.to_string(),
            name: spec.label.clone().unwrap_or_else(|| spec.agent_id.to_string()),
            label: spec.label.clone(),
            tags: vec![spec.provider.clone(), "spawned".to_owned()],
            capabilities: Vec::new(),
            machine: Some(self.launcher.host().hostname.clone()),
            status: status.to_owned(),
            site: Some(self.launcher.site()),
        }
    }

    /// No particular session: what is said of an agent here is said by who runs it.
    pub(super) fn unguarded() -> SessionGuard {
        SessionGuard::default()
    }
}
