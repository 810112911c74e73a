//! Readers: a few connections that only read, each lent to one reader at a time.

use std::ops::Deref;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::StoreError;
use super::engine::Connection;

pub(super) struct Readers {
    idle: Mutex<Vec<Connection>>,
    permits: Arc<Semaphore>,
}

impl Readers {
    pub(super) fn open(writable: &Connection, path: &Path, count: usize) -> Result<Self, StoreError> {
        let idle = (0..count).map(|_| writable.open_readable(path)).collect::<Result<_, _>>()?;
        Ok(Self { idle: Mutex::new(idle), permits: Arc::new(Semaphore::new(count)) })
    }

    /// Waits for an idle connection and reserves it.
    pub(super) async fn permit(&self) -> Result<OwnedSemaphorePermit, StoreError> {
        self.permits.clone().acquire_owned().await.map_err(|_| StoreError::Closed)
    }

    /// The connection that was reserved. It is idle again when this is dropped, however the read ended.
    pub(super) fn lend(&self, permit: OwnedSemaphorePermit) -> Lent<'_> {
        let connection = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        Lent {
            readers: self,
            connection: Some(connection.expect("a permit stands for an idle connection")),
            _permit: permit,
        }
    }
}

/// A connection for one read.
pub(super) struct Lent<'a> {
    readers: &'a Readers,
    /// `None` only while this is dropped.
    connection: Option<Connection>,
    /// Given back after the connection.
    _permit: OwnedSemaphorePermit,
}

impl Deref for Lent<'_> {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        self.connection.as_ref().expect("lent until it is dropped")
    }
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        let Some(connection) = self.connection.take() else { return };
        if let Err(error) = connection.end_read() {
            tracing::warn!(%error, "cannot end a read");
        }
        self.readers.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
    }
}
