//! What operators do to a plugin. Each decision is on disk before anything follows from it.

use std::sync::Arc;

use super::super::package;
use super::action::{Action, ActionError};
use super::operator_state::{Content, OperatorState, RolledBack};
use super::{
    ChangeKind, Look, Origin, Place, Plugin, PluginState, PluginStatus, Registry, Stage, blocking, disabled_by_operator,
};

impl Registry {
    /// Does what an operator requested for.
    pub(crate) async fn act(&mut self, id: &str, action: Action) -> Result<(), ActionError> {
        if !self.folders.contains_key(id) && !self.built_in.contains_key(id) {
            return Err(ActionError::Unknown);
        }
        match action {
            Action::RollBack => self.roll_back(id).await,
            Action::Enable => self.enable(id).await,
            Action::Disable => self.disable_all(id).await,
            Action::Allow { digest } => self.allow(id, &digest).await,
        }
    }

    async fn roll_back(&mut self, id: &str) -> Result<(), ActionError> {
        let choice = self.states.of(id);
        if choice.disabled {
            return Err(conflict(format!("plugin {id} is disabled; POST /api/plugins/{id}/enable, then go back")));
        }
        let Some(place) = self.folders.get(id) else {
            return Err(conflict(format!(
                "plugin {id} is the one in the relay's binary, which has nothing before it; put a folder {id} into the \
                 plugin directory to replace it"
            )));
        };
        let active = place.active.as_ref().map(|active| Content::of(&active.fingerprint));
        let tried = place.tried.as_ref().map(Content::of);
        let mut earlier = choice.before(active.as_ref());
        if active.is_none() {
            earlier.retain(|content| Some(content) != tried.as_ref());
        }
        for content in earlier {
            match self.take_back(id, &content).await {
                Ok(plugin) => return self.go_back(id, tried, Some((content, plugin))).await,
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
        if active.is_some() && self.active_built_in(id).is_some() {
            return self.go_back(id, tried, None).await;
        }
        Err(conflict(format!("plugin {id} has nothing to go back to; put the files you want into its folder")))
    }

    /// Sets aside what is in the folder, for this generation or the built-in plugin.
    async fn go_back(
        &mut self,
        id: &str,
        aside: Option<Content>,
        to: Option<(Content, Plugin)>,
    ) -> Result<(), ActionError> {
        let (to, plugin) = to.unzip();
        let rolled_back = RolledBack { aside, to, because: None };
        let rolled_back = |choice: &mut OperatorState| {
            choice.rolled_back = Some(rolled_back);
            choice.gone = false;
        };
        self.decide(id, rolled_back).await?;
        let mut place = self.folders.remove(id).unwrap_or_default();
        self.overtake(&mut place, "an operator went back to an earlier generation");
        let from = place.active.take();
        let status = match &from {
            Some(from) if Some(&from.fingerprint) == place.tried.as_ref() => PluginStatus::of_plugin(from),
            _ => place.idle.take().unwrap_or_else(|| unknown(id)),
        };
        match plugin {
            Some(plugin) => {
                place.required = plugin.terms.required;
                self.activate(&mut place, plugin, ChangeKind::RolledBack);
            }
            None => {
                if let Some(built_in) = self.active_built_in(id) {
                    self.announce_again(&built_in, ChangeKind::RolledBack, Stage::Rollback);
                }
            }
        }
        // What an operator went back from is nothing to be put back to.
        place.previous = None;
        place.idle = None;
        self.set_aside(&mut place, PluginStatus { state: PluginState::Rejected, error: None, ..status });
        self.folders.insert(id.to_owned(), place);
        Ok(())
    }

    /// Undoes what keeps a plugin from being asked: first that it is disabled, then that it is set
    /// aside; and tries it again when it is quarantined or was rejected.
    async fn enable(&mut self, id: &str) -> Result<(), ActionError> {
        let choice = self.states.of(id);
        if choice.disabled {
            self.decide(id, |choice| choice.disabled = false).await?;
        } else if choice.rolled_back.is_some() {
            self.decide(id, |choice| choice.rolled_back = None).await?;
        }
        self.look_at(id).await;
        self.probe(|plugin| plugin.terms.id == id).await;
        let places = [self.folders.get(id), self.built_in.get(id)];
        let disabled = places.into_iter().flatten().find(|place| place.is_disabled());
        match disabled.and_then(|place| place.idle.as_ref()?.error.as_ref()) {
            Some(rejection) => Err(conflict(format!(
                "plugin {id} cannot be enabled here: {}; change it there and POST /api/plugins/reload",
                rejection.reason
            ))),
            None => Ok(()),
        }
    }

    async fn disable_all(&mut self, id: &str) -> Result<(), ActionError> {
        self.decide(id, |choice| choice.disabled = true).await?;
        let has_folder = self.folders.contains_key(id);
        if let Some(mut place) = self.folders.remove(id) {
            let status = shown(&place).unwrap_or_else(|| unknown(id));
            self.disable(&mut place, status, disabled_by_operator(id));
            self.folders.insert(id.to_owned(), place);
        }
        if let Some(mut place) = self.built_in.remove(id) {
            let status = shown(&place).unwrap_or_else(|| PluginStatus { origin: Origin::BuiltIn, ..unknown(id) });
            let told = self.changes.len();
            self.disable(&mut place, status, disabled_by_operator(id));
            if has_folder {
                // Nobody saw it behind the folder.
                self.changes.truncate(told);
            }
            self.built_in.insert(id.to_owned(), place);
        }
        Ok(())
    }

    async fn allow(&mut self, id: &str, digest: &str) -> Result<(), ActionError> {
        let waiting = self.folders.get(id).and_then(|place| place.idle.as_ref()?.error.as_ref()?.requested.clone());
        let Some(requested) = waiting else {
            return Err(conflict(format!(
                "nothing of plugin {id} waits to be allowed; GET /api/plugins/{id} shows how it is"
            )));
        };
        if !requested.digest.eq_ignore_ascii_case(digest) {
            return Err(conflict(format!(
                "what waits to be allowed of plugin {id} has digest {}; read in GET /api/plugins what it requested for, and \
                 allow that",
                requested.digest
            )));
        }
        self.decide(id, |choice| choice.accepted = Some(requested.and(choice.accepted.as_ref()))).await?;
        tracing::info!(
            plugin.id = id,
            plugin.digest = requested.digest,
            by = self.by,
            "plugin is allowed what it requested for"
        );
        self.look_at(id).await;
        Ok(())
    }

    /// Looks at everything of one id.
    async fn look_at(&mut self, id: &str) {
        if let Some(built_in) = self.embedded.get(id).copied() {
            self.look_at_embedded(id.to_owned(), built_in.files, Look::Everything).await;
        }
        let Some(root) = self.directory.clone().filter(|_| self.folders.contains_key(id)) else {
            return;
        };
        let path = root.join(id);
        let stamp = blocking({
            let (root, path) = (root.clone(), path.clone());
            move || package::stamp(&root, &path)
        });
        let stamp = stamp.await;
        self.look_at_folder(&root, id.to_owned(), &path, stamp, Look::Everything).await;
    }

    async fn decide(&mut self, id: &str, change: impl FnOnce(&mut OperatorState)) -> Result<(), ActionError> {
        self.states.decide(id, change).await.map_err(ActionError::NotKept)
    }

    fn active_built_in(&self, id: &str) -> Option<Arc<Plugin>> {
        self.built_in.get(id)?.active.clone()
    }
}

fn shown(place: &Place) -> Option<PluginStatus> {
    place.active.as_ref().map(|active| PluginStatus::of_plugin(active)).or_else(|| place.idle.clone())
}

fn unknown(id: &str) -> PluginStatus {
    PluginStatus::unknown(id, Origin::Directory, PluginState::Rejected)
}

fn conflict(problem: String) -> ActionError {
    ActionError::Conflict(problem)
}
