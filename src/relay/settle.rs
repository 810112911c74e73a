//! Settling: what became of the sessions that an earlier run of the relay left open.

use super::Relay;
use crate::domain::command::CommandStatus;
use crate::domain::id::CommandId;
use crate::domain::time::Timestamp;
use crate::sessions::{SessionName, SessionState};
use crate::store::StoreError;

impl Relay {
    /// Finds out what became of the sessions that an earlier run of the relay left open. What was
    /// begun since `started`, in milliseconds since the epoch, is this run's own and left alone.
    pub async fn settle_sessions(&self, started: Timestamp) -> Result<(), StoreError> {
        let mut sessions = self.store.open_sessions().await?;
        sessions.retain(|session| session.started_at < started);
        for session in sessions {
            let Ok(name) = SessionName::parse(&session.start.name) else { continue };
            let agent = session.start.agent_id.clone();
            match self.sessions.state(&name) {
                SessionState::Running { .. } => {
                    tracing::info!(session.name = %name, agent.id = %agent, "session found running");
                    // It has outlived a restart of the relay, so it is up.
                    self.settle_command(session.start.command_id, None).await;
                    self.mark_ready(&agent).await;
                    let relay = self.clone();
                    self.tasks.spawn_on(async move { relay.watch(name, agent).await }, &self.runtime);
                }
                SessionState::Exited(exit) => {
                    self.settle_command(session.start.command_id, Some(&exit.how.to_string())).await;
                    self.close_session(&name, &agent, &exit.how.to_string()).await;
                }
                SessionState::Gone => {
                    let reason = "it was not running when the relay started again";
                    self.settle_command(session.start.command_id, Some(reason)).await;
                    self.close_session(&name, &agent, reason).await;
                }
            }
        }
        self.store.fail_orphaned_commands(started).await
    }

    async fn settle_command(&self, id: CommandId, failure: Option<&str>) {
        let Ok(command) = self.store.command(id).await else { return };
        if command.status.is_final() {
            return;
        }
        match failure {
            None => self.report(id, CommandStatus::Succeeded).await,
            Some(reason) => self.fail(id, reason).await,
        }
    }
}
