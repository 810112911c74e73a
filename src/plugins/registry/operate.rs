//! What operators do to a plugin. Each decision is on disk before anything follows from it.

use std::sync::Arc;

use super::super::kinds::{Plugin, Stage};
use super::super::package::{Origin, RequestedGrants};
use super::handle::Registry;
use super::lifecycle::{Action, ActionError, PluginState, PluginStatus};
use super::look::disabled_by_operator;
use super::remembered::{Content, RolledBack, StateChange};
use super::slot::{Event, Return};

impl Registry {
    /// Does what an operator asks for, and waits until everything of this id is loaded that it led to.
    pub(crate) async fn act(self: &Arc<Self>, id: &str, action: Action, by: Option<&str>) -> Result<(), ActionError> {
        let acted = self.act_in_turn(id, action, by).await;
        self.loads_done(Some(id)).await;
        acted
    }

    async fn act_in_turn(self: &Arc<Self>, id: &str, action: Action, by: Option<&str>) -> Result<(), ActionError> {
        let _turn = self.turns.lock(id).await;
        if self.state().slots(id).next().is_none() {
            return Err(ActionError::Unknown);
        }
        match action {
            Action::RollBack => self.roll_back(id, by).await,
            Action::Enable => self.enable(id, by).await,
            Action::Disable => self.disable(id, by).await,
            Action::Allow { digest } => self.allow(id, &digest, by).await,
        }
    }

    async fn roll_back(self: &Arc<Self>, id: &str, by: Option<&str>) -> Result<(), ActionError> {
        let remembered = self.operator_states.of(id);
        if remembered.disabled {
            return Err(conflict(format!("plugin {id} is disabled; POST /api/plugins/{id}/enable, then go back")));
        }
        let found = self.state().slot(Origin::Directory, id).map(|slot| {
            let active = slot.incumbent().map(|incumbent| Content::of(&incumbent.fingerprint));
            (active, slot.tried().map(Content::of))
        });
        let Some((active, tried)) = found else {
            return Err(conflict(format!(
                "plugin {id} is the one in the relay's binary, which has nothing before it; put a folder {id} into the \
                 plugin directory to replace it"
            )));
        };
        let mut earlier = remembered.before(active.as_ref());
        if active.is_none() {
            earlier.retain(|content| Some(content) != tried.as_ref());
        }
        for content in earlier {
            match self.take_back(id, &content, by).await {
                Ok(plugin) => return self.go_back(id, tried, Some((content, plugin)), by).await,
                // Damaged on disk, as the log says: then the one before it.
                Err(rejection) if rejection.stage == Stage::Read => {}
                Err(rejection) => {
                    return Err(conflict(format!(
                        "plugin {id} cannot go back to the generation with digest {}: {}: {}; put files that load into \
                         its folder",
                        content.component,
                        rejection.stage.as_str(),
                        rejection.reason
                    )));
                }
            }
        }
        if active.is_some() && self.built_in_incumbent(id).is_some() {
            return self.go_back(id, tried, None, by).await;
        }
        Err(conflict(format!("plugin {id} has nothing to go back to; put the files you want into its folder")))
    }

    /// Sets aside what is in the folder, for this generation or the built-in plugin.
    async fn go_back(
        self: &Arc<Self>,
        id: &str,
        aside: Option<Content>,
        to: Option<(Content, Plugin)>,
        by: Option<&str>,
    ) -> Result<(), ActionError> {
        let (content, plugin) = to.unzip();
        let because = RolledBack { aside, to: content, because: None };
        let to = match (plugin, self.built_in_incumbent(id)) {
            (Some(plugin), _) => {
                let required = plugin.terms.required;
                Return::Generation { plugin: self.state().numbered(plugin), required }
            }
            (None, Some(built_in)) => Return::BuiltIn(Box::new(PluginStatus::of_plugin(&built_in))),
            (None, None) => return Err(conflict(format!("the plugin {id} in the relay's binary is not active"))),
        };
        let rejection = because.aside_rejection(id);
        let event = Event::RolledBack { to, because, unknown: unknown(id, Origin::Directory), rejection };
        self.transition((Origin::Directory, id), event, None, by).await.map_err(ActionError::NotKept)
    }

    /// Undoes what keeps a plugin from being asked: first that it is disabled, then that it is set
    /// aside; and tries it again when it is quarantined or was rejected.
    async fn enable(self: &Arc<Self>, id: &str, by: Option<&str>) -> Result<(), ActionError> {
        let remembered = self.operator_states.of(id);
        if remembered.disabled {
            self.decide(id, StateChange::Disabled(false)).await?;
        } else if remembered.rolled_back.is_some() {
            self.decide(id, StateChange::RolledBack(None)).await?;
        }
        self.look_at(id, by).await;
        self.probe_id(id, by).await;
        let state = self.state();
        let disabled = state.slots(id).map(|(_, slot)| slot).find(|slot| slot.is_disabled());
        match disabled.and_then(|slot| slot.idle()?.error.as_ref()) {
            Some(rejection) => Err(conflict(format!(
                "plugin {id} cannot be enabled here: {}; change it there and POST /api/plugins/reload",
                rejection.reason
            ))),
            None => Ok(()),
        }
    }

    async fn disable(self: &Arc<Self>, id: &str, by: Option<&str>) -> Result<(), ActionError> {
        self.decide(id, StateChange::Disabled(true)).await?;
        let shown: Vec<(Origin, Option<PluginStatus>)> = {
            let state = self.state();
            let shown = state.slots(id).map(|(origin, slot)| {
                let active = slot.incumbent().map(|incumbent| PluginStatus::of_plugin(incumbent));
                (origin, active.or_else(|| slot.idle().cloned()))
            });
            shown.collect()
        };
        for (index, (origin, status)) in shown.into_iter().enumerate() {
            let status = status.unwrap_or_else(|| unknown(id, origin));
            // Nobody saw the one in the binary behind a folder.
            let event = Event::Disabled { status, reason: disabled_by_operator(id), is_seen: index == 0 };
            self.happens((origin, id), event, None, by).await;
        }
        Ok(())
    }

    async fn allow(self: &Arc<Self>, id: &str, digest: &str, by: Option<&str>) -> Result<(), ActionError> {
        let waiting: Option<Box<RequestedGrants>> = {
            let state = self.state();
            let slot = state.slot(Origin::Directory, id);
            slot.and_then(|slot| slot.idle()?.error.as_ref()?.requested.clone())
        };
        let Some(requested) = waiting else {
            return Err(conflict(format!(
                "nothing of plugin {id} waits to be allowed; GET /api/plugins/{id} shows how it is"
            )));
        };
        if !requested.digest.eq_ignore_ascii_case(digest) {
            return Err(conflict(format!(
                "what waits to be allowed of plugin {id} has digest {}; read in GET /api/plugins what it asks for, and \
                 allow that",
                requested.digest
            )));
        }
        let digest = requested.digest.clone();
        self.decide(id, StateChange::Accepted(*requested)).await?;
        tracing::info!(plugin.id = id, plugin.digest = digest, by, "plugin is allowed what it asks for");
        self.look_at(id, by).await;
        Ok(())
    }

    async fn decide(&self, id: &str, change: StateChange) -> Result<(), ActionError> {
        self.operator_states.decide(id, &change).await.map_err(ActionError::NotKept)
    }
}

fn unknown(id: &str, origin: Origin) -> PluginStatus {
    PluginStatus::unknown(id, origin, PluginState::Rejected)
}

fn conflict(problem: String) -> ActionError {
    ActionError::Conflict(problem)
}
