//! One immutable set of plugins. A control request takes one at its start and keeps it to its
//! end, so that nothing it does mixes two generations.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::domain::control::{Context, Control, Decision, Outcome};
use crate::domain::plan::{IncomingMessage, LaunchSite, Presentation, SpawnRequest, StopPlan, StopReason};

use super::manifest::PluginKind;
use super::plan_check::CheckedPlan;
use super::plugin::{Plugin, PluginStatus};
use super::policy;
use super::provider::{self, PluginError, Provider};
use super::sandbox::CallError;

/// The plugins that were active at one moment.
#[derive(Default)]
pub struct PluginSet {
    /// By (order, id).
    policies: Vec<Arc<Plugin>>,
    providers: BTreeMap<String, Arc<Plugin>>,
    missing: Vec<Missing>,
    /// Those that are not active: rejected or disabled.
    idle: Vec<PluginStatus>,
    warnings: Vec<String>,
}

/// A policy without which nothing may happen, and which is not there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Missing {
    pub(super) id: String,
    pub(super) reason: String,
}

impl PluginSet {
    pub(super) fn new(
        active: Vec<Arc<Plugin>>,
        missing: Vec<Missing>,
        idle: Vec<PluginStatus>,
        warnings: Vec<String>,
    ) -> Self {
        let (mut policies, providers): (Vec<_>, Vec<_>) =
            active.into_iter().partition(|plugin| plugin.terms.kind == PluginKind::Policy);
        policies.sort_by(|a, b| (a.terms.order, &a.terms.id).cmp(&(b.terms.order, &b.terms.id)));
        Self {
            policies,
            providers: providers.into_iter().map(|plugin| (plugin.terms.id.clone(), plugin)).collect(),
            missing,
            idle,
            warnings,
        }
    }

    /// The ids of the loaded providers, sorted.
    pub fn provider_ids(&self) -> Vec<String> {
        self.providers.keys().cloned().collect()
    }

    /// Every plugin of this set, and those that are not in use, by id.
    pub fn statuses(&self) -> Vec<PluginStatus> {
        let active = self.policies.iter().chain(self.providers.values());
        let mut statuses: Vec<PluginStatus> = active.map(|plugin| plugin.status()).collect();
        statuses.extend(self.idle.iter().cloned());
        // Stable: where an id is there twice, the active one stays first.
        statuses.sort_by(|a, b| a.id.cmp(&b.id));
        statuses
    }

    /// Whether a control may happen, and in which form. Denied is what remains when anything goes
    /// wrong.
    pub async fn decide(&self, control: Control, context: &Context) -> Decision {
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
        policy::decide(self.policies.iter().map(AsRef::as_ref), control, context).await
    }

    /// Required policies that are not loaded, each with the reason: while there are any, every
    /// control is refused.
    pub fn missing(&self) -> impl Iterator<Item = (&str, &str)> {
        self.missing.iter().map(|missing| (missing.id.as_str(), missing.reason.as_str()))
    }

    /// What else the operator should know about plugins as a whole.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// What exactly would be run for this request, checked.
    pub async fn plan(
        &self,
        provider: &str,
        request: &SpawnRequest,
        site: &LaunchSite,
    ) -> Result<CheckedPlan, PluginError> {
        let (plugin, guest) = self.provider(provider, "plan")?;
        match provider::plan(plugin, guest, request, site).await {
            Ok(Ok(plan)) => Ok(plan),
            Ok(Err(refusal)) => Err(PluginError::Refused { provider: provider.to_owned(), refusal }),
            Err(error) => Err(failed(provider, error)),
        }
    }

    /// How a message is typed into a session that this provider's program runs in.
    pub async fn present(&self, provider: &str, message: &IncomingMessage) -> Result<Presentation, PluginError> {
        let (plugin, guest) = self.provider(provider, "present")?;
        provider::present(plugin, guest, message).await.map_err(|error| failed(provider, error))
    }

    /// How a session that this provider's program runs in is asked to end.
    pub async fn stop(&self, provider: &str, reason: StopReason) -> Result<StopPlan, PluginError> {
        let (plugin, guest) = self.provider(provider, "stop")?;
        provider::stop(plugin, guest, reason).await.map_err(|error| failed(provider, error))
    }

    fn provider(&self, id: &str, func: &'static str) -> Result<(&Plugin, &Provider), PluginError> {
        let (plugin, guest) = self
            .providers
            .get(id)
            .and_then(|plugin| Some((&**plugin, plugin.provider()?)))
            .ok_or_else(|| PluginError::NotLoaded { provider: id.to_owned(), loaded: self.provider_ids() })?;
        plugin.sandbox.admit(func).map_err(|error| failed(id, error))?;
        Ok((plugin, guest))
    }
}

fn failed(provider: &str, error: CallError) -> PluginError {
    PluginError::Failed { provider: provider.to_owned(), error }
}
