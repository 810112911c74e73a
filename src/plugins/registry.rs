//! What is loaded, what was tried, and what follows from a look at the plugin directory.
//!
//! The folder is the truth: every look compares what lies there with what was last made of it,
//! and changes only what differs. Whoever looks holds the registry alone, so loads happen one
//! after the other. What operators decide and what fails are the other two reasons for a change:
//! `operator` and `trouble`. `earlier` takes back what was active before.

mod earlier;
mod operator;
mod trouble;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::domain::control::PolicyMode;
use crate::telemetry::metric;

use super::candidate::{Source, Workshop};
use super::choices::{Choices, Content};
use super::folder::{self, Signature};
use super::manifest::Terms;
use super::plugin::{Fingerprint, Origin, Plugin, PluginState, PluginStatus, Rejection, Stage};
use super::set::{Missing, PluginSet};
use super::{ChangeKind, Embedded, PluginChange, blocking};

/// A folder that disappears may be coming back: editors and copies replace by deleting and
/// creating.
const REMOVAL_GRACE: Duration = Duration::from_secs(2);
/// When a folder changed so recently that its metadata cannot be trusted, it is looked at again.
const UNSETTLED_RECHECK: Duration = Duration::from_secs(3);

/// What is loaded and what was tried.
pub(super) struct Registry {
    workshop: Workshop,
    choices: Choices,
    directory: Option<PathBuf>,
    required: Vec<String>,
    embedded: Vec<(String, Embedded)>,
    built_in: BTreeMap<String, Place>,
    folders: BTreeMap<String, Place>,
    /// The latest generation of each id, which only ever rises.
    generations: BTreeMap<String, u64>,
    changes: Vec<PluginChange>,
    warnings: Vec<String>,
    /// Whether the current set no longer is what [`Registry::set`] would give.
    dirty: bool,
}

/// Where one plugin comes from, and what was made of it.
#[derive(Default)]
struct Place {
    active: Option<Arc<Plugin>>,
    /// What was active before, for when `active` fails.
    previous: Option<Arc<Plugin>>,
    /// Why the latest candidate is not active: rejected or disabled.
    idle: Option<PluginStatus>,
    /// The latest candidate.
    tried: Option<Fingerprint>,
    /// Whether the latest manifest said that nothing may happen without this plugin.
    required: bool,
    signature: Option<Signature>,
    missing_since: Option<Instant>,
}

/// How thoroughly to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// Only at what may have changed.
    Changed,
    /// At everything, and try again what was rejected: somebody asked for it.
    Everything,
}

impl Registry {
    pub(super) fn new(
        workshop: Workshop,
        choices: Choices,
        directory: Option<PathBuf>,
        required: Vec<String>,
        embedded: Vec<Embedded>,
    ) -> Self {
        Self {
            workshop,
            choices,
            directory,
            required,
            embedded: embedded.into_iter().map(|embedded| (id_of(embedded.manifest), embedded)).collect(),
            built_in: BTreeMap::new(),
            folders: BTreeMap::new(),
            generations: BTreeMap::new(),
            changes: Vec::new(),
            warnings: Vec::new(),
            dirty: true,
        }
    }

    /// Looks at everything and loads what is new. Answers when to look again, if anything is
    /// still in motion.
    pub(super) async fn look(&mut self, look: Look) -> Option<Duration> {
        for (id, embedded) in self.embedded.clone() {
            self.look_at_embedded(id, embedded, look).await;
        }
        let again = self.look_at_folders(look).await;
        if look == Look::Everything {
            self.probe(|_| true).await;
        }
        let warnings = self.choices.warnings();
        self.dirty |= warnings != self.warnings;
        self.warnings = warnings;
        again
    }

