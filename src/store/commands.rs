//! Commands: the record of each control request, its message and its audit, in one transaction; and what
//! the policies were asked about each.

use std::ops::ControlFlow;

use serde_json::Value;

use super::engine::{AsJson, Conditions, Read, stored};
use super::tx::{self, Snapshot, Tx};
use super::{Answer, Created, Idempotency, Json, Store, StoreError, activity, messages};
use crate::domain::activity::Entry;
use crate::domain::audit;
use crate::domain::command::{Command, CommandFilter, CommandStatus, RecordedDecision};
use crate::domain::control::{ControlKind, Question, VerdictRecord};
use crate::domain::event::{Audience, EventName};
use crate::domain::id::{AgentId, CommandId};
use crate::domain::message::{Message, NewMessage};
use crate::domain::page::{Limit, Page};
use crate::domain::refusal::Refusal;
use crate::domain::time::Timestamp;

/// A control request that was decided on.
#[derive(Clone, Debug)]
pub struct NewCommand {
    /// What was asked for.
    pub kind: ControlKind,
    /// The agent it is for.
    pub target: AgentId,
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

stored! {
    stored Command in commands {
        id, kind, target, request as json, decision as json, status, result as json_or_null, error, message_id,
        requested_by, created_at, expires_at, updated_at,
    }
}

/// A command with what the policies were asked, as JSON.
struct Asked {
    command: Command,
    question: Option<String>,
}

stored! { stored Asked in commands { command as part Command, question } }

/// A recorded decision with the size of its question.
struct Decided {
    command_id: CommandId,
    at: Timestamp,
    kind: ControlKind,
    target: AgentId,
    decision: Vec<VerdictRecord>,
    question: String,
}

stored! {
    read Decided in commands { command_id = "id", at = "created_at", kind, target, decision as json, question }
}

/// What is answered and audited once the numbers of a command and its message are known.
type Announce = Box<dyn FnOnce(&Command, Option<&Message>) -> (Value, Entry) + Send>;

/// Bytes of the questions in one page: a question may have a quarter of a mebibyte.
const PAGE_BYTES_MAX: usize = 4 << 20;

impl Store {
    /// Records a command with its message and its audit entry. `announce` makes the answer.
    pub async fn record_command(
        &self,
        new: NewCommand,
        idempotency: Option<Idempotency>,
        announce: impl FnOnce(&Command, Option<&Message>) -> (Value, Entry) + Send + 'static,
    ) -> Result<(Answer, Option<Command>), StoreError> {
        let announce: Announce = Box::new(announce);
        self.write(move |tx| {
            let mut recorded = None;
            let answer = tx.once(idempotency.as_ref(), |tx| {
                let (command, message) = insert(tx, new)?;
                let (answer, entry) = announce(&command, message.as_ref());
                activity::insert(tx, entry)?;
                recorded = Some(command);
                Ok(Created::new(Json::of(&answer)))
            })?;
            Ok((answer, recorded))
        })
        .await
    }

    /// The first answer given under this key, if there was one.
    pub async fn earlier_answer(&self, idempotency: Idempotency) -> Result<Option<Answer>, StoreError> {
        self.read(move |snapshot| tx::earlier_answer(snapshot, &idempotency)).await
    }

    /// Replaces the answer kept under a key by one that says more, and answers it.
    pub async fn amend_answer(&self, idempotency: Option<Idempotency>, json: String) -> Result<Answer, StoreError> {
        if let Some(key) = idempotency {
            let json = json.clone();
            self.write(move |tx| {
                let update = "UPDATE idempotency SET answer = $1 WHERE scope = $2 AND key = $3";
                tx.execute(update, &[&json, &key.scope, &key.key])?;
                Ok(())
            })
            .await?;
        }
        Ok(Created::new(Json::from_text(json)))
    }

    /// Forgets the answer kept under a key: what it promised did not come about.
    pub async fn forget_answer(&self, idempotency: Option<Idempotency>) -> Result<(), StoreError> {
        let Some(key) = idempotency else { return Ok(()) };
        self.write(move |tx| {
            tx.execute("DELETE FROM idempotency WHERE scope = $1 AND key = $2", &[&key.scope, &key.key])?;
            Ok(())
        })
        .await
    }

    /// One command.
    pub async fn command(&self, id: CommandId) -> Result<Command, StoreError> {
        self.read(move |snapshot| Ok(load(snapshot, id)?.ok_or(Refusal::NotFound("command"))?)).await
    }

    /// Commands, newest first.
    pub async fn commands(&self, filter: CommandFilter) -> Result<Page<Command>, StoreError> {
        self.read(move |snapshot| {
            let mut query = Conditions::after(Command::select());
            query.add_if("target = ?", &filter.target);
            query.add_if("status = ?", &filter.status);
            query.add_if("kind = ?", &filter.kind);
            query.add_if("id < ?", &filter.before);
            query.push(" ORDER BY id DESC LIMIT ?", &[&filter.limit]);
            let (sql, values) = query.parts();
            Ok(Page::new(snapshot.rows_of(sql, values)?, filter.limit))
        })
        .await
    }

