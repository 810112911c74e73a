//! Loading a plugin without a relay.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use serde_json::{Map, Value};
use tokio::sync::mpsc;

use crate::domain::control::PolicyMode;

use super::super::OpenError;
use super::super::kinds::{Introduction, Plugin, Rejection, Stage};
use super::super::package::{Fingerprint, Limits, Origin, PluginConfig, PluginKind, Source, Terms};
use super::super::registry::{Loader, PluginState, PluginStatus, Probe, Progress, compilers};
use super::super::runtime::bindings::PACKAGE;
use super::super::runtime::{Cache, Compiled, Engine, Pauses, Supervision};
use super::loaded::Loaded;
use super::project::{self, Project};

/// Where plugins are looked at and called outside of a relay.
pub struct Workbench {
    pub(super) engine: Engine,
    cache: Arc<Cache>,
}

impl Workbench {
    /// A workbench that keeps compiled components in `cache`, which is made if need be.
    ///
    /// # Errors
    /// When the WebAssembly engine does not start on this machine.
    pub fn open(cache: &Path) -> Result<Self, OpenError> {
        let engine = Engine::new().map_err(|error| OpenError::Engine(format!("{error:#}")))?;
        Ok(Self { cache: Arc::new(Cache::open(cache, &engine)), engine })
    }

    /// Takes a plugin through every stage of loading but the probe, with settings laid over its manifest's key by
    /// key as an operator's are.
    ///
    /// # Errors
    /// What a relay would reject it for.
    pub async fn load(&self, project: &Project, settings: &Map<String, Value>) -> Result<Loaded, Rejection> {
        let refused = |reason: String| Rejection::new(Stage::Manifest, reason);
        let manifest = match project.manifest() {
            Some(text) => text.to_owned(),
            None => self.manifest_for(project).await?,
        };
        let settings = Value::Object(settings.clone());
        let settings = toml::Table::try_from(settings).map_err(|error| refused(format!("settings: {error}")))?;
        let id = project::id_in(&manifest).map_err(refused)?;
        // Disabled and watched policies are called here all the same: that is what somebody came for. So is one that
        // fails at the probe, or nobody could find out why.
        let config =
            PluginConfig { settings, enabled: Some(true), mode: mode_for(&manifest), ..PluginConfig::default() };
        let loader = self.loader([(id.clone(), config)].into(), Probe::Left);
        let source = Source { origin: Origin::Directory, name: id, manifest, wasm: project.wasm(), minisig: None };
        let fingerprint = source.fingerprint();
        let terms = loader.terms(&source, &fingerprint)?;
        Ok(Loaded::new(build(&loader, &source, &fingerprint, &terms).await?))
    }

    pub(super) async fn compile(&self, project: &Project) -> Result<Compiled, Rejection> {
        self.loader(BTreeMap::new(), Probe::Left).compile(project.wasm(), project.digest()).await
    }

    pub(super) fn loader(&self, configs: BTreeMap<String, PluginConfig>, probe: Probe) -> Loader {
        // Nobody reads the reports: an author sees every failure as it happens.
        let (failure_reports, _) = mpsc::channel(1);
        Loader {
            engine: self.engine.clone(),
            cache: Arc::clone(&self.cache),
            defaults: Limits::default(),
            configs,
            supervision: Supervision { failure_reports, pauses: Pauses::default() },
            compilers: compilers(),
            probe,
        }
    }

    /// The least manifest for a component that has none: what it says of itself, and every program it
    /// names granted.
    pub(super) async fn manifest_for(&self, project: &Project) -> Result<String, Rejection> {
        let compiled = self.compile(project).await?;
        let exported = self.engine.interfaces(&compiled);
        let exports =
            |kind: PluginKind| exported.iter().any(|name| name.starts_with(&format!("{}{}@", PACKAGE, kind.as_str())));
        let kind = PluginKind::ALL.into_iter().find(|kind| exports(*kind));
        let kind = kind.ok_or_else(|| {
            Rejection::new(
                Stage::World,
                format!(
                    "exports neither {} of agent-relay:plugin; build it for a world of wit/",
                    PluginKind::named(" nor ")
                ),
            )
        })?;
        let loader = self.loader(BTreeMap::new(), Probe::Left);
        let Introduction { id, executables } = loader.introduction(&compiled, kind, "{}").await?;
        Ok(format!("id = {id:?}\nkind = \"{}\"\n[grants]\nexecutables = {executables:?}\n", kind.as_str())
            .replace("[grants]\nexecutables = []\n", ""))
    }
}

/// Takes a plugin through the stages of a relay.
pub(super) async fn build(
    loader: &Loader,
    source: &Source,
    fingerprint: &Fingerprint,
    terms: &Terms,
) -> Result<Plugin, Rejection> {
    let candidate = PluginStatus::of(terms, source.origin, PluginState::Staged);
    let progress = Progress::new(candidate, None, None);
    let mut plugin = loader.build(source, terms, fingerprint, None, &progress).await?;
    plugin.sandbox.generation = 1;
    // What loading used is not what the next call uses.
    plugin.sandbox.take_peak();
    Ok(plugin)
}

/// A policy that only watches, or is off, is held to its verdicts here.
fn mode_for(manifest: &str) -> Option<PolicyMode> {
    project::kind_in(manifest).filter(|kind| kind.gives_verdicts()).map(|_| PolicyMode::Enforce)
}
