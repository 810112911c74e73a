//! Sessions: the agents that the relay itself started on its own host.
//!
//! The row is written before the process is started and closed after it ended, so that after a crash
//! it says what may be running.

use serde_json::{Map, Value};

use crate::domain::agent::{Agent, AgentPatch, ConditionKind, ConditionSource, NewCondition};
use crate::domain::audit;
use crate::domain::caller::token::Token;
use crate::domain::control::command::{Command, CommandStatus};
use crate::domain::control::order::ControlOrder;
use crate::domain::control::session::{SessionRecord, SessionStart};
use crate::domain::control::spawn::SpawnSpec;
use crate::domain::id::{AgentId, CommandId};
use crate::domain::text::json::Exact;
use crate::domain::time::Timestamp;
use crate::store::control::commands;
use crate::store::engine::{AsJson, stored};
use crate::store::messages::deliveries;
use crate::store::tx::Tx;
use crate::store::{Store, StoreError, activity, agents, tokens};

stored! {
    stored SpawnSpec in sessions {
        agent_id, provider, cwd, label, approval_mode,
        // The column is older than the field, and was meant for the whole request.
        prompt = "request" as json,
    }
    beside { again: None }
}

stored! { stored SessionStart in sessions { spec as part SpawnSpec, command_id, name } }

stored! {
    stored SessionRecord in sessions { start as part SessionStart, pid, started_at, ended_at, ending }
}

/// What a command's result says while its program is not up, and not any more when it is.
const WAITING_MEMBERS: [&str; 3] = ["seen", "screen", "next"];

impl Store {
    /// Writes down that a session is about to be started, in place of an earlier one of its agent, and
    /// stores the token its agent will use.
    pub async fn begin_session(&self, start: SessionStart, token: Token) -> Result<(), StoreError> {
        self.write(move |tx| {
            tokens::replace(tx, token)?;
            deliveries::begin(tx, &start.spec.agent_id, &AgentId::from(deliveries::OWN))?;
            tx.upsert(&SessionRecord { start, pid: None, started_at: tx.now, ended_at: None, ending: None })
        })
        .await
    }

    /// Notes the process of a session whose program runs, and with it that its command is running; `order` is
    /// what the command's answer then says.
    pub async fn session_up(
        &self,
        name: String,
        pid: i64,
        command: CommandId,
        result: Value,
        order: Option<ControlOrder>,
    ) -> Result<(), StoreError> {
        self.write(move |tx| {
            let attach = result.get("attach").and_then(Value::as_str);
            tx.execute("UPDATE sessions SET pid = $1, attach = $2 WHERE name = $3", &[&pid, &attach, &name])?;
            match commands::load(tx, command)? {
                Some(command) if command.status.may_become(CommandStatus::Running) => {
                    let command = commands::advance(tx, command, CommandStatus::Running, Some(result.into()), None)?;
                    if let Some(order) = order {
                        commands::keep_answer(tx, &order, &command, None)?;
                    }
                }
                // A restart has been running since its first program was asked to end.
                Some(command) if command.status == CommandStatus::Running => {
                    tx.execute("UPDATE commands SET result = $1 WHERE id = $2", &[&AsJson(&result), &command.id])?;
                }
                _ => {}
            }
            Ok(())
        })
        .await
    }

    /// Notes what whoever asked for a session is told while its program is not up, as members of the command's result.
    /// Its agent is in that `condition` meanwhile.
    pub async fn session_waits(
        &self,
        command: CommandId,
        told: Map<String, Value>,
        agent: AgentId,
        condition: NewCondition,
    ) -> Result<(), StoreError> {
        self.write(move |tx| {
            if let Some(command) = commands::load(tx, command)?
                && !command.status.is_final()
            {
                commands::tell(tx, command, told)?;
            }
            change_card(tx, &agent, |card, now| card.set_condition(Some(condition), now))
        })
        .await
    }

    /// Notes that the program of a session is up: with it its agent takes work, if `ready`, and its command is done,
    /// or has failed for this `problem`. What was told while it was not up is left out of the result.
    pub async fn session_opened(
        &self,
        command: CommandId,
        agent: AgentId,
        ready: bool,
        problem: Option<String>,
    ) -> Result<(), StoreError> {
        self.write(move |tx| {
            let status = if problem.is_some() { CommandStatus::Failed } else { CommandStatus::Succeeded };
            if let Some(mut command) = commands::load(tx, command)?
                && command.status.may_become(status)
            {
                if let Some(Value::Object(mut result)) = command.result.as_ref().map(Exact::value) {
                    WAITING_MEMBERS.iter().for_each(|member| drop(result.remove(*member)));
                    command.result = Some(Value::Object(result).into());
                }
                commands::advance(tx, command, status, None, problem)?;
            }
            change_card(tx, &agent, |card, now| {
                card.is_seen_up(now);
                if ready {
                    AgentPatch::Ready(true).apply(card, now);
                }
            })
        })
        .await
    }

