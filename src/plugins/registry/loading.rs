//! Loading: what can be said of a source at once is said under the registry's lock, and the rest is
//! done beside it. A candidate whose folder changes meanwhile is overtaken: it is abandoned, and
//! whatever it may have come to is dropped.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::super::package::RequestedGrants;
use super::history::Progress;
use super::loader::Loader;
use super::operator_state::Content;
use super::{
    ChangeKind, Embedded, Fingerprint, History, Look, Origin, Place, Plugin, PluginKind, PluginState, PluginStatus,
    Registry, Rejection, Source, Stage, Stamp, Step, Terms, blocking, count, disabled_by_operator, package,
};

/// A candidate that is being loaded, as its place knows it.
pub(crate) struct Coming {
    fingerprint: Fingerprint,
    progress: Arc<Progress>,
    /// Cancelled when nobody loads it any more.
    settled: CancellationToken,
    _abandon: DropGuard,
}

/// A candidate, as whoever loads it knows it.
pub(crate) struct Candidate {
    source: Source,
    terms: Terms,
    fingerprint: Fingerprint,
    accepted: Option<RequestedGrants>,
    /// Whether an earlier generation is to be active if this one cannot be.
    restores: bool,
    progress: Arc<Progress>,
    abandoned: CancellationToken,
    _settled: DropGuard,
}

impl Coming {
    /// How far it has come.
    pub(crate) fn progress(&self) -> Arc<Progress> {
        Arc::clone(&self.progress)
    }

    fn is_settled(&self) -> bool {
        self.settled.is_cancelled()
    }
}

impl Candidate {
    /// Takes it through every further stage; nothing when it was overtaken.
    pub(crate) async fn build(&self, loader: &Loader) -> Option<Result<Plugin, Rejection>> {
        let accepted = self.accepted.as_ref();
        let built = loader.build(&self.source, &self.terms, &self.fingerprint, accepted, &self.progress);
        self.abandoned.run_until_cancelled(built).await
    }
}

impl Registry {
    pub(crate) async fn look_at_embedded(&mut self, id: String, embedded: Embedded, look: Look) {
        let mut place = self.built_in.remove(&id).unwrap_or_default();
        if place.active.is_none() && (place.tried.is_none() || look == Look::Everything || place.is_passing()) {
            let source = Source {
                origin: Origin::BuiltIn,
                name: id.clone(),
                manifest: embedded.manifest.to_owned(),
                wasm: Bytes::from_static(embedded.wasm),
                minisig: None,
            };
            self.consider(&mut place, source, look, false).await;
        }
        self.built_in.insert(id, place);
    }

    pub(crate) async fn look_at_folder(&mut self, root: &Path, name: String, path: &Path, stamp: Stamp, look: Look) {
        let mut place = self.folders.remove(&name).unwrap_or_default();
        place.missing_since = None;
        let is_new = place.stamp.is_none();
        if is_new {
            // For as long as a manifest that cannot be read says nothing else.
            place.required = self.states.of(&name).required;
        }
        let unchanged = place.stamp.as_ref().is_some_and(|earlier| stamp.is_still(earlier));
        if look == Look::Everything || !unchanged || place.is_passing() {
            let restores = is_new || look == Look::Everything;
            let (root, path) = (root.to_owned(), path.to_owned());
            let signed = self.loader.is_signed(&name);
            match blocking(move || package::read(&root, &path, signed)).await {
                Ok(files) => {
                    let source = Source {
                        origin: Origin::Directory,
                        name: name.clone(),
                        manifest: files.manifest,
                        wasm: files.wasm.into(),
                        minisig: files.minisig,
                    };
                    self.consider(&mut place, source, look, restores).await;
                }
                Err(reason) => {
                    self.overtake(&mut place, "its folder cannot be read any more");
                    place.tried = None;
                    let status = PluginStatus::unknown(&name, Origin::Directory, PluginState::Rejected);
                    self.reject(&mut place, status, Rejection::new(Stage::Read, reason));
                }
            }
            place.stamp = Some(stamp);
            if place.active.is_none() && place.coming.is_none() && restores {
                self.restore(&mut place, &name).await;
            }
        }
        self.folders.insert(name, place);
    }

