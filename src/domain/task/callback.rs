//! Callbacks: each step of a task is told to the address that it names, until somebody there has taken it.

pub mod address;
mod payload;
mod schedule;

use serde::{Deserialize, Serialize};
use url::Url;
use utoipa::ToSchema;

use super::TaskEventKind;
use crate::domain::id::{CallbackId, TaskEventId, TaskId};
use crate::domain::page::{Limit, Query};
use crate::domain::refusal::Refusal;
use crate::domain::text::word::words;
use crate::domain::time::Timestamp;

pub use payload::{PAYLOAD_BYTES_MAX, payload};
pub use schedule::{BACKOFF_MS, Next, WAIT_MS_MAX, next, retry_after};

/// Of the attempts of a callback so many are kept, the newest.
pub const ATTEMPTS_KEPT: usize = 32;
/// Of what a receiver answers so much is kept, in bytes.
pub const ANSWER_BYTES_KEPT: usize = 1024;
/// The longest reason that is kept of a failed attempt, in bytes.
const ERROR_BYTES_MAX: usize = 500;

words! {
    /// What has become of a callback.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
    #[serde(rename_all = "lowercase")]
    pub enum CallbackStatus {
        /// It is still to be sent, for the first time or again.
        Pending = "pending",
        /// Its receiver answered that it was taken.
        Delivered = "delivered",
        /// It is not tried any more, unless somebody asks for it.
        Dead = "dead",
    }
}

words! {
    /// What is sent to others.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum OutgoingKind {
        /// The step of a task, to the task's own address.
        Callback = "callback",
    }
}

/// One attempt to deliver a callback.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Attempt {
    /// When it began, in milliseconds since the epoch.
    #[schema(value_type = i64)]
    pub at: Timestamp,
    /// The status that was answered; null where none was.
    #[schema(required = true)]
    pub status: Option<u16>,
    /// How long it took, in milliseconds.
    pub ms: i64,
    /// The beginning of what was answered, at most 1 KiB.
    pub answer: String,
    /// Why it failed, where the status does not say it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl Attempt {
    /// An attempt of which nothing is kept that is too long.
    pub fn new(at: Timestamp, status: Option<u16>, ms: i64, answer: &[u8], error: Option<&str>) -> Self {
        let clipped = |text: &str, most| crate::domain::text::clipped_bytes(text, most).to_owned();
        let answer = String::from_utf8_lossy(&answer[..answer.len().min(ANSWER_BYTES_KEPT)]);
        Self {
            at,
            status,
            ms,
            answer: clipped(&answer, ANSWER_BYTES_KEPT),
            error: error.map(|error| clipped(error, ERROR_BYTES_MAX)),
        }
    }
}

/// A callback as clients see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Callback {
    /// Increases with every callback: those of a task are sent in this order.
    #[schema(value_type = i64)]
    pub id: CallbackId,
    /// The task.
    #[schema(value_type = i64)]
    pub task_id: TaskId,
    /// The event of the task that it tells.
    #[schema(value_type = i64)]
    pub event_id: TaskEventId,
    /// What happened to the task.
    pub event: TaskEventKind,
    /// Where it is sent.
    pub url: String,
    /// What tells its receiver that two requests are one callback: the same at every attempt.
    pub webhook_id: String,
    /// What has become of it.
    pub status: CallbackStatus,
    /// The newest attempts, oldest first.
    #[schema(max_items = 32)]
    pub attempts: Vec<Attempt>,
    /// When it is tried next. A pending one without waits for an earlier one of its task.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<i64>)]
    pub next_attempt_at: Option<Timestamp>,
    /// When it was made, in milliseconds since the epoch.
    #[schema(value_type = i64)]
    pub created_at: Timestamp,
    /// When it last changed.
    #[schema(value_type = i64)]
    pub updated_at: Timestamp,
    /// Attempts since it was made, or since somebody had it tried again. Kept, not told.
    #[serde(skip)]
    #[schema(ignore)]
    pub tries: i64,
}

impl Callback {
    /// Notes an attempt and what follows from it. One that lost its turn to an earlier one meanwhile gets none.
    pub fn attempted(&mut self, attempt: Attempt, next: Next, now: Timestamp) {
        self.attempts.push(attempt);
        let surplus = self.attempts.len().saturating_sub(ATTEMPTS_KEPT);
        self.attempts.drain(..surplus);
        self.tries += 1;
        self.updated_at = now;
        match next {
            Next::Delivered => self.end(CallbackStatus::Delivered),
            Next::Dead => self.end(CallbackStatus::Dead),
            Next::Again { after_ms } => {
                self.next_attempt_at = self.next_attempt_at.map(|_| now + after_ms);
            }
        }
    }

    fn end(&mut self, status: CallbackStatus) {
        self.status = status;
        self.next_attempt_at = None;
    }

