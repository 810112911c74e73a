//! Commands: the record of each control request, its message and its audit, in one transaction; and what
//! the policies were asked about each.

use std::ops::ControlFlow;

use serde_json::{Map, Value};

use crate::domain::attention::of_command;
use crate::domain::audit;
use crate::domain::control::command::{Command, CommandFilter, CommandStatus, RecordedDecision};
use crate::domain::control::order::{ControlAnswer, ControlOrder, denial_entry};
use crate::domain::control::{ControlKind, Question, VerdictRecord};
use crate::domain::event::{Audience, EventName};
use crate::domain::id::{AgentId, CommandId, OrchestratorId};
use crate::domain::message::{BounceReason, Message, NewMessage};
use crate::domain::page::{Filling, Limit, Page};
use crate::domain::refusal::Refusal;
use crate::domain::text::json::Exact;
use crate::domain::time::Timestamp;
use crate::store::control::{fleet, orchestrators};
use crate::store::engine::{AsJson, Conditions, Read, stored};
use crate::store::messages::bounces;
use crate::store::tx::search::NewestFirst;
use crate::store::tx::{self, Snapshot, Tx};
use crate::store::{Created, Idempotency, Json, Store, StoreError, activity, attention, messages, tokens};

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
    /// The agent that asked, where it was one.
    pub caller_agent: Option<AgentId>,
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

/// A command with what the policies were asked, as JSON, and the agent that an orchestrator is told to start.
struct Asked {
    command: Command,
    question: Option<String>,
    agent_id: Option<AgentId>,
}

stored! { stored Asked in commands { command as part Command, question, agent_id } }

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

/// What became of a control request that was to be recorded.
#[derive(Clone, Debug)]
pub enum Recorded {
    /// It was recorded.
    First {
        /// Its record.
        command: Box<Command>,
        /// What whoever asked is answered.
        answer: Created<ControlAnswer>,
    },
    /// It was before, under the same key: the first answer.
    Again(Created<ControlAnswer>),
}

/// The longest reason that is kept of a failure, in characters.
const REASON_MAX: usize = 4_000;

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
                && let Some(earlier) = tx::earlier_answer(tx, key)?
            {
                return Ok(Recorded::Again(earlier));
            }
            let (command, message) = insert(tx, new)?;
            activity::insert(tx, order.entry(&command, message.as_ref()))?;
            let json = keep_answer(tx, &order, &command, message.as_ref())?;
            if let Some(key) = &key {
                tx.bind(key, None, Some(command.id))?;
            }
            Ok(Recorded::First { command: Box::new(command), answer: Created::new(json) })
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
    pub async fn first_answer(&self, key: Idempotency) -> Result<Option<Created<ControlAnswer>>, StoreError> {
        self.read(move |snapshot| tx::earlier_answer(snapshot, &key)).await
    }

    /// What whoever asked for this command is answered.
    pub async fn answer_of(&self, id: CommandId) -> Result<Created<ControlAnswer>, StoreError> {
        self.read(move |snapshot| {
            let answer: Option<Option<String>> = snapshot.value("SELECT answer FROM commands WHERE id = $1", &[&id])?;
            let text = answer.flatten().ok_or(Refusal::NotFound("command"))?;
            Ok(Created::new(Json::from_text(text)))
        })
        .await
    }

    /// Ends a spawn that was only to be planned, with the answer that says so.
    pub async fn finish_dry_run(
        &self,
        id: CommandId,
        result: Value,
        order: Option<ControlOrder>,
    ) -> Result<(), StoreError> {
        self.write(move |tx| {
            let command = load(tx, id)?.ok_or(Refusal::NotFound("command"))?;
            let command = advance(tx, command, CommandStatus::Succeeded, Some(result.into()), None)?;
            if let Some(order) = order {
                keep_answer(tx, &order, &command, None)?;
            }
            Ok(())
        })
        .await
    }

    /// Fails a command of which nothing came, and takes its answer back: its key is free again.
    pub async fn withdraw_command(&self, id: CommandId, reason: String) -> Result<(), StoreError> {
        self.write(move |tx| {
            tx.execute("UPDATE commands SET answer = NULL WHERE id = $1", &[&id])?;
            let command = load(tx, id)?.ok_or(Refusal::NotFound("command"))?;
            if command.status.may_become(CommandStatus::Failed) {
                let reason = reason.chars().take(REASON_MAX).collect();
                advance(tx, command, CommandStatus::Failed, None, Some(reason))?;
            }
            Ok(())
        })
        .await
    }

    /// One command.
    pub async fn command(&self, id: CommandId) -> Result<Command, StoreError> {
        self.read(move |snapshot| Ok(load(snapshot, id)?.ok_or(Refusal::NotFound("command"))?)).await
    }

    /// Commands, newest first.
    pub async fn commands(&self, filter: CommandFilter) -> Result<Page<Command, CommandId>, StoreError> {
        self.read_page(move |snapshot| {
            let lists = [
                ("target", filter.target.as_ref().map(|target| target as _)),
                ("status", filter.status.as_ref().map(|status| status as _)),
                ("kind", filter.kind.as_ref().map(|kind| kind as _)),
            ];
            let rows = NewestFirst { table: "commands", lists: &lists, any: &[], since: 0 };
            rows.page(snapshot, filter.before, filter.limit, |command: &Command| command.id)
        })
        .await
    }

    /// Moves a command forward. A step that the state machine does not have is refused; a command that runs may be
    /// said to have another result so far.
    pub async fn report_command(
        &self,
        id: CommandId,
        status: CommandStatus,
        result: Option<Exact>,
        error: Option<String>,
    ) -> Result<Command, StoreError> {
        self.write(move |tx| {
            let mut command = load(tx, id)?.ok_or(Refusal::NotFound("command"))?;
            // It is over, though nobody may have noted that yet.
            if command.status == CommandStatus::Pending && command.expires_at <= tx.now {
                return Err(has_expired(status).into());
            }
            // What it waits for meanwhile is no step.
            if (command.status, status) == (CommandStatus::Running, CommandStatus::Running) && result.is_some() {
                (command.result, command.updated_at) = (result, tx.now);
                write_result(tx, &command)?;
                announce(tx, &command)?;
                return Ok(command);
            }
            advance(tx, command, status, result, error)
        })
        .await
    }

    /// Recorded decisions of commands with a smaller id than `before`, newest first.
    pub async fn decisions(
        &self,
        before: Option<CommandId>,
        limit: Limit,
    ) -> Result<Page<RecordedDecision, CommandId>, StoreError> {
        self.read_page(move |snapshot| {
            let mut query = Conditions::after(Decided::select());
            query.add("question IS NOT NULL AND id < ?", &[before.as_ref().unwrap_or(&COMMAND_MAX)]);
            query.push(" ORDER BY id DESC LIMIT ?", &[&limit]);
            let (sql, values) = query.parts();
            let (mut page, mut unread) = (Filling::new(limit), None);
            snapshot.each_of(sql, values, |decided| match recorded(decided) {
                Ok(decision) => page.take(decision),
                Err(error) => {
                    unread = Some(error);
                    ControlFlow::Break(())
                }
            })?;
            unread.map_or_else(|| Ok(page.finish(|last| last.command_id)), Err)
        })
        .await
    }
}

