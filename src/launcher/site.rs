//! Where on this host an agent would start, as policies see it.

use std::path::{Path, PathBuf};

use super::{Host, Launcher, off_the_reactor};
use crate::domain::control::spawn::SpawnAsk;
use crate::domain::control::{Site, Spawn};
use crate::domain::text::path::{PathFacts, is_within, normalise};
use crate::sessions::Place;

impl Launcher {
    /// Where agents start on this host unless asked otherwise.
    pub fn site(&self) -> Site {
        let host = self.host();
        site_of(host, &host.roots[0])
    }

    /// A spawn on this host, as the policies see it: with its directory as given, normalised, and resolved
    /// through every symlink.
    ///
    /// The directory that is taken where none is given was resolved when the launcher was made. The disk is not
    /// asked for it here: nothing is started in a directory that is not looked at again.
    pub async fn locate(&self, ask: &SpawnAsk) -> Spawn {
        if ask.cwd.is_none() && self.0.has_base {
            let site = self.site();
            return ask.at(site.base_dir.clone(), site);
        }
        let (launcher, ask) = (self.clone(), ask.clone());
        off_the_reactor(move || {
            let host = launcher.host();
            let base = &host.roots[0];
            let given = ask.cwd.clone().unwrap_or_else(|| base.to_string_lossy().into_owned());
            let joined = base.join(&given);
            let resolved = std::fs::canonicalize(&joined).ok();
            let normalised = normalise(&joined);
            let site = site_of(host, resolved.as_deref().unwrap_or(&normalised));
            let cwd = PathFacts {
                given,
                normalised: normalised.to_string_lossy().into_owned(),
                resolved: resolved.map(|path| path.to_string_lossy().into_owned()),
            };
            ask.at(cwd, site)
        })
        .await
    }

    /// Opens an approved directory: from then on it is that one, whatever its name leads to later.
    ///
    /// # Errors
    ///
    /// What is wrong with the path, as words that follow it.
    pub async fn open(&self, path: &str) -> Result<Place, &'static str> {
        let path = PathBuf::from(path);
        off_the_reactor(move || {
            Place::open(&path).map_err(|error| {
                tracing::debug!(%error, "a directory was not opened");
                if path.is_dir() { "is not the directory that was approved any more" } else { "is not a directory" }
            })
        })
        .await
    }
}

/// The root that holds a path is the base directory of its site.
fn site_of(host: &Host, path: &Path) -> Site {
    let root = host.roots.iter().find(|root| is_within(path, root)).unwrap_or(&host.roots[0]);
    let text = root.to_string_lossy().into_owned();
    Site {
        orchestrator: host.orchestrator.clone(),
        hostname: host.hostname.clone(),
        base_dir: PathFacts { given: text.clone(), normalised: text.clone(), resolved: Some(text) },
    }
}