    /// Begins to make of a source what can be made of it, unless that has been done before.
    async fn consider(&mut self, place: &mut Place, source: Source, look: Look, restores: bool) {
        let fingerprint = source.fingerprint();
        if place.coming.as_ref().is_some_and(|coming| !coming.is_settled() && coming.fingerprint == fingerprint) {
            return;
        }
        let choice = self.states.of(&source.name);
        if place.active.as_ref().is_some_and(|active| active.fingerprint == fingerprint) {
            self.overtake(place, "its folder is again what is active");
            self.dirty |= place.idle.take().is_some();
            place.tried = Some(fingerprint);
            if source.origin == Origin::Directory && choice.rolled_back.is_some() {
                // Somebody put into the folder what had been gone back to.
                self.states.note(&source.name, |choice| choice.rolled_back = None).await;
            }
            return;
        }
        if place.tried.as_ref() == Some(&fingerprint) && look == Look::Changed && !place.is_passing() {
            return;
        }
        self.overtake(place, "its folder changed again");
        // Tried again by itself until it works, which nobody wants to read of each time.
        let silent = look == Look::Changed && place.tried.as_ref() == Some(&fingerprint);
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
        // Even if it is not loaded: then nothing may happen until something is.
        place.required = terms.required;
        if source.origin == Origin::Directory && choice.is_aside(&Content::of(&fingerprint)) {
            return self.set_aside(place, status);
        }
        let history = (!silent).then(|| self.history.clone());
        let progress = self.progress(&source, &terms, &fingerprint, history);
        let accepted = choice.accepted.filter(|_| source.origin == Origin::Directory);
        let (abandoned, settled) = (CancellationToken::new(), CancellationToken::new());
        if place.is_disabled() {
            place.idle = None;
        }
        place.coming = Some(Coming {
            fingerprint: fingerprint.clone(),
            progress: Arc::clone(&progress),
            settled: settled.clone(),
            _abandon: abandoned.clone().drop_guard(),
        });
        self.dirty = true;
        self.begun.push(Candidate {
            source,
            terms,
            fingerprint,
            accepted,
            restores,
            progress,
            abandoned,
            _settled: settled.drop_guard(),
        });
    }

    /// How far a candidate comes, from now on.
    pub(crate) fn progress(
        &self,
        source: &Source,
        terms: &Terms,
        fingerprint: &Fingerprint,
        history: Option<History>,
    ) -> Arc<Progress> {
        let status = PluginStatus {
            digest: Some(fingerprint.wasm.clone()),
            ..PluginStatus::of(terms, source.origin, PluginState::Staged)
        };
        Arc::new(Progress::new(status, self.by.clone(), history))
    }

    /// Abandons what is being loaded, if anything is.
    pub(crate) fn overtake(&mut self, place: &mut Place, why: &str) {
        let Some(coming) = place.coming.take() else {
            return;
        };
        self.dirty = true;
        let status = coming.progress.status();
        if !coming.is_settled() {
            let step = Step {
                state: PluginState::Rejected,
                stage: Some(coming.progress.stage()),
                reason: Some(format!("overtaken: {why}")),
                by: self.by.clone(),
                ..Step::to(&status)
            };
            self.history.note(&status.id, step);
        }
    }

    /// What was begun since this was last asked, for somebody to load.
    pub(crate) fn take_begun(&mut self) -> Vec<Candidate> {
        std::mem::take(&mut self.begun)
    }

    /// What somebody loads, of one plugin or of all: each is cancelled when nobody does any more.
    pub(crate) fn under_way(&self, only: Option<&str>) -> Vec<CancellationToken> {
        let places = self.folders.iter().chain(&self.built_in);
        let places = places.filter(|(id, _)| only.is_none_or(|only| only == id.as_str()));
        let coming = places.filter_map(|(_, place)| place.coming.as_ref());
        coming.filter(|coming| !coming.is_settled()).map(|coming| coming.settled.clone()).collect()
    }

    /// Takes in what became of a candidate, unless it was overtaken meanwhile.
    pub(crate) async fn settle(&mut self, candidate: Candidate, built: Result<Plugin, Rejection>) {
        let Candidate { source, terms, fingerprint, restores, progress, .. } = &candidate;
        let id = &source.name;
        let places = match source.origin {
            Origin::BuiltIn => &mut self.built_in,
            Origin::Directory => &mut self.folders,
        };
        let is_it = |coming: &Coming| Arc::ptr_eq(&coming.progress, progress);
        let Some(place) = places.get_mut(id).filter(|place| place.coming.as_ref().is_some_and(is_it)) else {
            return;
        };
        let mut place = std::mem::take(place);
        place.coming = None;
        self.dirty = true;
        self.on_behalf_of(progress.by().map(str::to_owned));
        match built {
            Ok(plugin) => {
                if source.origin == Origin::Directory {
                    self.remember(source, fingerprint, &plugin).await;
                }
                self.activate(&mut place, plugin, ChangeKind::Activated);
            }
            Err(rejection) => {
                let status = PluginStatus {
                    digest: Some(fingerprint.wasm.clone()),
                    ..PluginStatus::of(terms, source.origin, PluginState::Rejected)
                };
                self.reject(&mut place, status, rejection);
                if *restores && place.active.is_none() {
                    self.restore(&mut place, id).await;
                }
            }
        }
        let places = match source.origin {
            Origin::BuiltIn => &mut self.built_in,
            Origin::Directory => &mut self.folders,
        };
        places.insert(id.clone(), place);
    }

