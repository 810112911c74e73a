//! Sessions: the agents that the relay itself started on its own host.
//!
//! The row is written before the process is started and closed after it ended, so that after a crash
//! it says what may be running.

use rusqlite::{Connection, OptionalExtension, Row, params};

use serde_json::Value;

use super::super::StoreError;
use super::tokens::{self, NewToken};
use super::tx::{self, from_json};
use super::{Store, activity, agents, commands};
use crate::domain::activity::{ActivityKind, NewActivity};
use crate::domain::agent::AgentStatus;
use crate::domain::command::CommandStatus;
use crate::domain::control::ApprovalMode;
use crate::domain::order::ControlOrder;
use crate::domain::spawn::SpawnSpec;

/// A session about to be started.
#[derive(Clone, Debug)]
pub struct SessionStart {
    /// What it is started from, and would be again.
    pub spec: SpawnSpec,
    /// The command that started it.
    pub command_id: i64,
    /// Its name among the host's sessions.
    pub name: String,
}

/// A session as it is known to the store.
#[derive(Clone, Debug)]
pub struct SessionRow {
    /// What it was started with.
    pub start: SessionStart,
    /// The process id, once it is known.
    pub pid: Option<i64>,
    /// When it was started, in milliseconds since the epoch.
    pub started_at: i64,
    /// When it ended; `None` while it may be running.
    pub ended_at: Option<i64>,
    /// How it ended.
    pub ending: Option<String>,
}

const COLUMNS: &str =
    "agent_id, command_id, name, provider, cwd, label, approval_mode, request, pid, started_at, ended_at, ending";

impl Store {
    /// Writes down that a session is about to be started, in place of an earlier one of its agent, and
    /// stores the token its agent will use.
    pub async fn begin_session(&self, start: SessionStart, token: NewToken) -> Result<(), StoreError> {
        self.write(move |tx| {
            tokens::replace(tx, &token)?;
            tx.sql(
                "INSERT OR REPLACE INTO sessions (agent_id, command_id, name, provider, cwd, label, approval_mode,
                                                  request, started_at)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
            )?
            .execute(params![
                start.spec.agent_id,
                start.command_id,
                start.name,
                start.spec.provider,
                start.spec.cwd,
                start.spec.label,
                start.spec.approval_mode.as_str(),
                tx::json(&start.spec.prompt),
                tx.now
            ])?;
            Ok(())
        })
        .await
    }

    /// Notes the process of a session whose program runs, and with it that its command is running; `order` is
    /// what the command's answer then says.
    pub async fn session_up(
        &self,
        name: String,
        pid: i64,
        command: i64,
        result: Value,
        order: Option<ControlOrder>,
    ) -> Result<(), StoreError> {
        self.write(move |tx| {
            tx.sql("UPDATE sessions SET pid = ?2 WHERE name = ?1")?.execute(params![name, pid])?;
            match commands::load(tx.connection, command)? {
                Some(command) if command.status.may_become(CommandStatus::Running) => {
                    let command = commands::advance(tx, command, CommandStatus::Running, Some(result), None)?;
                    if let Some(order) = order {
                        commands::keep_answer(tx, &order, &command, None)?;
                    }
                }
                // A restart has been running since its first program was asked to end.
                Some(command) if command.status == CommandStatus::Running => {
                    tx.sql("UPDATE commands SET result = ?2 WHERE id = ?1")?
                        .execute(params![command.id, tx::json(&result)])?;
                }
                _ => {}
            }
            Ok(())
        })
        .await
    }

    /// Notes that a session ended: its agent is offline and its token worthless. Doing it again
    /// changes nothing.
    pub async fn end_session(&self, name: String, agent: String, ending: String) -> Result<(), StoreError> {
        self.write(move |tx| {
            let changed = tx
                .sql("UPDATE sessions SET ended_at = ?2, ending = ?3 WHERE name = ?1 AND ended_at IS NULL")?
                .execute(params![name, tx.now, ending])?;
            if changed == 0 {
                return Ok(());
            }
            tx.sql("DELETE FROM tokens WHERE agent_id = ?1")?.execute([&agent])?;
            if let Some(mut card) = agents::load(tx.connection, &agent)? {
                card.status = AgentStatus::Offline;
                card.ready = false;
                card.last_seen = tx.now;
                agents::save(tx, &card)?;
            }
            let entry = NewActivity {
                body: Some(ending),
                meta: Some(agent.clone()),
                agent_id: Some(agent),
                icon: Some("ti-power".to_owned()),
                view: Some("agents".to_owned()),
                ..NewActivity::new(ActivityKind::State, format!("server-session-ended-{name}"), "Agent session ended")
            };
            activity::insert(tx, entry)?;
            Ok(())
        })
        .await
    }

    /// Fails what this host was carrying out when the relay ended, and what no session tells the end
    /// of: of what was asked for before `before`. Commands for orchestrators are theirs to report.
    pub async fn fail_orphaned_commands(&self, before: i64) -> Result<(), StoreError> {
        self.write(move |tx| {
            let orphans: Vec<i64> = tx
                .sql(
                    "SELECT id FROM commands WHERE status IN ('accepted', 'running') AND created_at < ?1
                         AND (message_id IS NULL OR target IN (SELECT agent_id FROM sessions))",
                )?
                .query_map([before], |row| row.get(0))?
                .collect::<Result<_, _>>()?;
            for id in orphans {
                if let Some(command) = commands::load(tx.connection, id)? {
                    let why = "the relay ended before this was done; ask again if it is still wanted".to_owned();
                    commands::advance(tx, command, CommandStatus::Failed, None, Some(why))?;
                }
            }
            Ok(())
        })
        .await
    }

    /// The latest session of an agent.
    pub async fn session(&self, agent: String) -> Result<Option<SessionRow>, StoreError> {
        self.read(move |connection| {
            Ok(connection
                .prepare_cached(&format!("SELECT {COLUMNS} FROM sessions WHERE agent_id = ?1"))?
                .query_row([agent], from_row)
                .optional()?)
        })
        .await
    }

    /// Sessions that may be running, newest first.
    pub async fn open_sessions(&self) -> Result<Vec<SessionRow>, StoreError> {
        self.read(open).await
    }
}

fn open(connection: &Connection) -> Result<Vec<SessionRow>, StoreError> {
    let mut statement = connection
        .prepare_cached(&format!("SELECT {COLUMNS} FROM sessions WHERE ended_at IS NULL ORDER BY started_at DESC"))?;
    let rows = statement.query_map([], from_row)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn from_row(row: &Row<'_>) -> Result<SessionRow, rusqlite::Error> {
    let mode: String = row.get(6)?;
    let prompt: String = row.get(7)?;
    Ok(SessionRow {
        start: SessionStart {
            spec: SpawnSpec {
                agent_id: row.get(0)?,
                provider: row.get(3)?,
                cwd: row.get(4)?,
                label: row.get(5)?,
                approval_mode: ApprovalMode::parse(&mode).unwrap_or_default(),
                prompt: from_json(&prompt)?,
            },
            command_id: row.get(1)?,
            name: row.get(2)?,
        },
        pid: row.get(8)?,
        started_at: row.get(9)?,
        ended_at: row.get(10)?,
        ending: row.get(11)?,
    })
}
