//! From bytes to a plugin that may go live: each stage can reject it, and none touches what is
//! active.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::Semaphore;
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::Instrument;

use crate::domain::time::Timestamp;

use super::super::kinds::{self, Introduction, Linked, Plugin, Rejection, Stage, chain, not_linked};
use super::super::package::{
    Fingerprint, Limits, Manifest, Origin, PluginConfig, PluginKind, RequestedGrants, Source, Terms, verify,
};
use super::super::runtime::bindings::PACKAGE;
use super::super::runtime::{Cache, Compiled, Engine, Sandbox, Supervision};
use super::blocking::blocking;
use super::lifecycle::{PluginState, Progress};
use super::slot::Ticket;

/// One for each processor: a compilation uses what it gets.
pub(crate) fn compilers() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(std::thread::available_parallelism().map_or(1, usize::from)))
}

/// Everything that making a plugin takes.
pub(crate) struct Loader {
    pub(crate) engine: Engine,
    pub(crate) cache: Arc<Cache>,
    pub(crate) defaults: Limits,
    pub(crate) configs: BTreeMap<String, PluginConfig>,
    pub(crate) supervision: Supervision,
    /// Compilations at once.
    pub(crate) compilers: Arc<Semaphore>,
    pub(crate) probe: Probe,
}

/// Whether a candidate is asked something harmless at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Probe {
    /// As of everything that goes live.
    Asked,
    /// Its author asks it whatever it is to be asked.
    Left,
}

/// Something to be loaded. Dropped when nobody loads it any more and what followed from it is done.
pub(super) struct Candidate {
    pub(super) ticket: Ticket,
    pub(super) source: Source,
    pub(super) terms: Terms,
    pub(super) fingerprint: Fingerprint,
    pub(super) accepted: Option<RequestedGrants>,
    /// Whether an earlier generation is to be active if this one cannot be.
    pub(super) restores: bool,
    pub(super) progress: Arc<Progress>,
    pub(super) abandoned: CancellationToken,
    pub(super) _done: DropGuard,
}

impl Candidate {
    /// Takes it through every stage.
    pub(super) async fn build(&self, loader: &Loader) -> Result<Plugin, Rejection> {
        loader.build(&self.source, &self.terms, &self.fingerprint, self.accepted.as_ref(), &self.progress).await
    }
}

impl Loader {
    /// What the manifest and the operator say, if they can be understood.
    pub(crate) fn terms(&self, source: &Source, fingerprint: &Fingerprint) -> Result<Terms, Rejection> {
        let rejected = |reason: String| Rejection::new(Stage::Manifest, reason);
        let manifest =
            Manifest::parse(&source.manifest).map_err(|problem| rejected(format!("plugin.toml: {problem}")))?;
        if manifest.id != source.name {
            return Err(rejected(format!(
                "plugin.toml: `id` is {:?} and the folder is {:?}; they must be the same",
                manifest.id, source.name
            )));
        }
        // With a digest the manifest, written last, is the commit point of an update.
        if let Some(expected) = &manifest.sha256
            && !expected.eq_ignore_ascii_case(&fingerprint.wasm)
        {
            return Err(rejected(format!(
                "plugin.toml: `sha256` is {expected}, but that of plugin.wasm is {}",
                fingerprint.wasm
            )));
        }
        let nothing = PluginConfig::default();
        let config = self.configs.get(&source.name).unwrap_or(&nothing);
        manifest.under(config, self.defaults).map_err(rejected)
    }

    /// Takes a candidate through every further stage. What it asks for must be among what was
    /// accepted, if anything was. Dropping the future abandons it. Its generation is still to be given.
    pub(crate) async fn build(
        &self,
        source: &Source,
        terms: &Terms,
        fingerprint: &Fingerprint,
        accepted: Option<&RequestedGrants>,
        progress: &Progress,
    ) -> Result<Plugin, Rejection> {
        let span = tracing::info_span!(
            "plugin.load",
            plugin.id = terms.id,
            plugin.digest = fingerprint.wasm,
            plugin.stage = tracing::field::Empty
        );
        self.take_through(source, terms, fingerprint, accepted, progress).instrument(span).await
    }

    async fn take_through(
        &self,
        source: &Source,
        terms: &Terms,
        fingerprint: &Fingerprint,
        accepted: Option<&RequestedGrants>,
        progress: &Progress,
    ) -> Result<Plugin, Rejection> {
        enter(Stage::Signature);
        self.check_signature(source).await?;
        progress.reach(PluginState::Inspected);
        enter(Stage::Compile);
        let compiled = self.compile(source.wasm.clone(), &fingerprint.wasm).await?;
        progress.reach(PluginState::Compiled);
        enter(Stage::Probe);
        let requested = RequestedGrants::of(fingerprint, &terms.grants, compiled.wasi);
        if let Some(accepted) = accepted {
            self.check_grants(&terms.id, &requested, accepted)?;
        }
        let interface = self.interface(&compiled, terms.kind)?;
        let called = || self.called(source.origin, terms, fingerprint, &compiled, &interface, &requested);
        let called = match called().await {
            // A machine that is busy starting everything at once is no fault of the plugin's.
            Err(rejection) if rejection.passing => called().await,
            called => called,
        };
        let plugin = match called {
            Err(rejection) => return Err(self.explained(rejection, terms.kind, &compiled, &source.wasm).await),
            Ok(plugin) => plugin,
        };
        progress.reach(PluginState::Probed);
        Ok(plugin)
    }

