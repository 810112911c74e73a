//! One immutable set of plugins. A control request takes one at its start and keeps it to its
//! end, so that nothing it does mixes two generations.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

use crate::domain::control::courier::{Attempt, Notice};
use crate::domain::control::observation::{Observation, RunningSession, ScreenView};
use crate::domain::control::plan::{IncomingMessage, LaunchSite, Presentation, SpawnRequest, StopPlan, StopReason};
use crate::domain::control::{Context, Control, Decision, Outcome};

use super::super::super::kinds::policy;
use super::super::super::kinds::provider::{self, CheckedPlan, PluginError, Provider};
use super::super::super::kinds::{Plugin, Rejection, Stage};
use super::super::super::package::{Grants, Origin, PluginKind};
use super::super::super::runtime::CallError;
use super::super::lifecycle::{PluginState, PluginStatus, Progress};
use crate::domain::time::Timestamp;

/// The plugins that were active at one moment.
#[derive(Default)]
pub struct PluginSet {
    /// By (order, id).
    policies: Vec<Arc<Plugin>>,
    /// Those that are asked by their id: of every other kind.
    by_id: BTreeMap<String, Arc<Plugin>>,
    required: BTreeSet<String>,
    missing: Vec<Missing>,
    others: Others,
    lost: BTreeMap<String, String>,
    warnings: Vec<String>,
    /// Told when the last request that uses this set has ended.
    unused: Arc<Notify>,
}

/// What a set has to show beside what it asks.
#[derive(Default)]
pub(crate) struct Others {
    /// Rejected or disabled.
    pub(crate) idle: Vec<PluginStatus>,
    /// Those being loaded.
    pub(crate) loading: Vec<Arc<Progress>>,
    /// Those that earlier sets asked, and requests may still use.
    pub(crate) leaving: Vec<Arc<Leaving>>,
}

/// A generation that is no longer asked.
pub(crate) struct Leaving {
    status: PluginStatus,
    retired: AtomicBool,
}

impl Leaving {
    pub(crate) fn new(plugin: &Plugin) -> Self {
        let since = Some(Timestamp::now().as_ms());
        let status =
            PluginStatus { state: PluginState::Draining, since, error: None, ..PluginStatus::of_plugin(plugin) };
        Self { status, retired: AtomicBool::new(false) }
    }

    /// The last request that used it has ended.
    pub(crate) fn retire(&self) {
        self.retired.store(true, Ordering::Relaxed);
    }

    /// How it is shown until then, and how from then on.
    pub(crate) fn status(&self) -> PluginStatus {
        if self.retired.load(Ordering::Relaxed) {
            PluginStatus { state: PluginState::Retired, since: Some(Timestamp::now().as_ms()), ..self.status.clone() }
        } else {
            self.status.clone()
        }
    }
}

/// A policy without which nothing may happen, and which is not there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Missing {
    pub(crate) id: String,
    pub(crate) reason: String,
    /// In milliseconds since the epoch.
    pub(crate) since: i64,
}

impl PluginSet {
    pub(crate) fn new(
        active: Vec<Arc<Plugin>>,
        required: BTreeSet<String>,
        missing: Vec<Missing>,
        others: Others,
        lost: BTreeMap<String, String>,
        warnings: Vec<String>,
        unused: Arc<Notify>,
    ) -> Self {
        let (mut policies, others_asked): (Vec<_>, Vec<_>) =
            active.into_iter().partition(|plugin| plugin.terms.kind == PluginKind::Policy);
        policies.sort_by(|a, b| (a.terms.order, &a.terms.id).cmp(&(b.terms.order, &b.terms.id)));
        Self {
            policies,
            by_id: others_asked.into_iter().map(|plugin| (plugin.terms.id.clone(), plugin)).collect(),
            required,
            missing,
            others,
            lost,
            warnings,
            unused,
        }
    }

    /// The ids of the loaded providers, sorted.
    pub fn provider_ids(&self) -> Vec<String> {
        let providers = self.by_id.iter().filter(|(_, plugin)| plugin.terms.kind == PluginKind::Provider);
        providers.map(|(id, _)| id.clone()).collect()
    }

    /// The plugins that are asked.
    pub(crate) fn plugins(&self) -> impl Iterator<Item = &Arc<Plugin>> {
        self.policies.iter().chain(self.by_id.values())
    }

    /// Whether this very generation is asked.
    pub(crate) fn holds(&self, plugin: &Arc<Plugin>) -> bool {
        self.plugins().any(|held| Arc::ptr_eq(held, plugin))
    }

    /// Every plugin of this set, those that are not in use, that are on their way, and that drain, by id.
    pub fn statuses(&self) -> Vec<PluginStatus> {
        let mut statuses: Vec<PluginStatus> = self.plugins().map(|plugin| PluginStatus::of_plugin(plugin)).collect();
        statuses.extend(self.others.idle.iter().cloned());
        statuses.extend(self.others.loading.iter().map(|progress| progress.status()));
        let leaving = self.others.leaving.iter().map(|leaving| leaving.status());
        statuses.extend(leaving.filter(|status| status.state == PluginState::Draining));
        // One that is required and of which there is nothing at all.
        for missing in &self.missing {
            if statuses.iter().all(|status| status.id != missing.id) {
                let rejection = Rejection { at: missing.since, ..Rejection::new(Stage::Read, &*missing.reason) };
                let status = PluginStatus::unknown(&missing.id, Origin::Directory, PluginState::Rejected);
                statuses.push(PluginStatus { since: Some(missing.since), error: Some(rejection), ..status });
            }
        }
        for status in &mut statuses {
            status.required = self.required.contains(&status.id);
        }
        // Stable: where an id is there twice, the active one stays first.
        statuses.sort_by(|a, b| a.id.cmp(&b.id));
        statuses
    }

