//! Settling: what became of the sessions that an earlier run of the relay left open.

use super::sessions::StoreReports;
use super::{Error, Relay};
use crate::domain::control::command::CommandStatus;
use crate::domain::id::CommandId;
use crate::domain::session::SessionRecord;
use crate::launcher::Reports as _;
use crate::sessions::{SessionName, SessionState};

/// What an earlier run of the relay left open.
pub struct LeftOpen {
    sessions: Vec<SessionRecord>,
    /// The latest command: what comes after it is this run's own.
    last_command: CommandId,
}

impl Relay {
    /// What an earlier run left open, asked for before this one begins anything.
    pub async fn left_open(&self) -> Result<LeftOpen, Error> {
        let sessions = self.store.open_sessions().await?;
        Ok(LeftOpen { sessions, last_command: self.store.last_command().await? })
    }

    /// Finds out what became of it.
    pub async fn settle(&self, left: LeftOpen) -> Result<(), Error> {
        for session in left.sessions {
            let Ok(name) = SessionName::parse(&session.start.name) else { continue };
            let (command, spec) = (session.start.command_id, session.start.spec);
            let reports = StoreReports::new(self, command, &spec, &name);
            match self.launcher.state(&name).await {
                SessionState::Running { .. } => {
                    tracing::info!(session.name = %name, agent.id = %spec.agent_id, "session found running");
                    // It has outlived a restart of the relay, so it is up.
                    self.settle_command(command, None).await;
                    self.watch(reports);
                }
                SessionState::Exited(exit) => {
                    let ending = exit.how.to_string();
                    self.settle_command(command, Some(&ending)).await;
                    reports.ended(&ending).await;
                }
                SessionState::Gone => {
                    let ending = "it was not running when the relay started again";
                    self.settle_command(command, Some(ending)).await;
                    reports.ended(ending).await;
                }
            }
        }
        Ok(self.store.fail_orphaned_commands(left.last_command).await?)
    }

    async fn settle_command(&self, id: CommandId, failure: Option<&str>) {
        let Ok(command) = self.store.command(id).await else { return };
        if command.status.is_final() {
            return;
        }
        match failure {
            None => self.advance(id, CommandStatus::Succeeded).await,
            Some(reason) => self.fail(id, reason).await,
        }
    }
}
