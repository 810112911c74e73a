//! Looking at what there is to be loaded: the folder is the truth, and every look compares what lies there with
//! what was last made of it, and begins to load only what differs.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::super::kinds::{Rejection, Stage};
use super::super::package::{self, FOLDERS_MAX, Fingerprint, Origin, PluginKind, Source, Stamp, Terms};
use super::blocking::blocking;
use super::handle::{Prepared, Registry};
use super::lifecycle::{PluginState, PluginStatus};
use super::remembered::{Content, OperatorState};
use super::slot::{Event, Finding, Slot};
use super::state::{Folder, PluginSlot, Trouble};

/// A folder that disappears may be coming back: editors and copies replace by deleting and
/// creating.
const REMOVAL_GRACE: Duration = Duration::from_secs(2);
/// When a folder changed so recently that its metadata cannot be trusted, it is looked at again.
const INCONCLUSIVE_RECHECK: Duration = Duration::from_secs(3);

/// How thoroughly to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Look {
    /// Only at what may have changed.
    Changed,
    /// At everything, and try again what was rejected: somebody asked for it.
    Everything,
}

impl Registry {
    /// Looks at everything and begins to load what is new. Answers when to look again, if anything
    /// is still in motion.
    pub(crate) async fn look(self: &Arc<Self>, look: Look, by: Option<&str>) -> Option<Duration> {
        let _looking = self.looking.lock().await;
        self.look_at_all_built_in(look, by).await;
        let again = self.look_at_folders(look, by).await;
        if look == Look::Everything {
            self.probe_all(by).await;
        }
        if let Some(by) = by {
            self.acknowledge_losses(None, by).await;
        }
        let warnings = self.operator_states.warnings();
        let is_new = self.state().warnings != warnings;
        if is_new {
            self.state().warnings = warnings;
            self.publish(by);
        }
        again
    }

    /// As [`Self::look`], at what is in the binary only.
    pub(crate) async fn look_at_all_built_in(self: &Arc<Self>, look: Look, by: Option<&str>) {
        for id in self.embedded.keys() {
            let _turn = self.turns.lock(id).await;
            self.look_at_built_in(id, look, by).await;
        }
    }

    /// Looks at everything of one id. The caller holds its turn.
    pub(super) async fn look_at(self: &Arc<Self>, id: &str, by: Option<&str>) {
        self.look_at_built_in(id, Look::Everything, by).await;
        let is_there = self.state().folders.contains_key(id);
        if let Some(root) = self.directory.as_ref().filter(|_| is_there) {
            self.look_at_folder(root, id, &root.join(id), Look::Everything, by).await;
        }
    }

    async fn look_at_built_in(self: &Arc<Self>, id: &str, look: Look, by: Option<&str>) {
        let Some(built_in) = self.embedded.get(id) else {
            return;
        };
        let is_due = |slot: &PluginSlot| {
            slot.incumbent().is_none() && (slot.tried().is_none() || look == Look::Everything || slot.is_passing())
        };
        if !self.state().slot(Origin::BuiltIn, id).is_none_or(is_due) {
            return;
        }
        let source = Source {
            origin: Origin::BuiltIn,
            name: id.to_owned(),
            manifest: built_in.files.manifest.to_owned(),
            wasm: Bytes::from_static(built_in.files.wasm),
            minisig: None,
        };
        self.consider(source, look, false, by).await;
    }

    async fn look_at_folders(self: &Arc<Self>, look: Look, by: Option<&str>) -> Option<Duration> {
        let root = self.directory.as_ref()?;
        let listed = blocking({
            let (root, in_use) = (root.clone(), self.state().folders_in_use());
            move || package::list(&root, &in_use)
        });
        let listed = match listed.await {
            Ok(listed) => listed,
            // Not the same as an empty directory: what is loaded stays.
            Err(error) => {
                let problem = format!("cannot list the plugin directory {}: {error}", root.display());
                self.trouble(
                    Trouble::Listing,
                    Some(format!("{problem}; what is loaded stays, and nothing new is found")),
                );
                return None;
            }
        };
        self.trouble(Trouble::Listing, None);
        let more = listed.more.then(|| {
            format!("more than {FOLDERS_MAX} folders lie in {}: the rest is not looked at; remove some", root.display())
        });
        self.trouble(Trouble::Folders, more);
        let listed = listed.folders;
        let mut again = self.remove_missing(&listed, look, by).await;
        for (name, path) in listed {
            let _turn = self.turns.lock(&name).await;
            let stamp = self.look_at_folder(root, &name, &path, look, by).await;
            if !stamp.is_conclusive() {
                again = Some(again.map_or(INCONCLUSIVE_RECHECK, |again: Duration| again.min(INCONCLUSIVE_RECHECK)));
            }
        }
        again
    }

