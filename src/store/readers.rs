//! Readers: a few connections that only read, each lent to one reader at a time. Pages of lists take milliseconds
//! where a row takes a tenth of one, so half of the connections at most are lent for pages: however many are asked
//! for, whoever wants a row waits for rows alone.

use std::ops::Deref;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};

use super::StoreError;
use super::engine::Connection;

pub(super) struct Readers {
    idle: Mutex<Vec<Connection>>,
    permits: Arc<Semaphore>,
    /// Of these, for pages.
    pages: Arc<Semaphore>,
    /// What was read and is not yet looked at takes up memory, up to a page each.
    results: Semaphore,
}

/// The right to a connection, and what is given back with it.
pub(super) struct Permit {
    _any: OwnedSemaphorePermit,
    _of_pages: Option<OwnedSemaphorePermit>,
}

/// What is read: it decides who waits for whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Size {
    /// A row, or a few.
    Rows,
    /// A page of a list, which a search may have to look for.
    Page,
}

/// Results that wait for whoever asked, at most.
const RESULTS_MAX: usize = 8;

impl Readers {
    pub(super) fn open(writable: &Connection, path: &Path, count: usize) -> Result<Self, StoreError> {
        let reader = || Ok(Connection::open_readable(path)?.counted_with(writable));
        let idle = (0..count).map(|_| reader()).collect::<Result<_, StoreError>>()?;
        let semaphore = |count| Arc::new(Semaphore::new(count));
        Ok(Self {
            idle: Mutex::new(idle),
            permits: semaphore(count),
            pages: semaphore(count.div_ceil(2)),
            results: Semaphore::new(RESULTS_MAX),
        })
    }

    /// Waits for a place for a result, which is kept until the result is taken.
    pub(super) async fn place(&self) -> Result<SemaphorePermit<'_>, StoreError> {
        self.results.acquire().await.map_err(|_| StoreError::Closed)
    }

    /// Waits for an idle connection and reserves it.
    pub(super) async fn permit(&self, size: Size) -> Result<Permit, StoreError> {
        let of = |semaphore: &Arc<Semaphore>| semaphore.clone().acquire_owned();
        let of_pages = match size {
            Size::Rows => None,
            Size::Page => Some(of(&self.pages).await.map_err(|_| StoreError::Closed)?),
        };
        Ok(Permit { _any: of(&self.permits).await.map_err(|_| StoreError::Closed)?, _of_pages: of_pages })
    }

    /// The connection that was reserved. It is idle again when this is dropped, however the read ended.
    pub(super) fn lend(&self, permit: Permit) -> Lent<'_> {
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
    _permit: Permit,
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

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[test]
    fn whoever_wants_a_row_does_not_wait_for_pages() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("relay.db");
        let writable = Connection::open_writable(&path).unwrap();
        let readers = Readers::open(&writable, &path, 4).unwrap();
        let permit = |size| readers.permit(size).now_or_never();
        let pages: Vec<_> = std::iter::from_fn(|| permit(Size::Page)).collect();
        assert_eq!(pages.len(), 2);
        let rows = [permit(Size::Rows), permit(Size::Rows)];
        assert!(rows.iter().all(Option::is_some), "two connections are left for them");
        assert!(permit(Size::Rows).is_none());
        drop(rows);
        assert!(permit(Size::Page).is_none(), "and only for them");
        drop(pages);
        assert!(permit(Size::Page).is_some());
    }
}