    /// The stages in which the component itself is called.
    async fn called(
        &self,
        origin: Origin,
        terms: &Terms,
        fingerprint: &Fingerprint,
        compiled: &Compiled,
        interface: &str,
        requested: &RequestedGrants,
    ) -> Result<Plugin, Rejection> {
        let sandbox = Sandbox::new(
            self.engine.clone(),
            terms.id.as_str().into(),
            terms.settings.as_str().into(),
            terms.limits,
            compiled.wasi,
            self.supervision.clone(),
        );
        let pre = self.engine.link(compiled).map_err(|error| not_linked(&error))?;
        let exports = &self.engine.interfaces(compiled);
        let described = kinds::of(terms.kind).load(Linked { pre, interface, exports }, &sandbox, terms).await?;
        let plugin = Plugin {
            terms: terms.clone(),
            version: described.version,
            interface: interface.to_owned(),
            origin,
            fingerprint: fingerprint.clone(),
            requested: requested.clone(),
            loaded_at: Timestamp::now().as_ms(),
            sandbox,
            guest: described.guest,
        };
        if self.probe == Probe::Asked {
            plugin.probe().await?;
        }
        Ok(plugin)
    }

    /// Whether the operator wants this plugin signed.
    pub(crate) fn is_signed(&self, id: &str) -> bool {
        self.configs.get(id).is_some_and(|config| config.public_key.is_some())
    }

    async fn check_signature(&self, source: &Source) -> Result<(), Rejection> {
        let key = self.configs.get(&source.name).and_then(|config| config.public_key.clone());
        let Some(key) = key.filter(|_| source.origin == Origin::Directory) else {
            return Ok(());
        };
        let (wasm, minisig) = (source.wasm.clone(), source.minisig.clone());
        tokio::task::spawn_blocking(move || verify(&key, &wasm, minisig.as_deref()))
            .await
            .unwrap_or_else(|error| Err(format!("checking the signature failed: {error}")))
            .map_err(|problem| Rejection::new(Stage::Signature, problem))
    }

    fn check_grants(&self, id: &str, requested: &RequestedGrants, accepted: &RequestedGrants) -> Result<(), Rejection> {
        let nothing = PluginConfig::default();
        let config = self.configs.get(id).unwrap_or(&nothing);
        let Some(more) = requested.beyond(accepted, &config.grants) else {
            return Ok(());
        };
        let reason = format!(
            "asks for more than was accepted of it: {more}; if that is meant to be, POST /api/plugins/{id}/allow \
             {{\"digest\": \"{}\"}}",
            requested.digest
        );
        Err(Rejection {
            digest: Some(requested.digest.clone()),
            requested: Some(Box::new(requested.clone())),
            ..Rejection::new(Stage::Grants, reason)
        })
    }

    pub(crate) async fn compile(&self, wasm: Bytes, digest: &str) -> Result<Compiled, Rejection> {
        if let Some(problem) = kinds::not_a_component(&wasm) {
            return Err(Rejection::new(Stage::Compile, problem));
        }
        let (engine, cache, digest) = (self.engine.clone(), Arc::clone(&self.cache), digest.to_owned());
        // Kept to the end of the compilation, which goes on when its candidate is abandoned.
        let slot = Arc::clone(&self.compilers).acquire_owned().await.ok();
        let span = tracing::Span::current();
        let compile = move || {
            let compiled = span.in_scope(|| cache.compile(&engine, &wasm, &digest));
            drop(slot);
            compiled
        };
        tokio::task::spawn_blocking(compile)
            .await
            .map_err(|error| Rejection::new(Stage::Compile, format!("the compiler failed: {error}")))?
            .map_err(|error| {
                let problem = "not a component this relay can compile: it is damaged or cut short, or needs a part of \
                               WebAssembly that this relay does not have";
                Rejection::new(Stage::Compile, format!("{problem} ({})", chain(&error)))
            })
    }

    /// The id that a component gives itself under these settings, and the programs it names.
    pub(crate) async fn introduction(
        &self,
        compiled: &Compiled,
        kind: PluginKind,
        settings: &str,
    ) -> Result<Introduction, Rejection> {
        let sandbox = Sandbox::new(
            self.engine.clone(),
            "unnamed".into(),
            settings.into(),
            self.defaults,
            compiled.wasi,
            self.supervision.clone(),
        );
        let interface = self.interface(compiled, kind)?;
        let pre = self.engine.link(compiled).map_err(|error| not_linked(&error))?;
        let exports = &self.engine.interfaces(compiled);
        kinds::of(kind).introduce(Linked { pre, interface: &interface, exports }, &sandbox).await
    }

    /// The exported interface that makes it a plugin of this kind.
    fn interface(&self, compiled: &Compiled, kind: PluginKind) -> Result<String, Rejection> {
        let exported = self.engine.interfaces(compiled);
        let wanted = format!("{}{}@", PACKAGE, kind.as_str());
        exported.iter().find(|name| name.starts_with(&wanted)).cloned().ok_or_else(|| {
            let (imports, exports) = self.engine.surface(compiled);
            let problem = kinds::surface_problem(kind, &imports, &exports);
            Rejection::new(Stage::World, problem.unwrap_or_else(|| format!("exports no {wanted}")))
        })
    }

    /// The same rejection. Of a component that does not fit, it names where.
    async fn explained(&self, rejection: Rejection, kind: PluginKind, compiled: &Compiled, wasm: &Bytes) -> Rejection {
        if rejection.stage != Stage::World || rejection.passing {
            return rejection;
        }
        let (imports, exports) = self.engine.surface(compiled);
        let wasm = wasm.clone();
        let problem = blocking(move || {
            kinds::surface_problem(kind, &imports, &exports).or_else(|| kinds::contract_problem(&wasm))
        });
        match problem.await {
            Some(reason) => Rejection { reason, ..rejection },
            None => rejection,
        }
    }
}

/// Says in the span of the load which stage it is in.
fn enter(stage: Stage) {
    tracing::Span::current().record("plugin.stage", stage.as_str());
}
