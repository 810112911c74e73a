//! What only the writer remembers of rows that are there: each is right as of its transaction, and forgotten with
//! a transaction that is undone.

use crate::store::messages::deliveries::Hosted;
use crate::store::messages::recipients::Members;
use crate::store::messages::threads::Threads;

/// What is remembered.
#[derive(Default)]
pub(in crate::store) struct Remembered {
    members: Members,
    threads: Threads,
    hosted: Hosted,
    /// Whether every task that waited for one which has ended knows. Until somebody looked, nobody knows.
    all_have_heard: bool,
    /// Whether something of the present job is among it.
    is_touched: bool,
}

impl Remembered {
    /// How many agents are in large groups.
    pub(in crate::store) fn members(&self) -> &Members {
        &self.members
    }

    /// The same, for what the present job changes or read.
    pub(in crate::store) fn members_mut(&mut self) -> &mut Members {
        self.is_touched = true;
        &mut self.members
    }

    /// When agents answered in the threads that are active; what it is told of the present job is
    /// [`Self::threads_mut`].
    pub(in crate::store) fn threads(&mut self) -> &mut Threads {
        &mut self.threads
    }

    /// The same, for what the present job changes or read.
    pub(in crate::store) fn threads_mut(&mut self) -> &mut Threads {
        self.is_touched = true;
        &mut self.threads
    }

    /// Whose sessions run, once somebody looked.
    pub(in crate::store) fn hosted(&self) -> &Hosted {
        &self.hosted
    }

    /// The same, for what the present job changes or read.
    pub(in crate::store) fn hosted_mut(&mut self) -> &mut Hosted {
        self.is_touched = true;
        &mut self.hosted
    }

    /// Whether it is known that no task waits to hear that another has ended.
    pub(in crate::store) fn nobody_waits_to_hear(&self) -> bool {
        self.all_have_heard
    }

    /// No task waits to hear of another, as somebody found who looked.
    pub(in crate::store) fn all_have_heard(&mut self) {
        self.is_touched = true;
        self.all_have_heard = true;
    }

    /// A task ended for which others wait.
    pub(in crate::store) fn some_wait_to_hear(&mut self) {
        self.is_touched = true;
        self.all_have_heard = false;
    }

    /// A job came to its end. What is remembered of one that is undone never happened.
    pub(in crate::store) fn settle(&mut self, is_done: bool) {
        if self.is_touched && !is_done {
            self.forget();
        }
        self.is_touched = false;
    }

    /// Forgets everything: the rows are asked again.
    pub(in crate::store) fn forget(&mut self) {
        *self = Self::default();
    }
}
