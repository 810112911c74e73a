//! From bytes to a plugin that may go live: each stage can reject it, and none touches what is
//! active.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{Semaphore, mpsc};

use crate::domain::plan::StopReason;

use super::bindings::{self, provider, provider_wit};
use super::cache::Cache;
use super::engine::{Compiled, Engine};
use super::grants::Asks;
use super::guest_log::clean;
use super::history::Progress;
use super::host::Host;
use super::limits::Limits;
use super::manifest::{Manifest, PluginConfig, PluginKind, Terms, check_version};
use super::plan_check::check_executable;
use super::plugin::{Fingerprint, Guest, Origin, Plugin, PluginState, Rejection, Stage};
use super::policy::Policy;
use super::provider::Provider;
use super::quarantine::Pauses;
use super::sandbox::{CallError, Sandbox, Trouble};
use super::track::{Description, PolicyTrack, Question};
use super::{policy as policies, provider as providers, samples, signed};

/// One for each processor: a compilation uses what it gets.
pub(super) fn compilers() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(std::thread::available_parallelism().map_or(1, usize::from)))
}

/// Programs a provider may describe.
const EXECUTABLES_MAX: usize = 32;

/// What a plugin is made from.
pub(super) struct Source {
    pub(super) origin: Origin,
    /// The name of its folder, which its manifest must repeat.
    pub(super) name: String,
    pub(super) manifest: String,
    pub(super) wasm: Bytes,
    /// The text of its signature, if it has to have one and has.
    pub(super) minisig: Option<String>,
}

impl Source {
    pub(super) fn fingerprint(&self) -> Fingerprint {
        Fingerprint {
            wasm: super::digest_of(&self.wasm),
            manifest: self.manifest.clone(),
            minisig: self.minisig.clone(),
        }
    }
}

/// Everything that making a plugin takes.
pub(super) struct Workshop {
    pub(super) engine: Engine,
    pub(super) cache: Arc<Cache>,
    pub(super) defaults: Limits,
    pub(super) configs: BTreeMap<String, PluginConfig>,
    pub(super) troubles: mpsc::Sender<Trouble>,
    pub(super) pauses: Pauses,
    /// Compilations at once.
    pub(super) compilers: Arc<Semaphore>,
}

