//! What is loaded, what was tried, and what follows from a look at the plugin directory.
//!
//! The folder is the truth: every look compares what lies there with what was last made of it,
//! and begins to load only what differs. Whoever looks holds the registry alone; what it begins is
//! loaded beside it (`loading`), so that nobody waits for a compiler who need not, and a newer change
//! overtakes it. What operators decide and what fails are the other two reasons for a change:
//! `operator` and `report`. `earlier` takes back what was active before, and `draining` follows what
//! no longer is until nobody uses it.

mod action;
mod blocking;
mod change;
mod directory_watch;
mod draining;
mod earlier;
mod failures;
mod history;
mod kept_files;
mod loader;
mod loading;
mod operate;
mod operator_state;
mod set;
mod shared;
mod status;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::domain::control::PolicyMode;
use crate::telemetry::metric;

use super::kinds::policy::Policy;
use super::kinds::{Plugin, Rejection, Stage};
use super::package::{self, Embedded, Fingerprint, Manifest, Origin, PluginKind, Source, Stamp, Terms};

pub use action::{Action, ActionError};
pub use change::{ChangeKind, PluginChange};
pub use history::Step;
pub use set::PluginSet;
pub use status::{PluginState, PluginStatus};

pub(crate) use directory_watch::keep;
pub(crate) use history::{History, Progress};
pub(crate) use loader::{Loader, compilers};
pub(crate) use loading::Candidate;
pub(crate) use operator_state::OperatorStates;
pub(crate) use shared::Shared;

use blocking::blocking;
use draining::Draining;
use loading::Coming;
use set::{Missing, Others};

/// A folder that disappears may be coming back: editors and copies replace by deleting and
/// creating.
const REMOVAL_GRACE: Duration = Duration::from_secs(2);
/// When a folder changed so recently that its metadata cannot be trusted, it is looked at again.
const UNSETTLED_RECHECK: Duration = Duration::from_secs(3);

/// What is loaded and what was tried.
pub(crate) struct Registry {
    loader: Arc<Loader>,
    states: OperatorStates,
    history: History,
    directory: Option<PathBuf>,
    required: Vec<String>,
    embedded: BTreeMap<String, BuiltIn>,
    built_in: BTreeMap<String, Place>,
    folders: BTreeMap<String, Place>,
    /// The latest generation of each id, which only ever rises.
    generations: BTreeMap<String, u64>,
    draining: Draining,
    /// What was begun and nobody loads yet.
    begun: Vec<Candidate>,
    changes: Vec<PluginChange>,
    warnings: Vec<String>,
    /// Who asked for what is being done, if somebody did.
    by: Option<String>,
    /// Whether the current set no longer is what [`Registry::next_set`] would give.
    dirty: bool,
}

/// A plugin in the relay's binary.
#[derive(Clone, Copy)]
struct BuiltIn {
    files: Embedded,
    kind: Option<PluginKind>,
}

/// Where one plugin comes from, and what was made of it.
#[derive(Default)]
pub(crate) struct Place {
    /// What is being loaded. Dropping it abandons that.
    coming: Option<Coming>,
    active: Option<Arc<Plugin>>,
    /// What was active before, for when `active` fails.
    previous: Option<Arc<Plugin>>,
    /// Why the latest candidate is not active: rejected or disabled.
    idle: Option<PluginStatus>,
    /// The latest candidate.
    tried: Option<Fingerprint>,
    /// Whether the latest manifest said that nothing may happen without this plugin.
    required: bool,
    stamp: Option<Stamp>,
    missing_since: Option<Instant>,
}

/// How thoroughly to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Look {
    /// Only at what may have changed.
    Changed,
    /// At everything, and try again what was rejected: somebody asked for it.
    Everything,
}

impl Registry {
    pub(crate) fn new(
        loader: Arc<Loader>,
        states: OperatorStates,
        history: History,
        directory: Option<PathBuf>,
        required: Vec<String>,
        embedded: Vec<Embedded>,
    ) -> Self {
        let built_in = |files: Embedded| {
            let (id, kind) = identity_of(files.manifest);
            (id, BuiltIn { files, kind })
        };
        Self {
            loader,
            states,
            history,
            directory,
            required,
            embedded: embedded.into_iter().map(built_in).collect(),
            built_in: BTreeMap::new(),
            folders: BTreeMap::new(),
            generations: BTreeMap::new(),
            draining: Draining::default(),
            begun: Vec::new(),
            changes: Vec::new(),
            warnings: Vec::new(),
            by: None,
            dirty: true,
        }
    }

