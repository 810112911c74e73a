//! Commands: the record of each control request, its message and its audit, in one transaction.

use rusqlite::{Connection, OptionalExtension, Row, params};
use serde_json::Value;

use super::super::{Idempotency, StoreError};
use super::tx::{self, Tx, from_json};
use super::{Store, activity, messages};
use crate::domain::activity::{ActivityKind, NewActivity};
use crate::domain::command::{Command, CommandStatus};
use crate::domain::control::{ControlKind, VerdictRecord};
use crate::domain::event::{Audience, EventName};
use crate::domain::message::{Message, NewMessage};
use crate::domain::order::{ControlOrder, denial_entry};
use crate::domain::refusal::Refusal;

/// A control request that was decided on.
#[derive(Clone, Debug)]
pub struct NewCommand {
    /// What was asked for.
    pub kind: ControlKind,
    /// The agent it is for.
    pub target: String,
    /// The request, as it was decided on.
    pub request: Value,
    /// What each policy said.
    pub decision: Vec<VerdictRecord>,
    /// What they were asked, as JSON; left out where it is too large to keep.
    pub question: Option<String>,
    /// Where it begins: denied, pending or accepted.
    pub status: CommandStatus,
    /// Why it was denied.
    pub error: Option<String>,
    /// Who asked.
    pub requested_by: String,
    /// How long it may wait to be taken up, in milliseconds.
    pub lifetime_ms: i64,
    /// The message that carries it; it expires with the command.
    pub message: Option<NewMessage>,
}

/// Which commands to list.
#[derive(Clone, Debug, Default)]
pub struct CommandFilter {
    /// Only those for this agent.
    pub target: Option<String>,
    /// Only those with this status.
    pub status: Option<CommandStatus>,
    /// Only those of this kind.
    pub kind: Option<ControlKind>,
    /// Only those with a smaller id: the next page.
    pub before: Option<i64>,
    /// At most this many, newest first.
    pub limit: usize,
}

/// What became of a control request that was to be recorded.
#[derive(Clone, Debug)]
pub enum Recorded {
    /// It was recorded.
    First {
        /// Its record.
        command: Command,
        /// What whoever asked is answered.
        json: String,
    },
    /// It was before, under the same key: the first answer.
    Again(String),
}

const COLUMNS: &str = "id, kind, target, request, decision, status, result, error, message_id, requested_by, created_at, expires_at, updated_at";

impl Store {
    /// Records a command with its message, its audit entry and the answer to whoever asked, to which the key
    /// is bound.
    pub async fn record_command(
        &self,
        new: NewCommand,
        order: ControlOrder,
        key: Option<Idempotency>,
    ) -> Result<Recorded, StoreError> {
        self.write(move |tx| {
            if let Some(key) = &key
                && let Some(earlier) = tx::earlier_answer(tx.connection, key)?
            {
                return Ok(Recorded::Again(earlier.json));
            }
            let (command, message) = insert(tx, new)?;
            activity::insert(tx, order.entry(&command, message.as_ref()))?;
            let json = keep_answer(tx, &order, &command, message.as_ref())?;
            if let Some(key) = &key {
                tx.bind(key, None, Some(command.id))?;
            }
            Ok(Recorded::First { command, json })
        })
        .await
    }

    /// Records a control that a policy refused, or could not decide on.
    pub async fn record_denial(&self, denied: NewCommand, policy: String) -> Result<Command, StoreError> {
        self.write(move |tx| {
            let reason = denied.error.clone().unwrap_or_default();
            let (command, _) = insert(tx, denied)?;
            activity::insert(tx, denial_entry(&command, &policy, &reason))?;
            Ok(command)
        })
        .await
    }

    /// The first answer given under this key, if there was one.
    pub async fn command_answer(&self, key: Idempotency) -> Result<Option<String>, StoreError> {
        self.read(move |connection| Ok(tx::earlier_answer(connection, &key)?.map(|answer| answer.json))).await
    }

    /// What whoever asked for this command was answered.
    pub async fn answer_of(&self, id: i64) -> Result<String, StoreError> {
        self.read(move |connection| {
            let answer: Option<Option<String>> = connection
                .prepare_cached("SELECT answer FROM commands WHERE id = ?1")?
                .query_row([id], |row| row.get(0))
                .optional()?;
            Ok(answer.flatten().ok_or(Refusal::NotFound("command"))?)
        })
        .await
    }

