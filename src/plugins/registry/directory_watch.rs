//! Noticing that the plugin directory changed. An event is only a hint to look; that none is lost
//! does not matter, because there is a look every thirty seconds anyway.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;

use super::super::runtime::FailureReport;
use super::handle::Registry;
use super::look::Look;

/// Quiet time after an event before the directory is looked at: a copy makes many.
const QUIET: Duration = Duration::from_millis(200);
/// A directory that is never quiet is looked at after this long.
const QUIET_WAIT_MAX: Duration = Duration::from_secs(1);
/// A look without any event.
const RESCAN: Duration = Duration::from_secs(30);
/// A look while there is nothing to watch.
const RESCAN_UNWATCHED: Duration = Duration::from_secs(2);

/// Keeps the set up to date until `stop`.
pub(crate) async fn keep_up_to_date(
    registry: Arc<Registry>,
    directory: Option<PathBuf>,
    again: Option<Duration>,
    mut failure_reports: mpsc::Receiver<FailureReport>,
    stop: CancellationToken,
) {
    let (hint, mut hints) = mpsc::channel(1);
    let mut watch = directory.map(|directory| DirectoryWatch::new(directory, hint));
    let mut next = Instant::now() + again.unwrap_or(RESCAN);
    let mut probe: Option<Instant> = None;
    loop {
        if let Some(watch) = &mut watch {
            // What happened before the watch was there is only found by looking.
            if watch.follow() {
                next = Instant::now();
            }
        }
        tokio::select! {
            () = stop.cancelled() => return,
            Some(report) = failure_reports.recv() => {
                probe = registry.put_back(&report).await.map(|due| Instant::now() + due);
                continue;
            }
            () = sleep_until(probe.unwrap_or(next)), if probe.is_some() => {
                probe = registry.probe_due().await.map(|due| Instant::now() + due);
                continue;
            }
            () = registry.unused.notified() => {
                registry.retire();
                continue;
            }
            Some(()) = hints.recv() => quiet(&mut hints).await,
            () = sleep_until(next), if watch.is_some() => {}
        }
        let again = registry.look(Look::Changed, None).await;
        let interval = watch.as_ref().map_or(RESCAN, DirectoryWatch::interval);
        next = Instant::now() + again.unwrap_or(interval).min(interval);
    }
}

/// Waits until no more hints come.
async fn quiet(hints: &mut mpsc::Receiver<()>) {
    let end = Instant::now() + QUIET_WAIT_MAX;
    while Instant::now() < end {
        let pause = (Instant::now() + QUIET).min(end);
        if timeout_at(pause, hints.recv()).await.is_err() {
            return;
        }
    }
}

/// The watch on the directory, while it is there. Its parent is not watched instead: that is usually
/// the data directory, where each commit of the database would be an event.
struct DirectoryWatch {
    directory: PathBuf,
    watcher: Option<RecommendedWatcher>,
    /// Which file the watched directory was: one made anew has the same name.
    watched: Option<(u64, u64)>,
}

impl DirectoryWatch {
    fn new(directory: PathBuf, hint: mpsc::Sender<()>) -> Self {
        let watcher = notify::recommended_watcher({
            let directory = directory.clone();
            move |event: notify::Result<Event>| {
                if event.is_ok_and(|event| !concerns(&event, &directory)) {
                    return;
                }
                // A full queue is a hint already.
                let _ = hint.try_send(());
            }
        });
        if let Err(error) = &watcher {
            tracing::warn!("cannot watch for plugin changes, looking every {RESCAN:?} instead: {error}");
        }
        Self { directory, watcher: watcher.ok(), watched: None }
    }

    /// Watches what is there now. True when that is something new.
    fn follow(&mut self) -> bool {
        let Some(watcher) = &mut self.watcher else {
            return false;
        };
        let now = identity(&self.directory);
        if now == self.watched {
            return false;
        }
        if self.watched.take().is_some() {
            // The watch of a removed directory is gone with it.
            let _ = watcher.unwatch(&self.directory);
        }
        let Some(identity) = now else {
            return false;
        };
        match watcher.watch(&self.directory, RecursiveMode::Recursive) {
            Ok(()) => {
                self.watched = Some(identity);
                true
            }
            Err(error) => {
                tracing::warn!(path = %self.directory.display(), "cannot watch for plugin changes: {error}");
                false
            }
        }
    }

    /// How long until the next look without any event.
    fn interval(&self) -> Duration {
        if self.watched.is_some() { RESCAN } else { RESCAN_UNWATCHED }
    }
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    let metadata = path.metadata().ok()?;
    Some((metadata.dev(), metadata.ino()))
}

/// Whether an event is about the plugin directory. Reading a file is an event too, the relay's
/// own reading included.
fn concerns(event: &Event, directory: &Path) -> bool {
    !event.kind.is_access() && (event.paths.is_empty() || event.paths.iter().any(|path| path.starts_with(directory)))
}
