//! Standing: where an agent is with its work, as it is told when it asks who it is.

use super::Agent;
use crate::domain::message::Message;
use crate::domain::task::Task;

/// Of each kind of what an agent holds, so many are told.
pub const HELD_MAX: usize = 50;

/// Where an agent is with its work.
#[derive(Clone, Debug, PartialEq)]
pub struct Standing {
    /// Its card; none when nobody registered it.
    pub agent: Option<Agent>,
    /// How many unread messages wait for it.
    pub unread: Unread,
    /// The messages whose claims it holds, oldest first: at most [`HELD_MAX`].
    pub messages: Vec<Message>,
    /// The tasks whose claims it holds, oldest first: at most [`HELD_MAX`]. The messages that bring them are not
    /// among `messages`.
    pub tasks: Vec<Task>,
}

/// How many unread messages wait for an agent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unread {
    /// As many as one look finds: at most 1000.
    pub count: usize,
    /// Whether there may be more.
    pub more: bool,
}

impl std::fmt::Display for Unread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.more {
            f.write_str("more than ")?;
        }
        self.count.fmt(f)
    }
}