fn recorded(decided: Decided) -> Result<RecordedDecision, StoreError> {
    let Decided { command_id, at, kind, target, decision, question } = decided;
    let question: Question = serde_json::from_str(&question).map_err(|error| crate::store::Fault {
        table: "commands",
        column: "question",
        row: command_id.to_string(),
        problem: error.to_string(),
    })?;
    Ok(RecordedDecision { command_id, at, kind, target, question, decision })
}

/// Above every id.
const COMMAND_MAX: CommandId = CommandId::new(i64::MAX);

/// Has a command keep what whoever asked for it is answered.
pub(in crate::store) fn keep_answer(
    tx: &Tx<'_>,
    order: &ControlOrder,
    command: &Command,
    message: Option<&Message>,
) -> Result<Json<ControlAnswer>, StoreError> {
    // By way of a value, whose members are sorted: clients have always got them in this order.
    let answer = serde_json::to_value(order.answer(command, message)).expect("an answer is JSON");
    let json = Json::from_text(answer.to_string());
    tx.execute("UPDATE commands SET answer = $1 WHERE id = $2", &[&json.as_str(), &command.id])?;
    Ok(json)
}

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
    fleet::keep_descent(tx, &command, new.caller_agent.as_ref())?;
    let agent_id = command.starts();
    let asked = Asked { agent_id, command, question: new.question };
    let id = tx.insert_numbered(&asked)?;
    let mut command = Command { id: id.into(), ..asked.command };
    let message = match new.message {
        None => None,
        Some(mut message) => {
            message.meta.insert("commandId", command.id);
            message.expires_at = Some(command.expires_at);
            let (message, _) = messages::insert(tx, message)?;
            command.message_id = Some(message.id);
            tx.execute("UPDATE commands SET message_id = $1 WHERE id = $2", &[&message.id, &command.id])?;
            Some(message)
        }
    };
    announce(tx, &command)?;
    Ok((command, message))
}

/// Moves a command forward, tells those concerned, and audits its end.
pub(in crate::store) fn advance(
    tx: &mut Tx<'_>,
    command: Command,
    status: CommandStatus,
    result: Option<Exact>,
    error: Option<String>,
) -> Result<Command, StoreError> {
    let command = command.advance(status, result, error, tx.now)?;
    tx.execute(
        "UPDATE commands SET status = $1, result = $2, error = $3, updated_at = $4 WHERE id = $5",
        &[&command.status, &command.result.as_ref().map(AsJson), &command.error, &command.updated_at, &command.id],
    )?;
    announce(tx, &command)?;
    if command.status.is_final() {
        activity::insert(tx, audit::command_ended(&command))?;
        // What was done at last is done, however often it failed before.
        match command.status {
            CommandStatus::Succeeded => attention::end(tx, &command.cause())?,
            _ => attention::set(tx, of_command(&command))?,
        }
    }
    if matches!(command.status, CommandStatus::Failed | CommandStatus::Expired)
        && let Some(agent) = command.starts()
        && !runs(tx, &command.target, &agent)?
    {
        tokens::end_managed_by(tx, &command.target, &agent)?;
    }
    if (command.kind, command.status) == (ControlKind::Shutdown, CommandStatus::Succeeded) {
        for agent in shut_down_by(tx, &command)? {
            bounces::owe(tx, &agent, BounceReason::Shutdown)?;
        }
        bounces::tell_first(tx)?;
    }
    Ok(command)
}