    /// Looks at everything and begins to load what is new. Answers when to look again, if anything
    /// is still in motion.
    pub(crate) async fn look(&mut self, look: Look) -> Option<Duration> {
        self.look_at_all_embedded(look).await;
        let again = self.look_at_folders(look).await;
        if look == Look::Everything {
            self.probe(|_| true).await;
        }
        let warnings = self.states.warnings();
        self.dirty |= warnings != self.warnings;
        self.warnings = warnings;
        again
    }

    /// As [`Self::look`], at what is in the binary only.
    pub(crate) async fn look_at_all_embedded(&mut self, look: Look) {
        for (id, built_in) in self.embedded.clone() {
            self.look_at_embedded(id, built_in.files, look).await;
        }
    }

    async fn look_at_folders(&mut self, look: Look) -> Option<Duration> {
        let root = self.directory.clone()?;
        let listed = blocking({
            let root = root.clone();
            move || {
                let folders = package::list(&root)?;
                Ok::<_, std::io::Error>(
                    folders
                        .into_iter()
                        .map(|(name, path)| (name, package::stamp(&root, &path), path))
                        .collect::<Vec<_>>(),
                )
            }
        })
        .await;
        let listed = match listed {
            Ok(listed) => listed,
            // Not the same as an empty directory: what is loaded stays.
            Err(error) => {
                tracing::error!(path = %root.display(), "cannot list the plugin directory: {error}");
                return None;
            }
        };
        let mut again = self.remove_missing(&listed, look).await;
        for (name, stamp, path) in listed {
            if !stamp.is_settled() {
                again = Some(again.map_or(UNSETTLED_RECHECK, |again: Duration| again.min(UNSETTLED_RECHECK)));
            }
            self.look_at_folder(&root, name, &path, stamp, look).await;
        }
        again
    }

    /// Takes out the folders that are gone for good.
    async fn remove_missing(&mut self, listed: &[(String, Stamp, PathBuf)], look: Look) -> Option<Duration> {
        let now = Instant::now();
        let mut again = None;
        let mut gone = Vec::new();
        for (name, place) in &mut self.folders {
            if listed.iter().any(|(listed, ..)| listed == name) {
                continue;
            }
            let missing_since = *place.missing_since.get_or_insert(now);
            let left = REMOVAL_GRACE.saturating_sub(now.duration_since(missing_since));
            if look == Look::Everything || left.is_zero() {
                gone.push(name.clone());
            } else {
                again = Some(again.map_or(left, |again: Duration| again.min(left)));
            }
        }
        for name in gone {
            let Some(mut place) = self.folders.remove(&name) else {
                continue;
            };
            self.overtake(&mut place, "its folder is gone");
            tracing::info!(plugin.id = name, "plugin is removed");
            // What was set aside was what lay there.
            let note = self.states.note(&name, |choice| {
                choice.rolled_back = None;
                choice.gone = true;
            });
            note.await;
            let status = place.active.map(|plugin| PluginStatus::of_plugin(&plugin)).or(place.idle);
            let status =
                status.unwrap_or_else(|| PluginStatus::unknown(&name, Origin::Directory, PluginState::Disabled));
            self.changed(ChangeKind::Removed, status);
        }
        again
    }

    fn changed(&mut self, kind: ChangeKind, plugin: PluginStatus) {
        self.dirty = true;
        self.changes.push(PluginChange { kind, plugin, steps: Vec::new(), by: self.by.clone() });
    }

    /// Writes down that a plugin came to be as this shows it.
    fn note(&self, status: &PluginStatus) {
        self.history.note(&status.id, Step { by: self.by.clone(), ..Step::to(status) });
    }

    /// Who requested for what is done from now on, if somebody does.
    pub(crate) fn on_behalf_of(&mut self, by: Option<String>) {
        self.by = by;
    }

    /// What changed since this was last asked, and the steps that led to it.
    pub(crate) fn take_changes(&mut self) -> Vec<PluginChange> {
        let mut changes = std::mem::take(&mut self.changes);
        for change in &mut changes {
            change.steps = self.history.take_untold(&change.plugin.id);
        }
        changes
    }

