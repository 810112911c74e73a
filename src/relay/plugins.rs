//! Plugins: what is loaded, what operators decide about it, and what it would say.

use serde_json::json;

use super::control::facts::ControlAsk;
use super::{Error, Relay, scopes};
use crate::domain::audit;
use crate::domain::caller::{Caller, Scope};
use crate::domain::control::Decision;
use crate::domain::control::spawn::{SpawnAsk, SpawnSpec, fresh_agent_id};
use crate::domain::id::AgentId;
use crate::domain::refusal::Refusal;
use crate::domain::time::Timestamp;
use crate::plugins::{Action, ChangeKind, CheckedPlan, PluginChange, PluginKind, PluginSet, PluginStatus, Step};
use crate::store::StoreError;

/// Who asks, and when, where an evaluation is not about the caller and now.
#[derive(Clone, Debug, Default)]
pub struct Supposed {
    /// Who.
    pub caller: Option<SupposedCaller>,
    /// When.
    pub at: Option<Timestamp>,
}

/// A caller that an administrator supposes.
#[derive(Clone, Debug)]
pub enum SupposedCaller {
    /// The token of this name, the agent of this id, or `dashboard` or `cli` for the administrator.
    Named(String),
    /// One that need not exist.
    Described(Caller),
}

impl Relay {
    /// All plugins: those in use, those that are not, and those on their way. By id; the active one of an id
    /// comes first.
    pub fn list_plugins(&self, caller: &Caller) -> Result<Vec<PluginStatus>, Error> {
        caller.require(scopes::READ_PLUGINS)?;
        Ok(self.plugins.list())
    }

    /// One plugin, and the latest steps in its life.
    pub fn get_plugin(&self, caller: &Caller, id: &str) -> Result<(PluginStatus, Vec<Step>), Error> {
        let plugin = self.list_plugins(caller)?.into_iter().find(|plugin| plugin.id == id);
        let plugin = plugin.ok_or(Refusal::NotFound("plugin"))?;
        Ok((plugin, self.plugins.history(id)))
    }

    /// Looks at every plugin again, now.
    pub async fn reload_plugins(&self, caller: &Caller) -> Result<Vec<PluginStatus>, Error> {
        caller.require(scopes::OPERATE_PLUGINS)?;
        Ok(self.plugins.reload(Some(caller.name.clone())).await)
    }

    /// Carries out an operator's decision about a plugin.
    pub async fn operate_plugin(&self, caller: &Caller, id: &str, action: Action) -> Result<PluginStatus, Error> {
        caller.require(scopes::OPERATE_PLUGINS)?;
        tracing::info!(plugin.id = id, ?action, "an operator acts on a plugin");
        Ok(self.plugins.act(id, action, Some(caller.name.clone())).await?)
    }

    /// Asks the policies about a control and does nothing. `supposed` is who asks, and when, where that is not the
    /// caller and now: an administrator may suppose anybody.
    pub async fn evaluate_control(
        &self,
        caller: &Caller,
        ask: ControlAsk,
        supposed: Supposed,
    ) -> Result<Decision, Error> {
        caller.require(scopes::CONTROL)?;
        let plugins = self.plugins.current();
        let supposed_caller = match supposed.caller {
            None => caller.clone(),
            Some(_) if !caller.is_administrator() => {
                return Err(
                    Refusal::NotAllowed("only an administrator may evaluate as somebody else".to_owned()).into()
                );
            }
            Some(SupposedCaller::Described(caller)) => caller,
            Some(SupposedCaller::Named(name)) => self.caller_named(name, caller.loopback).await?,
        };
        let control = self.facts_of(ask).await?;
        let mut context = self.context(&supposed_caller).await?;
        context.now = supposed.at.map_or(context.now, Timestamp::as_ms);
        Ok(plugins.decide(control, &context).await)
    }

    /// The holder of the token of this name, or the agent of this id with the token it would have.
    async fn caller_named(&self, name: String, loopback: bool) -> Result<Caller, Error> {
        let administrator = Caller::administrator(loopback);
        let at_command_line = administrator.at_command_line();
        if let Some(known) = [administrator, at_command_line].into_iter().find(|known| known.name == name) {
            return Ok(known);
        }
        if let Some(holder) = self.store.token_holder_named(name.clone(), loopback).await? {
            return Ok(holder);
        }
        let nobody = || {
            Refusal::invalid(format!(
                "as: no token and no agent is called {name:?}; say an object with `name` and `scopes` for one that is not there"
            ))
        };
        let id = AgentId::optional("as", Some(name.clone()))?.ok_or_else(nobody)?;
        let agent = self.store.agent(id).await.map_err(|error| match error {
            StoreError::Refused(Refusal::NotFound(_)) => Error::from(nobody()),
            error => error.into(),
        })?;
        Ok(Caller { name, agent_id: Some(agent.id), scopes: vec![Scope::Agent], loopback, token: None })
    }

    /// The plan that a provider would make for a spawn on this host. Nothing is started.
    pub async fn plan_spawn(&self, caller: &Caller, ask: SpawnAsk) -> Result<CheckedPlan, Error> {
        caller.require(scopes::CONTROL)?;
        let plugins = self.plugins.current();
        self.require_provider(&plugins, &ask.provider, Refusal::NotFound("provider"))?;
        let spawn = self.launcher.locate(&ask).await;
        let spec = SpawnSpec::approved(fresh_agent_id(&ask.provider)?, &spawn);
        let refused = |error| super::control::spawn::refusal(error, &spec.provider, None);
        let reservation = self.launcher.reserve(&spec.provider, spec.label.as_deref()).await.map_err(refused)?;
        Ok(self.launcher.plan(&plugins, caller.principal(), &spec, &reservation).await.map_err(refused)?)
    }

    /// Refuses a provider that is not active: as one that is being loaded, or with `missing`.
    pub(super) fn require_provider(
        &self,
        plugins: &PluginSet,
        provider: &str,
        missing: Refusal,
    ) -> Result<(), Refusal> {
        if plugins.provider_ids().iter().any(|active| active == provider) {
            return Ok(());
        }
        Err(if self.plugins.is_loading(provider) { Refusal::ProviderLoading(provider.to_owned()) } else { missing })
    }

    /// Tells the stream and the activity log what happened to a plugin.
    pub async fn announce_plugin(&self, change: PluginChange) {
        let (what, plugin) = (change.kind.as_str(), change.plugin);
        let Ok(mut data) = serde_json::to_value(&plugin) else { return };
        data["change"] = what.into();
        data["steps"] = json!(change.steps);
        if let Some(by) = &change.by {
            data["by"] = by.as_str().into();
        }
        let generation = plugin.generation.unwrap_or(0);
        let metadata = json!({
            "plugin": plugin.id, "digest": plugin.digest, "generation": plugin.generation,
            "stage": plugin.error.as_ref().map(|rejection| rejection.stage), "by": change.by,
        });
        let reason = plugin.error.as_ref().map(|rejection| rejection.reason.as_str());
        let is_gone = matches!(change.kind, ChangeKind::Removed | ChangeKind::Disabled);
        let is_lost = is_gone && change.by.is_none() && plugin.kind == Some(PluginKind::Policy);
        let entry = if is_lost {
            audit::policy_lost(&plugin.id, what, generation, reason, metadata, self.store.now())
        } else {
            audit::plugin_changed(&plugin.id, what, generation, reason, metadata, self.store.now())
        };
        if let Err(error) = self.store.announce_plugin(data, entry).await {
            tracing::warn!(%error, plugin.id, "cannot announce a change of a plugin");
        }
    }
}