    /// Takes out the folders that are gone for good.
    async fn remove_missing(
        self: &Arc<Self>,
        listed: &[(String, PathBuf)],
        look: Look,
        by: Option<&str>,
    ) -> Option<Duration> {
        let now = Instant::now();
        let mut again = None;
        let mut gone = Vec::new();
        for (name, folder) in &mut self.state().folders {
            if listed.iter().any(|(listed, _)| listed == name) {
                continue;
            }
            let missing_since = *folder.missing_since.get_or_insert(now);
            let left = REMOVAL_GRACE.saturating_sub(now.duration_since(missing_since));
            if look == Look::Everything || left.is_zero() {
                gone.push(name.clone());
            } else {
                again = Some(again.map_or(left, |again: Duration| again.min(left)));
            }
        }
        for name in gone {
            let _turn = self.turns.lock(&name).await;
            tracing::info!(plugin.id = name, "plugin is removed");
            let unknown = PluginStatus::unknown(&name, Origin::Directory, PluginState::Disabled);
            self.happens((Origin::Directory, &name), Event::Gone { unknown }, None, by).await;
        }
        again
    }

    async fn look_at_folder(
        self: &Arc<Self>,
        root: &Path,
        name: &str,
        path: &Path,
        look: Look,
        by: Option<&str>,
    ) -> Stamp {
        let stamp = blocking({
            let (root, path) = (root.to_owned(), path.to_owned());
            move || package::stamp(&root, &path)
        });
        let stamp = stamp.await;
        // For as long as a manifest that cannot be read says nothing else.
        let required = self.operator_states.of(name).required;
        let (is_new, is_due) = {
            let mut state = self.state();
            let folder = state.folders.entry(name.to_owned()).or_insert_with(|| Folder {
                slot: Slot::new(required),
                stamp: None,
                missing_since: None,
            });
            folder.missing_since = None;
            let is_unchanged = folder.stamp.as_ref().is_some_and(|earlier| stamp.is_still(earlier));
            (folder.stamp.is_none(), look == Look::Everything || !is_unchanged || folder.slot.is_passing())
        };
        if !is_due {
            return stamp;
        }
        let restores = is_new || look == Look::Everything;
        let read = blocking({
            let (root, path) = (root.to_owned(), path.to_owned());
            let signed = self.loader.is_signed(name);
            move || package::read(&root, &path, signed)
        });
        match read.await {
            Ok(files) => {
                let source = Source {
                    origin: Origin::Directory,
                    name: name.to_owned(),
                    manifest: files.manifest,
                    wasm: files.wasm.into(),
                    minisig: files.minisig,
                };
                self.consider(source, look, restores, by).await;
            }
            Err(reason) => {
                let status = PluginStatus::unknown(name, Origin::Directory, PluginState::Rejected);
                let event = Event::Unreadable { status, rejection: Rejection::new(Stage::Read, reason) };
                self.happens((Origin::Directory, name), event, None, by).await;
            }
        }
        if let Some(folder) = self.state().folders.get_mut(name) {
            folder.stamp = Some(stamp.clone());
        }
        if restores {
            self.restore(name, by).await;
        }
        stamp
    }

    /// Begins to make of a source what can be made of it, unless that has been done before.
    async fn consider(self: &Arc<Self>, source: Source, look: Look, restores: bool, by: Option<&str>) {
        let fingerprint = blocking({
            let source = source.clone();
            move || source.fingerprint()
        });
        let fingerprint = fingerprint.await;
        let (origin, name) = (source.origin, source.name.clone());
        let remembered = self.operator_states.of(&name);
        let (finding, terms) = self.find(&source, &fingerprint, &remembered);
        let event = Event::Found {
            fingerprint: fingerprint.clone(),
            insisted: look == Look::Everything,
            rolled_back: origin == Origin::Directory && remembered.rolled_back.is_some(),
            finding,
        };
        let accepted = remembered.accepted.filter(|_| origin == Origin::Directory);
        let prepared = terms.map(|terms| Prepared { source, terms, fingerprint, accepted, restores });
        self.happens((origin, &name), event, prepared, by).await;
    }

    /// What is to be made of files, and the terms to load them under.
    fn find(&self, source: &Source, fingerprint: &Fingerprint, remembered: &OperatorState) -> (Finding, Option<Terms>) {
        let digest = Some(fingerprint.wasm.clone());
        let terms = match self.terms(source, fingerprint) {
            Ok(terms) => terms,
            Err(rejection) => {
                let status = PluginStatus::unknown(&source.name, source.origin, PluginState::Rejected);
                return (Finding::Refused { status: PluginStatus { digest, ..status }, rejection }, None);
            }
        };
        let status = PluginStatus { digest, ..PluginStatus::of(&terms, source.origin, PluginState::Rejected) };
        if let Some(reason) = self.why_disabled(&terms, remembered.disabled) {
            return (Finding::Disabled { status, reason }, None);
        }
        let required = terms.required;
        let aside = remembered.aside(&Content::of(fingerprint)).filter(|_| source.origin == Origin::Directory);
        if let Some(rolled_back) = aside {
            let rejection = rolled_back.aside_rejection(&source.name);
            return (Finding::Aside { status, rejection, required }, None);
        }
        (Finding::Loadable { ticket: self.state().ticket(), required }, Some(terms))
    }

    pub(super) fn terms(&self, source: &Source, fingerprint: &Fingerprint) -> Result<Terms, Rejection> {
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
    pub(super) fn why_disabled(&self, terms: &Terms, by_operator: bool) -> Option<String> {
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
}

/// What `GET /api/plugins` says of a plugin that an operator disabled.
pub(super) fn disabled_by_operator(id: &str) -> String {
    format!("it is disabled by the operator; POST /api/plugins/{id}/enable ends that")
}