    /// The set that follows from all this; nothing when it would be as it was.
    pub(crate) fn next_set(&mut self, unused: &Arc<Notify>) -> Option<PluginSet> {
        if !std::mem::take(&mut self.dirty) {
            return None;
        }
        let mut active = Vec::new();
        let mut others = Others::default();
        let mut show = |place: &Place| {
            active.extend(place.active.clone());
            others.idle.extend(place.idle.clone());
            others.coming.extend(place.coming.as_ref().map(Coming::progress));
        };
        for (id, folder) in &self.folders {
            show(folder);
            if let Some(built_in) = self.built_in.get(id).filter(|_| !folder.takes_its_id()) {
                show(built_in);
            }
        }
        self.built_in.iter().filter(|(id, _)| !self.folders.contains_key(*id)).for_each(|(_, built_in)| show(built_in));
        let missing = self.missing(&active);
        others.leaving = self.draining.follow(&active, &self.history, self.by.as_deref());
        Some(PluginSet::new(active, missing, others, self.warnings.clone(), Arc::clone(unused)))
    }

    /// Follows the set that another took the place of.
    pub(crate) fn leave(&mut self, set: Arc<PluginSet>) {
        self.draining.leave(set);
        self.retire();
    }

    /// Tells of the generations whose last request has ended.
    pub(crate) fn retire(&mut self) {
        for status in self.draining.retire(&self.history) {
            // What is told of a plugin anyway brings this step with it.
            if self.changes.iter().all(|change| change.plugin.id != status.id) {
                let change = PluginChange { kind: ChangeKind::Retired, plugin: status, steps: Vec::new(), by: None };
                self.changes.push(change);
            }
        }
    }

    fn missing(&self, active: &[Arc<Plugin>]) -> Vec<Missing> {
        let by_manifest = self
            .folders
            .iter()
            .chain(self.built_in.iter().filter(|(id, _)| !self.folders.contains_key(*id)))
            .filter(|(_, place)| place.required)
            .map(|(id, _)| id);
        let mut required: Vec<&String> = self.required.iter().chain(by_manifest).collect();
        required.sort();
        required.dedup();
        required.retain(|&id| {
            !active.iter().any(|plugin| {
                plugin.terms.id == *id && plugin.guest_as::<Policy>().is_some() && plugin.terms.mode != PolicyMode::Off
            })
        });
        required.into_iter().map(|id| Missing { id: id.clone(), reason: self.why_not(id) }).collect()
    }

    fn why_not(&self, id: &str) -> String {
        let places = [self.folders.get(id), self.built_in.get(id)];
        match places.into_iter().flatten().find_map(|place| place.idle.as_ref()) {
            Some(PluginStatus { error: Some(error), .. }) => error.reason.clone(),
            Some(_) => "it is disabled".to_owned(),
            None => "there is no active policy of this id".to_owned(),
        }
    }
}

impl Place {
    /// Whether a built-in plugin of the same id has to give way.
    fn takes_its_id(&self) -> bool {
        self.active.is_some() || self.is_disabled()
    }

    /// Whether somebody said that it is not to be loaded.
    fn is_disabled(&self) -> bool {
        self.idle.as_ref().is_some_and(|idle| idle.state == PluginState::Disabled)
    }

    /// Whether the latest rejection may pass by itself.
    fn is_passing(&self) -> bool {
        let error = self.idle.as_ref().and_then(|idle| idle.error.as_ref());
        error.is_some_and(|error| error.passing)
    }
}

/// What `GET /api/plugins` says of a plugin that an operator disabled.
fn disabled_by_operator(id: &str) -> String {
    format!("it is disabled by the operator; POST /api/plugins/{id}/enable ends that")
}

fn count(kind: ChangeKind, stage: &'static str) {
    metrics::counter!(metric::PLUGIN_RELOADS, "result" => kind.as_str(), "stage" => stage).increment(1);
}

/// The id and the kind in a manifest that was compiled into the relay.
fn identity_of(manifest: &str) -> (String, Option<PluginKind>) {
    match Manifest::parse(manifest) {
        Ok(manifest) => (manifest.id, Some(manifest.kind)),
        Err(_) => ("built-in".to_owned(), None),
    }
}