    async fn look_at_folders(&mut self, look: Look) -> Option<Duration> {
        let root = self.directory.clone()?;
        let listed = blocking({
            let root = root.clone();
            move || {
                let folders = folder::list(&root)?;
                Ok::<_, std::io::Error>(
                    folders
                        .into_iter()
                        .map(|(name, path)| (name, folder::signature(&root, &path), path))
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
        for (name, signature, path) in listed {
            if !signature.is_settled() {
                again = Some(again.map_or(UNSETTLED_RECHECK, |again: Duration| again.min(UNSETTLED_RECHECK)));
            }
            self.look_at_folder(&root, name, &path, signature, look).await;
        }
        again
    }

    async fn look_at_embedded(&mut self, id: String, embedded: Embedded, look: Look) {
        let mut place = self.built_in.remove(&id).unwrap_or_default();
        if place.active.is_none() && (place.tried.is_none() || look == Look::Everything || place.is_passing()) {
            let source = Source {
                origin: Origin::BuiltIn,
                name: id.clone(),
                manifest: embedded.manifest.to_owned(),
                wasm: Bytes::from_static(embedded.wasm),
                minisig: None,
            };
            self.load(&mut place, source, look).await;
        }
        self.built_in.insert(id, place);
    }

    async fn look_at_folder(&mut self, root: &Path, name: String, path: &Path, signature: Signature, look: Look) {
        let mut place = self.folders.remove(&name).unwrap_or_default();
        place.missing_since = None;
        let is_new = place.signature.is_none();
        let unchanged = place.signature.as_ref().is_some_and(|earlier| signature.is_still(earlier));
        if look == Look::Everything || !unchanged || place.is_passing() {
            let (root, path) = (root.to_owned(), path.to_owned());
            let signed = self.workshop.is_signed(&name);
            match blocking(move || folder::read(&root, &path, signed)).await {
                Ok(files) => {
                    let source = Source {
                        origin: Origin::Directory,
                        name: name.clone(),
                        manifest: files.manifest,
                        wasm: files.wasm.into(),
                        minisig: files.minisig,
                    };
                    self.load(&mut place, source, look).await;
                }
                Err(reason) => {
                    place.tried = None;
                    let status = PluginStatus::unknown(&name, Origin::Directory, PluginState::Rejected);
                    self.reject(&mut place, status, Rejection::new(Stage::Read, reason));
                }
            }
            place.signature = Some(signature);
            if place.active.is_none() && (is_new || look == Look::Everything) {
                self.restore(&mut place, &name).await;
            }
        }
        self.folders.insert(name, place);
    }

    /// Makes of a source what can be made of it, unless that has been done before.
    async fn load(&mut self, place: &mut Place, source: Source, look: Look) {
        let fingerprint = source.fingerprint();
        let choice = self.choices.of(&source.name);
        if place.active.as_ref().is_some_and(|active| active.fingerprint == fingerprint) {
            self.dirty |= place.idle.take().is_some();
            place.tried = Some(fingerprint);
            if source.origin == Origin::Directory && choice.rolled_back.is_some() {
                // Somebody put into the folder what had been gone back to.
                self.choices.note(&source.name, |choice| choice.rolled_back = None).await;
            }
            return;
        }
        if place.tried.as_ref() == Some(&fingerprint) && look == Look::Changed && !place.is_passing() {
            return;
        }
        place.tried = Some(fingerprint.clone());
        let mut status = PluginStatus::unknown(&source.name, source.origin, PluginState::Rejected);
        status.digest = Some(fingerprint.wasm.clone());
        let terms = match self.terms(&source, &fingerprint) {
            Ok(terms) => terms,
            Err(rejection) => return self.reject(place, status, rejection),
        };
        status =
            PluginStatus { digest: status.digest, ..PluginStatus::of(&terms, source.origin, PluginState::Rejected) };
        if let Some(reason) = self.why_disabled(&terms, choice.disabled) {
            return self.disable(place, status, reason);
        }
        let content = Content::of(&fingerprint);
        if source.origin == Origin::Directory && choice.is_aside(&content) {
            return self.set_aside(place, status);
        }
        place.required = terms.required;
        match self.build(&source, &terms, &fingerprint).await {
            Ok(plugin) => {
                if source.origin == Origin::Directory {
                    self.choices.keep(&content, &fingerprint, &source.wasm).await;
                    let asks = &plugin.asks;
                    let note = self.choices.note(&source.name, |choice| {
                        choice.activated(content.clone());
                        choice.rolled_back = None;
                        choice.accepted = Some(asks.and(choice.accepted.as_ref()));
                    });
                    note.await;
                }
                self.activate(place, plugin, ChangeKind::Activated);
            }
            Err(rejection) => self.reject(place, status, rejection),
        }
    }

    fn terms(&self, source: &Source, fingerprint: &Fingerprint) -> Result<Terms, Rejection> {
        let terms = self.workshop.terms(source, fingerprint)?;
        match self.kind_of_built_in(source) {
            Some(kind) if kind != terms.kind => Err(Rejection::new(
                Stage::Manifest,
                format!(
                    "plugin.toml: `kind` is {}, but the built-in plugin of this id is a {}",
                    terms.kind.as_str(),
                    kind.as_str()
                ),
            )),
            _ => Ok(terms),
        }
    }

    /// A plugin that may go live, as the next generation of its id.
    async fn build(&self, source: &Source, terms: &Terms, fingerprint: &Fingerprint) -> Result<Plugin, Rejection> {
        let generation = self.generations.get(&terms.id).copied().unwrap_or(0) + 1;
        let accepted = self.choices.of(&terms.id).accepted.filter(|_| source.origin == Origin::Directory);
        let build = || self.workshop.build(source, terms, fingerprint, generation, accepted.as_ref());
        match build().await {
            // A machine that is busy starting everything at once is no fault of the plugin's.
            Err(rejection) if rejection.passing => build().await,
            built => built,
        }
    }

    /// Who says that a plugin is not to be loaded, if anybody does.
    fn why_disabled(&self, terms: &Terms, by_operator: bool) -> Option<String> {
        if by_operator {
            return Some(disabled_by_operator(&terms.id));
        }
        if terms.enabled {
            return None;
        }
        Some(match self.workshop.configs.get(&terms.id).and_then(|config| config.enabled) {
            Some(_) => {
                format!("it is disabled by `enabled` of [plugin.{}] in the relay's configuration", terms.id)
            }
            None => "it is disabled by `enabled` in its plugin.toml".to_owned(),
        })
    }

    /// The kind of the built-in plugin whose id a folder takes. It may replace how something is
    /// done, not what it is.
    fn kind_of_built_in(&self, source: &Source) -> Option<super::PluginKind> {
        if source.origin == Origin::BuiltIn {
            return None;
        }
        self.built_in.get(&source.name)?.active.as_ref().map(|plugin| plugin.terms.kind)
    }

    fn activate(&mut self, place: &mut Place, plugin: Plugin, kind: ChangeKind) {
        let (id, generation) = (plugin.terms.id.clone(), plugin.sandbox.generation);
        tracing::info!(
            plugin.id = id,
            plugin.version = plugin.version,
            plugin.generation = generation,
            plugin.digest = plugin.fingerprint.wasm,
            "plugin is active"
        );
        count(kind, "active");
        metrics::gauge!(metric::PLUGIN_GENERATION, "plugin" => id.clone()).set(generation as f64);
        self.generations.insert(id, generation);
        self.changed(kind, plugin.status());
        place.previous = place.active.replace(Arc::new(plugin));
        place.idle = None;
    }

    fn disable(&mut self, place: &mut Place, mut status: PluginStatus, reason: String) {
        let is_new = place.idle.as_ref().is_none_or(|idle| idle.state != PluginState::Disabled);
        let rejection = Rejection { digest: status.digest.clone(), ..Rejection::new(Stage::Disabled, reason) };
        status = PluginStatus { state: PluginState::Disabled, error: Some(rejection), ..status };
        if is_new {
            tracing::info!(plugin.id = status.id, "plugin is disabled");
            count(ChangeKind::Disabled, Stage::Disabled.as_str());
            metrics::gauge!(metric::PLUGIN_GENERATION, "plugin" => status.id.clone()).set(0.0);
            self.changed(ChangeKind::Disabled, status.clone());
        }
        self.dirty = true;
        *place = Place {
            idle: Some(status),
            tried: place.tried.take(),
            signature: place.signature.take(),
            ..Place::default()
        };
    }

    fn reject(&mut self, place: &mut Place, mut status: PluginStatus, mut rejection: Rejection) {
        rejection.digest = rejection.digest.or_else(|| status.digest.clone());
        let known = place.idle.as_ref().and_then(|idle| idle.error.as_ref());
        if known.is_some_and(|known| known.says_the_same_as(&rejection)) {
            return;
        }
        let stage = rejection.stage.as_str();
        tracing::warn!(plugin.id = status.id, stage, "plugin is rejected: {}", rejection.reason);
        count(ChangeKind::Rejected, stage);
        status.error = Some(rejection);
        self.changed(ChangeKind::Rejected, status.clone());
        place.idle = Some(status);
    }

    /// Takes out the folders that are gone for good.
    async fn remove_missing(&mut self, listed: &[(String, Signature, PathBuf)], look: Look) -> Option<Duration> {
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
            let Some(place) = self.folders.remove(&name) else {
                continue;
            };
            tracing::info!(plugin.id = name, "plugin is removed");
            metrics::gauge!(metric::PLUGIN_GENERATION, "plugin" => name.clone()).set(0.0);
            // What was set aside was what lay there.
            let note = self.choices.note(&name, |choice| {
                choice.rolled_back = None;
                choice.gone = true;
            });
            note.await;
            let status = place.active.map(|plugin| plugin.status()).or(place.idle);
            let status =
                status.unwrap_or_else(|| PluginStatus::unknown(&name, Origin::Directory, PluginState::Disabled));
            self.changed(ChangeKind::Removed, status);
        }
        again
    }

    fn changed(&mut self, kind: ChangeKind, plugin: PluginStatus) {
        self.dirty = true;
        self.changes.push(PluginChange { kind, plugin });
    }

    /// What changed since this was last asked; nothing when the set is as it was.
    pub(super) fn take_changes(&mut self) -> Option<Vec<PluginChange>> {
        std::mem::take(&mut self.dirty).then(|| std::mem::take(&mut self.changes))
    }

    /// The set that follows from all this.
    pub(super) fn set(&self) -> PluginSet {
        let mut active = Vec::new();
        let mut idle = Vec::new();
        for (id, folder) in &self.folders {
            active.extend(folder.active.clone());
            idle.extend(folder.idle.clone());
            if !folder.takes_its_id()
                && let Some(built_in) = self.built_in.get(id)
            {
                active.extend(built_in.active.clone());
                idle.extend(built_in.idle.clone());
            }
        }
        for (id, built_in) in &self.built_in {
            if !self.folders.contains_key(id) {
                active.extend(built_in.active.clone());
                idle.extend(built_in.idle.clone());
            }
        }
        let missing = self.missing(&active);
        PluginSet::new(active, missing, idle, self.warnings.clone())
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
                plugin.terms.id == *id && plugin.policy().is_some() && plugin.terms.mode != PolicyMode::Off
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

/// The id in a manifest that was compiled into the relay.
fn id_of(manifest: &str) -> String {
    let table: toml::Table = manifest.parse().unwrap_or_default();
    table.get("id").and_then(toml::Value::as_str).unwrap_or("built-in").to_owned()
}
