//! Commands: the record of each control request, and what its target reports.

use crate::domain::caller::Caller;
use crate::domain::control::command::{Command, CommandFilter, CommandStatus, RecordedDecision};
use crate::domain::id::{AgentId, CommandId};
use crate::domain::page::{Limit, Page};
use crate::domain::text::json::Exact;
use crate::relay::{Error, Relay, scopes};

impl Relay {
    /// A page of commands, newest first. A bound credential sees those for its own agent unless it asks for those of
    /// an agent that it runs; the filter is answered as it was applied.
    pub async fn list_commands(
        &self,
        caller: &Caller,
        mut filter: CommandFilter,
    ) -> Result<(Page<Command, CommandId>, CommandFilter), Error> {
        caller.require(scopes::READ_COMMANDS)?;
        if let Some(bound) = &caller.agent_id {
            let target = filter.target.take().unwrap_or_else(|| bound.clone());
            self.require_target(caller, &target).await?;
            filter.target = Some(target);
        }
        Ok((self.store.commands(filter.clone()).await?, filter))
    }

    /// One command, with what each policy said.
    pub async fn get_command(&self, caller: &Caller, id: CommandId) -> Result<Command, Error> {
        caller.require(scopes::READ_COMMANDS)?;
        let command = self.store.command(id).await?;
        self.require_target(caller, &command.target).await?;
        Ok(command)
    }

    /// A bound credential sees to the commands for its own agent, and an orchestrator's to those for the agents that
    /// it was told to start: it runs them.
    async fn require_target(&self, caller: &Caller, target: &AgentId) -> Result<(), Error> {
        match caller.require_identity(target) {
            Err(_) if self.is_run_by(caller, target).await? => Ok(()),
            checked => Ok(checked?),
        }
    }

    /// Moves a command on, as its target reports it, or the orchestrator that runs the target; nobody else may.
    pub async fn report_command(
        &self,
        caller: &Caller,
        id: CommandId,
        report: CommandReport,
    ) -> Result<Command, Error> {
        caller.require(scopes::REPORT_COMMAND)?;
        let command = self.store.command(id).await?;
        self.require_target(caller, &command.target).await?;
        let CommandReport { status, result, error } = report;
        Ok(self.store.report_command(id, status, result, error).await?)
    }

    /// Recorded decisions with the question that was asked, newest first, of commands with a smaller id than
    /// `before`.
    pub async fn list_decisions(
        &self,
        caller: &Caller,
        before: Option<CommandId>,
        limit: Limit,
    ) -> Result<Page<RecordedDecision, CommandId>, Error> {
        caller.require(scopes::READ_PLUGINS)?;
        Ok(self.store.decisions(before, limit).await?)
    }

    /// Moves on a command that this relay carries out. One that has ended meanwhile stays as it is.
    pub(in crate::relay) async fn advance(&self, id: CommandId, status: CommandStatus) {
        if let Err(error) = self.store.report_command(id, status, None, None).await {
            tracing::debug!(%error, command.id = %id, "a command was not moved on");
        }
    }

    /// Fails a command that this relay could not carry out.
    pub(in crate::relay) async fn fail(&self, id: CommandId, reason: &str) {
        let reason = reason.chars().take(4_000).collect();
        if let Err(error) = self.store.report_command(id, CommandStatus::Failed, None, Some(reason)).await {
            tracing::debug!(%error, command.id = %id, "a command was not moved on");
        }
    }
}

/// What the target of a command reports.
#[derive(Clone, Debug)]
pub struct CommandReport {
    /// How far it has come.
    pub status: CommandStatus,
    /// What came of it, at most 16 KiB of JSON.
    pub result: Option<Exact>,
    /// Why it was not done, at most 4000 bytes.
    pub error: Option<String>,
}