impl Workshop {
    /// What the manifest and the operator say, if they can be understood.
    pub(super) fn terms(&self, source: &Source, fingerprint: &Fingerprint) -> Result<Terms, Rejection> {
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
    pub(super) async fn build(
        &self,
        source: &Source,
        terms: &Terms,
        fingerprint: &Fingerprint,
        accepted: Option<&Asks>,
        progress: &Progress,
    ) -> Result<Plugin, Rejection> {
        self.check_signature(source).await?;
        progress.reach(PluginState::Inspected);
        let compiled = self.compile(source.wasm.clone(), &fingerprint.wasm).await?;
        progress.reach(PluginState::Compiled);
        let asks = Asks::of(fingerprint, &terms.grants, compiled.wasi);
        if let Some(accepted) = accepted {
            self.check_grants(&terms.id, &asks, accepted)?;
        }
        let interface = self.interface(&compiled, terms.kind)?;
        let called = || self.called(source.origin, terms, fingerprint, &compiled, &interface, &asks);
        let plugin = match called().await {
            // A machine that is busy starting everything at once is no fault of the plugin's.
            Err(rejection) if rejection.passing => called().await?,
            called => called?,
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
        asks: &Asks,
    ) -> Result<Plugin, Rejection> {
        let sandbox = Sandbox::new(
            self.engine.clone(),
            terms.id.as_str().into(),
            0,
            terms.settings.as_str().into(),
            terms.limits,
            compiled.wasi,
            (self.troubles.clone(), self.pauses),
        );
        let (version, guest) = match terms.kind {
            PluginKind::Policy => self.policy(compiled, interface, &sandbox, terms).await?,
            PluginKind::Provider => self.provider(compiled, &sandbox, terms).await?,
        };
        let plugin = Plugin {
            terms: terms.clone(),
            version,
            interface: interface.to_owned(),
            origin,
            fingerprint: fingerprint.clone(),
            asks: asks.clone(),
            loaded_at: super::now(),
            sandbox,
            guest,
        };
        probe(&plugin).await?;
        Ok(plugin)
    }

    /// Whether the operator wants this plugin signed.
    pub(super) fn is_signed(&self, id: &str) -> bool {
        self.configs.get(id).is_some_and(|config| config.public_key.is_some())
    }

    async fn check_signature(&self, source: &Source) -> Result<(), Rejection> {
        let key = self.configs.get(&source.name).and_then(|config| config.public_key.clone());
        let Some(key) = key.filter(|_| source.origin == Origin::Directory) else {
            return Ok(());
        };
        let (wasm, minisig) = (source.wasm.clone(), source.minisig.clone());
        tokio::task::spawn_blocking(move || signed::verify(&key, &wasm, minisig.as_deref()))
            .await
            .unwrap_or_else(|error| Err(format!("checking the signature failed: {error}")))
            .map_err(|problem| Rejection::new(Stage::Signature, problem))
    }

    fn check_grants(&self, id: &str, asks: &Asks, accepted: &Asks) -> Result<(), Rejection> {
        let nothing = PluginConfig::default();
        let config = self.configs.get(id).unwrap_or(&nothing);
        let Some(more) = asks.beyond(accepted, &config.grants) else {
            return Ok(());
        };
        let reason = format!(
            "asks for more than was accepted of it: {more}; if that is meant to be, POST /api/plugins/{id}/allow \
             {{\"digest\": \"{}\"}}",
            asks.digest
        );
        Err(Rejection {
            digest: Some(asks.digest.clone()),
            asks: Some(Box::new(asks.clone())),
            ..Rejection::new(Stage::Grants, reason)
        })
    }

    pub(super) async fn compile(&self, wasm: Bytes, digest: &str) -> Result<Compiled, Rejection> {
        let (engine, cache, digest) = (self.engine.clone(), Arc::clone(&self.cache), digest.to_owned());
        // Kept to the end of the compilation, which goes on when its candidate is abandoned.
        let slot = Arc::clone(&self.compilers).acquire_owned().await.ok();
        let compile = move || {
            let compiled = cache.compile(&engine, &wasm, &digest);
            drop(slot);
            compiled
        };
        tokio::task::spawn_blocking(compile)
            .await
            .map_err(|error| Rejection::new(Stage::Compile, format!("the compiler failed: {error}")))?
            .map_err(|error| {
                Rejection::new(Stage::Compile, format!("not a component this relay can compile: {}", chain(&error)))
            })
    }

    /// The id that a component gives itself, and the programs it names.
    pub(super) async fn introduction(
        &self,
        compiled: &Compiled,
        kind: PluginKind,
    ) -> Result<(String, Vec<String>), Rejection> {
        let sandbox = Sandbox::new(
            self.engine.clone(),
            "unnamed".into(),
            0,
            "{}".into(),
            self.defaults,
            compiled.wasi,
            (self.troubles.clone(), self.pauses),
        );
        let linked = self.engine.link(compiled).map_err(|error| not_linked(&error))?;
        match kind {
            PluginKind::Policy => {
                let interface = self.interface(compiled, kind)?;
                let track = PolicyTrack::new(linked, &interface).map_err(|error| not_linked(&error))?;
                Ok((describe_policy(&track, &sandbox).await?.id, Vec::new()))
            }
            PluginKind::Provider => {
                let pre = provider::ProviderPluginPre::new(linked).map_err(|error| not_linked(&error))?;
                let description = describe_provider(&pre, &sandbox).await?;
                Ok((description.id, description.executables))
            }
        }
    }

    /// The exported interface that makes it a plugin of this kind.
    fn interface(&self, compiled: &Compiled, kind: PluginKind) -> Result<String, Rejection> {
        let exported = self.engine.interfaces(compiled);
        let wanted = format!("{}{}@", bindings::PACKAGE, kind.as_str());
        let track = bindings::TRACK;
        match exported.iter().find(|name| name.starts_with(&wanted)) {
            Some(name) => Ok(name.clone()),
            None => Err(Rejection::new(
                Stage::World,
                format!("a {} must export {wanted}{track}; it exports {}", kind.as_str(), listed(&exported)),
            )),
        }
    }

    async fn policy(
        &self,
        compiled: &Compiled,
        interface: &str,
        sandbox: &Sandbox,
        terms: &Terms,
    ) -> Result<(String, Guest), Rejection> {
        let linked = self.engine.link(compiled).and_then(|pre| PolicyTrack::new(pre, interface));
        let track = linked.map_err(|error| not_linked(&error))?;
        let (call, mut store) = sandbox.enter("instantiate", 0).await.map_err(in_stage(Stage::World))?;
        let ended = call.run(track.instantiate(&mut store)).await;
        call.end(store, ended, |_| Ok(())).map_err(in_stage(Stage::World))?;

        let description = describe_policy(&track, sandbox).await?;
        check_description(&description.id, &description.version, terms)?;

        let (call, mut store) =
            sandbox.enter("check-settings", terms.settings.len()).await.map_err(in_stage(Stage::Settings))?;
        let ended = call.run(track.check_settings(&mut store, &terms.settings)).await;
        settings_taken(call.end(store, ended, Ok))?;
        Ok((description.version, Guest::Policy(Policy { track, kinds: description.kinds })))
    }

    async fn provider(
        &self,
        compiled: &Compiled,
        sandbox: &Sandbox,
        terms: &Terms,
    ) -> Result<(String, Guest), Rejection> {
        let pre = self
            .engine
            .link(compiled)
            .and_then(provider::ProviderPluginPre::new)
            .map_err(|error| not_linked(&error))?;
        let (call, mut store) = sandbox.enter("instantiate", 0).await.map_err(in_stage(Stage::World))?;
        let ended = call.run(pre.instantiate_async(&mut store)).await;
        call.end(store, ended, |_| Ok(())).map_err(in_stage(Stage::World))?;

        let description = describe_provider(&pre, sandbox).await?;
        check_description(&description.id, &description.version, terms)?;
        check_executables(&description.executables)?;

        let (call, mut store) =
            sandbox.enter("check-settings", terms.settings.len()).await.map_err(in_stage(Stage::Settings))?;
        let ended = call
            .run(async {
                let guest = pre.instantiate_async(&mut store).await?;
                guest.agent_relay_plugin_provider().call_check_settings(&mut store, &terms.settings).await
            })
            .await;
        settings_taken(call.end(store, ended, Ok))?;
        let provider = Provider {
            pre,
            executables: description.executables,
            approval_modes: description.approval_modes.into_iter().map(Into::into).collect(),
            takes_prompt: description.takes_prompt,
        };
        Ok((description.version, Guest::Provider(Arc::new(provider))))
    }
}

async fn describe_policy(track: &PolicyTrack, sandbox: &Sandbox) -> Result<Description, Rejection> {
    let (call, mut store) = sandbox.enter("describe", 0).await.map_err(in_stage(Stage::Describe))?;
    let ended = call.run(track.describe(&mut store)).await;
    call.end(store, ended, Ok).map_err(in_stage(Stage::Describe))
}

async fn describe_provider(
    pre: &provider::ProviderPluginPre<Host>,
    sandbox: &Sandbox,
) -> Result<provider_wit::Description, Rejection> {
    let (call, mut store) = sandbox.enter("describe", 0).await.map_err(in_stage(Stage::Describe))?;
    let ended = call
        .run(async {
            let guest = pre.instantiate_async(&mut store).await?;
            guest.agent_relay_plugin_provider().call_describe(&mut store).await
        })
        .await;
    call.end(store, ended, Ok).map_err(in_stage(Stage::Describe))
}

/// Asks something harmless. A policy may answer as it likes; a provider must make an acceptable
/// plan for each approval mode it lists, present a message and end a session acceptably.
pub(super) async fn probe(plugin: &Plugin) -> Result<(), Rejection> {
    let in_probe = in_stage(Stage::Probe);
    match &plugin.guest {
        Guest::Policy(policy) => {
            let context = samples::context();
            for control in samples::controls(&policy.kinds) {
                let question = Question::new(control, &context);
                let _verdict = policies::ask(&plugin.sandbox, policy, &question).await.map_err(&in_probe)?;
            }
        }
        Guest::Provider(provider) => {
            let site = samples::site(&plugin.terms.grants);
            for &mode in &provider.approval_modes {
                let request = samples::request(mode, provider.takes_prompt);
                let answer = providers::plan(plugin, provider, &request, &site).await.map_err(&in_probe)?;
                answer.map_err(|refusal| {
                    Rejection::new(
                        Stage::Probe,
                        format!("lists approval mode {}, but refuses a plan for it: {refusal}", mode.as_str()),
                    )
                })?;
            }
            providers::present(plugin, provider, &samples::message()).await.map_err(&in_probe)?;
            providers::stop(plugin, provider, StopReason::Shutdown).await.map_err(&in_probe)?;
        }
    }
    Ok(())
}

fn check_description(id: &str, version: &str, terms: &Terms) -> Result<(), Rejection> {
    let rejected = |reason: String| Err(Rejection::new(Stage::Describe, reason));
    if id != terms.id {
        return rejected(format!("describes itself as {:?}, but the manifest says {:?}", clean(id), terms.id));
    }
    if let Err(problem) = check_version(version) {
        return rejected(format!("describes its version as {:?}: {problem}", clean(version)));
    }
    if let Some(expected) = &terms.version
        && expected != version
    {
        return rejected(format!("describes itself as version {version}, but the manifest says {expected}"));
    }
    Ok(())
}

fn check_executables(executables: &[String]) -> Result<(), Rejection> {
    let rejected = |reason: String| Rejection::new(Stage::Describe, reason);
    if executables.len() > EXECUTABLES_MAX {
        return Err(rejected(format!("describes more than {EXECUTABLES_MAX} executables")));
    }
    executables.iter().try_for_each(|program| {
        check_executable(program)
            .map_err(|problem| rejected(format!("describes executable {:?}: it {problem}", clean(program))))
    })
}

fn settings_taken(answer: Result<Result<(), String>, CallError>) -> Result<(), Rejection> {
    answer
        .map_err(in_stage(Stage::Settings))?
        .map_err(|problem| Rejection::new(Stage::Settings, format!("does not take its settings: {}", clean(&problem))))
}

fn in_stage(stage: Stage) -> impl Fn(CallError) -> Rejection {
    move |error| Rejection {
        passing: matches!(error, CallError::Deadline(_) | CallError::Overloaded),
        ..Rejection::new(stage, error.to_string())
    }
}

fn not_linked(error: &wasmtime::Error) -> Rejection {
    Rejection::new(Stage::World, format!("does not fit this relay: {}", chain(error)))
}

/// An error with its causes on one line.
fn chain(error: &wasmtime::Error) -> String {
    clean(&format!("{error:#}").replace('\n', " "))
}

fn listed(names: &[String]) -> String {
    if names.is_empty() { "none of this package".to_owned() } else { names.join(", ") }
}
