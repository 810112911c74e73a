//! Noticing that the plugin directory changed. An event is only a hint to look; that none is lost
//! does not matter, because there is a look every thirty seconds anyway.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;

use super::super::package::{self, FOLDERS_MAX};
use super::super::runtime::FailureReport;
use super::handle::Registry;
use super::look::Look;
use super::state::Trouble;

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
            registry.trouble(Trouble::Watching, watch.trouble.clone());
            registry.trouble(Trouble::FileSystem, on_network(&watch.directory));
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

/// What the operator should know of where the plugin directory lies.
fn on_network(directory: &Path) -> Option<String> {
    let kind = package::network_file_system(directory)?;
    let path = directory.display();
    Some(format!(
        "the plugin directory {path} lies on {kind}, which tells nobody of changes that another host makes: they are found \
         within {} s",
        RESCAN.as_secs()
    ))
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

/// The watches on the directory and on each folder in it, while they are there: so many and no more, since nothing below
/// a folder is watched. Links are followed only to what lies in the directory: what else there is at their end is not the
/// relay's to watch. A change that none of them tells of is found by the look every thirty seconds.
///
/// The directory's parent is not watched: that is usually the data directory, where each commit of the database would be
/// an event.
struct DirectoryWatch {
    directory: PathBuf,
    hint: mpsc::Sender<()>,
    watcher: Option<RecommendedWatcher>,
    /// Which file each watched path was: one made anew has the same name.
    watched: BTreeMap<PathBuf, (u64, u64)>,
    /// Why not everything is watched.
    trouble: Option<String>,
}

impl DirectoryWatch {
    fn new(directory: PathBuf, hint: mpsc::Sender<()>) -> Self {
        Self { directory, hint, watcher: None, watched: BTreeMap::new(), trouble: None }
    }

    /// Watches what is there now. True when something of that is new.
    fn follow(&mut self) -> bool {
        let wanted = paths_to_watch(&self.directory);
        self.trouble = None;
        if self.watcher.is_none() && !wanted.is_empty() {
            match watcher(self.hint.clone()) {
                Ok(watcher) => self.watcher = Some(watcher),
                Err(error) => self.trouble = Some(self.explain(&error)),
            }
        }
        let Some(watcher) = &mut self.watcher else {
            return false;
        };
        self.watched.retain(|path, identity| {
            let is_still = wanted.get(path) == Some(identity);
            if !is_still {
                // The watch of what was removed is gone with it.
                let _ = watcher.unwatch(path);
            }
            is_still
        });
        let mut is_new = false;
        let mut failed = None;
        for (path, identity) in wanted {
            if self.watched.contains_key(&path) {
                continue;
            }
            match watcher.watch(&path, RecursiveMode::NonRecursive) {
                Ok(()) => {
                    self.watched.insert(path, identity);
                    is_new = true;
                }
                Err(error) => failed = Some(error),
            }
        }
        self.trouble = failed.map(|error| self.explain(&error));
        is_new
    }

    /// How long until the next look without any event.
    fn interval(&self) -> Duration {
        if self.watched.is_empty() || self.trouble.is_some() { RESCAN_UNWATCHED } else { RESCAN }
    }

    /// The same for one error for as long as it lasts.
    fn explain(&self, error: &notify::Error) -> String {
        let why = match &error.kind {
            notify::ErrorKind::MaxFilesWatch => {
                "this user has no inotify watches left; raise fs.inotify.max_user_watches".to_owned()
            }
            notify::ErrorKind::Io(error) if error.raw_os_error() == Some(libc::EMFILE) => {
                "this user has no inotify instances left; raise fs.inotify.max_user_instances".to_owned()
            }
            notify::ErrorKind::Io(error) => error.to_string(),
            _ => error.to_string(),
        };
        let path = self.directory.display();
        format!(
            "changes of plugins are not told to the relay, which looks at {path} every {RESCAN_UNWATCHED:?} instead: {why}"
        )
    }
}

fn watcher(hint: mpsc::Sender<()>) -> notify::Result<RecommendedWatcher> {
    notify::recommended_watcher(move |event: notify::Result<Event>| {
        // Reading a file is an event too, the relay's own reading included.
        if event.is_ok_and(|event| event.kind.is_access()) {
            return;
        }
        // A full queue is a hint already.
        let _ = hint.try_send(());
    })
}

/// The directory and the folders in it, those included that links within it lead to.
fn paths_to_watch(directory: &Path) -> BTreeMap<PathBuf, (u64, u64)> {
    let mut paths = BTreeMap::new();
    let Some(root) = identity(directory) else {
        return paths;
    };
    paths.insert(directory.to_owned(), root);
    let Ok(real_root) = directory.canonicalize() else {
        return paths;
    };
    for entry in directory.read_dir().into_iter().flatten().flatten() {
        if paths.len() > FOLDERS_MAX {
            break;
        }
        // Prepared beside the others, to be renamed into place.
        if entry.file_name().as_encoded_bytes().starts_with(b".") {
            continue;
        }
        let path = match entry.file_type() {
            Ok(file) if file.is_dir() => entry.path(),
            Ok(file) if file.is_symlink() => match entry.path().canonicalize() {
                Ok(real) if real.starts_with(&real_root) && real != real_root && real.is_dir() => real,
                _ => continue,
            },
            _ => continue,
        };
        if let Some(identity) = identity(&path) {
            paths.insert(path, identity);
        }
    }
    paths
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    let metadata = path.metadata().ok()?;
    Some((metadata.dev(), metadata.ino()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn what_links_lead_to_outside_is_not_watched_and_nothing_below_a_folder_is() {
        let home = tempfile::tempdir().expect("a temporary directory");
        let (root, outside) = (home.path().join("plugins"), home.path().join("outside"));
        for number in 0..50 {
            std::fs::create_dir_all(outside.join(format!("{number}/deep"))).expect("made");
            std::fs::create_dir_all(root.join(format!("guard/target/{number}"))).expect("made");
        }
        std::fs::create_dir_all(root.join(".versions/other-2")).expect("made");
        symlink(".versions/other-2", root.join("other")).expect("a link");
        symlink(&outside, root.join("tree")).expect("a link");
        symlink("/", root.join("everything")).expect("a link");
        symlink(".", root.join("itself")).expect("a link");
        symlink("nowhere", root.join("dangling")).expect("a link");
        std::fs::write(root.join("file"), "").expect("written");
        let real = root.canonicalize().expect("it is there");
        let paths: Vec<PathBuf> = paths_to_watch(&root).into_keys().collect();
        let mut wanted = vec![root.clone(), real.join(".versions/other-2"), root.join("guard")];
        wanted.sort();
        assert_eq!(paths, wanted);
        for number in 0..2 * FOLDERS_MAX {
            std::fs::create_dir(root.join(format!("a{number}"))).expect("made");
        }
        assert_eq!(paths_to_watch(&root).len(), FOLDERS_MAX + 1);
        assert!(paths_to_watch(&home.path().join("not there")).is_empty());
    }

    #[test]
    fn what_cannot_be_watched_is_said_in_the_same_words_each_time_and_looked_at_more_often() {
        let home = tempfile::tempdir().expect("a temporary directory");
        let (hint, _hints) = mpsc::channel(1);
        let mut watch = DirectoryWatch::new(home.path().to_owned(), hint);
        assert!(watch.follow() && !watch.follow(), "new once");
        assert_eq!((watch.trouble.clone(), watch.interval()), (None, RESCAN));
        let no_instances = notify::Error::io(std::io::Error::from_raw_os_error(libc::EMFILE));
        for (error, word) in [
            (no_instances, "fs.inotify.max_user_instances"),
            (notify::Error::new(notify::ErrorKind::MaxFilesWatch), "fs.inotify.max_user_watches"),
        ] {
            let said = watch.explain(&error);
            assert!(said.contains(word) && said.contains("every 2s instead"), "{said}");
            watch.trouble = Some(said);
            assert_eq!(watch.interval(), RESCAN_UNWATCHED);
        }
        // Trouble that is over is not said any more.
        assert!(!watch.follow() && watch.trouble.is_none());
    }
}
