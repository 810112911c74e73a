//! What is remembered of plugins from one start to the next: what the operator decided, what was
//! accepted of their wishes, and which generations were active.
//!
//! All of it is one small file in the relay's state directory, beside the generations themselves. A
//! file that cannot be used is moved aside and said so until somebody has looked: the plugins then load
//! as their manifests say, which may be more than the operator had allowed.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::domain::time::now_ms;

use super::super::package::{
    Fingerprint, MINISIG_BYTES_MAX, RequestedGrants, check_id, make_directory, open_private, sha256_hex, write_durably,
    write_whole,
};
use super::blocking::blocking;
use super::kept_files::KeptFiles;

/// Plugins that are remembered; the longest unheard of go first.
const PLUGINS_MAX: usize = 512;
/// KeptFiles kept of each plugin: the latest and five before it.
const KEPT_MAX: usize = 6;
/// Bytes of the file.
const FILE_BYTES_MAX: u64 = 8 << 20;
/// Which form the file has.
const VERSION: u32 = 1;

/// The files of a plugin: the large ones by their SHA-256 in hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Content {
    pub(crate) component: String,
    pub(crate) manifest: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) minisig: Option<String>,
}

impl Content {
    pub(crate) fn of(fingerprint: &Fingerprint) -> Self {
        Self {
            component: fingerprint.wasm.clone(),
            manifest: sha256_hex(fingerprint.manifest.as_bytes()),
            minisig: fingerprint.minisig.clone(),
        }
    }
}

/// An operator, or the relay because of too many failures, went back to an earlier generation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RolledBack {
    /// What is in the folder and is not to be loaded.
    pub(crate) aside: Option<Content>,
    /// What is active instead; nothing when it is the built-in plugin of this id.
    pub(crate) to: Option<Content>,
    /// How it failed, when it was the relay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) because: Option<String>,
}

/// What is remembered of one plugin.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct OperatorState {
    /// Whether the operator disabled it.
    pub(crate) disabled: bool,
    /// Whether its folder went away after it was last active: whoever removes a plugin does not want
    /// an earlier one in its place.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) gone: bool,
    /// Whether nothing may happen without it, as its manifest said when it was last active.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) required: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) rolled_back: Option<RolledBack>,
    /// What was accepted of its wishes; nothing before it was active for the first time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) accepted: Option<RequestedGrants>,
    /// The generations that were active, in the order of their last activation.
    pub(crate) kept: Vec<Content>,
    /// When this last changed, in milliseconds since the epoch.
    pub(crate) at: i64,
}

impl OperatorState {
    /// Whether this content of the folder is not to be loaded.
    pub(crate) fn is_aside(&self, content: &Content) -> bool {
        self.rolled_back.as_ref().is_some_and(|rolled_back| rolled_back.aside.as_ref() == Some(content))
    }

    /// Notes that this content became active.
    pub(crate) fn activated(&mut self, content: Content) {
        self.kept.retain(|kept| *kept != content);
        self.kept.push(content);
        self.gone = false;
        let surplus = self.kept.len().saturating_sub(KEPT_MAX);
        self.kept.drain(..surplus);
    }

    /// What was active before this content, the latest first; before anything, all of it.
    pub(crate) fn before(&self, content: Option<&Content>) -> Vec<Content> {
        let place = content.and_then(|content| self.kept.iter().position(|kept| kept == content));
        self.kept[..place.unwrap_or(self.kept.len())].iter().rev().cloned().collect()
    }

    fn check(&self) -> Result<(), String> {
        let contents = self.rolled_back.iter().flat_map(|it| it.aside.iter().chain(&it.to)).chain(&self.kept);
        // A digest becomes the name of a file.
        for digest in contents.flat_map(|content| [&content.component, &content.manifest]) {
            if digest.len() != 64 || !digest.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
                return Err(format!("{digest:?} is not a digest"));
            }
        }
        let minisigs = self.kept.iter().filter_map(|content| content.minisig.as_ref());
        if minisigs.into_iter().any(|minisig| minisig.len() as u64 > MINISIG_BYTES_MAX) {
            return Err(format!("a signature has more than {MINISIG_BYTES_MAX} bytes"));
        }
        if self.kept.len() > KEPT_MAX {
            return Err(format!("more than {KEPT_MAX} generations are kept"));
        }
        self.accepted.as_ref().map_or(Ok(()), RequestedGrants::check)
    }
}

/// What is remembered of all plugins.
pub(crate) struct OperatorStates {
    directory: Option<PathBuf>,
    kept_files: Option<KeptFiles>,
    plugins: BTreeMap<String, OperatorState>,
    /// Why nothing can be kept.
    unusable: Option<String>,
}

/// How the file is written: one of the functions of `package::private`.
type Write = fn(&Path, &Path, &[&[u8]]) -> std::io::Result<()>;

#[derive(Serialize, Deserialize)]
struct File {
    version: u32,
    plugins: BTreeMap<String, OperatorState>,
}

