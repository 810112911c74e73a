//! Tasks: asking for work and for answers, and telling how far one has come.

use std::time::Duration;

use serde::Deserialize;

use super::claims::lease_ms;
use super::text::{Writing, ago, lasting, marked, name, said};
use super::waits::length;
use super::{Answer, Problem, Toolbox, number};
use crate::domain::id::TaskId;
use crate::domain::message::MessageFilter;
use crate::domain::page::Limit;
use crate::domain::task::{DraftAnswer, TITLE_MAX, Task, TaskDraft, TaskKind, TaskStatus};
use crate::domain::text::clipped;
use crate::relay::messages::Claimant;
use crate::relay::tasks::Progress;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Do {
    action: Option<String>,
    #[serde(default, deserialize_with = "number")]
    id: Option<i64>,
    title: Option<String>,
    to: Option<String>,
    body: Option<String>,
    status: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Ask {
    question: Option<String>,
    options: Option<Vec<String>>,
    kind: Option<String>,
    to: Option<String>,
    #[serde(default, deserialize_with = "number")]
    id: Option<i64>,
}

impl Toolbox<'_> {
    pub(super) async fn task(&self, args: Do) -> Answer {
        match args.action.as_deref() {
            Some("create") => self.create(args).await,
            Some("claim") => self.claim_task(args).await,
            Some("progress") => {
                let status = args.status.clone().unwrap_or_else(|| TaskStatus::InProgress.to_string());
                self.report(args, status, &["in_progress", "blocked"]).await
            }
            Some("finish") => self.finish(args).await,
            Some("show") => Ok(self.shown(&self.get(task_id(args.id)?).await?)),
            action => Err(Problem::new(
                format!("{} is no action", said(action.unwrap_or_default())),
                "Use create, claim, progress, finish or show.",
            )),
        }
    }

    async fn create(&self, args: Do) -> Answer {
        if args.id.is_some() || args.status.is_some() {
            return Err(Problem::new("a new task has no id and no status yet", "Leave them out."));
        }
        let draft = TaskDraft { title: args.title, target: args.to, body: args.body, ..TaskDraft::default() };
        let created = self.relay.create_task(self.caller, draft, None).await.map_err(|error| self.problem(error))?;
        let Ok(task) = created.json.value() else { return Ok("Created.".to_owned()) };
        let to = match (&task.target, task.message_id) {
            (Some(to), Some(message)) => format!(" for {}, who get message {message}", name(to)),
            _ => ", which anybody may claim".to_owned(),
        };
        let id = task.id;
        Ok(format!("Created task {id}{to}. task {{\"action\": \"show\", \"id\": {id}}} tells how far it has come."))
    }

    pub(super) async fn get(&self, id: TaskId) -> Result<Task, Problem> {
        let one = Limit::parse(Some(1)).map_err(|error| self.problem(error))?;
        let found = self.relay.get_task(self.caller, id, None, one).await;
        Ok(found.map_err(|error| self.problem(error))?.0)
    }

    async fn claim_task(&self, args: Do) -> Answer {
        let (id, who) = (task_id(args.id)?, Claimant::default);
        let claimed = self.relay.claim_task(self.caller, id, who(), lease_ms(None)).await;
        let mut task = claimed.map_err(|error| self.problem(error))?;
        let generation = Some(task.claim_generation);
        // One that was held before keeps its end; whoever claims again wants more time.
        let renewed = self.relay.renew_task(self.caller, id, who(), generation, lease_ms(None)).await;
        task = renewed.map_err(|error| self.problem(error))?;
        let until = lasting(task.claim_expires_at.map_or(0, |until| until - self.relay.now()));
        let told = self.shown(&task);
        Ok(format!("You hold it for {until}. task progress prolongs that, task finish ends it.\n\n{told}"))
    }

    async fn report(&self, args: Do, status: String, allowed: &[&str]) -> Answer {
        let id = task_id(args.id)?;
        if !allowed.contains(&status.as_str()) {
            let text = format!("status must be one of {} here", allowed.join(", "));
            return Err(Problem::new(text, "Leave it out, or choose one of these."));
        }
        let who = Claimant::default;
        let progress = Progress { status: Some(status), note: args.body, ..Progress::default() };
        let reported = self.relay.report_task(self.caller, id, who(), progress).await;
        let task = reported.map_err(|error| self.problem(error))?;
        let mut told = format!("Task {id} is {}.", task.status);
        if task.finished_at.is_none() && task.claimed_by == self.caller.agent_id {
            // Whoever reports is alive, and wants to go on.
            let generation = Some(task.claim_generation);
            let renewed = self.relay.renew_task(self.caller, id, who(), generation, lease_ms(None)).await;
            let until = renewed.ok().and_then(|task| task.claim_expires_at);
            if let Some(until) = until {
                told.push_str(&format!(" You hold it for another {}.", lasting(until - self.relay.now())));
            }
        }
        Ok(told)
    }

    async fn finish(&self, args: Do) -> Answer {
        let id = task_id(args.id)?;
        if args.status.is_none() && self.get(id).await?.kind != TaskKind::Work {
            let answer = DraftAnswer { answer: args.body, ..DraftAnswer::default() };
            self.relay.answer_task(self.caller, id, answer).await.map_err(|error| self.problem(error))?;
            return Ok(format!("Question {id} is answered."));
        }
        let status = args.status.clone().unwrap_or_else(|| TaskStatus::Done.to_string());
        self.report(args, status, &["done", "failed", "canceled"]).await
    }

    /// A task as it is told.
    fn shown(&self, task: &Task) -> String {
        let now = self.relay.now();
        let from = task.from.as_ref().map_or_else(|| said(&task.source), |from| name(from));
        let mut text = format!("{} {} from {from}, {}: {}", task.kind, task.id, ago(now, task.created_at), task.status);
        match (&task.claimed_by, task.claim_expires_at) {
            (Some(by), Some(until)) => {
                text.push_str(&format!(", held by {} for another {}", name(by), lasting(until - now)));
            }
            (Some(by), None) => text.push_str(&format!(", by {}", name(by))),
            (None, _) => {}
        }
        if !task.blocked_by.is_empty() {
            let ids: Vec<_> = task.blocked_by.iter().map(ToString::to_string).collect();
            text.push_str(&format!(", waits for task {}", ids.join(", ")));
        }
        text.push_str(&format!("\n> {}\n", said(&task.title)));
        let mut writing = Writing::new(text);
        if let Some(result) = &task.result {
            let (result, cut) = marked(result.as_str(), 0, 4_000);
            writing.take(&format!("result:\n{result}{}", if cut.is_some() { "(cut)\n" } else { "" }));
        }
        let Some(body) = &task.body else { return writing.finish("") };
        let (body, cut) = marked(body, 0, writing.room());
        writing.take(&body);
        match (cut, task.message_id) {
            (Some(next), Some(message)) => writing
                .finish(&format!("(cut at character {next}; read {{\"id\": {message}, \"offset\": {next}}} goes on)")),
            (Some(next), None) => writing.finish(&format!("(cut at character {next})")),
            (None, _) => writing.finish(""),
        }
    }

    pub(super) async fn ask(&self, args: Ask) -> Answer {
        let me = self.me()?;
        let _waiting = self.waits.begin(me)?;
        let task = match (args.id, args.question) {
            (Some(id), None) => self.get(TaskId::new(id)).await?,
            (None, Some(question)) => {
                let first = question.trim().lines().next().unwrap_or_default();
                let title = clipped(first, TITLE_MAX);
                let is_whole = title == question.trim();
                let draft = TaskDraft {
                    kind: Some(args.kind.unwrap_or_else(|| TaskKind::Question.to_string())),
                    title: Some(title),
                    body: (!is_whole).then_some(question),
                    target: args.to,
                    options: args.options,
                    ..TaskDraft::default()
                };
                if draft.kind.as_deref() == Some(TaskKind::Work.as_str()) {
                    return Err(Problem::new("work is not asked", "Use task with action create."));
                }
                let made = self.relay.create_task(self.caller, draft, None).await;
                let made = made.map_err(|error| self.problem(error))?.json.value();
                made.map_err(|_| Problem::new("the question is asked, and its number is not known", "Call wait."))?
            }
            _ => return Err(Problem::new("question required", "Ask one, or give the id of an earlier one alone.")),
        };
        if task.kind == TaskKind::Work {
            return Err(Problem::new(format!("task {} is no question", task.id), "task with action show tells of it."));
        }
        if task.finished_at.is_none()
            && let Some(thread) = task.message_id
        {
            // The answer comes as a message; whether it is there is looked at before and after.
            let filter = MessageFilter {
                reaching: Some(me.clone()),
                thread: Some(thread),
                since: thread,
                limit: Limit::parse(Some(1)).map_err(|error| self.problem(error))?,
                ..MessageFilter::default()
            };
            self.answered(filter, length(None)).await?;
        }
        let task = self.get(task.id).await?;
        let (id, kind) = (task.id, task.kind);
        Ok(match (task.status, &task.result) {
            (TaskStatus::Done, Some(result)) => {
                let given = result.value();
                let text = |member: &str| given[member].as_str().map(str::to_owned).unwrap_or_default();
                let by = task.claimed_by.as_ref().map(|by| format!(" by {}", name(by))).unwrap_or_default();
                let mut writing = Writing::new(format!("{kind} {id} is answered{by}:\n"));
                for part in [text("answer"), text("note")].iter().filter(|part| !part.is_empty()) {
                    let (part, cut) = marked(part, 0, 9_000);
                    writing.take(&part);
                    if cut.is_some() {
                        writing.take("(cut; inbox has the whole answer)\n");
                    }
                }
                writing.finish("The same is in your inbox.")
            }
            (status, _) if task.finished_at.is_some() => format!("{kind} {id} is {status}: nobody will answer it."),
            _ => format!(
                "No answer to {kind} {id} yet. Go on with other work: the answer comes as a message. \
                 ask {{\"id\": {id}}} waits on."
            ),
        })
    }

    async fn answered(&self, filter: MessageFilter, wait: Duration) -> Result<(), Problem> {
        self.relay.list_messages(self.caller, filter, wait).await.map_err(|error| self.problem(error))?;
        Ok(())
    }
}

fn task_id(id: Option<i64>) -> Result<TaskId, Problem> {
    id.map(TaskId::new).ok_or_else(|| Problem::new("id required", "It is the number of the task, not of its message."))
}