    /// Notes what is seen to keep the agent of a session from working, or that nothing is. What a person said of it
    /// stays, and so does what is not for the relay to take back.
    pub async fn session_seen(&self, agent: AgentId, condition: Option<NewCondition>) -> Result<(), StoreError> {
        self.write(move |tx| {
            change_card(tx, &agent, |card, now| {
                let by = card.condition.as_ref().map(|condition| condition.source);
                let is_ours = by.is_none_or(|by| by == ConditionSource::Relay);
                if is_ours || condition.is_some() && by != Some(ConditionSource::User) {
                    card.set_condition(condition, now);
                }
            })
        })
        .await
    }

    /// Notes that a session ended: its agent is offline and its token worthless, and it has crashed unless somebody
    /// asked for its end. Doing it again changes nothing.
    pub async fn end_session(&self, name: String, agent: AgentId, ending: String) -> Result<(), StoreError> {
        self.write(move |tx| {
            let changed = tx.execute(
                "UPDATE sessions SET ended_at = $1, ending = $2 WHERE name = $3 AND ended_at IS NULL",
                &[&tx.now, &ending, &name],
            )?;
            if changed == 0 {
                return Ok(());
            }
            tokens::end_session_of(tx, &agent)?;
            deliveries::end(tx, &agent, &AgentId::from(deliveries::OWN))?;
            let crash = (!is_being_ended(tx, &agent)?).then(|| NewCondition::seen(ConditionKind::Crashed, &ending));
            change_card(tx, &agent, |card, now| card.end_session(crash, now))?;
            activity::insert(tx, audit::session_ended(&name, &agent, &ending))?;
            Ok(())
        })
        .await
    }

    /// Fails what this host was carrying out when the relay ended, and what no session tells the end
    /// of: of what was asked for up to the command `last`. A session that runs tells it later; commands for
    /// orchestrators are theirs to report.
    pub async fn fail_orphaned_commands(&self, last: CommandId) -> Result<(), StoreError> {
        self.write(move |tx| {
            let orphans: Vec<Command> = tx.rows(
                "WHERE status IN ('accepted', 'running') AND id <= $1
                     AND (message_id IS NULL OR target IN (SELECT agent_id FROM sessions))
                     AND id NOT IN (SELECT command_id FROM sessions WHERE ended_at IS NULL)",
                &[&last],
            )?;
            for command in orphans {
                let why = "the relay ended before this was done; ask again if it is still wanted".to_owned();
                commands::advance(tx, command, CommandStatus::Failed, None, Some(why))?;
            }
            Ok(())
        })
        .await
    }

    /// The latest session of an agent.
    pub async fn session(&self, agent: AgentId) -> Result<Option<SessionRecord>, StoreError> {
        self.read(move |snapshot| snapshot.row("WHERE agent_id = $1", &[&agent])).await
    }

    /// The latest command, or 0.
    pub async fn last_command(&self) -> Result<CommandId, StoreError> {
        self.read(|snapshot| Ok(snapshot.value("SELECT coalesce(max(id), 0) FROM commands", &[])?.unwrap_or_default()))
            .await
    }

    /// Sessions that may be running, newest first.
    pub async fn open_sessions(&self) -> Result<Vec<SessionRecord>, StoreError> {
        self.read(|snapshot| snapshot.rows("WHERE ended_at IS NULL ORDER BY started_at DESC", &[])).await
    }
}

/// Changes the card of a session's agent, if it is there; tells nobody when it stays as it is.
fn change_card(tx: &mut Tx<'_>, agent: &AgentId, change: impl FnOnce(&mut Agent, Timestamp)) -> Result<(), StoreError> {
    let Some(before) = agents::load(tx, agent)? else { return Ok(()) };
    let mut card = before.clone();
    change(&mut card, tx.now);
    if card == before { Ok(()) } else { agents::save(tx, Some(&before), &card) }
}

/// Whether somebody asked for the end of this agent's session and it is being ended.
fn is_being_ended(tx: &Tx<'_>, agent: &AgentId) -> Result<bool, StoreError> {
    let ending = tx.count(
        "SELECT count(*) FROM commands WHERE target = $1 AND status = 'running' AND kind IN ('restart', 'shutdown')",
        &[agent],
    )?;
    Ok(ending > 0)
}