/// Whether the orchestrator that this command is for runs this agent, though the command failed: its prompt did not
/// reach it, say.
pub(in crate::store) fn runs(tx: &Tx<'_>, orchestrator: &AgentId, agent: &AgentId) -> Result<bool, StoreError> {
    let Some(id) = OrchestratorId::of_agent(orchestrator) else { return Ok(false) };
    let orchestrator = orchestrators::load(tx, &id)?;
    Ok(orchestrator.is_some_and(|found| found.managed_agents.iter().any(|managed| managed.agent_id == *agent)))
}

/// Whether somebody asked for a restart of this agent, and it is not done.
pub(in crate::store) fn is_restarting(tx: &Tx<'_>, agent: &AgentId) -> Result<bool, StoreError> {
    let sql = "SELECT count(*) FROM commands WHERE target = $1 AND kind = 'restart'
                   AND status IN ('pending', 'accepted', 'running')";
    Ok(tx.count(sql, &[agent])? > 0)
}

/// The agents that a shutdown was for: the one it names, or all that its orchestrator has.
fn shut_down_by(tx: &Tx<'_>, command: &Command) -> Result<Vec<AgentId>, StoreError> {
    if let Some(agent) = command.request.get("agentId").and_then(Value::as_str) {
        return Ok(vec![agent.into()]);
    }
    let Some(orchestrator) = OrchestratorId::of_agent(&command.target) else {
        return Ok(vec![command.target.clone()]);
    };
    let managed = orchestrators::load(tx, &orchestrator)?.map(|orchestrator| orchestrator.managed_agents);
    Ok(managed.unwrap_or_default().into_iter().map(|agent| agent.agent_id).collect())
}

/// Adds members to the result of a command that goes on, and tells those concerned.
pub(in crate::store) fn tell(
    tx: &mut Tx<'_>,
    mut command: Command,
    told: Map<String, Value>,
) -> Result<(), StoreError> {
    let mut result = match command.result.take().map(|result| result.value()) {
        Some(Value::Object(result)) => result,
        _ => Map::new(),
    };
    result.extend(told);
    (command.result, command.updated_at) = (Some(Value::Object(result).into()), tx.now);
    write_result(tx, &command)?;
    announce(tx, &command)
}

/// Tells the target of a command, and the orchestrator that runs the target.
fn announce(tx: &mut Tx<'_>, command: &Command) -> Result<(), StoreError> {
    let also = orchestrators::told_to_start(tx, &command.target)?;
    let audience = Audience { also: also.as_deref().map(Into::into), ..Audience::only(&command.target) };
    tx.emit(EventName::CommandUpdated, audience, command)
}

fn has_expired(next: CommandStatus) -> Refusal {
    let (from, to) = (CommandStatus::Expired.to_string(), next.to_string());
    Refusal::IllegalTransition { noun: "command", from, to }
}

fn write_result(tx: &Tx<'_>, command: &Command) -> Result<(), StoreError> {
    tx.execute(
        "UPDATE commands SET result = $1, updated_at = $2 WHERE id = $3",
        &[&command.result.as_ref().map(AsJson), &command.updated_at, &command.id],
    )?;
    Ok(())
}

/// Fails every open command for an agent that will not report any more.
pub(in crate::store) fn fail_open_of(tx: &mut Tx<'_>, target: &AgentId, why: &str) -> Result<(), StoreError> {
    let open: Vec<Command> =
        tx.rows("WHERE target = $1 AND status IN ('pending', 'accepted', 'running')", &[target])?;
    for command in open {
        advance(tx, command, CommandStatus::Failed, None, Some(why.to_owned()))?;
    }
    Ok(())
}

/// Expires commands that nobody took up in time, at most `limit`.
pub(in crate::store) fn expire(tx: &mut Tx<'_>, limit: i64) -> Result<Vec<CommandId>, StoreError> {
    let late: Vec<Command> = tx.rows("WHERE status = 'pending' AND expires_at <= $1 LIMIT $2", &[&tx.now, &limit])?;
    let mut ids = Vec::with_capacity(late.len());
    for command in late {
        ids.push(command.id);
        let why = "nobody took it up in time; it will not be delivered any more".to_owned();
        advance(tx, command, CommandStatus::Expired, None, Some(why))?;
    }
    Ok(ids)
}

pub(in crate::store) fn load(snapshot: &Snapshot<'_>, id: CommandId) -> Result<Option<Command>, StoreError> {
    snapshot.row("WHERE id = $1", &[&id])
}
