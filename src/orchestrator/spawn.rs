//! Starting an agent.

use std::sync::Arc;

use serde_json::Value;

use super::Daemon;
use super::reports::{Outcome, RelayReports};
use crate::domain::control::command::{Command, CommandStatus};
use crate::domain::control::spawn::{SpawnAsk, SpawnSpec, require_directory};
use crate::domain::control::{ApprovalMode, Control};
use crate::domain::id::AgentId;
use crate::launcher::{Follow, LaunchError, Launched, Prepared};
use crate::orchestrator::records::Active;
use crate::plugins::PluginSet;
use crate::sessions::SessionName;

impl Daemon {
    /// Starts the agent of a command.
    pub(super) async fn spawn(&self, command: &Command) {
        let (agent, ask) = match read(&command.request) {
            Ok(read) => read,
            Err(problem) => return self.fail(command.id, problem).await,
        };
        let _turn = self.launcher.turn(&agent).await;
        if let Err(reason) = self.start_new(command, agent, ask).await {
            self.fail(command.id, reason).await;
        }
    }

    async fn start_new(&self, command: &Command, agent: AgentId, ask: SpawnAsk) -> Result<(), String> {
        let active = self.records.activate(&agent, self.limits.agents).ok_or_else(|| self.limits.full())?;
        self.limits.require_memory()?;
        let plugins = self.plugins.current();
        let spawn = self.launcher.locate(&ask).await;
        require_directory(&spawn).map_err(|refusal| refusal.to_string())?;
        let Control::Spawn(spawn) = self.decide(&plugins, Control::Spawn(spawn), &command.requested_by).await? else {
            return Err("a spawn stays a spawn".to_owned());
        };
        let place = self.launcher.open(spawn.cwd.effective()).await;
        let place = place.map_err(|problem| format!("cwd {problem}: {}", spawn.cwd.given))?;
        let spec = SpawnSpec::approved(agent, &spawn);
        let reservation = self.launcher.reserve(&spec.provider, spec.label.as_deref()).await;
        let reservation = reservation.map_err(|error| error.to_string())?;
        let prepared = Prepared { place, reservation };
        self.start(&plugins, command, spec, prepared, active, Outcome::Command(command.id)).await
    }

    /// Starts an agent for which everything is made ready, and follows it. `outcome` is told how it goes.
    pub(super) async fn start(
        &self,
        plugins: &Arc<PluginSet>,
        command: &Command,
        spec: SpawnSpec,
        prepared: Prepared,
        active: Active,
        outcome: Outcome,
    ) -> Result<(), String> {
        let Prepared { place, reservation } = prepared;
        let reports = RelayReports::new(self, command.id, &spec, reservation.name(), outcome);
        let caller = &command.requested_by;
        match self.launcher.launch(plugins, caller, &spec, place, reservation, &reports).await {
            Ok(Launched::Planned(result)) => {
                self.report(command.id, CommandStatus::Succeeded, Some(result), None).await;
                Ok(())
            }
            Ok(Launched::Running { follow, .. }) => {
                self.see_to(follow, reports, active);
                Ok(())
            }
            // The program may run. The next start looks.
            Err(LaunchError::Report(_)) if self.link.until().is_cancelled() => Ok(()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Follows a session to its end, in a task of its own.
    pub(super) fn see_to(&self, follow: Follow, reports: RelayReports, active: Active) {
        let daemon = self.clone();
        self.tasks.spawn(async move {
            follow.run(&reports, &reports.notices(), RelayReports::ALIVE_EVERY, daemon.link.until()).await;
            drop(active);
            daemon.list_changed.notify_one();
        });
    }

    /// Watches a session of which nothing is owed but its end.
    pub(super) fn watch(&self, name: SessionName, reports: RelayReports, active: Option<Active>) {
        let daemon = self.clone();
        self.tasks.spawn(async move {
            let (notices, until) = (reports.notices(), daemon.link.until());
            daemon.launcher.watch(&name, &reports, &notices, RelayReports::ALIVE_EVERY, until).await;
            drop(active);
            daemon.list_changed.notify_one();
        });
    }
}

/// What a spawn command asks for. It was checked by the relay, which may be of another version.
fn read(request: &Value) -> Result<(AgentId, SpawnAsk), String> {
    let text = |member: &str| request[member].as_str().map(str::to_owned);
    let agent = text("agentId").filter(|agent| !agent.is_empty()).ok_or("the command names no agentId")?;
    let approval_mode = match text("approvalMode") {
        None => ApprovalMode::default(),
        Some(mode) => ApprovalMode::parse(&mode).ok_or_else(|| format!("unknown approvalMode: {mode}"))?,
    };
    let provider = text("provider").ok_or("the command names no provider")?;
    let ask = SpawnAsk { provider, approval_mode, cwd: text("cwd"), label: text("label"), prompt: text("prompt") };
    Ok((agent.into(), ask))
}
