//! One plugin on its author's desk: looked at, checked and called without a relay, by the very code
//! that a relay loads and calls it with.
//!
//! `project` reads a folder or a component, `inspection` says what a component is, `finding` collects
//! everything that loading would complain about, `case` is a question with the answer it should have.

mod case;
mod finding;
mod inspection;
mod project;
mod replay;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use serde::Serialize;
use serde_json::{Map, Value};
use tokio::sync::mpsc;

use crate::domain::control::PolicyMode;

use super::OpenError;
use super::kinds::{self, Plugin, Rejection, Stage};
use super::package::{Grants, Limits, Origin, PluginConfig, PluginKind, Source};
use super::registry::{Loader, PluginState, PluginStatus, Progress, compilers};
use super::runtime::bindings::PACKAGE;
use super::runtime::{Cache, CallError, Compiled, Engine, Pauses, Supervision};

pub use super::kinds::{Guide, Question};
pub use case::{Case, Difference, differences};
pub use finding::{Finding, Level, Report};
pub use inspection::{Inspection, Tool};
pub use project::{Project, check_id, identity};
pub use replay::{Change, Ruled};

/// Where plugins are looked at and called outside of a relay.
pub struct Workbench {
    engine: Engine,
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

    /// Takes a plugin through every stage of loading, with settings laid over its manifest's key by
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
        // Disabled and watched policies are called here all the same: that is what somebody came for.
        let config =
            PluginConfig { settings, enabled: Some(true), mode: mode_for(&manifest), ..PluginConfig::default() };
        let loader = self.loader([(id.clone(), config)].into());
        let source = Source { origin: Origin::Directory, name: id, manifest, wasm: project.wasm(), minisig: None };
        let fingerprint = source.fingerprint();
        let terms = loader.terms(&source, &fingerprint)?;
        let candidate = PluginStatus::of(&terms, source.origin, PluginState::Staged);
        let progress = Progress::new(candidate, None, None);
        let mut plugin = loader.build(&source, &terms, &fingerprint, None, &progress).await?;
        plugin.sandbox.generation = 1;
        // What loading used is not what the next call uses.
        plugin.sandbox.take_peak();
        Ok(Loaded { plugin })
    }

    async fn compile(&self, project: &Project) -> Result<Compiled, Rejection> {
        self.loader(BTreeMap::new()).compile(project.wasm(), project.digest()).await
    }

    fn loader(&self, configs: BTreeMap<String, PluginConfig>) -> Loader {
        // Nobody reads the reports: an author sees every failure as it happens.
        let (failure_reports, _) = mpsc::channel(1);
        Loader {
            engine: self.engine.clone(),
            cache: Arc::clone(&self.cache),
            defaults: Limits::default(),
            configs,
            supervision: Supervision { failure_reports, pauses: Pauses::default() },
            compilers: compilers(),
        }
    }

    /// The least manifest for a component that has none: what it says of itself, and every program it
    /// names granted.
    async fn manifest_for(&self, project: &Project) -> Result<String, Rejection> {
        let compiled = self.compile(project).await?;
        let exported = self.engine.interfaces(&compiled);
        let exports =
            |kind: PluginKind| exported.iter().any(|name| name.starts_with(&format!("{}{}@", PACKAGE, kind.as_str())));
        let kind = PluginKind::ALL.into_iter().find(|kind| exports(*kind));
        let kind = kind.ok_or_else(|| {
            Rejection::new(
                Stage::World,
                "exports neither policy nor provider of agent-relay:plugin; build it for a world of wit/",
            )
        })?;
        let loader = self.loader(BTreeMap::new());
        let kinds::Introduction { id, executables } = loader.introduction(&compiled, kind).await?;
        Ok(format!("id = {id:?}\nkind = \"{}\"\n[grants]\nexecutables = {executables:?}\n", kind.as_str())
            .replace("[grants]\nexecutables = []\n", ""))
    }
}

/// A policy that only watches, or is off, is held to its verdicts here.
fn mode_for(manifest: &str) -> Option<PolicyMode> {
    project::kind_in(manifest).filter(|kind| kind.gives_verdicts()).map(|_| PolicyMode::Enforce)
}

/// What the author of a new plugin of this kind is told and given.
pub fn guide(kind: PluginKind) -> Guide {
    kinds::of(kind).guide()
}

/// A plugin that went through every stage of loading.
pub struct Loaded {
    plugin: Plugin,
}

/// What one call came to.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Called {
    /// `"allow"`, `{"deny": ...}`, `{"amend": ...}`, `{"plan": ...}`, `{"presentation": ...}`,
    /// `{"stopPlan": ...}` or `{"error": "..."}`.
    pub answer: Value,
    /// Whether the plugin wanted to see this question. A policy that did not counts as allowing.
    pub asked: bool,
    /// How long it took, the fresh instance included, in microseconds.
    pub micros: u64,
    /// The most linear memory in use at once, in bytes.
    pub peak_bytes: usize,
}

impl Loaded {
    /// What a relay would show of it.
    pub fn status(&self) -> PluginStatus {
        PluginStatus::of_plugin(&self.plugin)
    }

    /// What it does.
    pub fn kind(&self) -> PluginKind {
        self.plugin.terms.kind
    }

    /// What it said of itself when it was loaded, beside its id and version.
    pub fn abilities(&self) -> Value {
        self.plugin.guest.abilities()
    }

    /// What its plans may use.
    pub fn grants(&self) -> &Grants {
        &self.plugin.terms.grants
    }

    /// Puts one question to it.
    pub async fn call(&self, question: &Question) -> Called {
        self.plugin.sandbox.take_peak();
        let started = Instant::now();
        let kinds::Asked { answer, asked } = self.plugin.guest.ask(&self.plugin, question).await;
        let micros = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
        Called { answer, asked, micros, peak_bytes: self.plugin.sandbox.take_peak() }
    }

    /// Makes one instance and asks it nothing: the microseconds that took.
    ///
    /// # Errors
    /// When it does not come up within its limits.
    pub async fn instantiate(&self) -> Result<u64, CallError> {
        self.plugin.guest.instantiate(&self.plugin.sandbox).await
    }
}
