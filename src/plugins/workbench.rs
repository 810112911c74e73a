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
use serde_json::{Map, Value, json};
use tokio::sync::mpsc;

use crate::domain::control::{Context, Control, PolicyMode, Verdict};

use super::bindings;
use super::cache::Cache;
use super::candidate::{self, Source, Workshop};
use super::engine::{Compiled, Engine};
use super::history::Progress;
use super::limits::Limits;
use super::manifest::{Grants, PluginConfig, PluginKind};
use super::plugin::{Guest, Origin, Plugin, PluginState, PluginStatus, Rejection, Stage};
use super::policy::Amendment;
use super::quarantine::Pauses;
use super::sandbox::CallError;
use super::{OpenError, policy as policies, provider as providers, track};

pub use case::{Case, Difference, Question, differences};
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
        let workshop = self.workshop([(id.clone(), config)].into());
        let source = Source { origin: Origin::Directory, name: id, manifest, wasm: project.wasm(), minisig: None };
        let fingerprint = source.fingerprint();
        let terms = workshop.terms(&source, &fingerprint)?;
        let candidate = PluginStatus::of(&terms, source.origin, PluginState::Staged);
        let progress = Progress::new(candidate, None, None);
        let mut plugin = workshop.build(&source, &terms, &fingerprint, None, &progress).await?;
        plugin.sandbox.generation = 1;
        // What loading used is not what the next call uses.
        plugin.sandbox.take_peak();
        Ok(Loaded { plugin })
    }

    async fn compile(&self, project: &Project) -> Result<Compiled, Rejection> {
        self.workshop(BTreeMap::new()).compile(project.wasm(), project.digest()).await
    }

    fn workshop(&self, configs: BTreeMap<String, PluginConfig>) -> Workshop {
        // Nobody listens for trouble: an author sees every failure as it happens.
        let (troubles, _) = mpsc::channel(1);
        Workshop {
            engine: self.engine.clone(),
            cache: Arc::clone(&self.cache),
            defaults: Limits::default(),
            configs,
            troubles,
            pauses: Pauses::default(),
            compilers: candidate::compilers(),
        }
    }

    /// The least manifest for a component that has none: what it says of itself, and every program it
    /// names granted.
    async fn manifest_for(&self, project: &Project) -> Result<String, Rejection> {
        let compiled = self.compile(project).await?;
        let exported = self.engine.interfaces(&compiled);
        let exports = |kind: PluginKind| {
            exported.iter().any(|name| name.starts_with(&format!("{}{}@", bindings::PACKAGE, kind.as_str())))
        };
        let kind = [PluginKind::Policy, PluginKind::Provider].into_iter().find(|kind| exports(*kind));
        let kind = kind.ok_or_else(|| {
            Rejection::new(
                Stage::World,
                "exports neither policy nor provider of agent-relay:plugin; build it for a world of wit/",
            )
        })?;
        let workshop = self.workshop(BTreeMap::new());
        let (id, executables) = workshop.introduction(&compiled, kind).await?;
        Ok(format!("id = {id:?}\nkind = \"{}\"\n[grants]\nexecutables = {executables:?}\n", kind.as_str())
            .replace("[grants]\nexecutables = []\n", ""))
    }
}

