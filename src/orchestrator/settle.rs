//! What became of the sessions and commands that an earlier run of this daemon left open.

use std::collections::{HashMap, HashSet};

use super::Daemon;
use super::link::Failed;
use super::records::{Record, Records};
use super::reports::{Outcome, RelayReports, as_agent};
use crate::domain::control::ControlKind;
use crate::domain::control::command::{Command, CommandStatus};
use crate::domain::id::{AgentId, CommandId};
use crate::sessions::{SessionName, SessionState};

/// What a session came to, as far as its command is concerned.
enum Found {
    /// It is seen to: the command is told by it.
    SeenTo,
    /// Its program never ran and will not: whoever asked for it can have it begun again.
    NeverRan,
    /// It has ended.
    Ended,
}

impl Daemon {
    /// The commands that an earlier run took up and is not done with; none when the daemon ends.
    pub(super) async fn left_open(&self) -> Option<Vec<Command>> {
        match self.open_commands(&[CommandStatus::Accepted, CommandStatus::Running]).await {
            Ok(open) => Some(open),
            Err(Failed::Ended) => None,
            Err(failed) => {
                tracing::error!(error = %failed, "the relay does not say which commands are open");
                Some(Vec::new())
            }
        }
    }

    /// Finds out what became of what was left open, and goes on with what is not done.
    pub(super) async fn settle(&self, open: Vec<Command>) {
        let by_id: HashMap<CommandId, &Command> = open.iter().map(|command| (command.id, command)).collect();
        let ending = self.being_ended(&open);
        let mut done = HashSet::new();
        for record in self.records.all().into_iter().filter(|record| record.ended.is_none()) {
            let command = record.command;
            let (agent, open) = (record.spec.agent_id.clone(), by_id.get(&command).copied());
            match self.settle_session(record, open, ending.contains(&agent)).await {
                Found::SeenTo | Found::Ended => drop(done.insert(command)),
                Found::NeverRan => {}
            }
        }
        for command in open {
            let for_all = command.request["all"] == true;
            if !for_all && done.contains(&command.id) {
                continue;
            }
            let is_known = self.records.all().iter().any(|record| record.command == command.id);
            if self.has_taken(&command) || is_known {
                tracing::info!(command.id = %command.id, "a command is gone on with");
                self.take_up(command);
            } else {
                let reason = "another daemon of this orchestrator had taken it up; ask again if it is still wanted";
                self.fail(command.id, reason).await;
            }
        }
    }

    /// The agents whose end an open command asked for: they have not crashed.
    fn being_ended(&self, open: &[Command]) -> HashSet<AgentId> {
        let mut agents = HashSet::new();
        for command in open.iter().filter(|command| command.kind != ControlKind::Spawn) {
            let others = |record: &Record| record.command != command.id;
            match command.request["agentId"].as_str() {
                Some(agent) if self.records.get(&agent.into()).is_none_or(|record| others(&record)) => {
                    agents.insert(agent.into());
                }
                Some(_) => {}
                None => {
                    let records = self.records.all();
                    agents.extend(records.into_iter().filter(others).map(|record| record.spec.agent_id));
                }
            }
        }
        agents
    }

    async fn settle_session(&self, record: Record, open: Option<&Command>, is_being_ended: bool) -> Found {
        let Ok(name) = SessionName::parse(&record.session) else { return Found::Ended };
        let agent = record.spec.agent_id.clone();
        let ran = self.launcher.find(&name).await.is_some();
        if !ran {
            match self.launcher.withdraw(&name).await {
                Ok(true) if open.is_some() => {
                    self.forget_start(&record).await;
                    return Found::NeverRan;
                }
                Ok(_) => {}
                Err(error) => tracing::error!(session.name = %name, %error, "an interrupted start cannot be seen to"),
            }
        }
        let outcome = match open {
            Some(command) if command.request["all"] != true => Outcome::Command(command.id),
            _ => Outcome::Nobody,
        };
        let is_owed = matches!(outcome, Outcome::Command(_));
        let reports = RelayReports::new(self, record.command, &record.spec, &name, outcome);
        match self.launcher.state(&name).await {
            SessionState::Running { .. } => {
                tracing::info!(session.name = %name, agent.id = %agent, "session found running");
                // More may run than may be started by now.
                let active = self.records.activate(&agent, usize::MAX);
                if !is_owed {
                    self.watch(name, reports, active);
                    return Found::SeenTo;
                }
                if open.is_some_and(|command| command.status == CommandStatus::Accepted)
                    || !self.has_card(&record).await
                {
                    reports.found().await;
                }
                let follow = self.launcher.follow(&name, record.spec.prompt.clone()).await;
                if let Some(active) = active {
                    self.see_to(follow, reports, active);
                }
                Found::SeenTo
            }
            // Whoever asked for its end goes on with that, and says so.
            _ if is_being_ended => Found::Ended,
            SessionState::Exited(_) | SessionState::Gone => {
                let ending = self.launcher.exit(&name).await.how.to_string();
                reports.has_failed(&ending).await;
                reports.has_ended(&ending).await;
                Found::Ended
            }
        }
    }

    /// Takes back what was noted of a start that came to nothing. What its agent had before is not known any more.
    async fn forget_start(&self, record: &Record) {
        let noted = self.records.note_end(&record.spec.agent_id, &record.session, Records::NEVER_RAN).await;
        if let Err(error) = noted {
            tracing::error!(agent.id = %record.spec.agent_id, %error, "cannot note that a start came to nothing");
        }
    }

    /// Whether the relay has the card of this session: it is told after the command.
    async fn has_card(&self, record: &Record) -> bool {
        let agent = &record.spec.agent_id;
        let Some(client) = as_agent(self, agent) else { return false };
        let card = self.link.ask_as(&client, |client| client.agents().get(agent)).await;
        card.is_ok_and(|card| card.instance_id.as_deref() == Some(&record.session))
    }
}
