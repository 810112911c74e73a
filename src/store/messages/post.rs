//! Posting: a message that somebody sends, with what its sender is told of it.

use serde::Deserialize;

use super::{insert_into, recipients, similar, thread_of, threads};
use crate::domain::attention::of_loop;
use crate::domain::audit;
use crate::domain::id::MessageId;
use crate::domain::message::{NewMessage, Outcome, Sent, THREAD_WINDOW_MS};
use crate::domain::refusal::Refusal;
use crate::store::{Created, Idempotency, Store, StoreError, activity, attention};

/// How a message is posted.
#[derive(Clone, Copy, Debug, Default)]
pub struct Posting {
    /// Refuse what reaches nobody.
    pub strict: bool,
    /// Replies by agents that a thread may have within the window; 0 is no limit.
    pub thread_replies: usize,
}

/// A message that was posted.
#[derive(Clone, Debug)]
pub struct Posted {
    /// What whoever sent it is answered.
    pub answer: Created<Sent>,
    /// Its id.
    pub id: MessageId,
    /// How many agents it reached when it was stored; unknown for a first answer of an earlier version.
    pub recipients: Option<i64>,
}

/// What a first answer says of its message.
#[derive(Deserialize)]
struct Earlier {
    id: MessageId,
    recipients: Option<i64>,
}

impl Store {
    /// Stores a message that somebody sends. Refuses an answer to a message that is not there, one more reply in a
    /// thread where agents answer each other in a loop, and, when `strict`, what reaches nobody.
    pub async fn post(
        &self,
        message: NewMessage,
        posting: Posting,
        idempotency: Option<Idempotency>,
    ) -> Result<Posted, StoreError> {
        let outcome = self.write(move |tx| {
            let (mut made, from) = (None, message.from.clone());
            let answer = tx.once(idempotency.as_ref(), |tx| {
                let thread = thread_of(tx, message.reply_to)?;
                if let Some(thread) = thread {
                    threads::check(tx, thread, &message.from, posting.thread_replies)?;
                }
                let recipients = recipients::count(tx, &message.to, &message.from)?;
                if posting.strict && recipients == 0 {
                    return Err(Refusal::NoRecipient { to: message.to, similar: Vec::new() }.into());
                }
                let (message, json) = insert_into(tx, thread, message)?;
                made = Some((message.id, recipients));
                Ok(Created::new(json.joined(&Outcome { recipients: Some(recipients), ..Outcome::default() })))
            });
            match answer {
                // Nothing of it was written, so this can be.
                Err(StoreError::Refused(refusal)) => {
                    if let Refusal::LoopSuspected { thread, replies, wait_ms } = refusal
                        && threads::is_news(tx, thread)
                    {
                        let first = tx.now + wait_ms - THREAD_WINDOW_MS;
                        activity::insert(tx, audit::loop_suspected(thread, &from, replies, first))?;
                        attention::set(tx, of_loop(thread, &from, replies))?;
                        return Ok(Err(refusal));
                    }
                    Err(refusal.into())
                }
                Err(error) => Err(error),
                Ok(answer) => Ok(Ok((answer, made))),
            }
        });
        let (answer, made) = outcome.await??;
        let (id, recipients) = match made {
            Some((id, recipients)) => (id, Some(recipients)),
            None => {
                let earlier: Earlier =
                    serde_json::from_str(answer.json.as_str()).map_err(|error| crate::store::Fault {
                        table: "idempotency",
                        column: "answer",
                        row: "?".to_owned(),
                        problem: error.to_string(),
                    })?;
                (earlier.id, earlier.recipients)
            }
        };
        Ok(Posted { answer, id, recipients })
    }

    /// Up to three targets that look like this one and reach somebody.
    pub async fn similar_targets(&self, to: String) -> Result<Vec<String>, StoreError> {
        match self.inner.similar.look_up(&to) {
            Ok(known) => Ok(known),
            Err(generation) => {
                let target = to.clone();
                let found = self.read(move |snapshot| similar::find(snapshot, &target)).await?;
                self.inner.similar.remember(to, found.clone(), generation);
                Ok(found)
            }
        }
    }
}