    /// Has it tried again: from the beginning where it was dead. What was delivered stays so.
    pub fn retry(&mut self, now: Timestamp) -> Result<(), Refusal> {
        match self.status {
            CallbackStatus::Delivered => {
                let (from, to) = (self.status.as_str().to_owned(), CallbackStatus::Pending.as_str().to_owned());
                return Err(Refusal::IllegalTransition { noun: "callback", from, to });
            }
            CallbackStatus::Dead => self.tries = 0,
            CallbackStatus::Pending => {}
        }
        (self.status, self.updated_at) = (CallbackStatus::Pending, now);
        Ok(())
    }

    /// Host and port of where it is sent: the rest of an address may be a secret.
    pub fn receiver(&self) -> String {
        Url::parse(&self.url).map_or_else(|_| "its receiver".to_owned(), |url| address::receiver(&url))
    }

    /// Why the latest attempt failed, in a few words.
    pub fn last_problem(&self) -> String {
        match self.attempts.last() {
            Some(Attempt { error: Some(error), .. }) => error.clone(),
            Some(Attempt { status: Some(status), .. }) => format!("it answered {status}"),
            _ => "it was not tried".to_owned(),
        }
    }
}

/// Something that is due to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// Which one.
    pub id: CallbackId,
    /// What has the same one is sent one after the other.
    pub line: String,
    /// Host and port.
    pub receiver: String,
    /// The address.
    pub url: String,
    /// The same at every attempt.
    pub webhook_id: String,
    /// What is sent.
    pub body: String,
    /// Attempts so far, since it was made or had to begin anew.
    pub tries: i64,
    /// Whether the latest attempt at its receiver failed, whatever that was an attempt of.
    pub is_failing: bool,
}

/// Which callbacks to list.
#[derive(Clone, Debug, Default)]
pub struct CallbackFilter {
    /// Only those of this task.
    pub task: Option<TaskId>,
    /// Only those with this status.
    pub status: Option<CallbackStatus>,
    /// Only those with a smaller id: the next page.
    pub before: Option<CallbackId>,
    /// At most this many, newest first.
    pub limit: Limit,
}

impl CallbackFilter {
    /// The query of the page after this callback.
    pub fn page_after(&self, last: CallbackId) -> Query {
        Query::default()
            .with("taskId", self.task)
            .with("status", self.status)
            .with("limit", Some(self.limit))
            .with("before", Some(last))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn new() -> Callback {
        Callback {
            id: 1.into(),
            task_id: 1.into(),
            event_id: 1.into(),
            event: TaskEventKind::Created,
            url: String::new(),
            webhook_id: String::new(),
            status: CallbackStatus::Pending,
            attempts: Vec::new(),
            next_attempt_at: Some(Timestamp::default()),
            created_at: Timestamp::default(),
            updated_at: Timestamp::default(),
            tries: 0,
        }
    }

    #[test]
    fn of_many_attempts_the_newest_are_kept() {
        let mut callback = new();
        for status in 0..100 {
            let attempt = Attempt::new(Timestamp::default(), Some(status), 0, &[b'x'; 5_000], Some(&"e".repeat(5_000)));
            callback.attempted(attempt, Next::Again { after_ms: 1 }, Timestamp::default());
        }
        assert_eq!((callback.attempts.len(), callback.attempts[0].status), (ATTEMPTS_KEPT, Some(68)));
        assert_eq!(callback.tries, 100);
        let last = callback.attempts.last().expect("one");
        assert_eq!(
            (last.answer.len(), last.error.as_deref().map(str::len)),
            (ANSWER_BYTES_KEPT, Some(ERROR_BYTES_MAX))
        );
    }

    #[test]
    fn what_is_delivered_stays_so_and_what_is_dead_begins_anew() {
        let attempted = |next| {
            let mut callback = new();
            callback.attempted(Attempt::new(Timestamp::default(), None, 0, b"", None), next, Timestamp::from_ms(5));
            callback
        };
        let mut delivered = attempted(Next::Delivered);
        assert!(delivered.retry(Timestamp::default()).is_err() && delivered.status == CallbackStatus::Delivered);
        let mut dead = attempted(Next::Dead);
        assert_eq!((dead.status, dead.next_attempt_at, dead.tries), (CallbackStatus::Dead, None, 1));
        dead.retry(Timestamp::default()).unwrap();
        assert_eq!((dead.status, dead.tries, dead.attempts.len()), (CallbackStatus::Pending, 0, 1));
        let mut again = attempted(Next::Again { after_ms: 7 });
        assert_eq!((again.status, again.next_attempt_at), (CallbackStatus::Pending, Some(Timestamp::from_ms(12))));
        again.retry(Timestamp::default()).unwrap();
        assert_eq!(again.tries, 1);
    }
}