impl OperatorStates {
    /// Opens what an earlier relay left in this directory. Without one, nothing is kept.
    pub(crate) fn open(directory: Option<&Path>) -> Self {
        let mut choices = Self { directory: None, kept_files: None, plugins: BTreeMap::new(), unusable: None };
        let Some(directory) = directory else {
            return choices;
        };
        if let Err(error) = choices.open_in(directory) {
            tracing::error!(path = %directory.display(), "cannot keep what is decided about plugins: {error}");
            choices.unusable = Some(format!(
                "what is decided about plugins is forgotten when the relay ends: {}: {error}",
                directory.display()
            ));
        }
        choices
    }

    fn open_in(&mut self, directory: &Path) -> std::io::Result<()> {
        make_directory(directory)?;
        self.kept_files = Some(KeptFiles::open(&directory.join("generations"))?);
        match read(&directory.join("choices.json")) {
            Ok(plugins) => self.plugins = plugins,
            Err(problem) => {
                let broken = directory.join("choices.broken.json");
                tracing::error!(
                    path = %directory.join("choices.json").display(),
                    "cannot use what was decided about plugins: {problem}; it is moved to {}, and plugins load as their \
                     manifests say, those that were disabled included",
                    broken.display()
                );
                std::fs::rename(directory.join("choices.json"), broken)?;
            }
        }
        self.directory = Some(directory.to_owned());
        Ok(())
    }

    /// What is remembered of this plugin.
    pub(crate) fn of(&self, id: &str) -> OperatorState {
        self.plugins.get(id).cloned().unwrap_or_default()
    }

    /// Changes what is remembered of a plugin: on disk first, and here only if that went well.
    pub(crate) async fn decide(&mut self, id: &str, change: impl FnOnce(&mut OperatorState)) -> Result<(), String> {
        self.change(id, change, write_durably).await
    }

    async fn change(&mut self, id: &str, change: impl FnOnce(&mut OperatorState), write: Write) -> Result<(), String> {
        let mut choice = self.of(id);
        change(&mut choice);
        if self.plugins.get(id).is_some_and(|known| *known == choice) {
            return Ok(());
        }
        choice.at = now_ms();
        let mut plugins = self.plugins.clone();
        plugins.insert(id.to_owned(), choice);
        forget(&mut plugins, id);
        self.write(&plugins, write).await?;
        self.plugins = plugins;
        Ok(())
    }

    /// Notes something that has happened, and so is true whether it can be kept or not.
    pub(crate) async fn note(&mut self, id: &str, change: impl Fn(&mut OperatorState)) {
        // What happened is seen again at the next start, so it may be forgotten with the power.
        if let Err(problem) = self.change(id, &change, write_whole).await {
            tracing::error!(plugin.id = id, "the relay will not remember this when it starts again: {problem}");
            change(self.plugins.entry(id.to_owned()).or_default());
        }
    }

    async fn write(&self, plugins: &BTreeMap<String, OperatorState>, write: Write) -> Result<(), String> {
        let Some(directory) = self.directory.clone() else {
            return self.unusable.clone().map_or(Ok(()), Err);
        };
        let text = serde_json::to_vec_pretty(&File { version: VERSION, plugins: plugins.clone() })
            .map_err(|error| error.to_string())?;
        let path = directory.join("choices.json");
        let shown = path.display().to_string();
        if text.len() as u64 > FILE_BYTES_MAX {
            return Err(format!("{shown} would be larger than {FILE_BYTES_MAX} bytes"));
        }
        let written = blocking(move || write(&directory, &path, &[&text])).await;
        written.map_err(|error| format!("cannot write {shown}: {error}; nothing was changed"))
    }

    /// Keeps the files of a generation.
    pub(crate) async fn keep(&self, content: &Content, fingerprint: &Fingerprint, wasm: &bytes::Bytes) {
        let Some(kept_files) = self.kept_files.clone() else {
            return;
        };
        let needed = self.plugins.values().flat_map(|choice| &choice.kept).chain([content]);
        let needed: BTreeSet<String> =
            needed.flat_map(|content| [content.component.clone(), content.manifest.clone()]).collect();
        let (content, manifest, wasm) = (content.clone(), fingerprint.manifest.clone(), wasm.clone());
        let kept = blocking(move || {
            kept_files.keep(&content.component, &wasm)?;
            kept_files.keep(&content.manifest, manifest.as_bytes())?;
            kept_files.keep_only(&needed)
        });
        if let Err(error) = kept.await {
            tracing::error!("cannot keep the files of a plugin for going back to them: {error}");
        }
    }

    /// Takes back the files of a generation: manifest and component.
    pub(crate) async fn take(&self, content: &Content) -> Result<(String, Vec<u8>), String> {
        let Some(kept_files) = self.kept_files.clone() else {
            return Err("nothing is kept".into());
        };
        let content = content.clone();
        blocking(move || {
            let manifest = String::from_utf8(kept_files.take(&content.manifest)?)
                .map_err(|_| "the manifest is not UTF-8".to_owned())?;
            Ok((manifest, kept_files.take(&content.component)?))
        })
        .await
    }