    /// Remembers a generation that becomes active, and what it was accepted with.
    async fn remember(&mut self, source: &Source, fingerprint: &Fingerprint, plugin: &Plugin) {
        let content = Content::of(fingerprint);
        self.states.keep(&content, fingerprint, &source.wasm).await;
        let note = self.states.note(&source.name, |choice| {
            choice.activated(content.clone());
            choice.required = plugin.terms.required;
            choice.rolled_back = None;
            choice.accepted = Some(plugin.requested.and(choice.accepted.as_ref()));
        });
        note.await;
    }

    pub(crate) fn terms(&self, source: &Source, fingerprint: &Fingerprint) -> Result<Terms, Rejection> {
        let terms = self.loader.terms(source, fingerprint)?;
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

    /// Who says that a plugin is not to be loaded, if anybody does.
    pub(crate) fn why_disabled(&self, terms: &Terms, by_operator: bool) -> Option<String> {
        if by_operator {
            return Some(disabled_by_operator(&terms.id));
        }
        if terms.enabled {
            return None;
        }
        Some(match self.loader.configs.get(&terms.id).and_then(|config| config.enabled) {
            Some(_) => {
                format!("it is disabled by `enabled` of [plugin.{}] in the relay's configuration", terms.id)
            }
            None => "it is disabled by `enabled` in its plugin.toml".to_owned(),
        })
    }

    /// The kind of the built-in plugin whose id a folder takes. It may replace how something is
    /// done, not what it is.
    fn kind_of_built_in(&self, source: &Source) -> Option<PluginKind> {
        if source.origin == Origin::BuiltIn {
            return None;
        }
        self.embedded.get(&source.name)?.kind
    }

    /// Makes a plugin the active one of its place, as the next generation of its id.
    pub(crate) fn activate(&mut self, place: &mut Place, plugin: Plugin, kind: ChangeKind) {
        let plugin = self.numbered(plugin);
        count(kind, "active");
        self.changed(kind, PluginStatus::of_plugin(&plugin));
        place.previous = place.active.replace(Arc::new(plugin));
        place.idle = None;
    }

    /// Gives a plugin its generation.
    pub(crate) fn numbered(&mut self, mut plugin: Plugin) -> Plugin {
        let latest = self.generations.entry(plugin.terms.id.clone()).or_default();
        *latest += 1;
        plugin.sandbox.generation = *latest;
        plugin
    }

    pub(crate) fn disable(&mut self, place: &mut Place, mut status: PluginStatus, reason: String) {
        let is_new = place.idle.as_ref().is_none_or(|idle| idle.state != PluginState::Disabled);
        self.overtake(place, "it is disabled");
        let rejection = Rejection { digest: status.digest.clone(), ..Rejection::new(Stage::Disabled, reason) };
        let since = Some(rejection.at);
        status = PluginStatus { state: PluginState::Disabled, since, error: Some(rejection), ..status };
        if is_new {
            count(ChangeKind::Disabled, Stage::Disabled.as_str());
            self.note(&status);
            self.changed(ChangeKind::Disabled, status.clone());
        }
        self.dirty = true;
        *place = Place { idle: Some(status), tried: place.tried.take(), stamp: place.stamp.take(), ..Place::default() };
    }

    pub(crate) fn reject(&mut self, place: &mut Place, mut status: PluginStatus, mut rejection: Rejection) {
        rejection.digest = rejection.digest.or_else(|| status.digest.clone());
        let known = place.idle.as_ref().and_then(|idle| idle.error.as_ref());
        if known.is_some_and(|known| known.says_the_same_as(&rejection)) {
            return;
        }
        count(ChangeKind::Rejected, rejection.stage.as_str());
        status.since = Some(rejection.at);
        status.error = Some(rejection);
        self.note(&status);
        self.changed(ChangeKind::Rejected, status.clone());
        place.idle = Some(status);
    }
}
