//! Looking around among the directories in which agents may be started.

use std::path::{Path, PathBuf};

use super::Relay;
use crate::domain::path::is_within;
use crate::domain::refusal::Refusal;

/// The directories below one directory.
#[derive(Clone, Debug)]
pub struct Listing {
    /// The directory, resolved.
    pub path: PathBuf,
    /// The one above, while that is allowed.
    pub parent: Option<PathBuf>,
    /// The home directory of the relay's user.
    pub home: PathBuf,
    /// Where agents start unless asked otherwise.
    pub cwd: PathBuf,
    /// Names and paths of the directories in it, hidden ones left out, sorted; at most [`ENTRIES_MAX`].
    pub entries: Vec<(String, PathBuf)>,
}

/// The most directories of one listing.
const ENTRIES_MAX: usize = 1_000;

impl Relay {
    /// Lists a directory below the roots. It asks the file system, so not on a thread of the reactor.
    pub fn list_directories(&self, path: Option<&str>) -> Result<Listing, Refusal> {
        let base = &self.host.roots[0];
        let asked = path.map_or_else(|| base.clone(), |path| base.join(path));
        let allowed = |path: &Path| self.host.roots.iter().any(|root| is_within(path, root));
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
            home: self.host.home.clone(),
            cwd: base.clone(),
            entries,
        })
    }
}
