//! Callbacks: what became of them, trying them again, and what whoever sends them needs.

use super::{Error, Relay, scopes};
use crate::domain::caller::Caller;
use crate::domain::id::CallbackId;
use crate::domain::page::Page;
use crate::domain::task::callback::{Attempt, Callback, CallbackFilter, Next};
use crate::domain::time::Timestamp;

// What is due is the store's own, so that whoever sends it needs to know no store.
pub use crate::store::Due;

impl Relay {
    /// A page of callbacks, newest first.
    pub async fn list_callbacks(
        &self,
        caller: &Caller,
        filter: CallbackFilter,
    ) -> Result<Page<Callback, CallbackId>, Error> {
        caller.require(scopes::READ_CALLBACKS)?;
        Ok(self.store.callbacks(filter).await?)
    }

    /// Has a dead callback tried again, with all the attempts of a new one; one that is pending, now. What comes after
    /// it for the same task waits for it.
    pub async fn retry_callback(&self, caller: &Caller, id: CallbackId) -> Result<Callback, Error> {
        caller.require(scopes::RETRY_CALLBACK)?;
        Ok(self.store.retry_callback(id, caller.principal().to_owned()).await?)
    }

    /// What is due to be sent, see [`Store::due_outgoing`](crate::store::Store::due_outgoing).
    pub async fn due_outgoing(
        &self,
        good: i64,
        failing: i64,
        room: impl FnMut(&str, bool) -> usize + Send + 'static,
    ) -> Result<Due, Error> {
        Ok(self.store.due_outgoing(good, failing, room).await?)
    }

    /// Waits until something may have become due that was not.
    pub async fn outgoing_changed(&self) {
        self.store.outgoing_changed().await;
    }

    /// Writes down an attempt and what follows from it.
    pub async fn note_attempt(&self, id: CallbackId, attempt: Attempt, next: Next) -> Result<(), Error> {
        Ok(self.store.note_attempt(id, attempt, next).await?)
    }

    /// The time, as records have it.
    pub fn now(&self) -> Timestamp {
        self.store.now()
    }
}
