//! Looking around among the directories in which agents may be started.

use std::path::{Path, PathBuf};

use super::{Host, Launcher, off_the_reactor};
use crate::domain::refusal::Refusal;
use crate::domain::text::path::is_within;

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
    let resolved = std::fs::canonicalize(&asked).ok().filter(|path| path.is_dir());
    let Some(resolved) = resolved else {
        return Err(Refusal::invalid(format!("path is not a directory: {}", asked.display())));
    };
    if !allowed(&resolved) {
        return Err(Refusal::OutsideBase(base.display().to_string()));
    }
    let found = std::fs::read_dir(&resolved)
        .map_err(|error| Refusal::invalid(format!("path cannot be read: {}: {error}", resolved.display())))?;
    let mut entries: Vec<(String, PathBuf)> = found
        .flatten()
        .filter_map(|entry| Some((entry.file_name().into_string().ok()?, entry.path())))
        .filter(|(name, path)| !name.starts_with('.') && path.is_dir())
        .collect();
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
