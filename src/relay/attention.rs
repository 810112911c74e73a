//! Attention: what waits for a person.

use std::collections::BTreeMap;

use super::{Error, Relay, scopes};
use crate::domain::attention::{Attention, AttentionFilter, AttentionPlace, PluginTrouble, of_plugin};
use crate::domain::caller::Caller;
use crate::domain::id::AttentionId;
use crate::domain::page::Page;
use crate::plugins::{PluginState, Stage};
use crate::store::PluginsAttention;

impl Relay {
    /// A page of what waits for a person: the most urgent first, and of that what has waited longest.
    pub async fn list_attention(
        &self,
        caller: &Caller,
        filter: AttentionFilter,
    ) -> Result<Page<Attention, AttentionPlace>, Error> {
        caller.require(scopes::READ_ATTENTION)?;
        Ok(self.store.attention(filter).await?)
    }

    /// Takes an item off the list. It comes back when its cause ends and begins again, or becomes another. Whoever
    /// dismisses that a policy is not obeyed any more has acknowledged it.
    pub async fn dismiss_attention(&self, caller: &Caller, id: AttentionId) -> Result<(), Error> {
        caller.require(scopes::DISMISS_ATTENTION)?;
        let item = self.store.dismiss_attention(id, caller.principal().to_owned()).await?;
        if let Some(plugin) = &item.plugin_id {
            self.plugins.acknowledge_loss(plugin, caller.principal()).await;
        }
        Ok(())
    }

    /// Has what an earlier run found lost be found again, where it still is.
    pub async fn remember_lost_policies(&self) {
        match self.store.lost_policies().await {
            Ok(lost) => lost.iter().for_each(|id| self.plugins.lose_again(id)),
            Err(error) => tracing::error!(%error, "cannot read which policies were lost"),
        }
    }

    /// Has a person know of every plugin that is not as it should be, and of no other.
    pub async fn attend_to_plugins(&self) {
        if let Err(error) = self.store.set_plugins_attention(self.plugins_attention()).await {
            tracing::warn!(%error, "cannot keep which plugins wait for a person");
        }
    }

    fn plugins_attention(&self) -> PluginsAttention {
        let set = self.plugins.current();
        let (mut items, mut unknown) = (BTreeMap::new(), Vec::new());
        for plugin in set.statuses() {
            let reason = plugin.error.as_ref().map(|error| error.reason.as_str()).unwrap_or_default();
            let trouble = match (plugin.state, &plugin.error) {
                (PluginState::Quarantined, _) => PluginTrouble::Quarantined,
                // Somebody went back to an earlier one, and knows it.
                (PluginState::Rejected, Some(error)) if error.stage == Stage::Rollback => continue,
                (PluginState::Rejected, Some(error)) => {
                    PluginTrouble::Rejected { stage: error.stage.as_str(), digest: error.digest.clone() }
                }
                (PluginState::Staged | PluginState::Inspected | PluginState::Compiled | PluginState::Probed, _) => {
                    unknown.push(plugin.id);
                    continue;
                }
                _ => continue,
            };
            let item = of_plugin(&plugin.id, &trouble, reason);
            if trouble == PluginTrouble::Quarantined {
                items.insert(plugin.id, item);
            } else {
                // What is asked and fails comes before what only lies there.
                items.entry(plugin.id).or_insert(item);
            }
        }
        for (id, why) in set.lost() {
            items.insert(id.clone(), of_plugin(id, &PluginTrouble::Lost, why));
        }
        PluginsAttention { items, unknown }
    }
}