    /// Ends a spawn that was only to be planned, with the answer that says so.
    pub async fn finish_dry_run(&self, id: i64, result: Value, order: Option<ControlOrder>) -> Result<(), StoreError> {
        self.write(move |tx| {
            let command = load(tx.connection, id)?.ok_or(Refusal::NotFound("command"))?;
            let command = advance(tx, command, CommandStatus::Succeeded, Some(result), None)?;
            if let Some(order) = order {
                keep_answer(tx, &order, &command, None)?;
            }
            Ok(())
        })
        .await
    }

    /// Fails a command of which nothing came, and takes its answer back: its key is free again.
    pub async fn withdraw_command(&self, id: i64, reason: String) -> Result<(), StoreError> {
        self.write(move |tx| {
            tx.sql("UPDATE commands SET answer = NULL WHERE id = ?1")?.execute([id])?;
            let command = load(tx.connection, id)?.ok_or(Refusal::NotFound("command"))?;
            if command.status.may_become(CommandStatus::Failed) {
                let reason = reason.chars().take(REASON_MAX).collect();
                advance(tx, command, CommandStatus::Failed, None, Some(reason))?;
            }
            Ok(())
        })
        .await
    }

    /// One command.
    pub async fn command(&self, id: i64) -> Result<Command, StoreError> {
        self.read(move |connection| Ok(load(connection, id)?.ok_or(Refusal::NotFound("command"))?)).await
    }