    /// What the operator should know, for as long as it holds.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let broken = self.directory.as_ref().map(|directory| directory.join("choices.broken.json"));
        let broken = broken.filter(|path| path.exists()).map(|path| {
            format!(
                "what was decided about plugins could not be read, so plugins that were disabled or rolled back may \
                 be active; look at GET /api/plugins, decide again, and remove {}",
                path.display()
            )
        });
        self.unusable.iter().cloned().chain(broken).collect()
    }
}

/// Forgets the longest unheard of while there are too many; those that are disabled last.
fn forget(plugins: &mut BTreeMap<String, OperatorState>, but: &str) {
    while plugins.len() > PLUGINS_MAX {
        let others = plugins.iter().filter(|(id, _)| *id != but);
        let Some(oldest) = others.min_by_key(|(_, choice)| (choice.disabled, choice.at)).map(|(id, _)| id.clone())
        else {
            return;
        };
        plugins.remove(&oldest);
    }
}

fn read(path: &Path) -> Result<BTreeMap<String, OperatorState>, String> {
    let file = match open_private(path) {
        Ok((file, _)) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(error) => return Err(error.to_string()),
    };
    let mut text = Vec::new();
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut text).map_err(|error| error.to_string())?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(format!("larger than {FILE_BYTES_MAX} bytes"));
    }
    let file: File = serde_json::from_slice(&text).map_err(|error| error.to_string())?;
    if file.version != VERSION {
        return Err(format!("it has form {}, and this relay knows form {VERSION}", file.version));
    }
    if file.plugins.len() > PLUGINS_MAX {
        return Err(format!("it names more than {PLUGINS_MAX} plugins"));
    }
    for (id, choice) in &file.plugins {
        check_id(id).and_then(|()| choice.check()).map_err(|problem| format!("{id:?}: {problem}"))?;
    }
    Ok(file.plugins)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn content(number: usize) -> Content {
        Content { component: format!("{number:064x}"), manifest: format!("{:064x}", number + 1), minisig: None }
    }

    #[tokio::test]
    async fn what_is_decided_is_there_at_the_next_start() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let place = directory.path().join("state");
        let mut choices = OperatorStates::open(Some(&place));
        choices.decide("guard", |choice| choice.disabled = true).await.expect("kept");
        choices.note("other", |choice| choice.activated(content(7))).await;
        let again = OperatorStates::open(Some(&place));
        assert!(again.of("guard").disabled && again.warnings().is_empty());
        assert_eq!(again.of("other").kept, [content(7)]);
        assert_eq!(again.of("nobody"), OperatorState::default());
    }

    #[tokio::test]
    async fn what_cannot_be_kept_is_not_decided() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let place = directory.path().join("state");
        std::fs::write(&place, "a file where the directory should be").expect("written");
        let mut choices = OperatorStates::open(Some(&place));
        let problem = choices.decide("guard", |choice| choice.disabled = true).await.expect_err("not kept");
        assert!(problem.contains("state"), "{problem}");
        assert!(!choices.of("guard").disabled);
        assert_eq!(choices.warnings().len(), 1);
    }

    #[test]
    fn only_so_many_generations_and_plugins_are_remembered() {
        let mut choice = OperatorState::default();
        for number in 0..10 {
            choice.activated(content(number));
        }
        assert_eq!(choice.kept, (4..10).map(content).collect::<Vec<_>>());
        choice.activated(content(5));
        assert_eq!(choice.before(Some(&content(5))), [9, 8, 7, 6, 4].map(content));
        assert_eq!(choice.before(Some(&content(4))), []);
        assert_eq!(choice.before(None).len(), KEPT_MAX);

        let of = |number: usize| OperatorState { at: number as i64, disabled: number == 0, ..OperatorState::default() };
        let mut plugins: BTreeMap<_, _> = (0..PLUGINS_MAX + 2).map(|number| (number.to_string(), of(number))).collect();
        forget(&mut plugins, "2");
        assert_eq!(plugins.len(), PLUGINS_MAX);
        assert!(["0", "2"].iter().all(|id| plugins.contains_key(*id)));
        assert!(["1", "3"].iter().all(|id| !plugins.contains_key(*id)));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn any_file_is_read_or_moved_aside(bytes in proptest::collection::vec(any::<u8>(), 0..256)) {
            let directory = tempfile::tempdir().expect("a temporary directory");
            let path = directory.path().join("choices.json");
            super::super::super::package::write_private(directory.path(), &path, &[&bytes]).expect("written");
            let choices = OperatorStates::open(Some(directory.path()));
            prop_assert_eq!(choices.warnings().len(), 1);
            prop_assert!(!path.exists());
            prop_assert_eq!(std::fs::read(directory.path().join("choices.broken.json")).expect("moved aside"), bytes);
        }
    }
}
