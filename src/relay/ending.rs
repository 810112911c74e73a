//! Ending agents on the relay's own host, and starting them again: one request after the other for each
//! agent, so that two of them never leave two processes behind.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::json;
use tokio::sync::OwnedMutexGuard;

use super::Relay;
use super::spawn::Seed;
use crate::domain::command::{Command, CommandStatus};
use crate::domain::control::ControlKind;
use crate::domain::id::AgentId;
use crate::domain::plan::{StopPlan, StopReason};
use crate::domain::session::SessionRecord;
use crate::sessions::SessionName;
use crate::store::StoreError;

/// When the provider cannot say how its program is asked to end.
const STOP_PLAN_DEFAULT: StopPlan = StopPlan { keys: Vec::new(), grace_ms: 5_000 };

/// Whose session is being ended, or is waited for. Bounded by the control requests under way.
#[derive(Default)]
pub(super) struct Turns(Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>);

impl Turns {
    /// Waits until nobody else ends or restarts this agent.
    async fn of(&self, agent: &str) -> OwnedMutexGuard<()> {
        let turn = {
            let mut turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            // What nobody holds or waits for is not needed any more.
            turns.retain(|_, turn| Arc::strong_count(turn) > 1);
            turns.entry(agent.to_owned()).or_default().clone()
        };
        turn.lock_owned().await
    }
}

impl Relay {
    /// Carries out a restart or shutdown of an agent that runs on this host; others do it themselves.
    pub(super) async fn see_to_session(&self, command: Command) -> Result<(), StoreError> {
        if self.own_session(&command.target).await?.is_some() {
            let relay = self.clone();
            self.tasks.spawn_on(async move { relay.end_or_restart(command).await }, &self.runtime);
        }
        Ok(())
    }

    /// The session that is this relay's to see to. One that has ended still is, unless the agent has a
    /// session elsewhere by now: there is nothing left to end, and it can be started again.
    async fn own_session(&self, agent: &AgentId) -> Result<Option<(SessionRecord, SessionName)>, StoreError> {
        let Some(session) = self.store.session(agent.clone()).await? else { return Ok(None) };
        if session.ended_at.is_some() {
            let agent = self.store.agent(agent.clone()).await?;
            if agent.instance_id.as_deref() != Some(session.start.name.as_str()) {
                return Ok(None);
            }
        }
        Ok(SessionName::parse(&session.start.name).ok().map(|name| (session, name)))
    }

    async fn end_or_restart(&self, command: Command) {
        let _turn = self.ending.of(&command.target).await;
        self.report(command.id, CommandStatus::Running).await;
        // Whoever had the turn before may have started another session.
        let (session, name) = match self.own_session(&command.target).await {
            Ok(Some(found)) => found,
            Ok(None) => return self.fail(command.id, "the agent has no session on this host any more").await,
            Err(error) => return self.fail(command.id, &error.to_string()).await,
        };
        let plugins = self.plugins.current();
        let restart = command.kind == ControlKind::Restart;
        let reason = if restart { StopReason::Restart } else { StopReason::Shutdown };
        let plan = match plugins.stop(&session.start.provider, reason).await {
            Ok(plan) => plan,
            Err(error) => {
                tracing::warn!(%error, session.name = %name, "ending a session without its provider");
                STOP_PLAN_DEFAULT
            }
        };
        let exit = match self.sessions.stop(&name, &plan).await {
            Ok(exit) => exit,
            Err(error) => return self.fail(command.id, &error.to_string()).await,
        };
        self.close_session(&name, &session.start.agent_id, &exit.how.to_string()).await;
        if !restart {
            let result = json!({"exit": exit.how});
            if let Err(error) =
                self.store.report_command(command.id, CommandStatus::Succeeded, Some(result), None).await
            {
                tracing::warn!(%error, command.id = %command.id, "cannot report a command");
            }
            return;
        }
        let start = session.start;
        let seed = Seed {
            agent_id: start.agent_id,
            provider: start.provider,
            approval_mode: start.approval_mode,
            cwd: start.cwd,
            label: start.label,
            prompt: start.prompt,
        };
        let again = match self.reserve(&seed) {
            Ok(place) => self.carry_out(&plugins, &command, &seed, place).await,
            Err(refusal) => Err(refusal.to_string().into()),
        };
        if let Err(failure) = again {
            self.fail(command.id, &failure.reason).await;
        }
    }
}