    /// Commands, newest first.
    pub async fn commands(&self, filter: CommandFilter) -> Result<Vec<Command>, StoreError> {
        self.read(move |connection| {
            let mut statement = connection.prepare_cached(&format!(
                "SELECT {COLUMNS} FROM commands
                 WHERE (?1 IS NULL OR target = ?1) AND (?2 IS NULL OR status = ?2) AND (?3 IS NULL OR kind = ?3)
                   AND (?4 IS NULL OR id < ?4)
                 ORDER BY id DESC LIMIT ?5"
            ))?;
            let rows = statement.query_map(
                params![
                    filter.target,
                    filter.status.map(CommandStatus::as_str),
                    filter.kind.map(ControlKind::as_str),
                    filter.before,
                    filter.limit as i64
                ],
                from_row,
            )?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
        .await
    }

    /// Moves a command forward. A step that the state machine does not have is refused.
    pub async fn report_command(
        &self,
        id: i64,
        status: CommandStatus,
        result: Option<Value>,
        error: Option<String>,
    ) -> Result<Command, StoreError> {
        self.write(move |tx| {
            let command = load(tx.connection, id)?.ok_or(Refusal::NotFound("command"))?;
            advance(tx, command, status, result, error)
        })
        .await
    }
}

/// Has a command keep what whoever asked is answered.
pub(super) fn keep_answer(
    tx: &Tx<'_>,
    order: &ControlOrder,
    command: &Command,
    message: Option<&Message>,
) -> Result<String, StoreError> {
    // By way of a value, whose members are sorted: clients have always got them in this order.
    let answer = serde_json::to_value(order.answer(command, message)).expect("an answer is JSON");
    let json = answer.to_string();
    tx.sql("UPDATE commands SET answer = ?2 WHERE id = ?1")?.execute(params![command.id, json])?;
    Ok(json)
}

/// The longest reason that is kept of a failure, in characters.
const REASON_MAX: usize = 4_000;

fn insert(tx: &mut Tx<'_>, new: NewCommand) -> Result<(Command, Option<Message>), StoreError> {
    let mut command = Command {
        id: 0,
        kind: new.kind,
        target: new.target,
        request: new.request,
        decision: new.decision,
        status: new.status,
        result: None,
        error: new.error,
        message_id: None,
        requested_by: new.requested_by,
        created_at: tx.now,
        expires_at: tx.now + new.lifetime_ms,
        updated_at: tx.now,
    };
    tx.sql(
        "INSERT INTO commands (kind, target, request, decision, status, error, requested_by, created_at, expires_at,
                               updated_at, question)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
    )?
    .execute(params![
        command.kind.as_str(),
        command.target,
        tx::json(&command.request),
        tx::json(&command.decision),
        command.status.as_str(),
        command.error,
        command.requested_by,
        command.created_at,
        command.expires_at,
        command.updated_at,
        new.question
    ])?;
    command.id = tx.connection.last_insert_rowid();
    let message = match new.message {
        None => None,
        Some(mut message) => {
            message.meta.insert("commandId".to_owned(), Value::from(command.id));
            message.expires_at = Some(command.expires_at);
            let (message, _) = messages::insert(tx, message)?;
            command.message_id = Some(message.id);
            tx.sql("UPDATE commands SET message_id = ?2 WHERE id = ?1")?.execute([command.id, message.id])?;
            Some(message)
        }
    };
    tx.emit(EventName::CommandUpdated, Audience::only(&command.target), &command)?;
    Ok((command, message))
}

/// Moves a command forward, tells those concerned, and audits its end.
pub(super) fn advance(
    tx: &mut Tx<'_>,
    mut command: Command,
    status: CommandStatus,
    result: Option<Value>,
    error: Option<String>,
) -> Result<Command, StoreError> {
    if !command.status.may_become(status) {
        return Err(Refusal::IllegalTransition {
            noun: "command",
            from: command.status.as_str().to_owned(),
            to: status.as_str().to_owned(),
        }
        .into());
    }
    command.status = status;
    command.result = result.or(command.result);
    command.error = error.or(command.error);
    command.updated_at = tx.now;
    tx.sql("UPDATE commands SET status = ?2, result = ?3, error = ?4, updated_at = ?5 WHERE id = ?1")?.execute(
        params![command.id, status.as_str(), command.result.as_ref().map(tx::json), command.error, command.updated_at],
    )?;
    tx.emit(EventName::CommandUpdated, Audience::only(&command.target), &command)?;
    if status.is_final() {
        let title = format!("Command {} {}", command.kind.as_str(), status.as_str());
        let entry = NewActivity {
            body: command.error.clone(),
            meta: Some(command.target.clone()),
            agent_id: Some(command.target.clone()),
            ..NewActivity::new(
                ActivityKind::Control,
                format!("server-command-{}-{}", command.id, status.as_str()),
                title,
            )
        };
        activity::insert(tx, entry)?;
    }
    Ok(command)
}

/// Fails every open command for an agent that will not report any more.
pub(super) fn fail_open_of(tx: &mut Tx<'_>, target: &str, why: &str) -> Result<(), StoreError> {
    let open: Vec<Command> = tx
        .sql(&format!(
            "SELECT {COLUMNS} FROM commands WHERE target = ?1 AND status IN ('pending', 'accepted', 'running')"
        ))?
        .query_map([target], from_row)?
        .collect::<Result<_, _>>()?;
    for command in open {
        advance(tx, command, CommandStatus::Failed, None, Some(why.to_owned()))?;
    }
    Ok(())
}

/// Expires commands that nobody took up in time, at most `limit`.
pub(super) fn expire(tx: &mut Tx<'_>, limit: usize) -> Result<Vec<i64>, StoreError> {
    let late: Vec<Command> = tx
        .sql(&format!("SELECT {COLUMNS} FROM commands WHERE status = 'pending' AND expires_at <= ?1 LIMIT ?2"))?
        .query_map(params![tx.now, limit as i64], from_row)?
        .collect::<Result<_, _>>()?;
    let mut ids = Vec::with_capacity(late.len());
    for command in late {
        ids.push(command.id);
        let why = "nobody took it up in time; it will not be delivered any more".to_owned();
        advance(tx, command, CommandStatus::Expired, None, Some(why))?;
    }
    Ok(ids)
}

pub(super) fn load(connection: &Connection, id: i64) -> Result<Option<Command>, StoreError> {
    Ok(connection
        .prepare_cached(&format!("SELECT {COLUMNS} FROM commands WHERE id = ?1"))?
        .query_row([id], from_row)
        .optional()?)
}

fn from_row(row: &Row<'_>) -> Result<Command, rusqlite::Error> {
    let kind: String = row.get(1)?;
    let (request, decision, status): (String, String, String) = (row.get(3)?, row.get(4)?, row.get(5)?);
    let result: Option<String> = row.get(6)?;
    Ok(Command {
        id: row.get(0)?,
        kind: ControlKind::parse(&kind).unwrap_or(ControlKind::Spawn),
        target: row.get(2)?,
        request: from_json(&request)?,
        decision: from_json::<Vec<VerdictRecord>>(&decision)?,
        status: CommandStatus::parse(&status).unwrap_or(CommandStatus::Failed),
        result: result.as_deref().map(from_json).transpose()?,
        error: row.get(7)?,
        message_id: row.get(8)?,
        requested_by: row.get(9)?,
        created_at: row.get(10)?,
        expires_at: row.get(11)?,
        updated_at: row.get(12)?,
    })
}
