//! What became of the sessions and commands that an earlier run of this daemon left open.

use std::collections::{HashMap, HashSet};

use super::Daemon;
use super::link::Failed;
use super::records::{Ending, Record, Records};
use super::reports::{Outcome, RelayReports, as_agent};
use crate::domain::control::ControlKind;
use crate::domain::control::command::{Command, CommandStatus};
use crate::domain::id::CommandId;
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
        // What ends because somebody asked for it has not crashed, however long it takes until this run sees to that.
        let mut asked: HashMap<CommandId, Vec<Ending>> =
            open.iter().map(|command| (command.id, self.asked_to_end(command))).collect();
        let mut done = HashSet::new();
        for record in self.records.all().into_iter().filter(|record| record.ended.is_none()) {
            let command = record.command;
            let open = by_id.get(&command).copied();
            match self.settle_session(record, open).await {
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
                let asked = asked.remove(&command.id).unwrap_or_default();
                self.go_on_with(command, asked);
            } else {
                let reason = "another daemon of this orchestrator had taken it up; ask again if it is still wanted";
                self.fail(command.id, reason).await;
            }
        }
    }

    /// The agents whose end this command asks for, but for those that it has started again already.
    fn asked_to_end(&self, command: &Command) -> Vec<Ending> {
        if command.kind == ControlKind::Spawn {
            return Vec::new();
        }
        let named = command.request["agentId"].as_str();
        let records = self.records.all().into_iter().filter(|record| record.command != command.id);
        let concerned = records.filter(|record| named.is_none_or(|named| record.spec.agent_id == *named));
        concerned.map(|record| self.records.begin_ending(&record.spec.agent_id)).collect()
    }

    async fn settle_session(&self, record: Record, open: Option<&Command>) -> Found {
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
            _ if self.records.is_ending(&agent) => Found::Ended,
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
