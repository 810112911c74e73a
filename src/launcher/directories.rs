//! Looking around among the directories in which agents may be started.

use std::path::{Path, PathBuf};

use super::{Host, Launcher, off_the_reactor};
use crate::domain::refusal::Refusal;
use crate::domain::text::path::is_within;
use crate::sessions::Place;

/// The directories below one directory.
#[derive(Clone, Debug)]
pub struct Listing {
    /// The directory, resolved.
    pub path: PathBuf,
    /// The one above, while that is allowed.
    pub parent: Option<PathBuf>,
    /// The home directory of the user that agents run as.
    pub home: PathBuf,
    /// Where agents start unless asked otherwise.
    pub cwd: PathBuf,
    /// Names and paths of the directories in it, hidden ones left out, sorted; at most [`ENTRIES_MAX`].
    pub entries: Vec<(String, PathBuf)>,
}

/// The most directories of one listing.
pub const ENTRIES_MAX: usize = 1_000;

impl Launcher {
    /// Lists a directory below the roots; the first root unless one is named.
    ///
    /// # Errors
    ///
    /// [`Refusal::OutsideBase`] for a path outside every root, whether or not it exists;
    /// [`Refusal::Invalid`] for one that is no directory or cannot be read.
    pub async fn list_directories(&self, path: Option<String>) -> Result<Listing, Refusal> {
        let launcher = self.clone();
        off_the_reactor(move || list(launcher.host(), path.as_deref())).await
    }
}

fn list(host: &Host, path: Option<&str>) -> Result<Listing, Refusal> {
    let base = &host.roots[0];
    let asked = path.map_or_else(|| base.clone(), |path| base.join(path));
    let allowed = |path: &Path| host.roots.iter().any(|root| is_within(path, root));
    // Outside is outside whether or not it exists: what is there is nobody's business.
    if !allowed(&asked) {
        return Err(Refusal::OutsideBase(base.display().to_string()));
    }
    let none = || Refusal::invalid(format!("path is not a directory: {}", asked.display()));
    let resolved = std::fs::canonicalize(&asked).map_err(|_| none())?;
    if resolved.is_dir() && !allowed(&resolved) {
        return Err(Refusal::OutsideBase(base.display().to_string()));
    }
    // What is read is what the path led to when it was looked at, and not what it was exchanged for.
    let place = Place::open(&resolved).map_err(|_| none())?;
    let found = place
        .directories()
        .map_err(|error| Refusal::invalid(format!("path cannot be read: {}: {error}", resolved.display())))?;
    let shown = found.into_iter().filter(|name| !name.starts_with('.'));
    let mut entries: Vec<(String, PathBuf)> = shown.map(|name| (name.clone(), resolved.join(name))).collect();
    entries.sort();
    entries.truncate(ENTRIES_MAX);
    Ok(Listing {
        parent: resolved.parent().filter(|parent| allowed(parent)).map(Path::to_path_buf),
        path: resolved,
        home: host.home.clone(),
        cwd: base.clone(),
        entries,
    })
}
