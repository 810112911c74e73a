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

use super::Shared;
use super::registry::Look;
use super::sandbox::Trouble;

/// Quiet time after an event before the directory is looked at: a copy makes many.
const QUIET: Duration = Duration::from_millis(200);
/// A directory that is never quiet is looked at after this long.
const QUIET_WAIT_MAX: Duration = Duration::from_secs(1);
/// A look without any event.
const RESCAN: Duration = Duration::from_secs(30);

/// Keeps the set up to date until `stop`.
pub(super) async fn keep(
    shared: Arc<Shared>,
    directory: Option<PathBuf>,
    again: Option<Duration>,
    mut troubles: mpsc::Receiver<Trouble>,
    stop: CancellationToken,
) {
    let (hint, mut hints) = mpsc::channel(1);
    let mut sight = directory.map(|directory| Sight::new(directory, hint));
    let mut next = Instant::now() + again.unwrap_or(RESCAN);
    loop {
        if let Some(sight) = &mut sight {
            // What happened before the watch was there is only found by looking.
            if sight.follow() {
                next = Instant::now();
            }
        }
        tokio::select! {
            () = stop.cancelled() => return,
            Some(trouble) = troubles.recv() => {
                shared.put_back(&trouble).await;
                continue;
            }
            Some(()) = hints.recv() => quiet(&mut hints).await,
            () = sleep_until(next), if sight.is_some() => {}
        }
        let again = shared.look(Look::Changed).await;
        next = Instant::now() + again.unwrap_or(RESCAN).min(RESCAN);
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

/// The watch on the directory, or on its parent for as long as the directory is not there.
struct Sight {
    directory: PathBuf,
    watcher: Option<RecommendedWatcher>,
    /// What is watched, and which file that was: a directory made anew has the same name.
    watched: Option<(PathBuf, (u64, u64))>,
}

impl Sight {
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
        let now = [Some(self.directory.as_path()), self.directory.parent()]
            .into_iter()
            .flatten()
            .find_map(|path| Some((path.to_owned(), identity(path)?)));
        if now == self.watched {
            return false;
        }
        if let Some((path, _)) = self.watched.take() {
            // The watch of a removed directory is gone with it.
            let _ = watcher.unwatch(&path);
        }
        let Some((path, identity)) = now else {
            return false;
        };
        let mode = if path == self.directory { RecursiveMode::Recursive } else { RecursiveMode::NonRecursive };
        match watcher.watch(&path, mode) {
            Ok(()) => {
                self.watched = Some((path, identity));
                true
            }
            Err(error) => {
                tracing::warn!(path = %path.display(), "cannot watch for plugin changes: {error}");
                false
            }
        }
    }
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    let metadata = path.metadata().ok()?;
    Some((metadata.dev(), metadata.ino()))
}

/// Whether an event is about the plugin directory. Reading a file is an event too, the relay's
/// own reading included, and the parent may hold a busy database.
fn concerns(event: &Event, directory: &Path) -> bool {
    !event.kind.is_access() && (event.paths.is_empty() || event.paths.iter().any(|path| path.starts_with(directory)))
}
