//! Settling: what became of the sessions that an earlier run of the relay left open.

use crate::domain::control::command::CommandStatus;
use crate::domain::control::session::SessionRecord;
use crate::domain::id::CommandId;
use crate::launcher::Reports as _;
use crate::relay::control::sessions::StoreReports;
use crate::relay::{Error, Relay};
use crate::sessions::{Ending, SessionName, SessionState};

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
                    self.go_on(command, reports).await;
                }
                SessionState::Exited(exit) => {
                    let ending = exit.how.to_string();
                    self.fail(command, &ending).await;
                    reports.ended(&ending).await;
                }
                SessionState::Gone => {
                    let ending = match self.launcher.exit(&name).await.how {
                        Ending::Lost => "it was not running when the relay started again".to_owned(),
                        how => how.to_string(),
                    };
                    self.fail(command, &ending).await;
                    reports.ended(&ending).await;
                }
            }
        }
        Ok(self.store.fail_orphaned_commands(left.last_command).await?)
    }

    /// Sees to a session that runs. Having outlived the relay does not make its program up: that is still to be seen.
    async fn go_on(&self, command: CommandId, reports: StoreReports) {
        match self.store.command(command).await.map(|command| command.status) {
            Ok(status) if status.is_final() => self.watch(reports),
            Ok(CommandStatus::Running) => self.follow(reports).await,
            // The relay ended in the moment between the start and its report.
            Ok(_) => {
                reports.found().await;
                self.follow(reports).await;
            }
            Err(error) => {
                tracing::warn!(%error, command.id = %command, "a session without its command is only watched");
                self.watch(reports);
            }
        }
    }
}
