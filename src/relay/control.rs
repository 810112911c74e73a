//! Control: one pipeline for every request to start, restart or shut down an agent.
//!
//! A request takes the set of plugins once and keeps it from the first fact to the last plan, so that which
//! policies are asked, and which provider plans, does not change under it. Then: the answer to an earlier
//! request under the same key, a permit, of which there are only so many, the facts, the policies, and one transaction
//! that records the decision, sends the message and writes the audit entry. A denial is recorded too.

mod actions;
pub mod commands;
pub(super) mod facts;
mod orchestrators;
mod sessions;
mod settle;
pub(super) mod spawn;

use std::sync::Arc;

use serde_json::Value;
use tokio::sync::OwnedSemaphorePermit;
use tracing::Instrument as _;

use super::{Error, Relay, scopes};
use crate::domain::caller::Caller;
use crate::domain::control::command::CommandStatus;
use crate::domain::control::order::{ControlAnswer, ControlOrder};
use crate::domain::control::{Control, Decision, Outcome, Question, VerdictRecord};
use crate::domain::id::AgentId;
use crate::domain::refusal::Refusal;
use crate::launcher::Listing;
use crate::plugins::PluginSet;
use crate::store::{Created, Idempotency, NewCommand, Recorded};

pub use actions::{ManagedAction, ManagedTarget};
pub use facts::ControlAsk;
pub use settle::LeftOpen;

/// The largest question that is kept with its command: some thousand running agents.
const QUESTION_BYTES_MAX: usize = 256 * 1024;

/// One control request on its way.
struct Request<'a> {
    caller: &'a Caller,
    key: Option<Idempotency>,
    /// The plugins that decide and plan, from beginning to end.
    plugins: Arc<PluginSet>,
    /// Held while it is under way.
    _permit: OwnedSemaphorePermit,
}

/// Where a request begins.
enum Begun<'a> {
    /// It is to be carried out.
    New(Request<'a>),
    /// It was, under the same key: the first answer.
    Answered(Reply),
}

/// What a control request is answered with: 202 for what was begun, and the first answer again for a repeat.
pub type Reply = Created<ControlAnswer>;

/// A decision that lets something happen, with what is recorded of it.
struct Permit {
    /// The control as the policies left it.
    control: Control,
    verdicts: Vec<VerdictRecord>,
    /// What the policies were asked, as JSON; left out above [`QUESTION_BYTES_MAX`].
    question: Option<String>,
}

impl Relay {
    /// Lists the directories in which agents may be started on the relay's own host.
    pub async fn list_directories(&self, caller: &Caller, path: Option<String>) -> Result<Listing, Error> {
        caller.require(scopes::LIST_DIRECTORIES)?;
        Ok(self.launcher.list_directories(path).await?)
    }

    /// Begins a request: what was answered under its key is answered again, and of what is new there are only
    /// so many at once.
    async fn begin<'a>(
        &self,
        caller: &'a Caller,
        plugins: Arc<PluginSet>,
        key: Option<Idempotency>,
    ) -> Result<Begun<'a>, Error> {
        if let Some(key) = &key
            && let Some(answer) = self.store.first_answer(key.clone()).await?
        {
            return Ok(Begun::Answered(answer));
        }
        let permit = self.control_permits.clone().try_acquire_owned().map_err(|_| Refusal::Overloaded)?;
        Ok(Begun::New(Request { caller, key, plugins, _permit: permit }))
    }

    /// Asks the policies. What they refuse is recorded, and answered as a refusal. `target` and `wanted` are
    /// what is recorded then.
    async fn decide(
        &self,
        request: &Request<'_>,
        control: Control,
        target: &AgentId,
        wanted: Value,
    ) -> Result<Permit, Error> {
        let kind = control.kind();
        let context = self.context(request.caller).await?;
        let Decision { verdicts, narrowed, outcome } = request.plugins.decide(control.clone(), &context).await;
        let question = serde_json::to_string(&Question { control, context, narrowed }).ok();
        let question = question.filter(|text| text.len() <= QUESTION_BYTES_MAX);
        let label = match &outcome {
            Outcome::Allowed(_) => "allowed",
            Outcome::Denied { .. } => "denied",
            Outcome::Failed { .. } => "failed",
        };
        metrics::counter!(crate::telemetry::metric::CONTROLS, "kind" => kind.as_str(), "outcome" => label).increment(1);
        let (plugin, code, reason) = match outcome {
            Outcome::Allowed(control) => return Ok(Permit { control, verdicts, question }),
            Outcome::Denied { plugin, code, reason } => (plugin, Some(code), reason),
            Outcome::Failed { plugin, reason } => (plugin, None, reason),
        };
        let denied = NewCommand {
            kind,
            target: target.clone(),
            request: wanted,
            status: CommandStatus::Denied,
            error: Some(reason.clone()),
            ..self.new_command(request.caller, kind, verdicts, question)
        };
        let command = self.store.record_denial(denied, plugin.clone()).await?.id;
        Err(Error::Refused(match code {
            Some(policy_code) => Refusal::Denied { plugin, policy_code, reason, command },
            None => Refusal::PolicyFailed { plugin, reason, command },
        }))
    }

    /// Records an allowed request with its message and its audit entry, in one transaction.
    async fn record(
        &self,
        request: &Request<'_>,
        permit: Permit,
        order: ControlOrder,
        status: CommandStatus,
    ) -> Result<Recorded, Error> {
        let command = NewCommand {
            target: order.target().clone(),
            request: order.request(),
            status,
            message: order.message(&request.caller.name, self.store.now()),
            ..self.new_command(request.caller, order.kind(), permit.verdicts, permit.question)
        };
        Ok(self.store.record_command(command, order, request.key.clone()).await?)
    }

    fn new_command(
        &self,
        caller: &Caller,
        kind: crate::domain::control::ControlKind,
        decision: Vec<VerdictRecord>,
        question: Option<String>,
    ) -> NewCommand {
        NewCommand {
            kind,
            target: AgentId::system(),
            request: Value::Null,
            decision,
            question,
            status: CommandStatus::Pending,
            error: None,
            requested_by: caller.principal().to_owned(),
            caller_agent: caller.agent_id.clone().filter(|_| !caller.is_administrator()),
            lifetime_ms: i64::try_from(self.settings.command_lifetime.as_millis()).unwrap_or(i64::MAX),
            message: None,
        }
    }

    /// Runs work that must not end halfway when the caller hangs up: what was written down is also done.
    async fn to_its_end<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, Error>> + Send + 'static,
    ) -> Result<T, Error> {
        let task = self.tasks.spawn_on(work.in_current_span(), &self.runtime);
        task.await.map_err(|error| Error::internal(format!("a control request was not finished: {error}")))?
    }
}

fn reply(recorded: Recorded) -> Reply {
    match recorded {
        Recorded::First { answer, .. } | Recorded::Again(answer) => answer,
    }
}
