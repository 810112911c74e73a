//! Noticing that an author changed something.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::Duration;

use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};

/// Quiet time after a change: an editor and a compiler write several files.
const QUIET: Duration = Duration::from_millis(300);
/// Folders of a project that are watched, its own among them.
const FOLDERS_MAX: usize = 256;
/// What compilers and package managers write, which no author changes by hand.
const NOT_SOURCES: [&str; 5] = ["target", "node_modules", ".venv", "__pycache__", ".git"];

/// Watches the files of a project.
pub struct SourceWatch {
    _watcher: RecommendedWatcher,
    hints: Receiver<()>,
}

impl SourceWatch {
    /// Watches what lies in this folder, without what compilers write there. `plugin.wasm` counts where it is not made
    /// from sources beside it.
    ///
    /// # Errors
    /// When the system does not watch it.
    pub fn of(folder: &Path, has_source: bool) -> Result<Self, String> {
        let failed = |error: &dyn std::fmt::Display| format!("cannot watch {}: {error}", folder.display());
        let folder = folder.canonicalize().map_err(|error| failed(&error))?;
        let (hint, hints) = sync_channel(1);
        let root = folder.clone();
        let mut watcher = notify::recommended_watcher(move |event: Result<Event, notify::Error>| {
            // One that waits already is as good as two.
            if event.is_ok_and(|event| is_change(&event, &root, has_source)) {
                let _ = hint.try_send(());
            }
        })
        .map_err(|error| failed(&error))?;
        for folder in folders(&folder) {
            watcher.watch(&folder, RecursiveMode::NonRecursive).map_err(|error| failed(&error))?;
        }
        Ok(Self { _watcher: watcher, hints })
    }

    /// Waits for a change, and until it is over. False when nothing can come any more.
    pub fn changed(&self) -> bool {
        if self.hints.recv().is_err() {
            return false;
        }
        while self.hints.recv_timeout(QUIET) != Err(RecvTimeoutError::Timeout) {}
        true
    }
}

fn is_change(event: &Event, root: &Path, has_source: bool) -> bool {
    let by_author = |path: &PathBuf| {
        let inside = path.strip_prefix(root).unwrap_or(path);
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let made = name == "plugin.wasm" && has_source;
        !made && !name.starts_with('.') && inside.iter().all(|part| NOT_SOURCES.iter().all(|not| part != *not))
    };
    !matches!(event.kind, EventKind::Access(_)) && event.paths.iter().any(by_author)
}

/// The folder and those below it that hold sources.
fn folders(folder: &Path) -> Vec<PathBuf> {
    let mut found = vec![folder.to_owned()];
    let mut next = 0;
    while let Some(folder) = found.get(next) {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        let below = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        let names = |path: &PathBuf| NOT_SOURCES.iter().all(|not| !path.ends_with(not));
        let below: Vec<PathBuf> = below.map(|entry| entry.path()).filter(names).collect();
        let room = FOLDERS_MAX - found.len();
        found.extend(below.into_iter().take(room));
        next += 1;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_author_changes_is_noticed_and_what_a_compiler_writes_is_not() {
        let root = Path::new("/p");
        let change = |path: &str, has_source| {
            let event = Event { kind: EventKind::Any, paths: vec![root.join(path)], attrs: Default::default() };
            is_change(&event, root, has_source)
        };
        for path in ["plugin.toml", "src/lib.rs", "tests/a.json", "app.py"] {
            assert!(change(path, true) && change(path, false), "{path}");
        }
        for path in ["target/x.wasm", "node_modules/a/b.js", ".plugin.wasm.draft", "__pycache__/app.pyc", "src/.x.swp"]
        {
            assert!(!change(path, true) && !change(path, false), "{path}");
        }
        assert!(!change("plugin.wasm", true) && change("plugin.wasm", false));
    }
}
