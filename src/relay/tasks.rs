//! Tasks: asking for them, finding them, and bringing them to an end.

use super::messages::senders::require_name;
use super::messages::{Claimant, required};
use super::{Error, Relay, scopes};
use crate::domain::agent::SessionGuard;
use crate::domain::caller::Caller;
use crate::domain::id::{AgentId, TaskEventId, TaskId};
use crate::domain::page::{Limit, Page};
use crate::domain::refusal::Refusal;
use crate::domain::task::{DraftAnswer, NOTE_BYTES_MAX, Report, Task, TaskDraft, TaskEvent, TaskFilter, TaskStatus};
use crate::domain::text;
use crate::domain::text::json::Exact;
use crate::store::{Created, Idempotency};

/// What is said about how far a task has come.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    /// One of the statuses.
    pub status: Option<String>,
    /// The generation of the claim; without one the holder's name is enough.
    pub generation: Option<i64>,
    /// Words about it, at most 16 KiB.
    pub note: Option<String>,
    /// What came of it, at most 16 KiB of JSON.
    pub result: Option<Exact>,
}

impl Relay {
    /// Asks for a task: it is on disk, and its message with those it is for, once this is answered. One with the same
    /// key that is not finished is answered instead, with one more of its `occurrences`.
    pub async fn create_task(
        &self,
        caller: &Caller,
        draft: TaskDraft,
        key: Option<Idempotency>,
    ) -> Result<Created<Task>, Error> {
        caller.require(scopes::CREATE_TASK)?;
        let mut new = draft.parse(caller.agent_id.as_ref())?;
        self.settings.callbacks_allow.check_callback(new.callback_url.as_deref())?;
        if let Some(asker) = &new.from {
            require_name(caller, asker)?;
            self.store.touch(asker);
        }
        // Where nobody asks, its message comes from the relay, and says by whose credential.
        new.sender = self.sender(caller, new.from.as_ref().unwrap_or(&AgentId::system()));
        Ok(self.store.create_task(new, key).await?)
    }

    /// A page of tasks, newest first, and the filter that was applied. A bound credential lists what its agent asked
    /// for or holds, and what is for it or for anybody.
    pub async fn list_tasks(
        &self,
        caller: &Caller,
        mut filter: TaskFilter,
    ) -> Result<(Page<Task, TaskId>, TaskFilter), Error> {
        caller.require(scopes::READ_TASKS)?;
        if let Some(bound) = &caller.agent_id {
            match &filter.agent {
                Some(agent) => caller.require_identity(agent)?,
                None => (filter.agent, filter.or_for_anybody) = (Some(bound.clone()), true),
            }
        }
        Ok((self.store.tasks(filter.clone()).await?, filter))
    }

    /// One task with a page of what happened to it. A bound credential reads what it may list.
    pub async fn get_task(
        &self,
        caller: &Caller,
        id: TaskId,
        before: Option<TaskEventId>,
        limit: Limit,
    ) -> Result<(Task, Page<TaskEvent, TaskEventId>), Error> {
        caller.require(scopes::READ_TASKS)?;
        let task = self.store.task(id).await?;
        if let Some(agent) = &caller.agent_id
            && !task.concerns(&self.store.routes(agent.clone()).await?)
        {
            return Err(Refusal::NotAddressed { work: id.into(), agent: agent.clone() }.into());
        }
        let events = self.store.task_events(id, before, limit).await?;
        Ok((task, events))
    }

    /// Claims a task, and its message with it. `lease_ms` is 5 minutes unless given.
    pub async fn claim_task(
        &self,
        caller: &Caller,
        id: TaskId,
        who: Claimant,
        lease_ms: Option<i64>,
    ) -> Result<Task, Error> {
        let (agent, guard) = self.worker(caller, who)?;
        Ok(self.store.claim_task(id, agent, guard, lease_ms).await?)
    }

    /// Prolongs a claim held with this generation, by its own length unless another is given.
    pub async fn renew_task(
        &self,
        caller: &Caller,
        id: TaskId,
        who: Claimant,
        generation: Option<i64>,
        lease_ms: Option<i64>,
    ) -> Result<Task, Error> {
        let (agent, guard) = self.worker(caller, who)?;
        Ok(self.store.renew_task(id, agent, guard, required(generation)?, lease_ms).await?)
    }

    /// Gives back a claim held with this generation.
    pub async fn release_task(
        &self,
        caller: &Caller,
        id: TaskId,
        who: Claimant,
        generation: Option<i64>,
    ) -> Result<Task, Error> {
        let (agent, guard) = self.worker(caller, who)?;
        Ok(self.store.release_task(id, agent, guard, required(generation)?).await?)
    }

    /// Takes a report on a task: by its holder; that it is not wanted any more, by who asked or an administrator too.
    pub async fn report_task(
        &self,
        caller: &Caller,
        id: TaskId,
        who: Claimant,
        progress: Progress,
    ) -> Result<Task, Error> {
        let (agent, guard) = self.worker(caller, who)?;
        let status = text::required("status", progress.status, text::WORD_MAX)?;
        if progress.result.as_ref().is_some_and(|result| result.as_str().len() > text::META_BYTES_MAX) {
            let text = format!("result must have at most {} bytes of JSON", text::META_BYTES_MAX);
            return Err(Refusal::invalid(text).into());
        }
        let report = Report {
            agent,
            is_administrator: caller.is_administrator(),
            status: TaskStatus::named("status", &status)?,
            generation: progress.generation,
            note: text::long("note", progress.note, NOTE_BYTES_MAX)?,
            result: progress.result,
        };
        Ok(self.store.report_task(id, report, guard).await?)
    }

    /// Answers a question: by whom it is for, or an administrator. The first answer counts.
    pub async fn answer_task(&self, caller: &Caller, id: TaskId, draft: DraftAnswer) -> Result<Task, Error> {
        caller.require(scopes::ANSWER_TASK)?;
        let is_administrator = caller.is_administrator();
        let agent = AgentId::optional("agentId", draft.agent_id.clone())?
            .or_else(|| caller.agent_id.clone())
            .or_else(|| is_administrator.then(AgentId::user))
            .ok_or_else(|| Refusal::invalid("agentId required"))?;
        require_name(caller, &agent)?;
        self.store.touch(&agent);
        let sender = self.sender(caller, &agent);
        Ok(self.store.answer_task(id, draft.parse(agent, sender, is_administrator)?).await?)
    }

    /// Who works on a task, and gives a sign of life by it.
    fn worker(&self, caller: &Caller, who: Claimant) -> Result<(AgentId, SessionGuard), Error> {
        caller.require(scopes::WORK_ON_TASK)?;
        let agent = who.agent(caller)?;
        self.store.touch(&agent);
        Ok((agent, who.guard))
    }
}