    /// Whether a control may happen, and in which form. Denied is what remains when anything goes
    /// wrong.
    pub async fn decide(self: &Arc<Self>, control: Control, context: &Context) -> Decision {
        if let Some(missing) = self.missing.first() {
            return Decision {
                verdicts: Vec::new(),
                narrowed: Vec::new(),
                outcome: Outcome::Failed {
                    plugin: missing.id.clone(),
                    reason: format!("required policy {} is not loaded: {}", missing.id, missing.reason),
                },
            };
        }
        let Some(heavy) = self.policies.iter().find(|policy| policy.sandbox.is_heavy()) else {
            return policy::decide(self.policies.iter().map(AsRef::as_ref), control, context).await;
        };
        let (set, context) = (Arc::clone(self), context.clone());
        let decide = async move { policy::decide(set.policies.iter().map(AsRef::as_ref), control, &context).await };
        heavy.sandbox.run_apart(decide).await
    }

    /// Required policies that are not loaded, each with the reason: while there are any, every
    /// control is refused.
    pub fn missing(&self) -> impl Iterator<Item = (&str, &str)> {
        self.missing.iter().map(|missing| (missing.id.as_str(), missing.reason.as_str()))
    }

    /// Policies that are not obeyed any more though nobody decided that, each with the reason.
    pub fn lost(&self) -> &BTreeMap<String, String> {
        &self.lost
    }

    /// What else the operator should know about plugins as a whole.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// What exactly would be run for this request of a caller, checked.
    pub async fn plan(
        &self,
        caller: &str,
        provider: &str,
        request: &SpawnRequest,
        site: &LaunchSite,
    ) -> Result<CheckedPlan, PluginError> {
        let (plugin, guest) = self.provider(provider, "plan")?;
        let (of, caller, request, site) = (Arc::clone(&plugin), caller.to_owned(), request.clone(), site.clone());
        let plan = run(&plugin, async move { provider::plan(&of, &guest, Some(&caller), &request, &site).await });
        match plan.await.map_err(|error| failed(provider, error))? {
            Ok(plan) => Ok(plan),
            Err(refusal) => Err(PluginError::Refused { provider: provider.to_owned(), refusal }),
        }
    }

    /// How a message is typed into a session that this provider's program runs in.
    pub async fn present(&self, provider: &str, message: &IncomingMessage) -> Result<Presentation, PluginError> {
        let (plugin, guest) = self.provider(provider, "present")?;
        let (of, message) = (Arc::clone(&plugin), message.clone());
        let present =
            run(&plugin, async move { provider::present(&of, &guest, Some(&message.sender), &message).await });
        present.await.map_err(|error| failed(provider, error))
    }

    /// How a session that this provider's program runs in is asked to end.
    pub async fn stop(&self, provider: &str, reason: StopReason) -> Result<StopPlan, PluginError> {
        let (plugin, guest) = self.provider(provider, "stop")?;
        let of = Arc::clone(&plugin);
        let stop = run(&plugin, async move { provider::stop(&of, &guest, reason).await });
        stop.await.map_err(|error| failed(provider, error))
    }

    /// What this provider sees in a session that its program runs in; nothing when it does not observe. A failure is
    /// the provider's, and puts it back for nothing else.
    pub async fn observe(
        &self,
        provider: &str,
        session: &RunningSession,
        screen: &ScreenView,
    ) -> Result<Option<Observation>, PluginError> {
        let (plugin, guest) = self.provider(provider, "observe")?;
        let (of, session, screen) = (Arc::clone(&plugin), session.clone(), screen.clone());
        let observe = run(&plugin, async move { provider::observe(&of, &guest, &session, &screen).await });
        observe.await.map_err(|error| failed(provider, error))
    }

    /// The ways that this provider knows to show a notice in a session that its program runs in, best first, each
    /// within what it was granted; nothing when it does not deliver.
    pub async fn deliver(
        &self,
        provider: &str,
        notice: &Notice,
        session: &RunningSession,
        seen: &Observation,
    ) -> Result<Option<Vec<Attempt>>, PluginError> {
        let (plugin, guest) = self.provider(provider, "deliver")?;
        let (of, notice, session, seen) = (Arc::clone(&plugin), notice.clone(), session.clone(), seen.clone());
        let deliver = run(&plugin, async move { provider::deliver(&of, &guest, &notice, &session, &seen).await });
        deliver.await.map_err(|error| failed(provider, error))
    }

    /// What this provider may use, when it is loaded.
    pub fn grants(&self, provider: &str) -> Option<&Grants> {
        self.by_id.get(provider).map(|plugin| &plugin.terms.grants)
    }

    fn provider(&self, id: &str, func: &'static str) -> Result<(Arc<Plugin>, Arc<Provider>), PluginError> {
        let (plugin, guest) = self
            .by_id
            .get(id)
            .and_then(|plugin| Some((Arc::clone(plugin), plugin.shared_guest::<Provider>()?)))
            .ok_or_else(|| PluginError::NotLoaded { provider: id.to_owned(), loaded: self.provider_ids() })?;
        plugin.sandbox.admit(func).map_err(|error| failed(id, error))?;
        Ok((plugin, guest))
    }
}

/// Makes a call of this plugin where it holds up nobody.
async fn run<T: Send + 'static>(plugin: &Plugin, call: impl Future<Output = T> + Send + 'static) -> T {
    if plugin.sandbox.is_heavy() { plugin.sandbox.run_apart(call).await } else { call.await }
}

impl Drop for PluginSet {
    fn drop(&mut self) {
        self.unused.notify_one();
    }
}

fn failed(provider: &str, error: CallError) -> PluginError {
    PluginError::Failed { provider: provider.to_owned(), error }
}