/// A policy that only watches, or is off, is held to its verdicts here.
fn mode_for(manifest: &str) -> Option<PolicyMode> {
    project::kind_in(manifest).filter(|kind| *kind == PluginKind::Policy).map(|_| PolicyMode::Enforce)
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
        self.plugin.status()
    }

    /// What it does.
    pub fn kind(&self) -> PluginKind {
        self.plugin.terms.kind
    }

    /// What it said of itself when it was loaded, beside its id and version.
    pub fn abilities(&self) -> Value {
        match &self.plugin.guest {
            Guest::Policy(policy) => json!({"kinds": policy.kinds}),
            Guest::Provider(provider) => json!({
                "executables": provider.executables,
                "approvalModes": provider.approval_modes,
                "takesPrompt": provider.takes_prompt,
            }),
        }
    }

    /// What its plans may use.
    pub fn grants(&self) -> &Grants {
        &self.plugin.terms.grants
    }

    /// Puts one question to it.
    pub async fn call(&self, question: &Question) -> Called {
        self.plugin.sandbox.take_peak();
        let started = Instant::now();
        let (answer, asked) = match (question, &self.plugin.guest) {
            (Question::Decide { control, context }, Guest::Policy(policy)) => {
                if policy.kinds.contains(&control.kind()) {
                    (self.decide(policy, control, context).await, true)
                } else {
                    (json!("allow"), false)
                }
            }
            (Question::Plan { request, site }, Guest::Provider(provider)) => {
                let answer = match providers::plan(&self.plugin, provider, request, site).await {
                    Ok(Ok(plan)) => json!({"plan": plan.plan()}),
                    Ok(Err(refusal)) => json!({"error": refusal.to_string()}),
                    Err(error) => failed(&error),
                };
                (answer, true)
            }
            (Question::Present(message), Guest::Provider(provider)) => {
                let answer = providers::present(&self.plugin, provider, message).await;
                (answer.map_or_else(|error| failed(&error), |presentation| json!({"presentation": presentation})), true)
            }
            (Question::Stop(reason), Guest::Provider(provider)) => {
                let answer = providers::stop(&self.plugin, provider, *reason).await;
                (answer.map_or_else(|error| failed(&error), |plan| json!({"stopPlan": plan})), true)
            }
            (Question::Decide { .. }, Guest::Provider(_)) => (json!({"error": "a provider decides nothing"}), false),
            (_, Guest::Policy(_)) => (json!({"error": "a policy decides, and does nothing else"}), false),
        };
        let micros = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
        Called { answer, asked, micros, peak_bytes: self.plugin.sandbox.take_peak() }
    }

    /// Makes one instance and asks it nothing: the microseconds that took.
    ///
    /// # Errors
    /// When it does not come up within its limits.
    pub async fn instantiate(&self) -> Result<u64, CallError> {
        let (call, mut store) = self.plugin.sandbox.enter("instantiate", 0).await?;
        let started = Instant::now();
        match &self.plugin.guest {
            Guest::Policy(policy) => {
                let ended = call.run(policy.track.instantiate(&mut store)).await;
                call.end(store, ended, |_| Ok(()))?;
            }
            Guest::Provider(provider) => {
                let ended = call.run(provider.pre.instantiate_async(&mut store)).await;
                call.end(store, ended, |_| Ok(()))?;
            }
        }
        Ok(u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX))
    }

    async fn decide(&self, policy: &policies::Policy, control: &Control, context: &Context) -> Value {
        let question = track::Question::new(control.clone(), context);
        match policies::ask(&self.plugin.sandbox, policy, &question).await {
            Ok(Ok(Verdict::Allow)) => json!("allow"),
            Ok(Ok(Verdict::Deny { code, reason })) => json!({"deny": {"code": code, "reason": reason}}),
            Ok(Ok(Verdict::Amend { cwd, approval_mode, reason })) => {
                let amendment = Amendment { cwd: cwd.clone(), approval_mode };
                // The paths of a case need not exist on the author's machine, so the narrowing is
                // judged as for another host: by components.
                let mut control = control.clone();
                if let Control::Spawn(spawn) = &mut control {
                    spawn.cwd.resolved = None;
                }
                match policies::narrow(&control, amendment).await {
                    Ok(_) => json!({"amend": {"cwd": cwd, "approvalMode": approval_mode, "reason": reason}}),
                    Err(problem) => failed(&self.plugin.sandbox.reject_answer("decide", &problem)),
                }
            }
            Ok(Err(reason)) => json!({"error": format!("cannot tell: {reason}"), "code": "cannot_tell"}),
            Err(error) => failed(&error),
        }
    }
}

fn failed(error: &CallError) -> Value {
    json!({"error": error.to_string(), "code": error.code()})
}
