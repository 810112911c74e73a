//! Ending agents, and starting them again.

use serde_json::{Map, Value, json};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::Daemon;
use super::records::Record;
use super::reports::{Outcome, RelayReports};
use crate::domain::control::command::{Command, CommandStatus};
use crate::domain::control::plan::StopReason;
use crate::domain::control::{Control, ControlKind, ControlTarget};
use crate::domain::id::AgentId;
use crate::launcher;
use crate::sessions::{Exit, SessionName};

/// What one agent of several came to: the words of its failure, or what there is to tell.
pub(super) type Part = (AgentId, Result<Value, String>);

impl Daemon {
    /// Carries out a restart or shutdown: of the agent that the command names or is for, or of all.
    pub(super) async fn act(&self, command: &Command) {
        self.report(command.id, CommandStatus::Running, None, None).await;
        let named = command.request["agentId"].as_str().map(AgentId::from);
        let all = command.request["all"] == true;
        let done = match named.or_else(|| (command.target != self.agent_id).then(|| command.target.clone())) {
            Some(agent) => self.act_on_one(command, &agent).await,
            None if all => self.act_on_all(command).await,
            None => Err("the command names no agent, and does not say \"all\"".to_owned()),
        };
        match done {
            // Its session tells how it goes on.
            Ok(None) => {}
            Ok(Some((status, result, error))) => self.report(command.id, status, Some(result), error).await,
            Err(reason) => self.fail(command.id, reason).await,
        }
    }

    async fn act_on_one(
        &self,
        command: &Command,
        agent: &AgentId,
    ) -> Result<Option<(CommandStatus, Value, Option<String>)>, String> {
        let _turn = self.launcher.turn(agent).await;
        let record = self.records.get(agent).ok_or_else(|| format!("this orchestrator runs no agent {agent}"))?;
        let plugins = self.plugins.current();
        let target = ControlTarget::Agent(self.facts(&record));
        self.decide(&plugins, control(command.kind, target), &command.requested_by).await?;
        match command.kind {
            ControlKind::Restart => {
                self.restart(command, record, Outcome::Command(command.id)).await?;
                Ok(None)
            }
            ControlKind::Shutdown | ControlKind::Spawn => {
                let exit = self.end(&record, StopReason::Shutdown).await?;
                Ok(Some(launcher::ended(&exit)))
            }
        }
    }

    async fn act_on_all(&self, command: &Command) -> Result<Option<(CommandStatus, Value, Option<String>)>, String> {
        let plugins = self.plugins.current();
        let target = ControlTarget::EveryAgentOf(self.launcher.site());
        self.decide(&plugins, control(command.kind, target), &command.requested_by).await?;
        let (tell, mut told) = mpsc::channel(1);
        let mut parts = JoinSet::new();
        for record in self.records.running() {
            let (daemon, command, tell) = (self.clone(), command.clone(), tell.clone());
            parts.spawn(async move {
                let agent = record.spec.agent_id.clone();
                let _turn = daemon.launcher.turn(&agent).await;
                // Whoever had the turn before may have ended it, or started it anew.
                let Some(record) = daemon.records.get(&agent).filter(|record| record.ended.is_none()) else { return };
                let failed = match command.kind {
                    // An earlier run of this daemon got as far as this with it.
                    ControlKind::Restart if record.command == command.id => {
                        Some(Ok(json!({"session": record.session})))
                    }
                    ControlKind::Restart => {
                        let outcome = Outcome::Part(tell.clone());
                        daemon.restart(&command, record, outcome).await.err().map(Err)
                    }
                    ControlKind::Shutdown | ControlKind::Spawn => {
                        let ended = daemon.end(&record, StopReason::Shutdown).await;
                        Some(ended.and_then(|exit| match launcher::ended(&exit) {
                            (_, _, Some(error)) => Err(error),
                            (_, result, None) => Ok(result),
                        }))
                    }
                };
                if let Some(part) = failed {
                    let _ = tell.send((agent, part)).await;
                }
            });
        }
        drop(tell);
        let (mut done, mut failed) = (Map::new(), Map::new());
        // Ends when each has told, a restarted one from its session.
        while let Some((agent, part)) = told.recv().await {
            match part {
                Ok(result) => done.insert(agent.into_string(), result),
                Err(reason) => failed.insert(agent.into_string(), Value::from(reason)),
            };
        }
        if self.link.until().is_cancelled() {
            return Ok(None);
        }
        let (status, error) = match failed.iter().next() {
            None => (CommandStatus::Succeeded, None),
            Some((agent, reason)) => {
                let others = failed.len() - 1;
                let others = if others > 0 { format!(", and {others} others") } else { String::new() };
                (CommandStatus::Failed, Some(format!("{agent}: {}{others}", reason.as_str().unwrap_or_default())))
            }
        };
        Ok(Some((status, json!({"agents": done, "failed": failed}), error)))
    }

    /// Ends the session of an agent, and tells the relay that it has ended.
    async fn end(&self, record: &Record, reason: StopReason) -> Result<Exit, String> {
        let name = SessionName::parse(&record.session).map_err(|error| error.to_string())?;
        let _ending = self.records.begin_ending(&record.spec.agent_id);
        let plugins = self.plugins.current();
        let exit = self.launcher.stop(&plugins, &record.spec.provider, &name, reason).await;
        let exit = exit.map_err(|error| error.to_string())?;
        let reports = RelayReports::new(self, record.command, &record.spec, &name, Outcome::Nobody);
        reports.has_ended(&exit.how.to_string()).await;
        Ok(exit)
    }

    /// Ends an agent and starts it again under its id. Nothing is ended before it is known that it can be started.
    async fn restart(&self, command: &Command, record: Record, outcome: Outcome) -> Result<(), String> {
        let plugins = self.plugins.current();
        let session = SessionName::parse(&record.session).map_err(|error| error.to_string())?;
        let spec = record.spec.again(self.launcher.conversation(&session).await);
        let agent = &record.spec.agent_id;
        let active = self.records.activate(agent, self.limits.agents).ok_or_else(|| self.limits.full())?;
        let prepared = self.launcher.prepare(&plugins, &command.requested_by, &spec).await;
        let prepared = prepared.map_err(|error| error.to_string())?;
        let left = self.end(&record, StopReason::Restart).await?.survivors;
        self.start(&plugins, command, spec.beside(left), prepared, active, outcome).await
    }
}

fn control(kind: ControlKind, target: ControlTarget) -> Control {
    match kind {
        ControlKind::Restart => Control::Restart(target),
        ControlKind::Shutdown | ControlKind::Spawn => Control::Shutdown(target),
    }
}
