//! Taking work, finishing it, and giving it back.

use serde::Deserialize;

use super::text::{lasting, name};
use super::{Answer, Problem, Toolbox, number};
use crate::domain::id::{AgentId, MessageId, TaskId};
use crate::domain::message::Message;
use crate::domain::time::Timestamp;
use crate::relay::messages::Claimant;

/// How long a claim lasts unless it is said, in minutes: a model thinks longer than a program.
const MINUTES: i64 = 30;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Claim {
    #[serde(default, deserialize_with = "number")]
    id: Option<i64>,
    #[serde(default, deserialize_with = "number")]
    minutes: Option<i64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Held {
    #[serde(default, deserialize_with = "number")]
    id: Option<i64>,
}

/// How long a claim is to last, in milliseconds.
pub(super) fn lease_ms(minutes: Option<i64>) -> Option<i64> {
    Some(minutes.unwrap_or(MINUTES).saturating_mul(60_000))
}

impl Toolbox<'_> {
    pub(super) async fn claim(&self, args: Claim) -> Answer {
        let (me, id, lease) = (self.me()?, message_id(args.id)?, lease_ms(args.minutes));
        let who = Claimant::default;
        let claimed = self.relay.claim_message(self.caller, id, who(), lease).await;
        let mut message = claimed.map_err(|error| self.problem(error))?;
        let now = self.relay.now();
        // One that was held before keeps its end; whoever claims again wants more time.
        if message.claim_expires_at.zip(lease).is_some_and(|(until, lease)| until - now < lease - 1_000) {
            let generation = Some(message.claim_generation);
            let renewed = self.relay.renew_claim(self.caller, id, who(), generation, lease).await;
            message = renewed.map_err(|error| self.problem(error))?;
        }
        let until = lasting(message.claim_expires_at.map_or(0, |until| until - now));
        let said = self.whole(&message, 0, now).await;
        debug_assert_eq!(message.claimed_by.as_ref(), Some(me));
        let end = match self.task_of(&message).await {
            Some(task) => format!(
                "It is task {task}: task {{\"action\": \"finish\", \"id\": {task}}} ends it with what came of it, progress \
                 tells how far you have come"
            ),
            None => format!("complete {{\"id\": {id}}} when it is done"),
        };
        Ok(format!(
            "You hold it for {until}. {end}, release {{\"id\": {id}}} gives it back, claim again prolongs it.\n\n{said}"
        ))
    }

    /// The task that a message brings, by the task's own word: a sender can write anything into a message.
    async fn task_of(&self, message: &Message) -> Option<TaskId> {
        let id = TaskId::new(message.meta.get("taskId")?.as_i64()?);
        let task = self.get(id).await.ok()?;
        (task.message_id == Some(message.id)).then_some(id)
    }

    pub(super) async fn complete(&self, args: Held) -> Answer {
        let id = message_id(args.id)?;
        let generation = self.own_generation(id).await?;
        let done = self.relay.complete_claim(self.caller, id, Claimant::default(), Some(generation)).await;
        done.map_err(|error| self.problem(error))?;
        Ok(format!("The work of message {id} is done."))
    }

    pub(super) async fn release(&self, args: Held) -> Answer {
        let id = message_id(args.id)?;
        let generation = self.own_generation(id).await?;
        let released = self.relay.release_claim(self.caller, id, Claimant::default(), Some(generation)).await;
        released.map_err(|error| self.problem(error))?;
        Ok(format!("Message {id} is free again: somebody else may claim it."))
    }

    /// The generation of the claim that the caller holds of a message.
    async fn own_generation(&self, id: MessageId) -> Result<i64, Problem> {
        let me = self.me()?;
        let message = self.relay.get_message(self.caller, id).await.map_err(|error| self.problem(error))?;
        held_by(me, &message, self.relay.now())
    }
}

/// The generation of an agent's claim. Without one, the operation would only say that it is stale.
fn held_by(me: &AgentId, message: &Message, now: Timestamp) -> Result<i64, Problem> {
    let id = message.id;
    match &message.claimed_by {
        Some(holder) if holder == me => Ok(message.claim_generation),
        Some(_) if message.completed_at.is_some() => {
            Err(Problem::new(format!("the work of message {id} was done by somebody else"), "Go on with other work."))
        }
        Some(holder) => {
            let until = lasting(message.claim_expires_at.map_or(0, |until| until - now));
            let text = format!("message {id} is held by {} for another {until}", name(holder));
            Err(Problem::new(text, "Stop working on it: it is not yours."))
        }
        None if message.claimable => {
            let text = format!("you do not hold message {id}; a claim ends by itself after its time");
            Err(Problem::new(text, format!("claim {{\"id\": {id}}} takes it, if nobody else did.")))
        }
        None => Err(Problem::new(format!("message {id} is no work to be claimed"), "Answer it with send.")),
    }
}

fn message_id(id: Option<i64>) -> Result<MessageId, Problem> {
    id.map(MessageId::new).ok_or_else(|| Problem::new("id required", "inbox lists your messages with their numbers."))
}
