//! What is remembered of all plugins, as one small file in the relay's state directory, beside the files of
//! earlier generations.
//!
//! A file that cannot be used is moved aside and said so until somebody has looked: the plugins then load
//! as their manifests say, which may be more than the operator had allowed.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use crate::domain::time::Timestamp;

use super::super::super::package::{check_id, make_directory, open_private, write_durably, write_whole};
use super::super::blocking::blocking;
use super::kept_files::KeptFiles;
use super::operator_state::{Activation, Content, OperatorState, StateChange};

/// Plugins that are remembered; the longest unheard of go first.
const PLUGINS_MAX: usize = 512;
/// Bytes of the file.
const FILE_BYTES_MAX: u64 = 8 << 20;
/// Which form the file has.
const VERSION: u32 = 1;

/// What is remembered of all plugins.
pub(crate) struct OperatorStates {
    directory: Option<PathBuf>,
    kept_files: Option<KeptFiles>,
    plugins: Mutex<BTreeMap<String, OperatorState>>,
    /// Held for as long as a change is written: one at a time.
    writing: tokio::sync::Mutex<()>,
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
        let mut states = Self {
            directory: None,
            kept_files: None,
            plugins: Mutex::default(),
            writing: tokio::sync::Mutex::default(),
            unusable: None,
        };
        let Some(directory) = directory else {
            return states;
        };
        if let Err(error) = states.open_in(directory) {
            tracing::error!(path = %directory.display(), "cannot keep what is decided about plugins: {error}");
            states.unusable = Some(format!(
                "what is decided about plugins is forgotten when the relay ends: {}: {error}",
                directory.display()
            ));
        }
        states
    }

    fn open_in(&mut self, directory: &Path) -> std::io::Result<()> {
        make_directory(directory)?;
        self.kept_files = Some(KeptFiles::open(&directory.join("generations"))?);
        match read(&directory.join("choices.json")) {
            Ok(plugins) => *self.plugins() = plugins,
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
        self.plugins().get(id).cloned().unwrap_or_default()
    }

    /// What was last active of each plugin whose folder nobody removed or disabled.
    pub(crate) fn latest_of_folders(&self) -> Vec<(String, Content)> {
        let plugins = self.plugins();
        let kept = plugins.iter().filter(|(_, state)| !state.gone && !state.disabled);
        kept.filter_map(|(id, state)| Some((id.clone(), state.kept.last()?.clone()))).collect()
    }

    /// Changes what is remembered of a plugin: on disk first, and here only if that went well.
    pub(crate) async fn decide(&self, id: &str, change: &StateChange) -> Result<(), String> {
        self.change(id, change, write_durably).await
    }

    /// Notes something that happens whether it can be kept or not.
    pub(crate) async fn remember(&self, id: &str, change: &StateChange) {
        // What happened is seen again at the next start, so it may be forgotten with the power.
        if let Err(problem) = self.change(id, change, write_whole).await {
            tracing::error!(plugin.id = id, "the relay will not remember this when it starts again: {problem}");
            self.plugins().entry(id.to_owned()).or_default().apply(change);
        }
    }

    async fn change(&self, id: &str, change: &StateChange, write: Write) -> Result<(), String> {
        let _writing = self.writing.lock().await;
        if let StateChange::Activated(activation) = change {
            self.keep_files(activation).await;
        }
        let mut plugins = self.plugins().clone();
        let mut state = plugins.get(id).cloned().unwrap_or_default();
        state.apply(change);
        if plugins.get(id).is_some_and(|known| *known == state) {
            return Ok(());
        }
        state.at = Timestamp::now().as_ms();
        plugins.insert(id.to_owned(), state.clone());
        forget(&mut plugins, id);
        self.write(&plugins, write).await?;
        let mut known = self.plugins();
        known.insert(id.to_owned(), state);
        forget(&mut known, id);
        Ok(())
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

    /// Keeps the files of a generation, and no others than those that can be gone back to.
    async fn keep_files(&self, activation: &Activation) {
        let Some(kept_files) = self.kept_files.clone() else {
            return;
        };
        let needed: BTreeSet<String> = {
            let plugins = self.plugins();
            let needed = plugins.values().flat_map(|state| &state.kept).chain([&activation.content]);
            needed.flat_map(|content| [content.component.clone(), content.manifest.clone()]).collect()
        };
        let (content, source) = (activation.content.clone(), activation.source.clone());
        let kept = blocking(move || {
            kept_files.keep(&content.component, &source.wasm)?;
            kept_files.keep(&content.manifest, source.manifest.as_bytes())?;
            kept_files.keep_only(&needed)
        });
        if let Err(error) = kept.await {
            tracing::error!("cannot keep the files of a plugin for going back to them: {error}");
        }
    }

    fn plugins(&self) -> MutexGuard<'_, BTreeMap<String, OperatorState>> {
        self.plugins.lock().unwrap_or_else(PoisonError::into_inner)
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
        let Some(oldest) = others.min_by_key(|(_, state)| (state.disabled, state.at)).map(|(id, _)| id.clone()) else {
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
    for (id, state) in &file.plugins {
        check_id(id).and_then(|()| state.check()).map_err(|problem| format!("{id:?}: {problem}"))?;
    }
    Ok(file.plugins)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::super::super::package::{Origin, RequestedGrants, Source, write_private};
    use super::super::operator_state::{Activation, Content, KEPT_MAX};
    use super::*;

    fn content(number: usize) -> Content {
        Content { component: format!("{number:064x}"), manifest: format!("{:064x}", number + 1), minisig: None }
    }

    fn activated(number: usize) -> StateChange {
        let source = Source {
            origin: Origin::Directory,
            name: "other".to_owned(),
            manifest: String::new(),
            wasm: bytes::Bytes::new(),
            minisig: None,
        };
        let (content, requested) = (content(number), RequestedGrants::default());
        StateChange::Activated(Box::new(Activation { source, content, required: false, requested }))
    }

    #[tokio::test]
    async fn what_is_decided_is_there_at_the_next_start() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let state = directory.path().join("state");
        let states = OperatorStates::open(Some(&state));
        states.decide("guard", &StateChange::Disabled(true)).await.expect("kept");
        states.remember("other", &activated(7)).await;
        let again = OperatorStates::open(Some(&state));
        assert!(again.of("guard").disabled && again.warnings().is_empty());
        assert_eq!(again.of("other").kept, [content(7)]);
        assert_eq!(again.of("nobody"), OperatorState::default());
    }

    #[tokio::test]
    async fn what_cannot_be_kept_is_not_decided() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let state = directory.path().join("state");
        std::fs::write(&state, "a file where the directory should be").expect("written");
        let states = OperatorStates::open(Some(&state));
        let problem = states.decide("guard", &StateChange::Disabled(true)).await.expect_err("not kept");
        assert!(problem.contains("state"), "{problem}");
        assert!(!states.of("guard").disabled);
        assert_eq!(states.warnings().len(), 1);
    }

    #[test]
    fn only_so_many_generations_and_plugins_are_remembered() {
        let mut state = OperatorState::default();
        for number in 0..10 {
            state.apply(&activated(number));
        }
        assert_eq!(state.kept, (4..10).map(content).collect::<Vec<_>>());
        state.apply(&activated(5));
        assert_eq!(state.before(Some(&content(5))), [9, 8, 7, 6, 4].map(content));
        assert_eq!(state.before(Some(&content(4))), []);
        assert_eq!(state.before(None).len(), KEPT_MAX);

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
            write_private(directory.path(), &path, &[&bytes]).expect("written");
            let states = OperatorStates::open(Some(directory.path()));
            prop_assert_eq!(states.warnings().len(), 1);
            prop_assert!(!path.exists());
            prop_assert_eq!(std::fs::read(directory.path().join("choices.broken.json")).expect("moved aside"), bytes);
        }
    }
}
