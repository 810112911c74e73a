//! Callbacks: what is told to others about tasks.

use reqwest::Method;

use crate::client::{Client, Pages, Request};
use crate::domain::id::{CallbackId, TaskId};
use crate::domain::task::callback::{Callback, CallbackStatus};

/// Requests about callbacks. See [`Client::callbacks`].
#[derive(Clone, Copy, Debug)]
pub struct Callbacks<'a>(pub(in crate::client) &'a Client);

/// Which callbacks.
#[derive(Clone, Debug, Default)]
pub struct CallbackQuery {
    /// Only those of this task.
    pub task: Option<TaskId>,
    /// Only those of which this has become.
    pub status: Option<CallbackStatus>,
    /// Only those with a smaller id.
    pub before: Option<CallbackId>,
    /// The size of a page: 100 unless given, at most 1000.
    pub limit: Option<u32>,
}

impl Callbacks<'_> {
    /// Callbacks with their attempts, newest first.
    pub fn list(&self, query: &CallbackQuery) -> Pages<Callback> {
        let request = self.0.request(Method::GET, "/api/callbacks");
        Pages::from(
            request
                .query("taskId", query.task)
                .query("status", query.status.map(CallbackStatus::as_str))
                .query("before", query.before)
                .query("limit", query.limit),
        )
    }

    /// Has one tried again that was given up.
    pub fn retry(&self, id: CallbackId) -> Request<Callback> {
        self.0.request(Method::POST, &format!("/api/callbacks/{id}/retry"))
    }
}