    /// Moves a command forward. A step that the state machine does not have is refused.
    pub async fn report_command(
        &self,
        id: CommandId,
        status: CommandStatus,
        result: Option<Value>,
        error: Option<String>,
    ) -> Result<Command, StoreError> {
        self.write(move |tx| {
            let command = load(tx, id)?.ok_or(Refusal::NotFound("command"))?;
            advance(tx, command, status, result, error)
        })
        .await
    }

    /// Recorded decisions of commands with a smaller id than `before`, newest first. A page of large
    /// questions is shorter than its limit, and never empty while there is one.
    pub async fn decisions(
        &self,
        before: Option<CommandId>,
        limit: Limit,
    ) -> Result<Vec<RecordedDecision>, StoreError> {
        self.read(move |snapshot| {
            let mut query = Conditions::after(Decided::select());
            query.add("question IS NOT NULL AND id < ?", &[before.as_ref().unwrap_or(&COMMAND_MAX)]);
            query.push(" ORDER BY id DESC LIMIT ?", &[&limit]);
            let (sql, values) = query.parts();
            let (mut page, mut bytes) = (Vec::new(), 0);
            snapshot.each_of(sql, values, |decided: Decided| {
                bytes += decided.question.len();
                if bytes > PAGE_BYTES_MAX && !page.is_empty() {
                    return ControlFlow::Break(());
                }
                page.push(decided);
                ControlFlow::Continue(())
            })?;
            page.into_iter().map(recorded).collect()
        })
        .await
    }
}

fn recorded(decided: Decided) -> Result<RecordedDecision, StoreError> {
    let Decided { command_id, at, kind, target, decision, question } = decided;
    let question: Question = serde_json::from_str(&question).map_err(|error| super::Fault {
        table: "commands",
        column: "question",
        row: command_id.to_string(),
        problem: error.to_string(),
    })?;
    Ok(RecordedDecision { command_id, at, kind, target, question, decision })
}

/// Above every id.
const COMMAND_MAX: CommandId = CommandId::new(i64::MAX);

fn insert(tx: &mut Tx<'_>, new: NewCommand) -> Result<(Command, Option<Message>), StoreError> {
    let command = Command {
        id: CommandId::default(),
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
    let asked = Asked { command, question: new.question };
    let id = tx.insert_numbered(&asked)?;
    let mut command = Command { id: id.into(), ..asked.command };
    let message = match new.message {
        None => None,
        Some(mut message) => {
            message.meta.insert("commandId".to_owned(), Value::from(command.id));
            message.expires_at = Some(command.expires_at);
            let (message, _) = messages::insert(tx, message)?;
            command.message_id = Some(message.id);
            tx.execute("UPDATE commands SET message_id = $1 WHERE id = $2", &[&message.id, &command.id])?;
            Some(message)
        }
    };
    tx.emit(EventName::CommandUpdated, Audience::only(&command.target), &command)?;
    Ok((command, message))
}

/// Moves a command forward, tells those concerned, and audits its end.
pub(super) fn advance(
    tx: &mut Tx<'_>,
    command: Command,
    status: CommandStatus,
    result: Option<Value>,
    error: Option<String>,
) -> Result<Command, StoreError> {
    let command = command.advance(status, result, error, tx.now)?;
    tx.execute(
        "UPDATE commands SET status = $1, result = $2, error = $3, updated_at = $4 WHERE id = $5",
        &[&command.status, &command.result.as_ref().map(AsJson), &command.error, &command.updated_at, &command.id],
    )?;
    tx.emit(EventName::CommandUpdated, Audience::only(&command.target), &command)?;
    if command.status.is_final() {
        activity::insert(tx, audit::command_ended(&command))?;
    }
    Ok(command)
}

/// Fails every open command for an agent that will not report any more.
pub(super) fn fail_open_of(tx: &mut Tx<'_>, target: &AgentId, why: &str) -> Result<(), StoreError> {
    let open: Vec<Command> =
        tx.rows("WHERE target = $1 AND status IN ('pending', 'accepted', 'running')", &[target])?;
    for command in open {
        advance(tx, command, CommandStatus::Failed, None, Some(why.to_owned()))?;
    }
    Ok(())
}

/// Expires commands that nobody took up in time, at most `limit`.
pub(super) fn expire(tx: &mut Tx<'_>, limit: i64) -> Result<Vec<CommandId>, StoreError> {
    let late: Vec<Command> = tx.rows("WHERE status = 'pending' AND expires_at <= $1 LIMIT $2", &[&tx.now, &limit])?;
    let mut ids = Vec::with_capacity(late.len());
    for command in late {
        ids.push(command.id);
        let why = "nobody took it up in time; it will not be delivered any more".to_owned();
        advance(tx, command, CommandStatus::Expired, None, Some(why))?;
    }
    Ok(ids)
}

pub(super) fn load(snapshot: &Snapshot<'_>, id: CommandId) -> Result<Option<Command>, StoreError> {
    snapshot.row("WHERE id = $1", &[&id])
}
