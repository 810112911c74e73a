//! Threads beside those that answer requests, for what may hold a thread up: loading plugins, and the
//! calls of one that may have much memory.
//!
//! A guest that loops is interrupted every few milliseconds, but not within an instruction, and there
//! is one that fills all the memory a call may have: a millisecond for each mebibyte. Moving a
//! call to another thread and back costs as much as a small call, so that is for those few.

use std::future::Future;
use std::panic::resume_unwind;

use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;
use tokio_util::task::AbortOnDropHandle;

/// More memory than this, in MiB, makes the calls of a plugin run here.
pub(crate) const MEMORY_MB_INLINE: u32 = 16;

/// A runtime of its own.
pub(crate) struct Threads(
    /// There until it is dropped.
    Option<Runtime>,
);

impl Threads {
    pub(crate) fn start() -> std::io::Result<Self> {
        Builder::new_multi_thread()
            .worker_threads(std::thread::available_parallelism().map_or(1, usize::from))
            .thread_name("plugins")
            .enable_all()
            .build()
            .map(|runtime| Self(Some(runtime)))
    }

    /// Begins work that goes on whether anybody waits for it or not.
    pub(crate) fn spawn<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
        match &self.0 {
            Some(runtime) => runtime.spawn(work),
            None => tokio::spawn(work),
        }
    }

    /// Does work for as long as somebody waits for it. A panic goes on here.
    pub(crate) async fn run<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> T {
        match AbortOnDropHandle::new(self.spawn(work)).await {
            Ok(done) => done,
            Err(error) if error.is_panic() => resume_unwind(error.into_panic()),
            // The relay is ending, and with it whoever waits.
            Err(_) => std::future::pending().await,
        }
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        // Whoever drops it may be a task, which must not wait for threads.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}
